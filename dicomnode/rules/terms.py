"""One key of an Identifier → terms, by its VR and by what was negotiated (PS3.4 C.2.2.2).

Never looks at levels: that is matching.py. Raises BadIdentifier, naming the attribute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dicomnode.dicom.classes import is_valid_uid
from dicomnode.dicom.identifier import Key, is_wild
from dicomnode.dicom.instance import LONGEST
from dicomnode.errors import BadIdentifier
from dicomnode.rules import keys, ranges
from dicomnode.rules.keys import Supported
from dicomnode.rules.negotiated import Features


class Match(StrEnum):
    EQUAL = "equal"
    """One of the values is the whole value; case matters."""
    WILDCARD = "wildcard"
    """One of the values fits; case matters, and nothing but `*` and `?` is special."""
    UIDS = "uids"
    DATES = "dates"
    TIMES = "times"
    DATETIMES = "datetimes"
    MOMENTS = "moments"
    """A range of a date and its time as one (ranges.moments)."""
    NAME = "name"
    """A name, wild cards and all, as it was written."""
    FUZZY = "fuzzy"
    """A name as it sounds, or as NAME."""
    NUMBER = "number"
    EMPTY = "empty"
    """No value."""
    ITEM = "item"
    """One stored item of the sequence meets every one of `items`."""


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. `column`: of the index, or a Computed. `values`: one or several; or (low, high) of a range.

    An attribute that has several values meets it if one of them does. `with_`: the time's column of MOMENTS.
    """

    column: str
    match: Match
    values: tuple[str, ...] = ()
    with_: str = ""
    items: tuple[Term, ...] = ()


_WILD: Final = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_RANGES: Final[dict[str, tuple[Match, Callable[[str], ranges.Range], str]]] = {
    "DA": (Match.DATES, ranges.dates, "date"),
    "TM": (Match.TIMES, ranges.times, "time"),
    "DT": (Match.DATETIMES, ranges.date_times, "date-time"),
}
_STAR: Final = _WILD | _RANGES.keys()  # PS3.4 C.2.2.2.4 has no wild cards in dates; what `*` means in one is plain
_EMPTY: Final = '""'
_MOST: Final = 100
"""Values in a key that is no list of UIDs."""


def of(key: Key, found: Supported, features: Features) -> Iterator[Term]:
    """What a key asks for: nothing where it is universal."""
    if found.vr == "SQ":
        yield from _item(key, found, features)
        return
    value = key.value.strip(" \0")
    if not found.matched or _is_universal(value, found.vr):
        return
    if found.vr == "UI":
        yield Term(found.column, Match.UIDS, uids(found.keyword, value))
        return
    several = _several(value)
    if len(value) > LONGEST or len(several) > _MOST:
        raise BadIdentifier(f"{found.keyword} has over {LONGEST} characters or {_MOST} values")
    if features.empty_value and value == _EMPTY:
        yield Term(found.column, Match.EMPTY)
    elif features.multiple_value:
        yield from (_term((each,), found, features) for each in several if not _is_universal(each, found.vr))
    elif found.vr != "CS":
        yield _term((value,), found, features)
    elif several and not any(_is_universal(each, "CS") for each in several):
        yield _term(several, found, features)


def combined(terms: list[Term]) -> Iterator[Term]:
    """The terms, with those of a date and of its time made one (PS3.4 C.2.2.2.5)."""
    times = {term.column: term for term in terms if term.match is Match.TIMES}
    pairs = {
        term: times[keys.TIMES[term.column]]
        for term in terms
        if term.match is Match.DATES and keys.TIMES.get(term.column) in times
    }
    for term in terms:
        if time := pairs.get(term):
            yield Term(term.column, Match.MOMENTS, ranges.moments(*term.values, *time.values), time.column)
        elif term not in pairs.values():
            yield term


def uids(keyword: str, text: str) -> tuple[str, ...]:
    """A list of UIDs, or a single one. Wild cards make none (PS3.4 C.2.2.2.4)."""
    values = _several(text)
    if not values or not all(map(is_valid_uid, values)):
        raise BadIdentifier(f"{keyword} is not a UID or a list of them")
    return values


def _item(key: Key, found: Supported, features: Features) -> Iterator[Term]:
    """One item, which a stored one has to meet in all (PS3.4 C.2.2.2.6)."""
    if len(key.items) > 1:
        raise BadIdentifier(f"{found.keyword} takes one item")
    parts = ((part, found.part(part.tag)) for item in key.items for part in item)
    terms = tuple(term for part, what in parts if what for term in of(part, what, features))
    if terms:
        yield Term(found.column, Match.ITEM, items=terms)


def _term(values: tuple[str, ...], found: Supported, features: Features) -> Term:
    """The term of one value, or of a list of which one is enough."""
    column, vr, value = found.column, found.vr, values[0]
    if vr in _RANGES:
        return _range(value, found)
    if vr == "PN":
        return Term(column, Match.FUZZY if features.fuzzy else Match.NAME, values)
    if vr in _WILD and any(map(is_wild, values)):
        return Term(column, Match.WILDCARD, values)
    if vr in ("IS", "US") and re.fullmatch(r"[+-]?[0-9]+", value):
        return Term(column, Match.NUMBER, values)
    return Term(column, Match.EQUAL, values)


def _range(value: str, found: Supported) -> Term:
    match, parse, kind = _RANGES[found.vr]
    try:
        return Term(found.column, match, parse(value))
    except ValueError as fault:
        raise BadIdentifier(f"{found.keyword} is no {kind} and no range of {kind}s") from fault


def _is_universal(value: str, vr: str) -> bool:
    return not value or (vr in _STAR and not value.strip("*"))


def _several(text: str) -> tuple[str, ...]:
    return tuple(value for each in text.split("\\") if (value := each.strip(" \0")))
