"""Part 10 files of other programs, as a person names them: which there are, and what they hold.

Nothing is ever written here. DICOMDIRs are left out without a word. What may fail: Unreadable, for what cannot be read
or is no DICOM file to its end, and what else is wrong with an instance.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomnode.dicom import part10, walk
from dicomnode.dicom.instance import SopInstance
from dicomnode.errors import Unreadable

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


@dataclass(slots=True)
class Tally:
    """What came of files: how many are done, were there already, were no DICOM; and those that failed, with why."""

    done: int = 0
    known: int = 0
    skipped: int = 0
    failed: int = 0
    stopped: str = ""
    """Why the rest was not tried; '' where it was."""

    @property
    def is_good(self) -> bool:
        """Whether there was something, and nothing failed."""
        return bool(self.done + self.known) and not self.failed and not self.stopped


Said = Callable[[Path, str], None]
"""Is told of a file that was skipped or failed, and why."""


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
