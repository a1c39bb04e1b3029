"""A dataset that is not compressed, written anew in Implicit or Explicit VR Little Endian (PS3.5 10.1), as it is read.

From either of these, Explicit VR Big Endian, or Deflated. Promises that every value stays what it is, byte for byte, or
number for number where the byte order changes, and that memory stays flat however large a value is. Two things change
that mean nothing: group lengths are left out (PS3.5 7.2), and sequences and items that hold something end with
delimiters instead of having a length (7.5). A VR that is not written down comes from the dictionary; private elements,
unknown ones, and values that do not fit their VR become UN (6.2.2).
Unreadable: what cannot be written so without becoming something else; `survey` says it before anything is written.
Reads from the front to the back and never maps a file into memory: a disk that fails is an OSError, and no signal.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final

from dicomnode.dicom import stream, syntaxes, vrs
from dicomnode.dicom.elements import DEPTH, UNDEFINED
from dicomnode.dicom.keywords import show
from dicomnode.dicom.stream import CHUNK, ITEM, ITEM_END, SEQUENCE_END, Head, Reading, Source, is_sequence
from dicomnode.dicom.syntaxes import EXPLICIT, IMPLICIT, Syntax
from dicomnode.dicom.vrs import BITS_ALLOCATED, HINTS, PIXELS, SHORT, UNITS, Hint
from dicomnode.errors import Unreadable

Put = Callable[[bytes], object]
"""Takes the next bytes of what is written."""

_ARRAYS: Final = {2: "H", 4: "I", 8: "Q"}


def survey(file: Source, size: int, source: str, target: str) -> Hint:
    """Go over the dataset of `size` bytes that begins here, and see that it can be rewritten; what `rewrite` must know.

    `source` and `target` are transfer syntax UIDs. Unreadable: it cannot. The values are not read, but for inflating.
    """
    writer = _Writer(stream.opened(file, size, source), syntaxes.of(source), syntaxes.of(target), None)
    writer.run({})
    return writer.top


def rewrite(file: Source, size: int, source: str, target: str, hint: Hint, put: Put) -> None:
    """Write the dataset anew; `hint` comes from `survey`. All of it was read when this returns, but for padding."""
    reading = stream.opened(file, size, source)
    if syntaxes.of(source) is syntaxes.of(target):  # deflated: that was Explicit VR Little Endian before (PS3.5 A.5)
        while piece := reading.piece():
            put(piece)
    else:
        _Writer(reading, syntaxes.of(source), syntaxes.of(target), put).run(hint)


# -- writing -----------------------------------------------------------------------------------------------------------


class _Writer:
    """Reads elements in one syntax and puts them in another; `put` None: looks whether it can, and reads no values."""

    def __init__(self, reading: Reading, source: Syntax, target: Syntax, put: Put | None) -> None:
        self._reading, self._source, self._target, self._put = reading, source, target, put
        self._ready = bytearray()
        self.top: Hint = {}
        """The hints of the dataset itself, when all of it was read."""

    def run(self, hint: Hint) -> None:
        """Write the whole dataset."""
        self.top = self._elements(self._source, None, hint, 0)
        self._flush()

    def _elements(self, syntax: Syntax, end: int | None, hint: Hint, depth: int) -> Hint:
        """Write elements until `end`, an Item Delimitation Item, or the end of all. Hints go down into sequences."""
        known = dict(hint)
        while end is None or self._reading.pos < end:
            head = self._head(syntax, is_top=depth == 0)
            if head is None:
                break
            if head.tag == ITEM_END:
                if end is not None:
                    raise Unreadable("an item goes on after its end")
                break
            self._element(head, syntax, known, depth)
        else:
            if self._reading.pos > end:
                raise Unreadable("an element goes beyond its item")
        return known

    def _head(self, syntax: Syntax, is_top: bool) -> Head | None:
        """The header of the next element; None at the end of the dataset, at which zeros mean nothing."""
        raw = self._reading.take(8)
        if is_top and not raw.strip(b"\0"):
            self._only_zeros()
            return None
        head = self._reading.head(raw, syntax)
        if head.tag >> 16 == 0xFFFE and (is_top or head.tag != ITEM_END):
            raise Unreadable("there is an item outside of a sequence")
        return head

    def _only_zeros(self) -> None:
        while piece := self._reading.piece():
            if piece.strip(b"\0"):
                raise Unreadable("there are bytes after the dataset")

    def _element(self, head: Head, syntax: Syntax, known: dict[int, int], depth: int) -> None:
        if head.tag & 0xFFFF == 0 and head.length == 4:  # a group length
            self._reading.skip(4)
        elif is_sequence(head, syntax):
            self._sequence(head, syntax, known, depth)
        elif head.length == UNDEFINED:
            raise Unreadable(f"{show(head.tag)} is compressed")
        else:
            self._plain(head, syntax, known)

    def _sequence(self, head: Head, syntax: Syntax, known: Hint, depth: int) -> None:
        if depth + 1 >= DEPTH:
            raise Unreadable(f"sequences are nested {DEPTH} deep")
        end = None if head.length == UNDEFINED else self._reading.pos + head.length
        self._write_head(head.tag, b"SQ", UNDEFINED if head.length else 0)
        inside = syntaxes.inside(head.vr, syntax)
        while end is None or self._reading.pos < end:
            tag, length = self._reading.item(inside)
            if end is None and tag == SEQUENCE_END:
                break
            self._item(tag, length, inside, known, depth + 1)
        if end is not None and self._reading.pos > end:
            raise Unreadable("an item goes beyond its sequence")
        if head.length:
            self._write(IMPLICIT.item.pack(0xFFFE, 0xE0DD, 0))

    def _item(self, tag: int, length: int, syntax: Syntax, known: Hint, depth: int) -> None:
        if tag != ITEM:
            raise Unreadable("there is no item where one should be")
        self._write(IMPLICIT.item.pack(0xFFFE, 0xE000, UNDEFINED if length else 0))
        if length:
            end = None if length == UNDEFINED else self._reading.pos + length
            self._elements(syntax, end, known, depth)
            self._write(IMPLICIT.item.pack(0xFFFE, 0xE00D, 0))

    def _plain(self, head: Head, syntax: Syntax, known: dict[int, int]) -> None:
        """An element with a value, in which only the byte order may change."""
        tag, vr, length = head
        unit = 1 if syntax.little else _unit(head, known)
        self._write_head(tag, vr or vrs.of(tag, length, known), length)
        if tag in HINTS and length == 2:
            value = self._reading.value(2)
            known[tag] = int.from_bytes(value, "little" if syntax.little else "big")
            self._write(_swapped(value, unit))
        elif self._put is None:
            self._reading.skip(length)
        else:
            self._copy(length, unit)

    def _copy(self, length: int, unit: int) -> None:
        while length:
            value = self._reading.value(min(length, CHUNK))
            self._write(_swapped(value, unit))
            length -= len(value)

    def _write_head(self, tag: int, vr: bytes, length: int) -> None:
        group, number = tag >> 16, tag & 0xFFFF
        if self._target.implicit:
            self._write(IMPLICIT.head.pack(group, number, length))
        elif vr in SHORT:
            self._write(EXPLICIT.head.pack(group, number, vr, length))
        else:
            self._write(EXPLICIT.head.pack(group, number, vr, 0) + EXPLICIT.long.pack(length))

    def _write(self, data: bytes) -> None:
        if self._put is None:
            return
        self._ready += data
        if len(self._ready) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        if self._put and self._ready:
            self._put(bytes(self._ready))
            self._ready.clear()


def _swapped(value: bytes, unit: int) -> bytes:
    """Numbers of so many bytes in the other byte order."""
    if unit == 1:
        return value
    numbers = array(_ARRAYS[unit], value)
    numbers.byteswap()
    return numbers.tobytes()


def _unit(head: Head, known: Hint) -> int:
    """Of how many bytes the numbers of a big-endian value are. Unreadable: nobody can tell, or the last is not whole.

    Pixels larger than the words of their VR are swapped by the word (PS3.5 8.2), and by some writers as a whole.
    """
    unit = UNITS.get(head.vr, 0)
    if not unit or head.length % unit or (head.tag in PIXELS and known.get(BITS_ALLOCATED, 8) > 8 * unit):
        raise Unreadable(f"the byte order of {show(head.tag)} cannot be changed")
    return unit
