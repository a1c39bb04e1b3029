"""The C-FIND SCP: one Pending response for each answer, as it is read from the index (PS3.4 C.4.1.3).

A service class of ours, because the answers are bytes made from rows, and because FF01H, A900H with an Error Comment,
A700H at a limit, and FE00H after a cancel should say what happened. Never cuts an answer short silently.

The responses to one request differ in their Identifiers alone, so a command set is written once, and many responses
leave together. What the peer does not take waits in nobody's memory: the search goes on when it has taken it. A
C-CANCEL is looked for before each sending, and while the index is searched.
"""

from __future__ import annotations

import logging
import time

from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.presentation import PresentationContext

from dicomnode.net import answering, commands
from dicomnode.net.answering import Served
from dicomnode.operations import trail
from dicomnode.operations.find import Answers, Question, find
from dicomnode.rules.contexts import IMPLICIT_LE
from dicomnode.rules.matching import MODELS
from dicomnode.rules.negotiated import Features

log = logging.getLogger(__name__)

_PENDING, _PENDING_WARNING, _CANCEL = 0xFF00, 0xFF01, 0xFE00
_TOGETHER = 50
"""Responses that are sent at once: so few that a slow peer takes them in the time that one PDU may take."""
_ATTENTION = 0.02
"""Seconds between two looks at the peer, while the index is searched."""


class Attention:
    """Whether the caller wants no more: it has sent a C-CANCEL for this request, or has gone.

    `is_over`: that was seen, and acted upon; who cancels what is finished already is told that it is (PS3.7 9.3.2.3).
    """

    def __init__(self, assoc: Served, message_id: int) -> None:
        self._assoc, self._message_id = assoc, message_id
        self.is_over = False
        self._due = 0.0

    def __call__(self) -> bool:
        """Asked as often as you like: looks when a look is due."""
        return self.is_over if time.monotonic() < self._due else self.looks()

    def looks(self) -> bool:
        """Look now. Who wants no more never does again."""
        if not self.is_over:
            self.is_over = True  # should the look fail: SQLite ends a search in silence where it is asked there
            self.is_over = answering.is_over(self._assoc) or self._message_id in self._assoc.dimse.cancel_req
            self._due = time.monotonic() + _ATTENTION
        return self.is_over


def serve(assoc: Served, request: C_FIND, context: PresentationContext) -> None:
    """Answer one C-FIND-RQ, to its final response."""
    status, comment = 0x0000, ""
    with answering.answered() as problem:
        status = _serve(assoc, request, context)
    if problem:
        status, comment = problem[0]
    log.info("find from=%s status=%04XH %s", assoc.requestor.ae_title, status, comment)
    assoc.dimse.cancel_req.pop(request.MessageID, None)
    answering.respond(assoc, request, context, status, comment)
    _tell(assoc, request, context, status)


def _tell(assoc: Served, request: C_FIND, context: PresentationContext, status: int) -> None:
    """Have it in the audit trail that this was asked: nobody waits for that."""
    assert assoc.partner is not None
    identifier = request.Identifier.getvalue() if request.Identifier else b""
    asked = trail.Asked(str(context.abstract_syntax), str(context.transfer_syntax[0]), identifier)
    trail.query(asked, assoc.partner, assoc.caller.address, status, assoc.node)


def _serve(assoc: Served, request: C_FIND, context: PresentationContext) -> int:
    """Send every Pending response; the final status."""
    assert assoc.partner is not None
    implicit = context.transfer_syntax[0] == IMPLICIT_LE
    asked, uid = answering.identifier_of(assoc, request, context), str(context.abstract_syntax)
    question = Question(asked, MODELS[uid], assoc.features.get(uid, Features()), implicit)
    attention = Attention(assoc, request.MessageID)
    answers = find(question, assoc.partner, assoc.node, attention)
    command = _pending(request, answers)
    for page in answers.pages:
        for start in range(0, len(page), _TOGETHER):
            if attention.looks():
                return _CANCEL
            assoc.dimse.send_each(context.context_id, command, page[start : start + _TOGETHER])
    return _CANCEL if attention.is_over else 0x0000


def _pending(request: C_FIND, answers: Answers) -> bytes:
    """The command set of every Pending response (PS3.7 9.3.2.2)."""
    response = C_FIND()
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID
    response.Status = _PENDING if answers.all_supported else _PENDING_WARNING
    return commands.of_response(response, commands.C_FIND_RSP, has_dataset=True)
