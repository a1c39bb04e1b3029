"""store/database.py: what `write` returned from is durable, what it raised from never happened."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import OutOfResources
from dicomnode.store import database as module
from dicomnode.store.database import Database, execute, insert, one, rows

PATIENCE = 0.3


@contextmanager
def opened(path: Path, **options: float) -> Iterator[Database]:
    database = Database(path, **options)
    database.write(lambda: execute("CREATE TABLE words (word TEXT UNIQUE)"))
    yield database
    database.close()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Database]:
    with opened(tmp_path / "index.sqlite") as database:
        yield database


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Database]:
    """One that does not wait long."""
    with opened(tmp_path / "index.sqlite", patience=PATIENCE) as database:
        yield database


def words(index: Database) -> list[str]:
    """As another connection sees them, that of no writer."""
    with sqlite3.connect(index.path) as other:
        return [word for (word,) in other.execute("SELECT word FROM words ORDER BY rowid")]


def add(word: str) -> Callable[[], int]:
    return lambda: insert("INSERT INTO words VALUES (?)", word)


@contextmanager
def together(index: Database, *functions: Callable[[], Any]) -> Iterator[list[Future[Any]]]:
    """Let functions wait until the writer is free, so that they are one group; their futures, in their order."""
    begun, gate = threading.Event(), threading.Event()
    with ThreadPoolExecutor(len(functions) + 1) as pool:
        pool.submit(index.write, lambda: (begun.set(), gate.wait()))
        assert begun.wait(10)
        futures = []
        for number, function in enumerate(functions, 1):
            futures.append(pool.submit(index.write, function))
            while index._waiting.qsize() < number:
                pass
        gate.set()
        yield futures


def test_the_pragmas_are_those_of_a_durable_log(index: Database) -> None:
    with index.read():
        found = {name: one(f"PRAGMA {name}")[0] for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_what_was_written_is_there_for_others_when_write_returns(index: Database) -> None:
    assert index.write(add("one")) == 1
    assert words(index) == ["one"]


def test_what_waits_is_one_commit(index: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    commit = Database._commit

    def counted(self: Database, group: list[Any]) -> None:
        groups.append(len(group))
        commit(self, group)

    monkeypatch.setattr(Database, "_commit", counted)
    with together(index, *(add(str(n)) for n in range(10))) as futures:
        assert [future.result() for future in futures] == list(range(1, 11))
    assert groups == [1, 10]
    assert len(words(index)) == 10


def test_an_error_undoes_its_own_function_alone(index: Database) -> None:
    def half() -> None:
        execute("INSERT INTO words VALUES ('half')")
        raise KeyError("half")

    with together(index, add("one"), half, add("one"), add("two")) as (first, second, third, fourth):
        first.result()
        with pytest.raises(KeyError):
            second.result()
        with pytest.raises(OutOfResources, match="UNIQUE"):
            third.result()
        fourth.result()
    assert words(index) == ["one", "two"]


def test_a_full_disk_undoes_the_whole_commit_and_tells_everybody(index: Database) -> None:
    """SQLite rolls back by itself then; what came after it in the group must not slip in as a commit of its own."""

    def full() -> None:
        (pages,) = one("PRAGMA page_count")
        one(f"PRAGMA max_page_count = {pages + 2}")
        try:
            execute("INSERT INTO words VALUES (zeroblob(1000000))")
        finally:
            one("PRAGMA max_page_count = 1000000")

    with together(index, add("one"), full, add("three")) as futures:
        for future in futures:
            with pytest.raises(OutOfResources, match="database or disk is full"):
                future.result()
    assert words(index) == []
    index.write(add("four"))
    assert words(index) == ["four"]


@contextmanager
def turn_of_another(index: Database) -> Iterator[None]:
    handle = os.open(index.path.parent / "write.lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def stranger(index: Database) -> Iterator[None]:
    """Somebody who writes without asking for a turn: a person with the sqlite3 shell."""
    other = sqlite3.connect(index.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


@pytest.mark.parametrize("busy", [turn_of_another, stranger])
def test_a_write_that_was_refused_is_not_done_later(hasty: Database, busy: Callable[..., Any]) -> None:
    with busy(hasty), pytest.raises(OutOfResources):
        hasty.write(add("late"))
    hasty.write(add("after"))
    assert words(hasty) == ["after"]


def test_those_that_wait_behind_a_long_write_are_refused_and_not_done_later(hasty: Database) -> None:
    begun, gate = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(hasty.write, lambda: (begun.set(), gate.wait(), add("slow")())[2])
        assert begun.wait(10)
        with pytest.raises(OutOfResources, match="busy"):
            hasty.write(add("late"))
        gate.set()
        assert slow.result() == 1  # its own took longer than the patience, and counts: only the outcome is the truth
    hasty.write(add("after"))
    assert words(hasty) == ["slow", "after"]


def test_a_late_failure_is_an_error_of_ours_too(hasty: Database) -> None:
    hasty.write(add("one"))
    slow = threading.Event()

    def again() -> None:
        slow.wait(2 * PATIENCE)
        add("one")()

    with pytest.raises(OutOfResources, match="UNIQUE"):
        hasty.write(again)


def test_reads_join_and_their_errors_are_ours(index: Database) -> None:
    with index.read():
        with index.read():
            assert rows("SELECT 1") == [(1,)]
        assert rows("SELECT 2") == [(2,)]
    with pytest.raises(OutOfResources, match="no such table"), index.read():
        rows("SELECT * FROM nowhere")


def test_a_commit_of_anybody_is_noticed(index: Database) -> None:
    seen = index.version()
    with sqlite3.connect(index.path) as other:
        other.execute("INSERT INTO words VALUES ('other')")
    other.close()
    assert index.version() != seen


def test_a_checkpoint_gives_the_log_back(index: Database) -> None:
    index.write(add("one"))
    assert index.version()[1] > 0
    index.checkpoint()
    assert index.version()[1] == 0
    assert words(index) == ["one"]


# -- the schema ------------------------------------------------------------------------------------------------


def test_a_migration_is_applied_once(tmp_path: Path) -> None:
    database = Database(tmp_path / "index.sqlite")
    assert database.migrate() == [name for name, _ in module.steps()]
    assert database.migrate() == []
    database.close()
    again = Database(tmp_path / "index.sqlite")
    assert again.migrate() == []
    again.close()


def test_a_step_that_was_cut_off_is_made_whole_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, database = "m1", Database(tmp_path / "index.sqlite")
    monkeypatch.setattr(module, "steps", lambda: [(step, "CREATE TABLE a (x); CREATE TABLE nonsense")])
    with pytest.raises(OutOfResources):
        database.migrate()
    with database.read():
        assert rows("SELECT name FROM sqlite_master WHERE name = 'a'") == []
    monkeypatch.setattr(module, "steps", lambda: [(step, "CREATE TABLE a (x); CREATE TABLE b (x)")])
    assert database.migrate() == [step]
    database.close()


# -- processes -------------------------------------------------------------------------------------------------

_COUNT = """
import sys
from pathlib import Path
from dicomnode.store.database import Database, execute, one
database = Database(Path(sys.argv[1]))
def add():
    (n,) = one("SELECT n FROM counter")
    execute("UPDATE counter SET n = ?", n + 1)
    return n + 1
for _ in range(int(sys.argv[2])):
    print(database.write(add), flush=True)
"""


def test_processes_take_turns(index: Database) -> None:
    index.write(lambda: execute("CREATE TABLE counter (n INTEGER)"))
    index.write(lambda: execute("INSERT INTO counter VALUES (0)"))
    command = [sys.executable, "-c", _COUNT, str(index.path), "100"]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    with index.read():
        assert one("SELECT n FROM counter") == (300,)


def test_what_was_written_before_a_kill_is_there(index: Database) -> None:
    index.write(lambda: execute("CREATE TABLE counter (n INTEGER)"))
    index.write(lambda: execute("INSERT INTO counter VALUES (0)"))
    command = [sys.executable, "-c", _COUNT, str(index.path), "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if int(line) >= 50:
                process.send_signal(signal.SIGKILL)
                break
        said = [line, *process.stdout]
    acknowledged = max(int(line) for line in said if line.endswith("\n"))
    with index.read():
        (kept,) = one("SELECT n FROM counter")
    assert kept in (acknowledged, acknowledged + 1)
    index.write(add("the dead hold no lock"))
