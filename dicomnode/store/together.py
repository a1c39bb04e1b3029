"""Work that is done once for all who wait for it: whoever comes first does it, and no thread is kept for it.

`do(item)` returns when the work was called with a list that `item` was in, and has returned, or raises what it raised.
The work runs in one thread at a time, and each list is taken when it begins: whatever a caller had done before `do` was
done before the work that it waits for began. Alone, a caller hands nothing over and waits for nobody.

What may fail: OutOfResources, for who waits too long behind others' work; nothing is done for it then, nor later.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from dicomnode.errors import OutOfResources

T = TypeVar("T")


class _Waiting(Generic[T]):
    """A caller, and the lock that it sleeps on until its item is done, or until it leads."""

    __slots__ = ("error", "item", "leads", "woken")

    def __init__(self, item: T) -> None:
        self.item = item
        self.leads = False
        self.error: BaseException | None = None
        self.woken = threading.Lock()
        self.woken.acquire()


class Together(Generic[T]):
    """One kind of work, for at most `most` items at once; who is not begun with after `patience` seconds goes away."""

    def __init__(self, work: Callable[[list[T]], None], most: int, patience: float) -> None:
        self._work = work
        self._most = most
        self._patience = patience
        self._line: deque[_Waiting[T]] = deque()
        self._is_led = self._is_closed = False  # led: somebody works, or will at once; else nobody is in the line
        self._changed = threading.Condition(threading.Lock())

    def __len__(self) -> int:
        """How many wait that nobody has begun with."""
        return len(self._line)

    def do(self, item: T) -> None:
        """Have the work done for an item."""
        mine = _Waiting(item)
        with self._changed:
            if self._is_closed:
                raise OutOfResources("this process is ending")
            self._line.append(mine)
            mine.leads, self._is_led = not self._is_led, True
        if not mine.leads:
            self._sleep(mine)
        if mine.leads:
            self._lead()
        if mine.error:
            raise mine.error

    def close(self) -> None:
        """Wait until all is done that was asked for; nothing more is begun."""
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: not self._is_led)

    def _sleep(self, mine: _Waiting[T]) -> None:
        """Until it is done, or its turn to lead."""
        if mine.woken.acquire(timeout=self._patience):
            return
        with self._changed:
            if mine in self._line and not mine.leads:
                self._line.remove(mine)
                raise OutOfResources("busy: others are before it, and take too long")
        mine.woken.acquire()  # it is being worked on: only its outcome is the truth

    def _lead(self) -> None:
        """Work for those in the line, the caller being the first of them, and hand the lead on."""
        with self._changed:
            group = [self._line.popleft() for _ in range(min(self._most, len(self._line)))]
        error: BaseException | None = None
        try:
            self._work([each.item for each in group])
        except BaseException as failure:
            error = failure
        for each in group:
            each.error = error
            each.woken.release()
        with self._changed:
            self._is_led = bool(self._line)
            if self._line:
                self._line[0].leads = True
                self._line[0].woken.release()
            else:
                self._changed.notify_all()
