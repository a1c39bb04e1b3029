"""Storage Commitment as its SCP (PS3.4 J): a source asks us to commit, and we tell it the result.

The request is answered 0000H when it is on disk, and never before. The result goes out on the same association where
the source leaves that open and silent for a moment, and looking at its files takes no longer than one; otherwise the
forwarder opens an association to the source.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.presentation import PresentationContext

from dicomnode.errors import NoSuchAction, NoSuchClass, NoSuchInstance, OutOfResources, PartnerError
from dicomnode.net import answering, commands, commitment
from dicomnode.net.answering import Served
from dicomnode.net.conversation import Conversation
from dicomnode.operations import commit
from dicomnode.operations.ports import Report
from dicomnode.rules.contexts import IMPLICIT_LE, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE

log = logging.getLogger(__name__)

_MOMENT = 0.5
"""Seconds in which a source that does not wait for the result on this association ends it, or asks for more."""
_QUICK = 2.0
"""Seconds that looking at the files may take while the association waits."""


def serve(assoc: Served, request: N_ACTION, context: PresentationContext) -> None:
    """Answer one N-ACTION, and tell the result if it can be told at once."""
    status, comment, taken = 0x0000, "", 0
    with answering.answered() as problem:
        taken = _take(assoc, request, context)
    if problem:
        status, comment = problem[0]
        log.warning("commitment refused from=%s status=%04XH: %s", assoc.requestor.ae_title, status, comment)
    answering.respond(assoc, request, context, status, comment)
    if not problem:
        _tell(assoc, taken, context)


def _take(assoc: Served, request: N_ACTION, context: PresentationContext) -> int:
    """Write the request down; raises with the status that tells what is wrong with it."""
    assert assoc.partner is not None
    if request.RequestedSOPClassUID != STORAGE_COMMITMENT:
        raise NoSuchClass("the Requested SOP Class is not Storage Commitment Push Model")
    if request.RequestedSOPInstanceUID != STORAGE_COMMITMENT_INSTANCE:
        raise NoSuchInstance("the Requested SOP Instance is not the well-known one")
    if request.ActionTypeID != commitment.REQUEST:
        raise NoSuchAction("the Action Type is not 1")
    dataset = request.ActionInformation.getvalue() if request.ActionInformation else b""
    transaction, references = commitment.requested(dataset, implicit=context.transfer_syntax[0] == IMPLICIT_LE)
    return commit.take(transaction, references, assoc.partner, assoc.node)


def _tell(assoc: Served, taken: int, context: PresentationContext) -> None:
    """Send the result on this association, or leave it to the forwarder. What fails here, that will try again."""
    assert assoc.partner is not None
    reactor, until = assoc.reactor, time.monotonic() + _MOMENT + _QUICK

    def is_over() -> bool:
        return not reactor.is_silent() or time.monotonic() > until

    try:
        waits = not assoc.dimse.requests and reactor.is_silent(_MOMENT)
        result = commit.judge(taken, assoc.partner, assoc.node, is_over) if waits else None
        if result is None or not reactor.is_silent():
            commit.hand_over(taken, assoc.node)
            return
    except OutOfResources as error:
        log.error("commitment=%d waits: %s", taken, error)
        return
    message = max(assoc.told, default=0) + 1
    assoc.told[message] = taken
    implicit = context.transfer_syntax[0] == IMPLICIT_LE
    retrieve_from = assoc.node.config.node.ae_title if assoc.partner.may & {"move", "get"} else ""
    dataset = commitment.report(result, retrieve_from, implicit=implicit)
    assoc.dimse.send(context.context_id, _event(result)(message), dataset)


def answered(assoc: Served, response: N_EVENT_REPORT) -> None:
    """The source has answered a result that it was sent on its association."""
    taken = assoc.told.pop(response.MessageIDBeingRespondedTo, None)
    if taken is None:
        log.warning("ignored a response from=%s that nobody asked for", assoc.requestor.ae_title)
    elif response.Status:
        log.warning("commitment=%d not reported: %s", taken, _refused(response.Status))
    else:
        with answering.answered():
            commit.told(taken, assoc.node)


def tell(talk: Conversation, result: Report, retrieve_from: str) -> None:
    """N-EVENT-REPORT on an association of ours; raises PartnerError unless it is answered with success.

    `retrieve_from` is the AE title where the partner can get the instances, '' for none.
    """
    talk.request(_event(result), commitment.report(result, retrieve_from, implicit=talk.is_implicit))
    command, _ = talk.receive()
    status = talk.answer(command, commands.N_EVENT_REPORT_RSP).status
    if status:
        raise PartnerError(_refused(status))


def _event(result: Report) -> Callable[[int], bytes]:
    """The N-EVENT-REPORT-RQ of a result, by its Message ID."""
    kind = commitment.SOME_FAILED if result.failed else commitment.ALL_COMMITTED
    return lambda message: commands.event_request(message, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, kind)


def _refused(status: int) -> str:
    return f"the partner answered the result with {status:04X}H"
