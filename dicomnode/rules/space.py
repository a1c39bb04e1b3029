"""How much may still be kept on this disk? Two watermarks of free space, and how long it will last.

Below the first nobody may begin an association to store: a sender that is told so before it sends keeps its study and
comes again. Below the second no instance is taken, on whatever association. Sizes in bytes, times in seconds.
"""

from __future__ import annotations

from enum import IntEnum

from dicomnode.config.parts import Watermarks
from dicomnode.rules.admission import Refusal

_CLEARLY = 1.05
"""Times a watermark that is free before it counts as behind us: a disk at the very mark is told of once."""
_CATCHING_UP = 2
"""Seconds that the trusted clock may gain in one second."""


class Room(IntEnum):
    """What is taken: nothing; no new association that would store; everything."""

    NONE = 0
    SCARCE = 1
    PLENTY = 2


def room(marks: Watermarks, free: float) -> Room:
    """What so much free space allows."""
    if free < marks.instances:
        return Room.NONE
    return Room.SCARCE if free < marks.associations else Room.PLENTY


def told(marks: Watermarks, free: int, before: Room) -> Room:
    """What a person is told: worse at once, better only when it is clearly so."""
    return max(room(marks, free / _CLEARLY), min(before, room(marks, free)))


def refusal(marks: Watermarks, free: int, suspicion: str) -> Refusal | None:
    """Why nobody may begin to store now, or None. `suspicion`: what is wrong with the disk, '' for nothing."""
    if suspicion:
        return _congested(f"the disk failed: {suspicion}")
    if room(marks, free) < Room.PLENTY:
        return _congested("disk low")
    return None


def _congested(why: str) -> Refusal:
    return Refusal(2, 3, 1, why)  # rejected-transient, presentation, temporary-congestion (PS3.8 9.3.4)


def lasts(marks: Watermarks, free: int, intake: float) -> float | None:
    """Seconds until instances are refused, at an intake of so many bytes a second; None where nothing comes in."""
    return max(0, free - marks.instances) / intake if intake > 0 else None


def trusted(now: int, before: int, elapsed: int) -> int:
    """The time (µs) that a file's age is told by: the clock, which may not have gained more than was truly lived.

    `before` is what this was `elapsed` µs ago, by a clock that nobody can set. A clock that jumps ahead makes nothing
    old; one that is set back is followed at once; time in which the node did not run is caught up with by and by.
    """
    return min(now, before + _CATCHING_UP * elapsed)


# -- in words --------------------------------------------------------------------------------------------------


def amount(size: float) -> str:
    """Bytes as the configuration writes them: 1.2 TB, 74.0 GB, 0 MB."""
    for unit, of in (("TB", 10**12), ("GB", 10**9)):
        if size >= of:
            return f"{size / of:.1f} {unit}"
    return f"{size / 10**6:.0f} MB"


def span(seconds: float) -> str:
    """How long that is, near enough: 3 days, 5 hours, 1 minute."""
    for unit, of in (("day", 86400), ("hour", 3600)):
        if seconds >= 2 * of:
            return f"{seconds / of:.0f} {unit}s"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} minute{'s' * (minutes > 1)}"


def forecast(seconds: float | None) -> str:
    """What `lasts` has found, as the end of a sentence."""
    if seconds is None:
        return "nothing has come in of late"
    return "there is no room for more" if seconds <= 0 else f"that lasts about {span(seconds)}"
