"""How the rows are come by that a query may match: by which index, where one leads to few enough.

Promises a path that every matching entity is on; what is on it besides, the conditions of terms.py take out. Of several
paths the first is taken that is short: the rows of each are counted up to some thousands, which costs less than to read
what a wrong one leads to, and a month of studies is short enough. Nothing depends on statistics that SQLite may or may
not have. Inside `read`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from dicomnode.dicom import names
from dicomnode.dicom.instance import Level
from dicomnode.rules.keys import Computed
from dicomnode.rules.matching import Query
from dicomnode.rules.terms import Match, Term
from dicomnode.store import tokens
from dicomnode.store.database import one
from dicomnode.store.terms import GROUPS, SOURCE, Condition, among, between, glob, name_groups

_STEPS: Final = (10_000, 100_000)
"""How many rows of each path are counted: where every one is longer, the pages of everything have answers enough."""


class Rank(IntEnum):
    """Which path is looked at first: what leads to few, then what is read the fastest."""

    INSTANCE = 0
    SERIES = 1
    STUDY = 2
    NUMBER = 3
    DATE = 10
    NAME = 11
    PREFIX = 12
    MODALITY = 13
    REFERRED = 14
    SCAN = 20


@dataclass(frozen=True, slots=True)
class Way:
    """Rows of `table` (t, s or i): those whose ids `found` selects, or those in a range of an index of it."""

    rank: Rank
    table: str
    found: Condition
    index: str = ""

    @property
    def source(self) -> str:
        """The table, as FROM names it."""
        return f"{SOURCE[self.table]} INDEXED BY {self.index}" if self.index else SOURCE[self.table]

    @property
    def condition(self) -> Condition:
        """What a row on the path meets."""
        if self.index:
            return self.found
        return Condition(f"{self.table}.id IN ({self.found.sql})", self.found.values)

    def is_shorter(self, than: int) -> bool:
        """Whether it has fewer rows."""
        sql = f"SELECT 1 FROM {self.source} WHERE {self.found.sql}" if self.index else self.found.sql
        return int(one(f"SELECT count(*) FROM ({sql} LIMIT {than})", *self.found.values)[0]) < than


def choose(query: Query, partners: Sequence[str]) -> Way | None:
    """The path to take; None where no index leads to few enough of what is asked. `partners`: see search.Scope."""
    paths = [path for term in query.terms for path in _of_term(term, query.level)]
    if partners:
        referred = "SELECT study FROM referrals WHERE gate = 'open' AND partner IN (SELECT value FROM json_each(?))"
        paths.append(Way(Rank.REFERRED, "t", Condition(referred, (json.dumps(partners),))))
    paths.sort(key=lambda path: path.rank)
    if not paths or paths[0].rank < Rank.DATE:
        return paths[0] if paths else None
    for step in _STEPS:
        for path in paths:
            if path.rank < Rank.SCAN and path.is_shorter(step):
                return path
    return paths[-1] if paths[-1].rank is Rank.SCAN else None


def _of_term(term: Term, level: Level) -> Iterator[Way]:
    match term.column, term.match:
        case "sop_instance_uid", Match.UIDS:
            yield _by_instance(term, level)
        case "series_instance_uid", Match.UIDS:
            yield _by_series(term, level)
        case "study_instance_uid", Match.UIDS:
            found = among("study_instance_uid", term.values)
            yield Way(Rank.STUDY, "t", _select("id", "studies", found))
        case ("patient_id" | "accession_number"), Match.EQUAL:
            yield Way(Rank.NUMBER, "t", _select("id", "studies", among(term.column, term.values)))
        case ("patient_id" | "accession_number"), Match.WILDCARD:
            yield _by_prefix(term)
        case "study_date", (Match.DATES | Match.MOMENTS):
            low, high = (end[:8] for end in term.values)
            yield Way(Rank.DATE, "t", between("t.study_date", low, high), "studies_date")
        case "patient_name", (Match.NAME | Match.FUZZY):
            yield from _by_name(term)
        case ("modality" | Computed.MODALITIES_IN_STUDY), Match.EQUAL:
            yield Way(Rank.MODALITY, "t", _select("study", "series", among("modality", term.values)))


def _select(column: str, source: str, where: Condition) -> Condition:
    return Condition(f"SELECT {column} FROM {source} WHERE {where.sql}", where.values)


def _by_instance(term: Term, level: Level) -> Way:
    table, column, source = {
        Level.IMAGE: ("i", "i.id", "instances i"),
        Level.SERIES: ("s", "i.series", "instances i"),
    }.get(level, ("t", "s.study", "instances i CROSS JOIN series s ON s.id = i.series"))
    return Way(Rank.INSTANCE, table, _select(column, source, among("i.sop_instance_uid", term.values)))


def _by_series(term: Term, level: Level) -> Way:
    table, column = ("s", "id") if level in (Level.SERIES, Level.IMAGE) else ("t", "study")
    return Way(Rank.SERIES, table, _select(column, "series", among("series_instance_uid", term.values)))


_NUMBERS: Final = {"patient_id": "studies_patient", "accession_number": "studies_accession"}


def _by_prefix(term: Term) -> Way:
    """By how all the patterns begin; or, if one begins with a wild card, by all that there is in the index."""
    source = f"studies INDEXED BY {_NUMBERS[term.column]}"
    prefix = _prefix(term.values[0])
    if prefix and len(term.values) == 1:
        return Way(Rank.PREFIX, "t", _select("id", source, _begins(term.column, prefix)))
    patterns = " OR ".join([f"{term.column} GLOB ?"] * len(term.values))
    return Way(Rank.SCAN, "t", _select("id", source, Condition(patterns, tuple(map(glob, term.values)))))


def _prefix(pattern: str) -> str:
    """The characters before the first wild card."""
    return pattern.partition("*")[0].partition("?")[0]


def _begins(column: str, prefix: str) -> Condition:
    """A column that begins so: what compares as text from the prefix up to the next text of its length."""
    if (last := ord(prefix[-1])) == 0x10FFFF:
        return Condition(f"{column} >= ?", (prefix,))
    after = prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
    return Condition(f"{column} >= ? AND {column} < ?", (prefix, after))


def _by_name(term: Term) -> Iterator[Way]:
    """By the beginning of a group, where that is said, and nothing but that group; else by what names are made of."""
    (key, *others) = term.values
    groups = name_groups(key)
    if others or not groups:
        return
    prefix = _prefix(groups[0][1])
    if prefix and term.match is Match.NAME and "=" not in key:
        parts = [_group(column, groups[0][1], prefix) for column in GROUPS]
        sql = " UNION ALL ".join(part.sql for part in parts)
        yield Way(Rank.NAME, "t", Condition(sql, tuple(value for part in parts for value in part.values)))
        return
    patterns = dict.fromkeys(pattern for _, pattern in groups)
    wanted = [query for pattern in patterns if (query := tokens.of_pattern(pattern))]
    if term.match is Match.FUZZY and wanted and (alike := tokens.of_words(names.fold(key))):
        wanted = [f"({' AND '.join(wanted)}) OR ({alike})"]
    if wanted:
        yield Way(Rank.NAME, "t", Condition("SELECT rowid FROM names WHERE names MATCH ?", (" AND ".join(wanted),)))


def _group(column: str, pattern: str, prefix: str) -> Condition:
    """The studies in which a group of the patient's name begins so, or is that."""
    name = column.removeprefix("patient_name_")
    begins = Condition(f"{column} = ?", (pattern,)) if pattern == prefix else _begins(column, prefix)
    where = Condition(f"{column} != '' AND {begins.sql}", begins.values)
    return _select("id", f"studies INDEXED BY studies_{name}", where)
