"""Bounded inflating, used only where the configuration enables deflated transfer syntaxes (PS3.5 A.5).

Promises that no more than `cap` bytes are ever made, however small the input is. Never reads files. Fails with
Unreadable on a stream that is corrupt, cut short, or too big.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from dicomnode.errors import Unreadable

CAP: Final = 256 * 1024 * 1024
_STEP: Final = 1024 * 1024
_RATIO: Final = 512  # deflate reaches 1030:1 at most, on constant bytes; real datasets stay under 100:1
_RATIO_FROM: Final = 64 * 1024 * 1024  # below this the ratio is no danger, and a blank image may well have it


def inflate(data: bytes | memoryview, cap: int = CAP) -> bytes:
    """The dataset in the raw deflate stream `data`; at most `cap` bytes. Bytes after the stream are ignored (A.5 pads).

    Unreadable: over the cap, over 512:1 and 64 MiB (nothing but a bomb is), corrupt, or cut short.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    out = bytearray()
    try:
        for start in range(0, len(data), _STEP):
            pending = bytes(data[start : start + _STEP])  # a slice of a view would outlive us in a traceback
            while not stream.eof:
                piece = stream.decompress(pending, _STEP)
                pending = stream.unconsumed_tail
                out += piece
                if len(out) > cap or (len(out) > _RATIO_FROM and len(out) > _RATIO * len(data)):
                    raise Unreadable("the deflated dataset is too big when it is inflated")
                if not pending and len(piece) < _STEP:
                    break
    except zlib.error as fault:
        raise Unreadable("the dataset is declared deflated and is not, or is corrupt") from fault
    if not stream.eof:
        raise Unreadable("the deflated dataset ends too early")
    return bytes(out)


def deflate(file: File, put: Callable[[bytes], object]) -> None:
    """Put what is left of a file as a raw deflate stream, padded to an even length (A.5)."""
    stream, made = zlib.compressobj(wbits=-zlib.MAX_WBITS), 0
    while piece := file.read(_STEP):
        packed = stream.compress(piece)
        put(packed)
        made += len(packed)
    last = stream.flush()
    put(last + b"\0" * ((made + len(last)) % 2))


class File(Protocol):
    """What is read from the front to the back: an open file, or somebody who looks at what goes by."""

    def read(self, size: int, /) -> bytes:
        """So many bytes, or as many as there are."""

    def seekable(self) -> bool:
        """Whether what is not wanted can be passed over unread."""

    def seek(self, offset: int, whence: int, /) -> int:
        """As a file does, where it can."""


class Stream(io.RawIOBase):
    """The dataset in the next `size` bytes of a file, inflated as it is read. Errors: as `inflate`."""

    def __init__(self, file: File, size: int) -> None:
        super().__init__()
        self._file, self._left, self._made = file, size, 0
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def readable(self) -> bool:
        """For io."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As io has it: how many bytes were put there, 0 at the end."""
        while not self._stream.eof:
            packed = self._stream.unconsumed_tail or self._packed()
            try:
                found = self._stream.decompress(packed, len(buffer))
            except zlib.error as fault:
                raise Unreadable("the dataset is declared deflated and is not, or is corrupt") from fault
            if found:
                self._made += len(found)
                if self._made > CAP:
                    raise Unreadable("the deflated dataset is too big when it is inflated")
                buffer[: len(found)] = found
                return len(found)
            if not packed:
                raise Unreadable("the deflated dataset ends too early")
        return 0

    def _packed(self) -> bytes:
        found = self._file.read(min(_STEP, self._left))
        self._left -= len(found)
        return found
