"""How a request is answered: what goes wrong becomes a status, and a response goes out in PDVs that the peer takes.

This is the one place where an error becomes a status. A DicomnodeError knows its own; anything else is our bug: it is
logged with its traceback and answered 0110H, and the association goes on.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext

from dicomnode.config.model import Partner
from dicomnode.errors import DicomnodeError
from dicomnode.operations.ports import Node
from dicomnode.rules.admission import Caller

log = logging.getLogger(__name__)

_COMMAND, _LAST = 1, 2
_AHEAD = 64
"""Responses that may wait to be sent: a slow reader slows the query, and fills no memory."""


class Served(Protocol):
    """An association as those who answer on it see it: whose it is, and pynetdicom's providers under it."""

    node: Node
    partner: Partner | None
    requestor: Any
    acse: Any
    dimse: Any
    dul: Any

    @property
    def caller(self) -> Caller:
        """The AE titles of its request, and where it came from."""


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


def send_command(assoc: Served, command: bytes, context: PresentationContext) -> None:
    """Send a command set that has no dataset, in PDVs no longer than the peer takes (0: any length)."""
    step = (max(assoc.requestor.maximum_length or len(command) + 6, 16) - 6) & ~1
    for start in range(0, len(command), step):
        control = _COMMAND | (_LAST if start + step >= len(command) else 0)
        primitive = P_DATA()
        primitive.presentation_data_value_list = [
            [context.context_id, bytes((control,)) + command[start : start + step]]
        ]
        assoc.dul.send_pdu(primitive)


def shortened(comment: str) -> str:
    """An Error Comment: LO, at most 64 characters, no backslash (PS3.7 C.5)."""
    return printable(comment).replace("\\", "/")[:64]


def printable(text: object) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", str(text))


def wait_for_room(assoc: Served) -> bool:
    """Wait until the peer has taken most of what was sent; False when the association is over."""
    while assoc.dul.to_provider_queue.qsize() > _AHEAD and not is_over(assoc):
        time.sleep(0.001)
    return not is_over(assoc)


def is_over(assoc: Served) -> bool:
    """Whether the peer has aborted or gone."""
    return bool(assoc.acse.is_aborted() or not assoc.dul.is_alive() or assoc.dul.socket.socket is None)
