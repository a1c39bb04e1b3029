"""Connections that are read through one after the other: to open one costs as much as a small query.

Promises that nobody gets one that another still reads through, and that none that is kept holds anything: a checkpoint
waits for none of them. What has met an error, or was interrupted, is closed. Threads may share this; a fork may not.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_MOST = 2
"""Kept open: each has a cache of its own."""
_STRETCH = 20_000
"""Steps of SQLite's machine between two looks at whether a reader wants no more."""


class Readers:
    """The connections that nobody reads through just now."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._idle: deque[sqlite3.Connection] = deque()
        self._closed = False

    def __repr__(self) -> str:
        return f"Readers({len(self._idle)} idle)"

    @contextmanager
    def take(self, stopped: Callable[[], bool]) -> Iterator[sqlite3.Connection]:
        """One of them, or a new one, for a block; `stopped` is asked in the middle of every statement."""
        connection = self._next() or self._connect()
        try:
            connection.set_progress_handler(stopped, _STRETCH)
            yield connection
            connection.set_progress_handler(None, 0)
        except BaseException:
            connection.close()
            raise
        self._keep(connection)

    def close(self) -> None:
        """Close them all, and keep none from now on."""
        self._closed = True
        while connection := self._next():
            connection.close()

    def _next(self) -> sqlite3.Connection | None:
        with suppress(IndexError):
            return self._idle.pop()
        return None

    def _keep(self, connection: sqlite3.Connection) -> None:
        if self._closed or len(self._idle) >= _MOST:
            connection.close()
        else:
            self._idle.append(connection)
