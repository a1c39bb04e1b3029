"""Associations that stay open for a while when their batch is done, for the next batch to the same partner.

Threads may share it. One that the partner has ended meanwhile is dropped when it is taken; one that nobody takes is
released when its time has come, by a thread that sleeps until then, and for ever while nothing lingers. Never more
linger than were in use at once.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Lasting(Protocol):
    """An association as it lingers."""

    def linger(self) -> bool:
        """Whether it can go on."""

    def release(self) -> None:
        """End it in good order; raises nothing."""


_A = TypeVar("_A", bound=Lasting)


@dataclass(frozen=True, slots=True)
class _Kept(Generic[_A]):
    partner: str
    association: _A
    until: float


class Lingering(Generic[_A]):
    """What lingers, for `seconds` each; 0 for not at all."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: list[_Kept[_A]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"Lingering({len(self._kept)} for {self._seconds} s)"

    def take(self, partner: str) -> _A | None:
        """The association with a partner that was in use last; None where there is none that can go on."""
        while association := self._newest(partner):
            if association.linger():
                return association
            association.release()
        return None

    def _newest(self, partner: str) -> _A | None:
        with self._changed:
            for kept in reversed(self._kept):
                if kept.partner == partner:
                    self._kept.remove(kept)
                    return kept.association
        return None

    def keep(self, partner: str, association: _A) -> None:
        """Let an association linger, or release it."""
        with self._changed:
            lasts = self._seconds > 0
            if lasts:
                self._kept.append(_Kept(partner, association, time.monotonic() + self._seconds))
                self._watch()
        if not lasts:
            association.release()

    def close(self) -> None:
        """Release all that linger; from now on none does."""
        with self._changed:
            kept, self._kept, self._seconds = self._kept, [], 0.0
            self._changed.notify()
        ends = [threading.Thread(target=each.association.release, daemon=True) for each in kept]
        for end in ends:
            end.start()
        for end in ends:
            end.join()

    # -- the thread --------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._expire, name="lingering", daemon=True)
            self._thread.start()
        elif len(self._kept) == 1:  # it sleeps for ever; otherwise until the first of those that were there before
            self._changed.notify()

    def _expire(self) -> None:
        while expired := self._next():
            expired.release()

    def _next(self) -> _A | None:
        """The next one whose time has come, when it has; None once nothing may linger."""
        with self._changed:
            while self._seconds > 0:
                left = self._kept[0].until - time.monotonic() if self._kept else None
                if left is not None and left <= 0:
                    return self._kept.pop(0).association
                self._changed.wait(left)
        return None
