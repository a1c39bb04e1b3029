"""The elements of a dataset, by its bytes: the one parser in the house, for stored instances and for Identifiers.

Promises to walk by declared lengths alone, iteratively, within caps on depth and number. What a length skips (values,
pixels, items) is not looked into. What is only odd is kept and noted: trailing bytes, odd lengths, unknown VRs, wrong
order, repeated elements, group 0000 or 0002. Unreadable: truncated, over a cap, or bytes that can be no element.
"""

from __future__ import annotations

import mmap
from collections.abc import Container, Iterator
from typing import Final

from pydicom._dicom_dict import DicomDictionary

from dicomnode.dicom.keywords import show
from dicomnode.dicom.syntaxes import IMPLICIT, IMPLICIT_BIG, Syntax, inside
from dicomnode.dicom.vrs import LONG, PIXELS, SHORT
from dicomnode.errors import Unreadable

Buffer = bytes | mmap.mmap

UNDEFINED: Final = 0xFFFFFFFF
DEPTH: Final = 64
"""Sequences open at once: one fewer is still walked."""
ELEMENTS: Final = 3_000_000
"""Elements, items and fragments that are walked in one dataset; those skipped by a length do not count."""

_NOTES: Final = 20
_ZEROS: Final = 64  # bytes of zero fill after a dataset without pixels; more is a hole in the file
_CHUNK: Final = 1024 * 1024
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_FIRST, _DELIMITERS = 0x00080000, 0xFFFE0000  # tags of a dataset are from the one, and below the other
EVERY: Final = range(1 << 32)
"""All tags."""

_KNOWN_VRS: Final = SHORT | LONG | {b""}
_BULK_VRS: Final = frozenset(b"OB OD OF OL OV OW".split())

Element = tuple[int, bytes, int, int, int]
"""A top-level element: tag, VR (b'' where none is written), start of its value, declared length, end of its value.

The length is UNDEFINED when delimiters end the value; the end is then that of the delimiter.
"""


def elements(
    data: Buffer, start: int, syntax: Syntax, notes: list[str], wanted: Container[int] = EVERY
) -> Iterator[Element]:
    """The top-level elements of data[start:], in their order; all are walked, and those handed on that are `wanted`.

    What is odd is appended to `notes`. Ends at trailing bytes, with a note. Unreadable: as the module says.
    """
    walker = _Walker(data, start)
    while walker.pos < walker.end:
        yield from walker.ordinary(syntax, wanted)
        if walker.pos >= walker.end:
            return
        element = walker.closely(syntax, notes)
        if element is None:
            return
        if element[0] in wanted and element[0] >> 16 != 0xFFFE:
            yield element


def fragments(data: Buffer, at: int, syntax: Syntax) -> Iterator[tuple[int, int]]:
    """Start and stop of each fragment of the encapsulated Pixel Data whose value starts at `at`; first the offsets'."""
    return _Walker(data).fragments(at, syntax)


def items(data: Buffer, sequence: Element, syntax: Syntax) -> Iterator[tuple[int, int]]:
    """Start and stop of what is in each item of a sequence. Unreadable: as the module says."""
    _, vr, at, _, end = sequence
    syntax = inside(vr, syntax)
    walker = _Walker(data, at)
    while at < end:
        tag, length = walker.item(at, syntax)
        if tag == _SEQUENCE_END:
            return
        start = at + 8
        if length == UNDEFINED:
            stop = walker.item_end(start, syntax)
            at = stop + 8
        else:
            at = stop = start + length
        if at > end:
            raise Unreadable("truncated: an item goes beyond its sequence")
        yield start, stop


class _Walker:
    """The bytes, where they end, and how many more elements may be walked; of the top level, how far it has come."""

    __slots__ = ("data", "end", "last", "left", "pixels", "pos")

    def __init__(self, data: Buffer, pos: int = 0) -> None:
        self.data = data
        self.end = len(data)
        self.left = ELEMENTS
        self.pos = pos
        self.last = -1
        """The highest tag so far."""
        self.pixels = False
        """Whether Pixel Data was seen."""

    def ordinary(self, syntax: Syntax, wanted: Container[int]) -> list[Element]:
        """Go on while nothing about an element needs a closer look, which is true of nearly all; those wanted."""
        data, end, pos, last, left = self.data, self.end, self.pos, max(self.last, _FIRST - 1), self.left
        found: list[Element] = []
        implicit, head, long = syntax.implicit, syntax.head.unpack_from, syntax.long.unpack_from
        while end - pos >= 12:
            if implicit:
                group, number, length = head(data, pos)
                vr, at = b"", pos + 8
            else:
                group, number, vr, length = head(data, pos)
                at = pos + 8
                if vr not in SHORT:
                    if vr not in LONG:
                        break
                    at = pos + 12
                    (length,) = long(data, pos + 8)
            tag, stop = group << 16 | number, at + length
            if not last < tag < _DELIMITERS or length & 1 or stop > end or left <= 1:
                break
            left -= 1
            if tag in wanted:
                found.append((tag, vr, at, length, stop))
            if tag in PIXELS:
                self.pixels = True
            pos, last = stop, tag
        if pos > self.pos:
            self.pos, self.last, self.left = pos, last, left
        return found

    def closely(self, syntax: Syntax, notes: list[str]) -> Element | None:
        """The next element, about which something is odd; None for bytes after the dataset."""
        pos, last = self.pos, self.last
        try:
            element = self.element(pos, syntax)
            if element[0] <= last:
                _check_order(element, self.pixels)
        except Unreadable:
            if not self.is_trailing(pos, last, self.pixels, syntax):
                raise
            note(notes, f"{self.end - pos} bytes after the dataset")
            return None
        _note_oddities(element, last, notes)
        tag, self.pos = element[0], element[4]
        if tag >> 16 != 0xFFFE:
            self.last = max(last, tag)
            self.pixels = self.pixels or tag in PIXELS
        return element

    def element(self, pos: int, syntax: Syntax) -> Element:
        """The element at `pos`, walked to its end."""
        tag, vr, at, length = self.head(pos, syntax)
        if tag >> 16 == 0xFFFE and (tag == _ITEM or length == UNDEFINED):
            raise Unreadable(f"an item outside a sequence, at byte {pos}")
        if length != UNDEFINED:
            stop = at + length
            if stop > self.end:
                raise Unreadable(f"truncated: the value of {show(tag)} goes beyond the end")
        elif _is_bulk(tag, vr):
            stop = at + 8  # the Sequence Delimitation Item, which fragments() has seen
            for _, after in self.fragments(at, syntax):
                stop = after + 8
        else:
            stop = self.sequence(at, _content(tag, vr, syntax, self.data, at))
        return tag, vr, at, length, stop

    def head(self, pos: int, syntax: Syntax) -> tuple[int, bytes, int, int]:
        """Tag, VR ('' where none is written), where the value starts, its declared length."""
        self.left -= 1
        if self.left < 0:
            raise Unreadable(f"over {ELEMENTS} elements")
        data = self.data
        if self.end - pos < 8:
            raise Unreadable("truncated: the file ends in an element header, or before a delimiter")
        if syntax.implicit:
            group, element, length = syntax.head.unpack_from(data, pos)
            return group << 16 | element, b"", pos + 8, length
        group, element, vr, length = syntax.head.unpack_from(data, pos)
        tag = group << 16 | element
        if vr in SHORT:
            return tag, vr, pos + 8, length
        if group == 0xFFFE:
            return tag, b"", pos + 8, syntax.long.unpack_from(data, pos + 4)[0]
        # PS3.5 7.1.2: a VR that is not in the standard yet will have the 32-bit length.
        if vr not in LONG and not (vr.isalpha() and vr.isupper()):
            raise Unreadable(f"no element where one should be, at byte {pos}")
        if self.end - pos < 12:
            raise Unreadable("truncated: the file ends in an element header")
        return tag, vr, pos + 12, syntax.long.unpack_from(data, pos + 8)[0]

    def item(self, pos: int, syntax: Syntax) -> tuple[int, int]:
        """Tag and length of the item or Sequence Delimitation Item at `pos`."""
        self.left -= 1
        if self.left < 0:
            raise Unreadable(f"over {ELEMENTS} items")
        if self.end - pos < 8:
            raise Unreadable("truncated: a sequence or Pixel Data lacks its delimiter")
        group, element, length = syntax.item.unpack_from(self.data, pos)
        tag = group << 16 | element
        if tag not in (_ITEM, _SEQUENCE_END):
            raise Unreadable(f"no item where one should be, at byte {pos}")
        return tag, length

    def item_end(self, pos: int, syntax: Syntax) -> int:
        """Where the Item Delimitation Item is of the item of undefined length that begins at `pos`."""
        while self.head(pos, syntax)[0] != _ITEM_END:
            pos = self.element(pos, syntax)[4]
        return pos

    def fragments(self, pos: int, syntax: Syntax) -> Iterator[tuple[int, int]]:
        """Start and stop of each fragment's bytes, by their lengths alone: they may hold any bytes (PS3.5 A.4)."""
        while True:
            tag, length = self.item(pos, syntax)
            if tag == _SEQUENCE_END:
                return
            start, pos = pos + 8, pos + 8 + length
            if pos > self.end:
                raise Unreadable("truncated: a fragment of Pixel Data goes beyond the end")
            yield start, pos

    def sequence(self, pos: int, syntax: Syntax) -> int:
        """The first byte after the sequence of undefined length whose first item is at `pos`. Not recursive."""
        parents: list[Syntax] = []
        inside = False  # an item of undefined length of the innermost sequence
        while True:
            if not inside:
                tag, length = self.item(pos, syntax)
                pos += 8
                if tag == _SEQUENCE_END:
                    if not parents:
                        return pos
                    syntax, inside = parents.pop(), True
                elif length == UNDEFINED:
                    inside = True
                else:
                    pos += length
                continue
            tag, vr, at, length = self.head(pos, syntax)
            if tag == _ITEM_END:
                pos, inside = at, False
            elif tag >> 16 == 0xFFFE:
                raise Unreadable(f"an item lacks its delimiter, at byte {pos}")
            elif length == UNDEFINED and not _is_bulk(tag, vr):
                if len(parents) + 2 >= DEPTH:
                    raise Unreadable(f"sequences are nested {DEPTH} deep")
                parents.append(syntax)
                pos, syntax, inside = at, _content(tag, vr, syntax, self.data, at), False
            else:
                pos = self.element(pos, syntax)[4]

    def is_trailing(self, pos: int, last: int, pixels: bool, syntax: Syntax) -> bool:
        """Whether what cannot be walked at `pos` lies after the dataset, rather than being its broken part."""
        size = self.end - pos
        if (pixels or size <= _ZEROS) and not self.data[pos : min(pos + _CHUNK, self.end)].strip(b"\0"):
            return last >= 0
        if not pixels or size == 1:
            return pixels
        if size < 8:
            return int.from_bytes(self.data[pos : pos + 2], "little" if syntax.little else "big") <= last >> 16
        group, element, _ = syntax.item.unpack_from(self.data, pos)
        if (group << 16 | element) <= last:
            return True
        if syntax.implicit:
            return group % 2 == 0 and (group << 16 | element) not in DicomDictionary
        return self.data[pos + 4 : pos + 6] not in _KNOWN_VRS


def _check_order(element: Element, pixels: bool) -> None:
    """Unreadable for an element out of order that is more likely no element: zero fill, or bytes after the pixels."""
    tag, vr, *_ = element
    likely = tag in DicomDictionary or (vr != b"" and vr in _KNOWN_VRS)
    if tag == 0 or (pixels and not likely):
        raise Unreadable("bytes that are no element")


def _is_bulk(tag: int, vr: bytes) -> bool:
    """Whether an undefined length means fragments here, rather than items that hold elements (PS3.5 A.4)."""
    return vr in _BULK_VRS or tag in PIXELS


def _content(tag: int, vr: bytes, syntax: Syntax, data: Buffer, at: int) -> Syntax:
    """How the items of a sequence of undefined length are written; `at` is its first item.

    UN of undefined length holds implicit VR, little endian (PS3.5 6.2.2 note 4); some big-endian writers differ.
    """
    if vr in (b"", b"SQ"):
        return syntax
    if vr != b"UN":
        if vr in _KNOWN_VRS:
            raise Unreadable(f"{show(tag)} cannot have an undefined length")
        return syntax
    return IMPLICIT_BIG if data[at : at + 2] == b"\xff\xfe" else IMPLICIT


def _note_oddities(element: Element, last: int, notes: list[str]) -> None:
    if len(notes) >= _NOTES:  # a dataset that is odd throughout is described by its first oddities
        return
    tag, vr, _, length, _ = element
    where = show(tag)
    if tag >> 16 == 0xFFFE:
        note(notes, f"stray delimiter {where}")
    elif tag <= last:
        note(notes, f"{where} out of order" if tag < last else f"{where} is repeated")
    if length & 1 and length != UNDEFINED:
        note(notes, f"odd length at {where}")
    if tag >> 16 in (0x0000, 0x0002):
        note(notes, f"{where} inside the dataset")
    if vr not in _KNOWN_VRS:
        note(notes, f"unknown VR {vr.decode('ascii')} at {where}")


def note(notes: list[str], text: str) -> None:
    """Append `text` once."""
    if text not in notes:
        notes.append(text)
