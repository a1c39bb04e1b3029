"""The SQLite index: open it, read from it, and write to it so that a power cut cannot take it back.

`write(fn)` returns when what `fn` did is durable (WAL, synchronous FULL), or raises and nothing of it was done. One
writer thread a process groups the functions that wait into one commit, each in a savepoint of its own; processes take
turns under a file lock, so that SQLite's own busy waiting is never met. `fn` touches the database and nothing else.
`read()` gives a block its own short-lived connection. Only the housekeeper calls `checkpoint()`.

What may fail: OutOfResources where the disk is full, the index is locked by a stranger, or the file is damaged.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import peewee

from dicomnode.dicom import names
from dicomnode.errors import OutOfResources
from dicomnode.store.migrations import steps

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
}


def rows(sql: str, *values: object) -> list[Any]:
    """Run one constant statement on this thread's connection, and fetch all its rows as tuples."""
    return proxy.execute_sql(sql, values).fetchall()  # type: ignore[no-any-return]


def one(sql: str, *values: object) -> Any:
    """The first row of a statement as a tuple, or None."""
    return proxy.execute_sql(sql, values).fetchone()


def execute(sql: str, *values: object) -> int:
    """Run one constant statement; the number of rows it changed."""
    return int(proxy.execute_sql(sql, values).rowcount)


def insert(sql: str, *values: object) -> int:
    """Run one INSERT; the id of the new row."""
    return int(proxy.execute_sql(sql, values).lastrowid)


def _first(error: BaseException) -> BaseException:
    """What went wrong before all that went wrong because of it."""
    while error.__context__:
        error = error.__context__
    return error


class Database:
    """One SQLite file, opened by one process. Threads may share it; a fork may not."""

    def __init__(self, path: Path, *, patience: float = _PATIENCE) -> None:
        self.path = path
        self.patience = patience
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sqlite = peewee.SqliteDatabase(
            str(path), pragmas=_PRAGMAS, timeout=patience / 2, autoconnect=False, check_same_thread=False
        )
        self._sqlite.register_function(names.fold, "fold", 1, deterministic=True)
        proxy.initialize(self._sqlite)
        self._lock = os.open(path.parent / "write.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._waiting: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._run, name="database-writer", daemon=True)
        self._writer.start()

    def __repr__(self) -> str:
        return f"Database({self.path}, {self._waiting.qsize()} waiting)"

    def migrate(self) -> list[str]:
        """Bring the schema up to date; the names of the steps applied. Each is one transaction: a kill is harmless."""
        applied = []
        with self.read(), self._turn():
            execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, at INTEGER NOT NULL)")
            known = {name for (name,) in rows("SELECT name FROM migrations")}
            if strange := known - {name for name, _ in steps()}:
                raise OutOfResources(f"the index is of a newer version ({max(strange)}): run that version of dicomnode")
            for name, script in steps():
                if name not in known:
                    self._apply(name, script)
                    applied.append(name)
        return applied

    def _apply(self, name: str, script: str) -> None:
        with self._sqlite.atomic("IMMEDIATE"):
            for statement in filter(str.strip, script.split(";")):
                execute(statement)
            execute("INSERT INTO migrations VALUES (?, ?)", name, time.time_ns() // 1000)

    @contextmanager
    def read(self) -> Iterator[None]:
        """A block with a connection of its own; joins the one that this thread already has."""
        if not self._sqlite.is_closed():
            yield
            return
        try:
            with self._sqlite.connection_context():
                yield
        except peewee.DatabaseError as error:
            raise OutOfResources(f"the index cannot be read: {error}") from error

    def write(self, fn: Callable[[], T]) -> T:
        """Run `fn` on the writer thread; its result once that is durable. Errors of `fn` undo `fn` alone."""
        future: Future[T] = Future()
        self._waiting.put((fn, future))
        try:
            return self._outcome(future)
        except peewee.DatabaseError as error:
            raise OutOfResources(f"the index cannot be written: {_first(error)}") from error

    def _outcome(self, future: Future[T]) -> T:
        with suppress(TimeoutError):
            return future.result(self.patience)
        if future.cancel():
            raise OutOfResources("the index is busy")
        return future.result()  # it is being committed now: only its outcome is the truth

    def version(self) -> tuple[int, int]:
        """A value that changes when any process has committed; costs one stat. A look now and then must back it up."""
        try:
            log = os.stat(f"{self.path}-wal")
        except FileNotFoundError:
            return 0, 0
        return log.st_mtime_ns, log.st_size

    def checkpoint(self) -> None:
        """Move the log into the database file, and give the log's disk back where nobody reads from it.

        In its turn, and waiting for no reader: what a long query keeps from moving, the next round moves.
        """
        with self.read(), self._turn():
            execute("PRAGMA busy_timeout = 0")
            rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Finish what waits, and end the writer."""
        self._waiting.put(None)
        self._writer.join()
        os.close(self._lock)

    # -- the writer thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        while group := self._next_group():
            try:
                self._sqlite.connect(reuse_if_open=True)
                self._commit(group)
            except BaseException as error:
                self._sqlite.close()  # a connection that met an error is not trusted with the next group
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
        self._sqlite.close()

    def _next_group(self) -> list[tuple[Callable[[], Any], Future[Any]]]:
        """What waits, up to _GROUP functions; blocks for the first; empty when the database closes."""
        group: list[tuple[Callable[[], Any], Future[Any]]] = []
        while len(group) < _GROUP:
            try:
                waiting = self._waiting.get(block=not group)
            except queue.Empty:
                break
            if waiting is None:
                if group:
                    self._waiting.put(None)
                break
            if waiting[1].set_running_or_notify_cancel():
                group.append(waiting)
        return group

    def _commit(self, group: list[tuple[Callable[[], Any], Future[Any]]]) -> None:
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        with self._turn(), self._sqlite.atomic("IMMEDIATE"):
            for fn, future in group:
                try:
                    with self._sqlite.savepoint():
                        outcomes.append((future, fn(), None))
                except Exception as failure:
                    if not self._sqlite.connection().in_transaction:  # type: ignore[no-untyped-call]
                        raise  # SQLite has undone the whole commit (disk full, I/O error), so nobody's is done
                    outcomes.append((future, None, failure))
        for future, result, error in outcomes:  # durable: now they may know
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        deadline = time.monotonic() + self.patience
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise OutOfResources("another process has been writing to the index for too long") from None
                time.sleep(0.0005)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
