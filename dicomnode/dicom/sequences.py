"""The items of the sequences that are searched, as the index keeps them: JSON, a list of {tag: text} for each sequence.

Promises the attributes that SEQUENCES names, of each item that has any of them, with the tag as eight hexadecimal
digits. Never fails: of a sequence that cannot be read the items before the fault are kept.
"""

from __future__ import annotations

import json
from contextlib import suppress

from dicomnode.dicom import elements, instance, syntaxes
from dicomnode.dicom.instance import Packed, Sequence, SopInstance
from dicomnode.dicom.syntaxes import Syntax
from dicomnode.errors import Unreadable

_ITEMS = 100
"""The most items that are kept of one sequence."""


def texts(found: SopInstance) -> dict[str, str]:
    """The JSON of each sequence of an instance, by its column; '' for those that it has not, or that are empty."""
    packed = {each.tag: each for each in found.sequences}
    return {each.column: _text(each, packed[each.tag]) if each.tag in packed else "" for each in instance.SEQUENCES}


def of_items(kept: str, tag: int) -> list[str]:
    """What the items of a sequence, as JSON, have of one attribute."""
    return [item[f"{tag:08X}"] for item in json.loads(kept) if f"{tag:08X}" in item] if kept else []


def _text(sequence: Sequence, packed: Packed) -> str:
    kept: list[dict[str, str]] = []
    syntax = syntaxes.inside(packed.vr, packed.written.syntax)
    whole = (packed.tag, packed.vr, 0, len(packed.value), len(packed.value))
    with suppress(Unreadable):
        for start, stop in elements.items(packed.value, whole, syntax):
            if len(kept) < _ITEMS and (item := _item(sequence, packed, packed.value[start:stop], syntax)):
                kept.append(item)
    return json.dumps(kept, ensure_ascii=False) if kept else ""


def _item(sequence: Sequence, packed: Packed, data: bytes, syntax: Syntax) -> dict[str, str]:
    """What is kept of one item. It may have a character set of its own (PS3.3 C.12.1.1.2)."""
    wanted = {each.tag: each for each in sequence.items}
    values: dict[int, instance.Raw] = {}
    for tag, vr, at, length, stop in elements.elements(data, 0, syntax, [], {*wanted, instance.CHARACTER_SET}):
        if length != elements.UNDEFINED:
            values.setdefault(tag, (vr, data[at:stop]))
    _, own = values.pop(instance.CHARACTER_SET, (b"", b""))
    character_set = own.decode("latin-1").strip(" \0") or packed.character_set
    written = packed.written._replace(syntax=syntax)
    read = {tag: instance.text(wanted[tag].vr, raw, character_set, written) for tag, raw in values.items()}
    return {f"{tag:08X}": text for tag, text in read.items() if text}
