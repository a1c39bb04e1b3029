"""Do the parts of a configuration agree with each other? What one person cannot mean by all of it together.

Only what could be read is held against the rest. Whether data could flow back is not decided here but in rules/oneway.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from dicomnode.config import units
from dicomnode.config.model import Flow, Node, Partner, Route, Site, Where


@dataclass(frozen=True, slots=True)
class Draft:
    """As much of one file as could be read. The names are those of all its parts, readable or not."""

    node: Node | None
    flows: tuple[Flow, ...] | None
    sites: dict[str, Site]
    partners: dict[str, Partner]
    routes: dict[int, Route]
    site_names: frozenset[str]
    partner_names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two parts that cannot both be meant: where to look, why, and where the other part is if it has a line."""

    where: Where
    text: str
    other: Where | None = None


def contradictions(draft: Draft) -> Iterator[Contradiction]:
    """Everything in which the parts disagree; what could not be read is not held against the rest."""
    for name in sorted(draft.site_names & draft.partner_names):
        text = "is the name of a site too: a route could not tell them apart"
        yield Contradiction(("partners", name), text, ("sites", name))
    if draft.node and draft.node.limits.retry_first > draft.node.limits.retry_most:
        yield Contradiction(("node", "limits", "retry_first"), "is more than retry_most")
    yield from _of_space(draft.node)
    yield from _of_tls(draft)
    for partner in draft.partners.values():
        yield from _of_partner(partner, draft)
    yield from _same_callers(draft.partners.values())
    for position, route in draft.routes.items():
        yield from _of_route(("routes", position), route, draft)
    yield from _same_names(draft.routes)


def _of_space(node: Node | None) -> Iterator[Contradiction]:
    """Senders are to be sent away before their instances are refused, and room to be made before either."""
    if node is None:
        return
    marks, free = node.watermarks, node.retention.free
    if marks.associations < marks.instances:
        text = "is less than instances: whoever may begin to store would then have every instance refused"
        yield Contradiction(("node", "watermarks", "associations"), text)
    if free is not None and free <= marks.associations:
        text = "is not more than watermarks.associations: senders would be refused before any room is made"
        yield Contradiction(("node", "retention", "free"), text)


def _of_tls(draft: Draft) -> Iterator[Contradiction]:
    if draft.node is None:
        return
    if draft.node.tls is None:
        for partner in (partner for partner in draft.partners.values() if partner.tls):
            text = f"is missing, and {partner.name} speaks TLS only: give it bind, certificate, key and ca"
            yield Contradiction(("node", "tls"), text, ("partners", partner.name, "tls"))
        return
    (host, port), (other, taken) = draft.node.binds.values()
    if port == taken and (host == other or any(map(units.is_every_interface, (host, other)))):
        text = "is where node.bind listens: TLS has a port of its own"
        yield Contradiction(("node", "tls", "bind"), text, ("node", "bind"))


def _of_partner(partner: Partner, draft: Draft) -> Iterator[Contradiction]:
    where, site, node = ("partners", partner.name), draft.sites.get(partner.site), draft.node
    if partner.port is not None and partner.host is None:
        yield Contradiction((*where, "port"), "is of no use without host")
    for right in ("store", "commit"):
        if right in partner.may and site and site.sector == "public" and not _may_leave_public(draft.flows):
            yield Contradiction((*where, "may"), f"{right}: nothing may flow from public, and its site is public")
    if "commit" in partner.may and not partner.is_destination:
        text = "commit: we call it back with the result, so it needs host and port"
        yield Contradiction((*where, "may"), text)
    public = [key for key, (host, _) in node.binds.items() if not units.is_loopback(host)] if node else []
    if partner.may and not partner.address and public:
        yield Contradiction(where, f"could be anybody: {public[0]} is public, so say from which address it calls")
    if node and _is_ourselves(partner, node):
        yield Contradiction(where, f"{partner.display} is this node itself: what it is sent would come back for ever")


def _may_leave_public(flows: tuple[Flow, ...] | None) -> bool:
    return flows is None or any(flow.source == "public" for flow in flows)


def _is_ourselves(partner: Partner, node: Node) -> bool:
    if partner.host is None or partner.ae_title not in node.titles:
        return False
    return any(partner.port == port and _reaches(partner.host, host) for host, port in node.binds.values())


def _reaches(host: str, bind_host: str) -> bool:
    local = units.is_loopback(bind_host) or units.is_every_interface(bind_host)
    return (local and units.is_loopback(host)) or host.lower() == bind_host.lower()


def _same_callers(partners: Iterable[Partner]) -> Iterator[Contradiction]:
    """Two that may call under one AE title from one address: each call must select one partner."""
    seen: defaultdict[str, list[Partner]] = defaultdict(list)
    for partner in partners:
        if not partner.may:
            continue
        twin = next((other for other in seen[partner.ae_title] if _overlap(partner, other)), None)
        if twin:
            text = f"cannot be told from {twin.name}: both call as {partner.ae_title}, from addresses that overlap"
            yield Contradiction(("partners", partner.name), text, ("partners", twin.name))
        seen[partner.ae_title].append(partner)


def _overlap(one: Partner, two: Partner) -> bool:
    if not one.address or not two.address:
        return True
    return any(a.version == b.version and a.overlaps(b) for a in one.address for b in two.address)


def _of_route(where: Where, route: Route, draft: Draft) -> Iterator[Contradiction]:
    private = any(site.sector == "private" for site in draft.sites.values())
    if not route.sources and not private and len(draft.sites) == len(draft.site_names):
        yield Contradiction((*where, "from"), "is missing, and there is no private site, which would be the default")
    for position, name in enumerate(route.to):
        partner = draft.partners.get(name)
        if partner and not partner.is_destination:
            text = f"{name} has no host and port: nothing can be sent to it"
            yield Contradiction((*where, "to", position), text, ("partners", name))
    yield from _of_expect((*where, "expect"), route, draft)
    yield from _never_matching(where, route, draft)


def _of_expect(where: Where, route: Route, draft: Draft) -> Iterator[Contradiction]:
    """Who is asked what a study has: somebody who can be asked, who would know, and for whose answer there is time."""
    if route.expect is None:
        return
    longest = max(route.wait, *route.waits.values(), 0.0)
    if not route.wait:
        text = "cannot be together with wait: 0s, which sends each image before anything can be expected"
        yield Contradiction(where, text)
    elif route.expect.within <= longest:
        text = f"is not longer than the quiet time ({longest:g}s): nobody would be asked in time"
        yield Contradiction((*where, "within"), text)
    partner = draft.partners.get(route.expect.partner)
    if partner is None:
        return
    other = ("partners", partner.name)
    if not partner.is_destination:
        yield Contradiction((*where, "from"), f"{partner.name} has no host and port: it cannot be asked", other)
    private = {key for key, site in draft.sites.items() if site.sector == "private"}
    sources = {_site_of(name, draft) for name in route.sources} or private
    if partner.site not in sources:
        text = f"{partner.name} belongs to {partner.site}, which this route takes nothing from: it would not know"
        yield Contradiction((*where, "from"), text, other)


def _site_of(name: str, draft: Draft) -> str:
    """The site of a partner, or the name of a site itself."""
    return draft.partners[name].site if name in draft.partners else name


def _never_matching(where: Where, route: Route, draft: Draft) -> Iterator[Contradiction]:
    """Titles without wildcards that we do not answer to, or that nobody has: such a route silently sends nothing."""
    callers = frozenset(partner.ae_title for partner in draft.partners.values())
    titles = {
        "called": draft.node.titles if draft.node else None,
        "calling": callers if len(draft.partners) == len(draft.partner_names) else None,
    }
    for (key, conditions), (attribute, known) in product((("when", route.when), ("only", route.only)), titles.items()):
        for pattern in conditions.get(attribute, ()):
            if known is not None and pattern not in known and not {"*", "?"} & set(pattern):
                whose = "this node has no AE title" if attribute == "called" else "no partner has the AE title"
                text = f"{whose} {units.quoted(pattern)}{units.suggestion(pattern, known)}"
                yield Contradiction((*where, key, attribute), text)


def _same_names(routes: dict[int, Route]) -> Iterator[Contradiction]:
    first: dict[str, int] = {}
    for position, route in routes.items():
        if first.setdefault(route.name, position) != position:
            text = f"{units.quoted(route.name)} is the name of another route"
            yield Contradiction(("routes", position, "name"), text, ("routes", first[route.name]))
