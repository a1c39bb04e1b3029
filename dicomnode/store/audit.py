"""The audit trail: what happened, to what, under which configuration; and who was turned away at the door.

Functions that write are called inside `Database.write`; functions that read, inside `Database.read`. A caller who
knocks again is counted, and becomes an event once an hour, so that a flood fills no disk.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicomnode.store import tables
from dicomnode.store.database import execute, insert, one, rows

_HOUR = 3_600_000_000
_KINDS = 1000
"""The most kinds of refused callers that are kept; one more, and the one that was seen longest ago is forgotten."""
_NEW = 100
"""The most new kinds in an hour that become events: whoever makes up titles does not fill the trail."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry; `at` in µs. What does not apply is '' or None."""

    at: int
    kind: str
    text: str
    partner: str = ""
    study_instance_uid: str = ""
    sop_instance_uid: str = ""
    referral: int | None = None
    generation: int = 0
    id: int = 0
    alarm: bool = False
    """Whether a person should know of it today."""


@dataclass(frozen=True, slots=True)
class Refused:
    """One kind of caller who was turned away: how often, first and last (µs), and why."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    why: str
    times: int
    first_at: int
    last_at: int


def record(event: Event) -> int:
    """Add an entry; its id."""
    return insert(
        "INSERT INTO events (at, kind, partner, study_instance_uid, sop_instance_uid, referral, generation, text,"
        " alarm) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        event.at,
        event.kind,
        event.partner,
        event.study_instance_uid,
        event.sop_instance_uid,
        event.referral,
        event.generation,
        event.text,
        event.alarm,
    )


def record_seldom(event: Event) -> None:
    """Add an entry, unless there was one of its kind and partner in the hour before: no peer fills the disk with it."""
    if execute(
        "INSERT INTO marks VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
        " WHERE value NOT BETWEEN excluded.value - ? AND excluded.value",
        *(f"{event.kind} {event.partner}", event.at, _HOUR),
    ):
        record(event)


def refuse(refused: Refused, generation: int) -> None:
    """Count a caller who was turned away; an event the first time, and then once an hour. A flood is kept in bounds."""
    key = (refused.calling_ae_title, refused.called_ae_title, refused.address, refused.why)
    known = one(
        "SELECT last_at FROM refusals WHERE calling_ae_title = ? AND called_ae_title = ? AND address = ? AND why = ?",
        *key,
    )
    execute(
        "INSERT INTO refusals VALUES (?, ?, ?, ?, 1, ?, ?)"
        " ON CONFLICT DO UPDATE SET times = times + 1, last_at = excluded.last_at",
        *key,
        refused.first_at,
        refused.last_at,
    )
    hour = refused.last_at // _HOUR
    if known is None and _crowded(hour):
        return
    if known is None or hour != known[0] // _HOUR:
        caller = f"{refused.calling_ae_title}@{refused.address} calling {refused.called_ae_title}"
        record(Event(refused.last_at, "association refused", f"{caller}: {refused.why}", generation=generation))


def _crowded(hour: int) -> bool:
    """Whether too many new kinds came in this hour; forgets one kind where there are too many in all."""
    count, new = one("SELECT count(*), sum(first_at >= ?) FROM refusals", hour * _HOUR)
    if count > _KINDS:
        execute("DELETE FROM refusals WHERE rowid = (SELECT rowid FROM refusals ORDER BY last_at, first_at LIMIT 1)")
    return bool(new > _NEW)


def refusals() -> list[Refused]:
    """Everyone who was turned away, the latest first."""
    return [
        Refused(r.calling_ae_title, r.called_ae_title, r.address, r.why, r.times, r.first_at, r.last_at)
        for r in tables.Refusal.select().order_by(tables.Refusal.last_at.desc())
    ]


def events(limit: int = 100, *, referral: int | None = None, alarms: bool = False) -> list[Event]:
    """The newest entries, oldest first; of one referral where that is given, or alarms alone."""
    query = tables.Event.select()
    if referral is not None:
        query = query.where(tables.Event.referral == referral)
    if alarms:
        query = query.where(tables.Event.alarm)
    return [
        Event(
            e.at,
            e.kind,
            e.text,
            e.partner,
            e.study_instance_uid,
            e.sop_instance_uid,
            e.referral,
            e.generation,
            e.id,
            e.alarm,
        )
        for e in tables.latest(query, limit)
    ]


def alarms(since: int, limit: int = 20) -> list[tuple[int, str, str]]:
    """(time in µs, kind, text) of the alarms since then, the newest first."""
    sql = "SELECT at, kind, text FROM events WHERE alarm AND at >= ? ORDER BY at DESC LIMIT ?"
    return [tuple(row) for row in rows(sql, since, limit)]
