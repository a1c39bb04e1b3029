"""Study or instance → partners: which routes choose it, what they carry of it, and whom of a group it goes to.

`when` is asked of single instances and selects the study: once one instance matches, all of it goes. `only` then
selects among its instances. What the conditions mean is said in config/conditions.py.

A route leads to all of its partners, or to one of a group that shares its studies: to the first in its turn that is not
out. With failover the turn begins with the first that is named, with balance with another for each study.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from dicomnode.config.model import NodeConfig, Route
from dicomnode.dicom import sequences
from dicomnode.dicom.instance import ATTRIBUTES, SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.rules import conditions, oneway
from dicomnode.rules.conditions import Values

_COLUMNS = tuple(attribute.column for attribute in ATTRIBUTES)


class _Seen(dict[str, str]):
    """What is asked of an instance that has just come: its sequences are read when a route asks about one."""

    __slots__ = ("instance",)
    instance: SopInstance

    def __missing__(self, column: str) -> str:
        self.update(sequences.texts(self.instance))
        return self[column]


def values(instance: SopInstance, origin: Origin) -> Values:
    """An instance and how it came, as routing sees them."""
    told: dict[str, Any] = dict(zip(_COLUMNS, instance, strict=False))  # they are its first fields
    found = _Seen(told)
    found.instance = instance
    found["called"], found["calling"] = origin.called_ae_title, origin.calling_ae_title
    found["partner"], found["site"] = origin.partner, origin.site
    return found


def takes_from(route: Route, seen: Values) -> bool:
    """Whether a route takes what came from there."""
    return seen["site"] in route.sources or seen["partner"] in route.sources


def selects(route: Route, seen: Values) -> bool:
    """Whether a route selects the study of an instance."""
    return takes_from(route, seen) and conditions.hold(route.when, seen)


def chosen(config: NodeConfig, seen: Values) -> list[Route]:
    """The routes that select the study of this instance."""
    return [route for route in config.routes if selects(route, seen)]


def carries(route: Route, seen: Values) -> bool:
    """Whether a route that selected the study takes this instance along (`only`)."""
    return conditions.hold(route.only, seen)


def ways(config: NodeConfig, site: str, partner: str, names: Iterable[str]) -> list[Route]:
    """The routes whose rules a study of a site keeps to on its way to a partner: those that chose it, by their `names`.

    Where a person chose, or they are configured no more: all by which a study of that site might go to the partner's,
    for who is refused at one AE of a hospital is not to have it at the next.
    """
    if chose := those_named(config, names):
        return chose
    same = neighbours(config, partner)
    return [r for r in config.routes if same & {*r.to} and site in oneway.source_sites(config, r.sources)]


def those_named(config: NodeConfig, names: Iterable[str]) -> list[Route]:
    """The routes of these names; where none is left, it was a person who chose."""
    return [route for route in config.routes if route.name in set(names)]


def neighbours(config: NodeConfig, partner: str) -> set[str]:
    """A partner, by name, and every other one of its site."""
    known = config.partners.get(partner)
    return {partner, *(config.partners_of(known.site) if known else ())}


def turn(route: Route, study: int) -> tuple[str, ...]:
    """The partners of a group in the order in which a study is offered to them."""
    first = study % len(route.to) if route.among == "balance" else 0
    return route.to[first:] + route.to[:first]


def choice(route: Route, study: int, out: Container[str]) -> str:
    """Whom of a group a study goes to. Where all are out, it waits for the first."""
    order = turn(route, study)
    return next((name for name in order if name not in out), order[0])


def successor(route: Route, partner: str, out: Container[str]) -> str:
    """Who of a group goes on with the studies of one that is out: the next that is not; '' where all are."""
    after = route.to.index(partner) + 1
    return next((name for name in route.to[after:] + route.to[:after] if name not in out), "")
