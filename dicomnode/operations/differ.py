"""What a person compares before deciding: how the versions of an instance differ, read from their files.

Instances whose versions differ in the same way are one Difference: of a study that was sent again with another name,
one says it all. Nothing here fails: what cannot be read is shown as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from dicomnode.dicom import walk
from dicomnode.dicom.instance import ATTRIBUTES, SopInstance
from dicomnode.errors import InstanceError
from dicomnode.operations import receive
from dicomnode.operations.ports import Node
from dicomnode.store.doubts import Version
from dicomnode.store.index import Kind

_UNREADABLE = "(its file cannot be read)"
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Difference:
    """Instances whose versions differ in the same way; `versions` are those of the first of them."""

    sop_instance_uids: tuple[str, ...]
    versions: tuple[Version, ...]
    values: dict[str, tuple[str, ...]]
    """An attribute's keyword → its value in each version; of pixels, and where no attribute differs, of a digest."""


def differences(versions: Sequence[Version], node: Node) -> list[Difference]:
    """How versions differ from those of the same instance."""
    found: dict[object, Difference] = {}
    by_uid = sorted(versions, key=lambda each: (each.sop_instance_uid, each.version))
    for uid, group in groupby(by_uid, key=lambda each: each.sop_instance_uid):
        of_one = tuple(group)
        values = _values(of_one, node)
        marks = tuple((each.version, each.kind, each.current, each.undecided) for each in of_one)
        known = found.get(key := (marks, *values.items()))
        found[key] = Difference((*(known.sop_instance_uids if known else ()), uid), of_one, values)
    return list(found.values())


def _values(versions: Sequence[Version], node: Node) -> dict[str, tuple[str, ...]]:
    seen = [_header(each, node) for each in versions]
    values = {a.keyword: tuple(getattr(it, a.column) if it else _UNREADABLE for it in seen) for a in ATTRIBUTES}
    values["TransferSyntaxUID"] = tuple(each.transfer_syntax_uid for each in versions)
    differing = {keyword: each for keyword, each in values.items() if len(set(each)) > 1}
    if any(each.kind == Kind.CONFLICT for each in versions):
        pixels = tuple(_pixels(each, node) for each in versions)
        differing |= {"PixelData": pixels} if len(set(pixels)) > 1 else {}
    return differing or {"(what is not indexed)": tuple(each.sha256[:_DIGITS] for each in versions)}


def _pixels(version: Version, node: Node) -> str:
    try:
        return walk.facts(node.archive.path(version.file)).pixels[:_DIGITS]
    except (OSError, InstanceError):
        return _UNREADABLE


def _header(version: Version, node: Node) -> SopInstance | None:
    try:
        return receive.as_received(node.archive.path(version.file), node)
    except (OSError, InstanceError):
        return None
