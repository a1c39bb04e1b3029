"""Who commits rings; who sleeps until there is something to do hears it, in whatever process it was.

A listener has a FIFO in the node's `run` folder, so to ring costs microseconds, waits for nobody, and does no harm
where nobody listens. A ring says nothing but "look again". It may be lost with a process that is killed: whoever sleeps
here also looks now and then by itself.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from pathlib import Path

LISTENERS = ("forwarder", "housekeeper")


class Bell:
    """What is rung: all listeners of a node."""

    def __init__(self, run: Path) -> None:
        self._fifos = [str(_fifo(run, name)) for name in LISTENERS]

    def ring(self) -> None:
        """Something has changed."""
        for fifo in self._fifos:
            with suppress(OSError):  # nobody listens, or nobody has come to it since thousands of rings
                rope = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    os.write(rope, b"\1")
                finally:
                    os.close(rope)


class Ear:
    """One listener. It wakes at the first ring at once, and then at most every `apart` seconds."""

    def __init__(self, run: Path, name: str, apart: float) -> None:
        path = _fifo(run, name)
        run.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        self._fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # never at its end: we could write to it
        self._apart, self._deaf_until = apart, 0.0

    def wait(self, seconds: float, interrupt: int = -1) -> None:
        """Sleep until it has rung since the last time, for so long at most, or until `interrupt` can be read."""
        _poll(seconds, self._fifo, interrupt)
        _poll(max(0.0, self._deaf_until - time.monotonic()), interrupt)  # with all that rings until then
        with suppress(BlockingIOError):
            os.read(self._fifo, 1 << 16)  # before the caller looks: what rings from here on is heard the next time
        self._deaf_until = time.monotonic() + self._apart


def _fifo(run: Path, name: str) -> Path:
    return run / f"{name}.bell"


def _poll(seconds: float, *descriptors: int) -> None:
    poller = select.poll()
    for descriptor in descriptors:
        if descriptor >= 0:
            poller.register(descriptor, select.POLLIN)
    poller.poll(seconds * 1000)
