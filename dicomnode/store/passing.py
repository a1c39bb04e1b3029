"""Studies of a group of partners that are passed on from one that fails to another. Called inside `Database.write`.

What was delivered stays where it is; what waits is dropped there with a reason, and goes on with a referral to the
other. What a person or a partner has held is left alone, and so is a referral whose gate is closed, that another route
chose too, or of which something is on its way just now. The referral that was left is named by no route any more, so
late images follow the study.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicomnode.store.database import execute, rows


@dataclass(frozen=True, slots=True)
class Waiting:
    """A referral that can be passed on; times and durations in µs."""

    referral: int
    study: int
    wait: int
    urgent: bool
    last_instance_at: int


_WAITING = """SELECT r.id, r.study, r.wait, r.urgent, r.last_instance_at FROM referrals r
    WHERE r.partner = ? AND r.gate = 'open' AND r.progress IN ('receiving', 'complete', 'sending') AND r.route = ?
    AND EXISTS (SELECT 1 FROM transfers t WHERE t.referral = r.id AND t.state = 'queued')
    AND NOT EXISTS (SELECT 1 FROM transfers t WHERE t.referral = r.id AND t.state = 'active')
    ORDER BY r.opened_at LIMIT ?"""


def waiting(partner: str, route: str, most: int) -> list[Waiting]:
    """The referrals to a partner that this route alone has made, and of which something waits; the oldest first."""
    found = rows(_WAITING, partner, route, most)
    return [Waiting(each[0], each[1], each[2], bool(each[3]), each[4]) for each in found]


def take(referral: int, why: str, now: int) -> list[tuple[int, str]]:
    """queued → dropped: what is to go elsewhere, each instance with its SOP class. Nothing more comes here."""
    taken = rows(
        "UPDATE transfers SET state = 'dropped', reason = ?, finished_at = ? WHERE referral = ? AND state = 'queued'"
        " RETURNING instance, (SELECT i.sop_class_uid FROM instances i WHERE i.id = instance)",
        *(why, now, referral),
    )
    execute(
        "UPDATE referrals SET route = '', progress = iif(progress = 'receiving', 'complete', progress),"
        " completed_at = coalesce(completed_at, ?) WHERE id = ?",
        *(now, referral),
    )
    return sorted((row[0], row[1]) for row in taken)


def left(referral: int, why: str) -> None:
    """Say of a referral that was left why nothing more of it goes there."""
    execute("UPDATE referrals SET unproven = ? WHERE id = ? AND progress = 'sent'", why, referral)


def inherit(referral: int, before: Waiting) -> None:
    """The study has not grown by being passed on: its quiet time is what it was."""
    sql = "UPDATE referrals SET last_instance_at = ?, wait = ? WHERE id = ? AND progress = 'receiving'"
    execute(sql, before.last_instance_at, before.wait, referral)

