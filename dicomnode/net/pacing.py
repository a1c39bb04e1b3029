"""A pace: so many bytes a second, for all who send to one partner together.

Whoever sends takes leave for a piece at a time, and waits in turn. Pieces are small, so that a partner behind a thin
line hears from us many times before it may think that we are gone. Time that nobody used is lost: after a silence no
more is sent at once than a moment's worth. The clock is monotonic. `stop` ends all waiting, for good.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from dicomnode.errors import AssociationLost

_MOMENT = 0.1
"""Seconds that a piece takes, and that may be caught up."""
_LEAST = 512
"""Bytes of a piece, however thin the line is."""


class Pace:
    """The leave to send to one partner. Threads share it."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._piece = max(_LEAST, round(rate * _MOMENT))
        self._lock = threading.Lock()
        self._free = 0.0
        """When (monotonic seconds) all that was taken has had its time."""
        self._stopped = threading.Event()

    def __repr__(self) -> str:
        return f"Pace({self._rate} bytes/s{', stopped' if self._stopped.is_set() else ''})"

    def pieces(self, data: memoryview) -> Iterator[memoryview]:
        """The data, each piece when it may go. Raises AssociationLost once this is stopped."""
        for start in range(0, len(data), self._piece):
            piece = data[start : start + self._piece]
            if self._stopped.wait(self._take(len(piece))):
                raise AssociationLost("we are ending, and this would have taken too long")
            yield piece

    def _take(self, count: int) -> float:
        """Seconds until so many bytes may go; their time is taken."""
        with self._lock:
            now = time.monotonic()
            begin = max(self._free, now - _MOMENT)
            self._free = begin + count / self._rate
            return max(0.0, begin - now)

    def stop(self) -> None:
        """Nobody waits any more."""
        self._stopped.set()
