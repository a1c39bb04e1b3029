"""Event → operation → status: the desk where every request of an association is served.

This is the one place where an error becomes a status. A DicomnodeError knows its own; anything else is our bug: it is
logged with its traceback and answered 0110H, and the association goes on. No response is sent before the operation
has returned, and nothing that was not kept is answered 0000H.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_MOVE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import VerificationServiceClass

from dicomnode.errors import ClassNotSupported, DicomnodeError
from dicomnode.net import commands, find_scp, retrieve_scp
from dicomnode.net.inbox import Incoming
from dicomnode.operations.ports import Node
from dicomnode.operations.receive import receive
from dicomnode.rules import contexts
from dicomnode.rules.admission import Command

if TYPE_CHECKING:
    from dicomnode.net.association import Reception

log = logging.getLogger(__name__)

_UNRECOGNISED_OPERATION = 0x0211
_CLASS_NOT_SUPPORTED = 0x0122
_COMMAND, _LAST = 1, 2


def check_storage(abstract_syntax: str, node: Node) -> None:
    """Raise unless a presentation context is one for storing."""
    if abstract_syntax not in contexts.storage_classes(node.config):
        raise ClassNotSupported("this presentation context is not for storing")


def serve(assoc: Reception, request: Any, context: PresentationContext) -> None:
    """Answer one request; whatever goes wrong, it is answered."""
    if not isinstance(request, Incoming) and request.MessageIDBeingRespondedTo is not None:
        log.warning("ignored a response from=%s that nobody asked for", assoc.requestor.ae_title)
    elif isinstance(request, Incoming):
        store(assoc, request, context)
    elif isinstance(request, C_ECHO) and context.abstract_syntax == contexts.VERIFICATION:
        VerificationServiceClass(assoc).SCP(request, context)
    elif isinstance(request, C_FIND) and context.abstract_syntax in find_scp.MODELS:
        find_scp.serve(assoc, request, context)
    elif isinstance(request, C_MOVE) and context.abstract_syntax in retrieve_scp.MODELS:
        retrieve_scp.serve(assoc, request, context)
    else:
        status = _CLASS_NOT_SUPPORTED if isinstance(request, C_ECHO | C_FIND | C_MOVE) else _UNRECOGNISED_OPERATION
        respond(assoc, request, context, status)


def store(assoc: Reception, incoming: Incoming, context: PresentationContext) -> None:
    """C-STORE: 0000H once the instance is in custody (PS3.4 B.2.2)."""
    status, comment = 0x0000, ""
    with answered() as problem:
        if incoming.error or not incoming.part or not incoming.origin:
            raise incoming.error or DicomnodeError("no dataset was received")
        request = incoming.request
        command = Command(request.sop_class_uid, request.sop_instance_uid, str(context.abstract_syntax))
        receive(incoming.part, command, incoming.origin, assoc.node)
    if problem:
        status, comment = problem[0]
        log.warning(
            "refused sop=%s from=%s status=%04XH: %s",
            *(_printable(incoming.request.sop_instance_uid), assoc.requestor.ae_title, status, comment),
        )
    _send(assoc, commands.store_response(incoming.request, status, shortened(comment)), context)


def _send(assoc: Reception, command: bytes, context: PresentationContext) -> None:
    """Send a command set that has no dataset, in PDVs no longer than the peer takes (0: any length)."""
    step = (max(assoc.requestor.maximum_length or len(command) + 6, 16) - 6) & ~1
    for start in range(0, len(command), step):
        control = _COMMAND | (_LAST if start + step >= len(command) else 0)
        primitive = P_DATA()
        primitive.presentation_data_value_list = [
            [context.context_id, bytes((control,)) + command[start : start + step]]
        ]
        assoc.dul.send_pdu(primitive)


@contextmanager
def answered() -> Iterator[list[tuple[int, str]]]:
    """Turn what a block raises into the one (status, comment) that tells the peer; none where it succeeds."""
    problem: list[tuple[int, str]] = []
    try:
        yield problem
    except DicomnodeError as error:
        problem.append((error.status, str(error)))
    except Exception:
        log.exception("a request failed by our own fault")
        problem.append((DicomnodeError.status, "processing failure"))


def respond(assoc: Reception, request: Any, context: PresentationContext, status: int, comment: str = "") -> None:
    """Send the response to a request that carries no dataset back."""
    response = type(request)()
    response.MessageID = request.MessageID
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = getattr(request, "AffectedSOPClassUID", None)
    response.Status = status
    if comment and hasattr(response, "ErrorComment"):
        response.ErrorComment = shortened(comment)
    assoc.dimse.send_msg(response, context.context_id)


def shortened(comment: str) -> str:
    """An Error Comment: LO, at most 64 characters, no backslash (PS3.7 C.5)."""
    return _printable(comment).replace("\\", "/")[:64]


def _printable(text: object) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", str(text))
