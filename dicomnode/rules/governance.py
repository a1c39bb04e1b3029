"""May one more association be opened? Counted over the whole node, whichever process accepts.

A tenth of the node's associations is kept for those that propose no storage context: however many modalities store,
a C-ECHO and a workstation's query get in. A refusal is transient (PS3.8 9.3.4): who is refused may try again.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicomnode.config.model import Partner
from dicomnode.config.parts import Limits
from dicomnode.rules.admission import Refusal


@dataclass(frozen=True, slots=True)
class Open:
    """How many associations are open now: with the node, with one partner, with one IP address."""

    node: int
    partner: int
    address: int


def refusal(limits: Limits, partner: Partner, open_: Open, *, light: bool) -> Refusal | None:
    """Why this partner may not have one more, or None. `light`: the request proposes no storage context."""
    if open_.node >= limits.associations:
        return _full("too many associations")
    if not light and open_.node >= limits.associations - reserve(limits):
        return _full("too many associations: the last are kept for echo and query")
    if partner.max_associations is not None and open_.partner >= partner.max_associations:
        return _full(f"too many associations of {partner.name}")
    if limits.address_associations is not None and open_.address >= limits.address_associations:
        return _full("too many associations of one address")
    return None


def reserve(limits: Limits) -> int:
    """How many are kept for echo and query: a tenth, at least one, and never the only one."""
    return min(max(1, limits.associations // 10), limits.associations - 1)


def _full(why: str) -> Refusal:
    return Refusal(2, 3, 2, why)  # rejected-transient, presentation, local-limit-exceeded
