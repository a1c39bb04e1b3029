"""What can still be read of a damaged index, copied table by table into a new one; ids are kept.

A range of rows that cannot be read is halved until only the unreadable rows are left. Of instances, referrals and
transfers the indexes tell the rest: all that says where an instance is, and what became of it, is in one of them.
The old index is opened read-only and stays as it is. Works on the connection of the caller, in its transaction.

What may fail: nothing that the old index holds. What is lost is counted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicomnode.store import chain, integrity
from dicomnode.store.database import execute, execute_all, rows

_RANGE = 10_000
_TELLING = {"instances": {"file"}, "referrals": {"study", "partner"}, "transfers": {"instance", "partner"}}
"""Tables whose indexes know enough of a row to go on with it, and what that is at least."""
UNKNOWN = -1
_GUESSED = {"state": "queued", "progress": "receiving", "current": UNKNOWN, "version": UNKNOWN}
"""What a row is taken to be where nothing tells it any more: on its way, until it is known to be done. A gate is ''."""
_HELD = "held: the reason is lost with a page of the index"
_OWN = ("migrations",)
"""Tables that the new index has its own rows of."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What became of one table: rows copied whole, rows of which only the essential was found, rows that are lost."""

    table: str
    rows: int
    partly: int = 0
    lost: int = 0


Row = tuple[Any, ...]


def salvage(old: Path, now: int, progress: Callable[[str], None]) -> list[Salvaged]:
    """Copy all that can be read of the index `old`. Nothing, where it cannot be opened or is not there."""
    if not old.exists():
        return []
    with closing(sqlite3.connect(f"{old.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as source:
        try:
            known = {name for (name,) in source.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        except sqlite3.DatabaseError:
            return []
        found = []
        for name in integrity.tables():
            if name in known and name not in _OWN:
                progress(name)
                found.append(_Table(source, name).save(now))
        _keep_numbers(source)
        _keep_chain(source)
        return found


def _keep_numbers(source: sqlite3.Connection) -> None:
    """What was given a number keeps it for itself, even where its row is lost."""
    with suppress(sqlite3.DatabaseError):
        for name, last in source.execute("SELECT name, seq FROM sqlite_sequence").fetchall():
            if not execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", last, name):
                execute("INSERT INTO sqlite_sequence VALUES (?, ?)", name, last)


def _keep_chain(source: sqlite3.Connection) -> None:
    """Where the old index had no chain of the audit trail yet, it begins after what is saved of it."""
    with suppress(sqlite3.DatabaseError):
        columns = {column[1] for column in source.execute("PRAGMA table_info(events)")}
        if columns and "digest" not in columns:
            chain.begin()


class _Table:
    """One table of the old index, on its way into the new one."""

    def __init__(self, source: sqlite3.Connection, name: str) -> None:
        self._source, self._name = source, name
        self._columns = [(n, t, bool(must), default is not None) for _, n, t, must, default, _ in _info(name)]
        with suppress(sqlite3.DatabaseError):
            there = {column[1] for column in source.execute(f"PRAGMA table_info({name})")}
            self._columns = [column for column in self._columns if column[0] in there]
        ((self._has_rowid,),) = rows("SELECT NOT wr FROM pragma_table_list WHERE name = ? AND schema = 'main'", name)
        self._lost: set[int] = set()
        self._copied = self._unfit = 0

    @property
    def _names(self) -> str:
        return ", ".join(column[0] for column in self._columns)

    def save(self, now: int) -> Salvaged:
        """Copy what can be read of it."""
        if not self._has_rowid:
            return self._scan()
        last = self._last()
        for low in range(1, last + 1, _RANGE):
            self._copy(low, min(low + _RANGE - 1, last))
        partly, lost = 0, len(self._lost)
        if self._lost and self._name in _TELLING:
            known, complete = self._from_indexes()
            enough = [row for row in sorted(known) if known[row].keys() >= _TELLING[self._name]]
            partly = sum(self._put_known(self._filled({"id": row, **known[row]}, now)) for row in enough)
            lost = len(known) - partly if complete else lost - partly
        return Salvaged(self._name, self._copied, partly, lost + self._unfit)

    def _scan(self) -> Salvaged:
        """Copy what can be read from either end; how much there is between them nobody knows: at least one."""
        keys = [name for _, name, *_, at in _info(self._name) if at]
        for order in ("ASC", "DESC"):
            by = ", ".join(f"{key} {order}" for key in keys)
            try:
                for row in self._source.execute(f"SELECT {self._names} FROM {self._name} ORDER BY {by}"):
                    self._copied += self._put([row])
            except sqlite3.DatabaseError:
                continue
            return Salvaged(self._name, self._copied)
        return Salvaged(self._name, self._copied, lost=1)

    def _last(self) -> int:
        """The highest number that a row of it may have."""
        said = [0]
        for sql in (
            f"SELECT max(rowid) FROM {self._name}",
            f"SELECT seq FROM sqlite_sequence WHERE name = '{self._name}'",
            *(f"SELECT max(rowid) FROM {self._name} INDEXED BY {index}" for index, _ in self._indexes()),
        ):
            with suppress(sqlite3.DatabaseError):
                said += [row[0] or 0 for row in self._source.execute(sql)]
        return max(said)

    def _copy(self, low: int, high: int) -> None:
        sql = f"SELECT {self._names} FROM {self._name} WHERE rowid BETWEEN ? AND ?"
        try:
            found = self._source.execute(sql, (low, high)).fetchall()
        except sqlite3.DatabaseError:
            if low == high:
                self._lost.add(low)
                return
            middle = (low + high) // 2
            self._copy(low, middle)
            self._copy(middle + 1, high)
            return
        put = self._put(found)
        self._copied += put
        self._unfit += len(found) - put  # readable, and no row of ours

    def _put(self, found: Sequence[Row]) -> int:
        """Insert rows, but those that are no rows of ours; how many were."""
        places = ", ".join("?" * len(self._columns))
        return execute_all(f"INSERT OR IGNORE INTO {self._name} ({self._names}) VALUES ({places})", found)

    def _put_known(self, known: dict[str, Any]) -> int:
        """Insert a row of which these columns are known."""
        names, places = ", ".join(known), ", ".join("?" * len(known))
        return execute(f"INSERT OR IGNORE INTO {self._name} ({names}) VALUES ({places})", *known.values())

    # -- from the indexes --------------------------------------------------------------------------------------

    def _indexes(self) -> Iterator[tuple[str, list[str]]]:
        """The indexes that have an entry for each row, and their columns."""
        with suppress(sqlite3.DatabaseError):
            for _, name, _, _, partial in self._source.execute(f"PRAGMA index_list({self._name})").fetchall():
                columns = [column for _, _, column in self._source.execute(f"PRAGMA index_info({name})")]
                if not partial and None not in columns:
                    yield name, columns

    def _from_indexes(self) -> tuple[dict[int, dict[str, Any]], bool]:
        """What the indexes know of lost rows, by number; and whether one of them could be read whole: then it knows
        which rows there were.
        """
        known, complete = dict[int, dict[str, Any]](), False
        for index, columns in self._indexes():
            complete = self._read(index, columns, "", known) or complete
            if not complete:
                self._read(index, columns, "DESC", known)
        return known, complete

    def _read(self, index: str, columns: list[str], order: str, known: dict[int, dict[str, Any]]) -> bool:
        by = ", ".join(f"{column} {order}" for column in columns)
        sql = f"SELECT rowid, {', '.join(columns)} FROM {self._name} INDEXED BY {index} ORDER BY {by}"
        try:
            for number, *values in self._source.execute(sql):
                if number in self._lost:
                    known.setdefault(number, {}).update(zip(columns, values, strict=True))
        except sqlite3.DatabaseError:
            return False
        return True

    def _filled(self, known: dict[str, Any], now: int) -> dict[str, Any]:
        """A row of which not all is known: the rest is empty, and times that nobody knows are now."""
        for name, kind, must, has_default in self._columns:
            if must and not has_default and name not in known:
                is_time = name == "at" or name.endswith("_at")
                known[name] = _GUESSED.get(name, now if is_time else "" if kind == "TEXT" else 0)
        if known.get("gate") == "held":
            known["hold"] = _HELD  # without which the gate would not stay closed
        if known.get("gate") in ("withdrawn", "recalling", "recalled"):
            known |= {"withdrawn": _HELD, "recall": known["gate"] if known["gate"] != "withdrawn" else ""}
        return known


def _info(table: str) -> list[tuple[int, str, str, int, object, int]]:
    return rows(f"PRAGMA table_info({table})")
