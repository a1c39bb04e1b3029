"""The configuration as the node holds it: frozen, complete, and handed by pickle to every process.

Every key's default is written here and nowhere else. A model refuses a value that has no meaning; whether the parts of
one configuration agree with each other is seen by contradictions.py. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dicomnode.config import units, values

Sector = Literal["private", "public"]
Service = Literal["store", "find", "move", "get", "commit"]
Where = tuple[str | int, ...]
"""A place in the file, as keys and list positions: `("partners", "CT1", "port")`."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Frozen):
    """How long is waited, and how much is taken."""

    drain: values.Duration = 30.0
    connect: values.TimeLimit = 10.0
    response: values.TimeLimit = 60.0
    idle: values.TimeLimit = 300.0
    linger: values.Duration = 5.0
    """That an association of ours stays open after a batch, for the next one; 0: not at all."""
    retry_first: values.TimeLimit = 30.0
    retry_most: values.TimeLimit = 3600.0
    object_size: values.Size = 4_000_000_000
    first: values.TimeLimit = 15.0
    """In which an association request has come whole."""
    pdu: values.TimeLimit = 60.0
    """In which a PDU that has begun has come whole."""
    associations: values.Associations = 100
    address_associations: values.Associations | None = None
    """Of one IP address; None: as many as the node takes."""
    silent: values.Associations = 20
    """Connections of one IP address that have not said who they are."""
    scrub: values.Size = 10_000_000
    """Bytes of the archive that are read each second to see that they are what was received."""
    answers: values.Answers | None = None
    """To one query; of more, the caller is told that there are more. None: it is given all."""


class Watermarks(_Frozen):
    """Free space (bytes) below which the node takes no more: first no association that would store, then no instance.

    A sender that is refused before it sends keeps its study and comes again; a full disk would serve nobody.
    """

    associations: values.Size = 2_000_000_000
    instances: values.Size = 500_000_000


class Retention(_Frozen):
    """When files of confirmed studies may go; without either they are kept for ever. Nothing else ever goes."""

    after: values.TimeLimit | None = None
    """Seconds since the study was confirmed, and since the last of it was received."""
    free: values.Size | None = None
    """Free space (bytes) that is made when there is less, of the studies that were confirmed longest ago."""
    committed: values.Switch = False
    """Whether what we committed to its source by Storage Commitment may go too."""


class Tls(_Frozen):
    """A second socket that speaks TLS alone, and the PEM files for both sides: who we are, and whose word we take.

    The paths are relative to the file that names them, and absolute once loaded. `ca` has the certificates of those
    who may vouch for a partner: the system's own are never asked.
    """

    bind_host: values.Host
    bind_port: values.Port
    certificate: Path
    key: Path
    ca: Path


class Node(_Frozen):
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

    @property
    def binds(self) -> dict[str, tuple[str, int]]:
        """Where it listens: the key that says so → host and port."""
        clear = {"node.bind": (self.bind_host, self.bind_port)}
        return clear | ({"node.tls.bind": (self.tls.bind_host, self.tls.bind_port)} if self.tls else {})

    @property
    def titles(self) -> frozenset[str]:
        """Every AE title this node answers to."""
        return frozenset({self.ae_title, *self.aliases})


class Site(_Frozen):
    """An organisation. `name` defaults to its key; without an issuer, patient IDs are of no known issuer.

    `timezone` is that of its partners' windows; without it, that of this machine.
    """

    key: values.Name
    sector: values.SectorName
    name: values.Text = ""
    patient_id_issuer: str = ""
    timezone: values.Timezone = ""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {"name": given.get("key"), **given}


class Flow(_Frozen):
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


class Confirm(_Frozen):
    """By what a partner proves that it has what it was sent.

    `auto` is the strongest means that it has shown to have: a Storage Commitment result, a query for the SOP Instance
    UIDs, a query for their number. `status`: that it answered 0000H is enough for this admin.
    """

    by: values.Proof = "auto"
    find: values.Called | None = None
    """The AE that is queried, where that is another: AE title, host, port."""
    commit: values.Called | None = None
    """The AE that is asked for commitment, where that is another."""
    results_from: Annotated[tuple[values.Text, ...], BeforeValidator(units.several)] = ()
    """Further partners whose commitment results count as this one's."""
    within: values.TimeLimit = 3600.0
    """In which a commitment result has come; then the next means is tried, and an alarm is raised."""


class Partner(_Frozen):
    """A peer AE that we know. Without an address it may call from anywhere; without rights, it may not call."""

    name: values.Name
    site: values.Text
    ae_title: values.AETitle = ""
    address: Annotated[tuple[values.Network, ...], BeforeValidator(units.several)] = ()
    host: values.Host | None = None
    port: values.Port | None = None
    may: Annotated[frozenset[values.ServiceName], BeforeValidator(units.several)] = frozenset()
    tls: values.Switch = False
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


class Expect(_Frozen):
    """The source's PACS that is asked which instances a study has, and how long it is waited for those.

    `partner` is the file's `from`.
    """

    partner: values.Text
    within: values.TimeLimit = 1800.0


class Route(_Frozen):
    """Which studies go where. Conditions are attribute → patterns: every attribute must match one of its patterns.

    `sources` is the file's `from` (sites or partners); `when` selects studies, `only` instances within them.
    """

    name: values.Text
    sources: Annotated[tuple[values.Text, ...], BeforeValidator(units.many)] = ()
    when: values.Conditions = Field(default_factory=dict)
    only: values.Conditions = Field(default_factory=dict)
    to: Annotated[tuple[values.Text, ...], BeforeValidator(units.many)]
    wait: values.Duration = 300.0
    """Quiet time (seconds) after which a study is complete; 0: every instance goes at once."""
    waits: values.Durations = Field(default_factory=dict)
    """Quiet time by modality, where the file has a map; its `default` is `wait`."""
    expect: Expect | None = None
    priority: values.Priority = "routine"

    def quiet(self, modality: str) -> float:
        """Quiet time (seconds) after an instance of this modality."""
        return self.waits.get(modality, self.wait)


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
