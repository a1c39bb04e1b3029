"""May data of site X reach site Y? The one rule of direction, asked at load, at negotiation, by query and at dial.

Data stays within a site, or crosses from one sector to another where `flows` names the pair. Nothing else moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dicomnode.config.model import NodeConfig, Partner


def may_flow(config: NodeConfig, source: str, destination: str) -> bool:
    """Whether studies of site `source` may reach an AE of site `destination`. A site that is not configured: no."""
    if source == destination:
        return True
    if source not in config.sites or destination not in config.sites:
        return False
    pair = (config.sites[source].sector, config.sites[destination].sector)
    return any((flow.source, flow.destination) == pair for flow in config.flows)


def may_give(config: NodeConfig, site: str) -> bool:
    """Whether AEs of a site may store here: of a private site always, for its own workstations; else if it may flow."""
    sector = config.sites[site].sector
    return sector == "private" or any(flow.source == sector for flow in config.flows)


def may_get(config: NodeConfig, site: str) -> bool:
    """Whether anything may flow into a site from another."""
    return any(flow.destination == config.sites[site].sector for flow in config.flows)


def destinations(config: NodeConfig, site: str) -> list[Partner]:
    """The partners that studies of `site` may be sent to."""
    return [p for p in config.partners.values() if p.is_destination and may_flow(config, site, p.site)]


@dataclass(frozen=True, slots=True)
class Breach:
    """A line of a configuration that would carry data against the flows: its path in the file, and what to do."""

    path: tuple[str | int, ...]
    text: str


def breaches(config: NodeConfig) -> Iterator[Breach]:
    """Every reverse path that the configuration opens."""
    yield from _routes(config)
    yield from _shared_endpoints(config)


def _routes(config: NodeConfig) -> Iterator[Breach]:
    for number, route in enumerate(config.routes):
        for name in route.to:
            partner = config.partners[name]
            for site in sorted(source_sites(config, route.sources)):
                if not may_flow(config, site, partner.site):
                    flow = f"{config.sites[site].sector} -> {config.sites[partner.site].sector}"
                    text = f"would carry studies of {site} to {name} of {partner.site}: no flow allows {flow}"
                    yield Breach(("routes", number, "to"), text)


def source_sites(config: NodeConfig, sources: tuple[str, ...]) -> frozenset[str]:
    """The sites that a route's `from` names, directly or by a partner."""
    return frozenset(name if name in config.sites else config.partners[name].site for name in sources)


def _shared_endpoints(config: NodeConfig) -> Iterator[Breach]:
    """Two partners at one host and port are one AE: what may reach the one, reaches the other."""
    seen: dict[tuple[str, int], Partner] = {}
    for partner in config.partners.values():
        if partner.host is None or partner.port is None:
            continue
        other = seen.setdefault((partner.host.lower(), partner.port), partner)
        if other.site != partner.site and not _mutual(config, other.site, partner.site):
            text = (
                f"is at the same host and port as {other.name} of {other.site}:"
                " one of the two sites would receive what only the other may have"
            )
            yield Breach(("partners", partner.name, "host"), text)


def _mutual(config: NodeConfig, one: str, other: str) -> bool:
    return may_flow(config, one, other) and may_flow(config, other, one)
