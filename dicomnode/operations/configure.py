"""The story of a configuration: read, checked whole, checked for one way, and then recorded as a generation.

A configuration with faults is recorded too, so that `dicomnode reload` can say what became of the request; the one in
force stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dicomnode.config import certificates, load, passcodes
from dicomnode.config.conditions import requires
from dicomnode.config.model import Node, NodeConfig, Partner, Route, Where
from dicomnode.config.units import say_duration, say_size
from dicomnode.dicom.classes import class_name
from dicomnode.errors import ConfigurationError, Fault
from dicomnode.operations import papers
from dicomnode.operations.ports import now
from dicomnode.rules import conditions, oneway
from dicomnode.rules.breaches import Breach, breaches
from dicomnode.rules.exposure import exposures
from dicomnode.store import audit, generations
from dicomnode.store.database import Database


def read(path: Path) -> NodeConfig:
    """The configuration in a file, fit to be taken into use. Raises ConfigurationError with every fault."""
    return check(load.text_of(path), path)


def check(text: str, path: Path) -> NodeConfig:
    """As `parse`, and the certificates and passcodes that it names are there and can be used: for what is to be taken
    into use."""
    config = parse(text, path)
    found = certificates.faults(config.node.tls) if config.node.tls else ()
    secret = [(p.name, why) for p in config.partners.values() if p.user and (why := passcodes.fault(p.user.passcode))]
    faults: list[tuple[Where, str]] = [(("node", "tls", key), why) for key, why in found]
    _refuse(faults + [(("partners", name, "user", "passcode"), why) for name, why in secret], text)
    return config


def parse(text: str, path: Path) -> NodeConfig:
    """The configuration in a text; relative paths in it are relative to the folder of `path`.

    Raises ConfigurationError with every fault, reverse paths among them. No other file is looked at: what was in force
    can be read again, whatever has become of its certificates.
    """
    config = load.parse(text, path)
    _refuse([(each.path, _told(each, load.lines_of(text))) for each in breaches(config)], text)
    return config


def exposed(config: NodeConfig, text: str) -> list[Fault]:
    """What could go wrong with one way while nobody is at fault, each with its line of the text."""
    line = load.lines_of(text)
    return [Fault(".".join(map(str, it.path)), line(it.path), _told(it, line)) for it in exposures(config)]


def _told(breach: Breach, line: Callable[[Where], int]) -> str:
    """What is wrong, and which other lines take part in it."""
    lines = sorted(set(map(line, breach.others)))
    return breach.text + (f" (line {', '.join(map(str, lines))})" if lines else "")


def _refuse(found: Sequence[tuple[Where, str]], text: str) -> None:
    if found:
        raise ConfigurationError(
            tuple(Fault(".".join(map(str, where)), load.line_of(text, where), why) for where, why in found)
        )


def warnings(config: NodeConfig) -> Iterator[str]:
    """What is allowed and probably not meant."""
    for route in config.routes:
        if route.require == "none" and not requires(route.when, "called"):
            sites = " and ".join(sorted(oneway.source_sites(config, route.sources)))
            text = f"every study of {sites} that matches leaves, referred or not (`when` has no `called`)"
            yield f"route {route.name}: {text}"
    yield from papers.needs(config, now())
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
        *_kept(node),
        *_answered(node),
    ]
    yield "Who may call", [_caller(config, name) for name, p in config.partners.items() if p.may] or ["Nobody."]
    yield "What goes where", [s for route in config.routes for s in _route(config, route)] or [
        "Nothing by itself: there are no routes."
    ]
    named = {name for route in config.routes for name in route.to}
    proofs = [s for name in sorted(named) for s in _sent(config.partners[name])]
    if proofs:
        yield "How it is sent, and what proves that it arrived", proofs
    fitted = [s for partner in config.partners.values() for s in _fitted(partner)]
    if fitted:
        yield "What is made to fit a partner", fitted
    yield "What can never happen", list(_never(config))


def _over_tls(node: Node) -> Iterator[str]:
    if node.tls:
        place, found = f"{node.tls.bind_host}:{node.tls.bind_port}", certificates.papers(node.tls)
        ends = {paper.key: certificates.last_day(paper.until) for paper in found}
        yield f"Over TLS it answers on {place}, with a certificate that is valid until {ends['certificate']}."
        yield f"Whoever speaks TLS with it, either way, needs a certificate that {node.tls.ca} vouches for."
        if node.tls.crl:
            yield f"Whom {node.tls.crl} names is refused; after {ends['crl']}, everybody is until there is a new list."


def _kept(node: Node) -> Iterator[str]:
    marks, retention = node.watermarks, node.retention
    yield (
        f"With less than {say_size(marks.associations)} free, whoever would store is asked to come later; with less"
        f" than {say_size(marks.instances)}, no instance is taken."
    )
    when = [f"{say_duration(retention.after)} after their confirmation"] if retention.after else []
    when += [f"when less than {say_size(retention.free)} are free"] if retention.free else []
    spared = "" if retention.committed else ", but for what it committed to its source"
    if when:
        yield f"Files of confirmed studies go {' or '.join(when)}{spared}; nothing else ever goes."
    else:
        yield "What was received is kept for ever (there is no `retention`)."


def _answered(node: Node) -> Iterator[str]:
    if node.limits.answers is not None:
        most = "answer" if node.limits.answers == 1 else "answers"
        yield f"A query gets {node.limits.answers} {most} at most; where there are more, it is told so."


_RIGHTS = {
    "store": "store",
    "find": "query",
    "move": "retrieve",
    "get": "fetch to itself",
    "commit": "ask for Storage Commitment",
}


def _caller(config: NodeConfig, name: str) -> str:
    partner = config.partners[name]
    rights = [word for right, word in _RIGHTS.items() if right in partner.may]
    origin = " or ".join(partner.addresses) or "any address"
    listed = ", ".join(rights[:-1]) + " and " + rights[-1] if len(rights) > 1 else rights[0]
    seen = ""
    if {"find", "move", "get"} & partner.may:
        own = config.sector_of(partner) == "private"
        seen = f"; it sees {'the studies of' if own else 'the studies referred to'} {partner.site}"
    if "move" in partner.may:
        reach = [p.name for p in oneway.destinations(config, partner.site)]
        seen += f", and can move them to {' and '.join(reach) or 'nobody'}"
    over = f", over TLS only{_told_by(partner)}" if partner.tls else ""
    return f"{name} ({partner.ae_title} from {origin}, of {partner.site}{over}) may {listed}{seen}."


def _told_by(partner: Partner) -> str:
    """What it has to show besides a certificate that is genuine, and to say."""
    own = partner.certificate
    shown = [f"with a key of {' or '.join(each[:16] + '…' for each in own.spki)}"] if own and own.spki else []
    shown += [f"with a certificate for {' or '.join(own.names)}"] if own and own.names else []
    shown += [f"as user {partner.user.name}"] if partner.user else []
    return "".join(f" and {each}" for each in shown)


def _route(config: NodeConfig, route: Route) -> Iterator[str]:
    which = f" of which an instance was {conditions.words(route.when)}" if route.when else ""
    only = f", but only what was {conditions.words(route.only)}" if route.only else ""
    quiet = f"once nothing new came for {_quiet(route)}" if route.wait else "image by image"
    if route.expect:
        quiet += f" and {route.expect.partner} has no more of it (or {say_duration(route.expect.within)} have passed)"
    quiet += ", before what is routine" if route.priority == "urgent" else ""
    quiet += ", with the patient's recorded consent alone" if route.consent == "required" else ""
    for there in _destinations(config, route):
        yield f"{route.name}: studies from {' and '.join(route.sources)}{which} go to {there}{only}, {quiet}."


def _destinations(config: NodeConfig, route: Route) -> list[str]:
    """Where a route leads: to each of its partners, or to one of a group."""
    each = [_there(config, config.partners[name]) for name in route.to]
    if route.among == "all":
        return each
    after = f"after {say_duration(route.after)} in which that fails"
    if route.among == "failover":
        return [f"; {after}, to ".join(each)]
    return [f"{' or '.join(each)}, each in its turn, and {after} to the next"]


def _there(config: NodeConfig, partner: Partner) -> str:
    over = " over TLS" if partner.tls else ""
    return f"{partner.name} ({partner.display}{over}, {config.site_of(partner).name})"


def _quiet(route: Route) -> str:
    """The quiet time of a route, by modality where it has several."""
    by = [f"{say_duration(seconds)} ({modality})" for modality, seconds in sorted(route.waits.items())]
    return ", ".join([*by, f"{say_duration(route.wait)} (others)" if by else say_duration(route.wait)])


_PROOFS = {
    "auto": "the strongest proof that it has shown: Storage Commitment, else a query for instances, else their number",
    "commitment": "a Storage Commitment result, and nothing else",
    "find": "a query for the SOP Instance UIDs, and nothing else",
    "count": "a query for the number of instances, and nothing else",
    "status": "its answer to each C-STORE alone, by your own word",
}


def _sent(partner: Partner) -> Iterator[str]:
    yield f"{partner.name} confirms a study by {_PROOFS[partner.confirm.by]}."
    when = []
    if partner.window:
        begin, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in partner.window)
        when.append(f"only from {begin} to {end}")
    if partner.bandwidth:
        when.append(f"at no more than {say_size(partner.bandwidth)} a second")
    if when:
        yield f"{partner.name} is sent instances {' and '.join(when)}."
    if partner.skip_classes:
        yield f"{partner.name} is never sent {', '.join(map(class_name, partner.skip_classes))}."
    yield f"What {partner.name} does not take for {say_duration(partner.give_up_after)} is held for you to look at."
    if partner.iocm:
        yield f"Of what is recalled {partner.name} is told by a rejection note; whether it deletes that is up to it."


def _fitted(partner: Partner) -> Iterator[str]:
    if partner.charset:
        text = f"Where {partner.name} declares no character set, or a wrong one, its text is read as {partner.charset}"
        yield f"{text}; it is answered in that." if "find" in partner.may else f"{text}."
    if partner.decompresses:
        yield f"What {partner.name} does not take compressed is decompressed for it."


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
