"""Rejection notes (IHE IOCM): Key Object Selection Documents (PS3.3 A.35.4) whose title says why images are not to be
used.

`encode` writes one that calls back what it is given, whatever that is and however much: all that the IOD requires, text
as ISO_IR 192 where it is not ASCII. It never fails; what an attribute says that was wrong in the images is wrong in it.
`read` finds out whether an object is such a note, and which instances it names; of no more than `MOST` bytes.
Unreadable: it cannot be walked. A note asks that images be hidden or deleted: DICOM has no service that deletes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from dicomnode.dicom import elements as parser
from dicomnode.dicom import encode as encoding
from dicomnode.dicom import instance, names, walk
from dicomnode.dicom.elements import UNDEFINED, Buffer
from dicomnode.dicom.encode import Element
from dicomnode.dicom.syntaxes import Syntax, inside

SOP_CLASS: Final = "1.2.840.10008.5.1.4.1.1.88.59"
MOST: Final = 64_000_000
"""Bytes of a note that is read: it would name some 400,000 instances."""
_ITEM: Final = struct.Struct("<HHL")
_DICOM: Final = "DCM"


@dataclass(frozen=True, slots=True)
class Title:
    """The Document Title of a note (PS3.16 CID 7011)."""

    value: str
    meaning: str


TITLES: Final[Mapping[str, Title]] = {
    "patient": Title("113037", "Rejected for Patient Safety Reasons"),
    "worklist": Title("113038", "Incorrect Modality Worklist Entry"),
    "quality": Title("113001", "Rejected for Quality Reasons"),
    "retention": Title("113039", "Data Retention Policy Expired"),
}
"""By the word that a person says."""
_BY_VALUE: Final = {title.value: title for title in TITLES.values()}


# -- writing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rejected:
    """One instance that a note names."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    is_image: bool


Request = Mapping[int, str]
"""What is known of a request: its attributes by their tags."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a note says. `common` are the attributes of patient and study as the images have them, all but its UID.

    `date`, `time`: of the note, as DA and TM.
    """

    title: Title
    reason: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    date: str
    time: str
    institution: str
    software: str
    common: tuple[Element, ...]
    requests: Sequence[Request]
    rejected: Sequence[Rejected]


@dataclass(frozen=True, slots=True)
class _Items:
    """A sequence: the attributes of each of its items."""

    tag: int
    items: Sequence[_Attributes]


_Part = Element | _Items
_Attributes = Sequence[_Part]


def encode(note: Note) -> bytes:
    """The dataset of a note, in Explicit VR Little Endian."""
    attributes = [*note.common, *_document(note)]
    character_set = encoding.carrying(_texts(attributes), "")
    if character_set:
        attributes.append(Element(instance.CHARACTER_SET, "CS", character_set))
    return _encoded(attributes, character_set)


def _document(note: Note) -> Iterator[_Part]:
    """All but patient and study: series, equipment, document, content (PS3.3 C.17.6), in no order."""
    yield Element(0x00080016, "UI", SOP_CLASS)
    yield Element(0x00080018, "UI", note.sop_instance_uid)
    yield Element(0x00080023, "DA", note.date)
    yield Element(0x00080033, "TM", note.time)
    yield Element(0x00080060, "CS", "KO")
    yield Element(0x00080070, "LO", "dicomnode")
    yield Element(0x00080080, "LO", note.institution)
    yield Element(0x0008103E, "LO", note.title.meaning)
    yield _Items(0x00081111, ())  # Referenced Performed Procedure Step: of the images, and not of this
    yield Element(0x00181020, "LO", note.software)
    yield Element(0x0020000D, "UI", note.study_instance_uid)
    yield Element(0x0020000E, "UI", note.series_instance_uid)
    yield Element(0x00200011, "IS", "1")
    yield Element(0x00200013, "IS", "1")
    if note.requests:
        yield _Items(0x0040A370, [_request(note, each) for each in note.requests])
    yield Element(0x0040A040, "CS", "CONTAINER")
    yield _code(0x0040A043, note.title.value, note.title.meaning)
    yield Element(0x0040A050, "CS", "SEPARATE")
    yield _Items(0x0040A375, [_evidence(note)])
    yield _Items(0x0040A504, [(Element(0x00080105, "CS", "DCMR"), Element(0x0040DB00, "CS", "2010"))])
    yield _Items(0x0040A730, [_said(note.reason), *map(_named, note.rejected)])


def _code(tag: int, value: str, meaning: str) -> _Items:
    item = Element(0x00080100, "SH", value), Element(0x00080102, "SH", _DICOM), Element(0x00080104, "LO", meaning)
    return _Items(tag, [item])


_OF_REQUEST: Final = (
    (0x00080050, "SH"),  # Accession Number
    (0x00321060, "LO"),  # Requested Procedure Description
    (0x00401001, "SH"),  # Requested Procedure ID
    (0x00402016, "LO"),  # Placer Order Number
    (0x00402017, "LO"),  # Filler Order Number
)


def _request(note: Note, known: Request) -> _Attributes:
    """One request with every attribute that an item has to have (type 2), known or not."""
    told = [Element(tag, vr, known.get(tag, "")) for tag, vr in _OF_REQUEST]
    return [*told, Element(0x0020000D, "UI", note.study_instance_uid), _Items(0x00081110, ()), _Items(0x00321064, ())]


def _evidence(note: Note) -> _Attributes:
    by_series = groupby(sorted(note.rejected, key=_series_of), key=_series_of)
    series = [
        (_Items(0x00081199, [_reference(each) for each in group]), Element(0x0020000E, "UI", uid))
        for uid, group in by_series
    ]
    return _Items(0x00081115, series), Element(0x0020000D, "UI", note.study_instance_uid)


def _series_of(rejected: Rejected) -> str:
    return rejected.series_instance_uid


def _reference(to: Rejected) -> _Attributes:
    return Element(0x00081150, "UI", to.sop_class_uid), Element(0x00081155, "UI", to.sop_instance_uid)


def _said(reason: str) -> _Attributes:
    """The Key Object Description (PS3.16 TID 2010)."""
    return (
        Element(0x0040A010, "CS", "CONTAINS"),
        Element(0x0040A040, "CS", "TEXT"),
        _code(0x0040A043, "113012", "Key Object Description"),
        Element(0x0040A160, "UT", reason),
    )


_WAVEFORMS: Final = "1.2.840.10008.5.1.4.1.1.9."


def _named(rejected: Rejected) -> _Attributes:
    """What a note selects: an image, a waveform, or any other composite object (PS3.3 A.35.4.3.1.1)."""
    is_waveform = rejected.sop_class_uid.startswith(_WAVEFORMS)
    kind = "IMAGE" if rejected.is_image else "WAVEFORM" if is_waveform else "COMPOSITE"
    return (
        _Items(0x00081199, [_reference(rejected)]),
        Element(0x0040A010, "CS", "CONTAINS"),
        Element(0x0040A040, "CS", kind),
    )


def _texts(attributes: Iterable[_Part]) -> Iterator[str]:
    for each in attributes:
        if isinstance(each, _Items):
            for item in each.items:
                yield from _texts(item)
        elif each.vr in names.TEXT_VRS:
            yield each.value


def _encoded(attributes: Iterable[_Part], character_set: str) -> bytes:
    return b"".join(_one(each, character_set) for each in sorted(attributes, key=_tag_of))


def _tag_of(part: _Part) -> int:
    return part.tag


def _one(part: _Part, character_set: str) -> bytes:
    if isinstance(part, Element):
        return encoding.element(part, character_set, implicit=False)
    items = [_encoded(item, character_set) for item in part.items]
    raw = b"".join(_ITEM.pack(0xFFFE, 0xE000, len(item)) + item for item in items)
    return encoding.head(part.tag, "SQ", len(raw), implicit=False) + raw


# -- reading -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rejection:
    """What a source's note says: why, as its title says it, and which instances of which studies."""

    title: Title
    named: Mapping[str, frozenset[str]]
    """Study Instance UID → SOP Instance UIDs."""


def read(path: walk.File) -> Rejection | None:
    """What the note in a Part 10 file says; None for an object that is none."""
    if os.stat(path).st_size > MOST:
        return None
    data, _, start, syntax = walk.dataset(path)
    document = _Item(data, start, syntax)
    code = next((code for code in document.items(0x0040A043) if code.text(0x00080102) == _DICOM), None)
    title = _BY_VALUE.get(code.text(0x00080100)) if code else None
    if title is None or document.text(0x00080016) != SOP_CLASS:
        return None
    return Rejection(title, _all_named(document))


def _all_named(document: _Item) -> dict[str, frozenset[str]]:
    """The instances of the Current Requested Procedure Evidence Sequence, by study."""
    found: dict[str, frozenset[str]] = {}
    for study in document.items(0x0040A375):
        sops = (sop.text(0x00081155) for series in study.items(0x00081115) for sop in series.items(0x00081199))
        uid = study.text(0x0020000D)
        found[uid] = found.get(uid, frozenset()) | frozenset(sops)
    return found


class _Item:
    """The attributes of a dataset, or of one item of a sequence."""

    def __init__(self, data: Buffer, start: int, syntax: Syntax) -> None:
        self._data, self._syntax = data, syntax
        self._found = {each[0]: each for each in parser.elements(data, start, syntax, [])}

    def _raw(self, tag: int) -> tuple[bytes, bytes]:
        """VR as declared, and bytes; empty where there is none."""
        _, vr, at, length, stop = self._found.get(tag, (tag, b"", 0, 0, 0))
        return vr, b"" if length == UNDEFINED else bytes(self._data[at:stop])

    def text(self, tag: int) -> str:
        """A UID, a code or a keyword."""
        return self._raw(tag)[1].decode("ascii", "replace").strip(" \0")

    def items(self, tag: int) -> Iterator[_Item]:
        """The items of a sequence; none where there is no such."""
        sequence = self._found.get(tag)
        if sequence is None:
            return
        syntax = inside(sequence[1], self._syntax)
        for start, stop in parser.items(self._data, sequence, self._syntax):
            yield _Item(self._data[start:stop], 0, syntax)
