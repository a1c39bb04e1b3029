"""What was withdrawn of referrals, and is called back from the partners that have it.

    idle ──something was delivered──▶ waiting ──the partner took the note──▶ told
                                         └── it cannot be told ──▶ held ──again──▶ waiting
    idle ──something was delivered──▶ letter         (to whom no note goes: a person writes, and says what was answered)

A referral has a row for its withdrawal, and one more for each note that follows. What a row calls back never changes,
so that a note is the same however often it is sent; what is delivered after it (it was on its way) is called back by a
row of its own. The gate is `recalling` from the first delivery that is called back until somebody has written down what
the partner acknowledged. Everything that changes something is called inside `Database.write`; times in µs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from uuid import uuid4

from dicomnode.store import gates
from dicomnode.store.database import execute, insert, one, rows


class State(StrEnum):
    """How far a recall is."""

    IDLE = "idle"
    WAITING = "waiting"
    TOLD = "told"
    HELD = "held"
    LETTER = "letter"


@dataclass(frozen=True, slots=True)
class Recall:
    """One recall as a person sees it: of how many instances, why, by which means, and what has become of it."""

    id: int
    referral: int
    partner: str
    at: int
    who: str
    reason: str
    code: str
    means: str
    state: str
    attempts: int
    refused: int
    failing_since: int | None
    last_status: int | None
    why: str
    told_at: int | None
    series_instance_uid: str
    sop_instance_uid: str
    acknowledged: str
    acknowledged_by: str
    acknowledged_at: int | None
    instances: int


_SELECT = """SELECT id, referral, partner, at, who, reason, code, means, state, attempts, refused, failing_since,
    last_status, why, told_at, series_instance_uid, sop_instance_uid, acknowledged, acknowledged_by, acknowledged_at,
    (SELECT count(*) FROM recall_instances i WHERE i.recall = recalls.id) FROM recalls"""


def of(referral: int) -> list[Recall]:
    """The recalls of a referral, the first first."""
    return [Recall(*row) for row in rows(f"{_SELECT} WHERE referral = ? ORDER BY id", referral)]


# -- withdrawal ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Who withdraws a referral and why; `code` is the word for a rejection note's title, `means` note or letter."""

    who: str
    reason: str
    code: str
    means: str


def has_gone(referral: int) -> bool:
    """Whether anything of a referral was delivered, or is on its way just now."""
    sql = "SELECT 1 FROM transfers WHERE referral = ? AND state IN ('delivered', 'active') LIMIT 1"
    return one(sql, referral) is not None


def withdraw(referral: int, how: Withdrawal, now: int) -> int:
    """Stop a referral for ever, and call back what its partner has; how many instances that is.

    Whether the partner has it still is not asked any more.
    """
    insert(
        "INSERT INTO recalls (referral, partner, at, who, reason, code, means, state, due_at)"
        " SELECT id, partner, ?, ?, ?, ?, ?, 'idle', ? FROM referrals WHERE id = ?",
        *(now, how.who, how.reason, how.code, how.means, now, referral),
    )
    execute("UPDATE referrals SET withdrawn = ?, look_at = NULL WHERE id = ?", how.reason, referral)
    gates.weigh(referral)
    return follow(referral, now)


def goes_as(referral: int, patient_id: str, issuer: str) -> None:
    """The copies that go now are given this patient ID and its issuer ('': they keep theirs): a note will say the same.
    """
    named = json.dumps([patient_id, issuer])
    execute(
        "UPDATE referrals SET sent_as = CASE WHEN sent_as IS NULL OR NOT EXISTS (SELECT 1 FROM transfers t"
        " WHERE t.referral = referrals.id AND (t.attempts OR t.state = 'delivered')) THEN ? ELSE '[]' END"
        " WHERE id = ? AND sent_as IS NOT ?",
        *(named, referral, named),
    )


def went_as(referral: int) -> tuple[str, ...] | None:
    """What `goes_as` was told; () where that was not always the same, None where nobody knows."""
    (named,) = one("SELECT sent_as FROM referrals WHERE id = ?", referral)
    return None if named is None else tuple(json.loads(named))


def is_withdrawn(referral: int) -> bool:
    """Whether nothing of a referral is to be sent any more, ever."""
    return bool(one("SELECT withdrawn != '' FROM referrals WHERE id = ?", referral)[0])


def is_settled(referral: int) -> bool:
    """Whether a referral is withdrawn, and nothing of it was arriving."""
    sql = "SELECT withdrawn != '' AND progress != 'receiving' FROM referrals WHERE id = ?"
    return bool(one(sql, referral)[0])


def follow(referral: int, now: int) -> int:
    """Call back what was delivered of a withdrawn referral and is called back by nothing yet; how many that is."""
    if not is_withdrawn(referral):
        return 0
    found = rows(
        "SELECT t.instance FROM transfers t WHERE t.referral = ? AND t.state = 'delivered' AND NOT EXISTS"
        " (SELECT 1 FROM recalls r JOIN recall_instances i ON i.recall = r.id"
        "  WHERE r.referral = t.referral AND i.instance = t.instance)",
        referral,
    )
    if found:
        _call_back(_row(referral, now), [instance for (instance,) in found], now)
        execute("UPDATE referrals SET recall = 'recalling' WHERE id = ?", referral)
        gates.weigh(referral)
    return len(found)


def _row(referral: int, now: int) -> int:
    """The row that calls back what nothing does yet: the last, or another like it."""
    last, state = one("SELECT id, state FROM recalls WHERE referral = ? ORDER BY id DESC LIMIT 1", referral)
    if state == State.IDLE:
        return int(last)
    return insert(
        "INSERT INTO recalls (referral, partner, at, who, reason, code, means, state, due_at)"
        " SELECT referral, partner, ?, who, reason, code, means, 'idle', ? FROM recalls WHERE id = ?",
        *(now, now, last),
    )


def _call_back(recall: int, instances: Iterable[int], now: int) -> None:
    execute(
        "INSERT INTO recall_instances SELECT ?, value FROM json_each(?)", recall, json.dumps(list(instances))
    )
    execute(
        "UPDATE recalls SET state = iif(means = 'note', 'waiting', 'letter'), due_at = ?, series_instance_uid = ?,"
        " sop_instance_uid = ? WHERE id = ?",
        *(now, _uid(), _uid(), recall),
    )


def _uid() -> str:
    return f"2.25.{uuid4().int}"


def tell_by_note(referral: int, how: Withdrawal, now: int) -> int:
    """Have a note tell what a letter was to tell, or no note could: how many rows that is of."""
    return execute(
        "UPDATE recalls SET state = 'waiting', means = 'note', code = ?, reason = ?, who = ?, due_at = ?, why = '',"
        " failing_since = NULL, refused = 0 WHERE referral = ? AND state IN ('letter', 'held')",
        *(how.code, how.reason, how.who, now, referral),
    )


# -- the note on its way -----------------------------------------------------------------------------------------


def due(partner: str, now: int) -> int | None:
    """When a partner is to be sent a note next; None where there is none."""
    found = one("SELECT min(due_at) FROM recalls WHERE partner = ? AND state = 'waiting'", partner)[0]
    return None if found is None else max(found, now)


def next_due(partner: str, now: int) -> Recall | None:
    """The note that a partner is to be sent now."""
    sql = f"{_SELECT} WHERE partner = ? AND state = 'waiting' AND due_at <= ? ORDER BY due_at LIMIT 1"
    found = one(sql, partner, now)
    return Recall(*found) if found else None


def is_ahead(partner: str, furthest: int) -> bool:
    """Whether a note is to go later than any can: the clock was set back."""
    sql = "SELECT 1 FROM recalls WHERE partner = ? AND state = 'waiting' AND due_at > ? LIMIT 1"
    return one(sql, partner, furthest) is not None


def hasten(partner: str, furthest: int, now: int) -> int:
    """What is due later than anything can be was written by a clock that was ahead, and is due now; how many."""
    sql = "UPDATE recalls SET due_at = ? WHERE partner = ? AND state = 'waiting' AND due_at > ?"
    return execute(sql, now, partner, furthest)


def strand(partners: Iterable[str], why: str) -> list[tuple[int, str, int]]:
    """Hold the notes to any but these partners: no note goes there any more. (referral, partner, instances) of each."""
    found = rows(
        "UPDATE recalls INDEXED BY recalls_waiting SET state = 'held', why = ? WHERE state = 'waiting'"
        " AND partner NOT IN (SELECT value FROM json_each(?)) RETURNING id, referral, partner",
        *(why, json.dumps(list(partners))),
    )
    count = "SELECT count(*) FROM recall_instances WHERE recall = ?"
    return [(referral, partner, one(count, recall)[0]) for recall, referral, partner in found]


def told(recall: int, at: int, status: int, why: str) -> None:
    """The partner has taken the note; `why` is what it said besides."""
    execute(
        "UPDATE recalls SET state = 'told', told_at = ?, attempts = attempts + 1, last_status = ?, why = ?"
        " WHERE id = ?",
        *(at, status, why, recall),
    )


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a note was not taken, and when it is sent again (None: not by itself)."""

    why: str
    again_at: int | None
    status: int | None
    refused: bool
    since: int


def failed(recall: int, failure: Failure) -> None:
    """The partner did not take the note."""
    state = State.HELD if failure.again_at is None else State.WAITING
    execute(
        "UPDATE recalls SET state = ?, due_at = coalesce(?, due_at), attempts = attempts + 1, last_status = ?, why = ?,"
        " refused = CASE WHEN ? THEN refused + 1 ELSE 0 END, failing_since = ? WHERE id = ?",
        *(state, failure.again_at, failure.status, failure.why, failure.refused, failure.since, recall),
    )


@dataclass(frozen=True, slots=True)
class CalledBack:
    """One instance that is called back; `has_rows`: it is an image."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    has_rows: bool


def instances(recall: int) -> list[CalledBack]:
    """What a recall calls back, series by series."""
    found = rows(
        "SELECT DISTINCT i.sop_class_uid, i.sop_instance_uid, s.series_instance_uid, i.rows NOT IN ('', '0')"
        " FROM recall_instances c JOIN instances i ON i.id = c.instance JOIN series s ON s.id = i.series"
        " WHERE c.recall = ? ORDER BY s.id, i.id",
        recall,
    )
    return [CalledBack(row[0], row[1], row[2], bool(row[3])) for row in found]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a note has from what it says of patient and study: an instance that it calls back, and its study."""

    instance: int
    file: str
    study: int
    study_instance_uid: str
    site: str


def source(recall: int) -> Source:
    """The first instance that is called back."""
    found = one(
        "SELECT i.id, i.file, t.id, t.study_instance_uid, t.site FROM recall_instances c"
        " JOIN instances i ON i.id = c.instance JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study"
        " WHERE c.recall = ? ORDER BY i.id LIMIT 1",
        recall,
    )
    return Source(*found)


def requests(study: int) -> list[dict[str, str]]:
    """What the series of a study say of their requests: by tag, as eight hexadecimal digits; each once."""
    found = rows(
        "SELECT DISTINCT request_attributes_sequence FROM series WHERE study = ? AND request_attributes_sequence != ''",
        study,
    )
    every = [item for (text,) in found for item in json.loads(text)]
    return [item for number, item in enumerate(every) if item not in every[:number]]


# -- what the partner says ---------------------------------------------------------------------------------------


def acknowledge(referral: int, text: str, who: str, now: int) -> bool:
    """The partner has acknowledged; whether anything of the referral was being called back."""
    if not execute("UPDATE referrals SET recall = 'recalled' WHERE id = ? AND recall = 'recalling'", referral):
        return False
    execute(
        "UPDATE recalls SET acknowledged = ?, acknowledged_by = ?, acknowledged_at = ? WHERE referral = ?"
        " AND acknowledged_at IS NULL AND state != 'idle'",
        *(text, who, now, referral),
    )
    gates.weigh(referral)
    return True
