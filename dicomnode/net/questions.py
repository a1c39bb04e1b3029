"""The C-FIND SCU (PS3.4 C.4.1): what a partner says that it has of a study, in the Study Root model.

Instances are asked for level by level, because a query without extended negotiation names every level above its own.
An answer is trusted for no more than what was asked for: rows of another study are skipped, and so is everything else
in them. What may fail: ContextMissing where the partner says that it does not take such a query; PartnerError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from dicomnode.dicom import encode, identifier
from dicomnode.dicom.classes import is_valid_uid
from dicomnode.dicom.encode import Element
from dicomnode.dicom.identifier import Identifier
from dicomnode.errors import BadIdentifier, ContextMissing, PartnerError
from dicomnode.net import commands
from dicomnode.net.conversation import Conversation
from dicomnode.rules.contexts import STUDY_ROOT_FIND

_LEVEL, _STUDY, _SERIES, _INSTANCE = 0x00080052, 0x0020000D, 0x0020000E, 0x00080018
_STUDY_INSTANCES = 0x00201208
_VRS = {_LEVEL: "CS", _STUDY_INSTANCES: "IS"}
_PENDING = (0xFF00, 0xFF01)
_NOT_SO = frozenset((0xA900, 0x0122, 0x0124, 0x0211, 0x0212))
"""Statuses that mean: not such a query, and not later either."""
_MOST = 200_000
"""Answers to one question: no study has a reason to have more instances."""


def instances(talk: Conversation, study: str) -> frozenset[str]:
    """The SOP Instance UIDs that a partner has of a study."""
    found: set[str] = set()
    for series in _uids(talk, "SERIES", _SERIES, {_STUDY: study}):
        found |= _uids(talk, "IMAGE", _INSTANCE, {_STUDY: study, _SERIES: series})
    return frozenset(found)


def count(talk: Conversation, study: str) -> int | None:
    """Number of Study Related Instances; 0 where there is no such study, None where that is not said."""
    answers = _find(talk, "STUDY", {_STUDY: study, _STUDY_INSTANCES: ""})
    said = [each.value(_STUDY_INSTANCES) for each in answers]
    if not said:
        return 0
    numbers = [int(each) for each in said if each.isdecimal() and len(each) <= 12]
    return max(numbers, default=None)


def _uids(talk: Conversation, level: str, tag: int, keys: Mapping[int, str]) -> set[str]:
    """What the answers have of one UID; the question is over then."""
    return {uid for each in _find(talk, level, {**keys, tag: ""}) if is_valid_uid(uid := each.value(tag))}


def _find(talk: Conversation, level: str, keys: Mapping[int, str]) -> Iterator[Identifier]:
    """Every answer about the study that was asked for, until the partner says that these were all."""
    asked = [Element(tag, _VRS.get(tag, "UI"), value) for tag, value in {_LEVEL: level, **keys}.items()]
    dataset = encode.identifier(asked, implicit=talk.is_implicit, character_set="")
    talk.request(partial(commands.find_request, sop_class_uid=STUDY_ROOT_FIND), dataset)
    for _ in range(_MOST):
        command, answer = talk.receive()
        status = talk.answer(command, commands.C_FIND_RSP).status
        if status not in _PENDING:
            return _check(status)
        row = _read(answer, talk.is_implicit)
        if row.value(_STUDY) in ("", keys[_STUDY]):
            yield row
    raise PartnerError(f"the partner answered with over {_MOST} rows")


def _check(status: int) -> None:
    if status in _NOT_SO:
        raise ContextMissing(f"the partner does not take such a query: it answered the C-FIND with {status:04X}H")
    if status:
        raise PartnerError(f"the partner answered the C-FIND with {status:04X}H")


def _read(answer: bytes, implicit: bool) -> Identifier:
    try:
        return identifier.decode(answer, implicit=implicit)
    except BadIdentifier as error:
        raise PartnerError(f"the partner answered the C-FIND with what cannot be read: {error}") from error
