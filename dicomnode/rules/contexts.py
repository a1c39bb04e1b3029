"""Presentation contexts that are proposed to us, and which to accept from a partner (PS3.8 9.3.3, PS3.7 D.3.3.4).

A storage context is answered with the first proposed transfer syntax that can be stored as it is, so that a modality
sends what it has. What a partner has no right to is refused as an unknown abstract syntax, before any data moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom.classes import DEFLATED, STORAGE_CLASSES, TRANSFER_SYNTAXES
from dicomnode.rules import negotiated
from dicomnode.rules.admission import Service, services
from dicomnode.rules.negotiated import Features

VERIFICATION = "1.2.840.10008.1.1"
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_STUDY_ONLY_FIND = "1.2.840.10008.5.1.4.1.2.3.1"
PATIENT_STUDY_ONLY_MOVE = "1.2.840.10008.5.1.4.1.2.3.2"
PATIENT_STUDY_ONLY_GET = "1.2.840.10008.5.1.4.1.2.3.3"
MODALITY_WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known SOP instance of the Push Model (PS3.4 J.3.5)."""
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"

FINDS = (PATIENT_ROOT_FIND, STUDY_ROOT_FIND, PATIENT_STUDY_ONLY_FIND)
MOVES = (PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE, PATIENT_STUDY_ONLY_MOVE)
GETS = (PATIENT_ROOT_GET, STUDY_ROOT_GET, PATIENT_STUDY_ONLY_GET)

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
class Offered:
    """How an abstract syntax is offered: its transfer syntaxes in our order of preference, and the requestor's
    roles. None: any storable syntax, in the peer's order.
    """

    syntaxes: tuple[str, ...] | None
    scu: bool = True
    scp: bool = False

    @property
    def stores(self) -> bool:
        """Whether instances go over it: to us where the requestor is SCU, and back by C-GET where it is SCP."""
        return self.syntaxes is None


Offer = Mapping[str, Offered]
"""By abstract syntax."""
_SYNTAXES = (EXPLICIT_LE, IMPLICIT_LE)


def offer(config: NodeConfig, partner: Partner) -> Offer:
    """What a partner may have: Verification, and what its rights include."""
    granted = services(config, partner)
    asks, tells = Service.COMMIT in granted, Service.RESULTS in granted
    offered = {VERIFICATION: Offered(_SYNTAXES)}
    for service, classes in ((Service.FIND, FINDS), (Service.MOVE, MOVES), (Service.GET, GETS)):
        if service in granted:
            offered |= dict.fromkeys(classes, Offered(_SYNTAXES))
    stores, gets = Service.STORE in granted, Service.GET in granted
    if stores or gets:
        offered |= dict.fromkeys(storage_classes(config), Offered(None, scu=stores, scp=gets))
    if asks or tells:
        offered[STORAGE_COMMITMENT] = Offered(_SYNTAXES, scu=asks, scp=tells)
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
    # Who says nothing is the SCU (PS3.7 D.3.3.4); of commitment, who has results says it by having them.
    scu, scp = proposal.roles or (True, not terms.stores)
    acts = scu and terms.scu, scp and terms.scp
    if not any(acts):  # who may only fetch and would store is answered as anybody who may not store
        result = NO_ABSTRACT_SYNTAX if terms.stores and not terms.scu else USER_REJECTION
        return Answer(proposal.id, proposal.abstract_syntax, chosen, result)
    return Answer(proposal.id, proposal.abstract_syntax, chosen, ACCEPTED, acts if proposal.roles else None, acts)


def refused_storage(answers: Iterable[Answer]) -> bool:
    """Whether somebody who may not store proposed to."""
    return any(a.result == NO_ABSTRACT_SYNTAX and a.abstract_syntax in STORAGE_CLASSES for a in answers)


def would_store(config: NodeConfig, proposals: Iterable[Proposal]) -> bool:
    """Whether somebody proposes to store here, and not only to be sent what it asks for by C-GET."""
    storage = storage_classes(config)
    return any(p.abstract_syntax in storage and (p.roles is None or p.roles[0]) for p in proposals)


def agree(offered: Mapping[str, bytes], answers: Iterable[Answer]) -> dict[str, tuple[Features, bytes]]:
    """What is agreed on by extended negotiation, and the answer, by the abstract syntaxes that were accepted.

    Of storage none is answered (PS3.4 B.3.1 has it optional).
    """
    accepted = {answer.abstract_syntax for answer in answers if answer.result == ACCEPTED}
    kinds = dict.fromkeys(FINDS, negotiated.find) | dict.fromkeys(MOVES + GETS, negotiated.retrieve)
    return {uid: kinds[uid](said) for uid, said in offered.items() if said and uid in accepted and uid in kinds}
