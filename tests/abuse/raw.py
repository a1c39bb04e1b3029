"""What an abuser needs: bare connections, associations that nobody releases, and requests that no library would write.

Nothing here raises because the target has had enough: to be cut off in the middle is what an abuser has earned.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests import wire
from tests.abuse.targets import Target
from tests.samples import CT_IMAGE
from tests.upper_layer import (
    ASSOCIATE_RQ,
    EXPLICIT_LE,
    IMPLICIT_LE,
    P_DATA,
    VERIFICATION,
    Associate,
    encode_command,
    pdu,
)

CONTEXTS = ((VERIFICATION, (IMPLICIT_LE,)), (CT_IMAGE, (EXPLICIT_LE,)))
VERIFYING, STORING = 1, 3
"""The context ids of CONTEXTS."""
COMMAND, LAST = 1, 2
"""Bits of a PDV's message control header (PS3.8 E.2)."""


# -- connections -----------------------------------------------------------------------------------------------


def dial(target: Target, source: str | None = None, *, buffer: int = 0) -> socket.socket:
    """A connection on which nothing was said; `buffer` makes its receive buffer small."""
    sock = socket.socket()
    sock.settimeout(5)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    if source:
        sock.bind((source, 0))
    sock.connect((target.host, target.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


@contextlib.contextmanager
def crowd(target: Target, count: int) -> Iterator[list[socket.socket]]:
    """So many connections, open until the block ends."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(dial(target)) for _ in range(count)]


@contextlib.contextmanager
def associated(
    target: Target, source: str | None = None, *, contexts: wire.Contexts = CONTEXTS, port: int = 0
) -> Iterator[wire.Association]:
    """An association of the abuser's, by another port if one is given; its end is a bare close."""
    association = wire.Association(
        target.host, port or target.port, target.called, target.abuser, contexts, source_address=source, timeout=5
    )
    try:
        yield association
    finally:
        association.channel.close()


def push(sock: socket.socket, raw: bytes) -> bool:
    """Send; False where the connection has ended."""
    try:
        sock.sendall(raw)
    except OSError:
        return False
    return True


def ending(sock: socket.socket, seconds: float) -> bytes:
    """What the target said last, once it has ended the connection; AssertionError when it has not by then."""
    deadline, said = time.monotonic() + seconds, b""
    while True:
        sock.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            piece = sock.recv(1 << 16)
        except TimeoutError:
            raise AssertionError(f"the connection is still open after {seconds:g} s") from None
        except OSError:
            return said
        if not piece:
            return said
        said += piece


def answer(sock: socket.socket, seconds: float) -> int:
    """The type of the first PDU of an answer; 0 where the connection ended without one; AssertionError: neither."""
    sock.settimeout(seconds)
    try:
        return (sock.recv(1) or b"\0")[0]
    except TimeoutError:
        raise AssertionError(f"no answer after {seconds:g} s") from None
    except OSError:
        return 0


@contextlib.contextmanager
def meanwhile(run: Callable[[threading.Event], None], threads: int = 1) -> Iterator[None]:
    """Run something beside the block; it has to come to its end soon after the event is set."""
    over = threading.Event()
    running = [threading.Thread(target=run, args=(over,), daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in running:
            thread.join(10)


def again(act: Callable[[], bool], most: int) -> Callable[[threading.Event], None]:
    """For `meanwhile`: do it so many times, while it can be done."""

    def run(over: threading.Event) -> None:
        for _ in range(most):
            if over.is_set() or not act():
                return

    return run


@contextlib.contextmanager
def dripping(sockets: list[socket.socket], raw: bytes, seconds: float = 0.05) -> Iterator[None]:
    """Send `raw` on each of them, byte by byte, while the block runs."""

    def drip(over: threading.Event) -> None:
        for at in range(len(raw)):
            for sock in sockets:
                push(sock, raw[at : at + 1])
            if over.wait(seconds):
                return

    with meanwhile(drip):
        yield


# -- what is said on them --------------------------------------------------------------------------------------


def request(target: Target, **changes: Any) -> bytes:
    """A good A-ASSOCIATE-RQ of the abuser's."""
    fields = {"contexts": {2 * n + 1: (abstract, list(ts)) for n, (abstract, ts) in enumerate(CONTEXTS)}, **changes}
    return Associate(target.called, fields.pop("calling", target.abuser), **fields).encode(ASSOCIATE_RQ)


def request_of(items: bytes, called: bytes, calling: bytes) -> bytes:
    """An A-ASSOCIATE-RQ of whatever items and 16 bytes of title."""
    head = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16), calling.ljust(16))
    return pdu(ASSOCIATE_RQ, head + item(0x10, b"1.2.840.10008.3.1.1.1") + items)


def item(kind: int, body: bytes, length: int | None = None) -> bytes:
    """An item or sub-item, whose length may be a lie."""
    return struct.pack(">BBH", kind, 0, len(body) if length is None else length) + body


def context(number: int, abstract: str = VERIFICATION, syntax: str = IMPLICIT_LE) -> bytes:
    """A presentation context item."""
    names = item(0x30, abstract.encode()) + item(0x40, syntax.encode())
    return item(0x20, bytes((number, 0, 0, 0)) + names)


def user_information(*more: bytes) -> bytes:
    """A user information item: maximum length, implementation class, and what else is given."""
    return item(0x50, b"".join((item(0x51, struct.pack(">L", 16384)), item(0x52, b"1.2.3.4"), *more)))


def pdv(context_id: int, control: int, fragment: bytes, *, length: int | None = None) -> bytes:
    """One presentation data value, whose length may be a lie."""
    return struct.pack(">LBB", len(fragment) + 2 if length is None else length, context_id, control) + fragment


def fragment(context_id: int, control: int, raw: bytes) -> bytes:
    """One P-DATA-TF with one presentation data value."""
    return pdu(P_DATA, pdv(context_id, control, raw))


def command(context_id: int, fields: Mapping[str, Any]) -> bytes:
    """A command set as one P-DATA-TF."""
    return fragment(context_id, COMMAND | LAST, encode_command(fields))


def store_command(uid: str, **changes: Any) -> bytes:
    """A C-STORE-RQ of a CT image, of which the dataset is still to come."""
    fields = {
        "CommandField": 1,
        "MessageID": 1,
        "Priority": 0,
        "CommandDataSetType": 0,
        "AffectedSOPClassUID": CT_IMAGE,
        "AffectedSOPInstanceUID": uid,
    }
    return command(STORING, fields | changes)
