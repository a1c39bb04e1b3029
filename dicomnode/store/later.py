"""What may be written a moment after it happened: many in one commit, about a second late, by a thread of its own.

For what nobody waits for, such as that somebody has asked something: it costs the wire no commit. Nothing is lost at
`close`, nor where the index cannot be written for a while; a kill loses what the last second had, and of what waits
for an index that cannot be written for long the newest is lost beyond ten thousand, which the log says.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from dicomnode.errors import OutOfResources

log = logging.getLogger(__name__)

_MOMENT = 1.0
_MOST = 10_000
_AT_ONCE = 500
"""In one commit, so that nobody else waits long for his."""

Write = Callable[[], object]
"""As for `Database.write`: it touches the database and nothing else."""


class Later:
    """What waits in one process. `write` is `Database.write`. There is a thread only while something waits."""

    def __init__(self, write: Callable[[Write], object]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._waiting: list[Write] = []
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._lost = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def do(self, fn: Write) -> None:
        """Have something written within a second or so; returns at once."""
        with self._lock:
            if len(self._waiting) >= _MOST or self._closing.is_set():
                self._lost += 1
                return
            self._waiting.append(fn)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="later", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Write what waits, and take no more."""
        with self._lock:
            self._closing.set()
            thread = self._thread
        if thread:
            thread.join()
        if lost := self._lost + len(self._waiting):
            log.critical("entries=%d of the audit trail are lost: the index could not be written", lost)

    def _run(self) -> None:
        is_late = False
        while not self._is_done():
            self._closing.wait(_MOMENT)
            try:
                while self._waiting:
                    self._write_some()
            except OutOfResources as error:
                if not is_late:
                    log.error("the audit trail waits: %s", error)
                if self._closing.is_set():
                    return
                is_late = True

    def _is_done(self) -> bool:
        """Whether nothing waits: then there is no thread any more."""
        with self._lock:
            if not self._waiting:
                self._thread = None
            return self._thread is None

    def _write_some(self, most: int = _AT_ONCE) -> None:
        some = self._waiting[:most]

        def written() -> None:
            for fn in some:
                fn()

        try:
            self._write(written)
        except OutOfResources:
            raise
        except Exception:  # one of ours is wrong: the others go on, one by one, without it
            if len(some) > 1:
                for _ in some:
                    self._write_some(1)
                return
            log.critical("an entry of the audit trail cannot be written, by our own fault", exc_info=True)
        with self._lock:
            del self._waiting[: len(some)]
