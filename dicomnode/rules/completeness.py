"""When is a study complete? Evidence in; out comes that it is, until when to wait for more of it, or whom to ask.

Nothing in DICOM says that a study has come whole (PS3.4 B.4: neither an association nor its end means anything), so
this weighs what is known. Quiet time is necessary. An association that is still open from whoever sent the study is
evidence against it, for a while. A PACS that is expected to know the study is asked, and asked again, until it has no
more of it or its time is over. What comes late reopens a referral, and costs the partner nothing but the difference.
Times and durations in µs.
"""

from __future__ import annotations

from dataclasses import dataclass

_LOOK = 1_000_000
"""How often is seen whether a source has hung up: nothing tells."""
_PATIENCE = 2
"""Quiet times that an open association is waited for, beyond the first."""
_DOUBLINGS = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking a PACS since the last instance: how many questions, and what it has that we lack.

    `within`: how long after the last instance it is waited for. `lacking`: None where it has not said.
    """

    partner: str
    within: int
    asks: int = 0
    lacking: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a study that is being received.

    `is_calling`: one of those who sent it has an association open with us. `idle`: how long we let one be silent.
    """

    last_instance_at: int
    wait: int
    idle: int
    is_calling: bool = False
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class Complete:
    """It is complete, as far as anybody can know; `why` is for a person."""

    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """It is not known yet; until then nothing changes, unless something comes."""

    until: int


@dataclass(frozen=True, slots=True)
class Ask:
    """It is quiet, and the PACS that is expected to know is to be asked."""


Decision = Complete | Wait | Ask


def decide(evidence: Evidence, now: int) -> Decision:
    """What follows from the evidence.

    An open association is waited for no longer than twice the quiet time more, so that a source that never hangs up
    delays its studies and stops none; and no longer than we let one be silent, because whatever is open after that has
    been used for something else since.
    """
    quiet = evidence.last_instance_at + evidence.wait
    if now < quiet:
        return Wait(quiet)
    asked = evidence.asked
    if asked and asked.lacking != 0 and now < (end := evidence.last_instance_at + asked.within):
        return Wait(end) if asked.asks else Ask()
    hangs = quiet + min(_PATIENCE * evidence.wait, evidence.idle)
    if evidence.is_calling and now < hangs:
        return Wait(min(hangs, now + _LOOK))
    return Complete(_why(evidence))


def _why(evidence: Evidence) -> str:
    said = ["nothing new came within the quiet time"]
    if evidence.is_calling:
        said.append("and what its sender still has open brought nothing of it")
    asked = evidence.asked
    if asked and asked.lacking is None:
        said.append(f"and {asked.partner} did not say what it has")
    elif asked:
        said.append(f"and {asked.partner} has {asked.lacking or 'no'} more")
    return ", ".join(said)


def next_question_at(now: int, asks: int, first: float, most: float) -> int:
    """When to ask again after so many questions: the delay doubles, from `first` to `most` seconds."""
    delay = min(most, first * 2.0 ** min(max(asks, 1) - 1, _DOUBLINGS))
    return now + round(delay * 1e6)
