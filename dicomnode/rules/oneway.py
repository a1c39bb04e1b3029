"""May data of site X reach site Y? The one rule of direction, asked at load, at negotiation, by query and at dial.

Data stays within a site, or crosses from one sector to another where `flows` names the pair. Nothing else moves. Which
lines of a configuration would go round that is in breaches.py, and who obtains what because of it in reach.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from dicomnode.config.model import NodeConfig, Partner

Place = tuple[str, int]
"""Where an AE is called: its host as it compares, and its port."""


def may_flow(config: NodeConfig, source: str, destination: str) -> bool:
    """Whether studies of site `source` may reach an AE of site `destination`. A site that is not configured: no."""
    if source == destination:
        return True
    if source not in config.sites or destination not in config.sites:
        return False
    pair = (config.sites[source].sector, config.sites[destination].sector)
    return any((flow.source, flow.destination) == pair for flow in config.flows)


def may_reach(config: NodeConfig, source: str, partner: Partner) -> bool:
    """Whether studies of a site may be sent to a partner: also to whoever else is where we call it, for proof too."""
    return all(may_flow(config, source, site) for site in {partner.site, *_neighbours(config, partner)})


def may_give(config: NodeConfig, site: str) -> bool:
    """Whether AEs of a site may store here: of a private site always, for its own workstations; else if it may flow."""
    sector = config.sites[site].sector
    return sector == "private" or any(flow.source == sector for flow in config.flows)


def may_get(config: NodeConfig, site: str) -> bool:
    """Whether anything may flow into a site from another."""
    return any(flow.destination == config.sites[site].sector for flow in config.flows)


def givers(config: NodeConfig, site: str) -> frozenset[str]:
    """The sites whose studies may reach AEs of a site, its own among them."""
    return frozenset(source for source in config.sites if may_flow(config, source, site))


def destinations(config: NodeConfig, site: str) -> list[Partner]:
    """The partners that studies of `site` may be sent to."""
    return [p for p in config.partners.values() if p.is_destination and may_reach(config, site, p)]


def source_sites(config: NodeConfig, sources: Iterable[str]) -> frozenset[str]:
    """The sites that a route's `from` names, directly or by a partner."""
    return frozenset(name if name in config.sites else config.partners[name].site for name in sources)


# -- where AEs are -------------------------------------------------------------------------------------------------


def places(partner: Partner) -> Iterator[tuple[str, Place]]:
    """Each AE of a partner that we call: the key that says so, and where it is."""
    called = {"host": (partner.host, partner.port), "confirm.find": None, "confirm.commit": None}
    for key, at in (("confirm.find", partner.confirm.find), ("confirm.commit", partner.confirm.commit)):
        called[key] = at and at[1:]
    for key, place in called.items():
        if place and place[0] is not None and place[1] is not None:
            yield key, (host(place[0]), place[1])


def host(written: str) -> str:
    """A host as it compares with another: an IP address in its one form, a name in lower case. No name is looked up.

    Whatever `localhost` may be is one place; 127.0.0.2 is another one than 127.0.0.1 (a server is bound to either).
    """
    try:
        found = ip_address(written)
    except ValueError:
        name = written.lower().rstrip(".")
        return _HERE if name in _LOCAL or name.endswith(".localhost") else name
    found = getattr(found, "ipv4_mapped", None) or found
    return _HERE if str(found) == "::1" else str(found)


_HERE = "127.0.0.1"
_LOCAL = ("localhost", "localhost.localdomain", "localhost6", "ip6-localhost")


def _neighbours(config: NodeConfig, partner: Partner) -> Iterator[str]:
    """The sites of all partners that are at one of the places of this one."""
    mine = {place for _, place in places(partner)}
    return (p.site for p in config.partners.values() if mine & {place for _, place in places(p)})
