"""Abuse before the first byte of DICOM: TLS handshakes that never come to their end (T26)."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator

from tests.abuse import raw
from tests.abuse.siege import Abuse, Field
from tests.abuse.targets import FIRST

_LATE = 1.5


def hello() -> bytes:
    """A ClientHello."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    there = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), there).do_handshake()
    return there.read()


def _stalled(field: Field, said: bytes) -> Iterator[None]:
    with raw.crowd(field.target, 40) as sockets:
        for sock in sockets:
            raw.push(sock, said)
        yield
        field.is_free_within(FIRST + _LATE)


@contextlib.contextmanager
def connected_only(field: Field) -> Iterator[None]:
    """T26: connections on which no handshake begins."""
    yield from _stalled(field, b"")


@contextlib.contextmanager
def half_a_hello(field: Field) -> Iterator[None]:
    """T26: half a ClientHello, and then silence."""
    said = hello()
    yield from _stalled(field, said[: len(said) // 2])


@contextlib.contextmanager
def no_certificate_yet(field: Field) -> Iterator[None]:
    """T26: a whole ClientHello, and then never the client's part of the handshake."""
    yield from _stalled(field, hello())


@contextlib.contextmanager
def in_the_clear(field: Field) -> Iterator[None]:
    """T26: DICOM without TLS, and no TLS at all, on the port for TLS."""
    with contextlib.ExitStack() as stack:
        for noise in (raw.request(field.target), b"GET / HTTP/1.0\r\n\r\n", bytes(64), b"\x16\x03\x01\xff\xff" * 9):
            raw.push(stack.enter_context(raw.dial(field.target)), noise)
        yield
        field.is_free_within(FIRST + _LATE)


ABUSES = (
    Abuse("T26", "TLS port: connected, and no more", connected_only, tls=True),
    Abuse("T26", "TLS port: half a ClientHello", half_a_hello, tls=True),
    Abuse("T26", "TLS port: no client certificate comes", no_certificate_yet, tls=True),
    Abuse("T26", "TLS port: no TLS", in_the_clear, tls=True),
)
