"""store/readers.py: connections that queries share, one after the other; what is kept holds nothing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.errors import OutOfResources
from dicomnode.store.database import Database, Interrupted, execute, one, rows

_LONG = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) SELECT count(*) FROM n"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Database]:
    it = Database(tmp_path / "index.sqlite")
    it.write(lambda: execute("CREATE TABLE t (n INTEGER)"))
    yield it
    it.close()


def never() -> bool:
    return False


def used(index: Database) -> sqlite3.Connection:
    """The connection that a query has."""
    with index.read(never):
        rows("SELECT n FROM t")
        return index._sqlite._state.conn  # type: ignore[attr-defined,no-any-return]


def test_the_next_query_has_the_connection_of_the_last_and_sees_what_was_written(index: Database) -> None:
    first = used(index)
    index.write(lambda: execute("INSERT INTO t VALUES (7)"))
    with index.read(never):
        assert rows("SELECT n FROM t") == [(7,)]
    assert used(index) is first


def test_two_at_once_have_two_and_of_many_two_are_kept(index: Database) -> None:
    together = threading.Barrier(4)
    found: list[sqlite3.Connection] = []

    def ask() -> None:
        with index.read(never):
            found.append(index._sqlite._state.conn)  # type: ignore[attr-defined]
            together.wait(30)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({id(connection) for connection in found}) == 4
    assert len(index._readers._idle) == 2


def test_one_that_was_interrupted_or_met_an_error_is_not_kept(index: Database) -> None:
    first = used(index)
    with pytest.raises(Interrupted), index.read(lambda: True):
        one(_LONG)
    with pytest.raises(OutOfResources), index.read(never):
        rows("SELECT nothing FROM t")
    assert used(index) is not first
    with pytest.raises(sqlite3.ProgrammingError):
        first.execute("SELECT 1")


def test_whoever_has_it_next_is_not_interrupted_by_the_last(index: Database) -> None:
    over = False
    with index.read(lambda: over):
        assert one("SELECT 1") == (1,)
    over = True
    with index.read(never):
        assert one(_LONG.replace("100000000", "100000")) == (100000,)


def test_a_checkpoint_waits_for_none_that_is_kept(index: Database) -> None:
    index.write(lambda: execute("INSERT INTO t VALUES (1), (2)"))
    with index.read(never):
        assert one("SELECT n FROM t") == (1,), "and there is another row, which nobody fetches"
    index.write(lambda: execute("INSERT INTO t VALUES (3)"))
    assert index.checkpoint()


def test_a_close_closes_them(tmp_path: Path) -> None:
    index = Database(tmp_path / "index.sqlite")
    index.write(lambda: execute("CREATE TABLE t (n INTEGER)"))
    connection = used(index)
    index.close()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
