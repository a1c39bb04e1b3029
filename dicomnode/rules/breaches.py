"""Which lines of a configuration open a reverse path: each is a fault, and nothing runs under a file that has one.

A fault is what would carry studies, or tell their UIDs, against the flows by itself: a route; a chain of routes, by a
partner that may store again what it is sent; two sites at one host and port; an AE of another site that is asked for
proof, or whose results count; a PACS that is asked about studies of another site. What somebody could do who is not
who he says is no fault of the file but a warning: exposure.py.

What a partner does with what it has is seen as far as the file tells it: that it may store, and routes take from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dicomnode.config.model import NodeConfig, Partner, Route, Where
from dicomnode.rules.oneway import Place, may_flow, places, source_sites


@dataclass(frozen=True, slots=True)
class Breach:
    """A line of a configuration: its path in the file, what is wrong with it, and the other lines that take part."""

    path: Where
    text: str
    others: tuple[Where, ...] = ()


def breaches(config: NodeConfig) -> Iterator[Breach]:
    """Every reverse path that the configuration opens."""
    yield from _routes(config)
    yield from _chains(config)
    yield from _shared_places(config)
    for partner in config.partners.values():
        yield from _witnesses(config, partner)
    for number, route in enumerate(config.routes):
        yield from _asked(config, number, route)


def _routes(config: NodeConfig) -> Iterator[Breach]:
    for number, route in enumerate(config.routes):
        for name in route.to:
            partner = config.partners[name]
            for site in sorted(source_sites(config, route.sources)):
                if not may_flow(config, site, partner.site):
                    text = f"would carry studies of {site} to {name} of {partner.site}: {_no(config, site, partner)}"
                    yield Breach(("routes", number, "to"), text)


def _no(config: NodeConfig, site: str, partner: Partner) -> str:
    return f"no flow allows {config.sites[site].sector} -> {config.sector_of(partner)}"


# -- a chain of routes ---------------------------------------------------------------------------------------------

Held = dict[str, dict[str, int]]
"""What partners may have: partner → the sites of studies that reach it → the number of the route by which they do."""


def _chains(config: NodeConfig) -> Iterator[Breach]:
    """What a partner is sent it may store here, as a study of its own site: and so have it carried on."""
    held = holdings(config)
    for number, route in enumerate(config.routes):
        relays = {site: relay for relay in _relays(config, route) for site in held[relay.name]}
        direct = source_sites(config, route.sources)
        for name in route.to:
            partner = config.partners[name]
            for site, relay in relays.items():
                if site not in direct and not may_flow(config, site, partner.site):
                    by = held[relay.name][site]
                    text = (
                        f"would carry studies of {site} on to {name} of {partner.site}: {relay.name} is sent them"
                        f" by route {config.routes[by].name}, and may store; {_no(config, site, partner)}"
                    )
                    yield Breach(("routes", number, "to"), text, (("routes", by, "to"),))


def holdings(config: NodeConfig) -> Held:
    """What routes bring to each partner, directly or by others that may store what they are sent."""
    held: Held = {name: {} for name in config.partners}
    for number, route in enumerate(config.routes):
        for name in route.to:
            held[name] |= dict.fromkeys(source_sites(config, route.sources), number) | held[name]
    while any([_pass_on(config, held), _share(config, held)]):
        pass
    return held


def _pass_on(config: NodeConfig, held: Held) -> bool:
    """One round of every route; whether anybody has more by it."""
    before = sum(map(len, held.values()))
    for number, route in enumerate(config.routes):
        for relay in _relays(config, route):
            for name in route.to:
                held[name] |= dict.fromkeys(held[relay.name], number) | held[name]
    return sum(map(len, held.values())) > before


def _share(config: NodeConfig, held: Held) -> bool:
    """Who may retrieve has what any AE of its site has; whether anybody has more by it."""
    before = sum(map(len, held.values()))
    for partner in config.partners.values():
        if partner.may & {"get", "move"}:
            for other in config.partners_of(partner.site):
                held[partner.name] |= held[other] | held[partner.name]
    return sum(map(len, held.values())) > before


def _relays(config: NodeConfig, route: Route) -> list[Partner]:
    """Those whose instances a route takes."""
    return [p for p in config.partners.values() if "store" in p.may and {p.name, p.site} & set(route.sources)]


# -- who is where another is, or speaks for it ---------------------------------------------------------------------


def _shared_places(config: NodeConfig) -> Iterator[Breach]:
    """Two at one host and port are one AE: what may reach the one, and is asked of it, reaches the other."""
    known: dict[Place, list[tuple[Partner, str]]] = {}
    for two in config.partners.values():
        for key, place in places(two):
            for one, first in known.setdefault(place, []):
                if not _mutual(config, one.site, two.site):
                    text = (
                        f"is at the same host and port as {one.name} of {one.site}:"
                        " one of the two sites would receive what only the other may have"
                    )
                    yield Breach(_path(two, key), text, (_path(one, first),))
                    break
            known[place].append((two, key))


def _path(partner: Partner, key: str) -> Where:
    return ("partners", partner.name, *key.split("."))


def _mutual(config: NodeConfig, one: str, other: str) -> bool:
    return may_flow(config, one, other) and may_flow(config, other, one)


def _witnesses(config: NodeConfig, partner: Partner) -> Iterator[Breach]:
    """Results are lists of UIDs: who tells them has been told which studies there are."""
    for position, name in enumerate(partner.confirm.results_from):
        witness = config.partners[name]
        if not _mutual(config, partner.site, witness.site):
            text = f"{name} is of {witness.site}: it would have to know what only {partner.site} may have"
            yield Breach(("partners", partner.name, "confirm", "results_from", position), text)


def _asked(config: NodeConfig, number: int, route: Route) -> Iterator[Breach]:
    """A PACS that is asked what a study has is told its Study Instance UID."""
    if route.expect is None:
        return
    pacs = config.partners[route.expect.partner]
    for site in sorted(source_sites(config, route.sources)):
        if not may_flow(config, site, pacs.site):
            text = f"{pacs.name} of {pacs.site} would be asked about studies of {site}: {_no(config, site, pacs)}"
            yield Breach(("routes", number, "expect", "from"), text)
