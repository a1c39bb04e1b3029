"""The responses to a C-MOVE or C-GET: counted as it went, at most one Pending a second, and what failed at the end.

What they have in common (PS3.4 C.4.2, C.4.3): what is asked for, the counts, the statuses, and the Failed SOP Instance
UID List. Counts above 65,535, the most that US can say, are given as that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pynetdicom.presentation import PresentationContext

from dicomnode.dicom import encode
from dicomnode.dicom.encode import Element
from dicomnode.net import answering
from dicomnode.net.answering import Served
from dicomnode.operations.account import SubOperation
from dicomnode.operations.retrieve import Asked, Plan
from dicomnode.rules.contexts import IMPLICIT_LE
from dicomnode.rules.matching import MODELS
from dicomnode.rules.negotiated import Features

log = logging.getLogger(__name__)

_SUCCESS, _WARNING, _PENDING, _CANCEL, _UNABLE = 0x0000, 0xB000, 0xFF00, 0xFE00, 0xA702
_REFUSED = {0xA700: 0xA701, 0x0110: 0xC000}
"""What an error is called where no sub-operation was begun: the matches could not be counted, or we cannot do it."""
_FAILED_LIST = 0x00080058
_LONGEST_LIST = 65534
_MOST = 0xFFFF
_EVERY = 1.0
"""Seconds between Pending responses: no fewer, and no more than one longer while a sub-operation takes its time."""

Service = Callable[[Served, Any, PresentationContext], None]
"""Carries out one request, to its final response; raises where it is refused."""


@dataclass(slots=True)
class Tally:
    """The counts of one C-MOVE or C-GET, and what failed."""

    total: int
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)

    def add(self, done: SubOperation) -> None:
        """Count one sub-operation."""
        if not done.completed:
            self.failed.append(done.sop_instance_uid)
        elif done.warning:
            self.warning += 1
        else:
            self.completed += 1

    @property
    def remaining(self) -> int:
        """Sub-operations that were not begun."""
        return self.total - self.completed - self.warning - len(self.failed)

    @property
    def final(self) -> int:
        """The final status (PS3.4 C.4.2.1.5)."""
        if self.remaining:
            return _CANCEL
        if self.failed and len(self.failed) == self.total:
            return _UNABLE
        return _WARNING if self.failed or self.warning else _SUCCESS


def serve(assoc: Served, request: Any, context: PresentationContext, service: Service) -> None:
    """Answer one C-MOVE-RQ or C-GET-RQ, whatever becomes of it."""
    with answering.answered() as problem:
        service(assoc, request, context)
    assoc.dimse.cancel_req.pop(request.MessageID, None)
    if problem:
        status, comment = _REFUSED.get(problem[0][0], problem[0][0]), problem[0][1]
        log.warning("retrieve refused for=%s status=%04XH: %s", assoc.requestor.ae_title, status, comment)
        answering.respond(assoc, request, context, status, comment)


def asked(assoc: Served, request: Any, context: PresentationContext) -> Asked:
    """What is asked for. Raises BadIdentifier."""
    uid = str(context.abstract_syntax)
    identifier = answering.identifier_of(assoc, request, context)
    return Asked(identifier, MODELS[uid], assoc.features.get(uid, Features()))


class Responses:
    """The responses to one request, as its sub-operations go."""

    def __init__(self, assoc: Served, request: Any, context: PresentationContext, plan: Plan) -> None:
        self._assoc, self._request, self._context = assoc, request, context
        self._destination = plan.destination
        self._reported = 0.0
        self.tally = Tally(len(plan.instances))

    def __repr__(self) -> str:
        return f"Responses({self._destination.display}, {self.tally.remaining} remaining)"

    @property
    def is_cancelled(self) -> bool:
        """Whether a C-CANCEL for this request, and for no other, has come."""
        return self._request.MessageID in self._assoc.dimse.cancel_req

    def follow(self, results: Iterable[SubOperation | None]) -> None:
        """Count what is done, and say so in good time, to the final response; also where we cannot go on."""
        with answering.answered() as problem:
            for done in results:
                if done:
                    self.tally.add(done)
                self.pending()
        if problem:
            self._finish(_UNABLE, problem[0][1])
        else:
            self._finish(self.tally.final, "")

    def pending(self) -> None:
        """Say how far it is, unless that was said within the last second."""
        if self.tally.remaining and time.monotonic() - self._reported >= _EVERY:
            self._respond(_PENDING)
            self._reported = time.monotonic()

    def _finish(self, status: int, comment: str) -> None:
        tally, assoc = self.tally, self._assoc
        counts = tally.completed, len(tally.failed), tally.warning, tally.remaining
        log.log(
            logging.WARNING if tally.failed or comment else logging.INFO,
            "retrieved to=%s for=%s completed=%d failed=%d warning=%d remaining=%d status=%04XH %s",
            *(self._destination.display, assoc.requestor.ae_title, *counts, status, comment),
        )
        self._respond(status, comment)

    def _respond(self, status: int, comment: str = "") -> None:
        request, tally = self._request, self.tally
        response = type(request)()
        response.MessageID = request.MessageID
        response.MessageIDBeingRespondedTo = request.MessageID
        response.AffectedSOPClassUID = request.AffectedSOPClassUID
        response.Status = status
        if comment:
            response.ErrorComment = answering.shortened(comment)
        if status in (_PENDING, _CANCEL):  # absent from every other response (PS3.4 C.4.2.1.6)
            response.NumberOfRemainingSuboperations = min(tally.remaining, _MOST)
        response.NumberOfCompletedSuboperations = min(tally.completed, _MOST)
        response.NumberOfFailedSuboperations = min(len(tally.failed), _MOST)
        response.NumberOfWarningSuboperations = min(tally.warning, _MOST)
        if tally.failed and status != _PENDING:
            implicit = self._context.transfer_syntax[0] == IMPLICIT_LE
            response.Identifier = BytesIO(_failed_list(tally.failed, implicit))
        self._assoc.dimse.send_msg(response, self._context.context_id)


def _failed_list(uids: list[str], implicit: bool) -> bytes:
    """Failed SOP Instance UID List, as much of it as one UI value can hold (PS3.5 7.1.2)."""
    text = "\\".join(uids)
    if len(text) > _LONGEST_LIST:
        text = text[: _LONGEST_LIST + 1].rpartition("\\")[0]
    return encode.identifier([Element(_FAILED_LIST, "UI", text)], implicit=implicit, character_set="")
