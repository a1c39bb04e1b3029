"""Terms → SQL conditions on t (studies), s (series) and i (instances). Every value is a bound parameter.

No condition here lets SQLite choose an index: each column has a `+` before it. How rows are come by is decided in
paths.py, so that it does not depend on what SQLite believes of the data. OURS, SEEN and PRESENT are the search's words
for what its caller may see.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from dicomnode.dicom import names
from dicomnode.dicom.instance import BY_COLUMN, SEQUENCES, Level
from dicomnode.rules.keys import Computed
from dicomnode.rules.terms import Match, Term

TABLE: Final = {Level.PATIENT: "t", Level.STUDY: "t", Level.SERIES: "s", Level.IMAGE: "i"}
SOURCE: Final = {"t": "studies t", "s": "series s", "i": "instances i"}
"""Each table, as FROM names it."""
LEVEL_OF: Final[dict[str, Level]] = {
    **{attribute.column: attribute.level for attribute in BY_COLUMN.values()},
    **{sequence.column: sequence.level for sequence in SEQUENCES},
    **{str(computed): Level.STUDY for computed in Computed},
}
"""The level that each column, and each computed one that is matched, belongs to."""
GROUPS: Final = ("patient_name_alphabetic", "patient_name_ideographic", "patient_name_phonetic")
OF_STUDY: Final = "FROM series m JOIN instances c ON c.series = m.id AND SEEN(c) WHERE m.study = t.id"

_WHOLE: Final = " || '=' || ".join(f"t.{column}" for column in GROUPS)
_KEPT: Final = {sequence.column: {a.column: f"{a.tag:08X}" for a in sequence.items} for sequence in SEQUENCES}
_MULTIPLE: Final = frozenset(attribute.column for attribute in BY_COLUMN.values() if attribute.multiple)
# A stored time to the microsecond: what it does not say is zero. Unknown stays ''.
_TIME: Final = (
    "CASE WHEN {0} = '' THEN '' WHEN length(replace({0}, ':', '')) <= 6"
    " THEN substr(replace({0}, ':', '') || '000000', 1, 6) || '.000000'"
    " ELSE substr(replace({0}, ':', '') || '000000', 1, 13) END"
)


class Condition(NamedTuple):
    """A piece of SQL, and the values of its parameters."""

    sql: str
    values: tuple[object, ...] = ()


def where(terms: Iterable[Term], level: Level, *, own: bool) -> Condition:
    """What an entity of `level` must be. `own`: the caller sees all of its studies, so what is stored of them holds.

    Terms of lower levels are met by one instance, or by one series, that meets them all.
    """
    order = [TABLE[each] for each in Level]
    here: list[Condition] = []
    below: list[tuple[str, Condition]] = []
    for term in terms:
        table = TABLE[LEVEL_OF[term.column]]
        if order.index(table) > order.index(TABLE[level]):
            below.append((table, _condition(term, own=own)))
        else:
            here.append(_condition(term, own=own))
    return every([*here, _below(below, TABLE[level])] if below else here)


def every(conditions: Sequence[Condition]) -> Condition:
    """All of them."""
    return _joined(" AND ", conditions) if conditions else Condition("1")


def among(column: str, values: Iterable[str]) -> Condition:
    """A column that has one of these values, however many."""
    return Condition(f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(list(values)),))


def between(column: str, low: str, high: str) -> Condition:
    """An inclusive range; an unknown value lies in none (PS3.4 C.2.2.2.5)."""
    ends = [Condition(f"{column} {op} ?", (end,)) for op, end in ((">=", low), ("<=", high)) if end]
    return every(ends if low else [Condition(f"{column} != ''"), *ends])


def name_groups(key: str) -> list[tuple[str, str]]:
    """(column, folded pattern) of each group of the patient's name that a key may match; any of them is enough where it
    names no group. Empty where it says nothing.
    """
    wanted = names.groups(key)
    if "=" in key:
        return [(column, group) for column, group in zip(GROUPS, wanted, strict=True) if group]
    return [(column, wanted[0]) for column in GROUPS] if wanted[0] else []


def _joined(word: str, conditions: Sequence[Condition]) -> Condition:
    sql = word.join(condition.sql for condition in conditions)
    return Condition(f"({sql})", tuple(value for condition in conditions for value in condition.values))


def _below(conditions: list[tuple[str, Condition]], table: str) -> Condition:
    """That there is a series, or an instance, below a row of `table` that meets them all."""
    told = every([condition for _, condition in conditions])
    if any(lower == "i" for lower, _ in conditions):
        source = {
            "t": "series s CROSS JOIN instances i ON i.series = s.id WHERE s.study = t.id",
            "s": "instances i WHERE i.series = s.id",
        }[table]
        return Condition(f"EXISTS (SELECT 1 FROM {source} AND SEEN(i) AND {told.sql})", told.values)
    return Condition(f"EXISTS (SELECT 1 FROM series s WHERE s.study = t.id AND PRESENT(s) AND {told.sql})", told.values)


def _condition(term: Term, *, own: bool) -> Condition:
    if term.column == Computed.MODALITIES_IN_STUDY:
        return _modalities(term) if own else _of_study("m.modality", term)
    if term.column == Computed.SOP_CLASSES_IN_STUDY:
        return _of_study("c.sop_class_uid", term)
    if term.column == "patient_name" and term.match in (Match.NAME, Match.FUZZY):
        return _joined(" OR ", [_patient(term, value) for value in term.values])
    column = f"+{TABLE[LEVEL_OF[term.column]]}.{term.column}"
    if term.match is Match.ITEM:
        return _item(column, term)
    return _values(column, term) if term.column in _MULTIPLE else _compare(column, term)


def _of_study(column: str, term: Term) -> Condition:
    if term.match is Match.EMPTY:
        return Condition(f"NOT EXISTS (SELECT 1 {OF_STUDY} AND {column} != '')")
    told = _compare(f"+{column}", term)
    return Condition(f"EXISTS (SELECT 1 {OF_STUDY} AND {told.sql})", told.values)


def _modalities(term: Term) -> Condition:
    if term.match is not Match.EQUAL:
        return _values("+t.modalities", term)
    has = "instr('\\' || t.modalities || '\\', '\\' || ? || '\\')"
    return _joined(" OR ", [Condition(has, (value,)) for value in term.values])


def _values(column: str, term: Term) -> Condition:
    """Of an attribute that may have several values: that one of them meets the term."""
    if term.match is Match.EMPTY:
        return _compare(column, term)
    told = _compare("v.value", term)
    return Condition(f"EXISTS (SELECT 1 FROM json_each(text_values({column})) v WHERE {told.sql})", told.values)


def _item(column: str, term: Term) -> Condition:
    """That one item of a stored sequence meets every one of the terms (PS3.4 C.2.2.2.6)."""
    tags = _KEPT[term.column]
    told = every(
        [_compare(f"coalesce(json_extract(v.value, '$.\"{tags[each.column]}\"'), '')", each) for each in term.items]
    )
    items = f"CASE WHEN {column} = '' THEN '[]' ELSE {column} END"
    return Condition(f"EXISTS (SELECT 1 FROM json_each({items}) v WHERE {told.sql})", told.values)


def _compare(column: str, term: Term) -> Condition:
    match term.match:
        case Match.EMPTY:
            return Condition(f"{column} = ''")
        case Match.WILDCARD:
            return _each(f"{column} GLOB ?", map(glob, term.values))
        case Match.NUMBER:
            return _each(f"({column} != '' AND CAST({column} AS INTEGER) = CAST(? AS INTEGER))", term.values)
        case Match.NAME:
            return _each(f"is_named({column}, ?)", term.values)
        case Match.FUZZY:
            alike = [Condition(f"is_alike(fold({column}), ?)", (names.fold(key),)) for key in term.values]
            return _joined(" OR ", [_each(f"is_named({column}, ?)", term.values), *alike])
        case Match.DATES:
            return between(column, *term.values)
        case Match.TIMES:
            return between(_TIME.format(column), *term.values)
        case Match.MOMENTS:
            time = _TIME.format(column.replace(term.column, term.with_))
            moment = f"{column} || coalesce(nullif({time}, ''), '000000.000000')"
            return every([Condition(f"{column} != ''"), between(moment, *term.values)])
        case Match.DATETIMES:
            return between(f"moment({column}, i.timezone_offset_from_utc)", *term.values)
        case _:  # EQUAL, UIDS
            return among(column, term.values) if len(term.values) > 1 else Condition(f"{column} = ?", term.values)


def _each(sql: str, values: Iterable[str]) -> Condition:
    return _joined(" OR ", [Condition(sql, (value,)) for value in values])


def _patient(term: Term, key: str) -> Condition:
    """The patient's name: case and accents aside, component groups apart; any of them where the key names none."""
    parts = [_group(f"+t.{column}", pattern) for column, pattern in name_groups(key)]
    if not parts:  # separators alone say nothing
        return Condition("1")
    told = _joined(" AND " if "=" in key else " OR ", parts)
    if term.match is Match.NAME:
        return told
    alike = Condition(f"is_alike({_WHOLE}, ?)", (names.fold(key),))
    return _joined(" OR ", [told, alike])


def _group(column: str, key: str) -> Condition:
    if "*" in key or "?" in key:
        return Condition(f"{column} GLOB ?", (glob(key),))
    return Condition(f"{column} = ?", (key,))


def glob(key: str) -> str:
    """A DICOM pattern as SQLite's GLOB, which differs in the square bracket alone. GLOB knows code points and case."""
    return key.replace("[", "[[]")
