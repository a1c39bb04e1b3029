"""The story of files that a person sends by hand: outside of routes and ledger, and never outside of the flows.

Of which site a file is, is known where it is one of ours, or where its study is here; then it goes where that site's
studies may. Of any other it is not known, and it goes only where a flow leads. What is in quarantine here goes nowhere.
Each study is in the audit trail before anything of it leaves; nothing is queued, and nothing is tried again by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path

from dicomnode.config.model import Partner
from dicomnode.dicom.classes import class_name
from dicomnode.errors import AssociationLost, DicomnodeError, NotAllowed, PartnerError
from dicomnode.operations import files
from dicomnode.operations.files import File, Said, Tally
from dicomnode.operations.ports import Link, Node, Outgoing, Peer, Stopped
from dicomnode.rules import oneway, outcome, proposals
from dicomnode.rules.outcome import Delivered
from dicomnode.store import archive, audit, doubts, index
from dicomnode.store.audit import Event
from dicomnode.store.index import Study

Pairs = list[tuple[File, Outgoing]]


class ByHand:
    """Files on their way to one partner, a batch at a time on each of its associations. Threads share it.

    `said` is told of each file that did not go; `by` is who sends.
    """

    def __init__(self, partner: Partner, peer: Peer, node: Node, said: Said, stopped: Stopped, by: str) -> None:
        self.partner, self.peer, self.node = partner, peer, node
        self.tally = Tally()
        self._said, self._stopped, self._by = said, stopped, by
        self._lock = threading.Lock()
        self._studies: dict[str, Study | None] = {"": None}
        self._announced: set[str] = set()

    def __repr__(self) -> str:
        return f"ByHand({self.partner.display}, {self.tally})"

    def send(self, paths: Sequence[Path]) -> Iterator[int]:
        """Send all of them; how many are done with, a batch at a time."""
        try:
            with ThreadPoolExecutor(self.partner.associations) as pool:
                yield from pool.map(self._batch, files.batches(paths))
        finally:
            self._record(f"{self.tally.done} instances were sent, {self.tally.failed} were not")

    def _batch(self, paths: Sequence[Path]) -> int:
        found = [pair for path in paths if not self._ends() and (pair := self._prepared(path))]
        decompress = self.partner.transcode == "decompress"
        for pairs in proposals.groups((outgoing.context for _, outgoing in found), decompress):
            waiting = [each for each in found if each[1].context in pairs]
            while waiting and not self._ends():
                waiting = self._associate(waiting, pairs)
        return len(paths)

    def _ends(self) -> bool:
        if self._stopped() and not self.tally.stopped:
            self.tally.stopped = "it was interrupted"
        return bool(self.tally.stopped)

    # -- before it is sent -------------------------------------------------------------------------------------

    def _prepared(self, path: Path) -> tuple[File, Outgoing] | None:
        """A file as it is sent; None where it is not, and that was said."""
        try:
            if not files.is_dicom(path):
                self._skip(path)
                return None
            file = files.look(path)
            self._check(file)
            self._announce(file.instance.study_instance_uid)
            return file, _outgoing(file)
        except (DicomnodeError, OSError) as error:
            self._fail(path, str(error))
        return None

    def _check(self, file: File) -> None:
        """Raise NotAllowed unless a file may go to the partner."""
        instance = file.instance
        if instance.sop_class_uid in self.partner.skip_classes:
            raise NotAllowed(f"{self.partner.name} is never sent {class_name(instance.sop_class_uid)}")
        study = self._known(instance.study_instance_uid)
        with self.node.database.read():
            if study and doubts.is_quarantined(study.id):
                raise NotAllowed("its study is in quarantine here")
        check_flow(self.partner, {site for site in (file.site, study.site if study else "") if site}, self.node)

    def _known(self, uid: str) -> Study | None:
        """The study here that a file is of, if there is one: looked for once, since all its instances are counted."""
        with self._lock, self.node.database.read():
            if uid not in self._studies:
                self._studies[uid] = index.study(uid)
            return self._studies[uid]

    def _announce(self, study: str) -> None:
        """Have it in the audit trail that a study leaves, once, before it does."""
        with self._lock:
            if study not in self._announced:
                self._record("files of it are sent by hand, outside of routes and ledger", study)
                self._announced.add(study)

    def _record(self, text: str, study: str = "") -> None:
        at, generation = self.node.clock(), self.node.generation
        event = Event(at, "sent by hand", f"{self._by}: {text}", self.partner.name, study, generation=generation)
        self.node.database.write(lambda: audit.record(event))

    # -- sending -----------------------------------------------------------------------------------------------

    def _associate(self, waiting: Pairs, pairs: Sequence[tuple[str, str]]) -> Pairs:
        """Send on one association; what is left where that was lost."""
        left = list(waiting)
        try:
            with self.peer.associate(self.partner, pairs) as link:
                for (file, outgoing), following in zip_longest(waiting, waiting[1:]):
                    if self._ends():
                        return []
                    left.pop(0)
                    self._one(file, outgoing, following and following[1], link)
        except AssociationLost:
            return left  # what it was lost over has been said
        except PartnerError as error:
            self.tally.stopped = str(error)
        return []

    def _one(self, file: File, outgoing: Outgoing, following: Outgoing | None, link: Link) -> None:
        try:
            result = outcome.of_status(link.send(outgoing, following=following), 0)
        except AssociationLost as error:
            self._fail(file.path, f"{error}; whether it arrived is not known")
            raise
        except DicomnodeError as error:
            self._fail(file.path, str(error))
            return
        if isinstance(result, Delivered):
            with self._lock:
                self.tally.done += 1
        else:
            self._fail(file.path, result.reason)

    # -- what is said ------------------------------------------------------------------------------------------

    def _fail(self, path: Path, why: str) -> None:
        with self._lock:
            self.tally.failed += 1
            self._said(path, why)

    def _skip(self, path: Path) -> None:
        with self._lock:
            self.tally.skipped += 1
            self._said(path, "is no DICOM file")


def check_flow(partner: Partner, sites: set[str], node: Node) -> None:
    """Raise NotAllowed unless what is of these sites may reach a partner; of none: of which site it is nobody knows."""
    for site in sorted(sites):
        if not oneway.may_flow(node.config, site, partner.site):
            raise NotAllowed(f"no flow allows studies of {site} to reach {partner.site}")
    if not sites and not oneway.may_get(node.config, partner.site):
        raise NotAllowed(f"of which site it is nobody knows, and no flow leads to {partner.site}: import it first")


def _outgoing(file: File) -> Outgoing:
    sha256, size = archive.digest(file.path, file.offset)
    instance = file.instance
    uids = instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid
    return Outgoing(*uids, file.path, size, sha256)
