"""A C-FIND or C-MOVE Identifier as it was asked (PS3.4 C.4.1.1.3, C.4.2.1.4).

Promises the keys with their values decoded to Unicode and otherwise untouched: wild cards, ranges and lists are legal
where a stored value would not be, so nothing is validated. Never looks into sequences. BadIdentifier: bytes that are
no dataset in the negotiated transfer syntax, or over 4 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydicom._dicom_dict import DicomDictionary

from dicomnode.dicom import elements, instance, names
from dicomnode.errors import BadIdentifier, Unreadable

CAP: Final = 4 * 1024 * 1024
_LEVEL: Final = 0x00080052
_NO_TEXT: Final = frozenset(("SQ", "AT", "OB", "OW", "OF", "OD", "OL", "OV", "FL", "FD"))


@dataclass(frozen=True, slots=True)
class Key:
    """One key. Multi-values are joined by backslashes; '' asks for the attribute and matches everything.

    `vr` is UN for a private or unknown attribute. A sequence, a tag list, binary and float values have the value ''.
    """

    tag: int
    vr: str
    value: str


@dataclass(frozen=True, slots=True)
class Identifier:
    """`level` is (0008,0052), '' when missing; `keys` are in the order asked, without it, (0008,0005) and lengths."""

    level: str
    keys: tuple[Key, ...]
    character_set: str

    def value(self, tag: int) -> str:
        """The value asked for `tag`, '' when it was not asked or is universal."""
        return next((key.value for key in self.keys if key.tag == tag), "")


def decode(data: bytes, *, implicit: bool, little_endian: bool = True) -> Identifier:
    """The Identifier in `data`; explicit VR unless `implicit`. A repeated key counts once, as it was first asked."""
    if len(data) > CAP:
        raise BadIdentifier("the Identifier is over 4 MiB")
    syntax = elements.IMPLICIT if implicit else elements.EXPLICIT if little_endian else elements.EXPLICIT_BIG
    values: dict[int, tuple[str, bytes]] = {}
    try:
        for tag, vr, at, length, stop in elements.elements(data, 0, syntax, []):
            raw = b"" if length == elements.UNDEFINED else data[at:stop]
            values.setdefault(tag, (_vr(tag, vr.decode("ascii")), raw))
    except Unreadable as fault:
        raise BadIdentifier(f"the Identifier cannot be read: {fault}") from fault
    _, term = values.pop(instance.CHARACTER_SET, ("CS", b""))
    character_set = term.decode("latin-1").strip(" \0")
    _, level = values.pop(_LEVEL, ("CS", b""))
    keys = tuple(
        Key(tag, vr, _value(vr, raw, character_set, syntax.little))
        for tag, (vr, raw) in values.items()
        if tag & 0xFFFF  # PS3.5 7.2: group lengths
    )
    return Identifier(instance.safe(level.decode("latin-1").strip(" \0")), keys, character_set)


def _vr(tag: int, declared: str) -> str:
    """The VR that a key is matched by: the dictionary's, for what a peer declares may be UN, or wrong."""
    entry = DicomDictionary.get(tag)
    if entry is None:
        return "UN"
    known = entry[0]
    if declared and declared in known:  # "US or SS"
        return declared
    return known[:2]


def _value(vr: str, raw: bytes, character_set: str, little_endian: bool) -> str:
    if vr in instance.NUMBERS:
        return instance.numbers(raw, vr, little_endian=little_endian)
    if vr in _NO_TEXT:
        return ""
    text, _ = names.decode(raw, character_set if vr in names.TEXT_VRS else "", vr)
    return text.strip(" \0") if vr in ("LT", "ST", "UT") else instance.strip(text)
