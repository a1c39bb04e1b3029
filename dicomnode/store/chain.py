"""The chain of the audit trail: no entry is changed, removed, moved or put between others without being found out.

An entry's digest is the SHA-256 of its content and of the digest of the entry before it. Entries are numbered without
a gap, and SQLite keeps the last number apart from them (AUTOINCREMENT), so that what is cut off at the end is missed.
Entries that were written before there was a chain have no digest: up to which number, was remembered when it began
(m0009_audit), so that a digest that is blanked is missed.

Never promised: that nobody who can write to the index makes all of it anew, end and number too. Against that its head
is logged every day, and a collector has its copy: `verify` holds the trail against a head that was noted elsewhere.
Functions are called inside `Database.write` or `read`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dicomnode.store.database import each, execute, insert, one, rows

Row = dict[str, Any]
_BEFORE = "entries before the chain"
_LAST = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)"
_DIGEST = "SELECT digest FROM events WHERE id = (SELECT max(id) FROM events)"


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry: its number and digest; 0 and '' where there is none."""

    id: int
    digest: str

    def __str__(self) -> str:
        return f"{self.id}:{self.digest or '-'}"


@dataclass(frozen=True, slots=True)
class Break:
    """Where the trail is not what was written: the first entry that is wrong or missing there, and what is wrong."""

    id: int
    why: str


def append(content: Row) -> int:
    """Add an entry, its columns by name; its number."""
    number, before = one(f"{_LAST} + 1, coalesce(({_DIGEST}), '')")
    row = {"id": number, **content}
    row["digest"] = _digest(before, row)
    return insert(f"INSERT INTO events ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", *row.values())


def head() -> Head:
    """The last entry there is."""
    return Head(*(one("SELECT id, digest FROM events WHERE id = (SELECT max(id) FROM events)") or (0, "")))


def begin() -> None:
    """All entries there are were written before there was a chain; as m0009_audit does it."""
    execute("INSERT OR REPLACE INTO marks SELECT ?, seq FROM sqlite_sequence WHERE name = 'events'", _BEFORE)


def unchained() -> int:
    """How many entries were written before there was a chain."""
    return int(one("SELECT count(*) FROM events WHERE id <= ?", _begun_after())[0])


def _begun_after() -> int:
    found = one("SELECT value FROM marks WHERE name = ?", _BEFORE)
    return int(found[0]) if found else 0


def verify(noted: Head | None = None) -> Iterator[Break]:
    """Every break, in order. `noted`: a head of an earlier time, as somebody else has kept it."""
    names = [name for _, name, *_ in rows("PRAGMA table_info(events)")]
    expected, before, begun_after = 1, "", _begun_after()
    for values in each(f"SELECT {', '.join(names)} FROM events ORDER BY id"):
        row = dict(zip(names, values, strict=True))
        number, digest = row["id"], row.pop("digest")
        if number != expected:  # of the one after a gap nobody knows what came before
            yield Break(expected, _missing(expected, number - 1))
        elif (digest or number > begun_after) and digest != _digest(before, row):
            yield Break(number, "is not what was written, or does not follow the entry before it")
        if noted and (number, digest) == (noted.id, noted.digest):
            noted = None
        expected, before = number + 1, digest
    (last,) = one(_LAST)
    if last >= expected:
        yield Break(expected, f"{_missing(expected, last)} at the end")
    if noted:
        yield Break(noted.id, "is not the entry whose digest was noted")


def _missing(first: int, last: int) -> str:
    return "is missing" if first == last else f"is missing, with all up to {last},"


def _digest(before: str, row: Row) -> str:
    """Of what is not empty: a column that a later version adds changes no digest of today's."""
    content = {name: value for name, value in row.items() if value not in ("", 0, None)}
    return hashlib.sha256(json.dumps([before, content], sort_keys=True).encode()).hexdigest()
