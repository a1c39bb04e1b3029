"""Where referrals stand, as rules/standing.py judges it: all that is kept of one, read at once. Inside `read`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from dicomnode.rules.standing import Standing
from dicomnode.store.database import one, rows

_COUNTS = ("queued", "active", "delivered", "held", "dropped", "skipped")
_FIRST = "(SELECT t.{0} FROM transfers t WHERE t.referral = r.id AND t.state = '{1}' ORDER BY t.{2} LIMIT 1)"
_COLUMNS: Final = {
    "referral": "r.id",
    **{each: f"s.{each}" for each in ("study_instance_uid", "site", "quarantine", "correction", "identity")},
    **{each: f"r.{each}" for each in ("partner", "progress", "gate", "reason", "hold", "unreferred", "unconsented")},
    **{each: f"r.{each}" for each in ("withdrawn", "recall", "stranded", "last_instance_at", "wait", "asked", "asks")},
    **{each: f"r.{each}" for each in ("lacking", "completed_at", "proof", "unproven", "look_at", "sent_at")},
    "confirmed_at": "r.confirmed_at",
    "route": "replace(r.route, char(10), ', ')",
    **{each: f"(SELECT count(*) FROM transfers t WHERE t.referral = r.id AND t.state = '{each}')" for each in _COUNTS},
    "due_at": _FIRST.format("due_at", "queued", "due_at"),
    "deferred": f"coalesce({_FIRST.format('reason', 'queued', 'due_at')}, '')",
    "holds": f"coalesce({_FIRST.format('hold', 'held', 'id')}, '')",
    "held_because": f"coalesce({_FIRST.format('reason', 'held', 'id')}, '')",
    "dropped_because": f"coalesce({_FIRST.format('reason', 'dropped', 'id')}, '')",
}
assert {field.name for field in fields(Standing)} == {*_COLUMNS, "at", "lane"}
_SELECT = f"SELECT {', '.join(_COLUMNS.values())} FROM referrals r JOIN studies s ON s.id = r.study"


def of(referral: int, now: int) -> Standing:
    """One that there is, but for its partner's lane."""
    found = dict(zip(_COLUMNS, one(f"{_SELECT} WHERE r.id = ?", referral), strict=True))
    return Standing(at=now, **found | {"stranded": bool(found["stranded"])})


def of_study(study: int) -> list[int]:
    """The referrals of a study."""
    return [referral for (referral,) in rows("SELECT id FROM referrals WHERE study = ? ORDER BY id", study)]


def turned_away(since: int) -> list[tuple[str, str, str, str, int]]:
    """(calling, called, address, why, times) of who was turned away since then (µs), the latest first."""
    return rows(
        "SELECT calling_ae_title, called_ae_title, address, why, times FROM refusals WHERE last_at >= ?"
        " ORDER BY last_at DESC LIMIT 5",
        since,
    )


@dataclass(frozen=True, slots=True)
class Copy:
    """One kept version of an instance: what it is to the others, who sent it, whose study it is in; and what became of
    it, as "PUBPACS: held (why)".
    """

    study: int
    kind: str
    current: bool
    partner: str
    site: str
    owner: str
    received_at: int
    transfers: tuple[str, ...]


def copies(sop_instance_uid: str) -> list[Copy]:
    """Every version of an instance that is kept, the current one first."""
    found = rows(
        "SELECT s.study, i.kind, i.current, i.partner, i.site, t.site, i.received_at, i.id FROM instances i"
        " JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study WHERE i.sop_instance_uid = ?"
        " ORDER BY i.current DESC, i.version",
        sop_instance_uid,
    )
    return [Copy(row[0], row[1], bool(row[2]), row[3], row[4], row[5], row[6], _transfers(row[7])) for row in found]


def _transfers(instance: int) -> tuple[str, ...]:
    found = rows("SELECT partner, state, reason FROM transfers WHERE instance = ? ORDER BY partner", instance)
    return tuple(f"{partner}: {state}{f' ({reason})' if reason else ''}" for partner, state, reason in found)
