"""How arrival is proven: what a partner is asked, when it is looked again, and when what it lacks is sent again.

A status never proves anything. The ladder has three rungs, the strongest first: a Storage Commitment result
(PS3.4 J), a query for the SOP Instance UIDs, a query for their number (PS3.4 C).
"""

from __future__ import annotations

from collections.abc import Sequence

LADDER = ("commitment", "find", "count")
WAIVED = "status"
"""The proof of what an admin has declared proven by statuses alone: `confirm: {by: status}`."""
RESENDS = 2
"""How often what a partner lacks is sent again."""
_DELAYS = (2, 20)
"""Of the looks after the first, in times of the first delay: a partner may index long after it has answered."""

_FAILURES = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0119: "class / instance conflict",
    0x0122: "referenced SOP class not supported",
    0x0131: "duplicate Transaction UID",
    0x0213: "resource limitation",
}


def failure_reason(reason: int) -> str:
    """A Failure Reason (0008,1197) of a commitment in words (PS3.3 C.14.1.1): no C-STORE status, though it looks so."""
    return _FAILURES.get(reason, "unknown reason")


def rungs(by: str, shown: str, *, lately: bool) -> Sequence[str]:
    """What to ask, in order.

    `shown`: the strongest means that the partner has shown, or ''. `lately`: the ladder was climbed from its top not
    long ago, so that what it has not shown is not asked for again: nothing, where it has shown nothing.
    """
    ladder = LADDER if by == "auto" else (by,)
    if not lately:
        return ladder
    return ladder[ladder.index(shown) :] if shown in ladder else ()


def below(by: str, rung: str) -> Sequence[str]:
    """What is left to ask where a rung has failed."""
    return LADDER[LADDER.index(rung) + 1 :] if by == "auto" else ()


def is_stronger(rung: str, known: str) -> bool:
    """Whether a means proves more than the one that is known, or none is."""
    return known not in LADDER or LADDER.index(rung) < LADDER.index(known)


def delay(looks: int, first: float, most: float) -> float | None:
    """Seconds until the next look, after so many that found something lacking; None: two delayed looks are enough."""
    return min(most, first * _DELAYS[looks - 1]) if looks <= len(_DELAYS) else None
