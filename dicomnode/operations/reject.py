"""The story of a rejection note (IHE IOCM) that a source sends of its own studies.

What was not sent of a study that it names is held with the reason that the note's title is, until a person releases or
withdraws it; of what was sent an alarm asks for a recall. What the note says in its own words may name the patient, and
is in its file alone. The note itself is kept and shown as any other instance, and no route sends it: that a partner is
told is a person's decision, and the note that it is told by is one of ours. A study of another site is not touched by
it, and one that names more studies than anybody rejects at once touches none: an alarm tells of it. What the source
sends instead has new SOP Instance UIDs, and goes as everything does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from dicomnode.dicom import rejection
from dicomnode.dicom.instance import SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.dicom.rejection import TITLES, Rejection, Title
from dicomnode.errors import InstanceError
from dicomnode.operations import refer
from dicomnode.operations.ports import Node
from dicomnode.store import audit, gates, recalls, referrals, rejections
from dicomnode.store.audit import Event

log = logging.getLogger(__name__)

_MOST = 100
"""Studies that one note may name: each is looked for while others wait to write."""


def read(instance: SopInstance, file: str, node: Node) -> Rejection | None:
    """What an instance that has arrived rejects; None where it is no note."""
    if instance.sop_class_uid != rejection.SOP_CLASS:
        return None
    try:
        return rejection.read(node.archive.path(file))
    except InstanceError as error:
        log.warning("sop=%s is no rejection note that can be read: %s", instance.sop_instance_uid, error)
        return None


def _text(found: Rejection, origin: Origin) -> str:
    count = sum(map(len, found.named.values()))
    return f"{origin.partner} rejects {count} instance(s): {found.title.meaning} ({found.title.value}, DCM)"


def keep(instance: int, found: Rejection, origin: Origin) -> None:
    """Remember an instance as a note, before any route is asked about it. Inside `Database.write`."""
    named = found.named if len(found.named) <= _MOST else [""]  # no route sends it, and it stops no study
    rejections.add(instance, named, _text(found, origin))


def heed(found: Rejection, origin: Origin, node: Node) -> None:
    """Hold what a note names, or have it recalled. Inside `Database.write`."""
    at, text = node.clock(), _text(found, origin)
    if len(found.named) > _MOST:
        _refuse(f"{text}, of {len(found.named)} studies: of more than {_MOST} nothing is stopped", origin, at, node)
        return
    for study, uid in rejections.named(found.named, origin.site):
        for referral in gates.hold(rejections.unsent(study), text):
            refer.record(referral, "referral held", text, at, node)
        for referral, *_ in referrals.of_study(study):
            _have_recalled(referral, found.title, found.named[uid], text, at, node)


def _refuse(text: str, origin: Origin, at: int, node: Node) -> None:
    log.error("a rejection note is not heeded: %s", text)
    refused = "rejection note refused"
    audit.record_seldom(Event(at, refused, text, origin.partner, generation=node.generation, alarm=True))


def _have_recalled(referral: int, why: Title, uids: Iterable[str], text: str, at: int, node: Node) -> None:
    gone = rejections.delivered(referral, uids)
    if not gone or recalls.is_withdrawn(referral):
        return
    word = next(word for word, title in TITLES.items() if title == why)
    todo = f"`dicomnode referrals recall {referral} --reason-code {word} --reason …`"
    refer.record(referral, "sent instances rejected", f"{text}; {gone} of them were sent: {todo}", at, node, alarm=True)
    log.critical("referral=%d was sent, and its source rejects it: %s", referral, todo)
