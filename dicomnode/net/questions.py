"""What a partner says that it has of a study, by C-FIND in the Study Root model: what proof and completeness ask.

Instances are asked for level by level, because a query without extended negotiation names every level above its own.
An answer is trusted for no more than what was asked for: rows of another study are skipped, and so is everything else
in them. What may fail: as find_scu.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dicomnode.dicom import identifier
from dicomnode.dicom.classes import is_valid_uid
from dicomnode.dicom.identifier import INSTANCE, SERIES, STUDY, Identifier
from dicomnode.net import find_scu
from dicomnode.net.conversation import Conversation
from dicomnode.rules.contexts import STUDY_ROOT_FIND

_STUDY_INSTANCES = 0x00201208


def instances(talk: Conversation, study: str) -> frozenset[str]:
    """The SOP Instance UIDs that a partner has of a study."""
    found: set[str] = set()
    for series in _uids(talk, "SERIES", SERIES, {STUDY: study}):
        found |= _uids(talk, "IMAGE", INSTANCE, {STUDY: study, SERIES: series})
    return frozenset(found)


def count(talk: Conversation, study: str) -> int | None:
    """Number of Study Related Instances; 0 where there is no such study, None where that is not said."""
    answers = _find(talk, "STUDY", {STUDY: study, _STUDY_INSTANCES: ""})
    said = [each.value(_STUDY_INSTANCES) for each in answers]
    if not said:
        return 0
    numbers = [int(each) for each in said if each.isdecimal() and len(each) <= 12]
    return max(numbers, default=None)


def _uids(talk: Conversation, level: str, tag: int, keys: Mapping[int, str]) -> set[str]:
    """What the answers have of one UID; the question is over then."""
    return {uid for each in _find(talk, level, {**keys, tag: ""}) if is_valid_uid(uid := each.value(tag))}


def _find(talk: Conversation, level: str, keys: Mapping[int, str]) -> Iterator[Identifier]:
    """Every answer about the study that was asked for."""
    for row in find_scu.ask(talk, STUDY_ROOT_FIND, identifier.of(level, keys), lambda: False):
        if row.value(STUDY) in ("", keys[STUDY]):
            yield row
