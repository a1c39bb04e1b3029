"""The configuration as the node holds it: frozen, complete, and handed by pickle to every process.

Every key's default is written here and nowhere else. A model refuses a value that has no meaning; whether the parts of
one configuration agree with each other is seen by contradictions.py. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Network, IPv6Network
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
_Associations = Annotated[int, BeforeValidator(units.whole(1, 10_000))]
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
    linger: _Duration = 5.0
    """That an association of ours stays open after a batch, for the next one; 0: not at all."""
    retry_first: _TimeLimit = 30.0
    retry_most: _TimeLimit = 3600.0
    object_size: Annotated[int, BeforeValidator(units.size)] = 4_000_000_000
    first: _TimeLimit = 15.0
    """In which an association request has come whole."""
    pdu: _TimeLimit = 60.0
    """In which a PDU that has begun has come whole."""
    associations: _Associations = 100
    address_associations: _Associations | None = None
    """Of one IP address; None: as many as the node takes."""
    silent: _Associations = 20
    """Connections of one IP address that have not said who they are."""


class Tls(_Frozen):
    """A second socket that speaks TLS alone, and the PEM files for both sides: who we are, and whose word we take.

    The paths are relative to the file that names them, and absolute once loaded. `ca` has the certificates of those
    who may vouch for a partner: the system's own are never asked.
    """

    bind_host: Annotated[str, BeforeValidator(units.host)]
    bind_port: Annotated[int, BeforeValidator(units.port)]
    certificate: Path
    key: Path
    ca: Path


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
    tls: Tls | None = None
    limits: Limits = Limits()

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
    tls: Annotated[bool, BeforeValidator(units.switch)] = False
    associations: Annotated[int, BeforeValidator(units.whole(1, 32))] = 1
    max_associations: _Associations | None = None
    """How many it may have open with us; None: as many as the node takes."""

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
