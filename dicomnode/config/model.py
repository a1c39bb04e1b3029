"""The configuration as the node holds it: frozen, complete, and handed by pickle to every process.

Every key's default is written here and nowhere else. A model refuses a value that has no meaning; whether the parts of
one configuration agree with each other is `contradictions`, which sees what one person can mean by all of it together.
Whether data could flow back is not decided here but in rules/oneway. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dicomnode.config import units

Sector = Literal["private", "public"]
Service = Literal["store", "find", "move"]
Where = tuple[str | int, ...]
"""A place in the file, as keys and list positions: `("partners", "CT1", "port")`."""


_Sector = Annotated[Sector, BeforeValidator(units.word("private", "public"))]
_Service = Annotated[Service, BeforeValidator(units.word("store", "find", "move", later=("get", "commit")))]
_Text = Annotated[str, BeforeValidator(units.text)]
_Name = Annotated[str, BeforeValidator(units.name)]
_AETitle = Annotated[str, BeforeValidator(units.ae_title)]
_UID = Annotated[str, BeforeValidator(units.uid)]
_Processes = Annotated[int, BeforeValidator(units.acceptors)]
_Duration = Annotated[float, BeforeValidator(units.duration)]
_TimeLimit = Annotated[float, BeforeValidator(units.time_limit)]
_Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(units.network)]
_Patterns = Annotated[tuple[_Text, ...], BeforeValidator(units.many)]
_Attribute = Annotated[str, BeforeValidator(units.attribute)]
_Conditions = Annotated[dict[_Attribute, _Patterns], BeforeValidator(units.conditions)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Frozen):
    """How long is waited, and how much is taken."""

    drain: _Duration = 30.0
    connect: _TimeLimit = 10.0
    response: _TimeLimit = 60.0
    idle: _TimeLimit = 300.0
    retry_first: _TimeLimit = 30.0
    retry_most: _TimeLimit = 3600.0
    object_size: Annotated[int, BeforeValidator(units.size)] = 4_000_000_000
    associations: Annotated[int, BeforeValidator(units.whole(1, 10_000))] = 100


class Node(_Frozen):
    """This node. `data` is relative to the file that names it, and absolute once loaded."""

    ae_title: _AETitle
    aliases: Annotated[tuple[_AETitle, ...], BeforeValidator(units.several)] = ()
    bind_host: Annotated[str, BeforeValidator(units.host)] = "127.0.0.1"
    bind_port: Annotated[int, BeforeValidator(units.port)] = 11112
    data: Path = Path("data")
    database: Annotated[Literal["sqlite"], BeforeValidator(units.word("sqlite"))] = "sqlite"
    acceptors: _Processes = Field(default_factory=partial(units.acceptors, "auto"))
    storage_classes: Annotated[tuple[_UID, ...], BeforeValidator(units.several)] = ()
    deflated: Annotated[bool, BeforeValidator(units.switch)] = False
    limits: Limits = Limits()

    @property
    def titles(self) -> frozenset[str]:
        """Every AE title this node answers to."""
        return frozenset({self.ae_title, *self.aliases})


class Site(_Frozen):
    """An organisation. `name` defaults to its key; without an issuer, patient IDs are of no known issuer."""

    key: _Name
    sector: _Sector
    name: _Text = ""
    patient_id_issuer: str = ""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {"name": given.get("key"), **given}


class Flow(_Frozen):
    """Data of sites in `source` may reach sites in `destination`."""

    source: _Sector
    destination: _Sector

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        if isinstance(given, dict):
            return given
        source, arrow, destination = units.text(given).partition("->")
        if not arrow:
            raise ValueError(f"{units.quoted(given)} is not written as private -> public")
        return {"source": source.strip(), "destination": destination.strip()}

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination}"


class Partner(_Frozen):
    """A peer AE that we know. Without an address it may call from anywhere; without rights, it may not call."""

    name: _Name
    site: _Text
    ae_title: _AETitle = ""
    address: Annotated[tuple[_Network, ...], BeforeValidator(units.several)] = ()
    host: Annotated[str, BeforeValidator(units.host)] | None = None
    port: Annotated[int, BeforeValidator(units.port)] | None = None
    may: Annotated[frozenset[_Service], BeforeValidator(units.several)] = frozenset()
    associations: Annotated[int, BeforeValidator(units.whole(1, 32))] = 1

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, given: dict[str, Any]) -> dict[str, Any]:
        """The title is the name, and the address is the host where that is an IP, unless the file says otherwise."""
        host = given.get("host")
        address = (host,) if isinstance(host, str) and units.is_ip(host) else ()
        return {"ae_title": given.get("name"), "address": address, **given}

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it may call from, as a person writes it: a single address without its mask."""
        return tuple(str(n.network_address if n.prefixlen == n.max_prefixlen else n) for n in self.address)

    @property
    def is_destination(self) -> bool:
        """Whether we can call it."""
        return self.host is not None and self.port is not None

    @property
    def display(self) -> str:
        """`AETITLE@host:port`, as in logs and on screen; the title alone where we cannot call it."""
        if self.host is None or self.port is None:
            return self.ae_title
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


class Route(_Frozen):
    """Which studies go where. Conditions are attribute → patterns: every attribute must match one of its patterns.

    `sources` is the file's `from` (sites or partners); `when` selects studies, `only` instances within them.
    """

    name: _Text
    sources: Annotated[tuple[_Text, ...], BeforeValidator(units.many)] = ()
    when: _Conditions = Field(default_factory=dict)
    only: _Conditions = Field(default_factory=dict)
    to: Annotated[tuple[_Text, ...], BeforeValidator(units.many)]
    wait: _Duration = 300.0


DEFAULT_FLOWS = (Flow(source="private", destination="public"),)


class NodeConfig(_Frozen):
    """One whole configuration, without contradictions when `load` or `parse` made it."""

    node: Node
    sites: dict[str, Site] = Field(default_factory=dict)
    flows: tuple[Flow, ...] = DEFAULT_FLOWS
    partners: dict[str, Partner] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()

    def site_of(self, partner: Partner) -> Site:
        """The site that the partner belongs to."""
        return self.sites[partner.site]

    def sector_of(self, partner: Partner) -> Sector:
        """The sector of the partner's site."""
        return self.site_of(partner).sector


# -- do the parts agree? ---------------------------------------------------------------------------------------


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
    for partner in draft.partners.values():
        yield from _of_partner(partner, draft)
    yield from _same_callers(draft.partners.values())
    for position, route in draft.routes.items():
        yield from _of_route(("routes", position), route, draft)
    yield from _same_names(draft.routes)


def _of_partner(partner: Partner, draft: Draft) -> Iterator[Contradiction]:
    where, site, node = ("partners", partner.name), draft.sites.get(partner.site), draft.node
    if partner.port is not None and partner.host is None:
        yield Contradiction((*where, "port"), "is of no use without host")
    if "store" in partner.may and site and site.sector == "public" and not _may_leave_public(draft.flows):
        yield Contradiction((*where, "may"), "store: nothing may flow from public, and its site is public")
    if partner.may and not partner.address and node and not units.is_loopback(node.bind_host):
        yield Contradiction(where, "could be anybody: node.bind is public, so say from which address it calls")
    if node and _is_ourselves(partner, node):
        yield Contradiction(where, f"{partner.display} is this node itself: what it is sent would come back for ever")


def _may_leave_public(flows: tuple[Flow, ...] | None) -> bool:
    return flows is None or any(flow.source == "public" for flow in flows)


def _is_ourselves(partner: Partner, node: Node) -> bool:
    if partner.host is None or partner.ae_title not in node.titles or partner.port != node.bind_port:
        return False
    local = units.is_loopback(partner.host) and (
        units.is_loopback(node.bind_host) or units.is_every_interface(node.bind_host)
    )
    return local or partner.host.lower() == node.bind_host.lower()


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
    yield from _never_matching(where, route, draft)


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
