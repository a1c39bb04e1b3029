"""Queries → SQL: every value is a bound parameter, every answer belongs to the caller's scope, one row an entity.

Where an index leads to what is asked for (paths.py), the ids of all that matches are taken in one read, and the values
in pages, each a read of its own; where none does, or it leads to too much, the pages themselves are searched for, each
from where the last one ended. So a slow reader holds no connection, and memory does not grow with what is found. Order
is that of arrival; at PATIENT level, where it is the pages that are searched for, that of the patients' IDs.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dicomnode.dicom.instance import Level
from dicomnode.rules.matching import Query
from dicomnode.store import paths, terms
from dicomnode.store.columns import column
from dicomnode.store.database import Database, Interrupted, each, rows
from dicomnode.store.paths import Way
from dicomnode.store.terms import SOURCE

_PAGE = 200

Page = list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose studies may be seen: those of a site, or those referred to one of `partners` with the gate open.

    Of the latter, what is of one of the sites `givers`, and is on its way or has arrived: nothing that is dropped,
    skipped, or held by a person, and nothing of a study that was not judged as a whole yet.
    """

    site: str = ""
    partners: tuple[str, ...] = ()
    givers: tuple[str, ...] = ()

    def spell(self, sql: str) -> str:
        """Write out OURS(t), whether the caller sees study t; SEEN(c), whether it sees instance c of that study; and
        PRESENT of a study, series or instance, whether it sees any instance of it.
        """
        ours, seen = (_OWN, _CURRENT) if self.site else (_REFERRED, f"{_CURRENT} AND {_SENT}")
        present = _STOCKED if self.site else _PRESENT
        sql = re.sub(r"\bPRESENT\((\w)\)", lambda row: present[row[1]], sql)
        sql = re.sub(r"\bOURS\((\w)\)", lambda study: ours.format(study[1]), sql)
        return f"{_CALLER} {re.sub(_SEEN, lambda instance: seen.format(instance[1]), sql)}"

    @property
    def who(self) -> str:
        """The first value of every statement."""
        return self.site or json.dumps({"partners": self.partners, "givers": self.givers})


_CALLER = "WITH caller (who) AS (SELECT ?)"
_SEEN = re.compile(r"\bSEEN\((\w)\)")
_AMONG = "IN (SELECT value FROM json_each((SELECT who FROM caller), '$.partners'))"
_OWN = "+{0}.site = (SELECT who FROM caller)"
_REFERRED = f"""(EXISTS (SELECT 1 FROM referrals r WHERE r.study = {{0}}.id AND r.gate = 'open' AND r.partner {_AMONG}
        AND (r.wait = 0 OR r.progress IN ('sent', 'confirmed')
            OR ({{0}}.vetted AND (r.progress IN ('complete', 'sending') OR r.completed_at NOT NULL))))
    AND +{{0}}.site IN (SELECT value FROM json_each((SELECT who FROM caller), '$.givers')))"""
_CURRENT = "{0}.current AND {0}.evicted_at IS NULL"
_SENT = f"""EXISTS (SELECT 1 FROM transfers x WHERE x.instance = {{0}}.id AND x.partner {_AMONG}
    AND x.state NOT IN ('dropped', 'skipped') AND x.hold != 'person')"""
_PRESENT = {
    "t": "EXISTS (SELECT 1 FROM series m JOIN instances c ON c.series = m.id AND SEEN(c) WHERE m.study = t.id)",
    "s": "EXISTS (SELECT 1 FROM instances c WHERE c.series = s.id AND SEEN(c))",
    "i": "SEEN(i)",
}
_STOCKED = {"t": "t.series > 0", "s": "s.instances > 0", "i": "SEEN(i)"}
"""Of its own studies a site sees all instances, and how many there are is known."""
_PATIENT: Final = "t.patient_id, t.issuer_of_patient_id"


@dataclass(frozen=True, slots=True)
class Located:
    """One current instance that was selected: where it is, what it is, and whether its study is in quarantine."""

    instance: int
    study: int
    study_instance_uid: str
    site: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    file: str
    size: int
    sha256: str
    crc32: int | None
    quarantine: str


_JOINS: Final = {
    ("t", "t"): "",
    ("t", "s"): "CROSS JOIN series s ON s.study = t.id",
    ("t", "i"): "CROSS JOIN series s ON s.study = t.id CROSS JOIN instances i ON i.series = s.id",
    ("s", "s"): "CROSS JOIN studies t ON t.id = s.study",
    ("s", "i"): "CROSS JOIN studies t ON t.id = s.study CROSS JOIN instances i ON i.series = s.id",
    ("i", "i"): "CROSS JOIN series s ON s.id = i.series CROSS JOIN studies t ON t.id = s.study",
}
"""From the table that a search begins with to that of its level, in the order in which they are read."""


def pages(database: Database, query: Query, scope: Scope, stopped: Callable[[], bool]) -> Iterator[Page]:
    """The values that the query returns, in its order, '' for what is unknown; a sequence is JSON (sequences.py).

    A row for each matching entity, in pages that are not empty. Ends early when `stopped` says so, which is asked in
    the middle of every statement too. OutOfResources: the index cannot be read.
    """
    search = _Search(query, scope)
    try:
        with database.read(stopped):
            path = paths.choose(query, scope.partners)
            found = search.ids(path) if path else array("q")
            first = search.values(found[:_PAGE])
        if path is None:
            yield from search.everything(database, stopped)
        if first:
            yield first
        for start in range(_PAGE, len(found), _PAGE):
            with database.read(stopped):
                page = search.values(found[start : start + _PAGE])
            if page:
                yield page
    except Interrupted:
        return


class _Search:
    """One query of one caller: the statements that answer it, inside `read`."""

    def __init__(self, query: Query, scope: Scope) -> None:
        own = bool(scope.site)
        self._scope, self._level, self._table = scope, query.level, terms.TABLE[query.level]
        self._own_id = f"{self._table}.id"
        self._columns = ", ".join(column(each.column, own=own) for each in query.returns)
        self._visible = f"OURS(t) AND PRESENT({self._table})"
        self._told = terms.where(query.terms, query.level, own=own)

    def ids(self, path: Way) -> array[int]:
        """Row ids of the entities on a path that are asked for, in the order of arrival."""
        source = f"{path.source} {_JOINS[path.table, self._table]}"
        where = f"{path.condition.sql} AND {self._visible} AND {self._told.sql}"
        what, grouped = self._own_id, ""
        if self._level is Level.PATIENT:
            what, grouped = "max(t.id)", f"GROUP BY {_PATIENT}"
        sql = self._scope.spell(f"SELECT {what} FROM {source} WHERE {where} {grouped} ORDER BY 1")
        found = each(sql, self._scope.who, *path.condition.values, *self._told.values)
        return array("q", (row_id for (row_id,) in found))

    def values(self, ids: Sequence[int]) -> Page:
        """What is returned of these entities, if they are to be seen still."""
        if not ids:
            return []
        joins = _JOINS[self._table, self._table]
        sql = (
            f"SELECT {self._columns} FROM json_each(?) j CROSS JOIN {SOURCE[self._table]} ON {self._own_id} = j.value"
            f" {joins} WHERE {self._visible} ORDER BY j.key"
        )
        return rows(self._scope.spell(sql), self._scope.who, json.dumps(list(ids)))

    def everything(self, database: Database, stopped: Callable[[], bool]) -> Iterator[Page]:
        """The pages of all that is asked for, where no path leads to it."""
        after: tuple[object, ...] = ()
        while True:
            with database.read(stopped):
                page, after = self._patients(after) if self._level is Level.PATIENT else self._entities(after)
            if page:
                yield page
            if not after:
                return

    def _entities(self, after: tuple[object, ...]) -> tuple[Page, tuple[object, ...]]:
        """The next page of entities, and where it ends; () after the last."""
        sql = (
            f"SELECT {self._own_id}, {self._columns} FROM {SOURCE[self._table]} {_JOINS[self._table, self._table]}"
            f" WHERE {self._own_id} > ? AND {self._visible} AND {self._told.sql} ORDER BY 1 LIMIT {_PAGE}"
        )
        found = rows(self._scope.spell(sql), self._scope.who, *(after or (0,)), *self._told.values)
        return [row[1:] for row in found], (found[-1][0],) if len(found) == _PAGE else ()

    def _patients(self, after: tuple[object, ...]) -> tuple[Page, tuple[object, ...]]:
        """The next page of patients, by their IDs, and where it ends; () after the last."""
        beyond = f"({_PATIENT}) > (?, ?)" if after else "1"
        sql = (
            f"SELECT {_PATIENT}, max(t.id) FROM studies t INDEXED BY studies_patient"
            f" WHERE {beyond} AND {self._visible} AND {self._told.sql} GROUP BY 1, 2 ORDER BY 1, 2 LIMIT {_PAGE}"
        )
        found = rows(self._scope.spell(sql), self._scope.who, *after, *self._told.values)
        page = self.values([row_id for _, _, row_id in found])
        return page, found[-1][:2] if len(found) == _PAGE else ()


_LOCATED: Final = """SELECT i.id, t.id, t.study_instance_uid, t.site, i.sop_class_uid, i.sop_instance_uid,
    i.transfer_syntax_uid, i.file, i.size, i.sha256, i.crc32, t.quarantine FROM json_each(?) j CROSS JOIN instances i
    ON i.id = j.value CROSS JOIN series s ON s.id = i.series CROSS JOIN studies t ON t.id = s.study ORDER BY j.key"""


def instances(query: Query, scope: Scope) -> list[Located]:
    """The instances that a retrieve selects and the caller may see, in the order of arrival. Inside `read`."""
    path = paths.choose(query, scope.partners)
    assert path, "a retrieve is of something"
    found = rows(_LOCATED, json.dumps(list(_Search(query, scope).ids(path))))
    return [Located(*row) for row in found]
