"""The C-GET SCU (PS3.4 C.4.3): take from a partner what it has, on the association on which it was asked.

Each instance is handed on as it comes, a fragment at a time, and answered when it is kept or was refused; memory stays
flat. What may fail: AssociationLost; what was half received is discarded then.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from dicomnode.dicom.identifier import Identifier
from dicomnode.errors import AssociationLost
from dicomnode.net import commands, find_scu, move_scu
from dicomnode.net.answering import shortened
from dicomnode.net.commands import StoreRequest
from dicomnode.net.conversation import CONTEXT, Conversation
from dicomnode.operations.ports import Arriving, Opener, Retrieved, Waiting
from dicomnode.rules import statuses
from dicomnode.rules.admission import Command


def get(
    talk: Conversation, wanted: Identifier, classes: Mapping[int, str], opener: Opener, waiting: Waiting
) -> Retrieved:
    """Ask, take what comes, and wait for the final response. `classes`: what was proposed, by context."""
    request = partial(commands.get_request, sop_class_uid=classes[CONTEXT])
    talk.request(request, find_scu.encoded(wanted, talk.is_implicit))
    while True:
        talk.wait(waiting.stopped, move_scu.PATIENCE * talk.response)
        context, syntax, command = talk.receive_on()
        if context != CONTEXT:
            coming = _request(command)
            named = Command(coming.sop_class_uid, coming.sop_instance_uid, classes[context])
            _take(talk, coming, context, opener(named, syntax))
            continue
        response = talk.answer(command, commands.C_GET_RSP)
        dataset = talk.dataset() if commands.has_dataset(command) else b""
        if not statuses.is_pending(response.status):
            return move_scu.retrieved(response, command, dataset, implicit=talk.is_implicit)
        waiting.told(commands.suboperations(command))


def _request(command: bytes) -> StoreRequest:
    """The C-STORE-RQ that a command set is; AssociationLost where it is none."""
    try:
        request = commands.store_request_in(command)
    except ValueError as error:
        raise AssociationLost(f"the partner sent {error}") from error
    if request is None or not request.has_dataset:
        raise AssociationLost("the partner sent something else than an instance")
    return request


def _take(talk: Conversation, request: StoreRequest, context: int, arriving: Arriving) -> None:
    """Take an instance in, and answer for it."""
    try:
        for fragment in talk.fragments():
            arriving.write(fragment)
        status, comment = arriving.keep()
    finally:
        arriving.discard()
    talk.send(commands.store_response(request, status, shortened(comment)), context=context)
