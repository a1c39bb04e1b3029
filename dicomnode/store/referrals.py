"""Referrals: one study on its way to one partner. Progress is how far it is; the gate is whether it may go on.

Every change here is one arrow of DESIGN's diagram, called inside `Database.write`. A referral opens with its first
instance, is complete after its quiet time, and is sent when nothing of it is queued, active or held any more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dicomnode.store.database import execute, insert, one, rows


class Progress(StrEnum):
    RECEIVING = "receiving"
    COMPLETE = "complete"
    SENDING = "sending"
    SENT = "sent"


class Gate(StrEnum):
    OPEN = "open"
    HELD = "held"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Opening:
    """Why a referral opens: to whom, by which route, after how long a quiet time (µs), under which generation.

    `progress` is where it begins: what is moved by hand waits for no quiet time, and is settled when the move ends.
    """

    partner: str
    route: str
    wait: int
    generation: int
    progress: Progress = Progress.RECEIVING


_AND = "\n"
"""Between the names of the routes that chose a study for one partner: no name has a line break."""
_DOUBT = "(SELECT s.quarantine FROM studies s WHERE s.id = referrals.study)"


def find(study: int, partner: str) -> tuple[int, list[str]] | None:
    """(id, routes) of the referral of a study to a partner, where there is one."""
    found = one("SELECT id, route FROM referrals WHERE study = ? AND partner = ?", study, partner)
    return (int(found[0]), found[1].split(_AND)) if found else None


def open_(study: int, opening: Opening, now: int) -> int:
    """A new referral; its id. A study in quarantine opens its referrals with the gate quarantined."""
    (doubt,) = one("SELECT quarantine FROM studies WHERE id = ?", study)
    return insert(
        "INSERT INTO referrals (study, partner, route, wait, progress, gate, reason, generation, opened_at,"
        " last_instance_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(study, opening.partner, opening.route, opening.wait, opening.progress),
        *(Gate.QUARANTINED if doubt else Gate.OPEN, doubt, opening.generation, now, now),
    )


def join(referral: int, opening: Opening, now: int) -> int:
    """A route chooses a study that is on its way to the partner already, by hand or by another route; its id."""
    execute(
        "UPDATE referrals SET route = route || ? || ?, wait = max(wait, ?) WHERE id = ?",
        *(_AND, opening.route, opening.wait, referral),
    )
    grew(referral, now)
    return referral


def site(referral: int) -> str:
    """The site whose study a referral carries."""
    return str(one("SELECT s.site FROM referrals r JOIN studies s ON s.id = r.study WHERE r.id = ?", referral)[0])


def is_open(referral: int) -> bool:
    """Whether the gate of a referral is open."""
    return bool(one("SELECT gate = 'open' FROM referrals WHERE id = ?", referral)[0])


def of_study(study: int) -> list[tuple[int, str, list[str]]]:
    """(id, partner, routes) of the study's referrals."""
    found = rows("SELECT id, partner, route FROM referrals WHERE study = ?", study)
    return [(referral, partner, route.split(_AND)) for referral, partner, route in found]


def grew(referral: int, now: int) -> None:
    """An instance was added: quiet time starts again, and what was complete or sent is receiving.

    What was sent before its study came into quarantine kept its gate open until now; nothing more of it may go.
    """
    if execute(
        "UPDATE referrals SET last_instance_at = max(last_instance_at, ?) WHERE id = ? AND progress = 'receiving'",
        *(now, referral),
    ):
        return
    execute(
        f"UPDATE referrals SET gate = 'quarantined', reason = {_DOUBT} WHERE id = ? AND progress = 'sent'"
        f" AND gate = 'open' AND {_DOUBT} != ''",
        referral,
    )
    execute(
        "UPDATE referrals SET progress = 'receiving', last_instance_at = max(last_instance_at, ?) WHERE id = ?",
        *(now, referral),
    )


def next_quiet() -> int | None:
    """When the next quiet time ends (µs), if nothing more comes; None where nothing is being received."""
    (at,) = one("SELECT min(last_instance_at + wait) FROM referrals WHERE progress = 'receiving'")
    return at  # type: ignore[no-any-return]


def complete_quiet(now: int) -> list[int]:
    """Referrals whose quiet time has passed become complete, to be settled then; their ids."""
    due = rows("SELECT id FROM referrals WHERE progress = 'receiving' AND last_instance_at + wait <= ?", now)
    for (referral,) in due:
        execute("UPDATE referrals SET progress = 'complete', completed_at = ? WHERE id = ?", now, referral)
    return [referral for (referral,) in due]


def unsettled() -> list[int]:
    """Referrals that were on their way; their ids."""
    return [referral for (referral,) in rows("SELECT id FROM referrals WHERE progress IN ('complete', 'sending')")]


def settle(referral: int, now: int) -> bool:
    """Sent, when it was complete and nothing of it waits or is held; unless there was something and all was dropped."""
    return bool(
        execute(
            "UPDATE referrals SET progress = 'sent', sent_at = ? WHERE id = ? AND progress IN ('complete', 'sending')"
            " AND NOT EXISTS (SELECT 1 FROM transfers t WHERE t.referral = referrals.id"
            "   AND t.state IN ('queued', 'active', 'held'))"
            " AND (EXISTS (SELECT 1 FROM transfers t WHERE t.referral = referrals.id AND t.state = 'delivered')"
            "   OR NOT EXISTS (SELECT 1 FROM transfers t WHERE t.referral = referrals.id))",
            now,
            referral,
        )
    )


def quarantine(study: int, reason: str) -> list[int]:
    """Close the gate of every referral of a study that has not been sent yet; their ids."""
    found = rows(
        "UPDATE referrals SET gate = 'quarantined', reason = ? WHERE study = ? AND progress != 'sent'"
        " AND gate != 'quarantined' RETURNING id",
        reason,
        study,
    )
    return [referral for (referral,) in found]


_GONE = "'no partner ' || partner || ' in the configuration'"


def strand(destinations: Iterable[str]) -> list[int]:
    """Close the open gates of referrals that are not sent yet, to partners other than these; their ids.

    Those that were closed for this reason alone, and whose partner is back, open again.
    """
    known = json.dumps(list(destinations))
    execute(
        f"UPDATE referrals SET gate = 'open', reason = '' WHERE gate = 'held' AND reason = {_GONE}"
        " AND partner IN (SELECT value FROM json_each(?))",
        known,
    )
    found = rows(
        f"UPDATE referrals SET gate = 'held', reason = {_GONE} WHERE gate = 'open' AND progress != 'sent'"
        " AND partner NOT IN (SELECT value FROM json_each(?)) RETURNING id",
        known,
    )
    return [referral for (referral,) in found]


def hold(ids: Iterable[int], reason: str) -> list[int]:
    """Close the gate of open referrals; the ids of those that were open."""
    sql = "UPDATE referrals SET gate='held', reason=? WHERE id=? AND gate='open'"
    return [i for i in ids if execute(sql, reason, i)]


def is_doubtful(referral: int) -> bool:
    """Whether a quarantine would end with this referral's release: of its gate, or of a study that was sent before."""
    sql = "SELECT r.gate = 'quarantined' OR s.quarantine != '' FROM referrals r JOIN studies s ON s.id = r.study"
    return bool(one(f"{sql} WHERE r.id = ?", referral)[0])


def release(ids: Iterable[int]) -> list[int]:
    """Open closed gates; the ids of those it made a difference to. The study's quarantine ends with its last gate."""
    return [referral for referral in ids if _release(referral)]


def _release(referral: int) -> bool:
    opened = execute("UPDATE referrals SET gate = 'open', reason = '' WHERE id = ? AND gate != 'open'", referral)
    ended = execute(
        "UPDATE studies SET quarantine = '' WHERE id = (SELECT study FROM referrals WHERE id = ?) AND quarantine != ''"
        " AND NOT EXISTS (SELECT 1 FROM referrals r WHERE r.study = studies.id AND r.gate = 'quarantined')",
        referral,
    )
    return bool(opened or ended)


@dataclass(frozen=True, slots=True)
class Referral:
    """One referral as a person sees it; times in µs. `delivered`, `held` and `waiting` count its transfers."""

    id: int
    study_instance_uid: str
    patient_id: str
    site: str
    partner: str
    route: str
    progress: str
    gate: str
    reason: str
    instances: int
    delivered: int
    held: int
    dropped: int
    waiting: int
    proof: str
    generation: int
    opened_at: int
    completed_at: int | None
    sent_at: int | None
    confirmed_at: int | None

    @property
    def state(self) -> str:
        """The gate unless open, else the progress; `failed` where nothing moves and something could not go."""
        if self.gate != Gate.OPEN:
            return self.gate
        stuck = not self.waiting and (self.held or self.dropped)
        return "failed" if stuck and self.progress != Progress.RECEIVING else self.progress


def _count(states: str) -> str:
    return f"(SELECT count(*) FROM transfers t WHERE t.referral = r.id AND t.state IN ({states}))"


# What stops it, or should be known of it: the gate's reason, a doubt that came later, a partner that does not answer,
# the first transfer that is held.
_REASON = """coalesce(nullif(r.reason, ''), nullif(s.quarantine, ''),
    CASE WHEN r.progress != 'sent' AND p.failures THEN nullif(p.reason, '') END,
    (SELECT t.reason FROM transfers t WHERE t.referral = r.id AND t.state = 'held' ORDER BY t.id LIMIT 1), s.remark)"""
_SELECT = f"""SELECT r.id, s.study_instance_uid, s.patient_id, s.site, r.partner,
    replace(r.route, char(10), ', '), r.progress, r.gate, {_REASON},
    (SELECT count(*) FROM transfers t WHERE t.referral = r.id), {_count("'delivered'")}, {_count("'held'")},
    {_count("'dropped'")}, {_count("'queued', 'active'")}, r.proof, r.generation, r.opened_at, r.completed_at,
    r.sent_at, r.confirmed_at
    FROM referrals r JOIN studies s ON s.id = r.study LEFT JOIN partners p ON p.name = r.partner"""


def listed(limit: int = 1000, *, partner: str = "", study_instance_uid: str = "") -> list[Referral]:
    """Referrals, the newest first; of one partner or one study where that is given."""
    conditions, values = ["1"], list[Any]()
    for column, value in (("r.partner", partner), ("s.study_instance_uid", study_instance_uid)):
        if value:
            conditions.append(f"{column} = ?")
            values.append(value)
    sql = f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY r.id DESC LIMIT ?"
    return [Referral(*row) for row in rows(sql, *values, limit)]


def get(referral: int) -> Referral | None:
    """One referral by its id."""
    found = one(f"{_SELECT} WHERE r.id = ?", referral)
    return Referral(*found) if found else None
