"""A C-FIND, C-MOVE or C-GET Identifier as it was asked (PS3.4 C.4.1.1.3, C.4.2.1.4).

Promises the keys with their values decoded to Unicode and otherwise untouched: wild cards, ranges and lists are legal
where a stored value would not be, so nothing is validated. Of sequences, the keys of their items are decoded; never
looks into sequences within those. BadIdentifier: bytes that are no dataset in the negotiated transfer syntax, items
where none belong, over 4 MiB, or over 4096 keys or items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from dicomnode.dicom import elements, instance, names, syntaxes, vrs
from dicomnode.dicom.keywords import show
from dicomnode.dicom.syntaxes import Syntax
from dicomnode.errors import BadIdentifier, Unreadable

CAP: Final = 4 * 1024 * 1024
_MOST: Final = 4096
"""Keys, or items of a sequence: each answer repeats what it was asked for, so that many are costly."""
LEVEL: Final = 0x00080052
STUDY, SERIES, INSTANCE = 0x0020000D, 0x0020000E, 0x00080018
"""The unique keys below that of a patient (PS3.4 C.6.2.1)."""
_NO_KEYS: Final = (LEVEL, instance.CHARACTER_SET)
_UNTOLD: Final = ("", "UN", "OB", "OW")
"""VRs as declared with which it is the dictionary that knows how a number is packed."""
_NO_TEXT: Final = frozenset(("SQ", "AT", "OB", "OW", "OF", "OD", "OL", "OV", "FL", "FD"))


@dataclass(frozen=True, slots=True)
class Key:
    """One key. Multi-values are joined by backslashes; '' asks for the attribute and matches everything.

    `vr` is UN for a private or unknown attribute, LO for a private creator. A sequence, a tag list, binary
    and float values have the value ''. `items`: the keys of each item of a sequence.
    """

    tag: int
    vr: str
    value: str
    items: tuple[tuple[Key, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Identifier:
    """`level` is (0008,0052), '' when missing; `keys` are in the order asked, without it, (0008,0005) and lengths."""

    level: str
    keys: tuple[Key, ...]
    character_set: str

    def value(self, tag: int) -> str:
        """The value asked for `tag`, '' when it was not asked or is universal."""
        return next((key.value for key in self.keys if key.tag == tag), "")


def is_wild(value: str) -> bool:
    """Whether a value has wild cards (PS3.4 C.2.2.2.4)."""
    return "*" in value or "?" in value


def of(level: str, keys: Mapping[int, str]) -> Identifier:
    """What asks at a level for these attributes, or by their values where they have one; in their order."""
    return Identifier(level, tuple(Key(tag, vrs.first(tag), value) for tag, value in keys.items()), "")


@dataclass(frozen=True, slots=True)
class _Writing:
    """How one dataset is written. `assumed`: the character set of a peer who declares none, or a wrong one."""

    syntax: Syntax
    character_set: str
    assumed: str


def decode(data: bytes, *, implicit: bool, assumed: str = "") -> Identifier:
    """The Identifier in `data`; explicit VR unless `implicit`. A repeated key counts once, as it was first asked.

    `assumed`: the character set of a peer who declares none, or a wrong one; '' where nothing is assumed.
    """
    if len(data) > CAP:
        raise BadIdentifier("the Identifier is over 4 MiB")
    syntax = syntaxes.IMPLICIT if implicit else syntaxes.EXPLICIT
    try:
        found = _first(data, syntax)
        character_set = _plain(data, found.get(instance.CHARACTER_SET))
        keys = _keys(data, found, _Writing(syntax, character_set, assumed), nested=False)
    except Unreadable as fault:
        raise BadIdentifier(f"the Identifier cannot be read: {fault}") from fault
    return Identifier(instance.safe(_plain(data, found.get(LEVEL))), keys, character_set)


def _first(data: bytes, syntax: Syntax) -> dict[int, elements.Element]:
    """The elements by tag, the first of each."""
    found: dict[int, elements.Element] = {}
    for element in elements.elements(data, 0, syntax, []):
        found.setdefault(element[0], element)
        if len(found) > _MOST:
            raise BadIdentifier(f"the Identifier has over {_MOST} keys")
    return found


def _plain(data: bytes, element: elements.Element | None) -> str:
    """The value of what has no character set."""
    return data[element[2] : element[4]].decode("latin-1").strip(" \0") if element else ""


def _keys(data: bytes, found: dict[int, elements.Element], writing: _Writing, *, nested: bool) -> tuple[Key, ...]:
    return tuple(
        _key(data, element, writing, nested=nested)
        for tag, element in found.items()
        if tag & 0xFFFF and tag not in _NO_KEYS  # PS3.5 7.2: group lengths
    )


def _key(data: bytes, element: elements.Element, writing: _Writing, *, nested: bool) -> Key:
    tag, as_declared, at, length, stop = element
    declared = as_declared.decode("ascii")
    vr = _vr(tag, declared)
    if vr == "SQ":
        return Key(tag, vr, "", () if nested else _items(data, element, writing))
    if length == elements.UNDEFINED or declared == "SQ":
        if vr != "UN":
            raise BadIdentifier(f"{show(tag)} is no sequence")
        return Key(tag, vr, "")
    return Key(tag, vr, _value(vr, declared, data[at:stop], writing))


def _items(data: bytes, sequence: elements.Element, writing: _Writing) -> tuple[tuple[Key, ...], ...]:
    """The keys of each item."""
    syntax = syntaxes.inside(sequence[1], writing.syntax)
    bounds = list(islice(elements.items(data, sequence, syntax), _MOST + 1))
    if len(bounds) > _MOST:
        raise BadIdentifier(f"{show(sequence[0])} has over {_MOST} items")
    return tuple(_item(data[start:stop], syntax, writing) for start, stop in bounds)


def _item(data: bytes, syntax: Syntax, around: _Writing) -> tuple[Key, ...]:
    """The keys of one item; its character set is that around it where it has none of its own (PS3.5 7.5.3)."""
    found = _first(data, syntax)
    character_set = _plain(data, found.get(instance.CHARACTER_SET)) or around.character_set
    return _keys(data, found, _Writing(syntax, character_set, around.assumed), nested=True)


def _vr(tag: int, declared: str) -> str:
    """The VR that a key is matched by: the dictionary's, for what a peer declares may be UN, or wrong."""
    known = vrs.dictionary(tag)
    if declared and declared in known:  # "US or SS"
        return declared
    return known[:2]


def _value(vr: str, declared: str, raw: bytes, writing: _Writing) -> str:
    packed = vr if declared in _UNTOLD else declared
    if packed in vrs.NUMBERS:
        return instance.numbers(raw, packed, little_endian=True)
    if vr in _NO_TEXT:
        return ""
    character_set, assumed = (writing.character_set, writing.assumed) if vr in names.TEXT_VRS else ("", "")
    text, _ = names.decode(raw, character_set, vr, assumed)
    return text.strip(" \0") if vr in ("LT", "ST", "UT") else instance.strip(text)
