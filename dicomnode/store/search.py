"""Terms → SQL. Every value is a bound parameter, every answer belongs to the caller's scope, one row an entity.

A search first takes the ids of the matching entities in one short read, then their values in pages, each a short read
of its own: a slow reader holds no connection. Order is that of arrival.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from dicomnode.dicom import names
from dicomnode.dicom.instance import BY_COLUMN, Level
from dicomnode.rules.matching import Computed, Match, Query, Term
from dicomnode.store.database import Database, rows

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose studies may be seen: those of a site, or those referred to one of `partners` with the gate open.

    Of the latter, what is on its way or has arrived: nothing that is dropped, skipped, or held by a person.
    """

    site: str = ""
    partners: tuple[str, ...] = ()

    def spell(self, sql: str) -> str:
        """Write out OURS(t), whether the caller sees study t, and SEEN(c), whether it sees instance c of that study."""
        ours, seen = (_OWN, _CURRENT) if self.site else (_REFERRED, f"{_CURRENT} AND {_SENT}")
        sql = re.sub(r"\bOURS\((\w)\)", lambda study: ours.format(study[1]), sql)
        return f"{_CALLER} {re.sub(_SEEN, lambda instance: seen.format(instance[1]), sql)}"

    @property
    def who(self) -> str:
        """The first value of every statement."""
        return self.site or json.dumps(self.partners)


_CALLER = "WITH caller (who) AS (SELECT ?)"
_SEEN = re.compile(r"\bSEEN\((\w)\)")
_AMONG = "IN (SELECT value FROM json_each((SELECT who FROM caller)))"
_OWN = "{0}.site = (SELECT who FROM caller)"
_REFERRED = f"EXISTS (SELECT 1 FROM referrals r WHERE r.study = {{0}}.id AND r.gate = 'open' AND r.partner {_AMONG})"
_CURRENT = "{0}.current AND {0}.evicted_at IS NULL"
_SENT = f"""EXISTS (SELECT 1 FROM transfers x WHERE x.instance = {{0}}.id AND x.partner {_AMONG}
    AND x.state NOT IN ('dropped', 'skipped') AND x.hold != 'person')"""

_FROM = {
    Level.PATIENT: "studies t",
    Level.STUDY: "studies t",
    Level.SERIES: "series s JOIN studies t ON t.id = s.study",
    Level.IMAGE: "instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study",
}
_ID = {Level.PATIENT: "max(t.id)", Level.STUDY: "t.id", Level.SERIES: "s.id", Level.IMAGE: "i.id"}
_ROW = {Level.PATIENT: "t.id", Level.STUDY: "t.id", Level.SERIES: "s.id", Level.IMAGE: "i.id"}
_HAS_INSTANCES = (
    "EXISTS (SELECT 1 FROM series m JOIN instances c ON c.series = m.id AND SEEN(c) WHERE m.study = t.id)"
)
_PRESENT = {
    Level.PATIENT: _HAS_INSTANCES,
    Level.STUDY: _HAS_INSTANCES,
    Level.SERIES: "EXISTS (SELECT 1 FROM instances c WHERE c.series = s.id AND SEEN(c))",
    Level.IMAGE: "SEEN(i)",
}
_TABLE = {Level.PATIENT: "t", Level.STUDY: "t", Level.SERIES: "s", Level.IMAGE: "i"}
# A stored time to the microsecond: what it does not say is zero. Unknown stays ''.
_TIME = (
    "CASE WHEN {0} = '' THEN '' WHEN length(replace({0}, ':', '')) <= 6"
    " THEN substr(replace({0}, ':', '') || '000000', 1, 6) || '.000000'"
    " ELSE substr(replace({0}, ':', '') || '000000', 1, 13) END"
)


def entities(query: Query, scope: Scope) -> list[int]:
    """Row ids of the entities of the query's level that meet every term, in the order of arrival. Inside `read`."""
    conditions, bound = ["OURS(t)", _PRESENT[query.level]], list[object]()
    for term in query.terms:
        sql, more = _where(term)
        conditions.append(sql)
        bound.extend(more)
    grouped = " GROUP BY t.patient_id, t.issuer_of_patient_id" if query.level is Level.PATIENT else ""
    sql = f"SELECT {_ID[query.level]} FROM {_FROM[query.level]} WHERE {' AND '.join(conditions)}{grouped} ORDER BY 1"
    return [row_id for (row_id,) in rows(scope.spell(sql), scope.who, *bound)]


def answers(database: Database, query: Query, scope: Scope) -> Iterator[dict[int, str]]:
    """One {tag: text} for each matching entity; '' for what is unknown."""
    with database.read():
        found = entities(query, scope)
    columns = ", ".join(_select(item.column) for item in query.returns)
    sql = scope.spell(
        f"SELECT {columns} FROM {_FROM[query.level]} WHERE {_ROW[query.level]} IN (SELECT value FROM json_each(?))"
        f" ORDER BY {_ROW[query.level]}"
    )
    for start in range(0, len(found), _PAGE):
        with database.read():
            page = rows(sql, scope.who, json.dumps(found[start : start + _PAGE]))
        for row in page:
            yield {item.tag: str(value or "") for item, value in zip(query.returns, row, strict=True)}


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
    quarantine: str


def instances(query: Query, scope: Scope) -> list[Located]:
    """The instances that a C-MOVE selects and the caller may see, in the order of arrival. Inside `read`."""
    found = rows(
        "SELECT i.id, t.id, t.study_instance_uid, t.site, i.sop_class_uid, i.sop_instance_uid, i.transfer_syntax_uid,"
        f" i.file, i.size, i.sha256, t.quarantine FROM {_FROM[Level.IMAGE]}"
        " WHERE i.id IN (SELECT value FROM json_each(?)) ORDER BY i.id",
        json.dumps(entities(query, scope)),
    )
    return [Located(*row) for row in found]


# -- conditions ------------------------------------------------------------------------------------------------


def _qualified(column: str) -> str:
    return f"{_TABLE[BY_COLUMN[column].level]}.{column}"


def _where(term: Term) -> tuple[str, list[object]]:
    if term.column == Computed.MODALITIES_IN_STUDY:
        sql, values = _compare("m.modality", term)
        return f"EXISTS (SELECT 1 {_OF_STUDY} AND {sql})", values
    if term.column == Computed.SOP_CLASSES_IN_STUDY:
        sql, values = _compare("c.sop_class_uid", term)
        return f"EXISTS (SELECT 1 {_OF_STUDY} AND {sql})", values
    if term.match is Match.NAME:
        return _name(term.column, term.values[0])
    return _compare(_qualified(term.column), term)


def _compare(column: str, term: Term) -> tuple[str, list[object]]:
    match term.match:
        case Match.WILDCARD:
            return f"{column} GLOB ?", [_glob(term.values[0])]
        case Match.UIDS:
            return f"{column} IN (SELECT value FROM json_each(?))", [json.dumps(term.values)]
        case Match.NUMBER:
            return f"({column} != '' AND CAST({column} AS INTEGER) = CAST(? AS INTEGER))", [term.values[0]]
        case Match.DATES:
            return _between(column, term.values)
        case Match.TIMES:
            return _between(_TIME.format(column), term.values)
        case _ if len(term.values) == 1:
            return f"{column} = ?", list(term.values)
        case _:
            return f"{column} IN (SELECT value FROM json_each(?))", [json.dumps(term.values)]


def _between(column: str, values: tuple[str, ...]) -> tuple[str, list[object]]:
    """An inclusive range; an unknown value lies in none (PS3.4 C.2.2.2.5)."""
    low, high = values
    conditions, bound = [f"{column} != ''"], list[object]()
    for operator, value in ((">=", low), ("<=", high)):
        if value:
            conditions.append(f"{column} {operator} ?")
            bound.append(value)
    return f"({' AND '.join(conditions)})", bound


def _name(column: str, key: str) -> tuple[str, list[object]]:
    """PN: case and accents aside, component groups apart; a key of one group may match any of the three."""
    if column != "patient_name":
        return f"rtrim(fold({_qualified(column)}), '^= ') GLOB ?", [_glob(names.fold(key.rstrip("^= ")))]
    columns = ("t.patient_name_alphabetic", "t.patient_name_ideographic", "t.patient_name_phonetic")
    wanted = names.groups(key)
    if not any(wanted):  # separators alone say nothing
        return "1", []
    if "=" not in key:
        parts = [_group(name, wanted[0]) for name in columns]
        return f"({' OR '.join(sql for sql, _ in parts)})", [value for _, value in parts]
    parts = [_group(name, group) for name, group in zip(columns, wanted, strict=True) if group]
    return " AND ".join(sql for sql, _ in parts) or "1", [value for _, value in parts]


def _group(column: str, key: str) -> tuple[str, str]:
    return (f"{column} GLOB ?", _glob(key)) if "*" in key or "?" in key else (f"{column} = ?", key)


def _glob(key: str) -> str:
    """A DICOM pattern as SQLite's GLOB, which differs in the square bracket alone. GLOB knows code points and case."""
    return key.replace("[", "[[]")


# -- values ----------------------------------------------------------------------------------------------------

_OF_STUDY = "FROM series m JOIN instances c ON c.series = m.id AND SEEN(c) WHERE m.study = t.id"
_OF_PATIENT = (
    "FROM studies u JOIN series m ON m.study = u.id JOIN instances c ON c.series = m.id AND SEEN(c)"
    " WHERE u.patient_id = t.patient_id AND u.issuer_of_patient_id = t.issuer_of_patient_id AND OURS(u)"
)
_COMPUTED = {
    Computed.INSTANCE_AVAILABILITY: "CASE WHEN t.quarantine = '' THEN 'ONLINE' ELSE 'UNAVAILABLE' END",
    Computed.MODALITIES_IN_STUDY: "(SELECT group_concat(modality, '\\') FROM (SELECT DISTINCT m.modality"
    f" {_OF_STUDY} AND m.modality != '' ORDER BY 1))",
    Computed.SOP_CLASSES_IN_STUDY: f"(SELECT group_concat(uid, '\\') FROM (SELECT DISTINCT c.sop_class_uid AS uid"
    f" {_OF_STUDY} ORDER BY 1))",
    Computed.STUDY_SERIES: f"(SELECT count(DISTINCT m.id) {_OF_STUDY})",
    Computed.STUDY_INSTANCES: f"(SELECT count(*) {_OF_STUDY})",
    Computed.SERIES_INSTANCES: "(SELECT count(*) FROM instances c WHERE c.series = s.id AND SEEN(c))",
    Computed.PATIENT_STUDIES: f"(SELECT count(DISTINCT u.id) {_OF_PATIENT})",
    Computed.PATIENT_SERIES: f"(SELECT count(DISTINCT m.id) {_OF_PATIENT})",
    Computed.PATIENT_INSTANCES: f"(SELECT count(*) {_OF_PATIENT})",
}


def _select(column: str) -> str:
    """The SQL of one value. What is counted is what the caller may see."""
    return _qualified(column) if column in BY_COLUMN else _COMPUTED[Computed(column)]
