"""Whether the index can be trusted: a file beside it, `index.damaged`, says that it cannot, and why.

Whoever meets damage first writes the file; from then on every process refuses to write to the index, and so takes no
instance and claims none to send. No start gets past it. A node that went on would acknowledge into pages that nobody
can read, and SQLite may answer wrongly from a damaged one. Only `reindex` removes it. Queries are answered as long as
SQLite can: they change nothing.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from dicomnode.errors import IndexDamaged
from dicomnode.store.volume import sync

log = logging.getLogger(__name__)

_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_damage(error: BaseException) -> bool:
    """Whether an error means that the file is not a sound database."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _CODES


def marker(index: Path) -> Path:
    """The file that says so."""
    return index.with_suffix(".damaged")


def condemn(index: Path, why: str) -> None:
    """An index was found to be damaged: mark it. An alarm the first time."""
    with suppress(OSError):  # where the disk takes nothing, every process finds out for itself
        mark(index, why)
        log.critical("%s is damaged (%s): nothing is taken or sent any more. %s", index, why, IndexDamaged.ADVICE)


def mark(index: Path, why: str) -> None:
    """Let nobody use an index, now and after a restart. Raises OSError; FileExistsError where it is marked."""
    file = os.open(marker(index), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        os.write(file, f"{why}\n".encode())
        os.fsync(file)
    finally:
        os.close(file)
    sync(index.parent)


def reason(index: Path) -> str:
    """Why an index is marked as damaged; '' where it is not."""
    try:
        return marker(index).read_text(errors="replace").strip() or "damaged"
    except FileNotFoundError:
        return ""


def check(index: Path) -> None:
    """Raise IndexDamaged where an index is marked. Costs a microsecond."""
    if os.path.exists(marker(index)):
        raise IndexDamaged


def check_start(index: Path) -> None:
    """Raise IndexDamaged where a node must not start: its index is marked, or gone while there are instances."""
    check(index)
    if not index.exists() and next((index.parent / "instances").glob("*/*/*.dcm"), None):
        raise IndexDamaged(f"there are instances in {index.parent}, and no index of them: run `dicomnode reindex`")


def unmark(index: Path) -> None:
    """The index is sound again."""
    marker(index).unlink(missing_ok=True)
    sync(index.parent)
