"""Event → operation → status: the desk where every request of an association is served.

Whatever goes wrong, a request is answered (answering.py). No response is sent before the operation has returned, and
nothing that was not kept is answered 0000H.
"""

from __future__ import annotations

import logging
from typing import Any

from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_GET, C_MOVE, N_ACTION, N_EVENT_REPORT
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import VerificationServiceClass

from dicomnode.errors import ClassNotSupported, DicomnodeError, NotAllowed
from dicomnode.net import answering, commands, commit_scp, commit_scu, find_scp, get_scp, retrieve_scp
from dicomnode.net.answering import Served
from dicomnode.net.inbox import Incoming
from dicomnode.operations import watch
from dicomnode.operations.ports import Node
from dicomnode.operations.receive import receive
from dicomnode.rules import contexts
from dicomnode.rules.admission import Command

log = logging.getLogger(__name__)

_UNRECOGNISED_OPERATION = 0x0211
_CLASS_NOT_SUPPORTED = 0x0122


def check_storage(context: PresentationContext, node: Node) -> None:
    """Raise unless a presentation context is one for storing, on which the peer may: and not for C-GET alone."""
    if context.abstract_syntax not in contexts.storage_classes(node.config):
        raise ClassNotSupported("this presentation context is not for storing")
    if not context.as_scp:
        raise NotAllowed("this presentation context has no SCU role for storing")


def serve(assoc: Served, request: Any, context: PresentationContext) -> None:
    """Answer one request; whatever goes wrong, it is answered."""
    if isinstance(request, Incoming):
        store(assoc, request, context)
    elif request.MessageIDBeingRespondedTo is not None and isinstance(request, N_EVENT_REPORT):
        commit_scp.answered(assoc, request)
    elif request.MessageIDBeingRespondedTo is not None:
        log.warning("ignored a response from=%s that nobody asked for", assoc.requestor.ae_title)
    elif isinstance(request, C_ECHO) and context.abstract_syntax == contexts.VERIFICATION:
        VerificationServiceClass(assoc).SCP(request, context)
    elif isinstance(request, C_FIND) and context.abstract_syntax in contexts.FINDS:
        find_scp.serve(assoc, request, context)
    elif isinstance(request, C_MOVE) and context.abstract_syntax in contexts.MOVES:
        retrieve_scp.serve(assoc, request, context)
    elif isinstance(request, C_GET) and context.abstract_syntax in contexts.GETS:
        get_scp.serve(assoc, request, context)
    elif isinstance(request, N_ACTION | N_EVENT_REPORT) and context.abstract_syntax == contexts.STORAGE_COMMITMENT:
        commit(assoc, request, context)
    else:
        is_composite = isinstance(request, C_ECHO | C_FIND | C_GET | C_MOVE)
        status = _CLASS_NOT_SUPPORTED if is_composite else _UNRECOGNISED_OPERATION
        answering.respond(assoc, request, context, status)


def commit(assoc: Served, request: N_ACTION | N_EVENT_REPORT, context: PresentationContext) -> None:
    """Storage Commitment, in the roles that were negotiated: who asks is its SCU, who tells its SCP."""
    if isinstance(request, N_ACTION) and context.as_scp:
        commit_scp.serve(assoc, request, context)
    elif isinstance(request, N_EVENT_REPORT) and context.as_scu:
        commit_scu.serve(assoc, request, context)
    else:
        answering.respond(assoc, request, context, _UNRECOGNISED_OPERATION)


def store(assoc: Served, incoming: Incoming, context: PresentationContext) -> None:
    """C-STORE: 0000H once the instance is in custody (PS3.4 B.2.2)."""
    status, comment = 0x0000, ""
    with answering.answered() as problem:
        if incoming.error or not incoming.part or not incoming.origin:
            raise incoming.error or DicomnodeError("no dataset was received")
        request = incoming.request
        command = Command(request.sop_class_uid, request.sop_instance_uid, str(context.abstract_syntax))
        recorded = receive(incoming.part, command, incoming.origin, assoc.node)
        if assoc.received:
            assoc.received.count(recorded, request.sop_class_uid)
    if problem:
        status, comment = problem[0]
        if assoc.received:
            assoc.received.refuse(comment)
        log.warning(
            "refused sop=%s from=%s status=%04XH: %s",
            *(answering.printable(incoming.request.sop_instance_uid), assoc.requestor.ae_title, status, comment),
        )
    response = commands.store_response(incoming.request, status, answering.shortened(comment))
    assoc.dimse.send(context.context_id, response)
    watch.tell(assoc.node)
