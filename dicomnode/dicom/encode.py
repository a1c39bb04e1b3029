"""Datasets of ours as bytes, without a Dataset each: little endian, in tag order.

Promises that no character is lost: the character set that was asked for if it carries every value, else ISO_IR 192.
What an object says that its VR cannot hold (a number that is none, 64 KiB of text in a short VR) is written as unknown,
with zero length: one odd object spoils no query. `identifier` never fails; what it is made of needs a set that carries
the value. The answers to a query are written by answers.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from dicomnode.dicom import instance, names
from dicomnode.dicom.vrs import LONG, NUMBERS

_UTF8: Final = "ISO_IR 192"
_IMPLICIT: Final = struct.Struct("<HHL")
_SHORT: Final = struct.Struct("<HH2sH")
_LONG: Final = struct.Struct("<HH2s2xL")
LONGEST: Final = 0xFFFE
"""Bytes in a value of a short VR (PS3.5 7.1.2)."""


@dataclass(frozen=True, slots=True)
class Element:
    """One attribute: text, multi-values joined by backslashes, integers in decimal; '' is zero length."""

    tag: int
    vr: str
    value: str


def identifier(elements: Iterable[Element], *, implicit: bool, character_set: str) -> bytes:
    """The dataset that holds `elements`. (0008,0005) is ours to set: present when a value is not ASCII."""
    ordered = sorted((each for each in elements if each.tag != instance.CHARACTER_SET), key=attrgetter("tag"))
    chosen = carrying((each.value for each in ordered if each.vr in names.TEXT_VRS), names.spelled(character_set))
    if chosen:
        ordered = sorted((*ordered, Element(instance.CHARACTER_SET, "CS", chosen)), key=attrgetter("tag"))
    return b"".join(element(each, chosen, implicit=implicit) for each in ordered)


def carrying(texts: Iterable[str], asked: str) -> str:
    """'' when all texts are ASCII; else the set that was asked for if it carries everything, else UTF-8."""
    beyond = [text for text in texts if not text.isascii()]
    if not beyond:
        return ""
    return asked if asked and all(names.encodable(text, asked) for text in beyond) else _UTF8


def element(of: Element, character_set: str, *, implicit: bool) -> bytes:
    """One element; `character_set` carries its value."""
    raw = value(of.vr, of.value, character_set)
    return head(of.tag, of.vr, len(raw), implicit=implicit) + raw


def head(tag: int, vr: str, length: int, *, implicit: bool) -> bytes:
    """What stands before the `length` bytes of a value (PS3.5 7.1)."""
    group, number = tag >> 16, tag & 0xFFFF
    if implicit:
        return _IMPLICIT.pack(group, number, length)
    written = vr.encode("ascii")
    return (_LONG if written in LONG else _SHORT).pack(group, number, written, length)


def value(vr: str, text: str, character_set: str) -> bytes:
    """The value's bytes, padded to an even length (PS3.5 6.2)."""
    if vr in NUMBERS:
        return _numbers(vr, text) if text else b""
    if vr in names.TEXT_VRS and not text.isascii():
        raw = names.encode(text, vr, character_set)
    else:
        raw = text.encode("ascii", "replace")
    raw = raw if len(raw) % 2 == 0 else raw + padding(vr)
    return raw if len(raw) <= LONGEST or vr.encode("ascii") in LONG else b""


def padding(vr: str) -> bytes:
    """What makes an odd value even."""
    return b"\0" if vr in ("UI", "OB", "UN") else b" "


def _numbers(vr: str, text: str) -> bytes:
    try:
        return b"".join(struct.pack(f"<{NUMBERS[vr]}", int(number)) for number in text.split("\\"))
    except (ValueError, struct.error):
        return b""
