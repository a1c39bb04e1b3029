"""The gates of referrals: whether one may go on, and everything that stops it, each kept by itself.

    a study in quarantine, or with a correction to decide on   stops what has not been sent
    a study whose patient a person has to look at              stops what has not been sent
    no referral in advance, or no consent, where one is wanted stops what has not been sent
    a person's hold                                            stops the referral, until that is taken away
    a partner that the configuration has not, or cannot call   stops what has not been sent, or is to be sent again
    withdrawal                                                 stops the referral for ever; what was sent is recalled

Columns `gate` and `reason` are what follows from these: `weigh` writes them, and is called whenever one of these has
changed, and when something more is to be sent of a referral that was sent. What is taken away leaves the others in
force. Everything here is called inside `Database.write`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from dicomnode.store.database import execute, one, rows

_UNSENT = "progress NOT IN ('sent', 'confirmed')"


def no_partner(name: str) -> str:
    """Why a referral is stranded, and what to do."""
    return f"the configuration has no partner {name} that can be called: add it, or its host and port, and reload"


_GONE = "'" + no_partner("' || partner || '") + "'"


def _say(condition: str, why: str) -> str:
    return f"iif({condition}, '; ' || {why}, '')"


_STOPS = (
    ("withdrawn != ''", "withdrawn"),
    (f"{_UNSENT} AND s.quarantine != ''", "s.quarantine"),
    ("hold != ''", "hold"),
    (f"{_UNSENT} AND s.correction != ''", "s.correction"),
    (f"{_UNSENT} AND s.identity != ''", "s.identity"),
    (f"{_UNSENT} AND unreferred != ''", "unreferred"),
    (f"{_UNSENT} AND unconsented != ''", "unconsented"),
    (f"{_UNSENT} AND stranded", _GONE),
)
"""What stops a referral, and the reason that is shown for it: all of them, in this order."""
_HELD = " OR ".join(f"({condition})" for condition, _ in _STOPS)
_WEIGH = f"""UPDATE referrals SET
    gate = CASE WHEN recall != '' THEN recall WHEN withdrawn != '' THEN 'withdrawn'
        WHEN {_UNSENT} AND s.quarantine != '' THEN 'quarantined' WHEN {_HELD} THEN 'held' ELSE 'open' END,
    reason = substr({" || ".join(_say(condition, why) for condition, why in _STOPS)}, 3)
    FROM studies s WHERE s.id = referrals.study AND referrals.id = ?"""


def weigh(referral: int) -> bool:
    """Open or close the gate as what stops it wants; whether that changed it."""
    (before,) = one("SELECT gate FROM referrals WHERE id = ?", referral)
    execute(_WEIGH, referral)
    return bool(one("SELECT gate != ? FROM referrals WHERE id = ?", before, referral)[0])


def weigh_all(study: int) -> list[tuple[int, str]]:
    """After a doubt about a study came or went: (id, gate) of its referrals whose gate that changed."""
    found = [each for (each,) in rows("SELECT id FROM referrals WHERE study = ? ORDER BY id", study)]
    changed = [each for each in found if weigh(each)]
    return [(each, one("SELECT gate FROM referrals WHERE id = ?", each)[0]) for each in changed]


def hold(ids: Iterable[int], reason: str) -> list[int]:
    """A person's hold, which wants a reason; the ids of those that had none."""
    held = [i for i in ids if execute("UPDATE referrals SET hold = ? WHERE id = ? AND hold = ''", reason, i)]
    for referral in held:
        weigh(referral)
    return held


def release(ids: Iterable[int]) -> list[int]:
    """Take a person's hold away; the ids of those that had one. What else stops them goes on doing so."""
    freed = [i for i in ids if execute("UPDATE referrals SET hold = '' WHERE id = ? AND hold != ''", i)]
    for referral in freed:
        weigh(referral)
    return freed


_NOT_AMONG = """WITH RECURSIVE named (name) AS (SELECT min(partner) FROM referrals UNION ALL
    SELECT (SELECT min(partner) FROM referrals WHERE partner > name) FROM named WHERE name IS NOT NULL)
    SELECT name FROM named WHERE name IS NOT NULL AND name NOT IN (SELECT value FROM json_each(?))"""
"""The partners of all referrals but these: one search of an index for each, and no scan of what grows for years."""


def strand(destinations: Iterable[str]) -> list[int]:
    """Stop what is not sent yet to partners other than these, and no more what was stopped and is to one of them.

    What was sent to such a partner is marked too: its gate closes when something of it is to be sent again. The ids of
    those whose gate this has closed.
    """
    known = json.dumps(list(destinations))
    gone = json.dumps([name for (name,) in rows(_NOT_AMONG, known)])
    _mark(False, known)
    return _mark(True, gone)


def _mark(stranded: bool, partners: str) -> list[int]:
    """Mark the referrals to these partners, or unmark them; the ids of those whose gate that has changed."""
    marked = rows(
        f"UPDATE referrals SET stranded = ? WHERE {'NOT stranded' if stranded else 'stranded'}"
        f" AND partner IN (SELECT value FROM json_each(?)) RETURNING id, {_UNSENT}",
        *(stranded, partners),
    )
    return [referral for referral, unsent in marked if unsent and weigh(referral)]


def is_in_doubt(referral: int) -> bool:
    """Whether a doubt about its study stops a referral."""
    sql = f"""SELECT 1 FROM referrals r JOIN studies s ON s.id = r.study
        WHERE r.id = ? AND {_UNSENT} AND (s.quarantine != '' OR s.correction != '' OR s.identity != '')"""
    return one(sql, referral) is not None


def held(study: int, partners: Iterable[str]) -> int | None:
    """A referral of the study to one of these partners that a person holds; None where there is none."""
    found = one(
        "SELECT id FROM referrals WHERE study = ? AND hold != '' AND partner IN (SELECT value FROM json_each(?))",
        *(study, json.dumps(list(partners))),
    )
    return int(found[0]) if found else None


def over(study: int, partners: Iterable[str]) -> int | None:
    """A referral of the study to one of these partners that was withdrawn; None where there is none."""
    found = one(
        "SELECT id FROM referrals WHERE study = ? AND withdrawn != '' AND partner IN (SELECT value FROM json_each(?))",
        *(study, json.dumps(list(partners))),
    )
    return int(found[0]) if found else None


def withheld(instances: Iterable[int], destination: str, partners: Iterable[str]) -> dict[int, str]:
    """Which of these instances do not go to a partner, and why: a person has held or dropped them.

    It does not matter for which of `partners`, the AEs of its site; what is skipped is so for the partner alone.
    """
    found = rows(
        "SELECT instance, reason FROM transfers WHERE instance IN (SELECT value FROM json_each(?))"
        " AND partner IN (SELECT value FROM json_each(?))"
        " AND ((hold = 'person' AND state IN ('held', 'dropped')) OR (state = 'skipped' AND partner = ?))",
        *(json.dumps(list(instances)), json.dumps(list(partners)), destination),
    )
    return dict(found)
