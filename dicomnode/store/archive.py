"""The files. What was received is kept as it came, under a name that nobody outside can choose.

    incoming/<worker>/<ulid>.part      being received: never acknowledged, never read back
    instances/YYYYMMDD/HH/<ulid>.dcm   kept: synced, renamed, its folder synced

A name is never reused. `keep()` returns only when file and folder are on disk; an error of any sync is final for that
file, which is removed. What may fail: OutOfResources, for a full or failing disk.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicomnode.dicom import part10
from dicomnode.errors import InstanceError, OutOfResources, Unreadable

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid() -> str:
    """A new name: 48 bits of milliseconds and 80 of chance, 26 characters that sort by time."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


@dataclass(frozen=True, slots=True)
class Stored:
    """A kept file: its name under the data folder; SHA-256 (hex) and length in bytes of the dataset as received."""

    file: str
    sha256: str
    size: int


class Part:
    """One dataset on its way in: a file that grows, a running digest, a cap.

    `write()` never raises, because it is called from the thread that reads the network: the first error is kept and
    raised by `finish()`, where somebody can answer it.
    """

    def __init__(self, path: Path, header: bytes, cap: int) -> None:
        self.path = path
        self.size = 0
        self._header = len(header)
        self._cap = cap
        self._digest = hashlib.sha256()
        self._error: Exception | None = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = -1
        try:
            self._file = os.open(path, flags, 0o640)
            self._put(header)
        except OSError as error:
            self._error = error

    def __repr__(self) -> str:
        return f"Part({self.path.name}, {self.size} bytes{', failed' if self._error else ''})"

    def write(self, fragment: bytes | memoryview) -> None:
        """Add a fragment of the dataset; after the first error it is counted and dropped."""
        self.size += len(fragment)
        if self._error:
            return
        if self.size > self._cap:
            self._error = Unreadable(f"the dataset is larger than {self._cap} bytes")
            return
        try:
            self._put(fragment)
        except OSError as error:
            self._error = error
        else:
            self._digest.update(fragment)

    def _put(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    @property
    def sha256(self) -> str:
        """Hex digest of the dataset's bytes so far."""
        return self._digest.hexdigest()

    def finish(self) -> None:
        """Make the bytes durable and close the file. Raises what went wrong on the way; then nothing is kept."""
        try:
            if self._error:
                raise self._error
            os.fsync(self._file)
            file, self._file = self._file, -1
            os.close(file)
        except OSError as error:
            self.discard()
            raise OutOfResources(f"cannot write to the archive: {error.strerror}") from error
        except Unreadable:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the file, whatever state it is in; safe to call twice."""
        if self._file >= 0:
            file, self._file = self._file, -1
            with suppress(OSError):
                os.close(file)
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


class Archive:
    """The data folder of one node."""

    def __init__(self, root: Path, worker: str) -> None:
        self.root = root
        self.worker = worker
        self._hour = Path()

    def __repr__(self) -> str:
        return f"Archive({self.root}, worker {self.worker})"

    def prepare(self) -> None:
        """Make this worker's folders."""
        for folder in (self.root / "incoming" / self.worker, self.root / "instances", self.root / "run"):
            folder.mkdir(parents=True, exist_ok=True)

    def part(self, header: bytes, cap: int) -> Part:
        """A new part file that begins with `header` (preamble and file meta) and takes at most `cap` bytes more."""
        return Part(self.root / "incoming" / self.worker / f"{ulid()}.part", header, cap)

    def keep(self, part: Part, received_at: int) -> Stored:
        """Give a finished part its place for ever; returns when file, name and folder are on disk."""
        moment = datetime.fromtimestamp(received_at / 1e6, UTC)
        folder = self.root / "instances" / f"{moment:%Y%m%d}" / f"{moment:%H}"
        kept = folder / f"{part.path.stem}.dcm"
        try:
            self._make(folder)
            os.rename(part.path, kept)
            _sync(folder)
        except OSError as error:
            part.discard()
            with suppress(OSError):
                kept.unlink(missing_ok=True)
            raise OutOfResources(f"cannot write to the archive: {error.strerror}") from error
        return Stored(str(kept.relative_to(self.root)), part.sha256, part.size)

    def _make(self, folder: Path) -> None:
        """Make the folder of an hour. Each process syncs the way to it once: another may have made it just now."""
        if folder == self._hour:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for above in (folder.parent, folder.parent.parent, self.root):
            _sync(above)
        self._hour = folder

    def path(self, file: str) -> Path:
        """Where a kept file is."""
        return self.root / file

    def holds(self, file: str, size: int) -> bool:
        """Whether a kept file is there, with a dataset of exactly `size` bytes."""
        path = self.root / file
        try:
            return path.stat().st_size - part10.read(path).offset == size
        except (OSError, InstanceError):
            return False

    def measure(self, file: str, offset: int) -> Stored:
        """Describe a kept file anew from its bytes; `offset` is where its dataset begins."""
        return Stored(file, *digest(self.root / file, offset))

    def remove(self, file: str) -> None:
        """Remove a file that turned out to be one that we already hold."""
        with suppress(OSError):
            (self.root / file).unlink(missing_ok=True)

    def clear_incoming(self, worker: str) -> int:
        """Remove what a dead worker had not finished; how many parts that was. Nobody was told 0000H for them."""
        folder = self.root / "incoming" / worker
        parts = list(folder.glob("*.part")) if folder.is_dir() else []
        for part in parts:
            part.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()
        return len(parts)

    def kept_since(self, moment: float) -> Iterator[str]:
        """Names of the files in folders that changed after `moment` (seconds since the epoch), oldest folder first."""
        for folder in sorted((self.root / "instances").glob("*/*")):
            if folder.is_dir() and folder.stat().st_mtime >= moment:
                for path in sorted(folder.glob("*.dcm")):
                    yield str(path.relative_to(self.root))


def digest(path: Path, offset: int) -> tuple[str, int]:
    """SHA-256 (hex) and length of a file's bytes from `offset` on, read in pieces."""
    running, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(1 << 20):
            running.update(piece)
            size += len(piece)
    return running.hexdigest(), size


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
