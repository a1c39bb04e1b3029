"""Transfers: one instance on its way to one partner. The row is the queue and the ledger; one function per arrow.

    queued ──claim──▶ active ──▶ delivered        active ──▶ queued (due later) | held
    held ──release──▶ queued                      queued | held ──drop──▶ dropped

Everything that changes something is called inside `Database.write`, so a claim that a killed process made is one that
`reclaim` can give back. Times in µs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dicomnode.store.database import execute, one, rows


class State(StrEnum):
    QUEUED = "queued"
    ACTIVE = "active"
    DELIVERED = "delivered"
    HELD = "held"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Claimed:
    """One transfer that is ours to make: what to send, and the ledger's numbers that back-off is computed from."""

    transfer: int
    instance: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    file: str
    size: int
    sha256: str
    attempts: int
    queued_at: int
    claimed_at: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one association carries: transfers of one referral."""

    referral: int
    study: int
    partner: str
    transfers: tuple[Claimed, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one transfer: the status as received (None where none was), and what to do next."""

    transfer: int
    state: State
    at: int
    status: int | None = None
    reason: str = ""
    due_at: int = 0
    charge: bool = True
    """Whether this counts as an attempt: a partner that is down charges nobody one."""


def enqueue(referral: int, partner: str, instances: Iterable[int], now: int) -> int:
    """Queue instances for a partner, once each; how many that was. One that was dropped is wanted again, and queued."""
    return sum(
        execute(
            "INSERT INTO transfers (referral, instance, partner, state, queued_at, due_at)"
            " VALUES (?, ?, ?, 'queued', ?, ?) ON CONFLICT (instance, partner) DO UPDATE SET state = 'queued',"
            " queued_at = excluded.queued_at, due_at = excluded.due_at, finished_at = NULL WHERE state = 'dropped'",
            *(referral, instance, partner, now, now),
        )
        for instance in instances
    )


_READY = """SELECT r.id, r.study FROM referrals r
    WHERE r.partner = ? AND r.gate = 'open' AND r.progress IN ('receiving', 'complete', 'sending')
      AND (r.progress != 'receiving' OR r.wait = 0)
      AND EXISTS (SELECT 1 FROM transfers t WHERE t.referral = r.id AND t.state = 'queued' AND t.due_at <= ?)
    ORDER BY r.opened_at LIMIT 1"""
_CLAIM = """UPDATE transfers SET state = 'active', claimed_by = ?, claimed_at = ? WHERE id IN (
    SELECT id FROM transfers WHERE referral = ? AND state = 'queued' AND due_at <= ? ORDER BY id LIMIT ?)
    RETURNING id, instance, attempts, queued_at"""

_DUE = """SELECT count(*) FROM (
    SELECT 1 FROM transfers WHERE referral = ? AND state = 'queued' AND due_at <= ? LIMIT ?)"""


def is_ready(partner: str, now: int) -> bool:
    """Whether there is anything to claim: a look that takes no lock."""
    return one(_READY, partner, now) is not None


def claim(partner: str, most: int, worker: str, now: int, slots: int = 1) -> Batch | None:
    """Up to `most` due transfers of one referral of `partner` whose gate is open and which is complete.

    With several `slots` they share a referral: each takes half of an even share of what is left, so that all of them
    are at work until its end.
    """
    ready = one(_READY, partner, now)
    if not ready:
        return None
    referral, study = ready
    taken = sorted(rows(_CLAIM, worker, now, referral, now, _share(referral, most, now, slots)))
    execute("UPDATE referrals SET progress = 'sending' WHERE id = ? AND progress = 'complete'", referral)
    found: dict[int, tuple[str, str, str, str, int, str]] = {
        row[0]: row[1:]
        for row in rows(
            "SELECT id, sop_class_uid, sop_instance_uid, transfer_syntax_uid, file, size, sha256 FROM instances"
            " WHERE id IN (SELECT value FROM json_each(?))",
            json.dumps([instance for _, instance, _, _ in taken]),
        )
    }
    transfers = tuple(Claimed(row[0], row[1], *found[row[1]], row[2], row[3], now) for row in taken)
    return Batch(referral, study, partner, transfers)


def _share(referral: int, most: int, now: int, slots: int) -> int:
    if slots == 1:
        return most
    due = int(one(_DUE, referral, now, 2 * slots * most)[0])
    return -(-due // (2 * slots))


def finish(results: Sequence[Result]) -> None:
    """Write down what came of active transfers."""
    for result in results:
        execute(
            "UPDATE transfers SET state = ?, attempts = attempts + ?, due_at = ?, last_status = ?, reason = ?,"
            " finished_at = ?, claimed_by = '' WHERE id = ? AND state = 'active'",
            *(result.state, int(result.charge), result.due_at, result.status, result.reason),
            *(result.at if result.state in (State.DELIVERED, State.HELD) else None, result.transfer),
        )


def give_back(transfers: Iterable[int]) -> None:
    """Return claims that were not used."""
    for transfer in transfers:
        execute("UPDATE transfers SET state='queued', claimed_by='' WHERE id=? AND state='active'", transfer)


def reclaim(worker: str) -> int:
    """Return every claim of a worker that is dead; how many. What it had in flight is sent again."""
    return execute(
        "UPDATE transfers SET state='queued', claimed_by='' WHERE state='active' AND claimed_by != '' AND claimed_by=?",
        worker,
    )


def claimants() -> list[str]:
    """Everyone who has claims."""
    return [worker for (worker,) in rows("SELECT DISTINCT claimed_by FROM transfers WHERE claimed_by != ''")]


def moved(referral: int, partner: str, instance: int, result: Result) -> None:
    """Write down what a C-MOVE across a flow did. A failure there went to the caller: it queues nothing."""
    delivered = result.state is State.DELIVERED
    execute(
        "INSERT OR IGNORE INTO transfers (referral, instance, partner, state, attempts, queued_at, due_at, finished_at,"
        " last_status, reason) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
        *(referral, instance, partner, State.DELIVERED if delivered else State.DROPPED),
        *(result.at, result.at, result.at, result.status, result.reason),
    )
    execute(
        "UPDATE transfers SET attempts = attempts + ?, last_status = ?,"
        " reason = CASE WHEN ? AND state != 'active' THEN ? ELSE reason END,"
        " state = CASE WHEN ? AND state != 'active' THEN 'delivered' ELSE state END,"
        " finished_at = CASE WHEN ? AND state != 'active' THEN ? ELSE finished_at END"
        " WHERE instance = ? AND partner = ? AND (? OR state != 'delivered')",
        *(int(result.status is not None), result.status, delivered, result.reason, delivered, delivered, result.at),
        *(instance, partner, delivered),
    )


# -- a person's word -------------------------------------------------------------------------------------------


def hold(ids: Iterable[int], reason: str) -> list[int]:
    """queued → held; the ids it was true of."""
    sql = "UPDATE transfers SET state='held', reason=? WHERE id=? AND state='queued'"
    return [i for i in ids if execute(sql, reason, i)]


def release(ids: Iterable[int], now: int) -> list[int]:
    """held → queued, due now; the ids it was true of. A referral that had been settled without them sends again."""
    sql = "UPDATE transfers SET state='queued', due_at=? WHERE id=? AND state='held'"
    freed = [i for i in ids if execute(sql, now, i)]
    _reopen(freed)
    return freed


def retry(ids: Iterable[int], now: int) -> list[int]:
    """Due now, whether it was waiting or held; the ids it was true of."""
    sql = "UPDATE transfers SET state='queued', due_at=? WHERE id=? AND state IN ('queued', 'held')"
    freed = [i for i in ids if execute(sql, now, i)]
    _reopen(freed)
    return freed


def _reopen(transfers: Iterable[int]) -> None:
    for transfer in transfers:
        execute(
            "UPDATE referrals SET progress = 'sending' WHERE progress = 'sent'"
            " AND id = (SELECT referral FROM transfers WHERE id = ?)",
            transfer,
        )


# -- what is to be seen ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Transfer:
    """One row of the ledger as a person sees it."""

    transfer: int
    sop_instance_uid: str
    study_instance_uid: str
    partner: str
    state: str
    attempts: int
    due_at: int
    last_status: int | None
    reason: str


def listed(limit: int, *, partner: str = "", state: str = "", referral: int | None = None) -> list[Transfer]:
    """Transfers in the order they were queued; of one partner, state or referral where that is given."""
    conditions, values = ["1"], list[Any]()
    for column, value in (("t.partner", partner), ("t.state", state), ("t.referral", referral)):
        if value:
            conditions.append(f"{column} = ?")
            values.append(value)
    found = rows(
        "SELECT t.id, i.sop_instance_uid, s.study_instance_uid, t.partner, t.state, t.attempts, t.due_at,"
        " t.last_status, t.reason FROM transfers t JOIN instances i ON i.id = t.instance"
        " JOIN referrals r ON r.id = t.referral JOIN studies s ON s.id = r.study"
        f" WHERE {' AND '.join(conditions)} ORDER BY t.id LIMIT ?",
        *values,
        limit,
    )
    return [Transfer(*row) for row in found]


@dataclass(frozen=True, slots=True)
class Shape:
    """The queue of one partner: how many transfers in each state, the oldest that waits (µs), the lane's pause."""

    partner: str
    queued: int
    active: int
    held: int
    delivered: int
    oldest: int | None
    paused_until: int
    reason: str


def shape() -> list[Shape]:
    """The queue of every partner that anything was ever queued for."""
    found = rows(
        "SELECT t.partner, sum(t.state='queued'), sum(t.state='active'), sum(t.state='held'), sum(t.state='delivered'),"
        " min(CASE WHEN t.state IN ('queued', 'active') THEN t.queued_at END),"
        " coalesce(p.paused_until, 0), coalesce(p.reason, '')"
        " FROM transfers t LEFT JOIN partners p ON p.name = t.partner GROUP BY t.partner ORDER BY t.partner"
    )
    return [Shape(*row) for row in found]


def partners_of(ids: Iterable[int]) -> set[str]:
    """The partners that these transfers are for."""
    sql = "SELECT DISTINCT partner FROM transfers WHERE id IN (SELECT value FROM json_each(?))"
    return {partner for (partner,) in rows(sql, json.dumps(list(ids)))}
