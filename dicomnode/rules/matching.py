"""A C-FIND or C-MOVE Identifier → terms, by information model, level and VR (PS3.4 C.2.2.2, C.4.1, C.6).

What a key may ask: universal (zero length, or `*`), single value, list of UID, wildcard (`*` `?`, only in the VRs that
have them), range (DA, TM). Keys that are not supported restrict nothing; the query says so, and is answered FF01H.
Baseline behaviour only: hierarchical search, date and time independent. Raises BadIdentifier, naming the attribute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from dicomnode.dicom.classes import is_valid_uid
from dicomnode.dicom.identifier import Identifier, Key
from dicomnode.dicom.instance import BY_COLUMN, BY_TAG, Attribute, Level
from dicomnode.errors import BadIdentifier


class Model(StrEnum):
    PATIENT_ROOT = "Patient Root"
    STUDY_ROOT = "Study Root"


class Match(StrEnum):
    EQUAL = "equal"
    WILDCARD = "wildcard"
    UIDS = "uids"
    DATES = "dates"
    TIMES = "times"
    NAME = "name"
    NUMBER = "number"


class Computed(StrEnum):
    """Attributes of an answer that no object carries (PS3.4 C.3.4, C.4.1.1.3.2)."""

    INSTANCE_AVAILABILITY = "InstanceAvailability"
    MODALITIES_IN_STUDY = "ModalitiesInStudy"
    SOP_CLASSES_IN_STUDY = "SOPClassesInStudy"
    PATIENT_STUDIES = "NumberOfPatientRelatedStudies"
    PATIENT_SERIES = "NumberOfPatientRelatedSeries"
    PATIENT_INSTANCES = "NumberOfPatientRelatedInstances"
    STUDY_SERIES = "NumberOfStudyRelatedSeries"
    STUDY_INSTANCES = "NumberOfStudyRelatedInstances"
    SERIES_INSTANCES = "NumberOfSeriesRelatedInstances"


LEVELS = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
UNIQUE = {
    Level.PATIENT: BY_COLUMN["patient_id"],
    Level.STUDY: BY_COLUMN["study_instance_uid"],
    Level.SERIES: BY_COLUMN["series_instance_uid"],
    Level.IMAGE: BY_COLUMN["sop_instance_uid"],
}
RETRIEVE_AE_TITLE = 0x00080054
_COMPUTED = {
    0x00080056: (Computed.INSTANCE_AVAILABILITY, "CS", Level.PATIENT),
    0x00080061: (Computed.MODALITIES_IN_STUDY, "CS", Level.STUDY),
    0x00080062: (Computed.SOP_CLASSES_IN_STUDY, "UI", Level.STUDY),
    0x00201200: (Computed.PATIENT_STUDIES, "IS", Level.PATIENT),
    0x00201202: (Computed.PATIENT_SERIES, "IS", Level.PATIENT),
    0x00201204: (Computed.PATIENT_INSTANCES, "IS", Level.PATIENT),
    0x00201206: (Computed.STUDY_SERIES, "IS", Level.STUDY),
    0x00201208: (Computed.STUDY_INSTANCES, "IS", Level.STUDY),
    0x00201209: (Computed.SERIES_INSTANCES, "IS", Level.SERIES),
}
_MATCHED = (Computed.MODALITIES_IN_STUDY, Computed.SOP_CLASSES_IN_STUDY)
_WILD = frozenset(["AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"])


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. `column`: of the index, or a Computed. `values`: one; the UIDs; or (low, high) of a range."""

    column: str
    match: Match
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Return:
    """One attribute of every answer: its tag and VR, and the column of the index or the Computed it comes from."""

    tag: int
    vr: str
    column: str


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: one answer for each entity of `level` that meets every term."""

    level: Level
    terms: tuple[Term, ...]
    returns: tuple[Return, ...]
    unsupported: tuple[Key, ...]
    """Keys that were asked for and are not supported: returned empty."""


def query(identifier: Identifier, model: Model) -> Query:
    """The query of a C-FIND Identifier (PS3.4 C.4.1.1.3)."""
    level = _level(identifier, model)
    terms = [_upper(identifier, above) for above in _above(level, model)]
    returns = {a.tag: Return(a.tag, a.vr, a.column) for a in (UNIQUE[up] for up in _above(level, model))}
    unsupported = []
    for key in identifier.keys:
        found = _supported(key, level)
        if found is None:
            unsupported.append(key)
        elif key.tag != RETRIEVE_AE_TITLE and key.tag not in returns:
            returns[key.tag] = found
            terms.extend(_terms(key, found))
    own = UNIQUE[level]
    returns.setdefault(own.tag, Return(own.tag, own.vr, own.column))
    return Query(level, tuple(terms), tuple(returns.values()), tuple(unsupported))


def retrieve(identifier: Identifier, model: Model) -> Query:
    """What a C-MOVE Identifier selects, as a query for instances (PS3.4 C.4.2.2.1).

    Only unique keys count, a value is needed at the level and at each above it, and nothing is ever "everything".
    """
    level = _level(identifier, model)
    terms = [_upper(identifier, above) for above in _above(level, model)]
    unique = UNIQUE[level]
    chosen = tuple(value for value in _value(identifier, unique).split("\\") if value)
    if not chosen:
        raise BadIdentifier(f"{unique.keyword} needs a value at {level} level")
    if level is Level.PATIENT:
        terms.append(_single(unique, _value(identifier, unique)))
    else:
        terms.append(Term(unique.column, Match.UIDS, _uids(unique.keyword, chosen)))
    return Query(Level.IMAGE, tuple(terms), (), ())


def _level(identifier: Identifier, model: Model) -> Level:
    if identifier.level not in tuple(LEVELS):
        what = f"{identifier.level!r} is no level" if identifier.level else "is missing"
        raise BadIdentifier(f"Query/Retrieve Level (0008,0052) {what}")
    level = Level(identifier.level)
    if level is Level.PATIENT and model is Model.STUDY_ROOT:
        raise BadIdentifier("Query/Retrieve Level (0008,0052): Study Root has no PATIENT level")
    return level


def _above(level: Level, model: Model) -> list[Level]:
    levels = LEVELS if model is Model.PATIENT_ROOT else LEVELS[1:]
    return list(levels[: levels.index(level)])


def _value(identifier: Identifier, attribute: Attribute) -> str:
    return identifier.value(attribute.tag).strip(" \0")


def _upper(identifier: Identifier, level: Level) -> Term:
    """The single value that the unique key of a level above must have (PS3.4 C.4.1.3.1)."""
    attribute = UNIQUE[level]
    value = _value(identifier, attribute)
    if not value:
        raise BadIdentifier(f"{attribute.keyword} needs a single value, as the level is below {level}")
    return _single(attribute, value)


def _single(attribute: Attribute, value: str) -> Term:
    if "\\" in value or (attribute.vr != "UI" and ("*" in value or "?" in value)):
        raise BadIdentifier(f"{attribute.keyword} takes a single value here")
    if attribute.vr == "UI":
        return Term(attribute.column, Match.UIDS, _uids(attribute.keyword, (value,)))
    return Term(attribute.column, Match.EQUAL, (value,))


def _uids(keyword: str, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not is_valid_uid(value):
            raise BadIdentifier(f"{keyword} is not a UID or a list of them")
    return values


def _supported(key: Key, level: Level) -> Return | None:
    """The attribute of a key, where this level has it. Keys of lower levels are not supported at this one."""
    if key.tag == RETRIEVE_AE_TITLE:
        return Return(key.tag, "AE", "")
    if key.tag in _COMPUTED:
        computed, vr, lowest = _COMPUTED[key.tag]
        return Return(key.tag, vr, computed) if LEVELS.index(lowest) <= LEVELS.index(level) else None
    attribute = BY_TAG.get(key.tag)
    if attribute and LEVELS.index(attribute.level) <= LEVELS.index(level):
        return Return(key.tag, attribute.vr, attribute.column)
    return None


def _terms(key: Key, found: Return) -> Iterator[Term]:
    value = key.value.strip(" \0")
    matched = found.column in BY_COLUMN or found.column in _MATCHED
    if not matched or (not value.strip("*") and (value == "" or found.vr in _WILD | {"DA", "TM"})):
        return
    if found.vr == "UI":
        keyword = BY_COLUMN[found.column].keyword if found.column in BY_COLUMN else found.column
        yield Term(found.column, Match.UIDS, _uids(keyword, tuple(v.strip(" \0") for v in value.split("\\"))))
    elif found.vr == "PN":
        yield Term(found.column, Match.NAME, (value,))
    elif found.vr == "DA":
        yield Term(found.column, Match.DATES, _range(value))
    elif found.vr == "TM":
        yield Term(found.column, Match.TIMES, _times(value))
    elif found.vr in _WILD and ("*" in value or "?" in value):
        yield Term(found.column, Match.WILDCARD, (value,))
    elif found.vr in ("IS", "US") and re.fullmatch(r"[+-]?[0-9]+", value):
        yield Term(found.column, Match.NUMBER, (value,))
    else:
        yield Term(found.column, Match.EQUAL, tuple(value.split("\\")) if found.vr == "CS" else (value,))


def _range(value: str) -> tuple[str, str]:
    """(low, high), '' where open; a single value is a range of itself (PS3.4 C.2.2.2.5)."""
    low, hyphen, high = value.partition("-")
    return (low.strip(), high.strip()) if hyphen else (value, value)


def _times(value: str) -> tuple[str, str]:
    """A range of times to the microsecond: 0930 begins at 09:30:00 and ends at 09:30:59.999999 (PS3.5 6.2)."""
    low, high = _range(value)
    return _padded(low, "0"), _padded(high, "9")


def _padded(value: str, filler: str) -> str:
    digits = value.replace(":", "")
    if not digits:
        return ""
    whole, _, fraction = digits.partition(".")
    template = "000000" if filler == "0" else "235959"
    return f"{whole + template[len(whole):]}.{fraction.ljust(6, filler)}"
