"""May this AE associate, and which services may it use? Fails closed: whoever is not one known partner is refused.

The refusals are the standard's own (PS3.8 9.3.4), and their text is what `dicomnode partners refused` shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from dicomnode.config import units
from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom.instance import SopInstance
from dicomnode.errors import ClassNotSupported, Mismatch
from dicomnode.rules import oneway


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for an association: the two AE titles without padding, the IP address it comes from, and over TLS?"""

    calling_ae_title: str
    called_ae_title: str
    address: str
    is_encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """An A-ASSOCIATE-RJ: result, source, reason (PS3.8 9.3.4), and the true reason for our own records."""

    result: int
    source: int
    reason: int
    why: str


def admit(config: NodeConfig, caller: Caller) -> Partner | Refusal:
    """The one partner that this caller is, or why it is turned away. One without rights may verify, and no more."""
    if caller.called_ae_title not in config.node.titles:
        return Refusal(1, 1, 7, "unknown called AE title")
    known = [p for p in config.partners.values() if p.ae_title == caller.calling_ae_title]
    if not known:
        return Refusal(1, 1, 3, "unknown calling AE title")
    anywhere = all(units.is_loopback(host) for host, _ in config.node.binds.values())
    here = [p for p in known if _comes_from(p, caller.address, anywhere)]
    asking = [p for p in here if p.may] or here
    if len(asking) != 1:
        return Refusal(1, 1, 3, "address not allowed" if not here else "address fits several partners")
    if asking[0].tls and not caller.is_encrypted:
        return Refusal(1, 1, 3, "this partner may call over TLS only")
    return asking[0]


def _comes_from(partner: Partner, address: str, anywhere: bool) -> bool:
    """Whether a partner may call from an address. Where none is configured, it may on a loopback bind alone."""
    if not partner.address:
        return anywhere
    try:
        found = ip_address(address)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found  # IPv4 on a socket that is bound to [::]
    return any(found in network for network in partner.address)


class Service(StrEnum):
    STORE = "store"
    FIND = "find"
    MOVE = "move"
    GET = "get"
    COMMIT = "commit"
    RESULTS = "results"
    """Of Storage Commitment: nobody is given this right, who is sent something has it."""


def services(config: NodeConfig, partner: Partner) -> frozenset[Service]:
    """What a partner may do besides Verification. Of a public site from which nothing may flow nobody stores."""
    granted = {Service(right) for right in partner.may}
    if not oneway.may_give(config, partner.site):
        granted -= {Service.STORE, Service.COMMIT}
    if _has_results(config, partner):
        granted.add(Service.RESULTS)
    return frozenset(granted)


def _has_results(config: NodeConfig, partner: Partner) -> bool:
    """Whether it is sent something by a route or across a flow, or tells the results of one that is."""
    named = {name for route in config.routes for name in route.to}
    return any(
        (each.name in named or (each.is_destination and oneway.may_get(config, each.site)))
        and (each.name == partner.name or partner.name in each.confirm.results_from)
        for each in config.partners.values()
    )


@dataclass(frozen=True, slots=True)
class Command:
    """What a C-STORE-RQ said of the instance that followed, and the context it came on."""

    sop_class_uid: str
    sop_instance_uid: str
    context_class: str


def may_store(command: Command, instance: SopInstance) -> None:
    """Raise unless command, context and dataset speak of the same instance (PS3.4 B.2.3, PS3.7 9.1.1)."""
    if command.sop_class_uid != command.context_class:
        raise ClassNotSupported("the Affected SOP Class UID is not that of the presentation context")
    if command.sop_instance_uid != instance.sop_instance_uid:
        raise Mismatch("the dataset's SOP Instance UID is not the command's")
    if command.sop_class_uid != instance.sop_class_uid:
        raise Mismatch("the dataset's SOP Class UID is not the command's")


