"""What was learnt of each partner's lane: whether it waits, until when, and why. Called inside `write` or `read`.

A partner that fails delays its own lane and nobody else's; no transfer of it is charged an attempt. Times in µs.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicomnode.store import queue
from dicomnode.store.database import execute, one


@dataclass(frozen=True, slots=True)
class Pause:
    """A lane that waits: until when (µs), after how many failures in a row, why, and since when it fails (µs)."""

    until: int
    failures: int
    reason: str
    since: int


def paused(partner: str) -> Pause:
    """The pause of a partner's lane; `until` is 0 where it runs."""
    found = one("SELECT paused_until, failures, reason, failing_since FROM partners WHERE name = ?", partner)
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


def short(partner: str, study: int) -> int:
    """The partner was out of resources for a study and took nothing of it; for how many different ones in a row."""
    execute(
        "INSERT INTO partners (name, short_studies, short_study) VALUES (?, 1, ?) ON CONFLICT DO UPDATE SET"
        " short_studies = short_studies + (short_study != excluded.short_study), short_study = excluded.short_study",
        *(partner, study),
    )
    return int(one("SELECT short_studies FROM partners WHERE name = ?", partner)[0])


def due(partner: str, now: int) -> int | None:
    """When a partner's lane may have something to send (µs; not after `now`: it has), as far as is known now."""
    waits = paused(partner)
    if waits.until > now:
        return waits.until
    if queue.is_ready(partner, now):
        return now
    sql = "SELECT min(due_at) FROM transfers WHERE partner = ? AND state = 'queued' AND due_at > ?"
    return one(sql, partner, now)[0]  # type: ignore[no-any-return]


def unpause(partner: str) -> bool:
    """A person says: try this partner now. True where its lane was waiting."""
    return bool(execute("UPDATE partners SET paused_until=0 WHERE name=? AND paused_until>0", partner))
