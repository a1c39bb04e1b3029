"""The file system of the data folder, as one process sees it: how much is free, and whether it can be trusted.

Looks at the free space at most once a second while there is enough. An error of the disk itself, as every failed sync
is, is final for the file that it met, and makes the volume suspect: for a minute nothing is taken, because what the
kernel says of it then may be untrue (a sync that is tried again can succeed although the data is lost). It is logged,
and kept for the audit trail until somebody takes the `alarm`.

What may fail: `check`, with OutOfResources, where nothing may be taken; `probe`, with DicomnodeError and a sentence for
a person, where a node cannot keep its promise here.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from dicomnode.errors import DicomnodeError, OutOfResources

log = logging.getLogger(__name__)

_LOOK = 1.0
_SUSPECT = 60.0
"""Seconds for which a volume is suspect."""
_AGAIN = 3600.0
"""Seconds after which the same alarm is raised again."""
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_OF_THE_PROCESS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.ENOENT, errno.EEXIST))
_FORBIDDEN = frozenset((errno.EROFS, errno.EACCES, errno.EPERM))


class Volume:
    """Where a data folder is. `reserve` is the free space (bytes) below which nothing is taken."""

    def __init__(self, root: Path, reserve: int = 0) -> None:
        self.root = root
        self.reserve = reserve
        self.alarm = ""
        """What went wrong with the disk, and is not in the audit trail yet; whoever writes it there empties this."""
        self._looked_at, self._free = -_LOOK, 0
        self._why, self._suspect_until, self._alarmed_at = "", 0.0, -_AGAIN

    def __repr__(self) -> str:
        return f"Volume({self.root}, {self._free} bytes free{', suspect' if self.suspicion else ''})"

    @property
    def suspicion(self) -> str:
        """Why the volume is suspect; '' where it is not."""
        return self._why if time.monotonic() < self._suspect_until else ""

    def free(self) -> int:
        """Bytes that we may still write, as of a second ago at most; of now where that is too few; 0: nobody knows."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK or self._free < self.reserve:
            self._looked_at, self._free = now, self._look()
        return self._free

    def _look(self) -> int:
        try:
            space = os.statvfs(self.root)
        except OSError as error:
            self.failed(error)
            return 0
        return space.f_bavail * space.f_frsize

    def check(self) -> None:
        """Raise OutOfResources unless something may be written now."""
        if self.suspicion:
            raise OutOfResources(f"the archive's disk failed a moment ago: {self.suspicion}")
        if self.reserve and self.free() < self.reserve:
            raise OutOfResources(f"the archive's disk has less than {self.reserve // 10**6} MB free")

    def failed(self, error: OSError) -> None:
        """Judge an error that a file met. A full disk is none of the disk's own, nor is a process at its limits."""
        why = error.strerror or str(error)
        if error.errno in _FULL:
            self._looked_at = -_LOOK
        elif error.errno in _FORBIDDEN:
            self._raise(f"nothing can be written to {self.root}: {why}")
        elif error.errno not in _OF_THE_PROCESS:
            self.suspect(why)

    def suspect(self, why: str) -> None:
        """The disk itself has failed: for a minute nothing is taken."""
        self._why, self._suspect_until = why, time.monotonic() + _SUSPECT
        self._raise(f"the disk of {self.root} failed: {why}; nothing is taken for {_SUSPECT:.0f} s. Look at its health")

    def _raise(self, text: str) -> None:
        now = time.monotonic()
        if now - self._alarmed_at >= _AGAIN:
            self._alarmed_at, self.alarm = now, text
            log.critical("%s", text)

    # -- once, before anybody may call -------------------------------------------------------------------------

    def probe(self) -> None:
        """Do with an empty file all that is done with an instance, so that what cannot be done is said at the start."""
        incoming, instances = self.root / "incoming", self.root / "instances"
        try:
            for folder in (incoming, instances):
                folder.mkdir(parents=True, exist_ok=True)
            self._one_file_system(incoming, instances)
            _keep(incoming / ".probe", instances / ".probe")
            sync(self.root)
            with suppress(PermissionError):  # whoever may not read the folder above has not made this one either
                sync(self.root.parent)  # a power cut must not take the data folder itself, which may be new
        except OSError as error:
            if error.errno not in _FULL:  # a full disk refuses instances, and can be served from
                raise DicomnodeError(self._sentence(error)) from error

    def _one_file_system(self, incoming: Path, instances: Path) -> None:
        if len({folder.stat().st_dev for folder in (self.root, incoming, instances)}) > 1:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def _sentence(self, error: OSError) -> str:
        why = error.strerror or str(error)
        if error.errno == errno.EXDEV:
            return (
                f"{self.root}, its incoming and its instances are not on one file system: what has arrived could not be"
                " given its place in one step. Keep all three on one, and link to none of them from another"
            )
        if error.errno in _FORBIDDEN:
            return f"{self.root} cannot be written to ({why}): give it to the user that runs the node, and mount it rw"
        return (
            f"{self.root} cannot be made to keep what it is given ({why}): no instance could be promised to survive a"
            " power cut. Use a local disk whose file system can sync, and look at its health"
        )


def _keep(part: Path, kept: Path) -> None:
    """A file as it is kept: written, synced, moved into place, and its folders synced. It is removed again."""
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        try:
            os.write(file, b"a node looks whether it can keep files here\n")
            os.fdatasync(file)
        finally:
            os.close(file)
        os.rename(part, kept)
        sync(kept.parent)
    finally:
        for path in (part, kept):
            with suppress(OSError):
                path.unlink()


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
