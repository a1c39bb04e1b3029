"""What was learnt of each partner's lane: whether it waits, until when, and why. Called inside `write` or `read`.

A partner that fails delays its own lane and nobody else's; no transfer of it is charged an attempt. A person may hold a
lane: then it waits for a person. Times in µs; one that is further ahead than any delay can be (`furthest`) was written
by a clock that was ahead, and means nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from dicomnode.store import queue
from dicomnode.store.database import execute, one, rows

_AT_ONCE = 20_000
"""The most that are given up in one commit, which nobody else can write during; the others are at the next failure."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A lane that waits: until when (µs), after how many failures in a row, why, and since when it fails (µs)."""

    until: int
    failures: int
    reason: str
    since: int
    hold: str = ""
    """Why a person holds it."""

    def waits(self, now: int, furthest: int) -> bool:
        """Whether nothing may go now."""
        return bool(self.hold) or now < self.until <= furthest

    def is_out(self, now: int, furthest: int, after: int) -> bool:
        """Whether it has failed for so long (µs), and is not to be tried again yet: then another may take its place."""
        return now < self.until <= furthest and now - self.since >= after


def paused(partner: str) -> Pause:
    """The pause of a partner's lane; `until` is 0 where it runs."""
    found = one("SELECT paused_until, failures, reason, failing_since, hold FROM partners WHERE name = ?", partner)
    return Pause(*found) if found else Pause(0, 0, "", 0)


def pause(partner: str, pause: Pause) -> None:
    """The partner failed: its lane waits, and no transfer is charged an attempt."""
    execute(
        "INSERT INTO partners (name, paused_until, failures, reason, failing_since) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET paused_until=excluded.paused_until, failures=excluded.failures,"
        " reason=excluded.reason, failing_since=excluded.failing_since",
        *(partner, pause.until, pause.failures, pause.reason, pause.since),
    )


def resume(partner: str, now: int) -> None:
    """The partner answered: its lane runs."""
    execute(
        "INSERT INTO partners (name, succeeded_at) VALUES (?, ?) ON CONFLICT DO UPDATE SET"
        " paused_until=0, failures=0, reason='', short_studies=0, short_study=0, succeeded_at=excluded.succeeded_at",
        *(partner, now),
    )
    execute("UPDATE referrals SET failing_since=NULL WHERE partner=? AND failing_since IS NOT NULL", partner)


def short(partner: str, study: int) -> int:
    """The partner was out of resources for a study and took nothing of it; for how many different ones in a row."""
    execute(
        "INSERT INTO partners (name, short_studies, short_study) VALUES (?, 1, ?) ON CONFLICT DO UPDATE SET"
        " short_studies = short_studies + (short_study != excluded.short_study), short_study = excluded.short_study",
        *(partner, study),
    )
    return int(one("SELECT short_studies FROM partners WHERE name = ?", partner)[0])


def failed(partner: str, now: int, idle: int, only: int | None = None) -> None:
    """The partner failed, so nothing could go that might have: from now on, or for longer already, that is counted.

    `idle` (µs) is for how long nobody tried, since the lane was to run again: a window, a person, or we were the cause.
    `only`: the referral that it failed with, where that says nothing of the others.
    """
    of_lane = "UPDATE referrals SET failing_since = {} WHERE partner = ? AND failing_since IS {}"
    execute(f"{of_lane.format('NULL', 'NOT NULL')} AND NOT ({queue.READY})", partner)
    execute(of_lane.format("failing_since + ?", "NOT NULL"), idle, partner)
    execute(f"{of_lane.format('?', 'NULL')} AND {queue.READY} AND id = coalesce(?, id)", now, partner, only)


def give_up(partner: str, before: int, reason: str, only: int | None = None) -> Counter[int]:
    """Hold what could not go to a partner since `before` (µs), or a part of it; how many of which referral."""
    held = rows(
        "UPDATE transfers SET state='held', hold='', reason=? WHERE id IN ("
        " SELECT id FROM transfers WHERE state='queued' AND due_at <= ? AND referral IN ("
        f"  SELECT id FROM referrals WHERE partner=? AND failing_since <= ? AND {queue.READY} AND id = coalesce(?, id))"
        " LIMIT ?) RETURNING referral",
        *(reason, before, partner, before, only, _AT_ONCE),
    )
    return Counter(referral for (referral,) in held)


def due(partner: str, now: int, furthest: int) -> int | None:
    """When a partner's lane may have something to send (µs; not after `now`: it has), as far as is known now."""
    waits = paused(partner)
    if waits.waits(now, furthest):
        return None if waits.hold else waits.until
    if queue.is_ready(partner, now) or is_ahead(partner, furthest):
        return now
    sql = "SELECT min(due_at) FROM transfers WHERE partner = ? AND state = 'queued' AND due_at > ?"
    return one(sql, partner, now)[0]  # type: ignore[no-any-return]


def is_ahead(partner: str, furthest: int) -> bool:
    """Whether something of a partner is due later than anything can be."""
    sql = "SELECT 1 FROM transfers WHERE partner = ? AND state = 'queued' AND due_at > ? LIMIT 1"
    return one(sql, partner, furthest) is not None


def unpause(partner: str, now: int) -> bool:
    """A person says: try this partner now. True where its lane was waiting."""
    return bool(execute("UPDATE partners SET paused_until=? WHERE name=? AND paused_until>?", now, partner, now))


def hold(partner: str, reason: str) -> bool:
    """A person holds a lane, with all that comes later. False where one does already."""
    sql = "INSERT INTO partners (name, hold) VALUES (?, ?) ON CONFLICT DO UPDATE SET hold=excluded.hold WHERE hold=''"
    return bool(execute(sql, partner, reason))


def release(partner: str, now: int) -> bool:
    """What a person held goes on, now. False where nobody held it."""
    unpause(partner, now)
    return bool(execute("UPDATE partners SET hold='' WHERE name=? AND hold!=''", partner))


def configured(partner: str, digest: str, now: int) -> bool:
    """Write down a partner's configuration. Where it is another than it was, the lane is paused no more: True."""
    differs = execute(
        "INSERT INTO partners (name, configured) VALUES (?, ?) ON CONFLICT DO UPDATE SET"
        " configured=excluded.configured WHERE configured!=excluded.configured",
        *(partner, digest),
    )
    if differs:
        unpause(partner, now)
    return bool(differs)
