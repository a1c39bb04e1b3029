"""The story of the scrubber: it reads what is kept, slowly and for ever, to see that it is still what was received.

A disk loses bits without a word, and a file that nobody reads is found out when it is asked for, which is too late: its
source may have it no more. Each file is read once in a round, and no round begins within a day of the last; what came
within a day is left alone. A file that is damaged is an alarm, once; its transfers are held with a reason, and it is
never sent. When the same instance is sent again it is replaced (receive.py).

Before that the index is checked, once after each start. Nothing here is in anybody's way: the archive is read at
`limits.scrub` bytes a second at most, and the table that is checked holds up no writer.
"""

from __future__ import annotations

import logging
import threading
import time

from dicomnode.errors import IndexDamaged
from dicomnode.operations import refer
from dicomnode.operations.ports import Node, Stopped
from dicomnode.store import audit, damaged, integrity, referrals, space
from dicomnode.store.database import Database
from dicomnode.store.integrity import Kept

log = logging.getLogger(__name__)

_BATCH = 20
_DAY = 86_400_000_000
_REST = 600.0
"""Seconds between looks for files that have become a day old."""
_CURSOR, _ROUND = "scrubbed", "scrub round"
"""Marks: the last instance that was looked at, and when the round began."""


class Pace:
    """So many bytes a second, by a clock that nobody sets; and the end of all, when it is asked for."""

    def __init__(self, rate: int, stopped: threading.Event) -> None:
        self.stopped = stopped
        self._rate = rate
        self._free_at = time.monotonic()

    def spend(self, size: int) -> bool:
        """Wait until so many bytes more are due; False where it is to end at once."""
        self._free_at = max(self._free_at, time.monotonic()) + size / self._rate
        return not self.stopped.wait(self._free_at - time.monotonic())


def check_index(node: Node, pace: Pace) -> None:
    """See that SQLite can read all of the index; it is marked where it cannot."""
    if fault(node.database, pace.stopped.is_set) == "":
        log.info("index checked")


def fault(index: Database, is_stopped: Stopped = lambda: False) -> str | None:
    """The first thing that SQLite cannot read in the index, to which nobody writes from then on (store/damaged.py).

    '' where it can read all of it, None where it was stopped before.
    """
    try:
        with index.read():
            names = integrity.tables()
        for name in names:
            if is_stopped():
                return None
            with index.read():  # one table at a time: that long the log cannot start again
                wrong = integrity.check(name)
            if wrong:
                damaged.condemn(index.path, wrong)
                return wrong
    except IndexDamaged as error:
        return damaged.reason(index.path) or str(error)
    return ""


def scrub(node: Node, pace: Pace) -> float:
    """Look at the next files; seconds until there may be more to look at."""
    now = node.clock()
    with node.database.read():
        cursor = space.mark(_CURSOR)
        due = integrity.after(cursor, now - _DAY, _BATCH)
    if not due:
        return _next_round(cursor, now, node)
    for kept in due:
        wrong = integrity.look(kept, node.archive, pace.spend)
        if wrong is None:
            return 0.0
        if wrong != kept.damage:
            note(kept, wrong, node)

    def looked() -> None:
        space.put(_CURSOR, due[-1].instance)
        if cursor == 0:
            space.put(_ROUND, now)

    node.database.write(looked)
    return 0.0


def _next_round(cursor: int, now: int, node: Node) -> float:
    """Begin again with the oldest, a day after the last time."""
    with node.database.read():
        left = space.mark(_ROUND) + _DAY - now
    if not cursor or 0 < left <= _DAY:  # otherwise the clock was set back meanwhile
        return min(left / 1e6, _REST) if cursor else _REST
    node.database.write(lambda: space.put(_CURSOR, 0))
    return 0.0


def suspect(instance: int, node: Node) -> str:
    """Look at a file that somebody else could not use; why what is sent of it is held, '' where it is sound."""
    with node.database.read():
        kept = integrity.of(instance)
    wrong = integrity.look(kept, node.archive, lambda _: True) if kept else None
    if not kept or not wrong:
        return ""
    note(kept, wrong, node)
    return integrity.reason(wrong)


def note(kept: Kept, wrong: str, node: Node) -> None:
    """Write down what was found of a file: that it is damaged, which is an alarm the first time, or sound again."""
    at = node.clock()
    if not wrong:
        node.database.write(lambda: integrity.heal(kept.instance, at))
        log.warning("file=%s is sound again", kept.file)
        return

    def noted() -> bool:
        is_new = integrity.damage(kept, wrong, at)
        if is_new:
            audit.record(alarm(kept, wrong, at, node))
        for referral in referrals.of_instance(kept.instance):
            refer.settle(referral, at, node)
        return is_new

    if node.database.write(noted):
        log.critical("file=%s of study=%s is damaged: %s", kept.file, kept.study_instance_uid, wrong)


def alarm(kept: Kept, wrong: str, at: int, node: Node) -> audit.Event:
    """The entry of the audit trail that says so."""
    return audit.Event(
        at,
        "file damaged",
        f"{kept.file}: {integrity.reason(wrong)}",
        study_instance_uid=kept.study_instance_uid,
        sop_instance_uid=kept.sop_instance_uid,
        generation=node.generation,
        alarm=True,
    )
