"""The C-MOVE SCP (PS3.4 C.4.2.3): decided before anybody is contacted, sent as it is stored, counted as it went.

A service class of ours: pynetdicom's re-encodes what is stored, names itself as the originator, dials before it can
refuse, and reports Remaining in the final response. Counts above 65,535, the most that US can say, are given as that.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from io import BytesIO

from pynetdicom.dimse_primitives import C_MOVE
from pynetdicom.presentation import PresentationContext

from dicomnode.dicom import encode, identifier
from dicomnode.dicom.encode import Element
from dicomnode.net import answering
from dicomnode.net.answering import Served
from dicomnode.net.requestor import Requestor
from dicomnode.operations import retrieve
from dicomnode.operations.ports import Originator
from dicomnode.operations.retrieve import SubOperation
from dicomnode.rules.contexts import IMPLICIT_LE, PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE
from dicomnode.rules.matching import Model

log = logging.getLogger(__name__)

MODELS = {PATIENT_ROOT_MOVE: Model.PATIENT_ROOT, STUDY_ROOT_MOVE: Model.STUDY_ROOT}
_SUCCESS, _WARNING, _PENDING, _CANCEL, _ALL_FAILED = 0x0000, 0xB000, 0xFF00, 0xFE00, 0xA702
_FAILED_LIST = 0x00080058
_LONGEST_LIST = 65534
_EVERY = 1.0
"""Seconds between Pending responses: no fewer, and no more than one longer while a sub-operation takes its time."""


@dataclass(slots=True)
class Tally:
    """The counts of one C-MOVE, and what failed."""

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
            return _ALL_FAILED
        return _WARNING if self.failed or self.warning else _SUCCESS


def serve(assoc: Served, request: C_MOVE, context: PresentationContext) -> None:
    """Answer one C-MOVE-RQ, to its final response."""
    with answering.answered() as problem:
        _move(assoc, request, context)
    assoc.dimse.cancel_req.pop(request.MessageID, None)
    if problem:
        status, comment = problem[0]
        log.warning("move refused for=%s status=%04XH: %s", assoc.requestor.ae_title, status, comment)
        answering.respond(assoc, request, context, status, comment)


def _move(assoc: Served, request: C_MOVE, context: PresentationContext) -> None:
    assert assoc.partner is not None
    implicit = context.transfer_syntax[0] == IMPLICIT_LE
    asked = identifier.decode(request.Identifier.getvalue() if request.Identifier else b"", implicit=implicit)
    destination = (request.MoveDestination or "").strip()
    plan = retrieve.plan(asked, MODELS[context.abstract_syntax], destination, assoc.partner, assoc.node)
    originator = Originator(assoc.caller.calling_ae_title, request.MessageID, request.Priority)
    tally, reported = Tally(len(plan.instances)), 0.0

    def stopped() -> bool:
        return answering.is_over(assoc) or request.MessageID in assoc.dimse.cancel_req

    for done in retrieve.send(plan, originator, Requestor(assoc.node.config), assoc.node, stopped):
        if done:
            tally.add(done)
        if tally.remaining and time.monotonic() - reported >= _EVERY:
            _respond(assoc, request, context, tally, _PENDING)
            reported = time.monotonic()
    counts = tally.completed, len(tally.failed), tally.warning, tally.remaining
    log.log(
        logging.WARNING if tally.failed else logging.INFO,
        "moved to=%s for=%s completed=%d failed=%d warning=%d remaining=%d",
        *(plan.destination.display, assoc.partner.name, *counts),
    )
    _respond(assoc, request, context, tally, tally.final)


def _respond(assoc: Served, request: C_MOVE, context: PresentationContext, tally: Tally, status: int) -> None:
    response = C_MOVE()
    response.MessageID = request.MessageID
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID
    response.Status = status
    if status in (_PENDING, _CANCEL):  # absent from every other response (PS3.4 C.4.2.1.6)
        response.NumberOfRemainingSuboperations = min(tally.remaining, 0xFFFF)
    response.NumberOfCompletedSuboperations = min(tally.completed, 0xFFFF)
    response.NumberOfFailedSuboperations = min(len(tally.failed), 0xFFFF)
    response.NumberOfWarningSuboperations = min(tally.warning, 0xFFFF)
    if tally.failed and status != _PENDING:
        response.Identifier = BytesIO(_failed_list(tally.failed, context.transfer_syntax[0] == IMPLICIT_LE))
    assoc.dimse.send_msg(response, context.context_id)


def _failed_list(uids: list[str], implicit: bool) -> bytes:
    """Failed SOP Instance UID List, as much of it as one UI value can hold (PS3.5 7.1.2)."""
    text = "\\".join(uids)
    if len(text) > _LONGEST_LIST:
        text = text[:_LONGEST_LIST].rpartition("\\")[0]
    return encode.identifier([Element(_FAILED_LIST, "UI", text)], implicit=implicit, character_set="")
