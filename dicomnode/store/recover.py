"""What a recovery finds: parts that nobody finished, files without a row, rows without a file, claims of the dead.

A worker lives while it holds the lock `run/<worker>.lock`. Whoever gets that lock knows that it is dead.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicomnode.errors import OutOfResources
from dicomnode.store import integrity, queue, tables
from dicomnode.store.archive import Archive
from dicomnode.store.database import Database, one, rows
from dicomnode.store.integrity import Kept

_MARGIN = 3600.0
"""Seconds that a folder's time may lie before the last recovery and still be looked at: clocks are set."""
_DIGESTS = 1.0
"""Seconds that a recovery may read the newest files for their digests …"""
_NEWEST = 1000
"""… and how many these are at most."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a recovery put in order: files adopted into the index, parts removed, files that are gone or damaged."""

    adopted: int
    parts: int
    missing: int


def show_alive(run: Path, name: str) -> int:
    """Take the lock by which a worker shows that it lives; its descriptor, which nobody closes but the kernel."""
    run.mkdir(parents=True, exist_ok=True)
    new = run / f"{name}.new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    new.rename(run / f"{name}.lock")  # locked before anybody can see it
    return lock


def dead_workers(archive: Archive) -> Iterator[str]:
    """The workers whose locks nobody holds; each lock is gone when the next is asked for."""
    for worker in _workers(archive):
        if not _lives(archive, worker):
            yield worker
            (archive.root / "run" / f"{worker}.lock").unlink(missing_ok=True)


def wait_for_workers(archive: Archive, seconds: float) -> None:
    """Wait for the workers of the last run to be gone. Raises OutOfResources where one lives on."""
    deadline = time.monotonic() + seconds
    while alive := [worker for worker in _workers(archive) if _lives(archive, worker)]:
        if time.monotonic() > deadline:
            raise OutOfResources(f"worker {alive[0]} of the last run is still alive: end that process first")
        time.sleep(0.05)


def _workers(archive: Archive) -> list[str]:
    names = sorted(path.stem for path in (archive.root / "run").glob("*.lock"))
    return [name for name in names if name not in ("node", archive.worker)]


def _lives(archive: Archive, worker: str) -> bool:
    try:
        file = os.open(archive.root / "run" / f"{worker}.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(file)


def bury(worker: str, archive: Archive, database: Database) -> tuple[int, int]:
    """Give back a dead worker's claims and remove its parts; how many of each."""
    claims = database.write(lambda: queue.reclaim(worker))
    return claims, archive.clear_incoming(worker)


def forgotten(archive: Archive, database: Database) -> list[str]:
    """Workers that have claims and no lock: whose end could not be written, or whose lock somebody removed."""
    with database.read():
        claimants = queue.claimants()  # asked first: whoever had claims then, and has no lock now, has ended
    living = (*_workers(archive), archive.worker)
    return [worker for worker in claimants if worker not in living]


def clear_parts(archive: Archive) -> int:
    """Remove the parts of workers that left no lock; how many. Runs while no worker lives."""
    folders = [f for f in (archive.root / "incoming").glob("*") if f.is_dir() and f.name != archive.worker]
    return sum(archive.clear_incoming(folder.name) for folder in folders)


def orphans(archive: Archive, database: Database, now: int) -> list[str]:
    """Kept files without a row, in the folders that have changed since the last recovery."""
    found: list[str] = []
    with database.read():
        for folder, files in itertools.groupby(archive.kept_since(_since(now)), os.path.dirname):
            known = rows("SELECT file FROM instances WHERE file > ? AND file < ?", f"{folder}/", f"{folder}0")
            found += sorted(set(files) - {file for (file,) in known})
    return found


def damaged(archive: Archive, database: Database, now: int) -> list[tuple[Kept, str]]:
    """Instances received since the last recovery whose files are not what was received, and why: must be impossible.

    Of all of them the length is looked at, and the digest of the newest, for a second: only they can have been written
    to when the node ended. The others are the scrubber's.
    """
    with database.read():
        moment = datetime.fromtimestamp(max(0.0, _since(now)), UTC)
        first = f"instances/{moment:%Y%m%d/%H}"  # names tell time
        recent = rows("SELECT file, size FROM instances WHERE evicted_at IS NULL AND file >= ?", first)
        short = [file for file, size in recent if not _is_long(f"{archive.root}/{file}", size)]
        suspects = [kept for file in short if (kept := integrity.named(file))]
        newest = integrity.newest(first, _NEWEST)
    end = time.monotonic() + _DIGESTS
    suspects += itertools.takewhile(lambda _: time.monotonic() < end, newest)
    found = {kept: integrity.look(kept, archive, lambda _: True) for kept in suspects}
    return [(kept, wrong) for kept, wrong in found.items() if wrong]


def _is_long(path: str, size: int) -> bool:
    """Whether a file is there, and longer than its dataset was: its header comes first."""
    try:
        return os.stat(path).st_size > size
    except OSError:
        return False


def _since(now: int) -> float:
    """From when on (seconds since the epoch) there may be what no recovery has seen. A clock may have been set back."""
    (last,) = one("SELECT coalesce(max(at), 0) FROM recoveries WHERE at <= ?", now)
    return last / 1e6 - _MARGIN  # type: ignore[no-any-return]


def record(found: Found, at: int) -> None:
    """Note what a recovery found. Inside `Database.write`."""
    tables.Recovery.create(at=at, adopted=found.adopted, parts=found.parts, missing=found.missing)
