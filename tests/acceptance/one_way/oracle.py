"""What a configuration allows, told from its YAML data and the table of rights (DESIGN, "What one-way means").

Nothing of the package is imported, least of all its rules: this is written from the table and not from the code, so
that a mistake of the one is not the mistake of the other. Whoever changes the table changes this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

Config = Mapping[str, Any]
QUERY = {"find", "move", "get"}


def sector(config: Config, site: str) -> str:
    return str(config["sites"][site]["sector"])


def site_of(config: Config, partner: str) -> str:
    return str(config["partners"][partner]["site"])


def title(config: Config, partner: str) -> str:
    return str(config["partners"][partner].get("ae_title", partner))


def may(config: Config, partner: str) -> set[str]:
    return set(config["partners"][partner].get("may", ()))


def admitted(config: Config, calling: str, address: str) -> str | None:
    """The one partner that a caller is, by its AE title and its address; of several, none."""
    found = [
        name
        for name, it in config["partners"].items()
        if it.get("may") and title(config, name) == calling and ip_address(address) in ip_network(_from(it))
    ]
    return found[0] if len(found) == 1 else None


def _from(partner: Config) -> str:
    return str(partner.get("address", partner.get("host")))


def allowed(config: Config, source: str, destination: str) -> bool:
    """Whether data of one site may come to another: within a site, or as `flows` says."""
    arrows = config.get("flows", ["private -> public"])
    return source == destination or f"{sector(config, source)} -> {sector(config, destination)}" in arrows


def places(config: Config, partner: str) -> set[str]:
    """Where a partner is called: at its host and port, and wherever it is asked for proof."""
    it = config["partners"][partner]
    asked = [value.partition("@")[2] for key, value in it.get("confirm", {}).items() if key in ("find", "commit")]
    return {f"{it['host']}:{it['port']}", *asked} if "port" in it else set(asked)


def reachable(config: Config, source: str, partner: str) -> bool:
    """Whether data of a site may be sent to a partner: whoever is at the same place has it too."""
    if "port" not in config["partners"][partner]:
        return False
    there = [other for other in config["partners"] if places(config, other) & places(config, partner)]
    return all(allowed(config, source, site_of(config, other)) for other in there)


def stores(config: Config, partner: str) -> bool:
    """Whether a partner may store: with the right, and of a private site, or of a sector from which something flows."""
    own = sector(config, site_of(config, partner))
    arrows = config.get("flows", ["private -> public"])
    gives = own == "private" or any(arrow.startswith(f"{own} ->") for arrow in arrows)
    return "store" in may(config, partner) and gives


def offered(config: Config, partner: str) -> set[str]:
    """What is negotiated with a partner, besides Verification; as a SCU."""
    return (may(config, partner) & QUERY) | ({"store"} if stores(config, partner) else set())


def takes_from(config: Config, route: Config) -> set[str]:
    """The partners whose instances a route takes."""
    private = [site for site in config["sites"] if sector(config, site) == "private"]
    sources = set(route.get("from", private))
    return {name for name in config["partners"] if {name, site_of(config, name)} & sources}


def named_sites(config: Config, route: Config) -> set[str]:
    """The sites that a route names, by themselves or by a partner."""
    private = [site for site in config["sites"] if sector(config, site) == "private"]
    return {name if name in config["sites"] else site_of(config, name) for name in route.get("from", private)}


def referred(config: Config, storer: str, site: str) -> set[str]:
    """The partners that a study of a site is referred to when a partner stores it. From another site: nobody."""
    if not stores(config, storer) or site_of(config, storer) != site:
        return set()
    return {to for route in config["routes"] if storer in takes_from(config, route) for to in route["to"]}


def visible(config: Config, caller: str, site: str, referrals: set[str]) -> bool:
    """Whether a caller sees a study: a private one what is of its site, a public one what is referred to its site."""
    own = site_of(config, caller)
    if sector(config, own) == "private":
        return own == site
    return allowed(config, site, own) and any(site_of(config, partner) == own for partner in referrals)


def moved_to(config: Config, caller: str, called: str, site: str) -> str | None:
    """The partner that a C-MOVE of a visible study reaches; None where it is refused."""
    own = site_of(config, caller)
    found = [p for p in config["partners"] if title(config, p) == called and reachable(config, own, p)]
    return found[0] if len(found) == 1 and reachable(config, site, found[0]) else None


def obtained(config: Config) -> set[tuple[str, str, str]]:
    """Whose studies may ever come to whom, by a route or by asking: (site, partner, service)."""
    partners, sites = list(config["partners"]), list(config["sites"])
    routed = {(s, to) for route in config["routes"] for s in named_sites(config, route) for to in route["to"]}
    found = {(site, to, "C-STORE") for site, to in routed if reachable(config, site, to)}
    referrals = {site: {to for of, to, _ in found if of == site} for site in sites}
    for _ in range(len(partners) + 1):  # what was moved to somebody may be moved on
        for mover, site in _seeing(config, "move", referrals):
            for to in filter(None, (moved_to(config, mover, title(config, p), site) for p in partners)):
                found.add((site, to, "C-MOVE"))
                referrals[site] |= {to} if site_of(config, to) != site else set()
    for right, service in (("find", "C-FIND"), ("get", "C-GET")):
        found |= {(site, caller, service) for caller, site in _seeing(config, right, referrals)}
    return found


def _seeing(config: Config, right: str, referrals: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """The callers with a right, and the sites whose studies each may see."""
    callers = [p for p in config["partners"] if right in offered(config, p)]
    return [(p, site) for p in callers for site in config["sites"] if visible(config, p, site, referrals[site])]


# -- lines that open a reverse path --------------------------------------------------------------------------------


def reversed_routes(config: Config) -> set[int]:
    """The routes that carry something against the flows: by themselves, or because of what comes back to them."""
    had = _had(config)
    wrong = set()
    for number, route in enumerate(config["routes"]):
        coming = named_sites(config, route) | {site for name in _relays(config, route) for site in had[name]}
        if any(not allowed(config, site, site_of(config, to)) for site in coming for to in route["to"]):
            wrong.add(number)
    return wrong


def _relays(config: Config, route: Config) -> Iterator[str]:
    return (name for name in takes_from(config, route) if "store" in may(config, name))


def _had(config: Config) -> dict[str, set[str]]:
    """The sites of the studies that each partner may have got hold of, when everybody passes on what he can."""
    had: dict[str, set[str]] = {name: set() for name in config["partners"]}
    for _ in range(len(had) + 1):  # the longest chain there can be
        for route in config["routes"]:
            brought = named_sites(config, route).union(*(had[name] for name in _relays(config, route)))
            for to in route["to"]:
                had[to] |= brought
        for name in had:
            if may(config, name) & {"get", "move"}:
                had[name].update(*(had[o] for o in had if site_of(config, o) == site_of(config, name)))
    return had
