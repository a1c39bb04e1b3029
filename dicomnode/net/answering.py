"""How a request is answered: what goes wrong becomes a status, and a response goes out in PDVs that the peer takes.

This is the one place where an error becomes a status. A DicomnodeError knows its own; anything else is our bug: it is
logged with its traceback and answered 0110H, and the association goes on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from pynetdicom.presentation import PresentationContext

from dicomnode.config.model import Partner
from dicomnode.errors import DicomnodeError
from dicomnode.net.reactor import Reactor
from dicomnode.operations.ports import Node
from dicomnode.rules.admission import Caller

log = logging.getLogger(__name__)


class Served(Protocol):
    """An association as those who answer on it see it: whose it is, and what carries the answers."""

    node: Node
    partner: Partner | None
    caller: Caller
    reactor: Reactor
    requestor: Any
    dimse: Any


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


def respond(assoc: Served, request: Any, context: PresentationContext, status: int, comment: str = "") -> None:
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
    return printable(comment).replace("\\", "/")[:64]


def printable(text: object) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", str(text))


def is_over(assoc: Served) -> bool:
    """Whether the peer has ended the association. What came in meanwhile, a C-CANCEL above all, has been taken in."""
    return not assoc.reactor.attend()
