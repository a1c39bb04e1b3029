"""The conditions of a route, `when` and `only`: what an instance has to be like.

    modality: [CT, MR]            an attribute is one of these; * and ? are wildcards
    study_date: 20260101-         dates and times: a range, open where an end is missing
    number_of_frames: ">=2 <100"  numbers: all of these comparisons
    not: {…}                      what is in the map does not hold
    any: [{…}, {…}]               one of these maps holds; all: [{…}, {…}]: every one

A map holds where everything in it does; one with nothing in it is a fault. An attribute that is absent is the empty
text: it lies in no range, and matches `*` alone; one of several values (modality `CT\\MR`) is whatever one of them is.
Case matters. The items of a sequence are asked for by its name and theirs:
`request_attributes_sequence.requested_procedure_id`.

`read` promises every fault, each with its place; what is true of an instance is decided in rules/conditions.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final, Literal

from dicomnode.config import units
from dicomnode.config.parts import Frozen
from dicomnode.dicom.identifier import is_wild
from dicomnode.dicom.instance import BY_COLUMN, SEQUENCES

Where = tuple[str | int, ...]
Fault = Callable[[Where, str], None]
"""Told of each fault: its place in the file, and what is wrong."""

ORIGIN: Final = ("called", "calling", "partner", "site")
"""How an instance came: the AE titles of its association, and who called, by the names of this file."""
VRS: Final = {column: attribute.vr for column, attribute in BY_COLUMN.items()} | {
    f"{sequence.column}.{item.column}": item.vr for sequence in SEQUENCES for item in sequence.items
}
"""Every indexed attribute, those of the items of sequences too, with its VR."""
ATTRIBUTES: Final = frozenset({*ORIGIN, *VRS})
"""What can be asked about."""

_RANGE = re.compile(r"([0-9]*)(-?)([0-9]*)")
_COMPARISONS = re.compile(r"(?:(?:>=|<=|>|<) *-?[0-9]{1,12}(?: +|$))+")
_MOMENTS = {
    "DA": ("%Y%m%d", "00000101", (8,), "a date (20260131)"),
    "TM": ("%H%M%S", "000000", (2, 4, 6), "a time of day (0830)"),
    "DT": ("%Y%m%d%H%M%S", "00000101000000", (4, 6, 8, 10, 12, 14), "a date and time (202601310830)"),
}
"""Of the VRs that have ranges: how the longest value is written, what its parts begin with, how many digits it may
have, and what it is called."""
_NUMBERS = ("IS", "US")


class Condition(Frozen):
    """One attribute, and the values of which it must have one, as they are written."""

    attribute: str
    values: tuple[str, ...]


class Group(Frozen):
    """Maps of which any or all must hold; or one that must not."""

    word: Literal["any", "all", "not"]
    of: tuple[Conditions, ...]


class Conditions(Frozen):
    """A map: everything in it must hold. An empty one always does."""

    of: tuple[Condition | Group, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.of)


def read(data: Any, where: Where, fault: Fault) -> Conditions:
    """A map as it stands in the file; what is faulty is told and left out."""
    if data == {}:  # it would hold always, and what it is in always or never
        fault(where, "is an empty map: say what must hold, or must not")
    if not isinstance(data, dict):
        fault(where, "is a map of attributes to values, such as {modality: CT}")
        return Conditions()
    entries = [_entry(key, value, (*where, key), fault) for key, value in data.items()]
    return Conditions(of=tuple(entry for entry in entries if entry))


def _entry(key: str, value: Any, where: Where, fault: Fault) -> Condition | Group | None:
    if key == "not":
        return Group(word="not", of=(read(value, where, fault),))
    if key in ("any", "all"):
        return _group(key, value, where, fault)
    if key not in ATTRIBUTES:
        choices = {*ATTRIBUTES, "any", "all", "not"}
        fault(where, f"unknown attribute {units.quoted(key)}{units.suggestion(key, choices)}")
        return None
    return _condition(key, value, where, fault)


def _group(word: Any, value: Any, where: Where, fault: Fault) -> Group | None:
    if not isinstance(value, list) or not value:
        fault(where, "is a list of maps, such as [{modality: CT}, {station_name: 'MR*'}]")
        return None
    return Group(word=word, of=tuple(read(each, (*where, i), fault) for i, each in enumerate(value)))


def _condition(attribute: str, value: Any, where: Where, fault: Fault) -> Condition | None:
    try:
        items = units.many(value)
    except ValueError as error:
        fault(where, str(error))
        return None
    for position, item in enumerate(items):
        try:
            _check(units.text(item), VRS.get(attribute, ""))
        except ValueError as error:
            fault((*where, position), str(error))
    return Condition(attribute=attribute, values=tuple(map(str, items)))


def _check(value: str, vr: str) -> None:
    """Raise ValueError where a value can match nothing of this VR."""
    if vr in _MOMENTS and not is_wild(value):
        low, high = ends(value, vr)
        if low and high and low[: len(high)] > high[: len(low)]:
            raise ValueError(f"{units.quoted(value)} ends before it begins")
    elif vr in _NUMBERS and value[0] in "<>" and not _COMPARISONS.fullmatch(value):
        raise ValueError(f"{units.quoted(value)} is no comparison such as '>=2' or '>=2 <100'")


def ends(value: str, vr: str) -> tuple[str, str]:
    """Both ends of a range of dates or times, '' where it is open; of a single one, itself. ValueError: it is neither.

    An end stands for all that begins with it: until 0830 is until the end of that minute.
    """
    found = _RANGE.fullmatch(value)
    if found is None or not (found[1] or found[3]) or not all(_is_moment(end, vr) for end in (found[1], found[3])):
        what = _MOMENTS[vr][3]
        raise ValueError(f"{units.quoted(value)} is neither {what}, nor a range of such, nor has it wildcards")
    return (found[1], found[3]) if found[2] else (found[1], found[1])


def _is_moment(digits: str, vr: str) -> bool:
    form, least, lengths, _ = _MOMENTS[vr]
    if not digits:
        return True
    try:
        datetime.strptime(digits + least[len(digits) :], form)
    except ValueError:
        return False
    return len(digits) in lengths


def is_moment(vr: str) -> bool:
    """Whether values of this VR are dates or times."""
    return vr in _MOMENTS


def is_comparison(value: str, vr: str) -> bool:
    """Whether a value compares numbers."""
    return vr in _NUMBERS and value[0] in "<>"


def placed(conditions: Conditions, where: Where) -> Iterator[tuple[Where, Condition]]:
    """Every condition, however deep, with its place in the file."""
    for each in conditions.of:
        if isinstance(each, Condition):
            yield (*where, each.attribute), each
        elif each.word == "not":
            yield from placed(each.of[0], (*where, "not"))
        else:
            for position, inner in enumerate(each.of):
                yield from placed(inner, (*where, each.word, position))


def requires(conditions: Conditions, attribute: str) -> bool:
    """Whether nothing can meet these without a value of an attribute that they name."""
    return any(_requires(each, attribute) for each in conditions.of)


def _requires(each: Condition | Group, attribute: str) -> bool:
    if isinstance(each, Condition):
        return each.attribute == attribute
    if each.word == "not":
        return False
    return (all if each.word == "any" else any)(requires(inner, attribute) for inner in each.of)
