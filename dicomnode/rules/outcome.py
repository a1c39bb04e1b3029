"""What a status or a network error means for a transfer: delivered, later (and for whom), or never.

A failure has a scope. `partner`: nothing there can be reached, so its lane pauses and nobody is charged an attempt.
`association`: only what was not answered goes back. `instance`: that one follows its own status. Unknown is later,
never "probably". (PS3.4 B.2.3, PS3.7 C.)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicomnode.errors import AssociationLost, ContextMissing, PartnerError
from dicomnode.rules import statuses


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
    refused: bool = False
    """Whether it is counted: what a partner cannot understand it is offered a few times, and then no more."""
    slow: bool = False
    """Whether the partner says that trying again will not help: a person must look, and it is asked seldom."""


@dataclass(frozen=True, slots=True)
class Never:
    """Trying again as it is cannot help: a person must look."""

    reason: str
    configuration: bool = False
    """Whether it is the partner, or what we know of it, that must be configured: then it is worth another try."""
    damaged: bool = False
    """Whether it is our own file that is not what was received: it is, when the same instance is sent to us again."""


Outcome = Delivered | Later | Never

DUPLICATE = 0x0111
_WARNINGS = {0x0001, 0x0107, 0x0116}
_WORDS = {
    **statuses.GENERAL,
    0x0111: "the partner says that it already has this SOP Instance UID",
    0x0112: "SOP class not supported (as PS3.2 prints it)",
    0x0214: "not authorised (as PS3.2 prints it)",
}
_CONFIGURATION = {0x0112, 0x0122, 0x0124, 0x0214}
_GARBLED = {0x0210, 0x0211, 0x0212}
_TRIES = 3
"""How often an instance is offered that the partner says it cannot understand."""
_JITTER = 0.125
"""The part of a delay by which it may be shorter or longer."""


def words(status: int) -> str:
    """A C-STORE status in words, without its number."""
    if status in _WORDS:
        return _WORDS[status]
    families = {
        0xA7: "out of resources",
        0xA9: "dataset does not match the SOP class",
        0xB0: "stored with a warning",
    }
    return families.get(status >> 8, "cannot understand" if status >> 12 == 0xC else "unknown status")


def is_short(status: int) -> bool:
    """Whether the partner is out of resources, which passes."""
    return status >> 8 == 0xA7 or status == 0x0213


def of_status(status: int, refused: int, *, replaces: bool = False) -> Outcome:
    """What a C-STORE status means for an instance that the partner had `refused` so often before.

    `replaces`: whether it was offered another version of the instance before. Whoever says of the only version that it
    has it already is believed as far as any status is: the referral is sent, and whether it arrived is for the proof
    to say. That is how a partner answers what it was sent twice, as after a kill. Of another version it would mean that
    it keeps the old one.
    """
    text = f"{words(status)} ({status:04X}H)"
    if status == DUPLICATE and replaces:
        return Never(f"{text}, and was sent another version of it: have that deleted there")
    if status in (0, DUPLICATE) or statuses.is_warning(status) or status in _WARNINGS:
        return Delivered(text if status else "")
    if status in _CONFIGURATION:
        return Never(text, configuration=True)
    if status >> 8 == 0xA9 or status >> 12 == 0xC or status == 0x0117:
        return Never(text) if refused + 1 >= _TRIES else Later(Scope.INSTANCE, text, refused=True)
    if status in _GARBLED:
        return Never(text) if refused else Later(Scope.ASSOCIATION, text, refused=True)
    return Later(Scope.INSTANCE, text)


def of_error(error: PartnerError) -> Outcome:
    """What a failure to exchange means. No common context: the partner must be configured, or the data."""
    if isinstance(error, ContextMissing):
        return Never(str(error), configuration=True)
    if isinstance(error, AssociationLost):
        return Later(Scope.ASSOCIATION, str(error))
    return Later(Scope.PARTNER, str(error), slow=not error.temporary)


def next_attempt_at(now: int, since: int, first: float, most: float, jitter: float) -> int:
    """When to try again (µs): the delay doubles with age, since what waited long can wait longer.

    `since`: when it began to fail (µs). `first`, `most`: seconds, the least and the greatest delay. `jitter`: 0..1,
    chosen by the caller, spreads attempts over plus or minus an eighth. A clock that jumped back counts as age 0.
    """
    age = max(0.0, (now - since) / 1e6)
    delay = min(most, max(first, age))
    return now + round(delay * (1 - _JITTER + 2 * _JITTER * jitter) * 1e6)


def furthest(now: int, most: float) -> int:
    """The latest time (µs) that `next_attempt_at` gives: what is to wait for longer was written by another clock."""
    return now + round(most * (1 + _JITTER) * 1e6)
