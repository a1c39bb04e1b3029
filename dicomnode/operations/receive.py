"""The story of an instance that arrives: take it into custody, or refuse it and keep nothing.

When `receive` returns, the instance is on disk, indexed and queued for every partner that its routes name. What it
raises tells the sender why not; the part file is gone by then. A second version of a known SOP Instance UID is kept
beside the first. Where patient or order differ, what has not been sent of the study is held until a person has said
which is right; where the image does, the study is in quarantine. What is known already is sent again by somebody for a
reason: it is routed as if it were new, and the partners that had it are asked whether they have it still.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from dicomnode.dicom import part10, walk
from dicomnode.dicom.instance import SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.dicom.rejection import Rejection
from dicomnode.dicom.walk import Facts
from dicomnode.errors import DicomnodeError, InstanceError, Unfinished, Unreadable
from dicomnode.operations import refer, reject, resend
from dicomnode.operations.ports import Node
from dicomnode.rules import admission, routing, versions
from dicomnode.rules.admission import Command
from dicomnode.store import audit, doubts, index, integrity
from dicomnode.store.archive import Part, Stored
from dicomnode.store.index import AnotherVersion, Kind, Recorded

log = logging.getLogger(__name__)


def receive(part: Part, command: Command, origin: Origin, node: Node) -> Recorded:
    """Take one instance into custody: when this returns, it is on disk, indexed and queued."""
    try:
        part.finish()
        instance = walk.header(part, node.config.charset_of(origin.partner))
        admission.may_store(command, instance)
    except Exception:
        part.discard()
        raise
    stored = node.archive.keep(part, origin.received_at)
    try:
        return take_custody(stored, instance, origin, node)
    except Unfinished:
        raise  # its row may come back: a file without one is adopted, a row without its file would be an alarm
    except Exception:
        node.archive.remove(stored.file)
        raise


def take_custody(stored: Stored, instance: SopInstance, origin: Origin, node: Node) -> Recorded:
    """Record a kept file: index, referrals and transfers in one commit. A duplicate's file is not kept twice."""
    note = reject.read(instance, stored.file, node)
    try:
        recorded = node.database.write(lambda: record(stored, instance, origin, node, note=note))
    except AnotherVersion as known:
        found = compare(known, instance, stored.file, node)
        recorded = node.database.write(lambda: record(stored, instance, origin, node, found))
    if recorded.kind is Kind.DUPLICATE:
        _keep_one(recorded, stored, node)
    log.info("received sop=%s from=%s kind=%s", instance.sop_instance_uid, origin.partner, recorded.kind)
    return recorded


def _keep_one(recorded: Recorded, arrived: Stored, node: Node) -> None:
    """Of two files with the same dataset keep the first, unless it is not what it was: then the new one replaces it."""
    if recorded.file == arrived.file:  # it was evicted or damaged, or is being adopted while its receiver indexes it
        if recorded.replaced:
            node.archive.remove(recorded.replaced)
        return
    if node.archive.holds(recorded.file, arrived):
        node.archive.remove(arrived.file)
        _release(recorded.instance, node)
        return
    log.critical("file=%s is damaged or missing, and was sent again: file=%s", recorded.file, arrived.file)

    def replaced() -> None:
        index.replace_file(recorded.instance, arrived.file)
        integrity.heal(recorded.instance, node.clock())

    node.database.write(replaced)
    node.archive.remove(recorded.file)


def _release(instance: int, node: Node) -> None:
    """A file is sound: what was held for it goes on."""
    with node.database.read():
        waits = integrity.waits(instance)
    if waits:
        node.database.write(lambda: integrity.heal(instance, node.clock()))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a second version is to the first, and in which attributes they differ."""

    kind: Kind
    differs: tuple[str, ...]


_UNKNOWN = Facts("", "unknown")
"""The pixels of a file that cannot be read: they compare with none."""


def compare(known: AnotherVersion, other: SopInstance, arrived: str, node: Node) -> Comparison:
    """What a second version is to the first: their headers and pixels, read from their files.

    Of a first one that was evicted, or cannot be read, the index says what it was, and nobody what it shows.
    """
    path = node.archive.path(known.file)
    try:
        one, pixels = as_received(path, node), walk.facts(path)
    except (OSError, InstanceError):
        with node.database.read():
            one, pixels = index.as_indexed(known.instance), _UNKNOWN
        other = other._replace(issuer_of_patient_id=other.issuer_of_patient_id or one.issuer_of_patient_id)
    differs = tuple(versions.differences(one, other)) or ("what is not indexed",)
    if versions.is_conflict(one, other, (pixels, walk.facts(node.archive.path(arrived)))):
        return Comparison(Kind.CONFLICT, differs)
    return Comparison(Kind.VARIANT if versions.is_variant(one, other) else Kind.CORRECTION, differs)


def as_received(path: Path, node: Node) -> SopInstance:
    """What we index of a kept file, with the character set that its sender is assumed to use. Errors: walk.header's."""
    origin = part10.read(path).origin
    return walk.header(path, node.config.charset_of(origin.partner) if origin else "")


def record(
    stored: Stored,
    instance: SopInstance,
    origin: Origin,
    node: Node,
    found: Comparison | None = None,
    *,
    note: Rejection | None = None,
) -> Recorded:
    """The one commit of an instance; `note` is what it rejects, where it does. Runs inside `Database.write`."""
    issuer = node.config.sites[origin.site].patient_id_issuer
    recorded = index.record(stored, instance, origin, issuer, found.kind if found else None)
    if note and recorded.kind is Kind.NEW:  # before any route sees it
        reject.keep(recorded.instance, note, origin)
    if recorded.study is not None and recorded.sent_as is not None:  # what is known, too: to be referred, or proven
        refer.route(recorded.sent_as, recorded.study, routing.values(instance, origin), node)
        if recorded.kind is not Kind.NEW:
            resend.came_again(recorded.sent_as, origin, node)
    if note and recorded.kind is Kind.NEW:
        reject.heed(note, origin, node)
    if recorded.replaced:
        integrity.heal(recorded.instance, node.clock())
    if recorded.kind in _DOUBTS:
        _doubt(recorded, instance, origin, node, found.differs if found else ())
    return recorded


_DOUBTS = {
    Kind.CORRECTION: "a second version of an instance differs",
    Kind.CONFLICT: "a second version of an instance differs in image, study or series",
    Kind.FOREIGN: "an instance of this study came from another site, and is kept apart",
}


def _doubt(
    recorded: Recorded, instance: SopInstance, origin: Origin, node: Node, differs: tuple[str, ...]
) -> None:
    where = f" ({', '.join(differs)})" if differs else ""
    text = f"{_DOUBTS[recorded.kind]}{where}: {instance.sop_instance_uid} from {origin.partner} of {origin.site}"
    log.warning("kept apart kind=%s study=%s: %s", recorded.kind, instance.study_instance_uid, text)
    stop = refer.correct if recorded.kind is Kind.CORRECTION else refer.quarantine
    for study, site in doubts.studies_of(instance.sop_instance_uid, recorded.study).items():
        if recorded.kind is Kind.FOREIGN or site != origin.site:  # one site does not stop what is another's
            doubts.remark(study, text)
        else:
            stop(study, text, origin.received_at, node)
    event = audit.Event(
        origin.received_at,
        f"{recorded.kind} kept",
        text,
        origin.partner,
        instance.study_instance_uid,
        instance.sop_instance_uid,
        generation=node.generation,
    )
    audit.record(event)


def adopt(file: str, node: Node) -> Recorded | None:
    """Take a kept file into the index that has no row: its own file meta says where it came from.

    None where it cannot be: a file of another program, or of a site that is no longer configured. It is left in place.
    """
    path = node.archive.path(file)
    try:
        meta = part10.read(path)
        if meta.origin is None or meta.origin.site not in node.config.sites:
            raise Unreadable("the file names no site of this configuration")
        stored = node.archive.measure(file, meta.offset)
        return take_custody(stored, as_received(path, node), meta.origin, node)
    except (DicomnodeError, OSError) as error:
        log.error("cannot adopt file=%s: %s", file, error)
        return None
