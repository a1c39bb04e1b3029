"""Who could pose as whom, and what would go to the wrong place: warnings, for nothing here moves by itself.

An AE title is no secret, and an address is shared by whoever is there. Where one site's caller may call from an address
that an AE of another site has, the only thing between the two is a name that is sent in clear; a certificate, or a
passcode over TLS, is more. A title that a caller's own site has too, but not as a destination, is a mistake waiting.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from dicomnode.config.model import NodeConfig, Partner, Where
from dicomnode.config.units import is_ip
from dicomnode.rules import oneway
from dicomnode.rules.breaches import Breach

_FEW = 3


def exposures(config: NodeConfig) -> Iterator[Breach]:
    """What somebody could do who is not who he says, or does not look where he sends: a line, and what would help."""
    for partner in config.partners.values():
        yield from _posed_as(config, partner)
        yield from _mistaken(config, partner)
    yield from _returned(config)


def is_proven(partner: Partner) -> bool:
    """Whether a caller shows more than a name: its certificate, or a passcode over TLS."""
    return bool(partner.certificate or partner.user)


def _posed_as(config: NodeConfig, partner: Partner) -> Iterator[Breach]:
    """Whoever of another site is where a partner may call from."""
    if not partner.may or is_proven(partner):
        return
    others = [p for p in config.partners.values() if p.site != partner.site and _meet(partner, p)]
    if others:
        who = " or ".join(f"{p.name} of {p.site}" for p in others[:_FEW])
        more = f" or {len(others) - _FEW} more" if len(others) > _FEW else ""
        text = (
            f"an AE at the address of {who}{more} could call as {partner.ae_title} of {partner.site}, and"
            f" {', '.join(sorted(partner.may))}: narrow its address, or ask for its certificate (tls)"
        )
        yield Breach(_line(partner), text, tuple(_line(p) for p in others[:_FEW]))


def _line(partner: Partner) -> Where:
    return ("partners", partner.name, "address" if partner.address else "host")


def _meet(partner: Partner, other: Partner) -> bool:
    """Whether a partner may call from where another one is."""
    at = [ip_address(other.host)] if other.host and is_ip(other.host) else []
    inside = any(each in network for network in partner.address for each in at)
    return inside or any(a.version == b.version and a.overlaps(b) for a in partner.address for b in other.address)


def _mistaken(config: NodeConfig, partner: Partner) -> Iterator[Breach]:
    """A title of a site's own AE that cannot be called, and of another site's that can."""
    movers = [p.name for p in config.partners.values() if p.site == partner.site and "move" in p.may]
    if partner.is_destination or not movers:
        return
    for other in oneway.destinations(config, partner.site):
        if other.ae_title == partner.ae_title and other.site != partner.site:
            text = (
                f"a C-MOVE by {' or '.join(movers)} to {partner.ae_title} reaches {other.name} of {other.site}, and not"
                f" this one, which has no host and port: give one of the two another title"
            )
            yield Breach(("partners", partner.name), text, (("partners", other.name),))


def _returned(config: NodeConfig) -> Iterator[Breach]:
    """A partner that is sent by a route what the same route takes from it."""
    for number, route in enumerate(config.routes):
        for partner in (config.partners[name] for name in route.to):
            if "store" in partner.may and {partner.name, partner.site} & set(route.sources):
                text = f"sends {partner.name} what it may have stored itself: should it pass that on, it comes again"
                yield Breach(("routes", number, "to"), text, (("partners", partner.name, "may"),))
