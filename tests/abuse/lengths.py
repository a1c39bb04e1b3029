"""Abuse by numbers: lengths that lie, are impossible, or never end; and requests no reader has seen (T28–T30, T33)."""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Iterator

from tests.abuse import raw
from tests.abuse.siege import Abuse, Field
from tests.abuse.targets import FIRST, OBJECT_SIZE, Target
from tests.bench.cpu import spent
from tests.samples import uid
from tests.upper_layer import ABORT, ASSOCIATE_AC, ASSOCIATE_RJ, ASSOCIATE_RQ, P_DATA, RELEASE_RQ, pdu

_AT_ONCE = FIRST * 0.8
"""Seconds: less than any deadline. What is refused for its length is refused when the length has come."""
_CHEAP = 0.1
"""Seconds of CPU, of which a few hundredths are the clock's own grain."""
_HUGE = (0x7FFFFFFF, 0xFFFFFFFF)


def _header(kind: int, length: int) -> bytes:
    return struct.pack(">BBL", kind, 0, length)


@contextlib.contextmanager
def huge_before(field: Field) -> Iterator[None]:
    """T28: PDUs of 2 and 4 GB where an A-ASSOCIATE-RQ is due."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for kind, length in itertools.product((ASSOCIATE_RQ, P_DATA, 0x99), _HUGE):
            sockets.append(stack.enter_context(raw.dial(field.target)))
            raw.push(sockets[-1], _header(kind, length) + bytes(1 << 16))
        for sock in sockets:
            raw.ending(sock, _AT_ONCE)
        yield


@contextlib.contextmanager
def huge_after(field: Field) -> Iterator[None]:
    """T28: PDUs of 2 and 4 GB on an association; that of data has, to all appearance, one value of that length."""
    with contextlib.ExitStack() as stack:
        opened = []
        for kind, length in itertools.product((P_DATA, RELEASE_RQ, ABORT), _HUGE):
            opened.append(stack.enter_context(raw.associated(field.target)).channel.socket)
            value = raw.pdv(raw.STORING, 0, bytes(1 << 16), length=length - 4)
            raw.push(opened[-1], raw.store_command(uid("huge")) + _header(kind, length) + value)
        for sock in opened:
            raw.ending(sock, _AT_ONCE)
        yield


@contextlib.contextmanager
def long_value(field: Field) -> Iterator[None]:
    """T29: one PDV, in one PDU, of 64 MB, where some kilobytes were agreed."""
    with raw.associated(field.target) as association:
        sock, size = association.channel.socket, 64 << 20
        raw.push(sock, raw.store_command(uid("long")) + _header(P_DATA, size + 6) + raw.pdv(3, 0, b"", length=size + 2))
        for _ in range(64):
            if not raw.push(sock, bytes(1 << 20)):
                break
        yield
        raw.ending(sock, _AT_ONCE)


def _lies() -> Iterator[bytes]:
    """P-DATA-TF bodies whose presentation data values do not add up."""
    yield b""
    yield b"\0\0\0"
    for length in (0, 1, 5000, *_HUGE):
        yield raw.pdv(raw.STORING, 3, b"abcd", length=length)
    yield raw.pdv(raw.STORING, 3, b"")
    yield raw.pdv(raw.STORING, 0xFF, b"abcd")


@contextlib.contextmanager
def lying_values(field: Field) -> Iterator[None]:
    """T29: PDVs longer than their PDU, or shorter than their own header; commands that are no commands."""
    with contextlib.ExitStack() as stack:
        for body in _lies():
            raw.push(stack.enter_context(raw.associated(field.target)).channel.socket, pdu(P_DATA, body))
        yield


@contextlib.contextmanager
def endless_object(field: Field) -> Iterator[None]:
    """T30: a C-STORE whose dataset has no end: it is cut off, and does not fill the disk."""
    with raw.associated(field.target) as association:
        sock, piece = association.channel.socket, raw.fragment(raw.STORING, 0, bytes(16000))
        raw.push(sock, raw.store_command(uid("endless")))
        cut = any(not raw.push(sock, piece) for _ in range(16 * OBJECT_SIZE // 16000))
        yield
        assert cut, "sixteen times the largest object was read"


@contextlib.contextmanager
def empty_fragments(field: Field) -> Iterator[None]:
    """T30: a C-STORE whose dataset comes in 30,000 fragments of no bytes."""
    with raw.associated(field.target) as association:
        sock, pieces = association.channel.socket, raw.fragment(raw.STORING, 0, b"") * 100
        raw.push(sock, raw.store_command(uid("empty")))
        with raw.meanwhile(raw.again(lambda: raw.push(sock, pieces), 300)):
            yield


# -- requests --------------------------------------------------------------------------------------------------

_REFUSED = (0, ASSOCIATE_RJ, ABORT)
"""What a request may be answered that is none; 0 is a connection that was closed."""
_ANY = (*_REFUSED, ASSOCIATE_AC)


def requests(target: Target) -> Iterator[tuple[str, bytes, tuple[int, ...]]]:
    """(what is wrong with it, the request, the types of PDU that it may be answered)."""
    called, calling = target.called.encode(), target.abuser.encode()

    def made(*items: bytes) -> bytes:
        return raw.request_of(b"".join(items), called, calling)

    user, long = raw.user_information(), b"A" * 65000
    good = raw.request(target)
    yield "20,000 contexts", made(raw.context(1) * 20_000, user), _REFUSED
    yield "one id twice", made(raw.context(1), raw.context(1, "1.2.840.10008.5.1.4.1.1.2"), user), _REFUSED
    yield "an even id", made(raw.context(2), user), _REFUSED
    yield "id 0", made(raw.context(0), user), _REFUSED
    yield "no context", made(user), _ANY
    yield "no user information", made(raw.context(1)), _ANY
    yield "nothing", pdu(ASSOCIATE_RQ, b""), _REFUSED
    yield "a body cut short", pdu(ASSOCIATE_RQ, good[6:60]), _REFUSED
    yield "an item longer than the PDU", made(raw.item(0x20, b"\1\0\0\0", 0xFFFF)), _REFUSED
    yield "a context of no bytes", made(raw.item(0x20, b""), user), _REFUSED
    yield "a sub-item longer than its item", made(raw.context(1), raw.item(0x50, raw.item(0x51, b"\0", 99))), _REFUSED
    yield "a maximum length of one byte", made(raw.context(1), raw.item(0x50, raw.item(0x51, b"\0"))), _REFUSED
    yield "an abstract syntax of 64 KB", made(raw.item(0x20, b"\1\0\0\0" + raw.item(0x30, long)), user), _REFUSED
    yield "3,000 transfer syntaxes", made(_syntaxes(3000), user), _ANY
    yield "an unknown item", made(raw.context(1), raw.item(0x77, long), user), _ANY
    yield "an unknown sub-item", made(raw.context(1), raw.user_information(raw.item(0x5F, long))), _ANY
    yield "a version name of 64 KB", made(raw.context(1), raw.user_information(raw.item(0x55, long))), _ANY
    yield "a second request", good + good, _ANY


def _syntaxes(count: int) -> bytes:
    names = raw.item(0x30, b"1.2.840.10008.1.1") + raw.item(0x40, b"1.2.840.10008.1.2") * count
    return raw.item(0x20, b"\1\0\0\0" + names)


@contextlib.contextmanager
def strange_requests(field: Field) -> Iterator[None]:
    """T33: requests that are none, each answered at once (A-ABORT, A-ASSOCIATE-RJ) and at no cost worth the name."""
    wrong = []
    for text, request, allowed in requests(field.target):
        before = spent(field.target.process.pid)
        with raw.dial(field.target) as sock:
            raw.push(sock, request)
            kind = raw.answer(sock, _AT_ONCE)
        cost = spent(field.target.process.pid) - before
        if kind not in allowed:
            wrong.append(f"{text}: answered by PDU type {kind}")
        if cost > _CHEAP:
            wrong.append(f"{text}: {cost:.2f} s of CPU")
    yield
    assert not wrong, "; ".join(wrong)


ABUSES = (
    Abuse("T28", "PDUs of 2 and 4 GB for a request", huge_before),
    Abuse("T28", "PDUs of 2 and 4 GB on an association", huge_after),
    Abuse("T29", "a PDV of 64 MB", long_value),
    Abuse("T29", "PDV lengths that lie", lying_values),
    Abuse("T30", "an object without end", endless_object),
    Abuse("T30", "fragments of no bytes", empty_fragments),
    Abuse("T33", "requests that are none", strange_requests),
)
