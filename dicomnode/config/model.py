"""The configuration as the node holds it: frozen, complete, and handed by pickle to every process.

Every key's default is written here and nowhere else. A model refuses a value that has no meaning; whether the parts of
one configuration agree with each other is seen by contradictions.py. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from dicomnode.config import units, values
from dicomnode.config.conditions import Conditions
from dicomnode.config.parts import (
    Audit,
    Certificate,
    Coerce,
    Confirm,
    Expect,
    Frozen,
    Issuer,
    Limits,
    Retention,
    Tls,
    User,
    Watermarks,
)

Sector = Literal["private", "public"]
Service = Literal["store", "find", "move", "get", "commit"]
Where = tuple[str | int, ...]
"""A place in the file, as keys and list positions: `("partners", "CT1", "port")`."""


class Node(Frozen):
    """This node. `data` is relative to the file that names it, and absolute once loaded."""

    ae_title: values.AETitle
    aliases: Annotated[tuple[values.AETitle, ...], BeforeValidator(units.several)] = ()
    bind_host: values.Host = "127.0.0.1"
    bind_port: values.Port = 11112
    data: Path = Path("data")
    database: Annotated[Literal["sqlite"], BeforeValidator(units.word("sqlite"))] = "sqlite"
    acceptors: values.Processes = Field(default_factory=partial(units.acceptors, "auto"))
    storage_classes: Annotated[tuple[values.UID, ...], BeforeValidator(units.several)] = ()
    deflated: values.Switch = False
    tls: Tls | None = None
    limits: Limits = Limits()
    watermarks: Watermarks = Watermarks()
    retention: Retention = Retention()
    audit: Audit | None = None
    operators: values.Operators = 1
    """How many persons must each say that a study in doubt may go on, before it does."""

    @property
    def binds(self) -> dict[str, tuple[str, int]]:
        """Where it listens: the key that says so → host and port."""
        clear = {"node.bind": (self.bind_host, self.bind_port)}
        return clear | ({"node.tls.bind": (self.tls.bind_host, self.tls.bind_port)} if self.tls else {})

    @property
    def titles(self) -> frozenset[str]:
        """Every AE title this node answers to."""
        return frozenset({self.ae_title, *self.aliases})


class Site(Frozen):
    """An organisation. `name` defaults to its key; without an issuer, patient IDs are of no known issuer.

    `timezone` is that of its partners' windows; without it, that of this machine.
    """

    key: values.Name
    sector: values.SectorName
    name: values.Text = ""
    patient_id_issuer: str = ""
    accession_issuer: str = ""
    timezone: values.Timezone = ""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {"name": given.get("key"), **given}


class Flow(Frozen):
    """Data of sites in `source` may reach sites in `destination`."""

    source: values.SectorName
    destination: values.SectorName

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


class Partner(Frozen):
    """A peer AE that we know. Without an address it may call from anywhere; without rights, it may not call."""

    name: values.Name
    site: values.Text
    ae_title: values.AETitle = ""
    address: Annotated[tuple[values.Network, ...], BeforeValidator(units.several)] = ()
    host: values.CallableHost | None = None
    port: values.Port | None = None
    may: Annotated[frozenset[values.ServiceName], BeforeValidator(units.several)] = frozenset()
    tls: values.Switch = False
    """Whether it speaks TLS alone; `certificate`: and shows one of these. In the file, both are `tls`."""
    certificate: Certificate | None = None
    user: User | None = None
    associations: values.Slots = 1
    max_associations: values.Associations | None = None
    """How many it may have open with us; None: as many as the node takes."""
    confirm: Confirm = Confirm()
    skip_classes: Annotated[tuple[values.UID, ...], BeforeValidator(units.several)] = ()
    """SOP classes that it is never sent; what is skipped is listed, and is no obstacle to its confirmation."""
    window: values.Hours | None = None
    """The time of day in which it is sent anything: minutes since midnight, begin and end."""
    bandwidth: values.Size | None = None
    """Bytes a second that all its associations together are sent at most."""
    give_up_after: values.TimeLimit = 7 * 86400.0
    """How long an instance is offered to it, until it is held for a person to look at."""
    charset: values.CharacterSet = ""
    """The character set of what it sends and declares none for, or a wrong one; and that of the answers it can read."""
    transcode: values.Transcode = "never"
    """Whether what it does not take compressed is decompressed for it."""
    coerce: Coerce = Coerce()
    iocm: values.Switch = False
    """Whether it understands rejection notes (IHE IOCM)."""
    pull: values.Switch = False
    """Whether a study that is expected of its site is looked for there, and fetched."""
    worklist: values.TimeLimit | None = None
    """How often its Modality Worklist is asked for referrals; None: it is not."""

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
    def decompresses(self) -> bool:
        """Whether what it does not take compressed is decompressed for it."""
        return self.transcode == "decompress"

    @property
    def is_destination(self) -> bool:
        """Whether we can call it."""
        return self.host is not None and self.port is not None

    def at(self, called: tuple[str, str, int] | None) -> Partner:
        """The same partner at another AE of its own, where it has one for this."""
        if called is None:
            return self
        title, host, port = called
        return self.model_copy(update={"ae_title": title, "host": host, "port": port})

    @property
    def display(self) -> str:
        """`AETITLE@host:port`, as in logs and on screen; the title alone where we cannot call it."""
        if self.host is None or self.port is None:
            return self.ae_title
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


class Route(Frozen):
    """Which studies go where. `sources` is the file's `from` (sites or partners); `when` selects studies, `only`
    instances within them.
    """

    name: values.Text
    sources: Annotated[tuple[values.Text, ...], BeforeValidator(units.many)] = ()
    when: Conditions = Conditions()
    only: Conditions = Conditions()
    to: Annotated[tuple[values.Text, ...], BeforeValidator(units.many)]
    among: Literal["all", "failover", "balance"] = "all"
    """Whether a study goes to all of them, or to one: the first that works, or each in its turn."""
    after: values.TimeLimit = 600.0
    """Seconds that one of such a group may fail before another takes its place."""
    wait: values.Duration = 300.0
    """Quiet time (seconds) after which a study is complete; 0: every instance goes at once."""
    waits: values.Durations = Field(default_factory=dict)
    """Quiet time by modality, where the file has a map; its `default` is `wait`."""
    expect: Expect | None = None
    priority: values.Priority = "routine"
    require: values.Requirement = "none"
    """Whether a study waits until a referral in advance is found for it."""
    consent: values.Consent = "none"
    identity: values.Identity | None = None
    """Whether the patient of a whole study is checked; None: where it is waited for whole."""

    @property
    def checks(self) -> bool:
        """Whether the patient of a study is checked before it goes."""
        return self.identity == "check" or (self.identity is None and not self.is_hasty)

    @property
    def is_hasty(self) -> bool:
        """Whether something goes before its study is whole."""
        return not (self.wait and all(self.waits.values()))

    def quiet(self, modality: str) -> float:
        """Quiet time (seconds) after an instance of this modality."""
        return self.waits.get(modality, self.wait)


DEFAULT_FLOWS = (Flow(source="private", destination="public"),)


class NodeConfig(Frozen):
    """One whole configuration, without contradictions when `load` or `parse` made it."""

    node: Node
    issuers: dict[str, Issuer] = Field(default_factory=dict)
    """Of patient IDs: by their names, as objects have them (Issuer of Patient ID)."""
    sites: dict[str, Site] = Field(default_factory=dict)
    flows: tuple[Flow, ...] = DEFAULT_FLOWS
    partners: dict[str, Partner] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()

    def site_of(self, partner: Partner) -> Site:
        """The site that the partner belongs to."""
        return self.sites[partner.site]

    def charset_of(self, partner: str) -> str:
        """The character set that is assumed of what a partner has sent; '' for none, or where it is configured no more.
        """
        return self.partners[partner].charset if partner in self.partners else ""

    def partners_of(self, site: str) -> tuple[str, ...]:
        """The names of a site's partners."""
        return tuple(partner.name for partner in self.partners.values() if partner.site == site)

    def sector_of(self, partner: Partner) -> Sector:
        """The sector of the partner's site."""
        return self.site_of(partner).sector
