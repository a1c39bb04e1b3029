"""PDVs → DIMSE messages. A C-STORE's dataset goes straight to its part file, fragment by fragment, never decoded.

Takes the place of pynetdicom's DIMSE provider in an acceptor's association. Runs in the thread that reads the network,
so it never blocks on anything but the disk, and never raises: what breaks the protocol (an unknown context or command
field, a dataset without a command, an Identifier over its cap) ends the association with A-ABORT (PS3.8 9.2.3, Evt19).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import _MESSAGE_TYPES, DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL
from pynetdicom.dsutils import decode
from pynetdicom.pdu_primitives import P_DATA

from dicomnode.dicom import identifier
from dicomnode.dicom.part10 import Origin
from dicomnode.errors import DicomnodeError
from dicomnode.net import commands
from dicomnode.net.commands import StoreRequest
from dicomnode.store.archive import Part

log = logging.getLogger(__name__)

_COMMAND, _LAST = 1, 2
_NO_DATASET = 0x0101
_COMMAND_CAP = 64 * 1024
_CANCELS = 10
_WAITING = 4
"""Requests that may wait while one is served: nobody has negotiated to send more than one (PS3.7 D.3.3.3)."""


@dataclass(slots=True)
class Incoming:
    """A C-STORE-RQ and where its dataset went: a part file and its origin, or the reason why there is none."""

    request: StoreRequest
    origin: Origin | None = None
    part: Part | None = None
    error: DicomnodeError | None = None
    is_valid_request = True

    def write(self, fragment: memoryview) -> None:
        """Add a fragment; what is refused already is read and dropped."""
        if self.part:
            self.part.write(fragment)


Opener = Callable[[StoreRequest, int], Incoming]
"""Opens the part for a C-STORE-RQ on a presentation context id."""


class _Broken(Exception):
    """The peer broke the protocol."""


class Inbox(DIMSEServiceProvider):
    """Assembles the messages of one association; at most one is being received at a time."""

    def __init__(self, assoc: Any, opener: Opener) -> None:
        super().__init__(assoc)
        self._open = opener
        self._command = bytearray()
        self._message: DIMSEMessage | None = None
        self._incoming: Incoming | None = None
        self._context = 0

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take in one P-DATA: pynetdicom's state machine calls this."""
        try:
            for context, data in primitive.presentation_data_value_list:
                if not data or context not in self.assoc._accepted_cx:
                    raise _Broken(f"a PDV on presentation context {context}, which was not accepted")
                self._fragment(context, data[0], memoryview(data)[1:])
        except _Broken as broken:
            log.warning("protocol error from=%s: %s", self.assoc.requestor.ae_title, broken)
            self.dul.event_queue.put("Evt19")

    def discard(self) -> None:
        """Remove what was being received, and what nobody will serve any more: the association is over."""
        waiting = [self._incoming]
        while not self.msg_queue.empty():
            waiting.append(self.msg_queue.get()[1])
        for message in waiting:
            if isinstance(message, Incoming) and message.part:
                message.part.discard()

    def _fragment(self, context: int, control: int, fragment: memoryview) -> None:
        if control & _COMMAND:
            self._command += fragment
            if len(self._command) > _COMMAND_CAP:
                raise _Broken("a command set over 64 KiB")
            if control & _LAST:
                self._begin(context)
            return
        if context != self._context or (self._message is None and self._incoming is None):
            raise _Broken("a dataset without its command")
        if self._incoming:
            self._incoming.write(fragment)
        elif self._message:
            self._message.data_set.write(fragment)
            if self._message.data_set.tell() > identifier.CAP:
                raise _Broken("an Identifier over 4 MiB")
        if control & _LAST:
            self._finish()

    def _begin(self, context: int) -> None:
        """The command set is whole: a message begins, and ends here where it has no dataset."""
        if self._message or self._incoming:
            raise _Broken("a command in the middle of a message")
        self._context = context
        command, self._command = bytes(self._command), bytearray()
        try:
            request = commands.store_request_in(command)
        except ValueError as error:
            raise _Broken(str(error)) from error
        if request:
            self._incoming = self._open(request, context)
            has_dataset = request.has_dataset
        else:
            self._message, has_dataset = self._decode(command)
            _drop_impossible_values(self._message)
            self._primitive(self._message)
        if not has_dataset:
            self._finish()

    @staticmethod
    def _decode(command: bytes) -> tuple[DIMSEMessage, bool]:
        message = DIMSEMessage()
        try:
            message.command_set = decode(BytesIO(command), True, True)
            message.__class__ = _MESSAGE_TYPES[message.command_set.CommandField][1]
            has_dataset = message.command_set.CommandDataSetType != _NO_DATASET
        except Exception as error:  # whatever pydicom makes of hostile bytes
            raise _Broken(f"a command set that cannot be read ({type(error).__name__})") from error
        message.data_set = BytesIO()
        return message, has_dataset

    @staticmethod
    def _primitive(message: DIMSEMessage) -> Any:
        try:
            return message.message_to_primitive()
        except Exception as error:
            raise _Broken(f"a command set with impossible values ({type(error).__name__})") from error

    def _finish(self) -> None:
        if self._incoming:
            finished, self._incoming = self._incoming, None
            self._queue(finished)
            return
        message, self._message = self._message, None
        request = self._primitive(message)
        if isinstance(request, C_CANCEL):
            if len(self.cancel_req) < _CANCELS:
                self.cancel_req[request.MessageIDBeingRespondedTo] = request
        else:
            self._queue(request)

    def _queue(self, request: Any) -> None:
        """A request waits to be served. What was cancelled before it came was an earlier one, whatever its number."""
        if self.msg_queue.qsize() >= _WAITING:
            raise _Broken("requests upon requests, and no waiting for an answer")
        self.cancel_req.clear()
        self.msg_queue.put((self._context, request))


def _drop_impossible_values(message: DIMSEMessage) -> None:
    """What pynetdicom cannot hold: UIDs over 64 characters, a Move Destination that is no AE title.

    Without them a request can be answered (0117H, A801H); with them it would be the end of the association.
    """
    command = message.command_set
    for keyword in ("AffectedSOPClassUID", "AffectedSOPInstanceUID"):
        if len(str(command.get(keyword, ""))) > 64:
            delattr(command, keyword)
    if "MoveDestination" in command and not 1 <= len(str(command.MoveDestination or "").strip()) <= 16:
        del command.MoveDestination
