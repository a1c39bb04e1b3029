"""The story of files that a person sends by hand: outside of routes and ledger, and never outside of the flows.

Of which site a file is, is known where it is one of ours, or where its study is here; then it goes where that site's
studies may. Of any other it is not known, and it goes only where a flow leads. What is in quarantine here goes nowhere,
and what a person has held or dropped for a partner goes to nobody of its site. Of a study that is here only the current
version of an image leaves its site: all that is known of the study is known of that. Nothing goes of a patient who has
withdrawn consent. Where a route to the partner wants a referral, consent or a look at the patient, only what is in
custody goes: of nothing else is that known. Each study is in the audit trail before anything of it leaves; nothing is
queued, and nothing is tried again by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path

from dicomnode.config.model import Partner
from dicomnode.dicom.classes import class_name
from dicomnode.dicom.instance import SopInstance
from dicomnode.errors import AssociationLost, DicomnodeError, NotAllowed, PartnerError
from dicomnode.operations import coerce, consent, files, retrieve
from dicomnode.operations.files import File, Person, Tally
from dicomnode.operations.ports import Link, Node, Outgoing, Peer
from dicomnode.rules import oneway, outcome, proposals
from dicomnode.rules.coercion import Coercion
from dicomnode.rules.outcome import Delivered
from dicomnode.store import archive, audit, doubts, gates, index
from dicomnode.store.audit import Event
from dicomnode.store.index import Study

Pairs = list[tuple[File, Outgoing]]
_UNVETTED = "its study is not in custody, and neither referral, consent nor patient could be checked on the way to"
_NOT_KEPT = "its study is in custody, and this is not the current version of any image: `dicomnode import` it first"


class Send:
    """Files on their way to one partner, a batch at a time on each of its associations. Threads share it."""

    def __init__(self, partner: Partner, peer: Peer, node: Node, person: Person) -> None:
        self.partner, self.peer, self.node = partner, peer, node
        self.tally = Tally(person)
        self._by = person.name
        self._lock = threading.Lock()
        self._studies: dict[str, Study | None] = {"": None}
        self._announced: set[str] = set()
        self._coercions: dict[int, Coercion | None] = {}

    def __repr__(self) -> str:
        return f"Send({self.partner.display}, {self.tally})"

    def send(self, paths: Sequence[Path]) -> Iterator[int]:
        """Send all of them; how many are done with, a batch at a time."""
        tally = self.tally
        tally.total = len(paths)
        try:
            with ThreadPoolExecutor(self.partner.associations) as pool:
                yield from pool.map(self._batch, files.batches(paths))
        finally:
            self._record(f"{tally.done} instances were sent, {tally.failed} failed, {tally.untried} were not tried")

    def _batch(self, paths: Sequence[Path]) -> int:
        found = [pair for path in paths if not self.tally.ends() and (pair := self._prepared(path))]
        decompress = self.partner.decompresses
        for pairs in proposals.groups((outgoing.context for _, outgoing in found), decompress):
            waiting = [each for each in found if each[1].context in pairs]
            while waiting and not self.tally.ends():
                waiting = self._associate(waiting, pairs)
        return len(paths)

    # -- before it is sent -------------------------------------------------------------------------------------

    def _prepared(self, path: Path) -> tuple[File, Outgoing] | None:
        """A file as it is sent; None where it is not, and that was said."""
        try:
            if not files.is_dicom(path):
                self.tally.skip(path)
                return None
            file = files.look(path)
            self._check(file)
            outgoing = self._outgoing(file)
            self._announce(file.instance.study_instance_uid)
            return file, outgoing
        except (DicomnodeError, OSError) as error:
            self.tally.fail(path, str(error))
        return None

    def _check(self, file: File) -> None:
        """Raise NotAllowed unless a file may go to the partner."""
        instance = file.instance
        if instance.sop_class_uid in self.partner.skip_classes:
            raise NotAllowed(f"{self.partner.name} is never sent {class_name(instance.sop_class_uid)}")
        study = self._known(instance.study_instance_uid)
        if study and (why := self._held_back(study, instance.sop_instance_uid)):
            raise NotAllowed(why)
        sites = {site for site in (file.site, study.site if study else "") if site}
        files.check_flow(sites, self.partner, self.node.config)
        if not study and file.site != self.partner.site:
            self._check_unknown(file)
        if not sites and not oneway.may_get(self.node.config, self.partner.site):
            where = self.partner.site
            raise NotAllowed(f"of which site it is nobody knows, and no flow leads to {where}: import it first")

    def _check_unknown(self, file: File) -> None:
        """Raise NotAllowed where a file of a study that is not here may not leave its site."""
        if self._is_vetted(file.site):
            raise NotAllowed(f"{_UNVETTED} {self.partner.name}: `dicomnode import` it first")
        with self.node.database.read():
            if why := consent.withdrawn(file.instance, file.site, self.node):
                raise NotAllowed(why)

    def _is_vetted(self, site: str) -> bool:
        """Whether a route by which files of a site ('': of any) may go to the partner asks for more than its flow."""
        config = self.node.config
        to = (route for route in config.routes if self.partner.name in route.to)
        ways = (route for route in to if not site or site in oneway.source_sites(config, route.sources))
        return any(way.require == "referral" or way.consent == "required" or way.checks for way in ways)

    def _held_back(self, study: Study, sop_instance_uid: str) -> str:
        """Why something of a study that is kept here may not go to the partner, '' where it may."""
        with self.node.database.read():
            if study.site == self.partner.site:
                return retrieve.QUARANTINED if doubts.is_quarantined(study.id) else ""
            why = retrieve.closed(study.id, self.partner, self.node)
            same = self.node.config.partners_of(self.partner.site)
            said = gates.withheld(index.of_uid(sop_instance_uid), self.partner.name, same)
            return why or next((f"a person has held or dropped it: {word}" for word in said.values()), "")

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
                self._record("files of it are to be sent by hand, outside of routes and ledger", study)
                self._announced.add(study)

    def _record(self, text: str, study: str = "") -> None:
        at, generation = self.node.clock(), self.node.generation
        name, of = self.partner.name, {"generation": generation, "who": self._by}
        event = Event(at, "sent by hand", f"{self._by}: {text}", name, study, **of)  # type: ignore[arg-type]
        self.node.database.write(lambda: audit.record(event))

    def _outgoing(self, file: File) -> Outgoing:
        sha256, size = archive.digest(file.path, file.offset)
        instance = file.instance
        self._check_current(instance, sha256)
        uids = instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid
        return Outgoing(*uids, file.path, size, sha256, coercion=self._coercion(file))

    def _check_current(self, instance: SopInstance, sha256: str) -> None:
        """Raise NotAllowed where an image of a study that is here is not what is kept of it, and would leave its site.

        What was never looked at may be another patient's, or what a person has rejected.
        """
        study = self._known(instance.study_instance_uid)
        if study is None or study.site == self.partner.site:
            return
        with self.node.database.read():
            if index.current(study.id, instance.sop_instance_uid) != sha256:
                raise NotAllowed(_NOT_KEPT)

    def _coercion(self, file: File) -> Coercion | None:
        """What the copy is to have where it leaves its site; decided once for each study that is here."""
        study = self._known(file.instance.study_instance_uid)
        site = study.site if study else file.site
        if site == self.partner.site:
            return None
        if study is None:
            return coerce.of_file(site, file.instance.issuer_of_patient_id, self.partner, self.node)
        with self._lock, self.node.database.read():
            if study.id not in self._coercions:
                self._coercions[study.id] = coerce.of_study(study.id, self.partner, self.node)
            return self._coercions[study.id]

    # -- sending -----------------------------------------------------------------------------------------------

    def _associate(self, waiting: Pairs, pairs: Sequence[tuple[str, str]]) -> Pairs:
        """Send on one association; what is left where that was lost."""
        left = list(waiting)
        try:
            with self.peer.associate(self.partner, pairs) as link:
                for (file, outgoing), following in zip_longest(waiting, waiting[1:]):
                    if self.tally.ends():
                        return []
                    left.pop(0)
                    self._one(file, outgoing, following and following[1], link)
        except AssociationLost:
            return left  # what it was lost over has been said
        except PartnerError as error:
            self.tally.stop(f"{self.partner.display}: {error}; see `dicomnode partners echo {self.partner.name}`")
        return []

    def _one(self, file: File, outgoing: Outgoing, following: Outgoing | None, link: Link) -> None:
        try:
            result = outcome.of_status(link.send(outgoing, following=following), 0)
        except AssociationLost as error:
            self.tally.fail(file.path, f"{error}; whether it arrived is not known")
            raise
        except DicomnodeError as error:
            self.tally.fail(file.path, str(error))
            return
        if isinstance(result, Delivered):
            self.tally.do(file.path)
        else:
            self.tally.fail(file.path, result.reason)
