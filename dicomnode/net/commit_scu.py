"""Storage Commitment as its SCU (PS3.4 J): we ask a partner, and it tells us the result, now or on another association.

A result is heard only on a context that was negotiated for it, and by operations/confirm.py, which knows what we asked
of whom. Whatever is wrong with it is answered with its status, and changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial

from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.presentation import PresentationContext

from dicomnode.errors import (
    AssociationLost,
    InvalidArgument,
    NoSuchClass,
    NoSuchEventType,
    NoSuchInstance,
    PartnerError,
)
from dicomnode.net import answering, commands, commitment
from dicomnode.net.answering import Served
from dicomnode.net.commands import EventReport
from dicomnode.net.conversation import Conversation
from dicomnode.operations import confirm
from dicomnode.operations.ports import Reference, Report, Stopped
from dicomnode.rules.contexts import IMPLICIT_LE, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE

log = logging.getLogger(__name__)

_MOMENT = 2.0
"""Seconds that we wait for a result on the association on which we asked."""
_LOOK = 0.1
"""Seconds after which it is looked whether it has come on another."""


def ask(
    talk: Conversation, transaction_uid: str, references: Sequence[Reference], over: Stopped
) -> Report | None:
    """N-ACTION; the result where it comes within a moment, and is not known from elsewhere (`over`).

    PartnerError: the request was not taken.
    """
    asked = partial(
        commands.action_request,
        sop_class_uid=STORAGE_COMMITMENT,
        sop_instance_uid=STORAGE_COMMITMENT_INSTANCE,
        action_type=commitment.REQUEST,
    )
    talk.request(asked, commitment.request(transaction_uid, references, implicit=talk.is_implicit))
    wanted = transaction_uid, frozenset(references)
    result, taken, until = None, False, 0.0
    while not taken or (result is None and _speaks(talk, until, over)):
        try:
            command, dataset = talk.receive()
        except AssociationLost:
            if not taken:
                raise
            return None  # the partner is done with this association: it tells on another
        event = commands.event_report_in(command)
        if event:
            result = _take(talk, event, dataset, wanted) or result
            continue
        status = talk.answer(command, commands.N_ACTION_RSP).status
        if status:
            raise PartnerError(f"the partner answered the request for commitment with {status:04X}H")
        taken, until = True, time.monotonic() + _MOMENT
    return result


def _speaks(talk: Conversation, until: float, over: Stopped) -> bool:
    """Whether the partner says something before then, and while something is to be told."""
    while not talk.speaks(min(_LOOK, until - time.monotonic())):
        if time.monotonic() >= until or over():
            return False
    return True


def _take(
    talk: Conversation, event: EventReport, dataset: bytes, wanted: tuple[str, frozenset[Reference]]
) -> Report | None:
    """Answer an N-EVENT-REPORT; the result if it is that of our request, of every instance and no other."""
    transaction_uid, references = wanted
    report = None
    with answering.answered() as problem:
        report = _heard(event, dataset, implicit=talk.is_implicit)
        named = {*report.committed, *(each for each, _ in report.failed)}
        if report.transaction_uid != transaction_uid or named != references:
            raise InvalidArgument("this is not the result of what was asked on this association")
    talk.send(commands.event_response(event, problem[0][0] if problem else 0))
    return None if problem else report


def serve(assoc: Served, request: N_EVENT_REPORT, context: PresentationContext) -> None:
    """Answer an N-EVENT-REPORT on an association that a partner has opened: 0000H once its result is kept."""
    assert assoc.partner is not None
    status, comment = 0x0000, ""
    event = EventReport(
        request.MessageID,
        request.AffectedSOPClassUID or "",
        request.AffectedSOPInstanceUID or "",
        request.EventTypeID or 0,
    )
    dataset = request.EventInformation.getvalue() if request.EventInformation else b""
    with answering.answered() as problem:
        report = _heard(event, dataset, implicit=context.transfer_syntax[0] == IMPLICIT_LE)
        confirm.hear(report, assoc.partner, assoc.node)
    if problem:
        status, comment = problem[0]
        log.warning("commitment result refused from=%s status=%04XH: %s", assoc.partner.name, status, comment)
    answering.respond(assoc, request, context, status, comment)


def _heard(event: EventReport, dataset: bytes, *, implicit: bool) -> Report:
    """The result in an N-EVENT-REPORT (PS3.4 J.3.3); raises with the status that tells what is wrong with it."""
    if event.sop_class_uid != STORAGE_COMMITMENT:
        raise NoSuchClass("the Affected SOP Class is not Storage Commitment Push Model")
    if event.sop_instance_uid != STORAGE_COMMITMENT_INSTANCE:
        raise NoSuchInstance("the Affected SOP Instance is not the well-known one")
    if event.event_type not in (commitment.ALL_COMMITTED, commitment.SOME_FAILED):
        raise NoSuchEventType("the Event Type is neither 1 nor 2")
    return commitment.reported(dataset, implicit=implicit)
