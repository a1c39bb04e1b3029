"""The story of a configuration: read, checked whole, checked for one way, and then recorded as a generation.

A configuration with faults is recorded too, so that `dicomnode reload` can say what became of the request; the one in
force stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dicomnode.config import load
from dicomnode.config.model import NodeConfig, Route
from dicomnode.errors import ConfigurationError, Fault
from dicomnode.rules import oneway
from dicomnode.store import audit, generations
from dicomnode.store.database import Database


def read(path: Path) -> NodeConfig:
    """The configuration in a file. Raises ConfigurationError with every fault, reverse paths among them."""
    return parse(load.text_of(path), path)


def parse(text: str, path: Path) -> NodeConfig:
    """The configuration in a text; relative paths in it are relative to the folder of `path`. As `read` otherwise."""
    config = load.parse(text, path)
    breaches = tuple(oneway.breaches(config))
    if breaches:
        raise ConfigurationError(tuple(_fault(breach, text) for breach in breaches))
    return config


def _fault(breach: oneway.Breach, text: str) -> Fault:
    return Fault(".".join(map(str, breach.path)), load.line_of(text, breach.path), breach.text)


def warnings(config: NodeConfig) -> Iterator[str]:
    """What is allowed and probably not meant."""
    for route in config.routes:
        if "called" not in route.when:
            sites = " and ".join(sorted(oneway.source_sites(config, route.sources)))
            text = f"every study of {sites} that matches leaves, referred or not (`when` has no `called`)"
            yield f"route {route.name}: {text}"
    if not config.routes:
        yield "there are no routes: studies are kept, and nothing is sent by itself"


def record(text: str, faults: tuple[Fault, ...], at: int, database: Database) -> int:
    """Write down that a configuration was read; its generation."""
    shown = "\n".join(map(str, faults))

    def recorded() -> int:
        generation = generations.record(text, shown, at)
        kind = "configuration refused" if faults else "configuration in force"
        audit.record(audit.Event(at, kind, shown or f"generation {generation}", generation=generation))
        return generation

    return database.write(recorded)


# -- in plain sentences ----------------------------------------------------------------------------------------


def sentences(config: NodeConfig) -> Iterator[tuple[str, list[str]]]:
    """What a configuration means: (heading, sentences), for a person who has to answer for it."""
    node = config.node
    titles = " or ".join(sorted(node.titles, key=lambda title: title != node.ae_title))
    yield "This node", [
        f"It answers to {titles} on {node.bind_host}:{node.bind_port}.",
        f"It keeps its data in {node.data}.",
    ]
    yield "Who may call", [_caller(config, name) for name, p in config.partners.items() if p.may] or ["Nobody."]
    yield "What goes where", [s for route in config.routes for s in _route(config, route)] or [
        "Nothing by itself: there are no routes."
    ]
    yield "What can never happen", list(_never(config))


def _caller(config: NodeConfig, name: str) -> str:
    partner = config.partners[name]
    does = {"store": "store", "find": "query", "move": "retrieve"}
    rights = [does[right] for right in ("store", "find", "move") if right in partner.may]
    origin = " or ".join(partner.addresses) or "any address"
    listed = ", ".join(rights[:-1]) + " and " + rights[-1] if len(rights) > 1 else rights[0]
    seen = ""
    if {"find", "move"} & partner.may:
        own = config.sector_of(partner) == "private"
        seen = f"; it sees {'the studies of' if own else 'the studies referred to'} {partner.site}"
    if "move" in partner.may:
        reach = [p.name for p in oneway.destinations(config, partner.site)]
        seen += f", and can move them to {' and '.join(reach) or 'nobody'}"
    return f"{name} ({partner.ae_title} from {origin}, of {partner.site}) may {listed}{seen}."


def _route(config: NodeConfig, route: Route) -> Iterator[str]:
    which = f" of which an instance was {_conditions(route.when)}" if route.when else ""
    only = f", but only what was {_conditions(route.only)}" if route.only else ""
    quiet = f"once nothing new came for {route.wait:g} seconds" if route.wait else "image by image"
    for name in route.to:
        partner = config.partners[name]
        there = f"{name} ({partner.display}, {config.site_of(partner).name})"
        yield f"{route.name}: studies from {' and '.join(route.sources)}{which} go to {there}{only}, {quiet}."


def _conditions(conditions: dict[str, tuple[str, ...]]) -> str:
    """`when` or `only` in words, after "was"."""
    said = {"called": "sent to", "calling": "sent by"}
    return " and ".join(
        f"{said.get(key, f'made with {key}')} {' or '.join(values)}" for key, values in conditions.items()
    )


def _never(config: NodeConfig) -> Iterator[str]:
    sites = config.sites
    for source in sites:
        barred = [other for other in sites if not oneway.may_flow(config, source, other)]
        if barred:
            yield f"Nothing of {source} ({sites[source].sector}) can reach {', '.join(barred)}."
    for site in sites:
        if not oneway.may_give(config, site):
            yield f"{site} ({sites[site].sector}) can store nothing here: its storage contexts are refused."
    if all(flow.source != "public" for flow in config.flows):
        yield "Nothing flows back: no flow begins at public, and no route, query or move goes round that."
