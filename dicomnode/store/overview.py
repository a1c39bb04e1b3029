"""How the node does, in numbers: what waits for whom, and what is in doubt. Called inside `Database.read`.

Nothing here looks at what is done with: an archive of many years is looked over as fast as a new one.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicomnode.store.database import one, rows
from dicomnode.store.referrals import STATE


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for one partner: transfers by state, and since when the oldest referral does; why its lane waits.

    Times in µs; 0 and '' where there is none.
    """

    partner: str
    queued: int
    active: int
    held: int
    oldest: int
    paused_until: int
    failing_since: int
    reason: str
    hold: str
    rejects: bool
    """Whether the partner has said, since it fails, that trying again will not help."""


_COUNT = "SELECT count(*) FROM transfers WHERE partner = ? AND state = ?"
_OLDEST = """SELECT coalesce(min(opened_at), 0) FROM referrals
    WHERE partner = ? AND gate = 'open' AND progress IN ('receiving', 'complete', 'sending')"""
_LANE = """SELECT paused_until, CASE WHEN failures THEN failing_since ELSE 0 END, CASE WHEN failures THEN reason ELSE ''
    END, hold, failures AND EXISTS (SELECT 1 FROM events e WHERE e.alarm AND e.at >= failing_since
    AND e.kind = 'partner rejects us' AND e.partner = partners.name) FROM partners WHERE name = ?"""


def waiting(partner: str) -> Waiting:
    """What waits for a partner."""
    queued, active, held = (one(_COUNT, partner, state)[0] for state in ("queued", "active", "held"))
    lane = one(_LANE, partner) or (0, 0, "", "", False)
    return Waiting(partner, queued, active, held, one(_OLDEST, partner)[0], *lane)


def referrals() -> dict[str, int]:
    """How many referrals are in each state, as `Referral.state` has it."""
    return dict(rows(f"SELECT {STATE}, count(*) FROM referrals r GROUP BY 1"))


def owed(since: int) -> int:
    """How many referrals a commitment result is overdue of since then (µs), and nothing else has proven yet."""
    sql = """SELECT count(DISTINCT r.id) FROM events e JOIN referrals r ON r.id = e.referral
        WHERE e.alarm AND e.at >= ? AND e.kind = 'commitment overdue' AND r.progress = 'sent'"""
    return int(one(sql, since)[0])


def is_untold(partner: str) -> bool:
    """Whether a partner could not be told a commitment result that it had asked for, and none since."""
    of_partner = "FROM commitments WHERE partner = ? AND referral IS NULL AND state ="
    sql = f"""SELECT max(ended_at) > coalesce((SELECT max(ended_at) {of_partner} 'reported'), 0)
        {of_partner} 'abandoned'"""
    return bool(one(sql, partner, partner)[0])


def doubtful() -> int:
    """How many studies a person should look at."""
    sql = "SELECT count(*) FROM studies WHERE quarantine != '' OR correction != '' OR identity != '' OR remark != ''"
    return int(one(sql)[0])


def damaged() -> int:
    """How many instances have a file that is not what was received."""
    return int(one("SELECT count(*) FROM instances WHERE damage != '' AND evicted_at IS NULL")[0])
