"""The story of a configuration: read, checked whole, checked for one way, and then recorded as a generation.

A configuration with faults is recorded too, so that `dicomnode reload` can say what became of the request; the one in
force stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dicomnode.config import certificates, load
from dicomnode.config.model import Node, NodeConfig, Route, Where
from dicomnode.errors import ConfigurationError, Fault
from dicomnode.rules import oneway
from dicomnode.store import audit, generations
from dicomnode.store.database import Database


def read(path: Path) -> NodeConfig:
    """The configuration in a file, fit to be taken into use. Raises ConfigurationError with every fault."""
    return check(load.text_of(path), path)


def check(text: str, path: Path) -> NodeConfig:
    """As `parse`, and the certificates that it names are there and fit together: for what is to be taken into use."""
    config = parse(text, path)
    found = certificates.faults(config.node.tls) if config.node.tls else ()
    _refuse([(("node", "tls", key), why) for key, why in found], text)
    return config


def parse(text: str, path: Path) -> NodeConfig:
    """The configuration in a text; relative paths in it are relative to the folder of `path`.

    Raises ConfigurationError with every fault, reverse paths among them. No other file is looked at: what was in force
    can be read again, whatever has become of its certificates.
    """
    config = load.parse(text, path)
    _refuse([(breach.path, breach.text) for breach in oneway.breaches(config)], text)
    return config


def _refuse(found: Sequence[tuple[Where, str]], text: str) -> None:
    if found:
        raise ConfigurationError(
            tuple(Fault(".".join(map(str, where)), load.line_of(text, where), why) for where, why in found)
        )


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
        *_over_tls(node),
        f"It keeps its data in {node.data}.",
    ]
    yield "Who may call", [_caller(config, name) for name, p in config.partners.items() if p.may] or ["Nobody."]
    yield "What goes where", [s for route in config.routes for s in _route(config, route)] or [
        "Nothing by itself: there are no routes."
    ]
    yield "What can never happen", list(_never(config))


def _over_tls(node: Node) -> Iterator[str]:
    if node.tls:
        place, until = f"{node.tls.bind_host}:{node.tls.bind_port}", certificates.valid_until(node.tls)
        yield f"Over TLS it answers on {place}, with a certificate that is valid until {until}."
        yield f"Whoever speaks TLS with it, either way, needs a certificate that {node.tls.ca} vouches for."


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
    over = ", over TLS only" if partner.tls else ""
    return f"{name} ({partner.ae_title} from {origin}, of {partner.site}{over}) may {listed}{seen}."


def _route(config: NodeConfig, route: Route) -> Iterator[str]:
    which = f" of which an instance was {_conditions(route.when)}" if route.when else ""
    only = f", but only what was {_conditions(route.only)}" if route.only else ""
    quiet = f"once nothing new came for {route.wait:g} seconds" if route.wait else "image by image"
    for name in route.to:
        partner = config.partners[name]
        over = " over TLS" if partner.tls else ""
        there = f"{name} ({partner.display}{over}, {config.site_of(partner).name})"
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
