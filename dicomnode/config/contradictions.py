"""Do the parts of a configuration agree with each other? What one person cannot mean by all of it together.

Only what could be read is held against the rest. Whether data could flow back is not decided here but in rules/oneway.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dicomnode.config import conditions, units
from dicomnode.config.model import Flow, Node, Partner, Route, Site, Where
from dicomnode.config.parts import Certificate, Issuer
from dicomnode.dicom.identifier import is_wild


@dataclass(frozen=True, slots=True)
class Draft:
    """As much of one file as could be read. The names are those of all its parts, readable or not."""

    node: Node | None
    flows: tuple[Flow, ...] | None
    sites: dict[str, Site]
    partners: dict[str, Partner]
    routes: dict[int, Route]
    issuers: dict[str, Issuer]
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
    yield from _of_audit(draft.node)
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


def _of_audit(node: Node | None) -> Iterator[Contradiction]:
    if node and node.audit and node.tls is None:
        text = "goes over TLS alone, with the certificate of node.tls, which is missing"
        yield Contradiction(("node", "audit"), text)


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
    if partner.may and not partner.address and not partner.certificate and public:
        text = f"could be anybody: {public[0]} is public, so say from which address it calls, or with which certificate"
        yield Contradiction(where, text)
    yield from _of_papers(where, partner)
    yield from _of_referrals(where, partner, draft)
    yield from _of_coerce((*where, "coerce"), partner, draft)
    if node and _is_ourselves(partner, node):
        yield Contradiction(where, f"{partner.display} is this node itself: what it is sent would come back for ever")


def _of_papers(where: Where, partner: Partner) -> Iterator[Contradiction]:
    """By what a partner is to be told has to tell it, and what is secret is never said in clear."""
    if partner.certificate and not partner.certificate.spki and not partner.certificate.names:
        yield Contradiction((*where, "tls"), "names no certificate: give it spki or names, or write tls: true")
    if partner.user and not partner.tls:
        text = "would send its passcode in clear: write tls: true, or by which certificate it is told"
        yield Contradiction((*where, "user"), text)


def _of_referrals(where: Where, partner: Partner, draft: Draft) -> Iterator[Contradiction]:
    """Who is asked for what is expected, or told of a recall, can be called; what is fetched there is taken here."""
    for key, asked in (("pull", partner.pull), ("worklist", partner.worklist), ("iocm", partner.iocm)):
        if asked and not partner.is_destination:
            yield Contradiction((*where, key), "is of no use without host and port: it is called for that")
    if not partner.pull:
        return
    site = draft.sites.get(partner.site)
    if site and site.sector == "public":
        yield Contradiction((*where, "pull"), "is for a private site's PACS: what is referred is examined there")
    elif "store" not in partner.may:
        yield Contradiction((*where, "pull"), "has it send studies here: add store to may")
    twins = [each for each in draft.partners.values() if each.pull and each.site == partner.site]
    if partner is not twins[0]:
        text = f"{twins[0].name} of the same site has it already: a referral is looked for at one PACS"
        yield Contradiction((*where, "pull"), text, ("partners", twins[0].name, "pull"))


def _of_coerce(where: Where, partner: Partner, draft: Draft) -> Iterator[Contradiction]:
    """The issuer of the patient IDs that copies are to have is one that somebody here gives them out as."""
    issuer = partner.coerce.patient_id
    known = {site.patient_id_issuer for site in draft.sites.values()} | set(draft.issuers)
    if issuer and issuer not in known and len(draft.sites) == len(draft.site_names):
        text = f"unknown issuer {units.quoted(issuer)}{units.suggestion(issuer, known - {''})}"
        yield Contradiction((*where, "patient_id"), f"{text}: no site has it, and it is not among issuers")


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
    """Two that may call under one AE title from one address, and show one certificate: a call must select one partner.
    """
    seen: defaultdict[str, list[Partner]] = defaultdict(list)
    for partner in partners:
        if not partner.may:
            continue
        twin = next((other for other in seen[partner.ae_title] if _alike(partner, other)), None)
        if twin:
            text = f"cannot be told from {twin.name}: both call as {partner.ae_title}, from addresses that overlap"
            text += ", and may show one certificate" if partner.certificate and twin.certificate else ""
            yield Contradiction(("partners", partner.name), text, ("partners", twin.name))
        seen[partner.ae_title].append(partner)


def _alike(one: Partner, two: Partner) -> bool:
    return _overlap(one, two) and not _differ(one.certificate, two.certificate)


def _differ(one: Certificate | None, two: Certificate | None) -> bool:
    """Whether no certificate is both. One with the names of both is: then whoever shows it is refused."""
    if one is None or two is None:
        return False
    by_key = one.spki and two.spki and not set(one.spki) & set(two.spki)
    names = [{name.lower() for name in each.names} for each in (one, two)]
    return bool(by_key or (all(names) and not names[0] & names[1]))


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
            group = () if route.among == "all" else (route.among,)
            yield Contradiction((*where, "to", *group, position), text, ("partners", name))
    yield from _of_group((*where, "to"), route, draft)
    yield from _of_checks(where, route)
    yield from _of_copies(where, route, draft)
    yield from _of_expect((*where, "expect"), route, draft)
    yield from _never_matching(where, route, draft)


def _of_group(where: Where, route: Route, draft: Draft) -> Iterator[Contradiction]:
    """Partners that share the studies of a route: several, and all of one site, for a study goes to any of them."""
    if route.among == "all":
        return
    if len(set(route.to)) < max(2, len(route.to)):
        yield Contradiction((*where, route.among), "is a list of at least two partners, each named once")
    known = [draft.partners[name] for name in route.to if name in draft.partners]
    for partner in known[1:]:
        if partner.site != known[0].site:
            text = f"{partner.name} belongs to {partner.site}, and {known[0].name} to {known[0].site}"
            text += ": a study goes to either, so both are of one site"
            yield Contradiction((*where, route.among), text, ("partners", partner.name, "site"))


def _of_checks(where: Where, route: Route) -> Iterator[Contradiction]:
    """What is seen of a whole study cannot be seen before anything of it goes."""
    checks = {
        "require": route.require == "referral",
        "consent": route.consent == "required",
        "identity": route.identity == "check",
    }
    for key in (key for key, is_asked in checks.items() if is_asked and route.is_hasty):
        text = "cannot be together with wait: 0s, which sends each image before the study is whole"
        yield Contradiction((*where, key), text)


def _of_copies(where: Where, route: Route, draft: Draft) -> Iterator[Contradiction]:
    """Where copies have the patient ID that a referral gives, nothing can go that has none, or is of somebody else."""
    private = {key for key, site in draft.sites.items() if site.sector == "private"}
    sources = {_site_of(name, draft) for name in route.sources} or private
    issuers = {draft.sites[name].patient_id_issuer for name in sources if name in draft.sites}
    for partner in (draft.partners[name] for name in route.to if name in draft.partners):
        issuer = partner.coerce.patient_id
        other = ("partners", partner.name, "coerce", "patient_id")
        if issuer and route.require == "none" and issuers - {issuer}:
            text = f"must be referral: {partner.name} is sent the patient ID of {issuer}, which only a referral gives"
            yield Contradiction((*where, "require"), text, other)
        if issuer and route.identity == "none":
            text = f"cannot be none: {partner.name} is sent the patient ID that a referral gives, so whose it is counts"
            yield Contradiction((*where, "identity"), text, other)


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
    """Names without wildcards that nobody has: where they are asked for, nothing is ever sent, and nobody is told."""
    known = dict(_names(draft))
    asked = (*conditions.placed(route.when, (*where, "when")), *conditions.placed(route.only, (*where, "only")))
    for place, condition in asked:
        what, names = known.get(condition.attribute, ("", None))
        for value in condition.values:
            if names is not None and value not in names and not is_wild(value):
                yield Contradiction(place, f"{what} {units.quoted(value)}{units.suggestion(value, names)}")


def _names(draft: Draft) -> Iterator[tuple[str, tuple[str, frozenset[str]]]]:
    """What an origin can be, by its attribute, and how it is said that something is none; where all of it is known."""
    yield "site", ("there is no site", draft.site_names)
    yield "partner", ("there is no partner", draft.partner_names)
    if draft.node:
        yield "called", ("this node has no AE title", draft.node.titles)
    if len(draft.partners) == len(draft.partner_names):
        callers = frozenset(partner.ae_title for partner in draft.partners.values())
        yield "calling", ("no partner has the AE title", callers)


def _same_names(routes: dict[int, Route]) -> Iterator[Contradiction]:
    first: dict[str, int] = {}
    for position, route in routes.items():
        if first.setdefault(route.name, position) != position:
            text = f"{units.quoted(route.name)} is the name of another route"
            yield Contradiction(("routes", position, "name"), text, ("routes", first[route.name]))
