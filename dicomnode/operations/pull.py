"""The story of a study that is expected of a site: it is looked for at that site's PACS, and fetched once it is there.

Only the PACS of the site that a referral names is told of it. It is asked by accession number, and else by patient;
what is not of that very patient is not it, and where several fit, none is fetched. How many instances the PACS says it
has is remembered: fewer are waited for. What has come is not fetched again; what fails is tried again, each time later.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from dicomnode.config.model import Partner
from dicomnode.dicom import identifier
from dicomnode.dicom.classes import is_valid_uid
from dicomnode.dicom.identifier import STUDY, Identifier
from dicomnode.errors import PartnerError
from dicomnode.operations import vet
from dicomnode.operations.ports import Node, Peer, Retrieved, Stopped, Waiting
from dicomnode.rules import completeness, outcome, patients, statuses
from dicomnode.rules.patients import Id
from dicomnode.store import audit, expected
from dicomnode.store.expected import Expected

log = logging.getLogger(__name__)

_PATIENT, _ISSUER, _ACCESSION = 0x00100020, 0x00100021, 0x00080050
_DATE, _INSTANCES = 0x00080020, 0x00201208
_MOST: Final = 1000
"""Answers to one question that are looked at: a PACS that ignores the key has no end of them."""
_BEFORE: Final = timedelta(days=1)
"""How long before we heard of a referral its examination may have been, where only the patient tells that it is it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A study that a PACS has, and of how many instances, where it says so."""

    study_instance_uid: str
    instances: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """What came of a look: whether all of the study is here, or the PACS has it and it did not come (`failed`)."""

    text: str
    is_here: bool = False
    failed: bool = False


def pull(partner: Partner, peer: Peer, node: Node, stopped: Stopped) -> bool:
    """Look for one study that is expected of a partner's site. False where none is due."""
    at = node.clock()
    with node.database.read():
        wanted = expected.next_look(partner.site, at, _furthest(at, node))
    if wanted is None or stopped():
        return False
    pacs = partner.at(partner.confirm.find)
    try:
        seen = _look(wanted, pacs, peer, node, stopped)
    except PartnerError as error:
        text = f"{partner.name} cannot be asked: {error}"
        log.warning("expected=%s asked=%s: %s", wanted.number, pacs.display, text)
        node.database.write(lambda: expected.postpone(partner.site, text, at, _later(wanted, node)))
        return True
    look = seen if isinstance(seen, Look) else _fetch(wanted, seen, pacs, peer, node, stopped)
    if stopped() and not look.is_here:
        return False
    log.info("expected=%s asked=%s: %s", wanted.number, pacs.display, look.text)
    node.database.write(lambda: _looked(wanted, look, pacs, node))
    return True


def due(node: Node) -> Callable[[Partner, int], int | None]:
    """When a partner is to be asked next (µs). Inside `Database.read`."""
    return lambda partner, now: expected.due(partner.site, now, _furthest(now, node))


def _furthest(now: int, node: Node) -> int:
    """The latest time for which a look is ever put off."""
    limits = node.config.node.limits
    return outcome.furthest(now, max(limits.pull, limits.retry_most))


def slots(partner: Partner) -> int:
    """One look at a time at each PACS that is looked at."""
    return int(partner.pull and partner.is_destination)


def _later(wanted: Expected, node: Node) -> int:
    """When to try again what fails: after each time for longer, and not all PACS in step. Inside `Database.write`."""
    limits, at = node.config.node.limits, node.clock()
    tries = expected.look(wanted.id).times + 1
    since = 2 * at - completeness.next_question_at(at, tries, limits.retry_first, limits.retry_most)
    return outcome.next_attempt_at(at, since, limits.retry_first, limits.retry_most, random.random())


def _looked(wanted: Expected, look: Look, pacs: Partner, node: Node) -> None:
    """Write down what came of it, and when to look again. Inside `Database.write`."""
    at, again = node.clock(), None
    if not look.is_here:
        again = _later(wanted, node) if look.failed else at + round(node.config.node.limits.pull * 1e6)
    expected.looked(wanted.id, look.text, again, in_vain=look.failed)
    uid = expected.look(wanted.id).study_instance_uid if look.is_here else ""
    kind = "expected study fetched" if look.is_here else "expected study not fetched"
    event = audit.Event(at, kind, f"{wanted.number}: {look.text}", pacs.name, uid, generation=node.generation)
    if look.is_here:
        audit.record(event)
        for said in expected.waiting():  # it may have come before anybody knew that it is the one
            if said.study_instance_uid == uid:
                vet.vet(said.study, at, node)
    elif look.failed:
        audit.record_seldom(event)


# -- looking ---------------------------------------------------------------------------------------------------


def _look(wanted: Expected, pacs: Partner, peer: Peer, node: Node, stopped: Stopped) -> Seen | Look:
    """The one study that it is, or why it is none that the PACS has. Raises PartnerError."""
    fitting, issuer = dict[str, Identifier](), node.config.site_of(pacs).patient_id_issuer
    for key in (_ACCESSION, _PATIENT):
        if not fitting and _values(wanted)[key]:
            said = _ask(wanted, key, pacs, peer, stopped)
            fitting = {each.value(STUDY): each for each in said if _is_it(each, wanted, key, issuer)}
    if len(fitting) > 1:
        return Look(f"{pacs.name} has {len(fitting)} studies that fit: none is fetched")
    if not fitting:
        return Look(f"{pacs.name} does not have it yet")
    ((uid, answer),) = fitting.items()
    count = answer.value(_INSTANCES)
    return Seen(uid, int(count) if count.isascii() and count.isdecimal() and len(count) < 8 else None)


def _values(wanted: Expected) -> dict[int, str]:
    return {_ACCESSION: wanted.accession_number, _PATIENT: wanted.patient_id}


def _ask(wanted: Expected, key: int, pacs: Partner, peer: Peer, stopped: Stopped) -> Iterator[Identifier]:
    """What the PACS has under the accession number, or of the patient."""
    keys = dict.fromkeys((_ACCESSION, _PATIENT, STUDY, _ISSUER, _DATE, _INSTANCES), "")
    question = identifier.of("STUDY", keys | {key: _values(wanted)[key]})
    return islice(peer.find(pacs, question, stopped), _MOST)


def _is_it(answer: Identifier, wanted: Expected, key: int, issuer: str) -> bool:
    """Whether an answer is the study: of the patient, and under the accession number or since we heard of it.

    `issuer`: of the IDs of the PACS's site, where it does not say; without one, it is taken for the wanted patient's.
    """
    said = Id(answer.value(_PATIENT), answer.value(_ISSUER))
    is_patient = patients.same(said, wanted, issuer or wanted.issuer_of_patient_id)
    if not (is_valid_uid(answer.value(STUDY)) and is_patient):
        return False
    if key == _ACCESSION:
        return answer.value(_ACCESSION) == wanted.accession_number
    since = datetime.fromtimestamp(wanted.received_at / 1e6, UTC) - _BEFORE
    return answer.value(_DATE) >= f"{since:%Y%m%d}"


# -- fetching --------------------------------------------------------------------------------------------------


def _fetch(wanted: Expected, seen: Seen, pacs: Partner, peer: Peer, node: Node, stopped: Stopped) -> Look:
    """Have the PACS send a study here, unless all of it has come."""
    node.database.write(lambda: expected.found(wanted.id, seen.study_instance_uid, seen.instances))
    here = _kept(seen, node)
    if seen.instances and here >= seen.instances:
        return Look(f"it is here: {here} instances, as many as {pacs.name} has", is_here=True)
    waiting = Waiting(stopped, lambda _: None, lambda: _kept(seen, node))
    try:
        said = peer.move(pacs, identifier.of("STUDY", {STUDY: seen.study_instance_uid}), _title(node), waiting)
    except PartnerError as error:
        return Look(f"{pacs.name} has it, and did not send it: {error}", failed=True)
    here = _kept(seen, node)
    if here >= (seen.instances or 1):
        return Look(f"{pacs.name} has sent it: {here} instances", is_here=True)
    of = f" of {seen.instances}" if seen.instances else ""
    return Look(f"{pacs.name} has it, and {here}{of} instances have come: {_end(said)}", failed=True)


def _title(node: Node) -> str:
    return node.config.node.ae_title


def _kept(seen: Seen, node: Node) -> int:
    with node.database.read():
        return expected.kept(seen.study_instance_uid)


def _end(said: Retrieved) -> str:
    """How a C-MOVE ended, in words."""
    comment = f": {said.comment}" if said.comment else ""
    return statuses.meaning(said.status) + comment
