"""What a status or a network error means for a transfer: delivered, later (and for whom), or never.

A failure has a scope. `partner`: nothing there can be reached, so its lane pauses and nobody is charged an attempt.
`association`: only what was not answered goes back. `instance`: that one follows its own status. Unknown is later,
never "probably". (PS3.4 B.2.3, PS3.7 C.)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicomnode.errors import AssociationLost, ContextMissing, PartnerError


class Scope(StrEnum):
    PARTNER = "partner"
    ASSOCIATION = "association"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The partner says that it has it; `reason` tells of a warning."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Later:
    """Try again, after a delay that `next_attempt_at` computes."""

    scope: Scope
    reason: str


@dataclass(frozen=True, slots=True)
class Never:
    """Trying again as it is cannot help: a person must look."""

    reason: str


Outcome = Delivered | Later | Never

_WARNINGS = {0x0001, 0x0107, 0x0116}
_MEANINGS = {
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    0x0111: "the partner says that it already has this SOP Instance UID",
    0x0112: "SOP class not supported (as PS3.2 prints it)",
    0x0117: "invalid SOP Instance UID",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0x0214: "not authorised (as PS3.2 prints it)",
}
_NEVER = {0x0111, 0x0112, 0x0122, 0x0124, 0x0214}
_TRIES = 3
"""How often an instance is offered that the partner says it cannot understand."""


def meaning(status: int) -> str:
    """A C-STORE status in words."""
    if status == 0:
        return "success"
    if status in _MEANINGS:
        return _MEANINGS[status]
    families = {
        0xA7: "out of resources",
        0xA9: "dataset does not match the SOP class",
        0xB0: "stored with a warning",
    }
    return families.get(status >> 8, "cannot understand" if status >> 12 == 0xC else "unknown status")


def is_short(status: int) -> bool:
    """Whether the partner is out of resources, which passes."""
    return status >> 8 == 0xA7 or status == 0x0213


def of_status(status: int, attempts: int) -> Outcome:
    """What a C-STORE status means for an instance that had been tried `attempts` times before."""
    text = f"{meaning(status)} ({status:04X}H)"
    if status == 0:
        return Delivered()
    if status >> 12 == 0xB or status in _WARNINGS:
        return Delivered(text)
    if status in _NEVER:
        return Never(text)
    if status >> 8 == 0xA9 or status >> 12 == 0xC or status == 0x0117:
        return Never(text) if attempts + 1 >= _TRIES else Later(Scope.INSTANCE, text)
    if status in (0x0210, 0x0211, 0x0212):
        return Never(text) if attempts else Later(Scope.ASSOCIATION, text)
    return Later(Scope.INSTANCE, text)


def of_error(error: PartnerError) -> Outcome:
    """What a failure to exchange means. No common context: the partner must be configured, or the data."""
    if isinstance(error, ContextMissing):
        return Never(str(error))
    if isinstance(error, AssociationLost):
        return Later(Scope.ASSOCIATION, str(error))
    return Later(Scope.PARTNER, str(error))


def next_attempt_at(now: int, since: int, first: float, most: float, jitter: float) -> int:
    """When to try again (µs): the delay doubles with age, since what waited long can wait longer.

    `since`: when it was queued or began to fail (µs). `first`, `most`: seconds, the least and the greatest delay.
    `jitter`: 0..1, chosen by the caller, spreads attempts over plus or minus an eighth. A clock that jumped back
    counts as age 0.
    """
    age = max(0.0, (now - since) / 1e6)
    delay = min(most, max(first, age))
    return now + round(delay * (0.875 + jitter / 4) * 1e6)
