"""One association as its requestor, on a blocking socket: PDUs, with a deadline on every wait (PS3.8 9.3).

pynetdicom's PDU classes say the negotiation; the data goes by hand. While we send, a deadline is of standing still:
whoever takes another byte within it, or has the kernel's queue shrink, is waited for, be the line ever so slow. An
answer has as long to begin from when its request was taken, and once more as long to be whole, however it comes; it
is of bounded length. A release never takes longer than its farewell. What may fail: Unreachable and Rejected while it
opens, AssociationLost from then on.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import select
import socket
import ssl
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext

from dicomnode.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.errors import AssociationLost, Rejected, Unreachable
from dicomnode.net import pdus, tls
from dicomnode.net.sockets import acknowledge_at_once, tune
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
_A = TypeVar("_A")
_T = TypeVar("_T")


class Channel:
    """An open association. `accepted` are the ids of the accepted contexts; `step` is the most bytes of one PDV."""

    def __init__(
        self, address: tuple[str, int], *, connect: float, response: float, over: ssl.SSLContext | None = None
    ) -> None:
        try:
            self._socket = socket.create_connection(address, connect)
        except OSError as error:
            raise Unreachable(f"no connection: {error.strerror or error}") from error
        tune(self._socket, response)
        if over:
            self._socket = _encrypted(self._socket, over, address[0])
        self._response = response
        self._received = bytearray()
        self.accepted: frozenset[int] = frozenset()
        self.step = _MOST - pdus.PDV.size

    def associate(self, calling: str, called: str, proposals: Sequence[Proposal]) -> None:
        """A-ASSOCIATE. Rejected, or Unreachable where what answers is no DICOM acceptor."""
        request = A_ASSOCIATE_RQ()
        request.from_primitive(_request(calling, called, proposals))
        try:
            self.send(request.encode())
            kind, pdu = self._receive(self._begun())
            if kind == pdus.ASSOCIATE_RJ:
                raise _rejected(pdu)
            if kind != pdus.ASSOCIATE_AC:
                raise Unreachable("the partner aborted the association request")
            self._negotiated(pdu, {proposal.id: proposal.transfer_syntaxes for proposal in proposals})
        except AssociationLost as error:
            raise Unreachable(f"no answer to the association request: {error}") from error

    def _negotiated(self, pdu: bytes, proposed: Mapping[int, tuple[str, ...]]) -> None:
        """Take the answer at its word, but for a context that is accepted in a syntax that was never proposed."""
        answer = A_ASSOCIATE_AC()
        try:
            answer.decode(pdu)
            primitive = answer.to_primitive()
            results = primitive.presentation_context_definition_results_list
            self.accepted = frozenset(
                context.context_id
                for context in results
                if context.result == 0 and context.transfer_syntax[0] in proposed.get(context.context_id, ())
            )
            most = answer.user_information.maximum_length or _MOST
        except Exception as error:  # whatever the library makes of a malformed PDU
            raise Unreachable("the partner's answer to the association request cannot be read") from error
        self.step = pdus.longest_fragment(min(most, _MOST - 6))

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
        by = self._begun()
        command, last = b"", False
        while not last:
            more, last = self._more(by)
            command += more
            if len(command) > _LONGEST_COMMAND:
                raise AssociationLost("the partner sent a response without end")
        return command

    def _more(self, by: float) -> tuple[bytes, bool]:
        """What the next PDU brings of a command set, and whether it ends there."""
        kind, pdu = self._receive(by)
        if kind != pdus.DATA:
            raise AssociationLost("the partner aborted" if kind == pdus.ABORT else "the partner ended the association")
        more = bytearray()
        for control, fragment in _pdvs(pdu):
            if not control & pdus.COMMAND:
                raise AssociationLost("the partner sent a dataset where a response was expected")
            more += fragment
            if control & pdus.LAST:
                return bytes(more), True
        if not more:
            raise AssociationLost("the partner sent an empty PDU")
        return bytes(more), False

    def _begun(self) -> float:
        """Wait for the first byte of an answer; by when all of it must have come."""
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
        left, until = self._untaken(), time.monotonic() + self._response
        while (seconds := min(by, until) - time.monotonic()) > 0:
            try:
                self._socket.settimeout(min(seconds, self._response / _LOOKS))
                return wait(argument)
            except TimeoutError:
                before, left = left, self._untaken()
                if left < before:
                    until = time.monotonic() + self._response
            except OSError as error:
                raise AssociationLost(f"the connection broke: {tls.reason(error)}") from error
        raise AssociationLost("the partner did not answer in time")

    def _untaken(self) -> int:
        """Bytes that we have sent and the partner's machine has not taken (0 where the system cannot tell)."""
        count = bytearray(4)
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed
            fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, count)
        return int.from_bytes(count, sys.byteorder)

    @property
    def is_closed(self) -> bool:
        """Whether we have ended it."""
        return self._socket.fileno() < 0

    @property
    def is_over(self) -> bool:
        """Whether it has ended: between two requests, whatever a partner says is its end."""
        if self.is_closed or self._received:
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


def _encrypted(connection: socket.socket, context: ssl.SSLContext, host: str) -> socket.socket:
    """The connection over TLS, to whom it was meant for. Unreachable; then it is closed."""
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except OSError as error:
        connection.close()
        raise Unreachable(f"no connection over TLS: {tls.reason(error)}") from error


def _request(calling: str, called: str, proposals: Sequence[Proposal]) -> Any:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID("1.2.840.10008.3.1.1.1")
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    contexts = []
    for proposal in proposals:
        context = PresentationContext()
        context.context_id = proposal.id
        context.abstract_syntax = UID(proposal.abstract_syntax)
        context.transfer_syntax = [UID(syntax) for syntax in proposal.transfer_syntaxes]
        contexts.append(context)
    primitive.presentation_context_definition_list = contexts
    length, uid, version = (
        MaximumLengthNotification(),
        ImplementationClassUIDNotification(),
        ImplementationVersionNameNotification(),
    )
    length.maximum_length_received = _MAXIMUM_LENGTH
    uid.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    primitive.user_information = [length, uid, version]
    return primitive


def _rejected(pdu: bytes) -> Rejected:
    answer = A_ASSOCIATE_RJ()
    try:
        answer.decode(pdu)
        why = f"{answer.result_str}, {answer.reason_str}"
    except Exception:
        why = "for a reason that cannot be read"
    return Rejected(f"the partner rejected the association: {why}")


def _pdvs(pdu: bytes) -> Iterable[tuple[int, bytes]]:
    """(message control header, fragment) of each PDV of a P-DATA-TF (PS3.8 9.3.5)."""
    offset = 6
    while offset + 6 <= len(pdu):
        (length,) = struct.unpack_from(">I", pdu, offset)
        if length < 2:
            raise AssociationLost("the partner sent a PDV of impossible length")
        yield pdu[offset + 5], pdu[offset + 6 : offset + 4 + length]
        offset += 4 + length
