"""Abuse by patience: connections on which next to nothing comes, and which would be held for ever (T24, T25, T27).

In each, what the abuser holds is taken from it while it still holds on: its own end is open until then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.abuse import raw
from tests.abuse.siege import Abuse, Field
from tests.abuse.targets import FIRST, IDLE, PDU
from tests.upper_layer import C_ECHO, NO_DATASET, VERIFICATION
from tests.wire import ChaosProxy

_LATE = 1.5
"""Seconds after a deadline in which it has been acted on, on a busy machine."""


@contextlib.contextmanager
def one_byte(field: Field) -> Iterator[None]:
    """T24: the first byte of a request, and then silence."""
    with raw.crowd(field.target, 200) as sockets:
        for sock in sockets:
            raw.push(sock, b"\x01")
        yield
        field.is_free_within(FIRST + _LATE)


@contextlib.contextmanager
def nothing_at_all(field: Field) -> Iterator[None]:
    """T24: connections on which nothing is ever said."""
    with raw.crowd(field.target, 200):
        yield
        field.is_free_within(FIRST + _LATE)


@contextlib.contextmanager
def slow_request(field: Field) -> Iterator[None]:
    """T25: an A-ASSOCIATE-RQ that comes byte by byte."""
    with raw.crowd(field.target, 12) as sockets, raw.dripping(sockets, raw.request(field.target)):
        yield
        field.is_free_within(FIRST + _LATE)


@contextlib.contextmanager
def slow_data(field: Field) -> Iterator[None]:
    """T25: a P-DATA-TF that comes byte by byte, on associations that are otherwise in order."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(raw.associated(field.target)).channel.socket for _ in range(5)]
        stack.enter_context(raw.dripping(sockets, raw.store_command("1.2.3") * 9))
        yield
        field.is_free_within(PDU + _LATE)


@contextlib.contextmanager
def half_a_header(field: Field) -> Iterator[None]:
    """T25: three bytes of a PDU's header on an association, and then silence."""
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            raw.push(stack.enter_context(raw.associated(field.target)).channel.socket, b"\x04\x00\x00")
        yield
        field.is_free_within(PDU + _LATE)


@contextlib.contextmanager
def vanished(field: Field) -> Iterator[None]:
    """T27: clients that are gone in the middle of a C-STORE, without FIN or RST."""
    target = field.target
    with ChaosProxy(target.host, target.port) as proxy, contextlib.ExitStack() as stack:
        for number in range(5):
            association = stack.enter_context(raw.associated(target, port=proxy.port))
            association.send_raw(raw.store_command(f"1.2.{number}") + raw.fragment(raw.STORING, 0, bytes(4096)))
        proxy.blackhole()
        yield
        field.is_free_within(IDLE + _LATE)


@contextlib.contextmanager
def deaf(field: Field) -> Iterator[None]:
    """T27: a client that asks and asks, and never reads an answer."""
    fields = {"CommandField": C_ECHO, "MessageID": 1, "CommandDataSetType": NO_DATASET}
    echo = raw.command(raw.VERIFYING, fields | {"AffectedSOPClassUID": VERIFICATION})
    with raw.dial(field.target, buffer=4096) as sock:
        raw.push(sock, raw.request(field.target))
        raw.answer(sock, 2)
        with raw.meanwhile(raw.again(lambda: raw.push(sock, echo * 100), 1000)):
            yield


ABUSES = (
    Abuse("T24", "one byte, then silence, 200 times", one_byte),
    Abuse("T24", "nothing at all, 200 times", nothing_at_all),
    Abuse("T25", "a request, byte by byte", slow_request),
    Abuse("T25", "data, byte by byte", slow_data),
    Abuse("T25", "half a PDU header on an association", half_a_header),
    Abuse("T27", "gone without FIN or RST in a C-STORE", vanished),
    Abuse("T27", "asks, and never reads an answer", deaf),
)
