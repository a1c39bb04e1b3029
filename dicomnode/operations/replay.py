"""The story of routes that are tried out: what has been received is routed again, by two configurations, and compared.

Nothing is opened, queued or written. It is asked what the routes would do with a study that came today: whether it
would go to a partner, and how many instances of it. What may stop it on its way is not asked, nor what was really sent;
of a group that shares its studies, everybody is taken to work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dicomnode.config.conditions import placed
from dicomnode.config.model import NodeConfig, Route
from dicomnode.operations.ports import Node
from dicomnode.rules import routing
from dicomnode.store import replay
from dicomnode.store.replay import Past

_AT_ONCE = 500
"""Studies that are read at once."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a study on its way to one partner: how many instances go before and after (None: it does not)."""

    study: Past
    partner: str
    before: int | None
    after: int | None
    routes: tuple[str, ...]
    """Those that refer it to the partner: after, or before where none does then."""

    @property
    def what(self) -> str:
        """The change in words."""
        if self.before is None:
            return "goes"
        return "goes no more" if self.after is None else "goes with other instances"


Sent = dict[str, tuple[int, tuple[str, ...]]]
"""By partner: how many instances of a study go there, and by which routes."""


def compare(before: NodeConfig, after: NodeConfig, since: int, node: Node) -> Iterator[tuple[Past, list[Change]]]:
    """Every study that was received since then (µs), and what would change for it; one after the other."""
    asked = {"site", "partner"} | {column for config in (before, after) for column in _asked(config)}
    last = -1
    while True:
        with node.database.read():
            ids = replay.after(last, since, _AT_ONCE)
            found = list(replay.studies(ids, asked)) if ids else []
        if not ids:
            return
        last = ids[-1]
        for study in found:
            yield study, _changes(study, _sent(before, study), _sent(after, study))


def _asked(config: NodeConfig) -> Iterator[str]:
    """The columns that the routes of a configuration ask about."""
    for route in config.routes:
        for conditions in (route.when, route.only):
            yield from (condition.attribute.partition(".")[0] for _, condition in placed(conditions, ()))


def _changes(study: Past, before: Sent, after: Sent) -> list[Change]:
    none: tuple[None, tuple[str, ...]] = (None, ())
    pairs = ((name, before.get(name, none), after.get(name, none)) for name in sorted(before.keys() | after.keys()))
    return [Change(study, name, was[0], will[0], will[1] or was[1]) for name, was, will in pairs if was[0] != will[0]]


def _sent(config: NodeConfig, study: Past) -> Sent:
    """Where the routes of a configuration send a study."""
    by_partner: dict[str, list[Route]] = {}
    for route in config.routes:
        if any(routing.selects(route, seen) for seen, _ in study.alike):
            for name in route.to if route.among == "all" else (routing.choice(route, study.study, ()),):
                by_partner.setdefault(name, []).append(route)
    return {name: (_carried(routes, study), tuple(r.name for r in routes)) for name, routes in by_partner.items()}


def _carried(routes: list[Route], study: Past) -> int:
    return sum(number for seen, number in study.alike if any(routing.carries(route, seen) for route in routes))
