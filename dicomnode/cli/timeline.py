"""The timeline of a referral: what happened, every attempt, what was asked for proof; and how long each stage took."""

from __future__ import annotations

from dicomnode.cli import output
from dicomnode.rules import outcome
from dicomnode.store.attempts import Attempt
from dicomnode.store.audit import Event
from dicomnode.store.referrals import Referral
from dicomnode.store.transactions import Told

Timeline = list[tuple[int, str, str]]
"""(time in µs, what, in words)."""


def attempt(it: Attempt) -> output.Row:
    """One batch on its way, its status in hex and in words."""
    return {
        "began_at": output.time(it.began_at),
        "ended_at": output.time(it.ended_at),
        "connected": None if it.connected is None else it.connected / 1e6,
        "offered": it.offered,
        "delivered": it.delivered,
        "last_status": output.status(it.status),
        "meaning": outcome.words(it.status) if it.status is not None else "",
        "reason": it.reason,
    }


def commitment(it: Told) -> output.Row:
    """One Storage Commitment transaction that we asked for."""
    return {
        "transaction_uid": it.transaction_uid,
        "state": it.state,
        "asked_at": output.time(it.asked_at),
        "ended_at": output.time(it.ended_at),
        "failed": it.failed,
        "reason": it.reason,
    }


def event(it: Event) -> output.Row:
    """One entry of the audit trail."""
    row = {"at": output.time(it.at), "event": it.kind, "text": it.text}
    return row | {"generation": it.generation, "alarm": it.alarm}


_ATTEMPTED = ("sending begins", "instances sent", "instances not sent")
"""What an attempt tells better."""


def merged(events: list[Event], attempts: list[Attempt], asked: list[Told]) -> list[output.Row]:
    """All of it in the order of time, for a table."""
    found: Timeline = [(each.ended_at, "attempt", _attempted(each)) for each in attempts]
    found += [(each.asked_at, "commitment asked for", each.transaction_uid) for each in asked]
    found += [(each.ended_at, f"commitment {_end(each)}", _ended(each)) for each in asked if each.ended_at]
    found += [(each.at, each.kind, each.text) for each in events if each.kind not in _ATTEMPTED]
    found.sort(key=lambda row: row[0])
    return [{"at": output.time(at), "event": what, "text": text} for at, what, text in found]


def _attempted(it: Attempt) -> str:
    took = (it.ended_at - it.began_at) / 1e6
    text = f"{it.delivered} of {it.offered} delivered in {took:.1f} s" if it.offered else "nothing was offered"
    if it.status is not None:
        text += f", {it.status:04X}H ({outcome.words(it.status)})"
    return f"{text}: {it.reason}" if it.reason else text


_ENDS = {"answered": "committed to all", "expired": "no result came in time", "void": "not needed any more"}


def _end(it: Told) -> str:
    """One that is void was not needed any more, unless it says what became of it."""
    return it.state if it.state != "void" else "failed" if it.reason else "not needed"


def _ended(it: Told) -> str:
    if it.failed:
        return f"{it.failed} not committed to"
    return it.reason or _ENDS[it.state]


def delays(it: Referral) -> dict[str, float | None]:
    """Seconds that each stage took; None for one that is not over."""
    stages = {
        "receiving": (it.opened_at, it.completed_at),
        "waiting": (it.completed_at, it.begun_at),
        "sending": (it.begun_at, it.sent_at),
        "proving": (it.sent_at, it.confirmed_at),
    }
    return {name: _seconds(begin, end) for name, (begin, end) in stages.items()}


def _seconds(begin: int | None, end: int | None) -> float | None:
    """A stage that a late image went through again may have begun after the next one: it took no time."""
    return None if begin is None or end is None else max(0.0, (end - begin) / 1e6)


def stages(it: Referral) -> str:
    """The delays in one line."""
    said = [f"{name} {seconds:.1f} s" for name, seconds in delays(it).items() if seconds is not None]
    return ", ".join(said) or "receiving"
