"""Part 10 files of other programs, as a person names them: which there are, and what they hold.

Nothing is ever written here. DICOMDIRs are left out without a word. What may fail: Unreadable, for what cannot be read
or is no DICOM file to its end, and what else is wrong with an instance; NotAllowed, for what may not go from site to
site.
"""

from __future__ import annotations

import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom import part10, walk
from dicomnode.dicom.instance import SopInstance
from dicomnode.errors import NotAllowed, Unreadable
from dicomnode.operations.ports import Stopped
from dicomnode.rules import oneway

_DIRECTORY = "DICOMDIR"
"""The one name that it may have (PS3.10 8.6)."""
_BATCH = 200
_MAGIC = 128


@dataclass(frozen=True, slots=True)
class File:
    """One Part 10 file; `offset` is where its dataset begins, `site` where our own information in it says it is of."""

    path: Path
    instance: SopInstance
    offset: int
    site: str


@dataclass(frozen=True, slots=True)
class Person:
    """Who gives the command: by what name, what is said to them of a file, and whether it is to end now."""

    name: str
    said: Callable[[Path, str], None]
    stopped: Stopped


class Tally:
    """What came of so many files: how many are done, were there already, were no DICOM, and failed. Threads share it.

    The person is told of each that was left out or failed, and why, one at a time.
    """

    def __init__(self, person: Person) -> None:
        self.total = self.done = self.known = self.skipped = self.failed = 0
        self.stopped = ""
        """Why the rest is not tried; '' where it is."""
        self._person = person
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Tally({self.done} done of {self.total}, {self.failed} failed)"

    @property
    def untried(self) -> int:
        """How many nothing has come of yet."""
        return self.total - self.done - self.known - self.skipped - self.failed

    @property
    def is_good(self) -> bool:
        """Whether there was something, and nothing failed."""
        return bool(self.done + self.known) and not self.failed and not self.stopped

    def ends(self, why: str = "it was interrupted") -> bool:
        """Whether no more is tried; `why`, where it is the person who has it end now."""
        if self._person.stopped():
            self.stop(why)
        return bool(self.stopped)

    def stop(self, why: str) -> None:
        """Try no more; the first reason counts."""
        with self._lock:
            self.stopped = self.stopped or why

    def do(self, path: Path, remark: str = "") -> None:
        """One is done; what there is to say of it is said."""
        with self._lock:
            self.done += 1
            if remark:
                self._person.said(path, remark)

    def know(self) -> None:
        """One was there already."""
        with self._lock:
            self.known += 1

    def skip(self, path: Path) -> None:
        """One is left out."""
        with self._lock:
            self.skipped += 1
            self._person.said(path, "is no DICOM file")

    def fail(self, path: Path, why: str) -> None:
        """One has failed."""
        with self._lock:
            self.failed += 1
            self._person.said(path, why)


def named(paths: Iterable[Path]) -> list[Path]:
    """Every file that is named, and those below every folder; no link to a folder is followed."""
    found = itertools.chain.from_iterable(_below(path) if path.is_dir() else (path,) for path in paths)
    return [path for path in found if path.name.upper() != _DIRECTORY]


def _below(path: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(path, onerror=_raise):
        folders.sort()
        yield from (Path(folder, file) for file in sorted(files))


def _raise(error: OSError) -> None:
    raise Unreadable(f"{error.filename} cannot be read: {error.strerror}") from error


def batches(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """The paths, as many at a time as one association carries."""
    return (paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH))


def is_dicom(path: Path) -> bool:
    """Whether it says that it is a Part 10 file. Unreadable: it cannot be read at all."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False  # to open a pipe would be to wait for somebody who writes into it
        with path.open("rb") as file:
            return file.read(_MAGIC + 4)[_MAGIC:] == b"DICM"
    except OSError as error:
        raise Unreadable(f"it cannot be read: {error.strerror}") from error


def look(path: Path) -> File:
    """What a Part 10 file holds, walked to its end. Raises InstanceError."""
    try:
        meta = part10.read(path)
        return File(path, walk.header(path), meta.offset, meta.origin.site if meta.origin else "")
    except OSError as error:
        raise Unreadable(f"it cannot be read: {error.strerror}") from error


def check_flow(sites: Iterable[str], to: Partner, config: NodeConfig) -> None:
    """Raise NotAllowed unless what is of these sites may reach a partner."""
    for site in sorted(sites):
        if not oneway.may_reach(config, site, to):
            raise NotAllowed(f"no flow allows studies of {site} to reach {to.site}")
