"""The story of files that a person brings: each is taken into custody as if a partner had sent it by C-STORE.

It is walked, kept, indexed and queued by the one story there is for that (receive.py), and refused for what a C-STORE
of that partner would be refused for, or where our own information in it says that it is of a site whose studies may not
reach that partner's. Nothing is said to be here before it is durable; the files themselves are read, and left as they
are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom import part10
from dicomnode.dicom.classes import class_name, syntax_name
from dicomnode.dicom.part10 import Origin
from dicomnode.errors import ClassNotSupported, DicomnodeError, NotAllowed, OutOfResources
from dicomnode.operations import files, watch
from dicomnode.operations.files import File, Person, Tally
from dicomnode.operations.ports import Node
from dicomnode.operations.receive import receive
from dicomnode.rules import contexts
from dicomnode.rules.admission import Command, Service, services
from dicomnode.store import audit
from dicomnode.store.audit import Event
from dicomnode.store.index import Kind

_HANDS = 4
"""Files that are taken at once: their commits are made together."""
_CHUNK = 1 << 20


class Import:
    """Files on their way into custody."""

    def __init__(self, partner: Partner, node: Node, person: Person) -> None:
        self.partner, self.node = partner, node
        self.tally = Tally(person)
        self._by = person.name

    def __repr__(self) -> str:
        return f"Import(from {self.partner.name}, {self.tally})"

    def take(self, paths: Sequence[Path]) -> Iterator[int]:
        """Take all of them; how many are done with, a batch at a time. NotAllowed: the partner may not store."""
        check(self.partner, self.node.config)
        self.tally.total = len(paths)
        self._record(f"brings {len(paths)} files as if {self.partner.name} had sent them")
        with ThreadPoolExecutor(_HANDS) as pool:
            for batch in files.batches(paths):
                yield sum(pool.map(self._one, batch))
        watch.tell(self.node)
        tally = self.tally
        left = f"{tally.failed} were refused, {tally.untried} were not tried"
        self._record(f"has brought {tally.done} instances, {tally.known} were here, {left}")

    def _one(self, path: Path) -> int:
        """Take one, and say what came of it."""
        if self.tally.ends("it was interrupted, or the node was stopped"):
            return 1
        try:
            if files.is_dicom(path):
                self._count(path, custody(files.look(path), self.partner, self.node))
            else:
                self.tally.skip(path)
        except OutOfResources as error:
            self.tally.stop(str(error))
        except (DicomnodeError, OSError) as error:
            self.tally.fail(path, str(error))
        return 1

    def _count(self, path: Path, kind: Kind) -> None:
        if kind is Kind.DUPLICATE:
            self.tally.know()
        else:
            self.tally.do(path, "" if kind is Kind.NEW else f"is kept apart: {kind}")

    def _record(self, text: str) -> None:
        at, generation = self.node.clock(), self.node.generation
        name, of = self.partner.name, {"generation": generation, "who": self._by}
        event = Event(at, "imported by hand", f"{self._by} {text}", name, **of)  # type: ignore[arg-type]
        self.node.database.write(lambda: audit.record(event))


def check(partner: Partner, config: NodeConfig) -> None:
    """Raise NotAllowed unless a partner may store here."""
    if Service.STORE not in services(config, partner):
        raise NotAllowed(f"{partner.name} may not store here, so nothing can come from it")


def custody(file: File, partner: Partner, node: Node) -> Kind:
    """Take one file into custody: when this returns, it is on disk, indexed and queued."""
    files.check_flow({file.site} - {""}, partner, node.config)  # what came from one site is not given to another
    instance = file.instance
    if instance.sop_class_uid not in contexts.storage_classes(node.config):
        raise ClassNotSupported(f"{class_name(instance.sop_class_uid)} is not stored here")
    if instance.transfer_syntax_uid not in contexts.storable(node.config):
        raise ClassNotSupported(f"{syntax_name(instance.transfer_syntax_uid)} is not stored here")
    origin = Origin(partner.name, partner.site, node.clock(), partner.ae_title, node.config.node.ae_title)
    uids = instance.sop_class_uid, instance.sop_instance_uid
    header = part10.encode(*uids, instance.transfer_syntax_uid, origin)
    part = node.archive.part(header, node.config.node.limits.object_size)
    try:
        with file.path.open("rb") as source:
            source.seek(file.offset)
            while chunk := source.read(_CHUNK):
                part.write(chunk)
    except OSError:
        part.discard()
        raise
    return receive(part, Command(*uids, instance.sop_class_uid), origin, node).kind
