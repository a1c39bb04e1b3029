"""The story of a question: what a radiographer asks, answered from the index, of what this caller may see.

A study that the caller may not see answers exactly as one that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dicomnode.config.model import Partner
from dicomnode.dicom.encode import Element
from dicomnode.dicom.identifier import Identifier
from dicomnode.operations.ports import Node
from dicomnode.rules import matching
from dicomnode.rules.matching import Model
from dicomnode.store import search
from dicomnode.store.search import Scope

_LEVEL = 0x00080052


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to one query: an Identifier each, and whether every key was supported (FF00H, else FF01H)."""

    identifiers: Iterator[list[Element]]
    all_supported: bool


def find(identifier: Identifier, model: Model, caller: Partner, node: Node) -> Answers:
    """Answer a C-FIND. Raises BadIdentifier before the first answer."""
    query = matching.query(identifier, model)
    found = search.answers(node.database, query, scope(caller, node))
    same = [
        Element(_LEVEL, "CS", query.level),
        Element(matching.RETRIEVE_AE_TITLE, "AE", node.config.node.ae_title),
        *(Element(key.tag, key.vr, "") for key in query.unsupported),
    ]
    vrs = {item.tag: item.vr for item in query.returns}
    identifiers = ([*same, *(Element(tag, vrs[tag], text) for tag, text in row.items())] for row in found)
    return Answers(identifiers, not query.unsupported)


def scope(caller: Partner, node: Node) -> Scope:
    """Whose studies a caller may see: its own site's; a public one, those that are referred to its site."""
    if node.config.sector_of(caller) == "private":
        return Scope(site=caller.site)
    return Scope(partners=tuple(p.name for p in node.config.partners.values() if p.site == caller.site))
