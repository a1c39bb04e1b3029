"""Abuse by number: associations, reconnections and requests without end (T31, T32, T34)."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from tests import samples, wire
from tests.abuse import raw
from tests.abuse.gauge import read
from tests.abuse.siege import Abuse, Field
from tests.abuse.targets import ABUSER, FROM_ONE_ADDRESS
from tests.upper_layer import ABORT, C_CANCEL, N_EVENT_REPORT, NO_DATASET, P_DATA, RESPONSE, VERIFICATION, pdu

_TOO_MANY = (2, 3, 2)
_BUSY = 0.2
"""The part of a core that idle associations may take."""


@contextlib.contextmanager
def idle_associations(field: Field) -> Iterator[None]:
    """T31: associations on which nothing happens, up to the limit of an address; the rest are told to come later."""
    verify = raw.CONTEXTS[:1]
    with contextlib.ExitStack() as stack:
        refused = []
        for _ in range(FROM_ONE_ADDRESS + 10):
            try:
                stack.enter_context(raw.associated(field.target, ABUSER, contexts=verify))
            except wire.Rejected as rejected:
                refused.append((rejected.result, rejected.source, rejected.reason))
        before, began = read(field.target.process.pid).cpu, time.monotonic()
        time.sleep(0.5)  # what is measured is that nothing happens
        busy = (read(field.target.process.pid).cpu - before) / (time.monotonic() - began)
        yield
        assert refused == [_TOO_MANY] * 10, f"{len(refused)} were refused: {set(refused)}"
        assert busy < _BUSY, f"{busy:.0%} of a core for nothing"


@contextlib.contextmanager
def reconnections(field: Field) -> Iterator[None]:
    """T32: a partner that associates and breaks off, again and again, as fast as it can, four at a time."""

    def again(over: threading.Event) -> None:
        while not over.is_set():
            with contextlib.suppress(wire.WireError, OSError), raw.associated(field.target, ABUSER) as association:
                association.channel.close(reset=True)

    with raw.meanwhile(again, threads=4):
        time.sleep(0.3)  # so that the good partner meets a flood
        yield


@contextlib.contextmanager
def connections(field: Field) -> Iterator[None]:
    """T32: connections that are opened and closed again with nothing said, as fast as it goes."""

    def again(over: threading.Event) -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                raw.dial(field.target).close()

    with raw.meanwhile(again, threads=2):
        time.sleep(0.3)
        yield


@contextlib.contextmanager
def pipelined_stores(field: Field) -> Iterator[None]:
    """T34: 150 C-STOREs of half a megabyte, and no waiting for an answer. They may be kept, or cut off."""
    target, template = field.target, samples.make_instance(size="large")
    with raw.associated(target) as association:
        association.channel.socket.settimeout(0.5)

        def send(over: threading.Event) -> None:
            for number in range(150):
                uid = samples.uid("pipelined", target.port, number)
                dataset = samples.with_uid(template, uid)
                field.may_keep(samples.Sample(None, samples.CT_IMAGE, uid, "", "", wire.EXPLICIT_LE, dataset))
                pieces = [raw.store_command(uid), *association.channel.fragments(raw.STORING, dataset, command=False)]
                if over.is_set() or not raw.push(association.channel.socket, b"".join(pieces)):
                    return

        with raw.meanwhile(send):
            yield
            assert len(target.remains()) < 10, f"{len(target.remains())} are being received at once"


def _flood(field: Field, message: bytes) -> Iterator[None]:
    with raw.associated(field.target) as association:
        sock = association.channel.socket
        with raw.meanwhile(raw.again(lambda: raw.push(sock, message), 50)):
            yield


@contextlib.contextmanager
def cancels(field: Field) -> Iterator[None]:
    """T34: 5,000 C-CANCELs of requests that there never were."""
    fields = {"CommandField": C_CANCEL, "CommandDataSetType": NO_DATASET}
    some = (raw.command(raw.STORING, fields | {"MessageIDBeingRespondedTo": n}) for n in range(100))
    yield from _flood(field, b"".join(some))


@contextlib.contextmanager
def event_reports(field: Field) -> Iterator[None]:
    """T34: 5,000 N-EVENT-REPORTs without a wait."""
    fields = {"CommandField": N_EVENT_REPORT, "CommandDataSetType": NO_DATASET, "EventTypeID": 1}
    about = {"AffectedSOPClassUID": VERIFICATION, "AffectedSOPInstanceUID": "1.2.3"}
    some = (raw.command(raw.VERIFYING, {**fields, **about, "MessageID": n}) for n in range(1, 101))
    yield from _flood(field, b"".join(some))


def _unknown() -> Iterator[bytes]:
    """Commands that nobody knows, or that cannot be read."""
    fields = {"MessageID": 1, "CommandDataSetType": NO_DATASET, "AffectedSOPClassUID": VERIFICATION}
    for number in (0, 0x0002, 0x0777, 0x0FFE, 0xFFFF, 0x0140, 0x0150, RESPONSE, RESPONSE | 1, RESPONSE | 0x30):
        yield raw.command(raw.VERIFYING, fields | {"CommandField": number})
    yield raw.command(raw.VERIFYING, fields)
    yield raw.command(raw.VERIFYING, {"CommandField": 0x30})
    yield raw.command(raw.STORING, {"CommandField": 1, "MessageID": 1})
    for noise in (b"", b"\0", bytes(8), b"\xff" * 64, bytes(range(256)), b"\0\0\0\x01\xff\xff\xff\xff"):
        yield raw.fragment(raw.VERIFYING, raw.COMMAND | raw.LAST, noise)


@contextlib.contextmanager
def unknown_commands(field: Field) -> Iterator[None]:
    """T34: commands that nobody knows: answered, ignored or ended by A-ABORT, never by a mere close."""
    wrong = []
    for number, message in enumerate(_unknown()):
        with raw.associated(field.target) as association:
            raw.push(association.channel.socket, message)
            with contextlib.suppress(AssertionError):  # ignored
                if raw.answer(association.channel.socket, 0.3) not in (P_DATA, ABORT):
                    wrong.append(number)
    yield
    assert not wrong, f"closed without A-ABORT after messages {wrong}"


@contextlib.contextmanager
def garbage(field: Field) -> Iterator[None]:
    """T34: PDUs that do not belong where they come, and bytes that are no PDUs, before an association and on one."""
    strange = [pdu(kind, bytes(4)) for kind in (0, 2, 3, 5, 6, 7, 8, 0xFF)]
    strange += [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\n" * 100, b"\xff" * 100]
    with contextlib.ExitStack() as stack:
        for noise in strange:
            raw.push(stack.enter_context(raw.dial(field.target)), noise)
            raw.push(stack.enter_context(raw.associated(field.target)).channel.socket, noise)
        yield


ABUSES = (
    Abuse("T31", f"{FROM_ONE_ADDRESS} idle associations", idle_associations, peak=100 << 20),
    Abuse("T32", "one partner reconnects without end", reconnections),
    Abuse("T32", "connections opened and closed", connections),
    Abuse("T34", "150 C-STOREs, waiting for no answer", pipelined_stores),
    Abuse("T34", "5,000 C-CANCELs", cancels),
    Abuse("T34", "5,000 N-EVENT-REPORTs", event_reports),
    Abuse("T34", "unknown commands", unknown_commands),
    Abuse("T34", "PDUs out of place, and garbage", garbage),
)
