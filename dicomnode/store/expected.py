"""Referrals in advance: who is expected, with what number, for whom; and which study has turned out to be it.

A row stays when its study has come: it is what the study is held against. Only a person cancels one. Nothing here
decides which referral a study belongs to: that is operations/expect.py. Functions that change something are called
inside `Database.write`, the others inside `Database.read` or `write`; times in µs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Final

from dicomnode.rules import patients, referred
from dicomnode.rules.referred import Arrived
from dicomnode.store import gates
from dicomnode.store.database import execute, execute_all, insert, one, rows

Expected = referred.Expected
"""One referral in advance: rules/referred.py says what it has."""

_COLUMNS = tuple(field.name for field in fields(Expected))
_NAMES = ", ".join(f"e.{name}" for name in _COLUMNS)
_KEPT = _COLUMNS[1:]
_SELECT = f"SELECT {_NAMES} FROM expected e"
_INSERT = (
    f"INSERT INTO expected ({', '.join(_KEPT)}, patient_key, look_at) VALUES ({', '.join('?' * len(_KEPT))}, ?, ?)"
)
_UPDATE = f"UPDATE expected SET {' = ?, '.join(_KEPT)} = ?, patient_key = ? WHERE id = ?"
_values: Final = attrgetter(*_KEPT)
_OPEN = "e.cancelled = '' AND NOT EXISTS (SELECT 1 FROM studies s WHERE s.expected = e.id)"
"""What is expected still: nobody has cancelled it, and no study has come for it."""
_START_LOOKING = f"UPDATE expected AS e SET look_at = CASE WHEN site != '' AND {_OPEN} THEN 0 END WHERE id = ?"


def put(expected: Expected) -> int:
    """Keep one that is new; its id."""
    return insert(_INSERT, *_row(expected))


def put_all(many: Iterable[Expected]) -> None:
    """Keep those that are new: others wait while there are many."""
    execute_all(_INSERT, map(_row, many))


def _row(expected: Expected) -> tuple[object, ...]:
    """One that is new; where it names a site, it is looked for there at once."""
    return *_values(expected), patients.id_key(expected.patient_id), 0 if expected.site else None


def change(expected: Expected) -> None:
    """Let one say something else; it is looked for at once."""
    execute(_UPDATE, *_values(expected), patients.id_key(expected.patient_id), expected.id)
    execute(_START_LOOKING, expected.id)


def cancel(expected: int, reason: str) -> bool:
    """Nobody expects it any more; False where that was so already."""
    return bool(
        execute(
            "UPDATE expected SET cancelled = ?, look_at = NULL WHERE id = ? AND cancelled = ''", reason, expected
        )
    )


def _read(where: str, *values: object) -> list[Expected]:
    return [_expected(row) for row in rows(f"{_SELECT} {where}", *values)]


def _expected(row: Iterable[object]) -> Expected:
    found = Expected(*row)  # type: ignore[arg-type]
    return replace(found, urgent=bool(found.urgent))


def get(expected: int) -> Expected | None:
    """One by its id."""
    return next(iter(_read("WHERE e.id = ?", expected)), None)


def of_study(study: int) -> Expected | None:
    """The referral that a study was found to belong to."""
    return next(iter(_read("JOIN studies s ON s.expected = e.id WHERE s.id = ?", study)), None)


def numbered(numbers: Iterable[str]) -> dict[tuple[str, str], Expected]:
    """All that have one of these numbers, those cancelled among them, by number and issuer."""
    found = _read("WHERE e.number IN (SELECT value FROM json_each(?))", json.dumps(list(numbers)))
    return {(each.number, each.issuer): each for each in found}


def by_numbers(numbers: Iterable[str]) -> list[Expected]:
    """All that have one of these numbers, whoever gave it out; but those cancelled."""
    return _read(
        "WHERE e.number IN (SELECT value FROM json_each(?)) AND e.cancelled = '' ORDER BY e.id",
        json.dumps(list(numbers)),
    )


def of_number(number: str) -> list[Expected]:
    """All that have a number, those cancelled among them."""
    return _read("WHERE e.number = ? ORDER BY e.id", number)


def by_accessions(numbers: Iterable[str]) -> list[Expected]:
    """All that are expected under one of these accession numbers, but those cancelled."""
    return _read(
        "WHERE e.accession_number IN (SELECT value FROM json_each(?)) AND e.accession_number != ''"
        " AND e.cancelled = '' ORDER BY e.id",
        json.dumps(list(numbers)),
    )


def by_patient(patient_id: str) -> list[Expected]:
    """All that are still expected of a patient ID, of whichever issuer."""
    return _read(f"WHERE e.patient_key = ? AND {_OPEN} ORDER BY e.id", patients.id_key(patient_id))


_FOUND = "WHERE e.study_instance_uid = ? AND e.study_instance_uid != '' AND e.cancelled = ''"  # for its index


def by_study(study_instance_uid: str) -> Expected | None:
    """The one as which a PACS has found a study."""
    return next(iter(_read(_FOUND, study_instance_uid)), None)


def listed(limit: int, partner: str = "") -> list[Expected]:
    """What is still expected, the newest first; for one partner where that is given."""
    condition = "" if not partner else " AND e.destination = ?"
    values = (partner, limit) if partner else (limit,)
    return _read(f"WHERE {_OPEN}{condition} ORDER BY e.id DESC LIMIT ?", *values)


def cancelled(expected: int) -> str:
    """Why a referral was cancelled; '' where it was not."""
    return str(one("SELECT cancelled FROM expected WHERE id = ?", expected)[0])


# -- studies -----------------------------------------------------------------------------------------------------


_ARRIVED = """SELECT s.id, s.study_instance_uid, s.site, s.patient_id, s.issuer_of_patient_id, s.accession_number,
    (SELECT group_concat(m.request_attributes_sequence, char(10)) FROM series m
        WHERE m.study = s.id AND m.request_attributes_sequence != ''),
    s.procedure_code_sequence, s.expected, s.matched FROM studies s"""
_CODE = "00080100"


def arrived(study: int) -> Arrived:
    """What is known of a study."""
    return _arrived(one(f"{_ARRIVED} WHERE s.id = ?", study))


def waiting() -> list[Arrived]:
    """The studies that are complete, and of which something is not sent yet."""
    return [
        _arrived(row)
        for row in rows(
            f"{_ARRIVED} WHERE s.id IN (SELECT r.study FROM referrals r"
            " WHERE r.progress IN ('complete', 'sending')) ORDER BY s.id"
        )
    ]


def _arrived(row: Any) -> Arrived:
    *told, requests, codes, found, matched = row
    items = [item for text in (requests or "").split("\n") if text for item in json.loads(text)]
    named = tuple(code for item in json.loads(codes or "[]") if (code := item.get(_CODE)))
    study, uid, site, patient_id, issuer, accession_number = told
    return Arrived(study, uid, site, patient_id, issuer, accession_number, tuple(items), named, found, matched)


def attach(study: int, expected: int | None, how: str) -> None:
    """A study is found to belong to a referral, or to none; nobody looks for that any more."""
    execute("UPDATE studies SET expected = ?, matched = ? WHERE id = ?", expected, how, study)
    execute("UPDATE expected SET look_at = NULL WHERE id = ?", expected)


def studies_of(expected: int) -> list[tuple[int, str]]:
    """(study, Study Instance UID) of those that have come for a referral."""
    return rows("SELECT id, study_instance_uid FROM studies WHERE expected = ? ORDER BY id", expected)


def refer(referral: int, why: str) -> bool:
    """Stop a referral because none in advance allows it, or do so no more (''); whether that changed its gate."""
    changed = execute("UPDATE referrals SET unreferred = ? WHERE id = ? AND unreferred != ?", why, referral, why)
    return bool(changed) and gates.weigh(referral)


def hasten(study: int) -> None:
    """All of a study that is on its way is urgent."""
    execute("UPDATE referrals SET urgent = 1 WHERE study = ? AND NOT urgent", study)


# -- what is looked for ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """How it stands with the search at a site's PACS. `at`: when it goes on (None: it does not)."""

    at: int | None
    times: int
    text: str
    study_instance_uid: str


def look(expected: int) -> Look:
    """How it stands with the search for one that is kept."""
    return Look(*one("SELECT look_at, looks, looked, study_instance_uid FROM expected WHERE id = ?", expected))


def due(site: str, now: int, furthest: int) -> int | None:
    """When a site's PACS is to be asked next. What is due later than anything can be was written by another clock."""
    found = one("SELECT min(look_at) FROM expected WHERE site = ? AND look_at IS NOT NULL", site)[0]
    return None if found is None else now if found > furthest else max(found, now)


def postpone(site: str, text: str, now: int, again_at: int) -> None:
    """A site's PACS cannot be asked for anything: all that is due there is again, then."""
    execute(
        "UPDATE expected SET looked = ?, look_at = ?, looks = looks + 1 WHERE site = ? AND look_at <= ?",
        *(text, again_at, site, now),
    )


def next_look(site: str, now: int, furthest: int) -> Expected | None:
    """What a site's PACS is to be asked for now: what has been due for longest."""
    sql = "WHERE e.site = ? AND (e.look_at <= ? OR e.look_at > ?) ORDER BY e.look_at, e.id LIMIT 1"
    return next(iter(_read(sql, site, now, furthest)), None)


def looked(expected: int, text: str, again_at: int | None, *, in_vain: bool) -> None:
    """What came of a look, and when to look again (None: never). Nothing where it was attached or cancelled meanwhile.
    """
    execute(
        "UPDATE expected SET looked = ?, look_at = ?, looks = CASE WHEN ? THEN looks + 1 ELSE 0 END"
        " WHERE id = ? AND look_at IS NOT NULL",
        *(text, again_at, in_vain, expected),
    )


def found(expected: int, study_instance_uid: str, instances: int | None) -> None:
    """A PACS has a study that is this one, of so many instances."""
    execute(
        "UPDATE expected SET study_instance_uid = ?, instances = coalesce(?, instances) WHERE id = ?",
        *(study_instance_uid, instances, expected),
    )


def kept(study_instance_uid: str) -> int:
    """How many instances of a study are here, current ones."""
    return int(
        one(
            "SELECT coalesce(sum(m.instances), 0) FROM series m JOIN studies s ON s.id = m.study"
            " WHERE s.study_instance_uid = ?",
            study_instance_uid,
        )[0]
    )


# -- worklists ---------------------------------------------------------------------------------------------------


def next_question(partner: str) -> int:
    """When a partner's worklist is to be asked for next; 0 where it never was."""
    found = one("SELECT value FROM marks WHERE name = ?", f"worklist {partner}")
    return int(found[0]) if found else 0


def ask_next(partner: str, at: int) -> None:
    """A partner's worklist is to be asked for again, then."""
    execute(
        "INSERT INTO marks VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", f"worklist {partner}", at
    )


def count_of(source: str) -> int:
    """How many are still expected by the word of one source."""
    return int(one(f"SELECT count(*) FROM expected e WHERE e.source = ? AND {_OPEN}", source)[0])
