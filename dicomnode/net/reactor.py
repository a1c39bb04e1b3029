"""The upper layer of one association that somebody opened with us: PDUs in, PDUs out, on one socket and one thread.

It takes the place of pynetdicom's DUL provider under pynetdicom's association. There is no queue, no second thread and
no polling: `step()` blocks in the kernel until the peer has said something, takes in one piece of it, and returns. What
is being served meanwhile is served in the same thread, so a peer that sends faster than we store is slowed by TCP.

The states of PS3.8 9.2.1, and where they are:

    Sta1  idle, and Sta2  awaiting A-ASSOCIATE-RQ      porch.py: no association exists yet, and no thread
    Sta3  awaiting our own accept or reject            between construction and `send_pdu` or `reject` (association.py)
    Sta6  data transfer                                `step`, again and again, while `is_open`
    Sta8  release requested                            inside `step`: what was asked before has been served by then
    Sta13 awaiting the end of the connection           `close`
    Sta4, Sta5, Sta7, Sta9–Sta12                       a requestor's, or of an acceptor that releases: never here

What it leaves to pynetdicom: the items of A-ASSOCIATE PDUs; to inbox.py: what the fragments mean. What it promises: no
PDU is longer than what was announced, and that is seen before anything is allocated; a fragment is handed on as a view
of the one buffer, never copied; every wait has a deadline in monotonic time (idle before a PDU, progress within it); a
PDU or order that PS3.8 does not allow ends in A-ABORT (AA-8). Nothing is raised for anything that a peer does: `end`
says what happened, and everything sent after it goes nowhere.
"""

from __future__ import annotations

import contextlib
import mmap
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable

from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicomnode.net import pdus
from dicomnode.net.pdus import (
    ABORT,
    DATA,
    HEADER,
    INVALID_VALUE,
    LAST,
    RELEASE_RP,
    RELEASE_RQ,
    UNEXPECTED,
    UNRECOGNISED,
)
from dicomnode.net.sockets import acknowledge_at_once, untaken

MAXIMUM_LENGTH = 1 << 20
"""The longest P-DATA-TF that we announce to take (bytes, PS3.8 D.1)."""
_BUFFER = 256 * 1024
_PDV = struct.Struct(">IBB")
"""A PDV's length, context, control."""
_SLOWEST = 10_000
"""Bytes a second: what a PDU may take beyond its grace, however long it is."""
_ARTIM = 1.0
"""Seconds that we wait for the peer to close a connection whose association is over."""
_LAST_READS = 4
_PIECES = 64
"""Pieces that are taken in at once while a request is served, so that a flood does not keep it from being served."""
Receive = Callable[[int, int, memoryview], None]
"""Takes a piece of a PDV: context id, message control header (LAST on its last piece only), bytes; may raise Broken."""


class Broken(Exception):
    """The peer broke the protocol: what it did, and the reason of the A-ABORT that answers it."""

    def __init__(self, what: str, reason: int = UNEXPECTED) -> None:
        super().__init__(what)
        self.reason = reason


class _Over(Exception):
    """The association has ended by what the peer did."""


class Reactor:
    """One connection from its A-ASSOCIATE-RQ on. `end` is '' while it is open, and then how it ended.

    `idle` is how long a peer may be silent between PDUs, `pdu` how long one may take that has begun, and a write that
    the peer does not take (seconds).
    """

    def __init__(self, connection: socket.socket, receive: Receive, *, idle: float, pdu: float) -> None:
        self.socket = connection
        self.end = ""
        self._receive, self._idle, self._grace = receive, idle, pdu
        self._buffer = memoryview(mmap.mmap(-1, _BUFFER))  # its pages are the kernel's again when it is closed
        self._first = self._past = 0  # what was read and not yet taken is in between
        self._pdu = self._fragment = 0  # bytes that are still to come of the P-DATA-TF, and of the PDV in it
        self._context = self._control = 0
        self._deadline = 0.0
        self._poller = select.poll()
        self._poller.register(connection, select.POLLIN)
        self._waits, self._has_all = True, False
        self._interrupted = False

    def __repr__(self) -> str:
        return f"Reactor({self.end or 'open'}, {self._past - self._first} bytes waiting)"

    @property
    def is_open(self) -> bool:
        """Whether the association goes on."""
        return not self.end

    @property
    def untaken(self) -> int:
        """Bytes that were sent and that the peer has not taken."""
        return untaken(self.socket)

    # -- receiving ---------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Wait for the peer, and take in one piece of what it says: a header, or as much of a fragment as is there."""
        try:
            if self._interrupted:
                raise _Over
            if self._fragment:
                self._take_piece()
            elif self._pdu:
                self._begin_fragment()
            else:
                self._begin_pdu()
        except (BlockingIOError, ssl.SSLWantReadError):
            self._has_all = True  # that has come: not waited for, the rest of a header is taken in the next time
        except Broken as broken:
            self.abort(f"aborted: {broken}", pdus.abort(2, broken.reason))
        except _Over as over:
            if self._interrupted:
                self.abort("aborted by us", pdus.abort())
            self.end = self.end or str(over)
        except TimeoutError:
            self.abort("aborted: silent for too long", pdus.abort(2))
        except OSError as error:
            self.end = self.end or f"lost: {error.strerror or error}"

    def attend(self) -> bool:
        """While a request is served: take in what has come, without waiting. False when the association is over.

        So a C-CANCEL or an A-ABORT is noticed at once. Costs one system call where nothing has come.
        """
        self._waits = self._has_all = False
        for _ in range(_PIECES):
            if self._has_all or not self.is_open or not self._has_come():
                break
            self.step()
        self._waits = True
        return self.is_open

    def is_silent(self, seconds: float = 0.0) -> bool:
        """Whether the peer says nothing for so long: nothing has come, and the association goes on."""
        return self.is_open and not self._has_come(seconds)

    def _has_come(self, seconds: float = 0.0) -> bool:
        if self._past > self._first or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            return True
        return bool(self._poller.poll(seconds * 1000))

    def _begin_pdu(self) -> None:
        self._deadline = time.monotonic() + self._idle
        self._need(1)
        self._deadline = time.monotonic() + self._grace
        self._need(HEADER.size)
        kind, length = HEADER.unpack(self._take(HEADER.size))
        if kind == DATA:
            if not _PDV.size <= length <= MAXIMUM_LENGTH:
                raise Broken(f"a P-DATA-TF of {length} bytes, and at most {MAXIMUM_LENGTH} were agreed", INVALID_VALUE)
            self._pdu = length
            self._deadline += length / _SLOWEST
        elif kind == RELEASE_RQ:
            self.send(pdus.release(RELEASE_RP))
            raise _Over("released")
        elif kind == ABORT:
            raise _Over("aborted by the peer")
        else:
            raise Broken(f"a PDU of type {kind:02X}H", UNEXPECTED if 0 < kind < ABORT else UNRECOGNISED)

    def _begin_fragment(self) -> None:
        self._need(_PDV.size)
        length, self._context, self._control = _PDV.unpack(self._take(_PDV.size))
        self._pdu -= 4 + length
        self._fragment = length - 2
        if length < 2 or self._pdu < 0 or 0 < self._pdu < _PDV.size:
            raise Broken(f"a PDV of {length} bytes that does not fit its PDU", INVALID_VALUE)
        if not self._fragment:
            self._receive(self._context, self._control, self._buffer[:0])

    def _take_piece(self) -> None:
        self._need(1)
        piece = self._take(min(self._fragment, self._past - self._first))
        self._fragment -= len(piece)
        self._receive(self._context, self._control & ~LAST if self._fragment else self._control, piece)

    def _take(self, count: int) -> memoryview:
        self._first += count
        return self._buffer[self._first - count : self._first]

    def _need(self, count: int) -> None:
        """Read until so many bytes are there; more come along if the peer has sent more. At most a header's length."""
        while self._past - self._first < count:
            if self._first == self._past:
                self._first = self._past = 0
            elif self._first + count > len(self._buffer):
                rest = bytes(self._buffer[self._first : self._past])
                self._buffer[: len(rest)] = rest
                self._first, self._past = 0, len(rest)
            self._past += self._read(self._buffer[self._past :])

    def _read(self, room: memoryview) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        acknowledge_at_once(self.socket)
        self.socket.settimeout(left if self._waits else 0)
        count = self.socket.recv_into(room)
        if not count:
            raise _Over("lost: the peer closed the connection")
        return count

    # -- sending -----------------------------------------------------------------------------------------------

    def send_pdu(self, primitive: A_ASSOCIATE) -> None:
        """Send the acceptance that pynetdicom's ACSE made."""
        accept = A_ASSOCIATE_AC()
        accept.from_primitive(primitive)
        self.send(accept.encode())

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send whole PDUs, or find that the peer does not take them any more: then it is over."""
        if self.is_open:
            try:
                self.socket.settimeout(self._grace)
                self.socket.sendall(data)
            except OSError as error:
                self.end = f"lost: {error.strerror or 'the peer does not take what is sent'}"

    def abort(self, why: str, pdu: bytes) -> None:
        """End the association with an A-ABORT, where the peer takes that at once."""
        self._grace = min(self._grace, _ARTIM)
        self.send(pdu)
        self.end = self.end or why

    def interrupt(self) -> None:
        """From any other thread: let it end with an A-ABORT, as soon as its own waits for the peer, or attends."""
        self._interrupted = True
        self._shut(socket.SHUT_RD)

    def close(self) -> None:
        """Wait a moment for the peer to close the connection, so that it reads our last words; then close it.

        What it still sends is read a few times, and no more: unread, it would make the kernel reset the connection.
        """
        if isinstance(self.socket, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                self.socket.settimeout(0)
                self.socket.unwrap()  # close_notify (RFC 8446 6.1); the peer's is not waited for
        self._shut(socket.SHUT_WR)
        end = time.monotonic() + _ARTIM
        with contextlib.suppress(OSError, ValueError):
            for _ in range(_LAST_READS):
                self.socket.settimeout(max(0.0, end - time.monotonic()))
                if not self.socket.recv_into(self._buffer):
                    break
        self.socket.close()
        self._buffer = memoryview(b"")

    def _shut(self, how: int) -> None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.socket, how)  # TLS or not: of the connection below
