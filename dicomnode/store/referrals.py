"""Referrals: one study on its way to one partner. Progress is how far it is; the gate is whether it may go on.

    receiving ──▶ complete ──▶ sending ──▶ sent ──▶ confirmed        (a late image goes back to receiving)

A referral opens with its first instance, and is sent when nothing of it is queued or active any more. When it is
complete is the affair of store/completeness.py, what proves it of store/proof.py, and what stops it of store/gates.py.
Every change here is one arrow, called inside `Database.write`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from dicomnode.store import completeness, consents, gates, patients
from dicomnode.store.completeness import AND
from dicomnode.store.database import execute, insert, one, rows
from dicomnode.store.proof import UNPROVEN


class Progress(StrEnum):
    RECEIVING = "receiving"
    COMPLETE = "complete"
    SENDING = "sending"
    SENT = "sent"
    CONFIRMED = "confirmed"


class Gate(StrEnum):
    OPEN = "open"
    HELD = "held"
    QUARANTINED = "quarantined"
    WITHDRAWN = "withdrawn"
    RECALLING = "recalling"
    RECALLED = "recalled"


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
    urgent: bool = False


def find(study: int, partner: str) -> tuple[int, list[str]] | None:
    """(id, routes) of the referral of a study to a partner, where there is one."""
    found = one("SELECT id, route FROM referrals WHERE study = ? AND partner = ?", study, partner)
    return (int(found[0]), found[1].split(AND)) if found else None


def open_(study: int, opening: Opening, now: int) -> int:
    """A new referral; its id. That of a study in doubt, or of a patient without consent, opens with its gate closed."""
    referral = insert(
        "INSERT INTO referrals (study, partner, route, wait, progress, gate, reason, generation, opened_at,"
        " last_instance_at, urgent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(study, opening.partner, opening.route, opening.wait, opening.progress),
        *(Gate.OPEN, "", opening.generation, now, now, opening.urgent),
    )
    consents.block(referral, study)
    gates.weigh(referral)
    return referral


def join(referral: int, opening: Opening, now: int) -> int:
    """A route chooses a study that is on its way to the partner already, by hand or by another route; its id."""
    execute(
        "UPDATE referrals SET route = ltrim(route || ? || ?, char(10)), wait = max(wait, ?), urgent = max(urgent, ?)"
        " WHERE id = ?",
        *(AND, opening.route, opening.wait, opening.urgent, referral),
    )
    completeness.grew(referral, now)
    return referral


def site(referral: int) -> str:
    """The site whose study a referral carries."""
    return str(one("SELECT s.site FROM referrals r JOIN studies s ON s.id = r.study WHERE r.id = ?", referral)[0])


def study(referral: int) -> int:
    """The study that a referral carries."""
    return int(one("SELECT study FROM referrals WHERE id = ?", referral)[0])


def waiting() -> list[int]:
    """The studies that have come whole for somebody, and are not sent."""
    found = rows("SELECT DISTINCT study FROM referrals WHERE progress IN ('complete', 'sending') ORDER BY study")
    return [study for (study,) in found]


def is_waiting(study: int) -> bool:
    """Whether a study has come whole for somebody, and is not sent."""
    sql = "SELECT 1 FROM referrals WHERE study = ? AND progress IN ('complete', 'sending') LIMIT 1"
    return one(sql, study) is not None


def is_open(referral: int) -> bool:
    """Whether the gate of a referral is open."""
    return bool(one("SELECT gate = 'open' FROM referrals WHERE id = ?", referral)[0])


def of_study(study: int) -> list[tuple[int, str, list[str]]]:
    """(id, partner, routes) of the study's referrals."""
    found = rows("SELECT id, partner, route FROM referrals WHERE study = ?", study)
    return [(referral, partner, route.split(AND)) for referral, partner, route in found]


def of_instance(instance: int) -> list[int]:
    """The referrals that an instance goes with."""
    return [referral for (referral,) in rows("SELECT referral FROM transfers WHERE instance = ?", instance)]


def reopen(referral: int) -> bool:
    """Something more, or again, is to be sent of a referral that was sent: it is on its way, and its proof is undone.

    Its gate is looked at again, because a doubt leaves alone what was sent before it; and its study is judged again,
    because nobody looks for doubts about what was sent. True where it had been sent.
    """
    reopened = execute(
        f"UPDATE referrals SET progress = 'sending', {UNPROVEN}, look_at = NULL"
        " WHERE id = ? AND progress IN ('sent', 'confirmed')",
        referral,
    )
    if reopened:
        gates.weigh(referral)
        patients.judge_again(study(referral))
    return bool(reopened)


def unsettled() -> list[int]:
    """Referrals that were on their way, and of which nothing waits or is held any more; their ids."""
    found = rows(
        "SELECT id FROM referrals WHERE progress IN ('complete', 'sending') AND NOT EXISTS (SELECT 1 FROM transfers t"
        " WHERE t.referral = referrals.id AND t.state IN ('queued', 'active', 'held'))"
    )
    return [referral for (referral,) in found]


def settle(referral: int, now: int) -> bool:
    """Sent, when it was complete and nothing of it is queued or active: what is held goes when it is released.

    Of what was delivered the proof is looked for from now on, unless it is called back; what could not go is seen in
    its state.
    """
    return bool(
        execute(
            "UPDATE referrals SET progress = 'sent', sent_at = ?, looks = 0, unproven = '', look_at = CASE"
            " WHEN withdrawn != '' THEN NULL"
            " WHEN EXISTS (SELECT 1 FROM transfers t WHERE t.referral = referrals.id AND t.state = 'delivered'"
            "   AND t.confirmed_at IS NULL) OR NOT EXISTS (SELECT 1 FROM transfers t WHERE t.referral = referrals.id"
            "   AND t.state IN ('held', 'dropped')) THEN ? END"
            " WHERE id = ? AND progress IN ('complete', 'sending')"
            " AND NOT EXISTS (SELECT 1 FROM transfers t WHERE t.referral = referrals.id"
            "   AND t.state IN ('queued', 'active'))",
            *(now, now, referral),
        )
    )


@dataclass(frozen=True, slots=True)
class Referral:
    """One referral as a person sees it; times in µs. `delivered`, `held` … count its transfers."""

    id: int
    study_instance_uid: str
    patient_id: str
    site: str
    partner: str
    route: str
    progress: str
    gate: str
    state: str
    """The gate unless open, else the progress; `failed` where nothing moves, and one is held or all dropped."""
    reason: str
    instances: int
    delivered: int
    held: int
    dropped: int
    skipped: int
    confirmed: int
    proof: str
    generation: int
    opened_at: int
    completed_at: int | None
    begun_at: int | None
    sent_at: int | None
    confirmed_at: int | None
    number: str
    """That of the referral in advance; '' where none was found."""


def _any(states: str) -> str:
    return f"EXISTS (SELECT 1 FROM transfers x WHERE x.referral = r.id AND x.state IN ({states}))"


STATE: Final = f"""CASE WHEN r.gate != 'open' THEN r.gate WHEN r.progress IN ('receiving', 'confirmed') THEN r.progress
    WHEN ({_any("'held'")} OR ({_any("'dropped'")} AND NOT (r.progress = 'sent' AND {_any("'delivered'")})))
    AND NOT {_any("'queued', 'active'")} THEN 'failed' ELSE r.progress END"""
"""The SQL of the state of referral r, as Referral has it."""


def _count(states: str) -> str:
    return f"(SELECT count(*) FROM transfers t WHERE t.referral = r.id AND t.state IN ({states}))"


# What stops it, or should be known of it: the gate's reason, a doubt that came later, a lane that is held or waits,
# the first transfer that is held, why nothing is proven yet, and what its source has more.
_REASON = f"""coalesce(nullif(r.reason, ''), nullif(s.quarantine, ''), nullif(s.correction, ''),
    nullif(s.identity, ''),
    CASE WHEN r.progress NOT IN ('sent', 'confirmed') THEN nullif(p.hold, '') END,
    CASE WHEN r.progress NOT IN ('sent', 'confirmed') AND p.failures THEN nullif(p.reason, '') END,
    (SELECT t.reason FROM transfers t WHERE t.referral = r.id AND t.state = 'held' ORDER BY t.id LIMIT 1),
    nullif(trim(iif(r.progress = 'sent', r.unproven, '') || coalesce('; ' || {completeness.REMARK}, ''), '; '), ''),
    s.remark)"""
_SELECT = f"""SELECT r.id, s.study_instance_uid, s.patient_id, s.site, r.partner,
    replace(r.route, char(10), ', '), r.progress, r.gate, {STATE}, {_REASON},
    (SELECT count(*) FROM transfers t WHERE t.referral = r.id), {_count("'delivered'")}, {_count("'held'")},
    {_count("'dropped'")}, {_count("'skipped'")},
    (SELECT count(*) FROM transfers t WHERE t.referral = r.id AND t.state = 'delivered' AND t.confirmed_at NOT NULL),
    r.proof, r.generation, r.opened_at, r.completed_at, r.begun_at, r.sent_at, r.confirmed_at,
    coalesce((SELECT e.number FROM expected e WHERE e.id = s.expected), '')
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
