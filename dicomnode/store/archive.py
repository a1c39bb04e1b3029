"""The files. What was received is kept as it came, under a name that nobody outside can choose.

    incoming/<worker>/<ulid>.part      being received: never acknowledged, never read back
    instances/YYYYMMDD/HH/<ulid>.dcm   kept: synced, renamed, its folder synced

A name is never reused. `keep()` returns only when file and folder are on disk; an error of any sync is final for that
file, which is removed, and what the disk is to be blamed for its `Volume` is told. Nothing is taken while that has less
free than its reserve, or is suspect. What may fail: OutOfResources, for a full or failing disk.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicomnode.dicom import part10
from dicomnode.errors import InstanceError, OutOfResources, Unreadable
from dicomnode.store.volume import Volume, sync

log = logging.getLogger(__name__)

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
_HOUR = 3_600_000_000
_LOOKS = 16 << 20
"""Bytes of one dataset after which it is looked again whether there is room for more."""


def ulid() -> str:
    """A new name: 48 bits of milliseconds and 80 of chance, 26 characters that sort by time."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


@dataclass(frozen=True, slots=True)
class Stored:
    """A kept file: its name under the data folder; SHA-256 (hex) and length in bytes of the dataset as received.

    `crc32` is of the same bytes, where they were seen as they came; None where only the file was.
    """

    file: str
    sha256: str
    size: int
    crc32: int | None = None


class Part:
    """One dataset on its way in: a file that grows, a running digest, a cap, and the room that the volume has.

    `write()` never raises, because it is called from the thread that reads the network: the first error is kept and
    raised by `finish()`, where somebody can answer it.
    """

    def __init__(self, folder: str, name: str, header: bytes, cap: int, volume: Volume) -> None:
        self.name = name
        self.size = 0
        self._path = f"{folder}/{name}.part"
        self._cap = cap
        self._volume = volume
        self._next_look = _LOOKS
        self._digest = hashlib.sha256()
        self.crc32 = 0
        self._error: Exception | None = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = -1
        try:
            volume.check()
            self._file = os.open(self._path, flags, 0o640)
            self._put(header)
        except (OSError, OutOfResources) as error:
            self._error = error

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self._path)

    def __fspath__(self) -> str:
        return self._path

    def __repr__(self) -> str:
        return f"Part({self.name}, {self.size} bytes{', failed' if self._error else ''})"

    def write(self, fragment: bytes | memoryview) -> None:
        """Add a fragment of the dataset; after the first error it is counted and dropped."""
        self.size += len(fragment)
        if self._error:
            return
        if self.size > self._cap:
            self._error = Unreadable(f"the dataset is larger than {self._cap} bytes")
            return
        try:
            if self.size > self._next_look:
                self._next_look += _LOOKS
                self._volume.check()
            self._put(fragment)
        except (OSError, OutOfResources) as error:
            self._error = error
            self.discard()  # at once: the room that it takes may be all that others lack
        else:
            self._digest.update(fragment)
            self.crc32 = zlib.crc32(fragment, self.crc32)

    def _put(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    @property
    def sha256(self) -> str:
        """Hex digest of the dataset's bytes so far."""
        return self._digest.hexdigest()

    def finish(self) -> None:
        """No more is coming. Raises what went wrong on the way; then nothing is kept."""
        if self._error:
            self.discard()
        if isinstance(self._error, OSError):
            self._volume.failed(self._error)
            raise OutOfResources(f"cannot write to the archive: {self._error.strerror}") from self._error
        if self._error:
            raise self._error

    def move(self, name: str, folder: int) -> None:
        """Make the bytes durable, and then give the file its name in the folder that is open as `folder`."""
        os.fdatasync(self._file)  # the bytes and the length: the file's time stamps tell nobody anything
        file, self._file = self._file, -1
        os.close(file)
        os.rename(self._path, name, dst_dir_fd=folder)

    def discard(self) -> None:
        """Remove the file, whatever state it is in; safe to call twice."""
        if self._file >= 0:
            file, self._file = self._file, -1
            with suppress(OSError):
                os.close(file)
        with suppress(OSError):
            os.unlink(self._path)


class _Hour:
    """The folder of one hour, open for its syncs; it is closed when the last who keeps a file in it has done so."""

    def __init__(self, root: Path, hour: int) -> None:
        self.hour = hour
        self.folder = self.name(hour)
        path = root / self.folder
        path.mkdir(parents=True, exist_ok=True)
        for above in (path.parent, path.parent.parent, root):  # each process does it: another may have made it just now
            sync(above)
        self.handle = _open(path)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)

    @staticmethod
    def name(hour: int) -> str:
        """The folder of an hour (since the epoch), under the data folder; these names sort by time."""
        return f"instances/{datetime.fromtimestamp(hour * _HOUR / 1e6, UTC):%Y%m%d/%H}"


class Archive:
    """The data folder of one node. `reserve`: the free space (bytes) below which it takes no instance."""

    def __init__(self, root: Path, worker: str, reserve: int = 0) -> None:
        self.root = root
        self.worker = worker
        self.volume = Volume(root, reserve)
        self._incoming = str(root / "incoming" / worker)
        self._hour: _Hour | None = None

    def __repr__(self) -> str:
        return f"Archive({self.root}, worker {self.worker})"

    def prepare(self) -> None:
        """Make this worker's folders."""
        for folder in (self.root / "incoming" / self.worker, self.root / "instances", self.root / "run"):
            folder.mkdir(parents=True, exist_ok=True)

    def part(self, header: bytes, cap: int) -> Part:
        """A new part file that begins with `header` (preamble and file meta) and takes at most `cap` bytes more."""
        return Part(self._incoming, ulid(), header, cap, self.volume)

    def keep(self, part: Part, received_at: int) -> Stored:
        """Give a finished part its place for ever; returns when bytes, name and folder are on disk."""
        name, hour = f"{part.name}.dcm", None
        try:
            hour = self._folder(received_at // _HOUR)
            part.move(name, hour.handle)
            os.fsync(hour.handle)
        except OSError as error:
            part.discard()
            if hour:
                with suppress(OSError):
                    os.unlink(name, dir_fd=hour.handle)
            self._hour = None  # nothing is known of it any more
            self.volume.failed(error)
            raise OutOfResources(f"cannot write to the archive: {error.strerror}") from error
        return Stored(f"{hour.folder}/{name}", part.sha256, part.size, part.crc32)

    def _folder(self, hour: int) -> _Hour:
        """The folder of an hour (since the epoch). At its turn two threads may open it twice, which does no harm."""
        open_ = self._hour
        if open_ is None or open_.hour != hour:
            self._hour = open_ = _Hour(self.root, hour)
        return open_

    def path(self, file: str) -> Path:
        """Where a kept file is."""
        return self.root / file

    def holds(self, file: str, like: Stored) -> bool:
        """Whether a kept file is there, with the same dataset as another; both were received with the same digest."""
        path = self.root / file
        try:
            offset = part10.read(path).offset
            return path.stat().st_size - offset == like.size and digest(path, offset) == (like.sha256, like.size)
        except (OSError, InstanceError):
            return False

    def measure(self, file: str, offset: int) -> Stored:
        """Describe a kept file anew from its bytes; `offset` is where its dataset begins."""
        return Stored(file, *digest(self.root / file, offset))

    def remove(self, file: str) -> None:
        """Remove a file that turned out to be one that we already hold."""
        with suppress(OSError):
            (self.root / file).unlink(missing_ok=True)

    def clear(self, folder: str, files: Sequence[str], now: int) -> list[str]:
        """Remove kept files of one folder for good, and the folder where it is old and empty; which are gone.

        A folder of the last day stays: what has begun to arrive may have its place in it.
        """
        gone = [file for file in files if self._unlinked(file)]
        path = self.root / folder
        try:
            if path.is_dir():
                sync(path)
        except OSError as error:
            self.volume.failed(error)
            return []
        if folder < _Hour.name(now // _HOUR - 24):
            with suppress(OSError):
                path.rmdir()
                path.parent.rmdir()
        return gone

    def _unlinked(self, file: str) -> bool:
        try:
            (self.root / file).unlink(missing_ok=True)
        except OSError as error:
            log.error("file=%s cannot be removed: %s", file, error.strerror)
            return False
        return True

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
                name = folder.relative_to(self.root)
                yield from [f"{name}/{file}" for file in sorted(os.listdir(folder)) if file.endswith(".dcm")]


def digest(path: Path, offset: int) -> tuple[str, int]:
    """SHA-256 (hex) and length of a file's bytes from `offset` on, read in pieces."""
    running, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(1 << 20):
            running.update(piece)
            size += len(piece)
    return running.hexdigest(), size


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
