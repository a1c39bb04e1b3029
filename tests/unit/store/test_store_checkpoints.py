"""store/database.py: who moves the log, and when; SQLite before 3.51.3 forgives nobody who does while another writes.

And what an error of the disk, met in the index, says about the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import OutOfResources
from dicomnode.store import database as module
from dicomnode.store.database import Database, execute
from dicomnode.store.volume import Volume


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "index.sqlite", patience=0.2, volume=Volume(tmp_path))
    database.migrate()
    yield database
    database.close()


def remember(name: str, value: int = 1) -> Callable[[], int]:
    return lambda: execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", name, value)


def log_of(index: Database) -> Path:
    return Path(f"{index.path}-wal")


def test_no_connection_moves_the_log_after_a_commit(index: Database) -> None:
    """However long it grows: the default would be at a thousand pages."""
    index.checkpoint()
    before = index.path.read_bytes()
    for number in range(60):
        index.write(lambda number=number: [remember(f"{number} {n:0>1000}")() for n in range(100)])  # type: ignore[misc]
    assert log_of(index).stat().st_size > 2000 * 4096
    assert index.path.read_bytes() == before
    assert index.checkpoint()
    assert len(index.path.read_bytes()) > len(before)


def test_a_checkpoint_waits_until_nobody_writes(index: Database) -> None:
    index.write(remember("one"))
    before = index.path.read_bytes()
    other = os.open(index.path.parent / "write.lock", os.O_RDWR)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OutOfResources):
            index.checkpoint()
        assert index.path.read_bytes() == before
    finally:
        os.close(other)
    assert index.checkpoint()
    assert index.path.read_bytes() != before


def test_nobody_writes_until_a_checkpoint_has_ended(index: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    run, locked = module._run, []

    def looked(sql: str, values: tuple[object, ...]) -> Any:
        if "wal_checkpoint" in sql:
            other = os.open(index.path.parent / "write.lock", os.O_RDWR)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                locked.append(sql)
            finally:
                os.close(other)
        return run(sql, values)

    monkeypatch.setattr(module, "_run", looked)
    index.write(remember("one"))
    index.checkpoint()
    assert len(locked) == 1


def test_a_connection_that_is_closed_moves_the_log_only_where_it_is_the_last(index: Database) -> None:
    """SQLite's own way, which we lean on: it moves it alone, under a lock that nobody gets who is not alone."""
    index.write(remember("one"))
    before = index.path.read_bytes()
    with contextlib.closing(sqlite3.connect(index.path)) as other:
        other.execute("SELECT * FROM marks").fetchall()
        index._disconnect()
        with index.read():
            pass
        assert index.path.read_bytes() == before
        assert log_of(index).stat().st_size
    assert index.path.read_bytes() != before
    assert not log_of(index).exists()


def test_an_index_that_cannot_have_its_log_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a file system shares no memory: SQLite then goes on without a word, in another mode."""
    monkeypatch.setitem(module._PRAGMAS, "journal_mode", "delete")
    database = Database(tmp_path / "index.sqlite")
    with pytest.raises(OutOfResources, match="local disk"):
        database.migrate()
    database.close()


def test_an_old_sqlite_is_refused(index: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(OutOfResources, match="too old"):
        index.migrate()


# -- an error of the disk --------------------------------------------------------------------------------------


def failing(code: int) -> Callable[[], None]:
    def fail() -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code  # type: ignore[misc]
        raise error

    return fail


@pytest.mark.parametrize("how", ["write", "read"])
@pytest.mark.parametrize(
    ("code", "is_suspect", "is_alarm"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, True, True),
        (sqlite3.SQLITE_IOERR_WRITE, True, True),
        (sqlite3.SQLITE_IOERR_READ, True, True),
        (sqlite3.SQLITE_READONLY, False, True),
        (sqlite3.SQLITE_FULL, False, False),
        (sqlite3.SQLITE_BUSY, False, False),
        (sqlite3.SQLITE_IOERR_SHMSIZE, False, False),  # a full disk, as the index meets it
    ],
)
def test_what_an_error_says_about_the_disk(
    index: Database, code: int, is_suspect: bool, is_alarm: bool, how: str
) -> None:
    use = getattr(index, how)
    with pytest.raises(OutOfResources):
        use(failing(code)) if how == "write" else _within(use, failing(code))
    assert bool(index._volume.suspicion) is is_suspect
    assert bool(index._volume.alarm) is is_alarm


def _within(read: Callable[[], contextlib.AbstractContextManager[None]], fail: Callable[[], None]) -> None:
    with read():
        fail()
