"""The queue as a person asks about it: how much waits for whom, and what keeps it there. Called inside `read`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dicomnode.store.database import one, rows
from dicomnode.store.queue import Hold


@dataclass(frozen=True, slots=True)
class Shape:
    """The queue of one partner: how many transfers in each state, the oldest that waits (µs), why its lane waits."""

    partner: str
    queued: int
    active: int
    held: int
    delivered: int
    oldest: int | None
    paused_until: int
    reason: str
    hold: str
    """Why a person holds the lane; '' where nobody does."""


_SHAPE = """
    WITH t AS (SELECT partner, sum(state='queued') AS queued, sum(state='active') AS active, sum(state='held') AS held,
        sum(state='delivered') AS delivered, min(CASE WHEN state IN ('queued', 'active') THEN queued_at END) AS oldest
        FROM transfers GROUP BY partner)
    SELECT names.name, coalesce(queued, 0), coalesce(active, 0), coalesce(held, 0), coalesce(delivered, 0), oldest,
        coalesce(p.paused_until, 0), coalesce(p.reason, ''), coalesce(p.hold, '')
    FROM (SELECT partner AS name FROM t UNION SELECT name FROM partners WHERE hold != '' OR failures) names
    LEFT JOIN t ON t.partner = names.name LEFT JOIN partners p ON p.name = names.name ORDER BY 1"""


def shape() -> list[Shape]:
    """The queue of every partner that anything was ever queued for, or whose lane waits for something."""
    return [Shape(*row) for row in rows(_SHAPE)]


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
class Closed:
    """A referral whose gate is closed, why, and how many transfers that stops."""

    referral: int
    gate: str
    reason: str
    transfers: int


def closed(ids: Iterable[int]) -> list[Closed]:
    """The referrals of these transfers whose gates are closed, and how many of the transfers each stops."""
    found = rows(
        "SELECT r.id, r.gate, r.reason, count(*) FROM transfers t JOIN referrals r ON r.id = t.referral"
        " WHERE t.id IN (SELECT value FROM json_each(?)) AND r.gate != 'open' GROUP BY r.id",
        json.dumps(list(ids)),
    )
    return [Closed(*row) for row in found]


def held_by_persons(ids: Iterable[int]) -> list[int]:
    """Those of these transfers that a person holds."""
    sql = """SELECT id FROM transfers WHERE id IN (SELECT value FROM json_each(?))
        AND state = 'held' AND hold = 'person'"""
    return [transfer for (transfer,) in rows(sql, json.dumps(list(ids)))]


def waiting(partner: str, states: Iterable[str], *holds: Hold) -> list[int]:
    """The transfers to a partner in these states, but for those that a person holds; or those that are held so."""
    sql = """SELECT id FROM transfers WHERE partner = ? AND state IN (SELECT value FROM json_each(?))
        AND hold IN (SELECT value FROM json_each(?)) ORDER BY id"""
    found = rows(sql, partner, json.dumps(list(states)), json.dumps(holds or (Hold.NONE, Hold.CONFIGURATION)))
    return [transfer for (transfer,) in found]


def is_known(partner: str) -> bool:
    """Whether anything was ever queued for a partner of this name."""
    return one("SELECT 1 FROM referrals WHERE partner = ? LIMIT 1", partner) is not None


def by_referral(ids: Iterable[int]) -> dict[int, list[int]]:
    """These transfers, by the referral that they belong to."""
    sql = "SELECT referral, id FROM transfers WHERE id IN (SELECT value FROM json_each(?)) ORDER BY 1, 2"
    found: dict[int, list[int]] = {}
    for referral, transfer in rows(sql, json.dumps(list(ids))):
        found.setdefault(referral, []).append(transfer)
    return found


def under_way(partner: str, most: int) -> list[int]:
    """Referrals to a partner that are not sent; no more than so many."""
    sql = "SELECT id FROM referrals WHERE partner = ? AND progress IN ('receiving', 'complete', 'sending') LIMIT ?"
    return [referral for (referral,) in rows(sql, partner, most)]


def partners_of(ids: Iterable[int]) -> set[str]:
    """The partners that these transfers are for."""
    sql = "SELECT DISTINCT partner FROM transfers WHERE id IN (SELECT value FROM json_each(?))"
    return {partner for (partner,) in rows(sql, json.dumps(list(ids)))}
