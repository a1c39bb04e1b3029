"""Study or instance → partners: which route chose each, and why the others did not.

`when` is asked of single instances and selects the study: once one instance matches, all of it goes. `only` then
selects among its instances. Values are compared whole and case-sensitively; `*` and `?` are wildcards; a value of
several (modality `CT\\MR`) matches where one of them does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dicomnode.config.model import NodeConfig, Route
from dicomnode.dicom.instance import ATTRIBUTES, SopInstance
from dicomnode.dicom.part10 import Origin

Values = Mapping[str, str]
"""What routing asks of an instance: its indexed columns, and `called` and `calling` (AE titles)."""


_COLUMNS = tuple(attribute.column for attribute in ATTRIBUTES)


def values(instance: SopInstance, origin: Origin) -> dict[str, str]:
    """An instance and how it came, as routing sees them."""
    found: dict[str, Any] = dict(zip(_COLUMNS, instance, strict=False))  # they are its first fields
    return {"called": origin.called_ae_title, "calling": origin.calling_ae_title, **found}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one route says of one instance; `why` is for a person."""

    route: Route
    chosen: bool
    why: str


def explain(config: NodeConfig, origin: Origin, seen: Values) -> list[Verdict]:
    """The verdict of every route, in the order of the file."""
    return [Verdict(route, not why, why or _reasons(route, seen)) for route, why in _judged(config, origin, seen)]


def chosen(config: NodeConfig, origin: Origin, seen: Values) -> list[Route]:
    """The routes that select the study of this instance."""
    return [route for route, why in _judged(config, origin, seen) if not why]


def _judged(config: NodeConfig, origin: Origin, seen: Values) -> Iterator[tuple[Route, str]]:
    return ((route, _objection(route, origin, seen)) for route in config.routes)


def _reasons(route: Route, seen: Values) -> str:
    return "matches " + (", ".join(f"{attribute}={seen[attribute]}" for attribute in route.when) or "everything")


def _objection(route: Route, origin: Origin, seen: Values) -> str:
    """Why a route does not select an instance's study; '' where it does."""
    if origin.site not in route.sources and origin.partner not in route.sources:
        wanted = " or ".join(route.sources)
        return f"comes from {origin.partner} of {origin.site}, not from {wanted}"
    for attribute, patterns in route.when.items():
        if not _matches(seen.get(attribute, ""), patterns):
            wanted = " or ".join(patterns)
            return f"{attribute} is {seen.get(attribute) or 'empty'}, not {wanted}"
    return ""


def carries(route: Route, seen: Values) -> bool:
    """Whether a route that selected the study takes this instance along (`only`)."""
    return all(_matches(seen.get(attribute, ""), patterns) for attribute, patterns in route.only.items())


def _matches(value: str, patterns: tuple[str, ...]) -> bool:
    matches = _pattern(patterns).fullmatch
    return any(matches(single) for single in value.split("\\"))


@lru_cache(maxsize=1024)
def _pattern(texts: tuple[str, ...]) -> re.Pattern[str]:
    """What any of these texts matches."""
    wild = {"*": ".*", "?": "."}
    return re.compile("|".join("".join(wild.get(c) or re.escape(c) for c in text) for text in texts), re.DOTALL)
