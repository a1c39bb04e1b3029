"""The story of the disk: how much room there is, told before it is too late; and what a disk that fails does to us.

The housekeeper looks at each of its rounds. A watermark that is crossed is one line of the log and one event of the
audit trail, and so is its being behind us again, over restarts too. How long the room lasts is logged every hour, and
every ten minutes below a watermark. Once a minute, retention makes room where it is configured.

What may fail: OutOfResources, where the index cannot be read or written: the next round looks again.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from dicomnode.errors import OutOfResources
from dicomnode.operations.evict import evict
from dicomnode.operations.ports import Node
from dicomnode.rules import space as rules
from dicomnode.rules.space import Room
from dicomnode.store import audit, space
from dicomnode.store.audit import Event

log = logging.getLogger(__name__)

_HOUR, _TEN_MINUTES, _MINUTE = 3600.0, 600.0, 60.0
_DAY = 86400.0
_ROOM, _TRUSTED = "room", "trusted time"


class Watch:
    """What one housekeeper knows of the disk. `timer` is a clock that nobody can set, in seconds."""

    def __init__(self, node: Node, timer: Callable[[], float] = time.monotonic) -> None:
        self._node, self._timer = node, timer
        self._room: Room | None = None
        """What a person was told last; None: not looked yet."""
        self._crossed: Event | None = None
        """What is to be written into the audit trail: the disk may be too full for it just then."""
        self._trusted, self._trusted_at = 0, 0.0
        self._tell_at = self._evict_at = -math.inf
        self._note_at = timer() + _HOUR

    def __repr__(self) -> str:
        return f"Watch({self._node.archive.volume}, {self._room!r})"

    def look(self) -> None:
        """One round; cheap where there is nothing to do."""
        tell(self._node)
        if self._room is None:
            self._begin()
        self._compare()
        now = self._timer()
        if now >= self._tell_at:
            self._tell_at = now + (_HOUR if self._room is Room.PLENTY else _TEN_MINUTES)
            self._report()
        if now >= self._note_at:
            self._note_at = now + _HOUR
            self._note()
        if now >= self._evict_at:
            self._evict_at = now + _MINUTE
            if evict(self._node, self._time()):
                self._evict_at = now

    def _begin(self) -> None:
        with self._node.database.read():
            self._room = Room(space.mark(_ROOM, Room.PLENTY))
            self._trusted, self._trusted_at = space.mark(_TRUSTED), self._timer()
        if not self._trusted:
            self._trusted = self._node.clock()
            if self._node.config.node.retention.after is not None:
                self._note()  # at once: the clock may be set before an hour has passed

    def _time(self) -> int:
        """The time by which the age of a study is told."""
        now = self._timer()
        elapsed, self._trusted_at = round((now - self._trusted_at) * 1e6), now
        self._trusted = rules.trusted(self._node.clock(), self._trusted, elapsed)
        return self._trusted

    def _compare(self) -> None:
        """Say so where a watermark was crossed."""
        node, before = self._node, self._room
        assert before is not None
        free = node.archive.volume.free()
        room = rules.told(node.config.node.watermarks, free, before)
        if room is not before:
            kind, text = _words(room, free, node)
            log.log(logging.CRITICAL if room < before else logging.WARNING, "%s: %s", kind, text)
            self._crossed = Event(node.clock(), kind, text, generation=node.generation, alarm=room < before)
            self._room, self._tell_at = room, -math.inf
        if self._crossed and _written(lambda event: _cross(room, event), self._crossed, node):
            self._crossed = None

    def _report(self) -> None:
        node = self._node
        with node.database.read():
            intake = space.intake(node.clock(), _DAY)
        free, marks = node.archive.volume.free(), node.config.node.watermarks
        lasts = rules.forecast(rules.lasts(marks, free, intake))
        log.info("disk free=%s intake=%s/day: %s", rules.amount(free), rules.amount(intake * _DAY), lasts)

    def _note(self) -> None:
        """Write down what takes long to find out again."""
        trusted = self._time()

        def noted() -> None:
            space.count()
            space.put(_TRUSTED, trusted)

        self._node.database.write(noted)


def _cross(room: Room, event: Event) -> None:
    """Inside `Database.write`."""
    space.put(_ROOM, room)
    audit.record(event)


def _words(room: Room, free: int, node: Node) -> tuple[str, str]:
    marks, has = node.config.node.watermarks, rules.amount(free)
    if room is Room.PLENTY:
        return "disk has room", f"{has} free: everything is taken again"
    if room is Room.SCARCE:
        limit = rules.amount(marks.associations)
        return "disk low", f"{has} free, less than {limit}: who wants to store is told to come later. Make room"
    limit = rules.amount(marks.instances)
    return "disk full", f"{has} free, less than {limit}: every C-STORE is answered A700H. Make room now"


def tell(node: Node) -> None:
    """Write into the audit trail what this process has found wrong with the disk, if it has."""
    volume = node.archive.volume
    text, volume.alarm = volume.alarm, ""
    if not text:
        return
    event = Event(node.clock(), "disk failed", text, generation=node.generation, alarm=True)
    if not _written(audit.record, event, node):
        volume.alarm = volume.alarm or text


def _written(write: Callable[[Event], object], event: Event, node: Node) -> bool:
    """Whether an event could be written; if not it is in the log, and is tried again."""
    try:
        node.database.write(lambda: write(event))
    except OutOfResources:
        return False
    return True
