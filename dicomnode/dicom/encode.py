"""Answers, without a Dataset each: a C-FIND response's Identifier as bytes (PS3.4 C.4.1.1.3.2).

Promises a little-endian dataset in tag order in which no character is lost: the character set that was asked for if it
carries every value, else ISO_IR 192. What an object says that its VR cannot hold (a number that is none, 64 KiB of
text in a short VR) is answered as unknown, with zero length: one odd object spoils no query. Nothing here fails.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from dicomnode.dicom import instance, names

_UTF8: Final = "ISO_IR 192"
_LONG_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_IMPLICIT: Final = struct.Struct("<HHL")
_SHORT: Final = struct.Struct("<HH2sH")
_LONG: Final = struct.Struct("<HH2s2xL")
_LONGEST: Final = 0xFFFE
"""Bytes in a value of a short VR (PS3.5 7.1.2)."""


@dataclass(frozen=True, slots=True)
class Element:
    """One attribute of an answer: text, multi-values joined by backslashes, integers in decimal; '' is zero length."""

    tag: int
    vr: str
    value: str


def identifier(elements: Iterable[Element], *, implicit: bool, character_set: str) -> bytes:
    """The Identifier that holds `elements`. (0008,0005) is ours to set: present when a value is not ASCII."""
    ordered = sorted((each for each in elements if each.tag != instance.CHARACTER_SET), key=attrgetter("tag"))
    chosen = _character_set(ordered, character_set)
    if chosen:
        ordered = sorted((*ordered, Element(instance.CHARACTER_SET, "CS", chosen)), key=attrgetter("tag"))
    return b"".join(_element(each.tag, each.vr, _raw(each, chosen), implicit) for each in ordered)


def _character_set(elements: list[Element], asked: str) -> str:
    """'' when all text is ASCII; else the set that was asked for if it carries everything, else UTF-8."""
    texts = [each.value for each in elements if each.vr in names.TEXT_VRS and not each.value.isascii()]
    if not texts:
        return ""
    return asked if asked and all(names.encodable(text, asked) for text in texts) else _UTF8


def _raw(element: Element, character_set: str) -> bytes:
    """The value's bytes, padded to an even length (PS3.5 6.2)."""
    vr, value = element.vr, element.value
    if not value:
        return b""
    if vr in instance.NUMBERS:
        return _numbers(vr, value)
    if vr in names.TEXT_VRS:
        raw = value.encode("ascii") if value.isascii() else names.encode(value, vr, character_set)
    else:
        raw = value.encode("ascii", "replace")
    return raw if len(raw) % 2 == 0 else raw + (b"\0" if vr in ("UI", "OB", "UN") else b" ")


def _numbers(vr: str, value: str) -> bytes:
    try:
        return b"".join(struct.pack(f"<{instance.NUMBERS[vr]}", int(number)) for number in value.split("\\"))
    except (ValueError, struct.error):
        return b""


def _element(tag: int, vr: str, raw: bytes, implicit: bool) -> bytes:
    group, number = tag >> 16, tag & 0xFFFF
    if implicit:
        return _IMPLICIT.pack(group, number, len(raw)) + raw
    head = _LONG if vr in _LONG_VRS else _SHORT
    if head is _SHORT and len(raw) > _LONGEST:
        raw = b""
    return head.pack(group, number, vr.encode("ascii"), len(raw)) + raw
