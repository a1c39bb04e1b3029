"""Which attributes a query may ask for, of which level (PS3.4 C.3.4, C.6): tables, made of what is indexed.

Never says what a value means: that is ranges.py and matching.py. Nothing here fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dicomnode.dicom.identifier import Identifier
from dicomnode.dicom.instance import ATTRIBUTES, BY_COLUMN, SEQUENCES, Attribute, Level, Sequence


class Computed(StrEnum):
    """Attributes of an answer that no object carries (PS3.4 C.3.4, C.4.1.1.3.2), ours among them."""

    INSTANCE_AVAILABILITY = "InstanceAvailability"
    MODALITIES_IN_STUDY = "ModalitiesInStudy"
    SOP_CLASSES_IN_STUDY = "SOPClassesInStudy"
    PATIENT_STUDIES = "NumberOfPatientRelatedStudies"
    PATIENT_SERIES = "NumberOfPatientRelatedSeries"
    PATIENT_INSTANCES = "NumberOfPatientRelatedInstances"
    STUDY_SERIES = "NumberOfStudyRelatedSeries"
    STUDY_INSTANCES = "NumberOfStudyRelatedInstances"
    SERIES_INSTANCES = "NumberOfSeriesRelatedInstances"
    PRIVATE_CREATOR = "PrivateCreator"
    REFERRAL_STATE = "ReferralState"


@dataclass(frozen=True, slots=True)
class Supported:
    """An attribute that may be asked for, at `level` and below. `column`: of the index, or a Computed.

    `matched`: whether a value restricts the answers. `items`: what may be asked for in a sequence.
    """

    keyword: str
    tag: int
    vr: str
    level: Level
    column: str
    matched: bool = True
    items: tuple[Supported, ...] = ()

    def part(self, tag: int) -> Supported | None:
        """What a tag is in the items of this sequence."""
        return next((each for each in self.items if each.tag == tag), None)


LEVELS: Final = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
UNIQUE: Final = {
    Level.PATIENT: BY_COLUMN["patient_id"],
    Level.STUDY: BY_COLUMN["study_instance_uid"],
    Level.SERIES: BY_COLUMN["series_instance_uid"],
    Level.IMAGE: BY_COLUMN["sop_instance_uid"],
}
RETRIEVE_AE_TITLE: Final = 0x00080054
"""In every answer, whether it was asked for or not, and never matched."""
TIMES: Final = {
    date: time
    for date in BY_COLUMN
    if date.endswith("_date") and (time := f"{date.removesuffix('_date')}_time") in BY_COLUMN
}
"""The column of the time of each date that has one."""

_TIMEZONE: Final = "timezone_offset_from_utc"  # PS3.4 C.4.1.1.3.1: says what the times mean, and is no key
_COMPUTED: Final = (
    (0x00080056, "CS", Level.PATIENT, Computed.INSTANCE_AVAILABILITY),
    (0x00080061, "CS", Level.STUDY, Computed.MODALITIES_IN_STUDY),
    (0x00080062, "UI", Level.STUDY, Computed.SOP_CLASSES_IN_STUDY),
    (0x00201200, "IS", Level.PATIENT, Computed.PATIENT_STUDIES),
    (0x00201202, "IS", Level.PATIENT, Computed.PATIENT_SERIES),
    (0x00201204, "IS", Level.PATIENT, Computed.PATIENT_INSTANCES),
    (0x00201206, "IS", Level.STUDY, Computed.STUDY_SERIES),
    (0x00201208, "IS", Level.STUDY, Computed.STUDY_INSTANCES),
    (0x00201209, "IS", Level.SERIES, Computed.SERIES_INSTANCES),
)
_MATCHED: Final = (Computed.MODALITIES_IN_STUDY, Computed.SOP_CLASSES_IN_STUDY)


def _attribute(of: Attribute) -> Supported:
    return Supported(of.keyword, of.tag, of.vr, of.level, of.column, of.column != _TIMEZONE)


def _sequence(of: Sequence) -> Supported:
    return Supported(of.keyword, of.tag, "SQ", of.level, of.column, items=tuple(map(_attribute, of.items)))


def _computed(tag: int, vr: str, level: Level, of: Computed) -> Supported:
    return Supported(of, tag, vr, level, of, of in _MATCHED)


SUPPORTED: Final[Mapping[int, Supported]] = {
    each.tag: each
    for each in (*map(_attribute, ATTRIBUTES), *map(_sequence, SEQUENCES), *(_computed(*of) for of in _COMPUTED))
}
"""Every key of the standard that is supported, by tag; RETRIEVE_AE_TITLE apart."""
CREATOR: Final = "DICOMNODE"
_RESERVATION: Final = 0x00090010
PRIVATE: Final[Mapping[int, Supported]] = {
    _RESERVATION: _computed(_RESERVATION, "LO", Level.STUDY, Computed.PRIVATE_CREATOR),
    0x00091001: _computed(0x00091001, "LO", Level.STUDY, Computed.REFERRAL_STATE),
}
"""Our own keys, which they are only where CREATOR reserves their block (PS3.5 7.8.1)."""


def supported(asked: Identifier) -> Mapping[int, Supported]:
    """What may be asked for in an Identifier, by tag."""
    return {**SUPPORTED, **PRIVATE} if asked.value(_RESERVATION) == CREATOR else SUPPORTED


def is_below(level: Level, other: Level) -> bool:
    """Whether `level` is further down in the hierarchy than `other`."""
    return LEVELS.index(level) > LEVELS.index(other)
