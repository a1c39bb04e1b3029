"""A file in which bytes are cut out and others put in, as it is read from the front to the back. Nothing is kept of it.

Promises that what no splice touches is byte for byte what it was. Raises nothing of its own.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import NamedTuple

from dicomnode.dicom.stream import Source


class Splice(NamedTuple):
    """Instead of the bytes from `start` to `stop` these."""

    start: int
    stop: int
    data: bytes


class Spliced(io.RawIOBase):
    """A file, which stands at the beginning of what is spliced, as it is with splices that are in order."""

    def __init__(self, file: Source, made: Iterable[Splice]) -> None:
        super().__init__()
        self._file, self._pos, self._made = file, 0, iter(made)
        self._ahead = next(self._made, None)
        self._ready = b""

    def readable(self) -> bool:
        """For io."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As io has it: how many bytes were put there, 0 at the end."""
        while not self._ready and self._ahead and self._ahead.start == self._pos:
            self._cut(self._ahead)
            self._ready, self._ahead = self._ahead.data, next(self._made, None)
        if self._ready:
            found, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        else:
            found = self._file.read(min(len(buffer), self._ahead.start - self._pos) if self._ahead else len(buffer))
            self._pos += len(found)
        buffer[: len(found)] = found
        return len(found)

    def _cut(self, splice: Splice) -> None:
        while self._pos < splice.stop and (gone := self._file.read(splice.stop - self._pos)):
            self._pos += len(gone)


def spliced(data: bytes, made: Iterable[Splice]) -> bytes:
    """The bytes with splices that are in order."""
    return Spliced(io.BytesIO(data), made).readall()
