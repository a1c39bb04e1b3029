"""The story of studies that a person fetches from a partner into a folder, by C-GET: beside the node, not into it.

An instance is answered 0000H once it is durable. What was not asked for, what is not what its request says, and what
would take another file's place is refused, and said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom import identifier, part10, walk
from dicomnode.dicom.classes import is_valid_uid
from dicomnode.dicom.identifier import SERIES, STUDY, Identifier
from dicomnode.dicom.part10 import Origin
from dicomnode.errors import DicomnodeError, MalformedUID, Mismatch, PartnerError
from dicomnode.operations.ports import Peer, Retrieved, Stopped, Waiting
from dicomnode.rules import admission, proposals
from dicomnode.rules.admission import Command
from dicomnode.store.archive import Part
from dicomnode.store.folder import Folder

_CLASS, _CLASSES_IN_STUDY = 0x00080016, 0x00080062


class Fetch:
    """One study on its way into a folder: what was kept, and what was not and why."""

    def __init__(self, study: str, partner: Partner, folder: Folder, config: NodeConfig, clock: Callable[[], int]):
        self.study, self.partner, self.folder = study, partner, folder
        self._config, self._clock = config, clock
        self.kept: set[str] = set()
        self.refused: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Fetch({self.study}, {len(self.kept)} kept)"

    def run(self, peer: Peer, waiting: Waiting) -> Retrieved:
        """Ask for it, and keep what comes. Raises PartnerError."""
        wanted = identifier.of("STUDY", {STUDY: self.study})
        pairs = proposals.likely(classes(self.study, self.partner, peer, waiting.stopped))
        return peer.get(self.partner, wanted, pairs, self.open, waiting)

    def open(self, command: Command, transfer_syntax_uid: str) -> _Arriving:
        """Take one instance in. See ports.Opener."""
        return _Arriving(command, self._part(command, transfer_syntax_uid), self)

    def _part(self, command: Command, transfer_syntax_uid: str) -> Part | DicomnodeError:
        """A file for it, or why there is none."""
        if not is_valid_uid(command.sop_class_uid) or not is_valid_uid(command.sop_instance_uid):
            return MalformedUID("its Affected SOP Class or Instance UID is no UID")
        partner = self.partner
        titles = partner.ae_title, self._config.node.ae_title
        origin = Origin(partner.name, partner.site, self._clock(), *titles)
        header = part10.encode(command.sop_class_uid, command.sop_instance_uid, transfer_syntax_uid, origin)
        return self.folder.part(header, self._config.node.limits.object_size)

    def keep(self, part: Part | DicomnodeError, command: Command) -> tuple[int, str]:
        """What has come whole has its place in the folder, or is refused. See ports.Arriving."""
        uid = command.sop_instance_uid
        try:
            if isinstance(part, DicomnodeError):
                raise part
            part.finish()
            instance = walk.header(part)
            admission.may_store(command, instance)
            if instance.study_instance_uid != self.study:
                raise Mismatch("it is of another study than was asked for")
            self.folder.keep(part, uid)
        except DicomnodeError as error:
            self.refused[uid if is_valid_uid(uid) else "an instance"] = str(error)
            return error.status, str(error)
        self.kept.add(uid)
        return 0x0000, ""


class _Arriving:
    """One instance as it comes: implements ports.Arriving."""

    def __init__(self, command: Command, part: Part | DicomnodeError, fetch: Fetch) -> None:
        self._command, self._part, self._fetch = command, part, fetch

    def write(self, fragment: bytes) -> None:
        if isinstance(self._part, Part):
            self._part.write(fragment)

    def keep(self) -> tuple[int, str]:
        return self._fetch.keep(self._part, self._command)

    def discard(self) -> None:
        if isinstance(self._part, Part):
            self._part.discard()


def classes(study: str, partner: Partner, peer: Peer, stopped: Stopped) -> set[str]:
    """The SOP classes that a partner says a study is of; none where it does not say.

    Not everybody says so of a study (Table C.6-5 has it optional): then the instances of its series are asked for.
    """

    def said(question: Identifier, tag: int) -> set[str]:
        return set(_uids(peer.find(partner, question, stopped), tag))

    found: set[str] = set()
    with suppress(PartnerError):
        found |= said(identifier.of("STUDY", {STUDY: study, _CLASSES_IN_STUDY: ""}), _CLASSES_IN_STUDY)
        if not found:
            for series in said(identifier.of("SERIES", {STUDY: study, SERIES: ""}), SERIES):
                found |= said(identifier.of("IMAGE", {STUDY: study, SERIES: series, _CLASS: ""}), _CLASS)
    return found


def _uids(answers: Iterator[Identifier], tag: int) -> Iterator[str]:
    for answer in answers:
        yield from filter(is_valid_uid, answer.value(tag).split("\\"))
