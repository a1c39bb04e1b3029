"""The story of a rejection note (IHE IOCM) on its way to the partner that has what a person calls back.

A note goes on an association of its own, outside of the window and whatever the lane waits for, unless a person holds
that; it is the same note however often it is sent. It is tried as long as an instance would be. What cannot be told is
held with an alarm. A kill at any moment loses neither the note nor what it names. That a partner has taken a note is
not that it has deleted anything: DICOM has no service for that.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from dicomnode import __version__
from dicomnode.config.model import Partner
from dicomnode.dicom import part10, rejection
from dicomnode.dicom.encode import Element
from dicomnode.dicom.instance import ATTRIBUTES, Level, SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.dicom.rejection import Note, Rejected, Request
from dicomnode.errors import InstanceError, NotCoerced, PartnerError
from dicomnode.operations import breaker, coerce, receive, refer
from dicomnode.operations.ports import Node, Outgoing, Peer, Stopped
from dicomnode.rules import oneway, outcome, proposals
from dicomnode.rules.coercion import Coercion
from dicomnode.rules.contexts import EXPLICIT_LE
from dicomnode.rules.outcome import Delivered, Later, Never, Outcome, Scope
from dicomnode.store import expected, index, lanes, recalls
from dicomnode.store.archive import Part
from dicomnode.store.recalls import Failure, Recall

log = logging.getLogger(__name__)


def slots(partner: Partner) -> int:
    """How many threads tell a partner: one, where it understands notes."""
    return int(partner.iocm and partner.is_destination)


def due(partner: Partner, now: int) -> int | None:
    """When there is a note for a partner (µs). Inside `Database.read`."""
    found = recalls.due(partner.name, now)
    return None if found is None or lanes.paused(partner.name).hold else found


def set_back(node: Node) -> None:
    """A clock that was ahead must not keep a note until then."""
    at, partners = node.clock(), node.config.partners
    furthest = outcome.furthest(at, node.config.node.limits.retry_most)
    with node.database.read():
        ahead = [name for name in partners if recalls.is_ahead(name, furthest)]
    if ahead:
        node.database.write(lambda: sum(recalls.hasten(name, furthest, at) for name in ahead))


def tell(partner: Partner, peer: Peer, node: Node, stopped: Stopped) -> bool:
    """Send a partner one note that is due. False where there was none, or we are to stop."""
    at = node.clock()
    with node.database.read():
        held = lanes.paused(partner.name).hold
        found = None if held else recalls.next_due(partner.name, at)
    if found is None:
        return False
    status, result = _send(found, partner, peer, node)
    if isinstance(result, Later) and stopped():  # what ends because we do is nobody's failure
        return False
    node.database.write(lambda: _written_down(found, partner, status, result, node))
    return True


def _send(found: Recall, partner: Partner, peer: Peer, node: Node) -> tuple[int | None, Outcome]:
    """The status that the note was answered with, None where it was not, and what that means."""
    with node.database.read():
        source = recalls.source(found.id)
        if not oneway.may_reach(node.config, source.site, partner):
            return None, Never(f"no flow allows anything of {source.site} to reach {partner.site}")
        try:
            coercion = _coercion(found, source.study, partner, node)
        except NotCoerced as error:
            return None, Never(str(error))
    part, status = _part(found, node), None
    about = rejection.SOP_CLASS, found.sop_instance_uid, EXPLICIT_LE, part.path, part.size, part.sha256
    outgoing = Outgoing(*about, coercion=coercion)
    try:
        (pairs,) = proposals.groups([outgoing.context], partner.decompresses)
        with peer.associate(partner, pairs) as link:
            status = link.send(outgoing)
    except PartnerError as error:
        if status is None:
            return None, outcome.of_error(error)
    except InstanceError as error:  # the part was lost: it is made again
        return None, Later(Scope.INSTANCE, str(error))
    finally:
        part.discard()
    assert status is not None
    return status, outcome.of_status(status, found.refused)


def _coercion(found: Recall, study: int, partner: Partner, node: Node) -> Coercion | None:
    """What is changed of the note, which is what was changed of the images but for what a note says by itself.

    It names the patient that they were given, whoever it is by now. NotCoerced: that is not known, or was not one.
    """
    wanted, named = coerce.of_study(study, partner, node), recalls.went_as(found.referral)
    if named is None and not (wanted and wanted.patient_id):
        named = ("", "")
    if not named or (named[0] and not wanted):
        raise NotCoerced("by which patient ID its partner knows the images is not certain")
    patient_id, issuer = named
    at = datetime.fromtimestamp(found.at / 1e6, UTC)
    return replace(wanted, patient_id=patient_id, issuer=issuer, request=None, at=at) if wanted else None


def _written_down(found: Recall, partner: Partner, status: int | None, result: Outcome, node: Node) -> None:
    """Write down what came of a note. Inside `Database.write`."""
    at = node.clock()
    if isinstance(result, Delivered):
        recalls.told(found.id, at, status or 0, result.reason)
        taken = f"{partner.name} has taken the note that {found.instances} instance(s) are rejected"
        text = f"{taken}: ask it to acknowledge that"
        refer.record(found.referral, "recall note sent", text, at, node)
        log.info("recall=%d to=%s told", found.id, partner.display)
        return
    failure = _failure(found, partner, status, result, node)
    recalls.failed(found.id, failure)
    log.warning("recall=%d to=%s not told: %s", found.id, partner.display, failure.why)
    if failure.again_at is None:
        _untold(found.referral, partner.name, found.instances, failure.why, node)


def _untold(referral: int, partner: str, instances: int, why: str, node: Node) -> None:
    """A person must tell a partner in another way. Inside `Database.write`."""
    letter = f"`dicomnode referrals recall {referral} --letter FILE`"
    text = f"{partner} could not be told that {instances} instance(s) are rejected ({why}): tell it by {letter}"
    refer.record(referral, "recall note held", text, node.clock(), node, alarm=True)
    log.critical("referral=%d: %s", referral, text)


_NO_NOTES = "the configuration has no partner of this name that notes are sent to (iocm)"


def strand(node: Node) -> None:
    """What waits for a partner that this configuration sends no notes to is held, with an alarm."""
    takers = [partner.name for partner in node.config.partners.values() if slots(partner)]

    def stranded() -> None:
        for referral, partner, instances in recalls.strand(takers, _NO_NOTES):
            _untold(referral, partner, instances, _NO_NOTES, node)

    node.database.write(stranded)


def _failure(found: Recall, partner: Partner, status: int | None, result: Later | Never, node: Node) -> Failure:
    at, limits = node.clock(), node.config.node.limits
    since = at if found.failing_since is None else found.failing_since
    if isinstance(result, Never):
        return Failure(result.reason, None, status, False, since)
    if given_up := breaker.given_up(partner, since, at, result.reason):
        return Failure(given_up, None, status, result.refused, since)
    again = outcome.next_attempt_at(at, since, limits.retry_first, limits.retry_most, random.random())
    return Failure(result.reason, again, status, result.refused, since)


# -- the note ------------------------------------------------------------------------------------------------------


def _part(found: Recall, node: Node) -> Part:
    """The note as a file, for as long as it is being sent. Raises OutOfResources."""
    note = _note(found, node)
    content = rejection.encode(note)
    here = Origin("", "", found.at, node.config.node.ae_title, node.config.node.ae_title)
    header = part10.encode(rejection.SOP_CLASS, found.sop_instance_uid, EXPLICIT_LE, here)
    part = node.archive.part(header, len(content))
    part.write(content)
    part.finish()
    return part


def _note(found: Recall, node: Node) -> Note:
    """The note of a recall: patient and study as the images have them, and all that it calls back."""
    with node.database.read():
        source = recalls.source(found.id)
        indexed, requests = index.as_indexed(source.instance), _requests(source.study)
        rejected = [
            Rejected(each.sop_class_uid, each.sop_instance_uid, each.series_instance_uid, each.has_rows)
            for each in recalls.instances(found.id)
        ]
    at = datetime.fromtimestamp(found.at / 1e6)
    return Note(
        title=rejection.TITLES[found.code],
        reason=found.reason,
        sop_instance_uid=found.sop_instance_uid,
        series_instance_uid=found.series_instance_uid,
        study_instance_uid=source.study_instance_uid,
        date=f"{at:%Y%m%d}",
        time=f"{at:%H%M%S}",
        institution=node.config.sites[source.site].name,
        software=__version__,
        common=_common(_as_received(source.file, node) or indexed),
        requests=requests,
        rejected=rejected,
    )


def _as_received(file: str, node: Node) -> SopInstance | None:
    """What an image itself says; None where its file is gone or damaged."""
    try:
        return receive.as_received(node.archive.path(file), node)
    except (OSError, InstanceError):
        return None


_OPTIONAL = {"IssuerOfPatientID", "StudyDescription", "NameOfPhysiciansReadingStudy"}
"""What a document need not have where it is not known (PS3.3 C.7.1.1, C.7.2.1)."""


def _common(like: SopInstance) -> tuple[Element, ...]:
    """The attributes of patient and study."""
    of_both = [a for a in ATTRIBUTES if a.level in (Level.PATIENT, Level.STUDY) and a.keyword != "StudyInstanceUID"]
    told = [(a, getattr(like, a.column)) for a in of_both]
    return tuple(Element(a.tag, a.vr, value) for a, value in told if value or a.keyword not in _OPTIONAL)


_ACCESSION, _PROCEDURE, _DESCRIPTION = 0x00080050, 0x00401001, 0x00321060


def _requests(study: int) -> Sequence[Request]:
    """What is known of the requests of a study: from its referral in advance, else from its series."""
    known = expected.of_study(study)
    if known:
        return [{_ACCESSION: known.accession_number, _PROCEDURE: known.number, _DESCRIPTION: known.procedure}]
    return [{int(tag, 16): text for tag, text in item.items()} for item in recalls.requests(study)]
