"""Whether the files are what was received, and the index what SQLite wrote: what is looked at, and what was found.

`look` reads one file and says what is wrong with it, in words; it never writes. What is wrong is a column of its
instance (`damage`), and its transfers are held with a reason that says what to do. `heal` is the way back: the same
dataset has come again. Functions that change something are called inside `Database.write`; times in µs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from dicomnode.dicom import part10
from dicomnode.errors import InstanceError
from dicomnode.store import queue
from dicomnode.store.archive import Archive
from dicomnode.store.database import execute, one, rows
from dicomnode.store.queue import Hold

_PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Kept:
    """One instance whose file is looked at: what its dataset has to be, and what is known to be wrong with it."""

    instance: int
    sop_instance_uid: str
    study_instance_uid: str
    file: str
    sha256: str
    size: int
    damage: str


_ROW = "i.id, i.sop_instance_uid, coalesce(t.study_instance_uid, ''), i.file, i.sha256, i.size, i.damage"
_FROM = """FROM instances i LEFT JOIN series s ON s.id = i.series LEFT JOIN studies t ON t.id = s.study
    WHERE i.evicted_at IS NULL"""
_KEPT = f"SELECT {_ROW} {_FROM}"


def after(instance: int, until: int, most: int) -> list[Kept]:
    """The next instances in the order of their ids, of those that were received by then (µs)."""
    found = rows(f"{_KEPT} AND i.id > ? AND i.received_at <= ? ORDER BY i.id LIMIT ?", instance, until, most)
    return [Kept(*row) for row in found]


def newest(since: str, most: int) -> list[Kept]:
    """The newest instances, of those whose files' names are not before this one: names tell the time."""
    return [Kept(*row) for row in rows(f"{_KEPT} AND i.file >= ? ORDER BY i.file DESC LIMIT ?", since, most)]


def of(instance: int) -> Kept | None:
    """One instance; None where its file was evicted."""
    found = one(f"{_KEPT} AND i.id = ?", instance)
    return Kept(*found) if found else None


def named(file: str) -> Kept | None:
    """The instance that a file is of; None where that was evicted, or has another."""
    found = one(f"{_KEPT} AND i.file = ?", file)
    return Kept(*found) if found else None


def versions(site: str, sop_instance_uid: str) -> list[tuple[str, Kept]]:
    """The versions of an instance that a site has sent, each with its SOP class; those whose file has gone left out."""
    sql = f"SELECT i.sop_class_uid, {_ROW} {_FROM} AND i.sop_instance_uid = ? AND i.site = ?"
    return [(sop_class, Kept(*row)) for sop_class, *row in rows(sql, sop_instance_uid, site)]


def look(kept: Kept, archive: Archive, goes_on: Callable[[int], bool]) -> str | None:
    """What is wrong with a file; '' where nothing is. `goes_on` is told of every piece that was read, and may end it:
    None then.
    """
    try:
        with archive.path(kept.file).open("rb", buffering=0) as file:
            offset = os.fstat(file.fileno()).st_size - kept.size
            if wrong := _wrong_header(file.read(max(0, offset)), offset):
                return wrong
            running = hashlib.sha256()
            while piece := file.read(_PIECE):
                running.update(piece)
                if not goes_on(len(piece)):
                    return None
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # others need the memory more
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable ({error.strerror})"
    return "" if running.hexdigest() == kept.sha256 else "not what was received"


def _wrong_header(header: bytes, offset: int) -> str:
    """What the file meta information shows: that something was cut or added, or that it cannot be read itself."""
    if offset < 0:
        return "cut short"
    try:
        starts = part10.parse(header).offset
    except InstanceError as error:
        return f"unreadable ({error})"
    return "" if starts == offset else "not as long as what was received"


def damage(kept: Kept, why: str, now: int) -> bool:
    """Write down what is wrong with a file, and hold what was to be sent of it. False where that was known, or it is
    not the instance's file any more.
    """
    if not execute(
        "UPDATE instances SET damage = ? WHERE id = ? AND file = ? AND damage != ? AND evicted_at IS NULL",
        *(why, kept.instance, kept.file, why),
    ):
        return False
    execute(
        "UPDATE transfers SET state = 'held', hold = ?, reason = ?, finished_at = ? WHERE instance = ?"
        " AND (state = 'queued' OR state = 'held' AND hold = ?)",
        *(Hold.FILE, reason(why), now, kept.instance, Hold.FILE),
    )
    return not kept.damage


def reason(why: str) -> str:
    """Why a transfer of a damaged file is held, and what to do."""
    return f"file damaged: {why}; send the study again from its source"


def waits(instance: int) -> list[int]:
    """The transfers that are held until an instance has a file that is what was received."""
    held = rows("SELECT id FROM transfers WHERE instance = ? AND state = 'held' AND hold = ?", instance, Hold.FILE)
    return [transfer for (transfer,) in held]


def heal(instance: int, now: int) -> None:
    """An instance has a file again that is what was received: its transfers go on."""
    execute("UPDATE instances SET damage = '' WHERE id = ?", instance)
    queue.release(waits(instance), now)


def sample(most: int) -> list[Kept]:
    """Some instances, by chance, of all there are; a few of them may be the same."""
    (last,) = one("SELECT coalesce(max(id), 0) FROM instances")
    numbers = json.dumps([secrets.randbelow(last) + 1 for _ in range(most if last else 0)])
    return [Kept(*row) for row in rows(f"{_KEPT} AND i.id IN (SELECT value FROM json_each(?))", numbers)]


def latest() -> int:
    """When the last instance was received (µs); 0 where none was."""
    newest = "SELECT received_at FROM instances ORDER BY id DESC LIMIT 100"
    return int(one(f"SELECT coalesce(max(received_at), 0) FROM ({newest})")[0])


# -- the index -------------------------------------------------------------------------------------------------


def tables() -> list[str]:
    """All tables of the index, but those that are made of others."""
    found = rows(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
    return [name for (name,) in found]


def check(table: str) -> str:
    """What SQLite finds wrong with a table or its indexes; ''. Reads all of it, and changes nothing."""
    assert re.fullmatch(r"\w+", table)
    ((found, *_), *_) = rows(f"PRAGMA quick_check({table})")
    return "" if found == "ok" else str(found).replace("*** in database main ***\n", "").partition("\n")[0]


def steps_applied() -> list[str]:
    """The schema steps that this index has."""
    return [name for (name,) in rows("SELECT name FROM migrations ORDER BY name")]
