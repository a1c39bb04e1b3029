"""The Modality Worklist SCU (PS3.4 K.6.1): which examinations a RIS has scheduled, and for whom.

One question, for all steps from a day on, with what is to come back: the patient, the requested procedure with its
number, and of each scheduled step who is to examine. There is no level, and no hierarchy. An answer promises nothing
but text, as those of find_scu.py, which says what may fail; more than _MOST are taken for a partner without end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from dicomnode.dicom import encode, vrs
from dicomnode.dicom.encode import Element
from dicomnode.dicom.identifier import Identifier
from dicomnode.net import find_scu
from dicomnode.net.conversation import Conversation
from dicomnode.operations.ports import Stopped
from dicomnode.rules.contexts import MODALITY_WORKLIST_FIND

_MOST: Final = 20_000
_ITEM: Final = struct.Struct("<HHL")
_KEYS: Final = (
    *(0x00080050, 0x00080090, 0x00100010, 0x00100020, 0x00100021, 0x00100030, 0x00100040),
    *(0x00321032, 0x00321060, 0x00401001, 0x00401003, 0x00402016),
)
"""Accession Number, Referring Physician, the patient, Requesting Physician, the Requested Procedure and its numbers."""
_ISSUER: Final = (0x00080051, (0x00400031,))
"""Issuer of Accession Number Sequence > Local Namespace Entity ID."""
_CODE: Final = (0x00321064, (0x00080100, 0x00080102, 0x00080104))
"""Requested Procedure Code Sequence."""
_STEP: Final = 0x00400100
_START_DATE: Final = 0x00400002
_STEP_KEYS: Final = (0x00080060, 0x00400001, _START_DATE, 0x00400003, 0x00400007, 0x00400009)
"""Modality, Scheduled Station AE Title, Start Date and Time, Description, ID."""


def ask(talk: Conversation, since: str, stopped: Stopped) -> Iterator[Identifier]:
    """Every step that is scheduled from a day on (YYYYMMDD)."""
    question = _question(since, implicit=talk.is_implicit)
    return find_scu.answers(talk, MODALITY_WORKLIST_FIND, question, _MOST, stopped)


def _question(since: str, *, implicit: bool) -> bytes:
    """The Identifier: Return Keys without a value, and the range of days."""
    written = [(tag, _elements({tag: ""}, implicit)) for tag in _KEYS]
    for tag, keys in (_ISSUER, _CODE):
        written.append((tag, _sequence(tag, dict.fromkeys(keys, ""), implicit)))
    step = dict.fromkeys(_STEP_KEYS, "") | {_START_DATE: f"{since}-"}
    written.append((_STEP, _sequence(_STEP, step, implicit)))
    return b"".join(element for _, element in sorted(written))


def _elements(keys: dict[int, str], implicit: bool) -> bytes:
    elements = [Element(tag, vrs.first(tag), value) for tag, value in keys.items()]
    return encode.identifier(elements, implicit=implicit, character_set="")


def _sequence(tag: int, keys: dict[int, str], implicit: bool) -> bytes:
    """A sequence of one item (PS3.5 7.5)."""
    item = _elements(keys, implicit)
    value = _ITEM.pack(0xFFFE, 0xE000, len(item)) + item
    return encode.head(tag, "SQ", len(value), implicit=implicit) + value
