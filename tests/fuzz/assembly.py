"""The wire's message assembly without a network: what hostile bytes may do to it, and what they may not.

Nothing is raised whatever comes; how the bytes were cut into segments changes nothing; a dataset that is handed on is
one that was sent whole; no more waits to be served than a few requests. A request for an association is read, or
refused as Broken.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext

from dicomnode.net import request
from dicomnode.net.commands import StoreRequest
from dicomnode.net.inbox import Inbox, Incoming
from dicomnode.net.reactor import Broken, Reactor
from dicomnode.rules.admission import Caller
from tests.fuzz import mutations
from tests.fuzz.conversations import CALLED, STORES, datasets_in
from tests.samples import CT_IMAGE
from tests.upper_layer import EXPLICIT_LE, IMPLICIT_LE, VERIFICATION

_MANY = 8


class _Scripted(socket.socket):
    """A connection on which these segments come, one at a time, and then the end; what is sent on it is counted."""

    def __init__(self, segments: Sequence[bytes]) -> None:
        super().__init__()
        self._segments = [*segments][::-1]
        self.sent = b""

    def recv_into(self, room: Any, *_: Any) -> int:
        if not self._segments:
            return 0
        segment = self._segments.pop()
        count = min(len(room), len(segment))
        room[:count] = segment[:count]
        if segment[count:]:
            self._segments.append(segment[count:])
        return count

    def sendall(self, raw: Any, *_: Any) -> None:
        self.sent += bytes(raw)


@dataclass
class _Kept:
    """A part file that is none."""

    dataset: bytearray = field(default_factory=bytearray)

    def write(self, piece: memoryview) -> None:
        self.dataset += piece

    def discard(self) -> None:
        """Nothing was written."""


@dataclass
class Heard:
    """What was made of a conversation: its messages (datasets of C-STOREs as bytes), and how it ended."""

    messages: list[tuple[int, str, bytes]]
    end: str
    sent: bytes


def hear(segments: Sequence[bytes]) -> Heard:
    """Hand the bytes of an association in data transfer to the reactor and the inbox, until they end."""
    messages: list[tuple[int, str, bytes]] = []
    inbox = Inbox(SimpleNamespace(_accepted_cx=_ACCEPTED), _open, _CAP)
    with _Scripted(segments) as connection:
        reactor = Reactor(connection, inbox.receive, idle=1, pdu=1)
        while reactor.is_open:
            reactor.step()
            assert len(inbox.requests) < _MANY, "more and more requests wait"
            while inbox.requests and reactor.is_open:
                messages.append(_told(*inbox.requests.popleft()))
        inbox.discard()
        return Heard(messages, reactor.end, connection.sent)


def _open(asked: StoreRequest, _: int) -> Incoming:
    return Incoming(asked, None, _Kept())  # type: ignore[arg-type]


def _told(context: int, asked: Any) -> tuple[int, str, bytes]:
    if isinstance(asked, Incoming):
        return context, repr(asked.request), bytes(asked.part.dataset)  # type: ignore[union-attr]
    return context, type(asked).__name__, b""


def _context(number: int, abstract: str, syntax: str) -> PresentationContext:
    made = PresentationContext()
    made.context_id, made.abstract_syntax, made.transfer_syntax = number, UID(abstract), [UID(syntax)]
    return made


_CAP = 1 << 30
_ACCEPTED = {1: _context(1, VERIFICATION, IMPLICIT_LE), 3: _context(3, CT_IMAGE, EXPLICIT_LE)}


def is_sound(tape: bytes) -> None:
    """The property of everything that comes after the request; AssertionError."""
    said = mutations.said(tape, after_request=True)
    heard, whole = hear(said.segments), hear([said.raw])
    assert heard == whole, f"in segments: {heard}; at once: {whole}"
    assert heard.end
    allowed = datasets_in(said.raw)
    for _, asked, dataset in heard.messages:
        assert not dataset or dataset in allowed, f"{asked}: a dataset of {len(dataset)} bytes that nobody sent whole"


def is_read_or_refused(tape: bytes) -> None:
    """The property of requests; anything but Broken is raised."""
    with contextlib.suppress(Broken):
        request.decode(request.examine(mutations.request(tape)), Caller(CALLED, STORES, "127.0.0.1"))
