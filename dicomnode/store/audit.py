"""The audit trail: what happened, to what, on whose word, under which configuration; and who was turned away.

An entry is written once, in the commit of what it tells of, and chained to the one before (store/chain.py); none is
ever changed or removed. What each kind means to others, as PS3.15 A.5 has it, is in rules/auditing.py.

Functions that write are called inside `Database.write`; functions that read, inside `Database.read`. A caller who
knocks again is counted, and becomes an event once an hour, so that a flood fills no disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dicomnode.store import chain, tables
from dicomnode.store.database import execute, one, rows

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
    who: str = ""
    """On whose word: the person at the command line, or the partner that asked; '' for the node itself."""
    address: str = ""
    """Where the partner called from; '' where we called it, or nobody did."""
    outcome: int = 0
    """0 success, 4 a minor, 8 a serious failure, 12 the end of it (PS3.15 A.5.2)."""
    classes: tuple[tuple[str, int], ...] = ()
    """How many instances of which SOP class it was about."""
    query: str = ""
    """What was asked: the transfer syntax, a space, and the Identifier in base64."""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    """Whose study it was by then; `record` knows."""
    digest: str = field(default="", compare=False)


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
    spki: str = ""
    """SHA-256 of the public key of the certificate that it showed last; '' where it showed none."""


_COLUMNS = (
    *("at", "kind", "text", "partner", "study_instance_uid", "sop_instance_uid", "referral", "generation", "id"),
    *("alarm", "who", "address", "outcome", "classes", "query", "patient_id", "issuer_of_patient_id", "digest"),
)
"""Those of an entry, in the order of `Event`."""
_PATIENT = "SELECT patient_id, issuer_of_patient_id FROM studies WHERE study_instance_uid = ?"


def record(event: Event) -> int:
    """Add an entry; its id. Its study's patient is written beside it, as the study is known now."""
    row: dict[str, Any] = {name: getattr(event, name) for name in _COLUMNS if name not in ("id", "digest")}
    row["alarm"] = int(event.alarm)
    row["classes"] = " ".join(f"{uid}:{number}" for uid, number in event.classes)
    if event.study_instance_uid and (patient := one(_PATIENT, event.study_instance_uid)):
        row["patient_id"], row["issuer_of_patient_id"] = patient
    return chain.append(row)


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
        "INSERT INTO refusals VALUES (?, ?, ?, ?, 1, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET times = times + 1, last_at = excluded.last_at, spki = excluded.spki",
        *key,
        refused.first_at,
        refused.last_at,
        refused.spki,
    )
    hour = refused.last_at // _HOUR
    if known is None and _crowded(hour):
        return
    if known is None or hour != known[0] // _HOUR:
        titles = f"{refused.calling_ae_title}@{refused.address} calling {refused.called_ae_title}"
        caller = titles if refused.called_ae_title else refused.address  # who failed to speak TLS has said nothing
        text, who = f"{caller}: {refused.why}", refused.calling_ae_title
        more = {"generation": generation, "who": who, "address": refused.address}
        record(Event(refused.last_at, "association refused", text, **more))  # type: ignore[arg-type]


def _crowded(hour: int) -> bool:
    """Whether too many new kinds came in this hour; forgets one kind where there are too many in all."""
    count, new = one("SELECT count(*), sum(first_at >= ?) FROM refusals", hour * _HOUR)
    if count > _KINDS:
        execute("DELETE FROM refusals WHERE rowid = (SELECT rowid FROM refusals ORDER BY last_at, first_at LIMIT 1)")
    return bool(new > _NEW)


def refusals() -> list[Refused]:
    """Everyone who was turned away, the latest first."""
    return [
        Refused(r.calling_ae_title, r.called_ae_title, r.address, r.why, r.times, r.first_at, r.last_at, r.spki)
        for r in tables.Refusal.select().order_by(tables.Refusal.last_at.desc())
    ]


@dataclass(frozen=True, slots=True)
class Sought:
    """Which entries are looked for; what is '' or None restricts nothing. `who` and `kind` may have * and ? in them."""

    who: str = ""
    partner: str = ""
    kind: str = ""
    study_instance_uid: str = ""
    patient_id: str = ""
    referral: int | None = None
    since: int | None = None
    """µs, this one included; `until`: this one not."""
    until: int | None = None
    alarms: bool = False


_CONDITIONS = {
    "who": "who GLOB ?",
    "partner": "partner = ?",
    "kind": "kind GLOB ?",
    "study_instance_uid": "study_instance_uid = ? AND study_instance_uid != ''",  # for which there is an index
    "patient_id": "patient_id = ? AND patient_id != ''",
    "referral": "referral = ?",
    "since": "at >= ?",
    "until": "at < ?",
    "alarms": "alarm AND ?",
}


def search(sought: Sought, limit: int) -> list[Event]:
    """The newest entries that are looked for, oldest first."""
    wanted = {name: value for name in _CONDITIONS if (value := getattr(sought, name)) not in ("", None, False)}
    where = " AND ".join(["1", *(_CONDITIONS[name] for name in wanted)])
    sql = f"SELECT {', '.join(_COLUMNS)} FROM events WHERE {where} ORDER BY id DESC LIMIT ?"
    return [_event(row) for row in rows(sql, *wanted.values(), limit)][::-1]


def events(limit: int = 100, *, referral: int | None = None, alarms: bool = False) -> list[Event]:
    """The newest entries, oldest first; of one referral where that is given, or alarms alone."""
    return search(Sought(referral=referral, alarms=alarms), limit)


def after(number: int, limit: int) -> list[Event]:
    """The entries that follow one, in order."""
    sql = f"SELECT {', '.join(_COLUMNS)} FROM events WHERE id > ? ORDER BY id LIMIT ?"
    return [_event(row) for row in rows(sql, number, limit)]


def _event(row: tuple[Any, ...]) -> Event:
    content = dict(zip(_COLUMNS, row, strict=True))
    classes = (each.partition(":") for each in content.pop("classes").split())
    alarm = bool(content.pop("alarm"))
    return Event(**content, alarm=alarm, classes=tuple((uid, int(number)) for uid, _, number in classes))


def alarms(since: int, limit: int = 20) -> list[tuple[int, str, str]]:
    """(time in µs, kind, text) of the alarms since then, the newest first."""
    sql = "SELECT at, kind, text FROM events WHERE alarm AND at >= ? ORDER BY at DESC LIMIT ?"
    return [tuple(row) for row in rows(sql, since, limit)]
