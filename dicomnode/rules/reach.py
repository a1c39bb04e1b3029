"""Who can obtain whose studies, by which service, through which line of a configuration, and why that is allowed.

Every way is written out, so that it can be read and signed: what is not among them, nobody obtains. It follows from
DESIGN's table of rights, as admission, query, retrieve and forward apply it; whether these do is not proved here but by
driving a node. A person at the command line is a way too. Nothing is told to a partner whose worklist is asked, and
nothing is obtained by one that stores, or tells results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from dicomnode.config.model import NodeConfig, Partner, Where
from dicomnode.rules import oneway
from dicomnode.rules.admission import Service, services

OWN = "own site"


class By(StrEnum):
    """The service by which something is obtained, as its user knows it."""

    ROUTE = "C-STORE"
    FIND = "C-FIND"
    GET = "C-GET"
    MOVE = "C-MOVE"
    COMMIT = "commitment"
    HAND = "dicomnode send"
    PROOF = "proof"
    """We ask for proof of what was sent: a Storage Commitment request, or a C-FIND, of ours."""
    EXPECT = "expect"
    PULL = "pull"
    """We ask for what is expected: a C-FIND of ours, by accession number or patient ID."""


_GIVES = {By.FIND: "attributes", By.COMMIT: "which are kept", By.PROOF: "UIDs", By.EXPECT: "UIDs", By.PULL: "numbers"}


@dataclass(frozen=True, slots=True)
class Way:
    """One way out: studies of `site`, or what `gives` says of them, come to a partner.

    `through`: the route, or who asks for it; `why`: within a site, or the flow; `where`: the line that opens it.
    """

    site: str
    partner: str
    by: By
    through: str
    why: str
    where: Where

    @property
    def refers(self) -> bool:
        """Whether it opens a referral: of a C-MOVE within a site nothing is kept."""
        return self.by is By.ROUTE or (self.by is By.MOVE and self.why != OWN)

    @property
    def gives(self) -> str:
        """What of a study is obtained."""
        return _GIVES.get(self.by, "instances")


def ways(config: NodeConfig) -> list[Way]:
    """All there are, by the site whose studies they are."""
    sent = _sent(config)
    found = [*sent, *_obtained(config, sent), *_by_hand(config), *_asked(config)]
    order = {site: number for number, site in enumerate(config.sites)}
    return sorted(dict.fromkeys(found), key=lambda way: (order[way.site], way.partner, list(By).index(way.by)))


def barred(config: NodeConfig, found: list[Way]) -> dict[str, list[str]]:
    """The sites that obtain nothing of each site, by any way."""
    reached = {(way.site, config.partners[way.partner].site) for way in found}
    return {site: [other for other in config.sites if (site, other) not in reached] for site in config.sites}


def _why(config: NodeConfig, site: str, partner: Partner) -> str:
    """Why studies of a site may come to a partner; '' where they may not."""
    if not oneway.may_reach(config, site, partner):
        return ""
    return OWN if site == partner.site else f"{config.sites[site].sector} -> {config.sector_of(partner)}"


def _routed(config: NodeConfig) -> Iterator[Way]:
    for number, route in enumerate(config.routes):
        for partner in (config.partners[name] for name in route.to):
            for site in oneway.source_sites(config, route.sources):
                if why := _why(config, site, partner):
                    yield Way(site, partner.name, By.ROUTE, f"route {route.name}", why, ("routes", number, "to"))


# -- what callers obtain -------------------------------------------------------------------------------------------


def _sent(config: NodeConfig) -> list[Way]:
    """The ways on which it is sent. Public callers move on what was referred to their site, by whatever way."""
    sent = dict.fromkeys(_routed(config))
    while added := [way for way in _moved(config, list(sent)) if way not in sent]:
        sent |= dict.fromkeys(added)
    return list(sent)


def _moved(config: NodeConfig, sent: list[Way]) -> Iterator[Way]:
    for caller in _callers(config, Service.MOVE):
        for partner in _movable(config, caller):
            for site in _seen(config, caller, sent):
                if why := _why(config, site, partner):
                    yield Way(site, partner.name, By.MOVE, f"asked by {caller.name}", why, _may(caller))


def _movable(config: NodeConfig, caller: Partner) -> list[Partner]:
    """The move destinations that a title names, for this caller; one that several have is refused."""
    reached = oneway.destinations(config, caller.site)
    titles = [p.ae_title for p in reached]
    return [p for p in reached if titles.count(p.ae_title) == 1]


def _obtained(config: NodeConfig, sent: list[Way]) -> Iterator[Way]:
    """What callers are answered, and what we tell those whom we ask for proof."""
    for by, service in ((By.FIND, Service.FIND), (By.GET, Service.GET)):
        for caller in _callers(config, service):
            own = config.sector_of(caller) == "private"
            through = "all of its site" if own else "what is referred to its site"
            for site in _seen(config, caller, sent):
                if why := _why(config, site, caller):
                    yield Way(site, caller.name, by, through, why, _may(caller))
    for caller in _callers(config, Service.COMMIT):
        yield Way(caller.site, caller.name, By.COMMIT, "of what it names", OWN, _may(caller))
    for way in sent:
        partner = config.partners[way.partner]
        if way.refers and partner.confirm.by != "status":
            yield Way(way.site, way.partner, By.PROOF, _called(partner), way.why, way.where)


def _seen(config: NodeConfig, caller: Partner, sent: list[Way]) -> set[str]:
    """The sites whose studies a caller sees: its own, where it is private; else those of what is referred to it."""
    if config.sector_of(caller) == "private":
        return {caller.site}
    return {way.site for way in sent if way.refers and config.partners[way.partner].site == caller.site}


def _callers(config: NodeConfig, right: Service) -> list[Partner]:
    return [p for p in config.partners.values() if right in services(config, p)]


def _may(partner: Partner) -> Where:
    return ("partners", partner.name, "may")


def _called(partner: Partner) -> str:
    others = {at[0] for at in (partner.confirm.find, partner.confirm.commit) if at}
    return f"asked as {' or '.join(sorted(others or {partner.ae_title}))}"


# -- what we send and ask ourselves --------------------------------------------------------------------------------


def _by_hand(config: NodeConfig) -> Iterator[Way]:
    for partner in config.partners.values():
        for site in config.sites:
            if partner.is_destination and (why := _why(config, site, partner)):
                yield Way(site, partner.name, By.HAND, "a person here", why, ("partners", partner.name, "host"))


def _asked(config: NodeConfig) -> Iterator[Way]:
    for number, route in enumerate(config.routes):
        if route.expect:
            pacs, line = config.partners[route.expect.partner], ("routes", number, "expect", "from")
            for site in oneway.source_sites(config, route.sources):
                if why := _why(config, site, pacs):
                    yield Way(site, pacs.name, By.EXPECT, f"route {route.name}", why, line)
    for pacs in config.partners.values():
        if pacs.pull:
            where = ("partners", pacs.name, "pull")
            yield Way(pacs.site, pacs.name, By.PULL, "what is expected of its site", OWN, where)
