"""Transfers: one instance on its way to one partner. The row is the queue and the ledger; one function per arrow.

    queued ──claim──▶ active ──▶ delivered        active ──▶ queued (due later) | held
    held ──release──▶ queued                      queued | held ──drop──▶ dropped ──retry──▶ queued
    skipped: what the partner's configuration says it is never sent, or is not the current version of its instance any
    more; it is listed, and stops nothing
    delivered ──the partner lacks it──▶ queued | held

Everything that changes something is called inside `Database.write`, so a claim that a killed process made is one that
`reclaim` can give back. Times in µs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dicomnode.store import referrals
from dicomnode.store.database import execute, one, rows


class State(StrEnum):
    QUEUED = "queued"
    ACTIVE = "active"
    DELIVERED = "delivered"
    HELD = "held"
    DROPPED = "dropped"
    SKIPPED = "skipped"


class Hold(StrEnum):
    """What ends it that a transfer is held, where anything but a person's look at its reason does."""

    NONE = ""
    CONFIGURATION = "configuration"
    """The partner's configuration changes."""
    PERSON = "person"
    """Somebody holds it, and releases it; of what is dropped: somebody has dropped it."""
    FILE = "file"
    """Its file is not what was received; the same instance is sent to us again."""


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
    crc32: int | None
    refused: int
    queued_at: int
    due_at: int
    failing_since: int | None
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
    refused: bool = False
    """Whether the partner said that it cannot take this one."""
    failing_since: int | None = None
    """Since when it fails, where it does."""
    hold: Hold = Hold.NONE


def enqueue(referral: int, partner: str, instances: Iterable[int], now: int) -> int:
    """Queue instances for a partner, once each; how many that was.

    One whose move had failed, or that was skipped until now, is wanted again, and queued. What a person has dropped
    is not: that is a word that nothing but a person takes back.
    """
    return sum(
        execute(
            "INSERT INTO transfers (referral, instance, partner, state, queued_at, due_at)"
            " VALUES (?, ?, ?, 'queued', ?, ?) ON CONFLICT (instance, partner) DO UPDATE SET state = 'queued',"
            " queued_at = excluded.queued_at, due_at = excluded.due_at, finished_at = NULL, reason = ''"
            " WHERE state IN ('dropped', 'skipped') AND hold != 'person'",
            *(referral, instance, partner, now, now),
        )
        for instance in instances
    )


def skip(referral: int, partner: str, instance: int, reason: str, now: int) -> None:
    """List an instance that the partner is not sent."""
    execute(
        "INSERT OR IGNORE INTO transfers (referral, instance, partner, state, queued_at, due_at, finished_at, reason)"
        " VALUES (?, ?, ?, 'skipped', ?, ?, ?, ?)",
        *(referral, instance, partner, now, now, now, reason),
    )


READY = "gate = 'open' AND (progress IN ('complete', 'sending') OR (progress = 'receiving' AND wait = 0))"
"""Of a referral: it may go. Written as the index referrals_ready has it, in the order of which they are claimed: each
as it opened, urgent ones before what had opened up to a day before them."""
_NEXT = f"""SELECT id, study FROM referrals WHERE partner = ? AND {READY}
    AND EXISTS (SELECT 1 FROM transfers t WHERE t.referral = referrals.id AND t.state = 'queued' AND t.due_at <= ?)
    ORDER BY opened_at - urgent * 86400000000 LIMIT 1"""
_LEAST_TRIED = f"""SELECT id, study FROM referrals INDEXED BY referrals_ready WHERE partner = ? AND {READY}
    AND EXISTS (SELECT 1 FROM transfers t WHERE t.referral = referrals.id AND t.state = 'queued' AND t.due_at <= ?)
    ORDER BY (SELECT coalesce(max(a.id), 0) FROM attempts a WHERE a.referral = referrals.id),
    opened_at - urgent * 86400000000 LIMIT 1"""
_CLAIM = """UPDATE transfers SET state = 'active', claimed_by = ?, claimed_at = ? WHERE id IN (
    SELECT id FROM transfers WHERE referral = ? AND state = 'queued' AND due_at <= ? ORDER BY due_at, id LIMIT ?)
    RETURNING id, instance, refused, queued_at, due_at, failing_since"""

_DUE = """SELECT count(*) FROM (
    SELECT 1 FROM transfers WHERE referral = ? AND state = 'queued' AND due_at <= ? LIMIT ?)"""


def is_ready(partner: str, now: int) -> bool:
    """Whether there is anything to claim: a look that takes no lock."""
    return one(_NEXT, partner, now) is not None


def may_go(referral: int) -> bool:
    """Whether more of a referral may be sent: its gate is open, and nothing came for which it waits."""
    return bool(one(f"SELECT {READY} FROM referrals WHERE id = ?", referral)[0])


def is_active(partner: str) -> bool:
    """Whether anybody has claimed anything of a partner."""
    return one("SELECT 1 FROM transfers WHERE partner = ? AND state = 'active' LIMIT 1", partner) is not None


def claim(partner: str, most: int, worker: str, now: int, slots: int = 1) -> Batch | None:
    """Up to `most` due transfers of one referral of `partner` whose gate is open and which is complete.

    With several `slots` they share a referral: each takes half of an even share of what is left, so that all of them
    are at work until its end.
    """
    ready = one(_NEXT, partner, now)
    return _claimed(ready[0], ready[1], partner, _share(ready[0], most, now, slots), worker, now) if ready else None


def claim_one(partner: str, worker: str, now: int) -> Batch | None:
    """A transfer of the referral that was tried longest ago: a study that fails goes behind all others each time."""
    ready = one(_LEAST_TRIED, partner, now)
    return _claimed(ready[0], ready[1], partner, 1, worker, now) if ready else None


def _claimed(referral: int, study: int, partner: str, most: int, worker: str, now: int) -> Batch:
    taken = sorted(rows(_CLAIM, worker, now, referral, now, most))
    execute("UPDATE referrals SET progress = 'sending' WHERE id = ? AND progress = 'complete'", referral)
    execute("UPDATE referrals SET begun_at = ? WHERE id = ? AND begun_at IS NULL", now, referral)
    found: dict[int, tuple[str, str, str, str, int, str, int | None]] = {
        row[0]: row[1:]
        for row in rows(
            "SELECT id, sop_class_uid, sop_instance_uid, transfer_syntax_uid, file, size, sha256, crc32 FROM instances"
            " WHERE id IN (SELECT value FROM json_each(?))",
            json.dumps([row[1] for row in taken]),
        )
    }
    transfers = tuple(Claimed(row[0], row[1], *found[row[1]], row[2], row[3], row[4], row[5], now) for row in taken)
    return Batch(referral, study, partner, transfers)


def replaces(transfer: int) -> bool:
    """Whether the partner of a transfer was offered another version of its instance."""
    sql = """SELECT 1 FROM transfers t JOIN instances i ON i.id = t.instance
        JOIN instances other ON other.sop_instance_uid = i.sop_instance_uid AND other.id != i.id
        JOIN transfers sent ON sent.instance = other.id AND sent.partner = t.partner AND sent.attempts
        WHERE t.id = ? LIMIT 1"""
    return one(sql, transfer) is not None


def hasten(partner: str, furthest: int, now: int) -> int:
    """What is due later than anything can be was written by a clock that was ahead, and is due now; how many."""
    sql = "UPDATE transfers SET due_at = ? WHERE partner = ? AND state = 'queued' AND due_at > ?"
    return execute(sql, now, partner, furthest)


def _share(referral: int, most: int, now: int, slots: int) -> int:
    if slots == 1:
        return most
    due = int(one(_DUE, referral, now, 2 * slots * most)[0])
    return -(-due // (2 * slots))


def _unless_replaced(state: str, other: str = "'skipped'") -> str:
    """A state other than delivered, unless another version has become the current one meanwhile."""
    return f"CASE WHEN (SELECT i.current FROM instances i WHERE i.id = instance) THEN {state} ELSE {other} END"


_RETURNED = _unless_replaced("'queued'")


def finish(results: Sequence[Result]) -> None:
    """Write down what came of active transfers."""
    for result in results:
        waits = result.state is State.QUEUED
        execute(
            f"UPDATE transfers SET state = CASE WHEN ? THEN ? ELSE {_unless_replaced('?')} END,"
            " attempts = attempts + 1, refused = CASE WHEN ? THEN refused + ? ELSE 0 END,"
            " due_at = ?, last_status = ?, reason = ?, failing_since = ?, hold = ?, claimed_by = '',"
            f" finished_at = coalesce(?, {_unless_replaced('NULL', '?')}) WHERE id = ? AND state = 'active'",
            *(result.state is State.DELIVERED, result.state, result.state),
            *(waits, int(result.refused), result.due_at, result.status, result.reason),
            *(result.failing_since if waits else None, result.hold),
            *(result.at if result.state in (State.DELIVERED, State.HELD) else None, result.at, result.transfer),
        )
    _send_current([result.transfer for result in results])


# The current versions, of the instances of some transfers, that were delivered while another was on its way.
_OVERTAKEN = """SELECT DISTINCT t.id, t.finished_at FROM transfers x JOIN instances u ON u.id = x.instance
    JOIN instances c ON c.sop_instance_uid = u.sop_instance_uid AND c.site = u.site AND c.current
    JOIN instances i ON i.sop_instance_uid = u.sop_instance_uid AND i.site = u.site AND NOT i.current
    JOIN transfers t ON t.instance = c.id AND t.partner = x.partner AND t.state = 'delivered'
    JOIN transfers o ON o.instance = i.id AND o.partner = x.partner
    WHERE x.id IN (SELECT value FROM json_each(?)) AND t.finished_at >= o.claimed_at"""


def _send_current(transfers: Sequence[int]) -> None:
    """What the partner got last may be the version that was replaced: the current one goes again, after it."""
    for transfer, at in rows(f"{_OVERTAKEN} AND t.claimed_at < o.finished_at", json.dumps(transfers)):
        lacks([transfer], at)


def give_back(transfers: Iterable[int]) -> None:
    """Return claims that were not used."""
    for transfer in transfers:
        execute(f"UPDATE transfers SET state={_RETURNED}, claimed_by='' WHERE id=? AND state='active'", transfer)


def reclaim(worker: str) -> int:
    """Return every claim of a worker that is dead; how many. What it had in flight is sent again."""
    sql = f"UPDATE transfers SET state={_RETURNED}, claimed_by='' WHERE state='active' AND claimed_by != ''"
    taken = [transfer for (transfer,) in rows(f"{sql} AND claimed_by=? RETURNING id", worker)]
    for transfer, at in rows(f"{_OVERTAKEN} AND o.id = x.id", json.dumps(taken)):
        lacks([transfer], at)
    return len(taken)


def claimants() -> list[str]:
    """Everyone who has claims."""
    return [worker for (worker,) in rows("SELECT DISTINCT claimed_by FROM transfers WHERE claimed_by != ''")]


_FREE = "state NOT IN ('active', 'skipped') AND hold != 'person'"


def moved(referral: int, partner: str, instance: int, result: Result) -> bool:
    """Write down what a C-MOVE across a flow did. A failure there went to the caller: it queues nothing.

    What a person has held or dropped meanwhile stays so, and what is skipped; an attempt is counted all the same. False
    where so the row does not say that it was delivered, and it was.
    """
    delivered = result.state is State.DELIVERED
    execute(
        "INSERT OR IGNORE INTO transfers (referral, instance, partner, state, attempts, queued_at, due_at, finished_at,"
        " last_status, reason) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
        *(referral, instance, partner, State.DELIVERED if delivered else State.DROPPED),
        *(result.at, result.at, result.at, result.status, result.reason),
    )
    execute(
        "UPDATE transfers SET attempts = attempts + ?, last_status = ?,"
        f" reason = CASE WHEN ? AND {_FREE} THEN ? ELSE reason END,"
        f" state = CASE WHEN ? AND {_FREE} THEN 'delivered' ELSE state END,"
        f" finished_at = CASE WHEN ? AND {_FREE} THEN ? ELSE finished_at END"
        " WHERE instance = ? AND partner = ? AND (? OR state != 'delivered')",
        *(int(result.status is not None), result.status, delivered, result.reason, delivered, delivered, result.at),
        *(instance, partner, delivered),
    )
    sql = "SELECT confirmed_at IS NULL, state FROM transfers WHERE instance = ? AND partner = ?"
    unproven, state = one(sql, instance, partner)
    if unproven:
        referrals.reopen(referral)
    return not delivered or state == State.DELIVERED


def lacks(ids: Iterable[int], now: int, why: str = "") -> list[int]:
    """delivered → queued: the partner has it not, after all; held where `why` says that this is no use any more.

    The ids it was true of; their referral sends again.
    """
    held = "state='held', due_at=?"
    sql = f"""UPDATE transfers SET {held if why else _AGAIN}, queued_at=?, reason=?, confirmed_at=NULL
        WHERE id=? AND state='delivered' AND (SELECT i.current FROM instances i WHERE i.id = instance)"""
    done = [i for i in ids if execute(sql, now, now, why, i)]
    _reopen(done)
    return done


# -- a person's word -------------------------------------------------------------------------------------------


def hold(ids: Iterable[int], reason: str) -> list[int]:
    """queued → held, until a person releases them; the ids it was true of."""
    sql = "UPDATE transfers SET state='held', hold='person', reason=? WHERE id=? AND state='queued'"
    return [i for i in ids if execute(sql, reason, i)]


def release(ids: Iterable[int], now: int) -> list[int]:
    """held → queued, due now; the ids it was true of. A referral that had been settled without them sends again."""
    sql = f"UPDATE transfers SET {_AGAIN} WHERE id=? AND state='held'"
    freed = [i for i in ids if execute(sql, now, i)]
    _reopen(freed)
    return freed


def retry(ids: Iterable[int], now: int) -> list[int]:
    """Due now, whether it was waiting, held, but not by a person, or dropped by anybody; the ids it was true of."""
    sql = f"""UPDATE transfers SET {_AGAIN} WHERE id=? AND (state IN ('queued', 'held') AND hold != 'person' OR
        state='dropped' AND (SELECT i.current AND i.evicted_at IS NULL FROM instances i WHERE i.id = instance))"""
    freed = [i for i in ids if execute(sql, now, i)]
    _reopen(freed)
    return freed


def drop(ids: Iterable[int], reason: str, now: int) -> list[int]:
    """queued or held → dropped: it is not to be sent, whoever sends it here again; the ids it was true of."""
    sql = """UPDATE transfers SET state='dropped', hold='person', reason=?, finished_at=?
        WHERE id=? AND state IN ('queued', 'held')"""
    return [i for i in ids if execute(sql, reason, now, i)]


_AGAIN = "state='queued', due_at=?, hold='', failing_since=NULL, refused=0, finished_at=NULL"


def reconsider(partner: str, now: int) -> int:
    """Queue what waits for a change of the partner's configuration; how many."""
    sql = f"UPDATE transfers SET {_AGAIN} WHERE partner=? AND state='held' AND hold='configuration' RETURNING id"
    freed = [transfer for (transfer,) in rows(sql, now, partner)]
    _reopen(freed)
    return len(freed)


def _reopen(transfers: Iterable[int]) -> None:
    for referral in referrals_of(transfers):
        referrals.reopen(referral)


def referrals_of(ids: Iterable[int]) -> list[int]:
    """The referrals that these transfers belong to."""
    sql = "SELECT DISTINCT referral FROM transfers WHERE id IN (SELECT value FROM json_each(?))"
    return [referral for (referral,) in rows(sql, json.dumps(list(ids)))]
