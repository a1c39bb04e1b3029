"""SopInstance: the attributes we index and route by, and the sequences that are searched.

Promises values that are decoded to Unicode, free of padding and of control characters, '' where absent or empty.
Never validates them, UIDs apart (walk.py does that): a wrong date is kept as it was sent. Nothing here fails on what a
peer sent; what is odd becomes a note. A sequence stays packed until somebody asks for its items (sequences.py).
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from pydicom.datadict import dictionary_VR

from dicomnode.dicom import keywords, names
from dicomnode.dicom.syntaxes import Syntax
from dicomnode.dicom.vrs import NUMBERS


class Level(enum.StrEnum):
    """The query/retrieve level that an attribute belongs to (PS3.4 C.6)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of the index: `tag` is (group << 16 | element), `column` its name in tables and in SopInstance."""

    keyword: str
    tag: int
    vr: str
    level: Level
    column: str
    multiple: bool
    """Whether it may have several values (VM over 1), which are then joined by backslashes."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """One sequence that is searched: `items` are the attributes that are kept of each of its items."""

    keyword: str
    tag: int
    level: Level
    column: str
    items: tuple[Attribute, ...]


_INDEXED: Final = {
    Level.PATIENT: "PatientID IssuerOfPatientID PatientName PatientBirthDate PatientSex",
    Level.STUDY: "StudyInstanceUID StudyDate StudyTime AccessionNumber StudyID StudyDescription ReferringPhysicianName"
    " NameOfPhysiciansReadingStudy",
    Level.SERIES: "SeriesInstanceUID Modality SeriesNumber SeriesDescription BodyPartExamined SeriesDate SeriesTime"
    " InstitutionName StationName Manufacturer ManufacturerModelName ProtocolName PerformedProcedureStepStartDate"
    " PerformedProcedureStepStartTime OperatorsName Laterality",
    Level.IMAGE: "SOPInstanceUID SOPClassUID InstanceNumber Rows Columns NumberOfFrames ContentDate ContentTime"
    " AcquisitionDateTime TimezoneOffsetFromUTC ImageType",
}
_CODE: Final = "CodeValue CodingSchemeDesignator CodingSchemeVersion CodeMeaning"
_SEQUENCES: Final = (
    ("ProcedureCodeSequence", Level.STUDY, _CODE),
    (
        "RequestAttributesSequence",
        Level.SERIES,
        "AccessionNumber StudyInstanceUID RequestedProcedureID RequestedProcedureDescription"
        " ScheduledProcedureStepID ScheduledProcedureStepDescription PlacerOrderNumberImagingServiceRequest",
    ),
    ("PerformedProtocolCodeSequence", Level.SERIES, _CODE),
)


def _attribute(keyword: str, level: Level) -> Attribute:
    tag = _tag(keyword)
    return Attribute(keyword, tag, dictionary_VR(tag), level, keywords.column(tag), keywords.is_multiple(tag))


def _sequence(keyword: str, level: Level, items: str) -> Sequence:
    tag = _tag(keyword)
    kept = tuple(_attribute(each, level) for each in items.split())
    return Sequence(keyword, tag, level, keywords.column(tag), kept)


def _tag(keyword: str) -> int:
    tag = keywords.tag(keyword)
    assert tag is not None, keyword
    return tag


ATTRIBUTES: Final[tuple[Attribute, ...]] = tuple(
    _attribute(keyword, level) for level, listed in _INDEXED.items() for keyword in listed.split()
)
BY_COLUMN: Final[Mapping[str, Attribute]] = {attribute.column: attribute for attribute in ATTRIBUTES}
BY_TAG: Final[Mapping[int, Attribute]] = {attribute.tag: attribute for attribute in ATTRIBUTES}
SEQUENCES: Final[tuple[Sequence, ...]] = tuple(_sequence(*each) for each in _SEQUENCES)
SEQUENCE_TAGS: Final = frozenset(sequence.tag for sequence in SEQUENCES)

CHARACTER_SET: Final = 0x00080005


class Written(NamedTuple):
    """How a dataset is written: its elements, and the character set that is assumed of its sender ('' for none)."""

    syntax: Syntax
    assumed: str = ""


class Packed(NamedTuple):
    """One sequence as it was received: its VR as declared (b'' in implicit VR), its bytes, and how to read them."""

    tag: int
    vr: bytes
    value: bytes
    written: Written
    character_set: str


class SopInstance(NamedTuple):
    """One SOP instance as it was received: text only, multi-values joined by backslashes, dates and times as sent.

    A tuple, because one is made of every instance, and a dataclass costs ten times as much. ATTRIBUTES come first.
    """

    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    study_instance_uid: str
    study_date: str
    study_time: str
    accession_number: str
    study_id: str
    study_description: str
    referring_physician_name: str
    name_of_physicians_reading_study: str
    series_instance_uid: str
    modality: str
    series_number: str
    series_description: str
    body_part_examined: str
    series_date: str
    series_time: str
    institution_name: str
    station_name: str
    manufacturer: str
    manufacturer_model_name: str
    protocol_name: str
    performed_procedure_step_start_date: str
    performed_procedure_step_start_time: str
    operators_name: str
    laterality: str
    sop_instance_uid: str
    sop_class_uid: str
    instance_number: str
    rows: str
    columns: str
    number_of_frames: str
    content_date: str
    content_time: str
    acquisition_date_time: str
    timezone_offset_from_utc: str
    image_type: str
    transfer_syntax_uid: str
    notes: tuple[str, ...]
    """What is odd about the dataset, for a person: "320 bytes after the dataset", "odd length at (0010,4000)"."""
    sequences: tuple[Packed, ...] = ()
    """Those of SEQUENCES that it has."""


_PACKED: Final[Mapping[bytes, str]] = {b"": "", b"UN": "", b"OW": "", b"OB": ""} | {vr.encode(): vr for vr in NUMBERS}
"""The VRs with which packed integers are declared; '' where it is the dictionary that knows."""
_SHORT: Final = 64
LONGEST: Final = 1024
"""Characters of a value in the index: no VR that is indexed has so many (PS3.5 6.2), and every query reads them."""
_PLAIN: Final = re.compile(rb"[ -~]*\0*")
_PADDING: Final = " \0"

# One raw value: the VR as the element declares it (b'' in implicit VR) and its bytes.
Raw = tuple[bytes, bytes]


def build(values: Mapping[int, Raw], transfer_syntax_uid: str, written: Written, notes: list[str]) -> SopInstance:
    """A SopInstance from the raw values of one dataset; appends to `notes` what could not be decoded."""
    character_set = values.get(CHARACTER_SET, (b"", b""))[1].decode("latin-1").strip(_PADDING)
    texts, sequences = dict.fromkeys(BY_TAG, ""), list[Packed]()
    for tag, (declared, value) in values.items():
        if tag in BY_TAG:
            convert = _text_again if len(value) <= _SHORT else _text
            texts[tag], doubt = convert(BY_TAG[tag].vr, declared, value, character_set, written)
            if doubt:
                notes.append(f"text in {keywords.show(tag)} is {doubt}")
            if len(texts[tag]) > LONGEST:
                texts[tag] = texts[tag][:LONGEST]
                notes.append(f"of the text in {keywords.show(tag)}, the first {LONGEST} characters are indexed")
        elif tag in SEQUENCE_TAGS:
            sequences.append(Packed(tag, declared, value, written, character_set))
    return SopInstance._make((*texts.values(), transfer_syntax_uid, tuple(notes), tuple(sequences)))


def text(vr: str, raw: Raw, character_set: str, written: Written) -> str:
    """One raw value as text, whatever it is worth."""
    return _text(vr, *raw, character_set, written)[0]


def safe(text: str) -> str:
    """A short form of a peer's ASCII text that may stand in a note or an error."""
    return re.sub(r"[^ -~]", "?", text[:64])


def strip(text: str) -> str:
    """`text` without the padding of each of its values (PS3.5 6.2)."""
    text = text.strip(_PADDING)
    if "\\" not in text:
        return text
    return "\\".join(value.strip(_PADDING) for value in text.split("\\"))


def numbers(value: bytes, vr: str, *, little_endian: bool) -> str:
    """Packed integers as decimal text, joined by backslashes; bytes that fill no whole integer are left out."""
    code = NUMBERS[vr]
    count = len(value) // struct.calcsize(f"={code}")
    return "\\".join(map(str, struct.unpack_from(f"{'<' if little_endian else '>'}{count}{code}", value)))


def _text(vr: str, declared: bytes, value: bytes, character_set: str, written: Written) -> tuple[str, str]:
    """The value as text, and what is doubtful about it. A declared integer VR, or none but that of the dictionary, says
    that it is packed.
    """
    if declared in _PACKED:
        packed = _PACKED[declared] or vr
        if packed in NUMBERS:
            return numbers(value, packed, little_endian=written.syntax.little), ""
    if _PLAIN.fullmatch(value):
        return strip(value.decode("ascii")), ""
    assumed = written.assumed
    if vr not in names.TEXT_VRS:
        character_set = assumed = ""
    read = names.assume(value, character_set, vr, assumed)
    if read is not None:
        return strip(read), f"read as {assumed}"
    read, good = names.decode(value, character_set, vr)
    return strip(read), "" if good else f"not valid {safe(character_set) or 'ISO-IR 6'}"


_text_again = lru_cache(maxsize=1024)(_text)
"""The instances of a series differ in few of their values."""
