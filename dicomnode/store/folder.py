"""A folder outside of the archive in which instances are put for a person: `<SOP Instance UID>.dcm`.

Promises that what is there under its name is whole and on disk, and that no other file's content is ever replaced.
What may fail: OutOfResources, for a full or failing disk, or for a name that is taken.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from dicomnode.dicom import part10
from dicomnode.errors import InstanceError, OutOfResources
from dicomnode.store.archive import Part, digest, ulid
from dicomnode.store.volume import Volume, sync


class Folder:
    """An open folder, made where it is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._volume = Volume(path)
        try:
            made = [each for each in (path, *path.parents) if not each.exists()]
            path.mkdir(parents=True, exist_ok=True)
            for each in made:
                sync(each.parent)
            self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise OutOfResources(f"{path} cannot be used: {error.strerror}") from error

    def __repr__(self) -> str:
        return f"Folder({self.path})"

    def close(self) -> None:
        """No more is put in it."""
        os.close(self._handle)

    def part(self, header: bytes, cap: int) -> Part:
        """A new file that grows, as in the archive."""
        return Part(str(self.path), ulid(), header, cap, self._volume)

    def keep(self, part: Part, sop_instance_uid: str) -> None:
        """Give a finished part its name, which is a valid UID's; the same dataset may be there already."""
        name, ours = f"{sop_instance_uid}.dcm", False
        try:
            ours = self._reserved(name)
            if not ours and not self._is_free(name, part):
                return part.discard()
            part.move(name, self._handle)
            os.fsync(self._handle)
        except OSError as error:
            part.discard()
            if ours:
                with suppress(OSError):
                    os.unlink(name, dir_fd=self._handle)
            raise OutOfResources(f"cannot write to {self.path}: {error.strerror}") from error

    def _reserved(self, name: str) -> bool:
        """Whether the name is ours, and was nobody's: nobody else can take it from now on."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with suppress(FileExistsError):
            os.close(os.open(name, flags, 0o640, dir_fd=self._handle))
            return True
        return False

    def _is_free(self, name: str, part: Part) -> bool:
        """Whether a name that is taken has no content: it was reserved before a kill. False: it has this dataset."""
        path = self.path / name
        if path.is_file() and not path.is_symlink() and not path.stat().st_size:
            return True
        try:
            same = digest(path, part10.read(path).offset) == (part.sha256, part.size)
        except InstanceError:
            same = False
        if not same:
            part.discard()
            raise OutOfResources(f"{name} is there with other content, and is left as it is")
        return False
