"""Configurations by chance: sites, flows, partners, rights and routes; sound ones, and some with a reverse path.

The same seed always gives the same world. Every AE has an address of its own in 127/8, and may call from there alone;
ports are numbers of the world, and become those of the machine where it is driven.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.acceptance.one_way import oracle

PRIVATE, PUBLIC = ["harbour", "peak", "ridge", "cove"], ["general", "island", "royal"]
FLOWS: list[list[str] | None] = [
    *[None] * 4,
    *[["private -> public"]] * 3,
    ["private -> public", "public -> private"],
    ["private -> public", "public -> public"],
    ["private -> public", "private -> private"],
    ["public -> private"],
    [],
]

Yaml = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A configuration, as data; where it is `planted`, the path of the line that opens a reverse path."""

    seed: int
    config: Yaml
    planted: tuple[str | int, ...] = ()
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.seed}{'-' if self.kind else ''}{self.kind}"


def sound(seed: int) -> World:
    """A world in which nothing goes against the flows."""
    chance = random.Random(f"one way {seed}")
    flows = chance.choice(FLOWS)
    sites = chance.sample(PRIVATE, chance.randint(2, 3)) + chance.sample(PUBLIC, chance.randint(1, 2))
    config: Yaml = {
        "node": {"ae_title": "REFERNODE", "aliases": ["TO_PUBLIC"], "bind": "127.0.0.1:11112", "data": "./data"},
        "sites": {site: {"sector": "private" if site in PRIVATE else "public"} for site in sites},
        **({} if flows is None else {"flows": flows}),
        "partners": {},
        "routes": [],
    }
    for number, site in enumerate(sites, 1):
        config["partners"] |= dict(_partners(config, site, f"127.{seed % 200 + 10}.{number}", chance))
    for number in range(chance.randint(1, 4)):
        _add_route(config, f"r{number}", chance)
    return World(seed, config)


def _partners(config: Yaml, site: str, net: str, chance: random.Random) -> Iterator[tuple[str, Yaml]]:
    """A modality, a workstation and a PACS, of which some may more than others."""
    up, arrows = site.upper(), config.get("flows", ["private -> public"])
    gives = site in PRIVATE or any(arrow.startswith("public ->") for arrow in arrows)
    titles = {"ae_title": "WORKSTATION"} if chance.random() < 0.4 else {}
    rights = _some(["find", "move", "get"], chance)
    if gives:
        yield f"{up}_CT", {"site": site, "address": f"{net}.1", "may": ["store"]}
        rights += ["store"] if chance.random() < 0.3 else []
    yield f"{up}_WS", {"site": site, "host": f"{net}.2", "port": 104, "may": rights or ["find"], **titles}
    rights = _some(["find", "move", "get", *(["store"] * 2 if gives else [])], chance)
    yield f"{up}_PACS", {"site": site, "host": f"{net}.3", "port": 104, "may": rights}
    if chance.random() < 0.3:  # an AE that is never called, under a title that others may have too
        yield f"{up}_QA", {"site": site, "address": f"{net}.4", "may": ["find", "move"], "ae_title": "WORKSTATION"}


def _some(rights: list[str], chance: random.Random) -> list[str]:
    return sorted({right for right in rights if chance.random() < 0.55})


def _add_route(config: Yaml, name: str, chance: random.Random) -> None:
    """A route with which nothing goes against the flows; none where chance offers none."""
    destinations = [p for p, it in config["partners"].items() if "port" in it]
    for _ in range(20):
        sources = chance.sample([*config["sites"], *config["partners"]], chance.randint(1, 2))
        to = chance.sample(destinations, chance.randint(1, 2))
        route = {"name": name, **({"from": sources} if chance.random() < 0.8 else {}), "to": to, "wait": "0s"}
        tried = {**config, "routes": [*config["routes"], route]}
        if not oracle.reversed_routes(tried):
            config["routes"].append(route)
            return


# -- reverse paths that are planted --------------------------------------------------------------------------------

Plant = Callable[[Yaml, random.Random], tuple[str | int, ...] | None]


def planted(seed: int, kind: str) -> World:
    """A sound world, into which one line was written that opens a reverse path."""
    chance = random.Random(f"planted {seed} {kind}")
    for _ in range(1000):
        world = sound(chance.randrange(10**6))
        config = copy.deepcopy(world.config)
        if where := PLANTS[kind](config, chance):
            return World(world.seed, config, where, kind)
    raise AssertionError(f"no world in a thousand has room for {kind}")


def _destination(config: Yaml, chance: random.Random, fits: Callable[[str], bool]) -> str | None:
    found = [p for p, it in config["partners"].items() if "port" in it and fits(p)]
    return chance.choice(found) if found else None


def _pair(config: Yaml, chance: random.Random) -> tuple[str, str] | None:
    """A site, and a partner that nothing of it may come to."""
    pairs = [
        (site, p)
        for site in config["sites"]
        for p, it in config["partners"].items()
        if "port" in it and not oracle.allowed(config, site, it["site"])
    ]
    return chance.choice(pairs) if pairs else None


def _route(config: Yaml, **keys: Any) -> tuple[str | int, ...]:
    config["routes"].append({"name": "planted", "wait": "0s", **keys})
    return ("routes", len(config["routes"]) - 1, "to")


def route_from_a_site(config: Yaml, chance: random.Random) -> tuple[str | int, ...] | None:
    pair = _pair(config, chance)
    return _route(config, **{"from": [pair[0]], "to": [pair[1]]}) if pair else None


def route_from_a_partner(config: Yaml, chance: random.Random) -> tuple[str | int, ...] | None:
    """Of a partner of the site; among several, of which only the last is wrong."""
    if not (pair := _pair(config, chance)):
        return None
    partner = next((p for p in config["partners"] if oracle.site_of(config, p) == pair[0]), None)
    own = oracle.site_of(config, pair[1])
    return _route(config, **{"from": [own, partner], "to": [pair[1]]}) if partner else None


def route_from_everybody(config: Yaml, chance: random.Random) -> tuple[str | int, ...] | None:
    """Without `from`, which is every private site: to an AE of one of them."""
    if "private -> private" in config.get("flows", []):
        return None
    to = _destination(config, chance, lambda p: oracle.sector(config, oracle.site_of(config, p)) == "private")
    return _route(config, to=[to]) if to else None


def route_to_who_asks(config: Yaml, chance: random.Random) -> tuple[str | int, ...] | None:
    """From one hospital to another, whose workstation would then see, fetch and move what is on its way to it."""
    public = [site for site in config["sites"] if site in PUBLIC]
    if len(public) < 2:
        return None
    config["flows"] = ["private -> public", "public -> private"]
    config["routes"] = []
    source, other = (site.upper() for site in public)
    config["partners"][f"{source}_PACS"]["may"] = ["store"]
    config["partners"][f"{other}_WS"]["may"] = ["find", "get", "move"]
    return _route(config, **{"from": [public[0]], "to": [f"{other}_PACS"]})


def chain(config: Yaml, chance: random.Random) -> tuple[str | int, ...] | None:
    """A private site's studies to a public PACS, and what that one stores to another private site."""
    config["flows"] = ["private -> public", "public -> private"]
    config["routes"] = []
    first, second = [site for site in config["sites"] if site in PRIVATE][:2]
    public = next(site for site in config["sites"] if site in PUBLIC)
    relay = config["partners"][f"{public.upper()}_PACS"]
    relay["may"] = sorted({*relay["may"], "store"})
    config["routes"].append({"name": "there", "from": [first], "to": [f"{public.upper()}_PACS"], "wait": "0s"})
    source = chance.choice([public, f"{public.upper()}_PACS"])
    return _route(config, **{"from": [source], "to": [f"{second.upper()}_PACS"]})


def same_place(config: Yaml, chance: random.Random) -> tuple[str | int, ...] | None:
    """Two AEs of two sites at one host and port, the one of which is sent what the other may not have."""
    for one, two in _strangers(config):
        if (site := oracle.site_of(config, one)) in PRIVATE:
            there, it = config["partners"][one], config["partners"][two]
            it["address"], it["host"], it["port"] = it["host"], there["host"], there["port"]
            _route(config, **{"from": [site], "to": [one]})
            return ("partners", two, "host")
    return None


def _strangers(config: Yaml) -> Iterator[tuple[str, str]]:
    """Two destinations, in the order of the file, the second of which may have nothing of the first one's site."""
    names = [p for p, it in config["partners"].items() if "port" in it]
    for one, two in ((one, two) for i, one in enumerate(names) for two in names[i + 1 :]):
        if not oracle.allowed(config, oracle.site_of(config, one), oracle.site_of(config, two)):
            yield one, two


def proof_of_another(config: Yaml, chance: random.Random) -> tuple[str | int, ...] | None:
    """An AE of another site is asked which studies have arrived: it would be told their UIDs."""
    key = chance.choice(["find", "commit"])
    for one, two in _strangers(config):
        there = config["partners"][one]
        config["partners"][two]["confirm"] = {key: f"{one}@{there['host']}:{there['port']}"}
        return ("partners", two, "confirm", key)
    return None


def results_of_another(config: Yaml, chance: random.Random) -> tuple[str | int, ...] | None:
    """An AE of another site whose commitment results would count."""
    for one, two in _strangers(config):
        config["partners"][two]["confirm"] = {"results_from": [one]}
        return ("partners", two, "confirm", "results_from", 0)
    return None


def expected_of_another(config: Yaml, chance: random.Random) -> tuple[str | int, ...] | None:
    """A PACS is asked about the studies of another site that the same route takes."""
    first, second = [site for site in config["sites"] if site in PRIVATE][:2]
    public = next((site for site in config["sites"] if site in PUBLIC), "")
    config["flows"] = ["private -> public"]
    config["routes"] = []
    for it in config["partners"].values():
        if it["site"] in PUBLIC:
            it["may"] = [right for right in it["may"] if right != "store"]
    if not config["partners"][f"{first.upper()}_PACS"]["may"]:
        return None
    expect = {"from": f"{first.upper()}_PACS", "within": "1h"}
    where = _route(config, **{"from": [first, second], "to": [f"{public.upper()}_PACS"], "wait": "60s"})
    config["routes"][-1]["expect"] = expect
    return (*where[:2], "expect", "from")


def store_of_a_public_site(config: Yaml, chance: random.Random) -> tuple[str | int, ...] | None:
    """The right to store, of a site from which nothing may flow."""
    if any(arrow.startswith("public") for arrow in config.get("flows", ["private -> public"])):
        return None
    public = next(site for site in config["sites"] if site in PUBLIC)
    config["partners"][f"{public.upper()}_PACS"]["may"] = ["store"]
    return ("partners", f"{public.upper()}_PACS", "may")


def pull_from_a_public_site(config: Yaml, chance: random.Random) -> tuple[str | int, ...] | None:
    """Studies would be fetched from a site from which nothing may flow."""
    if any(arrow.startswith("public") for arrow in config.get("flows", ["private -> public"])):
        return None
    public = next(site for site in config["sites"] if site in PUBLIC)
    config["partners"][f"{public.upper()}_PACS"] |= {"pull": True, "may": ["store"]}
    return ("partners", f"{public.upper()}_PACS", "pull")


def one_title_at_one_address(config: Yaml, chance: random.Random) -> tuple[str | int, ...] | None:
    """Two sites' callers under one AE title, the one's network around the other's address."""
    one, two = (f"{site.upper()}_WS" for site in list(config["sites"])[:2])
    config["partners"][one]["ae_title"] = config["partners"][two]["ae_title"] = "WORKSTATION"
    net = config["partners"][one]["host"].rpartition(".")[0].rpartition(".")[0]
    config["partners"][two]["address"] = f"{net}.0.0/16"
    return ("partners", two)


PLANTS: dict[str, Plant] = {
    each.__name__: each
    for each in (
        *(route_from_a_site, route_from_a_partner, route_from_everybody, route_to_who_asks, chain),
        *(same_place, proof_of_another),
        *(results_of_another, expected_of_another, store_of_a_public_site, pull_from_a_public_site),
        *(one_title_at_one_address,),
    )
}
