"""How a request is answered: what goes wrong becomes a status, and a response goes out in PDVs that the peer takes.

This is the one place where an error becomes a status. A DicomnodeError knows its own; what the machine refuses us is a
want of resources (A700H); anything else is our bug: it is logged with its traceback and answered 0110H, and the
association goes on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from pynetdicom.presentation import PresentationContext

from dicomnode.config.model import Partner
from dicomnode.dicom import identifier
from dicomnode.dicom.identifier import Identifier
from dicomnode.errors import DicomnodeError, OutOfResources
from dicomnode.net.reactor import Reactor
from dicomnode.operations.ports import Node
from dicomnode.operations.trail import Received
from dicomnode.rules.admission import Caller
from dicomnode.rules.contexts import IMPLICIT_LE
from dicomnode.rules.negotiated import Features

log = logging.getLogger(__name__)


class Served(Protocol):
    """An association as those who answer on it see it: whose it is, and what carries the answers."""

    node: Node
    partner: Partner | None
    caller: Caller
    reactor: Reactor
    requestor: Any
    dimse: Any
    told: dict[int, int]
    """Commitments whose results were sent on it and not answered yet, by Message ID."""
    received: Received | None
    """What it has brought, for the audit trail; None until somebody is admitted."""
    features: dict[str, Features]
    """What was agreed on beyond the baseline, by abstract syntax; none where nothing was."""

    @property
    def accepted_contexts(self) -> list[PresentationContext]:
        """By their ids, in order."""


@contextmanager
def answered() -> Iterator[list[tuple[int, str]]]:
    """Turn what a block raises into the one (status, comment) that tells the peer; none where it succeeds."""
    problem: list[tuple[int, str]] = []
    try:
        yield problem
    except DicomnodeError as error:
        problem.append((error.status, str(error)))
    except OSError as error:  # no descriptor for a file of ours, an error of the disk: it passes, or is seen elsewhere
        log.exception("a request met an error of this machine")
        problem.append((OutOfResources.status, error.strerror or "out of resources"))
    except Exception:
        log.exception("a request failed by our own fault")
        problem.append((DicomnodeError.status, "processing failure"))


def identifier_of(assoc: Served, request: Any, context: PresentationContext) -> Identifier:
    """The Identifier of a request, in the caller's character set where it declares none. Raises BadIdentifier."""
    assert assoc.partner is not None
    data = request.Identifier.getvalue() if request.Identifier else b""
    implicit = context.transfer_syntax[0] == IMPLICIT_LE
    return identifier.decode(data, implicit=implicit, assumed=assoc.partner.charset)


def respond(assoc: Served, request: Any, context: PresentationContext, status: int, comment: str = "") -> None:
    """Send the response to a request that carries no dataset back."""
    response = type(request)()
    response.MessageID = request.MessageID
    response.MessageIDBeingRespondedTo = request.MessageID
    for name in ("SOPClassUID", "SOPInstanceUID"):  # what was requested is what was affected (PS3.7 10.1)
        uid = getattr(request, f"Affected{name}", None) or getattr(request, f"Requested{name}", None)
        setattr(response, f"Affected{name}", uid)
    for name in ("EventTypeID", "ActionTypeID"):
        if hasattr(request, name):
            setattr(response, name, getattr(request, name))
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
