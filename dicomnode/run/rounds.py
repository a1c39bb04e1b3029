"""The housekeeper's rounds: one at its start, one after each commit of anybody, one when something is due.

However much is committed, rounds are half a second apart; if nothing is, there is one every ten seconds, so
that a ring of the bell that was lost delays something and forgets nothing. Once a day, and a while after a worker
died, the files are compared with the index, so that a start has a day's files to compare.
"""

from __future__ import annotations

import logging
import time

from dicomnode.errors import IndexDamaged, OutOfResources
from dicomnode.operations import breaker, confirm, housekeep, vet
from dicomnode.operations.papers import Papers
from dicomnode.operations.ports import Callers, Node
from dicomnode.operations.watch import Watch
from dicomnode.store.bell import Ear

log = logging.getLogger(__name__)

_APART = 0.5
_LONGEST = 10.0
_CHECKPOINT, _OFTEN = 10.0, 1.0
_DAY = 86400.0
_CATCH_UP = 0.5
"""Seconds of a round in which what waits is judged again, or what an earlier version did not look at."""
_LARGE = 8 << 20
"""Bytes in the log, from which on it is moved every second instead of every ten."""


class Rounds:
    """What the housekeeper does between its start and its end."""

    def __init__(self, node: Node, callers: Callers) -> None:
        self._node, self._callers = node, callers
        self._ear = Ear(node.archive.root / "run", "housekeeper", _APART)
        self._watch = Watch(node)
        self._papers = Papers(node)
        self._is_new = True
        """What a start has to do is not done yet: the index may be locked just then."""
        self._vetted: int | None = 0
        """The last study that was judged again by the rules of this configuration; None: all were."""
        self._moved = 0, 0
        """What the log was like when all of it had been moved."""
        self._growing_since = 0.0
        """Since when (monotonic seconds) there is something in it that was not; 0: there is nothing."""
        self._look_back_at = time.monotonic() + housekeep.SETTLED
        """When (monotonic seconds) files and index are compared: the last housekeeper may have died owing it."""

    def __repr__(self) -> str:
        return f"Rounds({self._node.database})"

    def go(self, interrupt: int) -> None:
        """One round, and then sleep until the next may be needed, or until `interrupt` can be read."""
        try:
            self._watch.look()
            self._papers.look()
            if self._is_new:
                housekeep.strand(self._node)
                breaker.reconsider(self._node)
                confirm.revive(self._node)
                self._is_new = False
            is_behind = self._look_again()
            buried = housekeep.tidy(self._node, self._callers)
            self._look_back(buried > 0)
            rest = min(housekeep.rest(self._node, self._callers), self._checkpoint(), 0.0 if is_behind else _LONGEST)
        except OutOfResources as error:
            log.error("housekeeping waits: %s", error)
            rest = _LONGEST if isinstance(error, IndexDamaged) else _OFTEN
        self._ear.wait(rest, interrupt)

    def _look_again(self) -> bool:
        """Judge what waits by these rules; then look at what an earlier version did not. Whether there is more of it.

        Bit by bit: nothing of it is sent before (operations/vet.py), and what comes meanwhile is not to wait.
        """
        if self._vetted is not None:
            self._vetted = vet.vet_all(self._node, self._vetted, _CATCH_UP)
        return self._vetted is not None or vet.catch_up(self._node, _CATCH_UP)

    def _look_back(self, somebody_died: bool) -> None:
        """See what no row tells of: once a day, and after a death, when nobody else can have it in hand."""
        now = time.monotonic()
        if now >= self._look_back_at:
            found = housekeep.look_back(self._node, age=housekeep.SETTLED)
            log.info("looked back adopted=%d missing=%d", found.adopted, found.missing)
            self._look_back_at = now + _DAY
        if somebody_died:
            self._look_back_at = min(self._look_back_at, now + housekeep.SETTLED + 1)

    def _checkpoint(self) -> float:
        """Move the log when it is time to; seconds until it will be."""
        written, now = self._node.database.log(), time.monotonic()
        if written == self._moved:
            self._growing_since = 0.0
            return _LONGEST
        self._growing_since = self._growing_since or now
        left = self._growing_since + (_OFTEN if written[1] > _LARGE else _CHECKPOINT) - now
        if left > 0:
            return left
        if self._node.database.checkpoint():
            self._moved = written
        self._growing_since = now  # what a reader kept from being moved is moved the next time
        return _OFTEN
