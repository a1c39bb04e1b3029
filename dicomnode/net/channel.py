"""One association as its requestor, on a blocking socket: PDUs, with a deadline on every wait (PS3.8 9.3).

pynetdicom's PDU classes say the negotiation; the data goes by hand. Nothing of a message is held but one PDU's worth
of it. What may fail: Unreachable and Rejected while it opens, AssociationLost from then on.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
from dicomnode.rules.contexts import Proposal

_AC, _RJ, _DATA, _RELEASE_RQ, _RELEASE_RP, _ABORT = 2, 3, 4, 5, 6, 7
_RELEASE = bytes.fromhex("05000000000400000000")
_ABORTED = bytes.fromhex("07000000000400000000")
_MAXIMUM_LENGTH = 131072
"""Of the PDUs that we take, and the most that we fill where a partner takes any (bytes)."""
_LONGEST = 1 << 20
"""No PDU that a partner sends us as its acceptor has a reason to be longer."""
_HEADER = struct.Struct(">BxI")
_PDV = struct.Struct(">BxIIBB")


class Channel:
    """An open association. `accepted` are the ids of the accepted contexts; `step` is the most bytes of one PDV."""

    def __init__(self, address: tuple[str, int], *, connect: float, response: float) -> None:
        try:
            self._socket = socket.create_connection(address, connect)
        except OSError as error:
            raise Unreachable(f"no connection: {error.strerror or error}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(response)
        self.accepted: frozenset[int] = frozenset()
        self.step = _MAXIMUM_LENGTH - 6

    def associate(self, calling: str, called: str, proposals: Sequence[Proposal]) -> None:
        """A-ASSOCIATE. Rejected, or Unreachable where what answers is no DICOM acceptor."""
        request = A_ASSOCIATE_RQ()
        request.from_primitive(_request(calling, called, proposals))
        try:
            self._socket.sendall(request.encode())
            kind, pdu = self._receive()
            if kind == _RJ:
                raise _rejected(pdu)
            if kind != _AC:
                raise Unreachable("the partner aborted the association request")
            self._negotiated(pdu, {proposal.id: proposal.transfer_syntaxes for proposal in proposals})
        except AssociationLost as error:
            raise Unreachable(f"no answer to the association request: {error}") from error
        except OSError as error:
            raise Unreachable(f"no answer to the association request: {error.strerror or error}") from error

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
            most = answer.user_information.maximum_length or _MAXIMUM_LENGTH
        except Exception as error:  # whatever the library makes of a malformed PDU
            raise Unreachable("the partner's answer to the association request cannot be read") from error
        self.step = (max(min(most, _MAXIMUM_LENGTH), 16) - 6) & ~1  # fragments are of even length (PS3.7 F)

    def send(self, context: int, data: Iterable[tuple[bytes, bool]], *, command: bool) -> None:
        """Send the parts of a command set or dataset: (bytes, whether they are the last), each at most `step` long."""
        for part, last in data:
            control = (1 if command else 0) | (2 if last else 0)
            try:
                header = _PDV.pack(_DATA, len(part) + 6, len(part) + 2, context, control)
                self._socket.sendall(header + part)
            except OSError as error:
                raise AssociationLost(f"sending failed: {error.strerror or error}") from error

    def receive_command(self) -> bytes:
        """The command set of the next message; one that brings a dataset along is not expected here."""
        command = bytearray()
        while True:
            kind, pdu = self._receive()
            if kind != _DATA:
                raise AssociationLost("the partner aborted" if kind == _ABORT else "the partner ended the association")
            for control, fragment in _pdvs(pdu):
                if not control & 1:
                    raise AssociationLost("the partner sent a dataset where a response was expected")
                command += fragment
                if control & 2:
                    return bytes(command)

    def _receive(self) -> tuple[int, bytes]:
        """The type of the next PDU and the whole of it. AssociationLost: closed, silent, or impossible."""
        if hasattr(socket, "TCP_QUICKACK"):  # a peer with Nagle's algorithm waits for our ACK otherwise
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        header = self._exactly(6)
        kind, length = _HEADER.unpack(header)
        if length > _LONGEST:
            raise AssociationLost(f"the partner announced a PDU of {length} bytes")
        return kind, header + self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        data = bytearray()
        try:
            while len(data) < length:
                piece = self._socket.recv(length - len(data))
                if not piece:
                    raise AssociationLost("the partner closed the connection")
                data += piece
        except TimeoutError as error:
            raise AssociationLost("the partner did not answer in time") from error
        except OSError as error:
            raise AssociationLost(f"the connection broke: {error.strerror or error}") from error
        return bytes(data)

    def release(self) -> None:
        """A-RELEASE, and the end of the connection, whether or not the partner answers."""
        try:
            self._socket.sendall(_RELEASE)
            self._receive()
        except (OSError, AssociationLost):
            pass
        finally:
            self._socket.close()

    def abort(self) -> None:
        """A-ABORT, and the end of the connection."""
        try:
            self._socket.settimeout(1)
            self._socket.sendall(_ABORTED)
        except OSError:
            pass
        finally:
            self._socket.close()


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
