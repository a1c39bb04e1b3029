"""The C-MOVE SCU (PS3.4 C.4.2): have a partner send what it has to an AE, and hear how that went.

A partner need not say how far it is, nor count: it is waited for as long as it, or what it sends, shows a sign of life.
What may fail: AssociationLost; a final status that is no success is the partner's answer, and none of ours.
"""

from __future__ import annotations

from functools import partial

from dicomnode.dicom import identifier
from dicomnode.dicom.classes import is_valid_uid
from dicomnode.dicom.identifier import Identifier
from dicomnode.errors import BadIdentifier
from dicomnode.net import commands, find_scu
from dicomnode.net.commands import Response
from dicomnode.net.conversation import Conversation
from dicomnode.operations.ports import Retrieved, Waiting
from dicomnode.rules import statuses

_FAILED = 0x00080058
PATIENCE = 10
"""Times the deadline of one response: what a partner may be silent while it sends, or has its tapes fetched."""


def move(talk: Conversation, sop_class_uid: str, wanted: Identifier, destination: str, waiting: Waiting) -> Retrieved:
    """Ask, and wait for the final response."""
    request = partial(commands.move_request, sop_class_uid=sop_class_uid, destination=destination)
    talk.request(request, find_scu.encoded(wanted, talk.is_implicit))
    arrivals = _Arrivals(waiting)
    while True:
        talk.wait(waiting.stopped, PATIENCE * talk.response, arrivals.lives)
        command, dataset = talk.receive()
        response = talk.answer(command, commands.C_MOVE_RSP)
        if not statuses.is_pending(response.status):
            return retrieved(response, command, dataset, implicit=talk.is_implicit)
        waiting.told(commands.suboperations(command))


class _Arrivals:
    """Whether more has come than when it was last looked."""

    def __init__(self, waiting: Waiting) -> None:
        self._watch = waiting
        self._count = waiting.arrived()

    def lives(self) -> bool:
        before, self._count = self._count, self._watch.arrived()
        return self._count > before


def retrieved(response: Response, command: bytes, dataset: bytes, *, implicit: bool) -> Retrieved:
    """What a final response says. A list that cannot be read is none: the counters stand by themselves."""
    try:
        uids = identifier.decode(dataset, implicit=implicit).value(_FAILED).split("\\")
    except BadIdentifier:
        uids = []
    failed = tuple(uid for uid in uids if is_valid_uid(uid))
    return Retrieved(response.status, response.comment, commands.suboperations(command), failed)
