"""store/database.py: what `write` returned from is durable, what it raised from never happened."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import OutOfResources
from dicomnode.store import migrations
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
            while len(index._commits) < number:
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
    commit = index._commit

    def counted(group: list[Any]) -> None:
        groups.append(len(group))
        commit(group)

    monkeypatch.setattr(index._commits, "_work", counted)
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


def test_a_checkpoint_moves_the_log_into_the_database_file(index: Database) -> None:
    index.write(add("a word that can be found"))
    assert b"a word that can be found" not in index.path.read_bytes()
    assert index.checkpoint()
    assert b"a word that can be found" in index.path.read_bytes()
    assert words(index) == ["a word that can be found"]


def test_a_reader_keeps_a_checkpoint_from_moving_all(index: Database) -> None:
    reader = sqlite3.connect(index.path, isolation_level=None)
    index.write(add("one"))
    with contextlib.closing(reader):
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM words").fetchall()
        index.write(add("two"))
        assert not index.checkpoint()
    assert index.checkpoint()


def test_the_log_tells_that_somebody_has_committed(index: Database) -> None:
    index.write(add("one"))
    before = index.log()
    deadline = time.monotonic() + 5
    while index.log() == before:  # its clock may tick a hundred times a second
        index.write(add("two"))
        assert time.monotonic() < deadline


_NOSY = """
import sqlite3, sys
from pathlib import Path
from dicomnode.store.database import Database
index = Database(Path(sys.argv[1]))
with index.read():
    index.log()
    index.checkpoint()
    print("looked", flush=True)
    sys.stdin.read(1)
    from dicomnode.store.database import rows
    print(rows("SELECT count(*) FROM words")[0][0])
"""


def test_who_looks_at_the_log_keeps_the_locks_that_it_has(index: Database) -> None:
    """A process without its locks sees SQLite's shared memory cut short by the next that opens the index: SIGBUS."""
    index.write(add("one"))
    index._disconnect()
    command = [sys.executable, "-c", _NOSY, str(index.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == "looked\n"
        with contextlib.closing(sqlite3.connect(index.path)) as newcomer:
            assert newcomer.execute("SELECT count(*) FROM words").fetchone() == (1,)
            other.stdin.write("\n")
            other.stdin.flush()
            assert other.stdout.readline() == "1\n"
        assert other.wait(10) == 0


# -- what SQLite may say, wherever it says it ----------------------------------------------------------------


class Failing(sqlite3.Connection):
    """A connection that fails at one statement, as a locked, busy, full or broken index would."""

    at = ""
    error: sqlite3.Error = sqlite3.OperationalError("database is locked")

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == self.at:
            raise self.error
        return self.cursor(FailingCursor).execute(sql, *values)

    def close(self) -> None:
        super().close()
        if self.at == "close":
            raise self.error


class FailingCursor(sqlite3.Cursor):
    """`execute` runs the first step of a statement; what fails at a later one fails here."""

    def fetchall(self) -> list[Any]:
        if Failing.at == "fetch":
            raise Failing.error
        return super().fetchall()


ERRORS = {
    "locked": sqlite3.OperationalError("database is locked"),
    "full": sqlite3.OperationalError("database or disk is full"),
    "broken": sqlite3.DatabaseError("database disk image is malformed"),
    "misused": sqlite3.InterfaceError("bad parameter or other API misuse"),
}


@pytest.fixture
def failing(index: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Let the index fail from now on, with one of ERRORS at a statement."""
    index._disconnect()
    index._sqlite.connect_params["factory"] = Failing  # type: ignore[attr-defined]

    @contextmanager
    def fail(at: str, error: str = "locked") -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(Failing, "at", at)
            patch.setattr(Failing, "error", ERRORS[error])
            yield

    return fail


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("at", ["BEGIN IMMEDIATE", "INSERT INTO words VALUES (?)", "COMMIT"])
def test_a_write_that_fails_anywhere_is_out_of_resources(
    index: Database, failing: Callable[..., Any], at: str, error: str
) -> None:
    with failing(at, error), pytest.raises(OutOfResources, match=str(ERRORS[error])):
        index.write(add("late"))
    index.write(add("after"))
    assert words(index) == ["after"]


def test_a_function_that_cannot_be_undone_is_undone_with_its_connection(
    index: Database, failing: Callable[..., Any]
) -> None:
    def half() -> None:
        add("half")()
        raise KeyError("half")

    with failing("ROLLBACK"), pytest.raises(OutOfResources):
        index.write(half)
    index.write(add("after"))
    assert words(index) == ["after"]


@pytest.mark.parametrize("at", ["SAVEPOINT one", "ROLLBACK TO one", "RELEASE one", "COMMIT"])
def test_a_group_that_fails_anywhere_is_out_of_resources_for_all(
    index: Database, failing: Callable[..., Any], at: str
) -> None:
    def half() -> None:
        add("half")()
        raise KeyError("half")

    with failing(at), together(index, add("one"), half, add("two")) as futures:
        for future in futures:
            with pytest.raises(OutOfResources):
                future.result()
    index.write(add("after"))
    assert words(index)[-1] == "after"
    assert not {"one", "half", "two"} & set(words(index))


def test_a_writer_that_cannot_connect_is_out_of_resources(index: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    index._disconnect()
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", locked)
        with pytest.raises(OutOfResources, match="locked"):
            index.write(add("late"))
        with pytest.raises(OutOfResources, match="locked"), index.read():
            pass
        with pytest.raises(OutOfResources, match="locked"):
            index.checkpoint()
    index.write(add("after"))
    assert words(index) == ["after"]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("at", ["SELECT word FROM words", "fetch", "close"])
def test_a_read_that_fails_anywhere_is_out_of_resources(
    index: Database, failing: Callable[..., Any], at: str, error: str
) -> None:
    with failing(at, error), pytest.raises(OutOfResources, match=str(ERRORS[error])), index.read():
        rows("SELECT word FROM words")
    with index.read():
        assert rows("SELECT word FROM words") == []


@pytest.mark.parametrize("at", ["PRAGMA busy_timeout = 0", "PRAGMA wal_checkpoint(RESTART)", "fetch", "close"])
def test_a_checkpoint_that_fails_anywhere_is_out_of_resources(
    index: Database, failing: Callable[..., Any], at: str
) -> None:
    with failing(at), pytest.raises(OutOfResources):
        index.checkpoint()
    assert index.checkpoint()


def test_a_lock_that_cannot_be_had_is_out_of_resources(index: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", none_left)
        for use in (lambda: index.write(add("late")), index.checkpoint):
            with pytest.raises(OutOfResources, match="No locks"):
                use()
    index.write(add("after"))
    assert words(index) == ["after"]


def test_a_commit_that_changed_nothing_rings_no_bell(index: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[str] = []
    monkeypatch.setattr(index._bell, "ring", lambda: rung.append("ring"))
    index.write(lambda: execute("DELETE FROM words"))
    index.write(lambda: rows("SELECT word FROM words"))
    assert rung == []
    index.write(add("one"))
    assert rung == ["ring"]


def test_a_write_may_be_asked_for_in_the_middle_of_a_read(index: Database) -> None:
    with index.read():
        index.write(add("one"))
        assert rows("SELECT word FROM words") == [("one",)]
        with pytest.raises(OutOfResources, match="UNIQUE"):
            index.write(add("one"))
        assert rows("SELECT word FROM words") == [("one",)]


def test_what_is_closed_is_written_no_more(tmp_path: Path) -> None:
    with opened(tmp_path / "index.sqlite") as closed:
        pass
    with pytest.raises(OutOfResources, match="ending"):
        closed.write(add("late"))


# -- the schema ------------------------------------------------------------------------------------------------


def test_a_migration_is_applied_once(tmp_path: Path) -> None:
    database = Database(tmp_path / "index.sqlite")
    assert database.migrate() == [name for name, _ in migrations.steps()]
    assert database.migrate() == []
    database.close()
    again = Database(tmp_path / "index.sqlite")
    assert again.migrate() == []
    again.close()


def test_an_index_of_the_first_version_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database, steps = Database(tmp_path / "index.sqlite"), migrations.steps()
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "steps", lambda: steps[:1])
        database.migrate()
    with database.read():
        columns = [row[1] for row in rows("PRAGMA table_info(studies)") if row[1] != "id"]
    old = f"INSERT INTO studies ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    database.write(lambda: insert(old, *(f"their {column}" for column in columns)))
    assert database.migrate() == [name for name, _ in steps[1:]]
    with database.read():
        (study,) = rows("SELECT study_instance_uid, patient_name, remark FROM studies")
    assert study == ("their study_instance_uid", "their patient_name", "their remark")
    database.close()


def test_a_step_that_was_cut_off_is_made_whole_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, database = "m1", Database(tmp_path / "index.sqlite")
    monkeypatch.setattr(migrations, "steps", lambda: [(step, "CREATE TABLE a (x); CREATE TABLE nonsense")])
    with pytest.raises(OutOfResources):
        database.migrate()
    with database.read():
        assert rows("SELECT name FROM sqlite_master WHERE name = 'a'") == []
    monkeypatch.setattr(migrations, "steps", lambda: [(step, "CREATE TABLE a (x); CREATE TABLE b (x)")])
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
