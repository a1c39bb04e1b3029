"""The story of a question: what a radiographer asks, answered from the index, of what this caller may see.

A study that the caller may not see answers exactly as one that does not exist. Answers come in pages, in the order of
arrival, and nothing is held between two of them: who reads slowly keeps nothing from anybody. None is left out without
a word: where a limit is configured and there are more, that is an error after the last answer that was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dicomnode.config.model import Partner
from dicomnode.dicom import instance
from dicomnode.dicom.answers import Field, Template, Writing
from dicomnode.dicom.encode import Element
from dicomnode.dicom.identifier import LEVEL, Identifier
from dicomnode.errors import OutOfResources
from dicomnode.operations.ports import Node, Stopped
from dicomnode.rules import keys, matching, oneway
from dicomnode.rules.matching import Model, Query, Return
from dicomnode.rules.negotiated import Features
from dicomnode.store import search
from dicomnode.store.search import Scope

_ITEMS = {sequence.tag: sequence.items for sequence in instance.SEQUENCES}


@dataclass(frozen=True, slots=True)
class Question:
    """A C-FIND request: its Identifier, and what was negotiated for it."""

    identifier: Identifier
    model: Model
    features: Features
    implicit: bool


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to one query: pages of Identifiers, and whether every key was supported (FF00H, else FF01H)."""

    pages: Iterator[list[bytes]]
    all_supported: bool


def find(question: Question, caller: Partner, node: Node, stopped: Stopped) -> Answers:
    """Answer a C-FIND. Raises BadIdentifier before the first answer; where `stopped` says so, the pages end early.

    The pages raise OutOfResources at the configured limit, when there are more answers.
    """
    asked = question.identifier
    query = matching.query(asked, question.model, question.features)
    writing = Writing(question.implicit, asked.character_set, caller.charset)
    template = Template(_same(query, node), [_field(each) for each in query.returns], writing)
    found = search.pages(node.database, query, scope(caller, node), stopped)
    pages = ([template.answer(row) for row in page] for page in found)
    return Answers(_limited(pages, node.config.node.limits.answers), query.all_supported)


def scope(caller: Partner, node: Node) -> Scope:
    """Whose studies a caller may see: its own site's; a public one, those that are referred to its site and may be."""
    if node.config.sector_of(caller) == "private":
        return Scope(site=caller.site)
    givers = oneway.givers(node.config, caller.site)
    return Scope(partners=node.config.partners_of(caller.site), givers=tuple(sorted(givers)))


def _same(query: Query, node: Node) -> list[Element]:
    """What each answer says: its level, whom to retrieve it from, and nothing for what is not supported."""
    return [
        Element(LEVEL, "CS", query.level),
        Element(keys.RETRIEVE_AE_TITLE, "AE", node.config.node.ae_title),
        *(Element(key.tag, key.vr, "") for key in query.unsupported),
    ]


def _field(returned: Return) -> Field:
    """Of a sequence that was asked for without attributes, all are answered that are stored (PS3.4 C.2.2.2.6)."""
    items = [Field(item.tag, item.vr) for item in returned.items or _ITEMS.get(returned.tag, ())]
    return Field(returned.tag, returned.vr, tuple(items))


def _limited(pages: Iterator[list[bytes]], limit: int | None) -> Iterator[list[bytes]]:
    given = 0
    for page in pages:
        if limit is not None and given + len(page) > limit:
            yield page[: limit - given]
            raise OutOfResources(f"{limit} answers given, and there are more: narrow the query")
        yield page
        given += len(page)
