"""May this AE associate, and which services may it use? Fails closed: whoever is not one known partner is refused.

A partner is its AE title, the addresses that it may call from, and, where the configuration says so, its certificate
and its user: all of them have to fit. The refusals are the standard's own (PS3.8 9.3.4), and their text is what
`dicomnode partners refused` shows. What is shown or claimed is judged here; that a certificate is genuine is for
OpenSSL to see (net/tls.py).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address

from dicomnode.config import units
from dicomnode.config.model import NodeConfig, Partner
from dicomnode.config.parts import Certificate, User
from dicomnode.dicom.instance import SopInstance
from dicomnode.errors import ClassNotSupported, Mismatch
from dicomnode.rules import oneway


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate that a peer has shown, and that somebody whom we believe vouches for.

    SHA-256 of its public key in hexadecimal digits; its alternative names (DNS names and IP addresses; a common name is
    none); when it ends (µs).
    """

    spki: str
    names: frozenset[str]
    until: int


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for an association: the two AE titles without padding, and the IP address it comes from."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    shown: Shown | None = None
    """None: it speaks in clear."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who somebody says that it is (PS3.7 D.3.3.7). Type 1 is a name, 2 a name and a passcode; others are tickets."""

    kind: int
    wants_answer: bool
    name: bytes = field(repr=False)
    passcode: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An A-ASSOCIATE-RJ: result, source, reason (PS3.8 9.3.4), and the true reason for our own records."""

    result: int
    source: int
    reason: int
    why: str
    event: str = ""
    """The kind of security event that it is, of which a person should know today; '' for none."""


OTHERS = "the certificate is another partner's"
STRANGE = "the certificate is not this partner's"


def admit(config: NodeConfig, caller: Caller) -> Partner | Refusal:
    """The one partner that this caller is, or why it is turned away. One without rights may verify, and no more.

    Of one with a user it is still to be seen whether it is that: `identify`.
    """
    if caller.called_ae_title not in config.node.titles:
        return Refusal(1, 1, 7, "unknown called AE title")
    known = [p for p in config.partners.values() if p.ae_title == caller.calling_ae_title]
    if not known:
        return Refusal(1, 1, 3, "unknown calling AE title")
    anywhere = all(units.is_loopback(host) for host, _ in config.node.binds.values())
    here = [p for p in known if _comes_from(p, caller.address, anywhere)]
    if not here:
        return Refusal(1, 1, 3, "address not allowed")
    owners = _owners(config.partners.values(), caller.shown)
    fit = [p for p in here if _may_show(p, caller.shown, owners)]
    if not fit:
        return _unfit(caller.shown, owners)
    asking = [p for p in fit if p.may] or fit
    return asking[0] if len(asking) == 1 else Refusal(1, 1, 3, "address fits several partners")


def _unfit(shown: Shown | None, owners: frozenset[str]) -> Refusal:
    if shown is None:
        return Refusal(1, 1, 3, "this partner may call over TLS only")
    return Refusal(1, 1, 3, OTHERS if owners else STRANGE, "certificate refused")


def _comes_from(partner: Partner, address: str, anywhere: bool) -> bool:
    """Whether a partner may call from an address. Where none is configured, it may on a loopback bind, or with its
    certificate."""
    if not partner.address:
        return anywhere or partner.certificate is not None
    try:
        found = ip_address(address)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found  # IPv4 on a socket that is bound to [::]
    return any(found in network for network in partner.address)


def _owners(partners: Iterable[Partner], shown: Shown | None) -> frozenset[str]:
    """The names of the partners whose certificate this is, by the configuration."""
    return frozenset(p.name for p in partners if shown and p.certificate and is_of(p.certificate, shown))


def _may_show(partner: Partner, shown: Shown | None, owners: frozenset[str]) -> bool:
    """Whether a partner may call with this. One without a certificate of its own may not come with another's."""
    if partner.certificate or owners:
        return partner.name in owners
    return shown is not None or not partner.tls


def is_of(certificate: Certificate, shown: Shown) -> bool:
    """Whether what was shown is such a certificate: by its key, by a name, or by both where both are configured."""
    if not certificate.spki and not certificate.names:
        return False
    named = not certificate.names or not shown.names.isdisjoint(map(plain, certificate.names))
    return named and (not certificate.spki or shown.spki in certificate.spki)


def plain(name: str) -> str:
    """A DNS name or IP address as it is compared: an address can be written in many ways."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name.lower()


def identify(user: User, passcode: bytes, claim: Claim | None) -> Refusal | None:
    """Why a caller is not this user; None where it is. How long that takes tells nothing of the passcode."""
    if claim is None:
        return _unidentified("it does not say who it is (user identity)")
    if claim.kind != 2:  # PS3.7 D.3.3.7.1
        return _unidentified("its user identity is of another kind than user name and passcode")
    named = hmac.compare_digest(claim.name, user.name.encode())
    if not hmac.compare_digest(claim.passcode, passcode) or not named:
        return _unidentified("its user name or passcode is wrong")
    return None


def _unidentified(why: str) -> Refusal:
    return Refusal(1, 2, 1, why, "user refused")  # PS3.7 D.3.3.7: permanent, by the provider (ACSE)


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


