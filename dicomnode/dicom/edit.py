"""The coerced copy of a dataset: some of its elements in place of others; every other byte is what it was.

First `survey` says what there is of the attributes that somebody cares for; when it is decided what is to be in their
place, `splices` says where bytes are cut out and put in (splice.py). Nothing is changed that nobody asked for: not how
an element is written, nor the order, nor what follows the dataset. Group lengths are left out in groups that change:
they would be wrong (PS3.5 7.2).
A text that the dataset's character set does not carry makes all of its text ISO_IR 192, in sequences too (recode.py).
Memory does not grow with values that are not changed. Unreadable, with the reason: it cannot be edited; never once
`splices` has returned.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from dicomnode.dicom import elements, encode, instance, names, syntaxes, vrs
from dicomnode.dicom.elements import UNDEFINED
from dicomnode.dicom.encode import Element
from dicomnode.dicom.instance import CHARACTER_SET, Written
from dicomnode.dicom.keywords import show
from dicomnode.dicom.recode import UTF8, Recoder, written_head
from dicomnode.dicom.splice import Splice, spliced
from dicomnode.dicom.stream import Head, Reading, Walk, is_sequence
from dicomnode.dicom.syntaxes import Syntax
from dicomnode.errors import Unreadable

_MOST: Final = 16 << 20
"""Bytes that are put in altogether."""


@dataclass(frozen=True, slots=True)
class Found:
    """One element as the dataset has it: all its bytes, in which its value is from `at` to `stop`; its value as text.

    `stop` is before the delimiter of a sequence, of which the text is ''.
    """

    tag: int
    vr: bytes
    raw: bytes
    at: int
    stop: int
    text: str
    written: Written
    character_set: str

    @property
    def value(self) -> bytes:
        """Its value's bytes: those of a sequence's items."""
        return self.raw[self.at : self.stop]

    @property
    def items(self) -> list[dict[int, str]]:
        """The values of each item of a sequence, as text. Unreadable: it is none."""
        syntax = syntaxes.inside(self.vr, self.written.syntax)
        whole = (self.tag, self.vr, self.at, self.stop - self.at, self.stop)
        _vr_of(self)
        return [self._texts(self.raw[a:b], syntax) for a, b in elements.items(self.raw, whole, self.written.syntax)]

    def _texts(self, item: bytes, syntax: Syntax) -> dict[int, str]:
        written = Written(syntax, self.written.assumed)
        return {
            tag: _text(tag, (vr, item[at:stop]), self.character_set, written)
            for tag, vr, at, length, stop in elements.elements(item, 0, syntax, [])
            if length != UNDEFINED
        }


@dataclass(frozen=True, slots=True)
class Sequence:
    """A sequence to be written: the items of one that is there, as they are, and these after them."""

    tag: int
    items: tuple[tuple[Node, ...], ...]
    after: Found | None = None


Node = Element | Sequence | Found
"""What is written: an element of ours, a sequence, or an element as the dataset has it."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a dataset has of the attributes that were asked for, and where their places in it are."""

    written: Written
    character_set: str
    """The raw value of (0008,0005), '' without one."""
    found: Mapping[int, Found]
    spans: tuple[tuple[int, int, int], ...]
    """(tag, start, stop) of each of those elements, repeated ones too, and of every group length."""
    places: Mapping[int, int]
    """Where one of them would be put in."""


def survey(reading: Reading, written: Written, wanted: Collection[int]) -> Survey:
    """Look at the whole of a dataset; of the values only at those that are wanted. Unreadable: see the module."""
    looked, missing, end = _Looked(), sorted({*wanted, CHARACTER_SET}), 0
    for head, start, at, raw in Walk(reading, written.syntax).top({*wanted, CHARACTER_SET}):
        while missing and missing[0] < head.tag:
            looked.places[missing.pop(0)] = start
        end = reading.pos
        if raw is not None:
            looked.kept.setdefault(head.tag, (head, at, raw))
        if raw is not None or _is_group_length(head):
            looked.spans.append((head.tag, start, end))
    looked.places.update(dict.fromkeys(missing, end))
    return looked.survey(written)


def _is_group_length(head: Head) -> bool:
    return head.tag & 0xFFFF == 0 and head.length == 4


class _Looked:
    """What comes of going over a dataset."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[Head, int, bytes]] = {}
        self.spans: list[tuple[int, int, int]] = []
        self.places: dict[int, int] = {}

    def survey(self, written: Written) -> Survey:
        """All of it, now that the character set is known."""
        character_set = ""
        if CHARACTER_SET in self.kept:
            _, at, raw = self.kept[CHARACTER_SET]
            character_set = raw[at:].decode("latin-1").strip(" \0")
        found = {tag: _found(*each, written, character_set) for tag, each in self.kept.items()}
        return Survey(written, character_set, found, tuple(self.spans), self.places)


def _found(head: Head, at: int, raw: bytes, written: Written, character_set: str) -> Found:
    stop = len(raw) - 8 if head.length == UNDEFINED else len(raw)
    plain = not is_sequence(head, written.syntax)
    text = _text(head.tag, (head.vr, raw[at:stop]), character_set, written) if plain else ""
    return Found(head.tag, head.vr, raw, at, stop, text, written, character_set)


def _text(tag: int, raw: instance.Raw, character_set: str, written: Written) -> str:
    return instance.text(vrs.first(tag), raw, character_set, written)


def splices(reading: Reading, of: Survey, changes: Mapping[int, Node | None]) -> list[Splice]:
    """How `changes` come about: an attribute's element by its tag, None for none. All of the tags were wanted.

    `reading` is the same dataset from its beginning; it is gone over again where its text has to be re-encoded.
    """
    changes = {tag: node for tag, node in changes.items() if node is not None or tag in of.found}
    texts = (text for node in changes.values() for text in _texts(node))
    recodes = not all(names.encodable(text, of.character_set) for text in texts)
    made: list[Splice] = []
    if recodes:
        changes = {**changes, CHARACTER_SET: Element(CHARACTER_SET, "CS", UTF8)}
        made += Recoder(reading, of.written, of.character_set).recode(changes)
    writer = _Writer(of, recodes)
    for tag, node in sorted(changes.items(), key=lambda each: each[0]):
        made += _replaced(tag, writer.node(node, of.written.syntax) if node else b"", of)
    made += _without_lengths(of, None if recodes else {tag >> 16 for tag in changes})
    if sum(len(each.data) for each in made) > _MOST:
        raise Unreadable("too much of it would change")
    return sorted(made, key=lambda each: each[:2])


def _texts(node: Node | None) -> Iterator[str]:
    """What is to be written of ours that the character set must carry."""
    if isinstance(node, Element) and node.vr in names.TEXT_VRS:
        yield node.value
    elif isinstance(node, Sequence):
        for item in node.items:
            for each in item:
                yield from _texts(each)


def _replaced(tag: int, data: bytes, of: Survey) -> Iterator[Splice]:
    """An element in place of the first of an attribute, and nothing in place of the others."""
    spans = [(start, stop) for each, start, stop in of.spans if each == tag]
    for start, stop in spans or [(of.places[tag], of.places[tag])]:
        yield Splice(start, stop, data)
        data = b""


def _without_lengths(of: Survey, groups: Collection[int] | None) -> Iterator[Splice]:
    """No group lengths in these groups; None: in none at all."""
    for tag, start, stop in of.spans:
        if not tag & 0xFFFF and (groups is None or tag >> 16 in groups):
            yield Splice(start, stop, b"")


class _Writer:
    """What is put in, as bytes that go with the rest of the dataset."""

    def __init__(self, of: Survey, recodes: bool) -> None:
        self._of, self._recodes = of, recodes
        self._character_set = UTF8 if recodes else of.character_set

    def node(self, node: Node, syntax: Syntax) -> bytes:
        """One element, in a dataset or an item that is written so."""
        if isinstance(node, Found):
            return self._kept(node, syntax)
        if isinstance(node, Sequence):
            return self._sequence(node, syntax)
        value = encode.value(node.vr, node.value, self._character_set)
        return written_head(node.tag, node.vr, len(value), syntax) + value

    def _sequence(self, node: Sequence, syntax: Syntax) -> bytes:
        vr, content = "SQ", b""
        if node.after and node.after.value:
            vr = _vr_of(node.after)
            content = self._items(node.after)
        inside = syntaxes.inside(vr.encode(), syntax)
        for item in node.items:
            written = b"".join(self.node(each, inside) for each in item)
            content += inside.item.pack(0xFFFE, 0xE000, len(written)) + written
        return written_head(node.tag, vr, len(content), syntax) + content

    def _items(self, found: Found) -> bytes:
        if not self._recodes:
            return found.value
        recoder = self._recoder(found.value)
        recoder.items(len(found.value), syntaxes.inside(found.vr, self._of.written.syntax), 0)
        return spliced(found.value, sorted(recoder.splices))

    def _kept(self, found: Found, syntax: Syntax) -> bytes:
        """An element of the dataset; where the items of a sequence are written otherwise, so is this."""
        raw = found.raw
        if self._recodes:
            raw = spliced(raw, sorted(self._recoder(raw).recode(())))
        if syntax is found.written.syntax:
            return raw
        if found.value and not found.text:
            raise Unreadable(f"{show(found.tag)} cannot be written in a sequence that is written as unknown")
        value = raw[found.at :]
        return written_head(found.tag, found.vr.decode("ascii") or vrs.first(found.tag), len(value), syntax) + value

    def _recoder(self, data: bytes) -> Recoder:
        return Recoder(Reading(io.BytesIO(data), len(data)), self._of.written, self._of.character_set)


def _vr_of(sequence: Found) -> str:
    if sequence.vr not in (b"", b"SQ", b"UN"):
        raise Unreadable(f"{show(sequence.tag)} is no sequence")
    return "UN" if sequence.vr == b"UN" else "SQ"
