"""Storage Commitment transactions that we opened: what a partner was asked, and what has become of it.

One is here before the partner hears of it, so that its result is known for ours whenever it comes. It is `asked` until
its result has come (`answered`), or should have (`expired`), or it was not taken or is not needed any more (`void`).
Which instances it named is kept until its referral is proven, and for ever of those that the partner would not keep.
What a source has asked of us is in the same table, without a referral: store/commitments.py. Everything that changes
something is called inside `Database.write`; times in µs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from dicomnode.store.database import execute, insert, one, rows

ASKED, ANSWERED, EXPIRED, VOID = "asked", "answered", "expired", "void"
Pair = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One transaction of ours: of which referral, when, in which state, and the (SOP class, instance) pairs named."""

    id: int
    referral: int
    partner: str
    state: str
    asked_at: int
    pairs: frozenset[Pair]


def open_(transaction_uid: str, partner: str, referral: int, pairs: Iterable[Pair], now: int, due: int) -> int:
    """Open a transaction about instances of a referral, before the partner is asked; its id."""
    (since,) = one("SELECT max(finished_at) FROM transfers WHERE referral = ? AND state = 'delivered'", referral)
    commitment = insert(
        "INSERT INTO commitments (transaction_uid, partner, referral, state, asked_at, due_at) VALUES (?,?,?,?,?,?)",
        *(transaction_uid, partner, referral, ASKED, max(now, since or 0), due),
    )
    execute(
        "INSERT OR IGNORE INTO commitment_instances (commitment, sop_class_uid, sop_instance_uid)"
        " SELECT ?, value ->> 0, value ->> 1 FROM json_each(?)",
        *(commitment, json.dumps(list(pairs))),
    )
    return commitment


def taken(commitment: int, due: int) -> bool:
    """The partner has taken the request: its result is to come by `due`. False where it has come already."""
    return bool(
        execute("UPDATE commitments SET attempts = 1, due_at = ? WHERE id = ? AND state = 'asked'", due, commitment)
    )


def is_open(commitment: int) -> bool:
    """Whether its result is still to come."""
    return one("SELECT 1 FROM commitments WHERE id = ? AND state = 'asked'", commitment) is not None


def end(commitment: int, state: str, now: int, why: str = "") -> bool:
    """A transaction that was open is over; whether it was."""
    sql = "UPDATE commitments SET state = ?, ended_at = ?, reason = ? WHERE id = ? AND state = 'asked'"
    return bool(execute(sql, state, now, why, commitment))


def end_all(referral: int, now: int) -> None:
    """A referral is proven: nothing that was asked about it needs a result any more."""
    execute("UPDATE commitments SET state = 'void', ended_at = ? WHERE referral = ? AND state = 'asked'", now, referral)
    execute(
        "DELETE FROM commitment_instances WHERE failure IS NULL"
        " AND commitment IN (SELECT id FROM commitments WHERE referral = ?)",
        referral,
    )


def answered(commitment: int, now: int) -> None:
    """The result of a transaction has come, in time or late."""
    sql = "UPDATE commitments SET state = 'answered', ended_at = ? WHERE id = ? AND state != 'answered'"
    execute(sql, now, commitment)


def overdue(referral: int, now: int) -> list[tuple[int, bool]]:
    """(id, whether the partner had taken it) of a referral's transactions whose result should have come."""
    sql = "SELECT id, attempts FROM commitments WHERE referral = ? AND state = 'asked' AND due_at <= ?"
    return [(commitment, bool(attempts)) for commitment, attempts in rows(sql, referral, now)]


def is_silent(partner: str) -> bool:
    """Whether results have failed to come since the last that came."""
    since = "SELECT max(id) FROM commitments WHERE partner = ? AND state = 'answered' AND referral IS NOT NULL"
    sql = f"""SELECT 1 FROM commitments WHERE partner = ? AND state = 'expired' AND referral IS NOT NULL
        AND id > coalesce(({since}), 0) LIMIT 1"""
    return one(sql, partner, partner) is not None


def asked(transaction_uid: str, partners: Iterable[str]) -> Asked | None:
    """The transaction of this UID that we opened with one of these partners, in whatever state it is."""
    found = one(
        "SELECT id, referral, partner, state, asked_at FROM commitments WHERE transaction_uid = ?"
        " AND referral IS NOT NULL AND partner IN (SELECT value FROM json_each(?))",
        *(transaction_uid, json.dumps(list(partners))),
    )
    if not found:
        return None
    named = rows("SELECT sop_class_uid, sop_instance_uid FROM commitment_instances WHERE commitment = ?", found[0])
    return Asked(found[0], found[1], found[2], found[3], found[4], frozenset(named))


def failed(commitment: int, failures: Iterable[tuple[str, int]]) -> None:
    """Keep the Failure Reasons of (SOP Instance UID, reason) pairs."""
    for uid, reason in failures:
        sql = "UPDATE commitment_instances SET failure = ? WHERE commitment = ? AND sop_instance_uid = ?"
        execute(sql, reason, commitment, uid)


def named(referral: int, uids: Iterable[str], asked_at: int) -> list[int]:
    """The transfers of a referral that delivered these instances before a question was asked; their ids."""
    found = rows(
        "SELECT t.id FROM json_each(?) j JOIN instances i ON i.sop_instance_uid = j.value"
        " JOIN transfers t ON t.instance = i.id WHERE t.referral = ? AND t.state = 'delivered' AND t.finished_at <= ?",
        *(json.dumps(list(uids)), referral, asked_at),
    )
    return [transfer for (transfer,) in found]


@dataclass(frozen=True, slots=True)
class Told:
    """A transaction as a person sees it: its state, when it was opened and ended (µs), how many it would not keep."""

    transaction_uid: str
    state: str
    asked_at: int
    ended_at: int | None
    failed: int
    reason: str


def of(referral: int) -> list[Told]:
    """What a partner was asked about a referral, the first first."""
    found = rows(
        "SELECT c.transaction_uid, c.state, c.asked_at, c.ended_at, (SELECT count(*) FROM commitment_instances i"
        " WHERE i.commitment = c.id AND i.failure IS NOT NULL), c.reason FROM commitments c WHERE c.referral = ?"
        " ORDER BY c.id",
        referral,
    )
    return [Told(*row) for row in found]
