"""A C-FIND, C-MOVE or C-GET Identifier → a query, by information model and level (PS3.4 C.2.2.2, C.4.1, C.4.2, C.6).

What a key may ask: universal (zero length, or `*`), single value, list of UID, wildcard (`*` `?`, only in the VRs that
have them), range (DA, TM, DT), one item of a sequence; and what was negotiated (Features). Keys that are not supported
restrict nothing; the query says so, and is answered FF01H. Raises BadIdentifier, naming the attribute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dicomnode.dicom.identifier import Identifier, Key, is_wild
from dicomnode.dicom.instance import Attribute, Level
from dicomnode.errors import BadIdentifier
from dicomnode.rules import keys, terms
from dicomnode.rules.contexts import (
    PATIENT_ROOT_FIND,
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    PATIENT_STUDY_ONLY_FIND,
    PATIENT_STUDY_ONLY_GET,
    PATIENT_STUDY_ONLY_MOVE,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
)
from dicomnode.rules.keys import LEVELS, UNIQUE, Supported
from dicomnode.rules.negotiated import Features
from dicomnode.rules.terms import Match, Term


class Model(StrEnum):
    PATIENT_ROOT = "Patient Root"
    STUDY_ROOT = "Study Root"
    PATIENT_STUDY_ONLY = "Patient/Study Only"


MODELS: Final = {
    **dict.fromkeys((PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET), Model.PATIENT_ROOT),
    **dict.fromkeys((STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET), Model.STUDY_ROOT),
    **dict.fromkeys(
        (PATIENT_STUDY_ONLY_FIND, PATIENT_STUDY_ONLY_MOVE, PATIENT_STUDY_ONLY_GET), Model.PATIENT_STUDY_ONLY
    ),
}
"""By the SOP class of the request."""


@dataclass(frozen=True, slots=True)
class Return:
    """One attribute of every answer: its tag and VR, and the column of the index or the Computed it comes from.

    `items`: what is asked for of the items of a sequence; none where it is all that is stored.
    """

    tag: int
    vr: str
    column: str
    items: tuple[Return, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: one answer for each entity of `level` that meets every term.

    Terms on attributes of lower levels are met by an entity that has one instance, in its series, that meets them all.
    """

    level: Level
    terms: tuple[Term, ...]
    returns: tuple[Return, ...]
    unsupported: tuple[Key, ...]
    """Keys that were asked for and are not supported, or belong to a lower level: returned empty."""
    all_supported: bool
    """Whether each key is, those in items too, which are not returned where they are not (FF00H, else FF01H)."""


_MODELS: Final = {
    Model.PATIENT_ROOT: LEVELS,
    Model.STUDY_ROOT: LEVELS[1:],  # its studies have the attributes of their patients (PS3.4 C.6.2.1)
    Model.PATIENT_STUDY_ONLY: LEVELS[:2],
}
_BASELINE: Final = Features()


def query(identifier: Identifier, model: Model, features: Features = _BASELINE) -> Query:
    """The query of a C-FIND Identifier (PS3.4 C.4.1.1.3), with the features that its caller has negotiated.

    Relational: keys of all levels restrict the answers, and the unique keys above need no value (C.4.1.3.2.2).
    """
    level = _level(identifier, model)
    above = _above(level, model)
    upper = [] if features.relational else above
    conditions = [_upper(identifier, each, level) for each in upper]
    returns = {UNIQUE[each].tag: _unique(each) for each in above}
    supported = keys.supported(identifier)
    unsupported, whole = [], True
    passed = {keys.RETRIEVE_AE_TITLE, *(UNIQUE[each].tag for each in upper)}
    for key in (each for each in identifier.keys if each.tag not in passed):
        found = supported.get(key.tag)
        below = found is not None and keys.is_below(found.level, level)
        if found and (features.relational or not below):
            conditions.extend(terms.of(key, found, features))
        if found and not below and (asked := _return(key, found)):
            returns[key.tag] = asked
            whole = whole and _is_whole(key, found)
        else:
            unsupported.append(key)
    returns.setdefault(UNIQUE[level].tag, _unique(level))
    if features.date_time:
        conditions = list(terms.combined(conditions))
    return Query(level, tuple(conditions), tuple(returns.values()), tuple(unsupported), whole and not unsupported)


def retrieve(identifier: Identifier, model: Model, features: Features = _BASELINE) -> Query:
    """What a C-MOVE or C-GET Identifier selects, as a query for instances (PS3.4 C.4.2.2.1).

    Only unique keys count, a value is needed at the level and, unless relational, at each above it, and nothing is ever
    "everything".
    """
    level = _level(identifier, model)
    above = _above(level, model)
    if features.relational:
        upper = [_chosen(identifier, each) for each in above if _value(identifier, UNIQUE[each])]
    else:
        upper = [_upper(identifier, each, level) for each in above]
    return Query(Level.IMAGE, (*upper, _chosen(identifier, level)), (), (), True)


# -- levels and unique keys ------------------------------------------------------------------------------------


def _level(identifier: Identifier, model: Model) -> Level:
    if identifier.level not in tuple(LEVELS):
        what = f"{identifier.level!r} is no level" if identifier.level else "is missing"
        raise BadIdentifier(f"Query/Retrieve Level (0008,0052) {what}")
    level = Level(identifier.level)
    if level not in _MODELS[model]:
        raise BadIdentifier(f"Query/Retrieve Level: {model} has no {level} level")
    return level


def _above(level: Level, model: Model) -> list[Level]:
    return [each for each in _MODELS[model] if keys.is_below(level, each)]


def _unique(level: Level) -> Return:
    return Return(UNIQUE[level].tag, UNIQUE[level].vr, UNIQUE[level].column)


def _value(identifier: Identifier, attribute: Attribute) -> str:
    return identifier.value(attribute.tag).strip(" \0")


def _upper(identifier: Identifier, above: Level, level: Level) -> Term:
    """The single value that the unique key of a level above must have (PS3.4 C.4.1.3.1)."""
    attribute = UNIQUE[above]
    value = _value(identifier, attribute)
    if not value:
        raise BadIdentifier(f"{attribute.keyword} needs a single value at {level} level")
    if "\\" in value:
        raise BadIdentifier(f"{attribute.keyword} takes a single value here")
    return _chosen(identifier, above)


def _chosen(identifier: Identifier, level: Level) -> Term:
    """The entities of a level that its unique key names: one patient, or a list of UIDs."""
    attribute = UNIQUE[level]
    value = _value(identifier, attribute)
    if not value:
        raise BadIdentifier(f"{attribute.keyword} needs a value at {level} level")
    if attribute.vr == "UI":
        return Term(attribute.column, Match.UIDS, terms.uids(attribute.keyword, value))
    if "\\" in value or is_wild(value):
        raise BadIdentifier(f"{attribute.keyword} takes a single value here")
    return Term(attribute.column, Match.EQUAL, (value,))


# -- what is returned ------------------------------------------------------------------------------------------


def _return(key: Key, found: Supported) -> Return | None:
    """What a key has returned; None for an item of which we know nothing."""
    items = tuple(_returns(key.items[0], found)) if key.items else ()
    if key.items and key.items[0] and not items:
        return None
    return Return(found.tag, found.vr, found.column, items)


def _returns(item: Iterable[Key], found: Supported) -> Iterator[Return]:
    for key in item:
        if part := found.part(key.tag):
            yield Return(part.tag, part.vr, part.column)


def _is_whole(key: Key, found: Supported) -> bool:
    return all(found.part(part.tag) for item in key.items for part in item)
