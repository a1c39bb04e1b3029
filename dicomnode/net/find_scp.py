"""The C-FIND SCP: one Pending response for each answer, as it is read from the index (PS3.4 C.4.1.3).

A service class of ours, because the answers are encoded from rows and not from Datasets, and because FF01H, A900H with
an Error Comment, and FE00H after a cancel should say what happened. Never cuts an answer short silently.
"""

from __future__ import annotations

import logging
from io import BytesIO

from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.presentation import PresentationContext

from dicomnode.dicom import encode, identifier
from dicomnode.net import answering
from dicomnode.net.answering import Served
from dicomnode.operations.find import find
from dicomnode.rules.contexts import IMPLICIT_LE, PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from dicomnode.rules.matching import Model

MODELS = {PATIENT_ROOT_FIND: Model.PATIENT_ROOT, STUDY_ROOT_FIND: Model.STUDY_ROOT}
log = logging.getLogger(__name__)

_PENDING, _PENDING_WARNING, _CANCEL = 0xFF00, 0xFF01, 0xFE00


def serve(assoc: Served, request: C_FIND, context: PresentationContext) -> None:
    """Answer one C-FIND-RQ, to its final response."""
    status, comment = 0x0000, ""
    with answering.answered() as problem:
        status = _answers(assoc, request, context)
    if problem:
        status, comment = problem[0]
    log.info("find from=%s status=%04XH %s", assoc.requestor.ae_title, status, comment)
    assoc.dimse.cancel_req.pop(request.MessageID, None)
    answering.respond(assoc, request, context, status, comment)


def _answers(assoc: Served, request: C_FIND, context: PresentationContext) -> int:
    """Send every Pending response; the final status."""
    assert assoc.partner is not None
    implicit = context.transfer_syntax[0] == IMPLICIT_LE
    asked = identifier.decode(request.Identifier.getvalue() if request.Identifier else b"", implicit=implicit)
    answers = find(asked, MODELS[context.abstract_syntax], assoc.partner, assoc.node)
    pending = _PENDING if answers.all_supported else _PENDING_WARNING
    for elements in answers.identifiers:
        if answering.is_over(assoc) or request.MessageID in assoc.dimse.cancel_req:
            return _CANCEL
        response = C_FIND()
        response.MessageID = request.MessageID
        response.MessageIDBeingRespondedTo = request.MessageID
        response.AffectedSOPClassUID = request.AffectedSOPClassUID
        response.Status = pending
        response.Identifier = BytesIO(
            encode.identifier(elements, implicit=implicit, character_set=asked.character_set)
        )
        assoc.dimse.send_msg(response, context.context_id)
    return 0x0000
