"""Abuse by content: stores where none were agreed, UIDs that are paths, titles that are none (T40–T42, T44).

The statuses of most of these are the integration tests' (test_store_refused.py, test_door.py); here they are asked of
any target, and nothing may be kept. T43, the same UIDs from a partner of whom we retrieve, waits for our C-GET as SCU.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from tests import samples, wire
from tests.abuse import raw
from tests.abuse.siege import Abuse, Field
from tests.upper_layer import ABORT, ASSOCIATE_RJ

_TITLES = (
    b"A/B",
    b"../../x",
    b"..",
    b"A\\B",
    b"A\nB",
    b"A\r\nforged: line",
    b"A\x1b[2JB",
    b"A\0B",
    b"\0" * 16,
    b" " * 16,
    "ÄÖÜ".encode("latin-1"),
    "名前".encode(),
    b"\xff" * 16,
    b"%s%n{0}",
)
_UIDS = ("../../x", "/etc/passwd", "..", ".", "1.2.3\0/../x", "1.2\0.3", "1." + "2" * 63, "", "1.2.%s", "1.2\n3")


@contextlib.contextmanager
def elsewhere(field: Field) -> Iterator[None]:
    """T40: a C-STORE on the Verification context, and on contexts that were refused or never proposed."""
    kept = []
    for number in (raw.VERIFYING, 5, 2, 0, 99, 255):
        sample = _unwanted(field, number)
        contexts = (*raw.CONTEXTS, ("1.2.3.4.5.6", [wire.EXPLICIT_LE]))
        with raw.associated(field.target, contexts=contexts) as association, contextlib.suppress(wire.WireError):
            if association.store(sample.dataset, sample.sop_class, sample.sop_instance, number) == 0:
                kept.append(number)
    yield
    assert not kept, f"answered 0000H on contexts {kept}"


@contextlib.contextmanager
def hostile_uids(field: Field) -> Iterator[None]:
    """T41, T42: an Affected SOP Instance UID that is a path, too long, or nothing."""
    kept = []
    for uid in _UIDS:
        sample = _unwanted(field, uid)
        with raw.associated(field.target) as association, contextlib.suppress(wire.WireError):
            if association.store(sample.dataset, sample.sop_class, sample.sop_instance, command_uid=uid) == 0:
                kept.append(uid)
    yield
    assert not kept, f"answered 0000H to {kept}"


def _unwanted(field: Field, key: object) -> samples.Sample:
    """An instance that must not be kept."""
    (made,) = samples.make_instances(1, seed=("unwanted", field.target.port, key))
    return made


@contextlib.contextmanager
def hostile_titles(field: Field) -> Iterator[None]:
    """T44: AE titles that are none: A-ASSOCIATE-RJ because they are unknown, never A-ABORT, never an association."""
    target, wrong = field.target, []
    user, context = raw.user_information(), raw.context(raw.VERIFYING)
    for title in _TITLES:
        pairs = ((title, target.abuser.encode(), (3, 7)), (target.called.encode(), title, (3,)))
        for called, calling, reasons in pairs:
            with raw.dial(target) as sock:
                raw.push(sock, raw.request_of(context + user, called, calling))
                sock.settimeout(2)
                answer = _received(sock)
            if answer not in [bytes((ASSOCIATE_RJ, 0, 0, 0, 0, 4, 0, 1, 1, reason)) for reason in reasons]:
                wrong.append(f"{title!r} is answered {_kind(answer)}")
    yield
    assert not wrong, f"{len(wrong)} titles: {wrong[0]}"


def _received(sock: socket.socket) -> bytes:
    with contextlib.suppress(OSError):
        return sock.recv(10)
    return b""


def _kind(answer: bytes) -> str:
    names = {2: "A-ASSOCIATE-AC", ASSOCIATE_RJ: f"A-ASSOCIATE-RJ {tuple(answer[7:])}", ABORT: "A-ABORT"}
    return names.get(answer[0] if answer else 0, "not at all")


ABUSES = (
    Abuse("T40", "C-STOREs on contexts not for them", elsewhere),
    Abuse("T41, T42", "UIDs that are paths", hostile_uids),
    Abuse("T44", "AE titles that are none", hostile_titles),
)
