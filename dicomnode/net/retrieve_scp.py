"""The C-MOVE SCP (PS3.4 C.4.2.3): decided before anybody is contacted, sent on associations of our own.

A service class of ours: pynetdicom's re-encodes what is stored, names itself as the originator, dials before it can
refuse, and reports Remaining in the final response.
"""

from __future__ import annotations

from pynetdicom.dimse_primitives import C_MOVE
from pynetdicom.presentation import PresentationContext

from dicomnode.net import answering, suboperations
from dicomnode.net.answering import Served
from dicomnode.net.requestor import Requestor
from dicomnode.net.suboperations import Responses
from dicomnode.operations import moving, retrieve
from dicomnode.operations.ports import Originator


def serve(assoc: Served, request: C_MOVE, context: PresentationContext) -> None:
    """Answer one C-MOVE-RQ, to its final response."""
    suboperations.serve(assoc, request, context, _move)


def _move(assoc: Served, request: C_MOVE, context: PresentationContext) -> None:
    assert assoc.partner is not None
    destination = (request.MoveDestination or "").strip()
    asked = suboperations.asked(assoc, request, context)
    plan = retrieve.plan(asked, destination, assoc.partner, assoc.node)
    originator = Originator(assoc.caller.calling_ae_title, request.MessageID, request.Priority)
    responses = Responses(assoc, request, context, plan)

    def stopped() -> bool:
        return answering.is_over(assoc) or responses.is_cancelled

    responses.follow(moving.send(plan, originator, Requestor(assoc.node.config), assoc.node, stopped))
