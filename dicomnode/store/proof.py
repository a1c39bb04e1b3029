"""Proof of arrival, as it is kept: who is to be asked again and when, what was asked, and what the partner has said.

A referral that is sent has a time of its next look (`look_at`; NULL: none); `looks` counts those that found something
lacking since it was sent, `resent` how often that was sent again, `unproven` says why it is not confirmed yet, and
`again_at` when its source sent it once more, and something was done about it, the last time (0: never). `promised`:
we have committed to some of its study, so that store/space.py may keep it. Each instance that a partner has named is
confirmed by itself, in the transfer; a referral is when all of them are, and never otherwise: `confirm` asks the rows,
not its caller.

Everything that changes something is called inside `Database.write`, and does nothing to a referral that is not `sent`
any more: a late image or a person may have come between a question and its answer. Times in µs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from dicomnode.store import transactions
from dicomnode.store.database import execute, one, rows

UNPROVEN = "confirmed_at = NULL, proof = '', looks = 0, resent = 0, evicted_at = NULL"
"""What is set of a referral that is not proven any more: its study may be sent, proven and evicted once again."""
_PROVABLE = "progress = 'sent' AND withdrawn = ''"
"""Of what is called back nobody asks whether the partner has it."""
_AWAITED = """EXISTS (SELECT 1 FROM transfers t WHERE t.referral = referrals.id AND t.state = 'delivered'
    AND t.confirmed_at IS NULL)"""


@dataclass(frozen=True, slots=True)
class Awaited:
    """A transfer that was delivered, and of which the partner has not said that it has the instance.

    Where several versions of one instance were, the current one is the last.
    """

    transfer: int
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Case:
    """A referral that is to be proven now: what is awaited, of how many instances that were delivered."""

    referral: int
    study_instance_uid: str
    sent_at: int
    awaited: tuple[Awaited, ...]
    delivered: int


@dataclass(frozen=True, slots=True)
class Shown:
    """The strongest means that a partner has shown ('': none), and when the whole ladder was climbed last (µs)."""

    proof: str
    climbed_at: int


# -- when to look ----------------------------------------------------------------------------------------------


def next_look(partner: str) -> int | None:
    """When something of a partner is to be proven next."""
    sql = "SELECT min(look_at) FROM referrals WHERE partner = ? AND look_at IS NOT NULL AND progress = 'sent'"
    return one(sql, partner)[0]  # type: ignore[no-any-return]


def next_case(partner: str, now: int) -> Case | None:
    """The referral of a partner that is due, and has been for longest."""
    found = one(
        "SELECT r.id, s.study_instance_uid, coalesce(r.sent_at, 0) FROM referrals r JOIN studies s ON s.id = r.study"
        " WHERE r.partner = ? AND r.look_at <= ? AND r.progress = 'sent' ORDER BY r.look_at LIMIT 1",
        *(partner, now),
    )
    if not found:
        return None
    delivered = rows(
        "SELECT t.id, i.sop_class_uid, i.sop_instance_uid, t.confirmed_at IS NULL FROM transfers t"
        " JOIN instances i ON i.id = t.instance WHERE t.referral = ? AND t.state = 'delivered'"
        " ORDER BY i.current, t.id",
        found[0],
    )
    awaited = [row for row in delivered if row[3]] or delivered  # proven once, and asked again
    uids = {row[2] for row in delivered}
    return Case(found[0], found[1], found[2], tuple(Awaited(*row[:3]) for row in awaited), len(uids))


def look(referral: int, at: int | None, why: str = "") -> None:
    """Look at a referral then (None: not again), and say why it is not confirmed."""
    execute(f"UPDATE referrals SET look_at = ?, unproven = ? WHERE id = ? AND {_PROVABLE}", at, why, referral)


def postpone(partner: str, now: int, until: int, why: str) -> None:
    """The partner cannot be asked: none of what is due is looked at before `until`."""
    execute(
        "UPDATE referrals SET look_at = ?, unproven = ? WHERE partner = ? AND look_at <= ? AND progress = 'sent'",
        *(until, why, partner, now),
    )


def due(partner: str, now: int) -> list[int]:
    """The referrals of a partner that are to be looked at."""
    sql = "SELECT id FROM referrals WHERE partner = ? AND look_at <= ? AND progress = 'sent'"
    return [referral for (referral,) in rows(sql, partner, now)]


def unprovable(referrals: Iterable[int], until: int, why: str) -> None:
    """There are no means of proof for these: they are looked at again then."""
    execute(
        f"UPDATE referrals SET proof = 'none', unproven = ?, look_at = ? WHERE {_PROVABLE}"
        " AND id IN (SELECT value FROM json_each(?))",
        *(why, until, json.dumps(list(referrals))),
    )


def revive(now: int) -> None:
    """What a new configuration may prove that could not be proven is looked at now."""
    execute("UPDATE partners SET climbed_at = 0")
    execute(
        f"UPDATE referrals SET look_at = ? WHERE {_PROVABLE} AND (look_at IS NULL OR proof = 'none')"
        f" AND {_AWAITED}",
        now,
    )


def is_ahead(partner: str, furthest: int) -> bool:
    """Whether something of a partner is to be looked at later than anything can be."""
    sql = "SELECT 1 FROM referrals WHERE partner = ? AND look_at > ? AND progress = 'sent' LIMIT 1"
    return one(sql, partner, furthest) is not None


def hasten(partner: str, furthest: int, now: int) -> int:
    """What is to be looked at later than anything can be was written by a clock that was ahead: now; how many."""
    sql = "UPDATE referrals SET look_at = ? WHERE partner = ? AND look_at > ? AND progress = 'sent'"
    return execute(sql, now, partner, furthest)


# -- what a partner has shown ----------------------------------------------------------------------------------


def shown(partner: str) -> Shown:
    """What was learnt of a partner's means."""
    found = one("SELECT proof, climbed_at FROM partners WHERE name = ?", partner)
    return Shown(*found) if found else Shown("", 0)


def learn(partner: str, means: str, now: int) -> None:
    """The partner has shown a means, by an answer. What waited because it had shown none is looked at now."""
    execute(
        "INSERT INTO partners (name, proof) VALUES (?, ?) ON CONFLICT DO UPDATE SET proof = excluded.proof",
        *(partner, means),
    )
    execute(
        f"UPDATE referrals SET look_at = ?, proof = '' WHERE partner = ? AND proof = 'none' AND {_PROVABLE}",
        *(now, partner),
    )


def forget(partner: str, means: str) -> None:
    """The partner has failed to show this means again."""
    execute("UPDATE partners SET proof = '' WHERE name = ? AND proof = ?", partner, means)


def climbed(partner: str, now: int) -> None:
    """The ladder was climbed from its top."""
    execute(
        "INSERT INTO partners (name, climbed_at) VALUES (?, ?) ON CONFLICT DO UPDATE SET climbed_at ="
        " excluded.climbed_at",
        *(partner, now),
    )


# -- what follows ----------------------------------------------------------------------------------------------


def has(transfers: Iterable[int], now: int) -> None:
    """The partner has said that it has these."""
    execute(
        "UPDATE transfers SET confirmed_at = ? WHERE state = 'delivered' AND id IN (SELECT value FROM json_each(?))",
        *(now, json.dumps(list(transfers))),
    )


_PROMISED = """EXISTS (SELECT 1 FROM series s JOIN instances i ON i.series = s.id WHERE s.study = referrals.study
    AND i.committed_at IS NOT NULL AND i.evicted_at IS NULL)"""
_OPEN = """(t.state IN ('queued', 'active', 'held', 'dropped')
    OR (t.state = 'delivered' AND t.confirmed_at IS NULL))"""


def confirm(referral: int, means: str, now: int) -> bool:
    """Confirmed, if each of its instances is; those that the partner is not sent at all count for nothing.

    Otherwise it stays sent; where all that was delivered is proven it is looked at no more, and its proof is known.
    """
    done = execute(
        "UPDATE referrals SET progress = 'confirmed', confirmed_at = ?, proof = ?, look_at = NULL, looks = 0,"
        f" resent = 0, unproven = '', promised = {_PROMISED} WHERE id = ? AND progress = 'sent'"
        f" AND NOT EXISTS (SELECT 1 FROM transfers t WHERE t.referral = referrals.id AND {_OPEN})"
        " AND EXISTS (SELECT 1 FROM transfers t WHERE t.referral = referrals.id AND t.state = 'delivered')",
        *(now, means, referral),
    )
    if done:
        transactions.end_all(referral, now)
    else:
        execute(
            "UPDATE referrals SET proof = ?, unproven = '', look_at = NULL WHERE id = ? AND progress = 'sent'"
            f" AND NOT {_AWAITED}",
            *(means, referral),
        )
    return bool(done)


def waive(referral: int, now: int) -> bool:
    """The admin takes statuses for a proof: what was delivered is confirmed."""
    delivered = rows("SELECT id FROM transfers WHERE referral = ? AND state = 'delivered'", referral)
    has([transfer for (transfer,) in delivered], now)
    return confirm(referral, "status", now)


@dataclass(frozen=True, slots=True)
class Looked:
    """How often something was found lacking, and was sent again; and when anybody last meant it to be there (µs)."""

    looks: int
    resent: int
    wanted_at: int


def looked(referral: int) -> Looked | None:
    """A referral with the look that has just found something lacking; None: it is not sent now, or called back."""
    execute(f"UPDATE referrals SET looks = looks + 1 WHERE id = ? AND {_PROVABLE}", referral)
    sql = f"SELECT looks, resent, max(coalesce(sent_at, 0), again_at) FROM referrals WHERE id = ? AND {_PROVABLE}"
    found = one(sql, referral)
    return Looked(*found) if found else None


def resent(referral: int, times: int) -> None:
    """What is lacking was sent again so often, and is looked for anew after that."""
    execute("UPDATE referrals SET resent = ?, looks = 0, look_at = NULL WHERE id = ?", times, referral)


def ask_again(referral: int, transfer: int, now: int) -> bool:
    """The source has sent an instance again: whether the partner has it is asked after a while, in which more may come.

    What it lacks then is sent again as if that had never happened. True where the referral was confirmed.
    """
    (was,) = one("SELECT progress FROM referrals WHERE id = ?", referral)
    execute("UPDATE transfers SET confirmed_at = NULL WHERE id = ?", transfer)
    execute(
        f"UPDATE referrals SET progress = 'sent', {UNPROVEN}, again_at = ?,"
        " look_at = min(coalesce(look_at, ? + wait), ? + wait) WHERE id = ? AND progress IN ('sent', 'confirmed')",
        *(now, now, now, referral),
    )
    return bool(was == "confirmed")
