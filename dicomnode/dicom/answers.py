"""The answers to one query, from rows to bytes: little endian, in tag order (PS3.4 C.4.1.1.3.2).

A template is made once for a query: what is the same in each answer is written then, and a row costs its values alone.
Promises what encode.py promises. (0008,0005) is ours to set, in each answer by itself: absent where all of it is ASCII,
else what carries it. A caller whose configuration says what it reads is answered in that, and nothing else, and what it
does not carry is transliterated. Nothing here fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dicomnode.dicom import encode, instance, names
from dicomnode.dicom.encode import Element
from dicomnode.dicom.transliteration import fitted
from dicomnode.dicom.vrs import NUMBERS

Row = tuple[str, ...]
_ITEM: Final = 0xFFFEE000


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a row: the attribute it is of; `items` are those of a sequence that are answered."""

    tag: int
    vr: str
    items: tuple[Field, ...] = ()

    def rows(self, value: str) -> list[Row]:
        """The items of a sequence, which is JSON: a list of {tag in hexadecimal: text}."""
        items = json.loads(value) if value else []
        return [tuple(item.get(f"{each.tag:08X}", "") for each in self.items) for item in items]


@dataclass(frozen=True, slots=True)
class Writing:
    """How a caller is written to: its transfer syntax, the character set that it asked in, the only one it reads."""

    implicit: bool
    asked: str = ""
    reads: str = ""


class Template:
    """Writes the answers to one query; `fields` are the values of its rows, and `same` is in every answer."""

    def __init__(self, same: Iterable[Element], fields: Sequence[Field], writing: Writing) -> None:
        self._same = [each for each in same if each.tag != instance.CHARACTER_SET]
        self._fields = fields
        self._implicit = writing.implicit
        self._asked, self._reads = names.spelled(writing.asked), names.spelled(writing.reads)
        self._layouts: dict[str, _Layout] = {}

    def answer(self, row: Row) -> bytes:
        """One answer: a value for each field, '' where it is unknown."""
        chosen = self._character_set(row)
        layout = self._layouts.get(chosen)
        if layout is None:  # for each of three sets at most
            layout = self._layouts[chosen] = self._layout(chosen)
        return layout.write(row)

    def _character_set(self, row: Row) -> str:
        beyond = list(_beyond_ascii(self._fields, row))
        if not beyond:
            return ""
        if self._reads:
            return "" if all(fitted(text, vr, self._reads).isascii() for vr, text in beyond) else self._reads
        return encode.carrying((text for _, text in beyond), self._asked)

    def _layout(self, chosen: str) -> _Layout:
        said = [Element(instance.CHARACTER_SET, "CS", chosen)] if chosen else []
        same = [(each.tag, encode.element(each, "", implicit=self._implicit)) for each in (*self._same, *said)]
        return _Layout(same, self._fields, _Text(chosen, self._reads, self._implicit))


def _beyond_ascii(fields: Sequence[Field], row: Row) -> Iterator[tuple[str, str]]:
    """Each text that is not ASCII, and its VR."""
    for field, value in zip(fields, row, strict=True):
        if field.items:
            for item in field.rows(value):
                yield from _beyond_ascii(field.items, item)
        elif not value.isascii() and field.vr in names.TEXT_VRS:
            yield field.vr, value


@dataclass(frozen=True, slots=True)
class _Text:
    """In which set text is written, the only one that is read, and whether VRs are implicit."""

    character_set: str
    reads: str
    implicit: bool

    def value(self, vr: str, text: str) -> bytes:
        if self.reads and vr in names.TEXT_VRS:
            text = fitted(text, vr, self.reads)
        return encode.value(vr, text, self.character_set)


class _Layout:
    """The elements of an answer in one character set, or those of an item: what is the same is written already."""

    def __init__(self, same: Iterable[tuple[int, bytes]], fields: Sequence[Field], text: _Text) -> None:
        self._writers: list[tuple[int, _Writer]] = []
        constant = sorted(same)
        for at, field in sorted(enumerate(fields), key=lambda it: it[1].tag):
            before = b"".join(raw for tag, raw in constant if tag < field.tag)
            constant = [(tag, raw) for tag, raw in constant if tag > field.tag]
            self._writers.append((at, _Writer(before, field, text)))
        self._after = b"".join(raw for _, raw in constant)

    def write(self, row: Row) -> bytes:
        return b"".join([writer.write(row[at]) for at, writer in self._writers]) + self._after


class _Writer:
    """Writes one field, and before it what is the same in every answer."""

    def __init__(self, before: bytes, field: Field, text: _Text) -> None:
        self._before, self._field, self._text = before, field, text
        self._is_plain = field.vr not in NUMBERS and not field.items
        self._padding = encode.padding(field.vr)
        self._items = _Layout((), field.items, text)
        self._heads: dict[int, bytes] = {}

    def write(self, value: str) -> bytes:
        if self._is_plain and value.isascii() and len(value) < encode.LONGEST:  # nearly all there are
            raw = value.encode("ascii")
            if len(raw) & 1:
                raw += self._padding
        else:
            raw = self._sequence(value) if self._field.items else self._text.value(self._field.vr, value)
        head = self._heads.get(len(raw))
        if head is None:
            head = self._heads[len(raw)] = self._head(len(raw))
        return head + raw

    def _head(self, length: int) -> bytes:
        return self._before + encode.head(self._field.tag, self._field.vr, length, implicit=self._text.implicit)

    def _sequence(self, value: str) -> bytes:
        """The items, of explicit length (PS3.5 7.5)."""
        items = [self._items.write(item) for item in self._field.rows(value)]
        return b"".join(encode.head(_ITEM, "", len(item), implicit=True) + item for item in items)
