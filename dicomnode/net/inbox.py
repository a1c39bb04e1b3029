"""PDVs → DIMSE messages. A C-STORE's dataset goes straight to its part file, piece by piece, never decoded.

Takes the place of pynetdicom's DIMSE provider in an acceptor's association, in both directions. The reactor calls
`receive` in the association's one thread; what is complete waits in `requests` to be served. It blocks on nothing but
the disk. What breaks the protocol raises Broken: an unknown context or command field, a dataset without a command,
a command set over 64 KiB, an Identifier (or what an N-message has in its place) over its cap, a dataset of four times
the cap, requests upon requests while one is served, responses upon responses. The C-STORE-RSPs to sub-operations of a
C-GET go to who awaits them, while that request is served.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import _MESSAGE_TYPES, DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL
from pynetdicom.dsutils import decode

from dicomnode.dicom import identifier
from dicomnode.dicom.part10 import Origin
from dicomnode.errors import DicomnodeError
from dicomnode.net import commands, pdus
from dicomnode.net.commands import Response, StoreRequest
from dicomnode.net.pdus import COMMAND, LAST
from dicomnode.net.reactor import Broken
from dicomnode.store.archive import Part

log = logging.getLogger(__name__)

_RESPONSES = {
    name.removesuffix("-RSP").replace("-", "_"): field
    for field, (name, _) in _MESSAGE_TYPES.items()
    if name.endswith("-RSP")
}
"""The name of a primitive's class → the command field of its response."""
_NO_DATASET = 0x0101
_UIDS = ("AffectedSOPClassUID", "AffectedSOPInstanceUID", "RequestedSOPClassUID", "RequestedSOPInstanceUID")
_COMMAND_CAP = 64 * 1024
_ENDLESS = 4
"""Times the cap of an object: what is longer is not read to its end, to be answered, but aborted."""
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
    size: int = 0

    def write(self, piece: memoryview, cap: int) -> None:
        """Add a piece of the dataset; what is refused already is read and dropped, but not for ever."""
        self.size += len(piece)
        if self.size > _ENDLESS * cap:
            raise Broken("a dataset without an end")
        if self.part:
            self.part.write(piece)


Opener = Callable[[StoreRequest, int], Incoming]
"""Opens the part for a C-STORE-RQ on a presentation context id."""


class Inbox(DIMSEServiceProvider):
    """Assembles the messages of one association; at most one is being received at a time.

    `requests` are complete: (context id, Incoming or a request primitive of pynetdicom's).
    """

    def __init__(self, assoc: Any, opener: Opener, cap: int) -> None:
        super().__init__(assoc)
        self._cap = cap
        self.requests: deque[tuple[int, Any]] = deque()
        self._open = opener
        self._command = bytearray()
        self._message: DIMSEMessage | None = None
        self._incoming: Incoming | None = None
        self._context = 0
        self._answers: deque[Response] | None = None

    def receive(self, context: int, control: int, piece: memoryview) -> None:
        """Take in one piece of a PDV (PS3.8 E.2)."""
        if context not in self.assoc._accepted_cx:
            raise Broken(f"a PDV on presentation context {context}, which was not accepted")
        if control & COMMAND:
            if self._message or self._incoming:
                raise Broken("a command in the middle of a message")
            self._command += piece
            if len(self._command) > _COMMAND_CAP:
                raise Broken("a command set over 64 KiB")
            if control & LAST:
                self._begin(context)
            return
        if context != self._context or (self._message is None and self._incoming is None):
            raise Broken("a dataset without its command")
        if self._incoming:
            self._incoming.write(piece, self._cap)
        elif self._message:
            self._message.data_set.write(piece)
            if self._message.data_set.tell() > identifier.CAP:
                raise Broken("an Identifier, or the like of it, over 4 MiB")
        if control & LAST:
            self._finish()

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a response, as pynetdicom's service classes do, with the dataset that it may have."""
        answer: BytesIO | None = getattr(primitive, "Identifier", None)
        dataset = answer.getvalue() if answer else b""
        field = _RESPONSES[type(primitive).__name__]
        self.send(context_id, commands.of_response(primitive, field, has_dataset=bool(dataset)), dataset)

    def send(self, context: int, command: bytes, dataset: bytes = b"") -> None:
        """Send a command set, and a dataset where it has one, in PDUs no longer than the peer takes (0: any length)."""
        self.send_each(context, command, [dataset])

    def send_each(self, context: int, command: bytes, datasets: Sequence[bytes]) -> None:
        """Send a message for each dataset, all at once; their command sets are the same."""
        step = pdus.longest_fragment(self.maximum_pdu_size or max(len(command), *map(len, datasets)) + 7)
        said = pdus.data(context, COMMAND, command, step)
        self.assoc.reactor.send(b"".join(said + pdus.data(context, 0, dataset, step) for dataset in datasets))

    @contextmanager
    def awaiting(self) -> Iterator[deque[Response]]:
        """A block in which C-STORE-RSPs are expected; they come in what it is given."""
        self._answers = deque()
        try:
            yield self._answers
        finally:
            self._answers = None

    def discard(self) -> None:
        """Remove what was being received, and what nobody will serve any more: the association is over."""
        waiting = [self._incoming, *(message for _, message in self.requests)]
        for message in waiting:
            if isinstance(message, Incoming) and message.part:
                message.part.discard()

    def _begin(self, context: int) -> None:
        """The command set is whole: a message begins, and ends here where it has no dataset."""
        self._context = context
        command, self._command = bytes(self._command), bytearray()
        try:
            request, answer = commands.store_request_in(command), commands.store_response_in(command)
        except ValueError as error:
            raise Broken(str(error)) from error
        if answer:
            self._answered(answer)
            return
        if request:
            self._incoming = self._open(request, context)
            has_dataset = request.has_dataset
        else:
            self._message, has_dataset = self._decode(command)
            _drop_impossible_values(self._message)
        if not has_dataset:
            self._finish()

    def _answered(self, answer: Response) -> None:
        if self._answers is None:
            log.warning("ignored a response from=%s that nobody asked for", self.assoc.requestor.ae_title)
            return
        self._answers.append(answer)
        if len(self._answers) > _WAITING:
            raise Broken("responses upon responses to one request")

    @staticmethod
    def _decode(command: bytes) -> tuple[DIMSEMessage, bool]:
        message = DIMSEMessage()
        try:
            message.command_set = decode(BytesIO(command), True, True)
            message.__class__ = _MESSAGE_TYPES[message.command_set.CommandField][1]
            has_dataset = message.command_set.CommandDataSetType != _NO_DATASET
        except Exception as error:  # whatever pydicom makes of hostile bytes
            raise Broken(f"a command set that cannot be read ({type(error).__name__})") from error
        message.data_set = BytesIO()
        return message, has_dataset

    @staticmethod
    def _primitive(message: DIMSEMessage) -> Any:
        try:
            return message.message_to_primitive()
        except Exception as error:
            raise Broken(f"a command set with impossible values ({type(error).__name__})") from error

    def _finish(self) -> None:
        if self._incoming:
            finished, self._incoming = self._incoming, None
            self._queue(finished)
            return
        message, self._message = self._message, None
        request = self._primitive(message)
        if isinstance(request, C_CANCEL):
            self.cancel_req[request.MessageIDBeingRespondedTo] = request
            if len(self.cancel_req) > _CANCELS:
                del self.cancel_req[next(iter(self.cancel_req))]
        else:
            self._queue(request)

    def _queue(self, request: Any) -> None:
        """A request waits to be served. What was cancelled before it came was an earlier one of the same number."""
        self.requests.append((self._context, request))
        if len(self.requests) > _WAITING:
            raise Broken("requests upon requests, and no waiting for an answer")
        self.cancel_req.pop(getattr(request, "MessageID", None), None)


def _drop_impossible_values(message: DIMSEMessage) -> None:
    """What pynetdicom cannot hold: UIDs over 64 characters, a Move Destination that is no AE title.

    Without them a request can be answered (0117H, A801H); with them it would be the end of the association.
    """
    command = message.command_set
    for keyword in _UIDS:
        if len(str(command.get(keyword, ""))) > 64:
            delattr(command, keyword)
    if "MoveDestination" in command and not 1 <= len(str(command.MoveDestination or "").strip()) <= 16:
        del command.MoveDestination
