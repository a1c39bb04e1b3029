"""One association as its requestor, on a blocking socket: PDUs, with a deadline on every wait (PS3.8 9.3).

The negotiation is said by proposing.py; everything else goes by hand. While we send, a deadline is of standing still:
whoever takes another byte within it, or has the kernel's queue shrink, is waited for, be the line ever so slow. An
answer has as long to begin from when its request was taken, and once more as long to be whole, however it comes; it
is of bounded length. A release never takes longer than its farewell. What may fail: Unreachable and Rejected while it
opens, AssociationLost from then on.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from dicomnode.config.parts import Certificate
from dicomnode.errors import AssociationLost, Unreachable
from dicomnode.net import commands, pdus, proposing, tls
from dicomnode.net.sockets import acknowledge_at_once, tune, untaken
from dicomnode.rules import admission
from dicomnode.rules.contexts import Proposal

_MAXIMUM_LENGTH = 131072
"""Of the PDUs that we take."""
_MOST = 262144
"""The longest PDUs that we fill, where a partner takes any."""
_LONGEST = 1 << 20
"""No PDU that a partner sends us as its acceptor has a reason to be longer."""
_LONGEST_COMMAND = 65536
"""No response's command set has a reason to be longer."""
_FAREWELL = 3.0
"""Seconds that a release may take, with its answer: there is nothing left to lose."""
_LOOKS = 4
"""How often, within a deadline, we look whether the partner has taken something."""
_Fragment = tuple[int, int, bytes]
"""Of a message: its presentation context, its message control header, its bytes."""
_A = TypeVar("_A")
_T = TypeVar("_T")


class Channel:
    """An open association. `accepted`: the accepted contexts, id → transfer syntax; `step`: the most bytes of a PDV.

    `over`: the TLS that is spoken, None for none; `expected`: what the partner's certificate must be besides genuine.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        connect: float,
        response: float,
        over: ssl.SSLContext | None = None,
        expected: Certificate | None = None,
    ) -> None:
        try:
            self._socket = socket.create_connection(address, connect)
        except (OSError, UnicodeError) as error:  # UnicodeError: it is no name that a resolver can be asked for
            raise Unreachable(f"no connection: {getattr(error, 'strerror', None) or error}") from error
        tune(self._socket, response)
        if over:
            self._socket = _encrypted(self._socket, over, address[0], expected)
        self._response = response
        self._received = bytearray()
        self._fragments: deque[_Fragment] = deque()
        self.accepted: dict[int, str] = {}
        self.step = _MOST - pdus.PDV.size

    def associate(self, calling: str, called: str, proposals: Sequence[Proposal]) -> None:
        """A-ASSOCIATE. Rejected, or Unreachable where what answers is no DICOM acceptor."""
        try:
            self.send(proposing.request(calling, called, proposals, _MAXIMUM_LENGTH))
            kind, pdu = self._receive(self._begun())
            if kind == pdus.ASSOCIATE_RJ:
                raise proposing.rejected(pdu)
            if kind != pdus.ASSOCIATE_AC:
                raise Unreachable("the partner aborted the association request")
            self.accepted, most = proposing.accepted(pdu, proposals)
            self.step = pdus.longest_fragment(min(most or _MOST, _MOST - 6))
        except AssociationLost as error:
            raise Unreachable(f"no answer to the association request: {error}") from error

    def send(self, data: bytes | memoryview) -> None:
        """Send whole PDUs. AssociationLost: the partner has gone, or took no byte within the deadline."""
        view = memoryview(data)
        while view:
            view = view[self._moving(self._socket.send, view, math.inf) :]

    def send_command(self, context: int, command: bytes) -> None:
        """Send a command set."""
        self.send(self.framed(context, command))

    def framed(self, context: int, command: bytes) -> bytes:
        """The P-DATA-TF PDUs of a command set."""
        return pdus.data(context, pdus.COMMAND, command, self.step)

    def receive_command(self) -> bytes:
        """The command set of the next message; one that brings a dataset along is not expected here."""
        return self._whole(pdus.COMMAND, _LONGEST_COMMAND, self._begun())

    def receive_request(self) -> tuple[int, bytes]:
        """The presentation context and the command set of the next message; its dataset is still to come."""
        by = self._begun()
        if not self._fragments:
            self._next(by)
        context, _, _ = self._fragments[0]
        return context, self._whole(pdus.COMMAND, _LONGEST_COMMAND, by)

    def dataset(self) -> Iterator[bytes]:
        """The dataset of the message whose command set has come, as it comes: each fragment has a deadline."""
        control = 0
        while not control & pdus.LAST:
            control, fragment = self._expected(0, time.monotonic() + self._response)
            yield fragment

    def receive_message(self, most: int) -> tuple[bytes, bytes]:
        """Command set and dataset of the next message; b'' where it has none, and `most` bytes where it has one."""
        by = self._begun()
        command = self._whole(pdus.COMMAND, _LONGEST_COMMAND, by)
        return command, self._whole(0, most, by) if commands.has_dataset(command) else b""

    def speaks(self, seconds: float) -> bool:
        """Whether the partner says something within so long, be it that it ends the association."""
        if self._fragments or self._received or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
            return True
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        return bool(waiting.poll(max(0.0, seconds) * 1000))

    def _whole(self, part: int, most: int, by: float) -> bytes:
        """All fragments of a command set (COMMAND) or dataset (0)."""
        whole, control = bytearray(), 0
        while not control & pdus.LAST:
            control, fragment = self._expected(part, by)
            whole += fragment
            if len(whole) > most:
                raise AssociationLost("the partner sent a response without end")
        return bytes(whole)

    def _expected(self, part: int, by: float) -> tuple[int, bytes]:
        """The control header and the bytes of the next PDV, which must be of a command set (COMMAND) or dataset (0)."""
        if not self._fragments:
            self._next(by)
        _, control, fragment = self._fragments.popleft()
        if control & pdus.COMMAND != part:
            missed = "a dataset where a response" if part else "a response where its dataset"
            raise AssociationLost(f"the partner sent {missed} was expected")
        return control, fragment

    def _next(self, by: float) -> None:
        """Wait for the next PDU of data."""
        kind, pdu = self._receive(by)
        if kind != pdus.DATA:
            raise AssociationLost(f"the partner {'aborted' if kind == pdus.ABORT else 'ended the association'}")
        self._fragments.extend(_pdvs(pdu))
        if not any(fragment or control & pdus.LAST for _, control, fragment in self._fragments):
            raise AssociationLost("the partner sent an empty PDU")

    def _begun(self) -> float:
        """Wait for the first byte of an answer; by when all of it must have come."""
        if not self._fragments:
            self._gather(1, math.inf)
        return time.monotonic() + self._response

    def _receive(self, by: float) -> tuple[int, bytes]:
        """The type of the next PDU and the whole of it. AssociationLost: closed, silent, late, or impossible."""
        self._gather(6, by)
        kind, length = pdus.HEADER.unpack_from(self._received)
        if length > _LONGEST:
            raise AssociationLost(f"the partner announced a PDU of {length} bytes")
        self._gather(6 + length, by)
        pdu = bytes(self._received[: 6 + length])
        del self._received[: 6 + length]
        return kind, pdu

    def _gather(self, length: int, by: float) -> None:
        """Wait until so much of what follows is here; what comes along with it stays for the next PDU."""
        while len(self._received) < length:
            piece = self._moving(self._hear, max(4096, length - len(self._received)), by)
            if not piece:
                raise AssociationLost("the partner closed the connection")
            self._received += piece

    def _hear(self, most: int) -> bytes:
        acknowledge_at_once(self._socket)
        return self._socket.recv(most)

    def _moving(self, wait: Callable[[_A], _T], argument: _A, by: float) -> _T:
        """What a wait on the socket brings, at the latest `by` then; the partner may take what we sent meanwhile."""
        left, until = untaken(self._socket), time.monotonic() + self._response
        while (seconds := min(by, until) - time.monotonic()) > 0:
            try:
                self._socket.settimeout(min(seconds, self._response / _LOOKS))
                return wait(argument)
            except TimeoutError:
                before, left = left, untaken(self._socket)
                if left < before:
                    until = time.monotonic() + self._response
            except OSError as error:
                raise AssociationLost(f"the connection broke: {tls.reason(error)}") from error
        raise AssociationLost("the partner did not answer in time")

    @property
    def is_closed(self) -> bool:
        """Whether we have ended it."""
        return self._socket.fileno() < 0

    @property
    def is_over(self) -> bool:
        """Whether it has ended: between two requests, whatever a partner says is its end."""
        if self.is_closed or self._received or self._fragments:
            return True
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        return bool(waiting.poll(0))

    def release(self) -> None:
        """A-RELEASE, and the end of the connection, whether or not the partner answers."""
        by = time.monotonic() + min(self._response, _FAREWELL)
        try:
            self._moving(self._socket.send, pdus.release(pdus.RELEASE_RQ), by)  # so few bytes go at once, or never
            self._receive(by)
        except AssociationLost:
            pass
        finally:
            self._socket.close()

    def abort(self) -> None:
        """A-ABORT, and the end of the connection."""
        try:
            self._socket.settimeout(1)
            self._socket.sendall(pdus.abort())
        except OSError:
            pass
        finally:
            self._socket.close()


def _encrypted(
    connection: socket.socket, context: ssl.SSLContext, host: str, expected: Certificate | None
) -> socket.socket:
    """The connection over TLS, to whom it was meant for. Unreachable; then it is closed."""
    try:
        connection = context.wrap_socket(connection, server_hostname=host)
    except OSError as error:
        connection.close()
        raise Unreachable(f"no connection over TLS: {tls.reason(error)}") from error
    if expected and (shown := tls.shown(connection)) and not admission.is_of(expected, shown):
        connection.close()
        raise Unreachable(f"no connection over TLS: the certificate is not this partner's (its spki is {shown.spki})")
    return connection


def _pdvs(pdu: bytes) -> Iterable[_Fragment]:
    """Each PDV of a P-DATA-TF (PS3.8 9.3.5)."""
    offset = 6
    while offset + 6 <= len(pdu):
        (length,) = struct.unpack_from(">I", pdu, offset)
        if length < 2:
            raise AssociationLost("the partner sent a PDV of impossible length")
        yield pdu[offset + 4], pdu[offset + 5], pdu[offset + 6 : offset + 4 + length]
        offset += 4 + length
