"""All the text of a dataset in ISO_IR 192, wherever it stands: as splices, so that nothing else changes.

Promises that every element that (0008,0005) applies to is read in the character set that holds where it stands, an
item's own included (PS3.3 C.12.1.1.2), and is the same text afterwards. What has no known VR, because it is private and
was written without one or as UN, stays as it is: nobody can tell whether it is text.
Unreadable, with the attribute: text that is not in the character set that is declared.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from dicomnode.dicom import names, syntaxes, vrs
from dicomnode.dicom.elements import UNDEFINED
from dicomnode.dicom.instance import CHARACTER_SET, Written, safe
from dicomnode.dicom.keywords import show
from dicomnode.dicom.splice import Splice
from dicomnode.dicom.stream import ITEM_END, Head, Reading, Walk, is_sequence
from dicomnode.dicom.syntaxes import Syntax
from dicomnode.dicom.vrs import PIXELS, SHORT
from dicomnode.errors import Unreadable

UTF8: Final = "ISO_IR 192"
_LONGEST: Final = 1 << 20
_SHORTEST: Final = 0xFFFE


class Recoder(Walk):
    """The splices that come of going over a dataset, or over items; `splices` are not in order."""

    def __init__(self, reading: Reading, written: Written, character_set: str) -> None:
        super().__init__(reading, written.syntax)
        self._assumed, self._character_set = written.assumed, character_set
        self.splices: list[Splice] = []

    def recode(self, left: Container[int]) -> list[Splice]:
        """Those of a whole dataset as far as its pixels; the attributes that are `left` are somebody else's."""
        known = 0
        for head, *_ in self.top(()):
            if head.tag in PIXELS:
                break
            if head.tag in left:
                del self.splices[known:]
            known = len(self.splices)
        return self.splices

    def over(self, head: Head, start: int, syntax: Syntax, depth: int) -> int:
        """As in Walk."""
        vr = vrs.first(head.tag) if head.vr in (b"", b"UN") else head.vr.decode("ascii")
        if is_sequence(head, syntax) or (vr == "SQ" and head.vr == b"UN"):
            begin = self._reading.pos
            end = None if head.length == UNDEFINED else begin + head.length
            grown = self.items(end, syntaxes.inside(head.vr, syntax), depth)
            return self._resized(begin, head.length, grown, syntax)
        if head.length == UNDEFINED:
            return super().over(head, start, syntax, depth)
        if depth and head.tag & 0xFFFF == 0:  # a group length, which would be wrong
            self._reading.skip(head.length)
            return self._put(start, b"")
        if depth and head.tag == CHARACTER_SET:
            self._character_set = self._reading.value(head.length).decode("latin-1").strip(" \0")
            return self._put(start, _element(head, "CS", UTF8.encode(), syntax))
        if vr in names.TEXT_VRS:
            return self._text(head, start, vr, syntax)
        return super().over(head, start, syntax, depth)

    def item(self, length: int, syntax: Syntax, depth: int) -> int:
        """As in Walk."""
        start, outer, grown = self._reading.pos, self._character_set, 0
        end = None if length == UNDEFINED else start + length
        while end is None or self._reading.pos < end:
            at = self._reading.pos
            head = self._reading.head(self._reading.take(8), syntax)
            if head.tag == ITEM_END:
                break
            grown += self.over(head, at, syntax, depth)
        if end is not None and self._reading.pos != end:
            raise Unreadable("an element goes beyond its item")
        self._character_set = outer
        return self._resized(start, length, grown, syntax)

    def _text(self, head: Head, start: int, vr: str, syntax: Syntax) -> int:
        if head.length > _LONGEST:
            raise Unreadable(f"the text in {show(head.tag)} is over 1 MiB")
        value = self._reading.value(head.length)
        if value.isascii() and b"\x1b" not in value:
            return 0
        text, good = names.decode(value, self._character_set, vr, self._assumed)
        if not good:
            declared = safe(self._character_set) or "ISO-IR 6"
            raise Unreadable(f"the text in {show(head.tag)} is not valid {declared}, so it cannot be re-encoded")
        return self._put(start, _element(head, head.vr.decode("ascii") or vr, text.rstrip(" ").encode(), syntax))

    def _put(self, start: int, data: bytes) -> int:
        """Instead of the element that ends here; by how many bytes that is more."""
        self.splices.append(Splice(start, self._reading.pos, data))
        return len(data) - (self._reading.pos - start)

    def _resized(self, begin: int, length: int, grown: int, syntax: Syntax) -> int:
        """Write down the length of a sequence or an item whose value begins there and has grown."""
        if grown and length != UNDEFINED:
            if not 0 <= length + grown < UNDEFINED:
                raise Unreadable("a sequence would be too long")
            self.splices.append(Splice(begin - 4, begin, syntax.long.pack(length + grown)))
        return grown


def _element(head: Head, vr: str, value: bytes, syntax: Syntax) -> bytes:
    value += b" " * (len(value) % 2)
    return written_head(head.tag, vr, len(value), syntax) + value


def written_head(tag: int, vr: str, length: int, syntax: Syntax) -> bytes:
    """What stands before a value of so many bytes. Unreadable: they are more than fit."""
    group, number, raw = tag >> 16, tag & 0xFFFF, vr.encode("ascii")
    if syntax.implicit:
        return syntax.head.pack(group, number, length)
    if raw not in SHORT:
        return syntax.head.pack(group, number, raw, 0) + syntax.long.pack(length)
    if length > _SHORTEST:
        raise Unreadable(f"the value of {show(tag)} would be over 64 KiB")
    return syntax.head.pack(group, number, raw, length)
