"""Schema steps, applied once each, in the order of their numbers. A step that has shipped is never edited.

Each step is one transaction: a kill is harmless.
"""

from __future__ import annotations

import importlib
import pkgutil
import sqlite3
import time
from collections.abc import Iterator

from dicomnode.errors import OutOfResources

_OLDEST = (3, 35, 0)
"""The first SQLite that knows every statement of ours."""


def steps() -> list[tuple[str, str]]:
    """The (name, SQL script) of every step, oldest first."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    return [(name, importlib.import_module(f"{__name__}.{name}").SQL) for name in names]


def apply(connection: sqlite3.Connection) -> list[str]:
    """Bring the schema up to date; the names of the steps applied. OutOfResources: SQLite, its file system, or the
    index itself is not such as this version needs.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise OutOfResources(f"SQLite {sqlite3.sqlite_version} is too old: at least 3.35 is needed")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        raise OutOfResources("the index cannot have its log on this file system: use a local disk")
    connection.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, at INTEGER NOT NULL)")
    known = {name for (name,) in connection.execute("SELECT name FROM migrations")}
    if strange := known - {name for name, _ in steps()}:
        raise OutOfResources(f"the index is of a newer version ({max(strange)}): run that version of dicomnode")
    missing = [(name, script) for name, script in steps() if name not in known]
    for name, script in missing:
        _apply(connection, name, script)
    return [name for name, _ in missing]


def _apply(connection: sqlite3.Connection, name: str, script: str) -> None:
    with connection:  # which undoes all of it where it is not whole
        connection.execute("BEGIN IMMEDIATE")
        for statement in _statements(script):
            connection.execute(statement)
        connection.execute("INSERT INTO migrations VALUES (?, ?)", (name, time.time_ns() // 1000))


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one at a time. A trigger has semicolons of its own."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            if statement.strip(" \n;"):
                yield statement
            statement = ""
