"""The C-FIND SCU (PS3.4 C.4.1): a question to a partner, and each of its answers as it comes.

An answer is decoded by its own character set, or by the one that is configured for who declares none; it promises
nothing but text: whatever was asked for may be missing, and whatever was not may be there. What may fail:
ContextMissing where the partner says that it does not take such a query; PartnerError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from dicomnode.dicom import encode, identifier
from dicomnode.dicom.encode import Element
from dicomnode.dicom.identifier import Identifier
from dicomnode.errors import BadIdentifier, ContextMissing, PartnerError
from dicomnode.net import commands
from dicomnode.net.commands import Response
from dicomnode.net.conversation import Conversation
from dicomnode.operations.ports import Stopped, ignored
from dicomnode.rules import statuses

_NOT_SO = frozenset((0xA900, 0x0122, 0x0124, 0x0211, 0x0212))
"""Statuses that mean: not such a query, and not later either."""
_CANCELLED = 0xFE00
_UNSUPPORTED = 0xFF01
"""Pending, and not every optional key is supported (PS3.4 C.4.1.1.4)."""
_MOST = 1_000_000
"""Answers to one question: a partner has an end, or is cut off."""


def ask(
    talk: Conversation,
    sop_class_uid: str,
    question: Identifier,
    stopped: Stopped,
    unsupported: Callable[[], None] = ignored,
) -> Iterator[Identifier]:
    """Every answer, until the partner says that these were all. `stopped`, `unsupported`: see ports.Peer."""
    return answers(talk, sop_class_uid, encoded(question, talk.is_implicit), _MOST, stopped, unsupported)


def answers(
    talk: Conversation,
    sop_class_uid: str,
    question: bytes,
    most: int,
    stopped: Stopped,
    unsupported: Callable[[], None] = ignored,
) -> Iterator[Identifier]:
    """Every answer to an Identifier that is written already; no more than so many."""
    talk.request(partial(commands.find_request, sop_class_uid=sop_class_uid), question)
    for _ in range(most):
        talk.wait(stopped, talk.response)
        command, answer = talk.receive()
        response = talk.answer(command, commands.C_FIND_RSP)
        if not statuses.is_pending(response.status):
            return _check(response, talk.is_cancelled)
        if response.status == _UNSUPPORTED:
            unsupported()
        yield _read(answer, talk)
    raise PartnerError(f"the partner answered with over {most} rows")


def encoded(question: Identifier, implicit: bool) -> bytes:
    """An Identifier's dataset; in UTF-8 where a value is not ASCII (PS3.4 C.4.1.1.3.1)."""
    keys = [
        Element(identifier.LEVEL, "CS", question.level),
        *(Element(key.tag, key.vr, key.value) for key in question.keys),
    ]
    return encode.identifier(keys, implicit=implicit, character_set="")


def _check(response: Response, cancelled: bool) -> None:
    if response.status == 0 or (response.status == _CANCELLED and cancelled):
        return
    text = f"the partner answered the C-FIND with: {statuses.meaning(response.status)}"
    if response.comment:
        text += f": {response.comment}"
    raise (ContextMissing if response.status in _NOT_SO else PartnerError)(text)


def _read(answer: bytes, talk: Conversation) -> Identifier:
    try:
        return identifier.decode(answer, implicit=talk.is_implicit, assumed=talk.assumed)
    except BadIdentifier as error:
        raise PartnerError(f"the partner answered the C-FIND with what cannot be read: {error}") from error
