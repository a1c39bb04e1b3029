"""Completeness: the evidence that a study has come whole, as it is kept with each referral that is receiving.

Quiet time counts from the last instance, and survives a restart. Where a route expects a PACS to know the study, that
is asked: `asked` is whom, `asks` how many questions there were since the last instance, `ask_at` when the next is due
(NULL: none is open), `lacking` how many instances it had more than we (NULL: it has not answered). What follows from
the evidence is decided in rules/completeness.py. Everything that changes something is called inside `Database.write`;
times and durations in µs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from dicomnode.store import gates
from dicomnode.store.database import execute, one, rows
from dicomnode.store.proof import UNPROVEN

AND = "\n"
"""Between the names of the routes that chose a study for one partner: no name has a line break."""
_SKEW = 1_000_000
"""How far in the future an arrival may lie: two processes read one clock one after the other."""

REMARK = """CASE WHEN r.progress = 'receiving' THEN NULL
    WHEN r.lacking > 0 THEN 'the source (' || r.asked || ') has ' || r.lacking || ' more'
    WHEN r.asks > 0 AND r.lacking IS NULL THEN 'the source (' || r.asked || ') could not be asked' END"""
"""What should be known of a referral `r` that became complete without its source's word for it; SQL, NULL: nothing."""


def grew(referral: int, now: int, wait: int = 0) -> None:
    """An instance was added: quiet time starts again, and what was complete, sent or confirmed is receiving.

    `wait` is the quiet time after this instance: the longest seen holds. What was sent before its study came into doubt
    kept its gate open until now; nothing more of it may go.
    """
    if execute(
        "UPDATE referrals SET last_instance_at = max(last_instance_at, ?), wait = max(wait, ?), asks = 0,"
        " ask_at = NULL, lacking = NULL WHERE id = ? AND progress = 'receiving'",
        *(now, wait, referral),
    ):
        return
    execute(
        "UPDATE referrals SET progress = 'receiving', last_instance_at = max(last_instance_at, ?), wait = max(wait, ?),"
        f" asks = 0, ask_at = NULL, lacking = NULL, {UNPROVEN}, look_at = NULL WHERE id = ?",
        *(now, wait, referral),
    )
    gates.weigh(referral)


@dataclass(frozen=True, slots=True)
class Pending:
    """A referral that is receiving and whose quiet time has passed, with the evidence there is."""

    referral: int
    study: int
    site: str
    route: str
    last_instance_at: int
    wait: int
    asks: int
    lacking: int | None

    @property
    def routes(self) -> list[str]:
        """The names of the routes that chose the study."""
        return self.route.split(AND)


def pending(now: int) -> list[Pending]:
    """Everything that may be complete: nothing has come for its quiet time."""
    found = rows(
        "SELECT r.id, r.study, s.site, r.route, r.last_instance_at, r.wait, r.asks, r.lacking FROM referrals r"
        " JOIN studies s ON s.id = r.study WHERE r.progress = 'receiving' AND r.last_instance_at + r.wait <= ?",
        now,
    )
    return [Pending(*row) for row in found]


def next_quiet(now: int) -> int | None:
    """When the next quiet time ends, if nothing more comes; None where nothing is being received."""
    sql = "SELECT min(last_instance_at + wait) FROM referrals WHERE progress = 'receiving' AND last_instance_at+wait>?"
    return one(sql, now)[0]  # type: ignore[no-any-return]


def is_from(study: int, partners: Iterable[str]) -> bool:
    """Whether anything that is kept of a study came from one of these partners."""
    sql = (
        "SELECT 1 FROM series s JOIN instances i ON i.series = s.id WHERE s.study = ?"
        " AND i.partner IN (SELECT value FROM json_each(?)) LIMIT 1"
    )
    return one(sql, study, json.dumps(list(partners))) is not None


def complete(referral: int, now: int, last_instance_at: int | None = None) -> bool:
    """It is complete, unless it was not receiving, or something came after the instance that this was decided by."""
    return bool(
        execute(
            "UPDATE referrals SET progress = 'complete', completed_at = ?, ask_at = NULL WHERE id = ?"
            " AND progress = 'receiving' AND last_instance_at = coalesce(?, last_instance_at)",
            *(now, referral, last_instance_at),
        )
    )


def is_ahead(now: int) -> bool:
    """Whether anything is said to have come in the future: the clock was set back."""
    return one(f"SELECT 1 FROM referrals WHERE {_AHEAD} LIMIT 1", now, _SKEW) is not None


def set_back(now: int) -> int:
    """Let what is said to have come in the future have come now: it would be waited for until then; how many."""
    sql = f"UPDATE referrals SET last_instance_at = ?, asks = 0, ask_at = NULL, lacking = NULL WHERE {_AHEAD}"
    return execute(sql, now, now, _SKEW)


_AHEAD = "progress = 'receiving' AND last_instance_at > ? + ?"


# -- questions -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """What a partner is to be asked: which instances it has of a study; `asks` counts this question."""

    study: int
    study_instance_uid: str
    asks: int


def put(referral: int, partner: str, now: int) -> None:
    """A partner is to be asked about the study of a referral, now."""
    execute("UPDATE referrals SET asked = ?, asks = 1, ask_at = ? WHERE id = ?", partner, now, referral)


def question(partner: str, now: int) -> Question | None:
    """What a partner is to be asked now: what has been due for longest."""
    found = one(
        "SELECT r.study, s.study_instance_uid, r.asks FROM referrals r JOIN studies s ON s.id = r.study"
        " WHERE r.asked = ? AND r.ask_at <= ? ORDER BY r.ask_at LIMIT 1",
        *(partner, now),
    )
    return Question(*found) if found else None


def due(partner: str) -> int | None:
    """When a partner is to be asked next."""
    return one("SELECT min(ask_at) FROM referrals WHERE asked = ? AND ask_at IS NOT NULL", partner)[0]  # type: ignore[no-any-return]


def lacking(study: int, known: Iterable[str]) -> int:
    """How many of these SOP Instance UIDs no kept instance of a study has, current or not."""
    sql = "SELECT DISTINCT i.sop_instance_uid FROM series s JOIN instances i ON i.series = s.id WHERE s.study = ?"
    return len(set(known) - {uid for (uid,) in rows(sql, study)})


def answered(study: int, partner: str, asked_at: int, lacking: int, again_at: int) -> None:
    """A partner has said what it has of a study; it is asked again where that is more than we have.

    Something may have come while it was asked: then the question that this answers is not open any more.
    """
    execute(
        "UPDATE referrals SET lacking = ?, asks = asks + ?, ask_at = ? WHERE asked = ? AND study = ? AND ask_at <= ?",
        *(lacking, int(lacking > 0), again_at if lacking else None, partner, study, asked_at),
    )


def unanswered(partner: str, asked_at: int, again_at: int, study: int | None = None) -> None:
    """A partner said nothing of one study, or, where none is given, cannot be asked about any: it is, again, then."""
    execute(
        "UPDATE referrals SET asks = asks + 1, ask_at = ?"
        " WHERE asked = ? AND ask_at <= ? AND study = coalesce(?, study)",
        *(again_at, partner, asked_at, study),
    )
