"""Attempts: one row for each batch that was on its way to a partner. What came of an instance stays in its transfer."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from dicomnode.store.database import execute, rows


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one batch of a referral went; times in µs."""

    referral: int
    began_at: int
    ended_at: int
    connected: int | None
    """How long it took until the association was there; None: there was none."""
    offered: int
    """Instances that were sent, or were to be sent next: what was not begun is not counted."""
    delivered: int
    status: int | None
    """The last status that was other than success; None where there was none."""
    reason: str


def record(attempt: Attempt) -> None:
    """Write it down. Inside `Database.write`."""
    execute(
        "INSERT INTO attempts (referral, began_at, ended_at, connected, offered, delivered, status, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        *astuple(attempt),
    )


def of(referral: int) -> list[Attempt]:
    """All that there were of a referral, the first one first."""
    columns = "referral, began_at, ended_at, connected, offered, delivered, status, reason"
    return [Attempt(*row) for row in rows(f"SELECT {columns} FROM attempts WHERE referral = ? ORDER BY id", referral)]
