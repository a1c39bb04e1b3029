"""The housekeeper's rounds: one at its start, one after each commit of anybody, one when something is due.

However much is committed, rounds are half a second apart; if nothing is, there is one every ten seconds, so
that a ring of the bell that was lost delays something and forgets nothing.
"""

from __future__ import annotations

import logging
import time

from dicomnode.errors import OutOfResources
from dicomnode.operations import housekeep
from dicomnode.operations.ports import Node
from dicomnode.store.bell import Ear

log = logging.getLogger(__name__)

_APART = 0.5
_LONGEST = 10.0
_CHECKPOINT, _OFTEN = 10.0, 1.0
_LARGE = 8 << 20
"""Bytes in the log, from which on it is moved every second instead of every ten."""


class Rounds:
    """What the housekeeper does between its start and its end."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ear = Ear(node.archive.root / "run", "housekeeper", _APART)
        self._is_new = True
        """What a start has to do is not done yet: the index may be locked just then."""
        self._moved = 0, 0
        """What the log was like when all of it had been moved."""
        self._growing_since = 0.0
        """Since when (monotonic seconds) there is something in it that was not; 0: there is nothing."""

    def __repr__(self) -> str:
        return f"Rounds({self._node.database})"

    def go(self, interrupt: int) -> None:
        """One round, and then sleep until the next may be needed, or until `interrupt` can be read."""
        try:
            if self._is_new:
                housekeep.strand(self._node)
                self._is_new = False
            housekeep.tidy(self._node)
            rest = min(housekeep.rest(self._node), self._checkpoint(), _LONGEST)
        except OutOfResources as error:
            log.error("housekeeping waits: %s", error)
            rest = _OFTEN
        self._ear.wait(rest, interrupt)

    def _checkpoint(self) -> float:
        """Move the log when it is time to; seconds until it will be."""
        log, now = self._node.database.log(), time.monotonic()
        if log == self._moved:
            self._growing_since = 0.0
            return _LONGEST
        self._growing_since = self._growing_since or now
        left = self._growing_since + (_OFTEN if log[1] > _LARGE else _CHECKPOINT) - now
        if left > 0:
            return left
        if self._node.database.checkpoint():
            self._moved = log
        self._growing_since = now  # what a reader kept from being moved is moved the next time
        return _OFTEN
