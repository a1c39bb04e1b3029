"""The SQLite index: open it, read from it, and write to it so that a power cut cannot take it back.

`write(fn)` returns when what `fn` did is durable (WAL, synchronous FULL), or raises and nothing of it was done. One
commit is for all functions of a process that wait for it, each in a savepoint of its own, and is made by a thread that
waits; processes take turns under a file lock, so that SQLite's own busy waiting is never met. `fn` touches the database
and nothing else. After a commit that changed anything the node's bell is rung: whoever sleeps until there is something
to do looks again.

`read()` gives a block its own short-lived connection; a query, which may be interrupted, has one that others have
read through before it (readers.py). Only the housekeeper calls `checkpoint()`.

SQLite before 3.51.3 may damage a database where one connection moves the log while another writes or moves it too
(https://www.sqlite.org/wal.html#walresetbug), and we run on older ones. So nothing of ours ever does both at once: no
connection moves the log after a commit of its own (`wal_autocheckpoint` 0), `checkpoint()` has its turn as every write
has, and what SQLite moves when a connection is closed it moves alone: only the last one does it, under a lock on the
whole file, which it gets where nobody else has the file open. What is left is a stranger who writes: do not.

What may fail: OutOfResources where the disk is full, the index is locked by a stranger, or the file is damaged. What
SQLite raises leaves `read` and `write` as nothing else; of an error of the disk the volume is told, and no commit that
met one is tried again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import peewee

from dicomnode.errors import IndexDamaged, OutOfResources, Unfinished
from dicomnode.store import damaged, migrations
from dicomnode.store.bell import Bell
from dicomnode.store.functions import FUNCTIONS
from dicomnode.store.later import Later
from dicomnode.store.readers import Readers
from dicomnode.store.together import Together
from dicomnode.store.volume import Volume

proxy = peewee.DatabaseProxy()

T = TypeVar("T")
_GROUP = 64
"""The most functions in one commit: what waits longer is in the next."""
_PATIENCE = 10.0
"""Seconds a write waits for its turn before the caller is told to come back later."""
_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",
    "foreign_keys": 1,
    "wal_autocheckpoint": 0,
    "cache_size": -16000,
    "journal_size_limit": 32 << 20,  # as much of the log's disk is kept: to write over it costs half of making it grow
}
_ERRORS = (sqlite3.Error, peewee.PeeweeException)
_OF_THE_DISK = frozenset(
    getattr(sqlite3, f"SQLITE_IOERR_{name}") for name in ("READ", "SHORT_READ", "WRITE", "FSYNC", "DIR_FSYNC")
)


def _run(sql: str, values: tuple[object, ...]) -> sqlite3.Cursor:
    """Run one constant statement on the connection that this thread has, inside `read` or `write`."""
    return proxy.obj._state.conn.execute(sql, values)  # type: ignore[no-any-return]


def rows(sql: str, *values: object) -> list[Any]:
    """Run one constant statement, and fetch all its rows as tuples."""
    return _run(sql, values).fetchall()


def each(sql: str, *values: object) -> Iterator[Any]:
    """Run one constant statement; its rows as tuples, as SQLite finds them."""
    return _run(sql, values)


def one(sql: str, *values: object) -> Any:
    """The first row of a statement as a tuple, or None."""
    return _run(sql, values).fetchone()


def execute(sql: str, *values: object) -> int:
    """Run one constant statement; the number of rows it changed."""
    return _run(sql, values).rowcount


def execute_all(sql: str, values: Iterable[Sequence[object]]) -> int:
    """Run one constant statement once for each of many; the number of rows it changed."""
    return proxy.obj._state.conn.executemany(sql, values).rowcount  # type: ignore[no-any-return]


def insert(sql: str, *values: object) -> int:
    """Run one INSERT; the id of the new row."""
    return int(_run(sql, values).lastrowid or 0)


def _first(error: BaseException) -> BaseException:
    """What went wrong before all that went wrong because of it."""
    while error.__context__:
        error = error.__context__
    return error


class Interrupted(Exception):
    """A reader wanted no more."""


class _Call:
    """A function that waits for a commit, and what came of it."""

    __slots__ = ("error", "fn", "result")

    def __init__(self, fn: Callable[[], Any]) -> None:
        self.fn = fn
        self.result: Any = None
        self.error: Exception | None = None


class Database:
    """One SQLite file, opened by one process. Threads may share it; a fork may not."""

    def __init__(self, path: Path, *, patience: float = _PATIENCE, volume: Volume | None = None) -> None:
        self.path = path
        self.patience = patience
        self._volume = volume or Volume(path.parent)
        self._bell = Bell(path.parent / "run")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sqlite = peewee.SqliteDatabase(
            str(path), pragmas=_PRAGMAS, timeout=patience / 2, autoconnect=False, check_same_thread=False
        )
        for name, (function, values) in FUNCTIONS.items():
            self._sqlite.register_function(function, name, values, deterministic=True)
        proxy.initialize(self._sqlite)
        self._lock = os.open(path.parent / "write.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._turns = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._readers = Readers(self._connect)
        self._commits = Together(self._commit, _GROUP, patience)
        self._later = Later(self.write)

    def __repr__(self) -> str:
        return f"Database({self.path}, {len(self._commits)} waiting)"

    def migrate(self) -> list[str]:
        """Bring the schema up to date; the names of the steps applied. Errors: see migrations."""
        with self.read(), self._turn():
            return migrations.apply(self._sqlite.connection())  # type: ignore[no-untyped-call]

    @contextmanager
    def read(self, stopped: Callable[[], bool] | None = None) -> Iterator[None]:
        """A block with a connection of its own; joins the one that this thread already has.

        Raises Interrupted as soon as `stopped`, which is asked every few milliseconds, says so.
        """
        if not self._sqlite.is_closed():
            yield
            return
        try:
            with self._reading(stopped):
                yield
        except _ERRORS as error:
            if getattr(_first(error), "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                raise Interrupted from error
            self._judge(error)
            raise OutOfResources(f"the index cannot be read: {error}") from error

    @contextmanager
    def _reading(self, stopped: Callable[[], bool] | None) -> Iterator[None]:
        if stopped is None:
            with self._sqlite.connection_context():
                yield
        else:
            with self._readers.take(stopped) as connection, self._through(connection):
                yield

    def write(self, fn: Callable[[], T]) -> T:
        """Run `fn` in a commit; its result once that is durable. Errors of `fn` undo `fn` alone.

        Unfinished, where the log could not be synced: then nobody knows whether it was done.
        """
        call = _Call(fn)
        try:
            self._commits.do(call)
            if call.error:
                raise call.error
        except _ERRORS as error:
            self._judge(error)
            first = _first(error)
            unknown = getattr(first, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_FSYNC  # the log has it, or has not
            raise (Unfinished if unknown else OutOfResources)(f"the index cannot be written: {first}") from error
        return call.result  # type: ignore[no-any-return]

    def write_later(self, fn: Callable[[], object]) -> None:
        """Run `fn` in a commit within a second, that nobody waits for: see later.py."""
        self._later.do(fn)

    def _judge(self, error: Exception) -> None:
        """Tell the volume what it is to be blamed for. Raises IndexDamaged, and marks it, where the file is."""
        first = _first(error)
        if damaged.is_damage(first):
            damaged.condemn(self.path, str(first))
            raise IndexDamaged from error
        code = getattr(first, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code in _OF_THE_DISK:
            self._volume.suspect(f"{first} (the index)")
        elif code & 0xFF == sqlite3.SQLITE_READONLY:
            self._volume.failed(OSError(errno.EROFS, f"{first} (the index)"))

    def log(self) -> tuple[int, int]:
        """When the log was last written to (ns), and its bytes on disk: what changes with every commit of anybody.

        By its name alone. To open one of SQLite's files and close it again would take away the locks that this process
        holds on it, and another would then cut short what we have mapped (https://www.sqlite.org/howtocorrupt.html).
        """
        try:
            log = os.stat(f"{self.path}-wal")
        except FileNotFoundError:
            return 0, 0
        return log.st_mtime_ns, log.st_size

    def checkpoint(self) -> bool:
        """Move the log into the database file. What is written from then on is written over it, where nobody reads.

        In its turn, and waiting for no reader: False where one keeps some of it from being moved, until the next round.
        """
        with self.read(), self._turn():
            execute("PRAGMA busy_timeout = 0")
            ((busy, frames, moved),) = rows("PRAGMA wal_checkpoint(RESTART)")
            return not busy and frames == moved

    def close(self) -> None:
        """Finish what waits, and take no more."""
        self._later.close()
        self._commits.close()
        self._disconnect()
        self._readers.close()
        os.close(self._lock)

    # -- the commit --------------------------------------------------------------------------------------------

    def _commit(self, group: list[_Call]) -> None:
        """Make the one commit of a group. What it raises is true of them all: nothing was done."""
        try:
            with self._turn(), self._writing() as connection:
                before = connection.total_changes
                if len(group) == 1:
                    _attempt(group[0], connection, "BEGIN IMMEDIATE", "ROLLBACK", "COMMIT")
                else:
                    connection.execute("BEGIN IMMEDIATE")
                    for call in group:
                        _attempt(call, connection, "SAVEPOINT one", "ROLLBACK TO one", "RELEASE one")
                    connection.execute("COMMIT")
                changed = connection.total_changes != before
        except BaseException:
            self._disconnect()  # a connection that met an error is not trusted with the next group
            raise
        if changed:
            self._bell.ring()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The one connection that is written through, as that of this thread, whichever it is."""
        if self._writer is None:
            self._writer = self._connect()
        with self._through(self._writer):
            yield self._writer

    def _connect(self) -> sqlite3.Connection:
        return self._sqlite._connect()  # type: ignore[attr-defined,no-any-return]

    @contextmanager
    def _through(self, connection: sqlite3.Connection) -> Iterator[None]:
        """A block in which a connection is that of this thread."""
        state = self._sqlite._state  # type: ignore[attr-defined]
        own = state.conn, state.closed
        state.conn, state.closed = connection, False
        try:
            yield
        finally:
            state.conn, state.closed = own

    def _disconnect(self) -> None:
        connection, self._writer = self._writer, None
        if connection:
            with suppress(sqlite3.Error):
                connection.close()  # which undoes what was not committed

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Nobody else of this node writes meanwhile, in this process or another; nobody at all where it is damaged."""
        damaged.check(self.path)
        deadline = time.monotonic() + self.patience
        if not self._turns.acquire(timeout=self.patience):
            raise OutOfResources("the index is busy")
        try:
            self._lock_until(deadline)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
        finally:
            self._turns.release()

    def _lock_until(self, deadline: float) -> None:
        """Take the lock that processes share. There is no waiting for it with a deadline but to ask again."""
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise OutOfResources("another process has been writing to the index for too long") from None
                time.sleep(0.0005)
            except OSError as error:
                raise OutOfResources(f"the index cannot be locked: {error.strerror}") from error


def _attempt(call: _Call, connection: sqlite3.Connection, begin: str, undo: str, keep: str) -> None:
    """Run one function of a commit between two statements. An error of its own undoes it alone."""
    connection.execute(begin)
    try:
        call.result = call.fn()
    except Exception as error:
        if not connection.in_transaction:
            raise  # SQLite has undone the whole commit (disk full, I/O error), so nobody's is done
        call.error = error
        connection.execute(undo)
    else:
        connection.execute(keep)


def index_of(data: Path) -> Path:
    """Where the index of a node is, by its data folder."""
    return data / "index.sqlite"
