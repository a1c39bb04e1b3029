"""A worker process: a fork of the supervisor, which has no threads, no database and nothing of a peer in its memory.

So it works a few milliseconds after it is wanted, on code that is loaded already, in memory that all share. Of the
supervisor's descriptors it has the standard ones, those that it is given, and its lifeline: a pipe that closes when the
supervisor is gone, in whatever way. It never comes back from its work.
"""

from __future__ import annotations

import os
import select
import signal
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NoReturn


class Child:
    """One process, as its parent sees it. `work` is called in it, with the descriptor of its lifeline."""

    def __init__(self, work: Callable[[int], None], inherited: Collection[int]) -> None:
        self.status: int | None = None
        """Its exit code once it is known to be gone; minus the number of the signal that killed it."""
        lifeline, self._lifeline = os.pipe()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self.pid = os.fork()
        if self.pid == 0:
            _live(work, lifeline, inherited, blocked)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(lifeline)

    def __repr__(self) -> str:
        return f"Child({self.pid}{'' if self.status is None else f', gone with {self.status}'})"

    @property
    def is_gone(self) -> bool:
        """Whether it has ended; `status` says how."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait(self, seconds: float | None = None) -> bool:
        """Until it is gone, or so long; whether it is."""
        if not self.is_gone:
            ended = os.pidfd_open(self.pid)
            select.select([ended], [], [], seconds)
            os.close(ended)
        return self.is_gone

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if not self.is_gone:
            os.kill(self.pid, number)

    def release(self) -> None:
        """Close its lifeline: it ends at once, if it has not."""
        os.close(self._lifeline)


def _live(work: Callable[[int], None], lifeline: int, inherited: Collection[int], blocked: set[int]) -> NoReturn:
    """The child's life. Nothing of the parent's is run on the way out: no `finally`, no exit handler."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        _close_all_but({0, 1, 2, lifeline, *inherited})
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        work(lifeline)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)


def _close_all_but(kept: Collection[int]) -> None:
    """A lifeline of a sibling's that stayed open here would keep that sibling alive without a supervisor."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor not in kept:
            with suppress(OSError):  # the folder's own
                os.close(descriptor)
