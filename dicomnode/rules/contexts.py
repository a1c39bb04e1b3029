"""Presentation contexts that are proposed to us, and which to accept from a partner (PS3.8 9.3.3, PS3.7 D.3.3.4).

A storage context is answered with the first proposed transfer syntax that can be stored as it is, so that a modality
sends what it has. What a partner has no right to is refused as an unknown abstract syntax, before any data moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom.classes import DEFLATED, STORAGE_CLASSES, TRANSFER_SYNTAXES
from dicomnode.rules.admission import Service, services

VERIFICATION = "1.2.840.10008.1.1"
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known SOP instance of the Push Model (PS3.4 J.3.5)."""
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"

ACCEPTED, USER_REJECTION, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX = 0, 1, 3, 4


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context as it is proposed; roles are (SCU, SCP) of the requestor, None where not negotiated."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    roles: tuple[bool, bool] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a proposal gets: a result (PS3.8 9.3.3.2), the one transfer syntax, and the roles where they were asked.

    `acts` is what the requestor may be on the context, asked or not: (SCU, SCP).
    """

    id: int
    abstract_syntax: str
    transfer_syntax: str
    result: int
    roles: tuple[bool, bool] | None = None
    acts: tuple[bool, bool] = (False, False)


@dataclass(frozen=True, slots=True)
class Terms:
    """On which an abstract syntax is offered: its transfer syntaxes in our order of preference, and the requestor's
    roles. None: any storable syntax, in the peer's order.
    """

    syntaxes: tuple[str, ...] | None
    scu: bool = True
    scp: bool = False


Offer = Mapping[str, Terms]
"""Abstract syntax → terms."""
_SYNTAXES = (EXPLICIT_LE, IMPLICIT_LE)


def offer(config: NodeConfig, partner: Partner) -> Offer:
    """What a partner may have: Verification, and what its rights include."""
    granted = services(config, partner)
    asks, tells = Service.COMMIT in granted, Service.RESULTS in granted
    offered = {VERIFICATION: Terms(_SYNTAXES)}
    if Service.FIND in granted:
        offered |= dict.fromkeys((PATIENT_ROOT_FIND, STUDY_ROOT_FIND), Terms(_SYNTAXES))
    if Service.MOVE in granted:
        offered |= dict.fromkeys((PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE), Terms(_SYNTAXES))
    if Service.STORE in granted:
        offered |= dict.fromkeys(storage_classes(config), Terms(None))
    if asks or tells:
        offered[STORAGE_COMMITMENT] = Terms(_SYNTAXES, scu=asks, scp=tells)
    return offered


def storage_classes(config: NodeConfig) -> frozenset[str]:
    """The storage SOP classes that this node takes: the standard's, and the private ones of the configuration."""
    return STORAGE_CLASSES | frozenset(config.node.storage_classes)


def storable(config: NodeConfig) -> frozenset[str]:
    """The transfer syntaxes that this node stores as they are."""
    return frozenset(TRANSFER_SYNTAXES) | (DEFLATED if config.node.deflated else frozenset())


def accept(proposals: Sequence[Proposal], offered: Offer, kept: frozenset[str]) -> list[Answer]:
    """One answer for each proposal, in their order. `kept` are the syntaxes that can be stored as they are."""
    return [_answer(proposal, offered, kept) for proposal in proposals]


def _answer(proposal: Proposal, offered: Offer, kept: frozenset[str]) -> Answer:
    first = proposal.transfer_syntaxes[0] if proposal.transfer_syntaxes else IMPLICIT_LE
    if proposal.abstract_syntax not in offered:
        return Answer(proposal.id, proposal.abstract_syntax, first, NO_ABSTRACT_SYNTAX)
    terms = offered[proposal.abstract_syntax]
    if terms.syntaxes is None:
        chosen = next((syntax for syntax in proposal.transfer_syntaxes if syntax in kept), None)
    else:
        chosen = next((syntax for syntax in terms.syntaxes if syntax in proposal.transfer_syntaxes), None)
    if chosen is None:
        return Answer(proposal.id, proposal.abstract_syntax, first, NO_TRANSFER_SYNTAX)
    scu, scp = proposal.roles or (True, True)  # who says nothing is the SCU; who has results says it by having them
    acts = scu and terms.scu, scp and terms.scp
    if not any(acts):
        return Answer(proposal.id, proposal.abstract_syntax, chosen, USER_REJECTION)
    return Answer(proposal.id, proposal.abstract_syntax, chosen, ACCEPTED, acts if proposal.roles else None, acts)


def refused_storage(answers: Iterable[Answer]) -> bool:
    """Whether somebody who may not store proposed to."""
    return any(a.result == NO_ABSTRACT_SYNTAX and a.abstract_syntax in STORAGE_CLASSES for a in answers)
