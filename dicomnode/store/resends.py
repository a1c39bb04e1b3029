"""What was delivered, and may be sent again: by its source's doing, or by a person's word. Times in µs."""

from __future__ import annotations

from dataclasses import dataclass

from dicomnode.store.database import execute, rows


@dataclass(frozen=True, slots=True)
class Had:
    """A transfer that was delivered, of a referral that was sent once: to whom, and when.

    `again_at` is when something was done last about its source sending the referral once more; 0: never.
    """

    transfer: int
    referral: int
    partner: str
    finished_at: int
    again_at: int


def had(instance: int) -> list[Had]:
    """Who has got an instance as part of a referral that was sent once, whatever it is now, and not called back."""
    found = rows(
        "SELECT t.id, t.referral, t.partner, t.finished_at, r.again_at FROM transfers t"
        " JOIN referrals r ON r.id = t.referral"
        " WHERE t.instance = ? AND t.state = 'delivered' AND r.sent_at IS NOT NULL AND r.withdrawn = ''",
        instance,
    )
    return [Had(*row) for row in found]


def begin(referral: int, now: int) -> None:
    """A referral begins to be sent once more, because its source has sent it again."""
    execute("UPDATE referrals SET again_at = ? WHERE id = ?", now, referral)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The transfers of a referral that were delivered, of current versions; `gone` is of how many the file is."""

    unconfirmed: tuple[int, ...]
    confirmed: tuple[int, ...]
    gone: int


def delivered(referral: int) -> Delivered:
    """What of a referral can be sent again."""
    found = rows(
        "SELECT t.id, t.confirmed_at IS NOT NULL, i.evicted_at IS NOT NULL FROM transfers t"
        " JOIN instances i ON i.id = t.instance WHERE t.referral = ? AND t.state = 'delivered' AND i.current"
        " ORDER BY t.id",
        referral,
    )
    kept = [(transfer, confirmed) for transfer, confirmed, gone in found if not gone]
    return Delivered(
        tuple(transfer for transfer, confirmed in kept if not confirmed),
        tuple(transfer for transfer, confirmed in kept if confirmed),
        len(found) - len(kept),
    )
