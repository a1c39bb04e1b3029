"""A dataset that is read from the front to the back, an element's head at a time, without holding it in memory.

Where elements.py walks bytes that are there, this is for files of any size: nothing is mapped into memory, so a disk
that fails is an OSError, and no signal. Unreadable: what can be no element, or is cut short.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Collection, Iterator
from typing import Final, Literal, NamedTuple

from dicomnode.dicom import deflate, syntaxes, vrs
from dicomnode.dicom.classes import DEFLATED
from dicomnode.dicom.deflate import File
from dicomnode.dicom.elements import DEPTH, UNDEFINED
from dicomnode.dicom.syntaxes import Syntax
from dicomnode.dicom.vrs import PIXELS, SHORT, UNITS
from dicomnode.errors import Unreadable

CHUNK: Final = 256 * 1024
TAPE: Final = 1 << 20
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD


Source = File | io.BufferedReader


class Head(NamedTuple):
    """An element's tag, VR (b'' where none is written) and length."""

    tag: int
    vr: bytes
    length: int


class Reading:
    """The bytes of a dataset, one after the other; `size` of them at most."""

    def __init__(self, file: Source, size: int = sys.maxsize) -> None:
        self._file = file
        self.pos, self._size = 0, size
        self.tape: bytearray | None = None
        """Where there is one, all that is taken or skipped is kept on it, within a cap."""

    def take(self, length: int) -> bytes:
        """So many bytes, or as many as there are."""
        found = self._file.read(min(length, self._size - self.pos))
        self.pos += len(found)
        if self.tape is not None:
            if len(self.tape) + len(found) > TAPE:
                raise Unreadable("a value that has to be kept is over 1 MiB")
            self.tape += found
        return found

    def piece(self) -> bytes:
        """Some of what is left; b'' at the end."""
        return self.take(CHUNK)

    def skip(self, length: int) -> None:
        """Go on after so many bytes. Unreadable: there are fewer."""
        if length > self._size - self.pos:
            raise Unreadable("truncated")
        if self.tape is None and self._file.seekable():
            self._file.seek(length, os.SEEK_CUR)
            self.pos += length
            return
        while length:
            if not (found := self.take(min(length, CHUNK))):
                raise Unreadable("truncated")
            length -= len(found)

    def value(self, length: int) -> bytes:
        """So many bytes. Unreadable: there are fewer."""
        value = self.take(length)
        if len(value) < length:
            raise Unreadable("truncated")
        return value

    def head(self, raw: bytes, syntax: Syntax) -> Head:
        """The head of an element that begins with these eight bytes, which were taken."""
        if len(raw) < 8:
            raise Unreadable("it ends in an element's header, or before a delimiter")
        if syntax.implicit or raw[:2] in (b"\xfe\xff", b"\xff\xfe"):
            group, number, length = syntax.item.unpack(raw)
            return Head(group << 16 | number, b"", length)
        group, number, vr, length = syntax.head.unpack(raw)
        if vr not in SHORT:
            length = self._long(vr, syntax)
        return Head(group << 16 | number, vr, length)

    def _long(self, vr: bytes, syntax: Syntax) -> int:
        raw = self.take(4)
        if len(raw) < 4 or not (vr.isalpha() and vr.isupper()):
            raise Unreadable("there is no element where one should be")
        length: int = syntax.long.unpack(raw)[0]
        return length

    def item(self, syntax: Syntax) -> tuple[int, int]:
        """The tag and the length of the item, or the delimiter, that is next in a sequence."""
        raw = self.take(8)
        if len(raw) < 8:
            raise Unreadable("a sequence lacks its end")
        group, number, length = syntax.item.unpack(raw)
        return group << 16 | number, length


def opened(file: Source, size: int, transfer_syntax_uid: str) -> Reading:
    """The dataset of `size` bytes that begins here; inflated, where it is deflated."""
    if transfer_syntax_uid in DEFLATED:
        return Reading(inflated(file, size, transfer_syntax_uid))
    return Reading(file, size)


def inflated(file: Source, size: int, transfer_syntax_uid: str) -> Source:
    """The dataset of `size` bytes that begins here as a file; the same one, where it is not deflated."""
    if transfer_syntax_uid in DEFLATED:
        return io.BufferedReader(deflate.Stream(file, size), CHUNK)
    return file


def is_sequence(head: Head, syntax: Syntax) -> bool:
    """Whether items follow. UN with a length is a value, be it a sequence or not: nobody need look into it."""
    if head.length == UNDEFINED:
        return head.tag not in PIXELS and (head.vr in (b"", b"SQ", b"UN") or head.vr not in UNITS)
    return head.vr == b"SQ" or (syntax.implicit and vrs.dictionary(head.tag) == "SQ")


class Walk:
    """Goes over the elements of a dataset, which was walked when it was received: here its structure is trusted."""

    def __init__(self, reading: Reading, syntax: Syntax) -> None:
        self._reading, self._syntax = reading, syntax

    def top(self, kept: Collection[int]) -> Iterator[tuple[Head, int, int, bytes | None]]:
        """The elements of the dataset itself: head, where it starts, how long the head is, its bytes if it is `kept`.

        Where there is no element, or none that ends, behind the pixels, are bytes after the dataset.
        """
        reading, syntax, pixels = self._reading, self._syntax, False
        order: Literal["little", "big"] = "little" if syntax.little else "big"
        tags = {(tag >> 16).to_bytes(2, order) + (tag & 0xFFFF).to_bytes(2, order) for tag in kept}
        while True:
            start, raw = reading.pos, reading.take(8)
            tape = reading.tape = bytearray(raw) if raw[:4] in tags else None
            try:
                head = reading.head(raw, syntax)
            except Unreadable:
                reading.tape = None
                return
            at = reading.pos - start
            try:
                self.over(head, start, syntax, 0)
            except Unreadable:
                if pixels:
                    return
                raise
            finally:
                reading.tape = None
            pixels = pixels or head.tag in PIXELS
            yield head, start, at, bytes(tape) if tape is not None else None

    def over(self, head: Head, start: int, syntax: Syntax, depth: int) -> int:
        """Go over the value of an element that starts there; by how many bytes it grows."""
        if head.length != UNDEFINED:
            self._reading.skip(head.length)
        elif is_sequence(head, syntax):
            return self.items(None, syntaxes.inside(head.vr, syntax), depth)
        else:
            while (item := self._reading.item(syntax))[0] == ITEM:  # fragments
                self._reading.skip(item[1])
        return 0

    def items(self, end: int | None, syntax: Syntax, depth: int) -> int:
        """Go over items until `end`, or the delimiter; by how many bytes they grow."""
        if depth + 1 >= DEPTH:
            raise Unreadable(f"sequences are nested {DEPTH} deep")
        grown = 0
        while end is None or self._reading.pos < end:
            tag, length = self._reading.item(syntax)
            if tag == SEQUENCE_END:
                break
            if tag != ITEM:
                raise Unreadable("there is no item where one should be")
            grown += self.item(length, syntax, depth + 1)
        if end is not None and self._reading.pos != end:
            raise Unreadable("an item goes beyond its sequence")
        return grown

    def item(self, length: int, syntax: Syntax, depth: int) -> int:
        """Go over one item; by how many bytes it grows."""
        if length != UNDEFINED:
            self._reading.skip(length)
            return 0
        grown, start = 0, self._reading.pos
        while (head := self._reading.head(self._reading.take(8), syntax)).tag != ITEM_END:
            grown += self.over(head, start, syntax, depth)
            start = self._reading.pos
        return grown
