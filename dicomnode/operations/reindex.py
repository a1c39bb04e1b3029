"""The story of an index that is made anew: what the files say is taken from them, what only the index knew is salvaged.

Runs while no node does. Every kept file has its row at the end, with the number it had where that is known. What the
old index tells of queue, proof and audit trail is copied as far as it can be read, and what is lost is counted. Where
the lost rows may have been of referrals or transfers, what seems never to have been sent is routed anew by the
configuration in force: better twice than never. What a person had dropped stays dropped, and a study whose row is
lost is in quarantine where it was stopped, or nobody knows whether it was.

What patients have said of their consent is told again by the audit trail. Where words of theirs are lost all the same,
all that is not sent is held, with an alarm. Without any index nobody knows whether there were words: held is then what
a route wants consent for; what goes by other routes goes on as before, for they ask nobody.

The old index is not changed, and is kept beside the new one. A kill at any moment harms nothing: run it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from dicomnode.config.model import NodeConfig
from dicomnode.dicom import part10
from dicomnode.dicom.instance import SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.errors import InstanceError, Unreadable
from dicomnode.operations import receive, refer, reject, vet
from dicomnode.operations.ports import Node, now
from dicomnode.operations.scrub import alarm
from dicomnode.rules import routing
from dicomnode.store import (
    attributes,
    audit,
    doubts,
    gates,
    generations,
    index,
    integrity,
    patients,
    rebuild,
    referrals,
    salvage,
    space,
    testimony,
)
from dicomnode.store.archive import Archive, Stored
from dicomnode.store.database import Database, index_of
from dicomnode.store.index import AnotherVersion, Kind, Recorded
from dicomnode.store.rebuild import Row
from dicomnode.store.salvage import Salvaged

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is, and how much there is of it."""
_STOPPED = "it was stopped, or may have been, and why is lost with a page of the index: the audit trail may tell"
_FORGOTTEN = (
    "the index was lost: consent and withdrawals are not known any more; release it where the patient has not withdrawn"
)
_DOUBT = "what was decided of its versions is lost with a page of the index: look at `dicomnode studies show`"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the index: its tables, the files, and where the old one is (None: there was none)."""

    tables: tuple[Salvaged, ...] = ()
    files: int = 0
    adopted: int = 0
    """Files whose row was lost, and that are in the index again as if they had just come."""
    routed: int = 0
    """Instances that go to a partner again, because nobody knows whether they had gone."""
    missing: tuple[str, ...] = ()
    """Files that the index names, and that are not there."""
    unreadable: tuple[str, ...] = ()
    """Files that are there, and that nobody can read or knows the origin of."""
    dropped: int = 0
    """Rows that belonged to what is lost."""
    kept: Path | None = None


def reindex(config: NodeConfig, progress: Progress) -> Report:
    """Make the index anew. The caller has the data folder for itself."""
    path, moment = index_of(config.node.data), f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    if rebuild.is_rebuilt(path):
        return Report(kept=rebuild.replace(path, moment))
    database = Database(rebuild.fresh(path))
    try:
        database.migrate()
        with database.read():
            rebuild.loosen()
            report = _Rebuilding(config, database, progress).run(path)
            rebuild.finish()
    finally:
        database.close()
    rebuild.rebuilt(path, database.path)
    return replace(report, kept=rebuild.replace(path, moment))


class _Rebuilding:
    """One run, from the first table to the last file."""

    def __init__(self, config: NodeConfig, database: Database, progress: Progress) -> None:
        self._node = Node(config, 0, Archive(config.node.data, "reindex"), database)
        self._progress = progress
        self._anew = False
        """Whether rows of the queue were lost: what has none may have been sent, or not."""
        self._adopted = self._routed = 0
        self._unreadable: list[str] = []
        self._restored: set[int] = set()

    def run(self, old: Path) -> Report:
        """Fill the new index."""
        tables = salvage.salvage(old, now(), lambda name: self._progress(f"reading {name}", 0, 0))
        known = generations.in_force()
        self._node = replace(self._node, generation=known.id if known else 0)
        self._anew = not tables or any(t.lost or t.partly for t in tables if t.table in ("referrals", "transfers"))
        rebuild.return_claims()
        rebuild.keep_word()
        files = self._files()
        for number, file in enumerate(files):
            self._progress("reading files", number, len(files))
            self._take(file)
        missing = self._miss(set(files))
        dropped = rebuild.drop_dangling()
        self._doubt()
        if self._anew or dropped:
            self._route()
        rebuild.keep_to_it()
        self._judge()
        self._hear(tables)
        counts = len(files), self._adopted, self._routed
        report = Report(tuple(tables), *counts, missing, tuple(self._unreadable), dropped)
        text = f"{report.files} files, {report.adopted} adopted, {report.routed} routed anew, {len(missing)} missing"
        audit.record(audit.Event(now(), "index rebuilt", text, generation=self._node.generation, alarm=True))
        return report

    def _files(self) -> list[str]:
        """All kept files in the order in which they came: names tell the time."""
        gone = set(space.discarded(-1))
        return [file for file in self._node.archive.kept_since(0) if file not in gone]

    def _take(self, file: str) -> None:
        """See that a file has its row."""
        row = rebuild.row_of(file)
        try:
            path = self._node.archive.path(file)
            meta, instance = part10.read(path), receive.as_received(path, self._node)
            if meta.origin is None:
                raise Unreadable("it does not say where it came from")
            size = path.stat().st_size - meta.offset
            if row is None:
                self._adopt(file, meta, instance)
            elif rebuild.fits(row, instance, size):
                attributes.complete(row["id"], instance)
                self._compare(row["id"], instance, meta.origin)
            else:
                self._mend(row, meta, instance)
        except (InstanceError, OSError) as error:
            self._unreadable.append(file)
            log.error("cannot be read file=%s: %s", file, error)
            if row:
                self._damaged(file, "unreadable")

    def _compare(self, instance: int, told: SopInstance, origin: Origin) -> None:
        """See anew whether an instance is of the patient of its study."""
        site = self._node.config.sites.get(origin.site)
        patients.compare(instance, patients.told(told, site.patient_id_issuer if site else ""))

    def _adopt(self, file: str, meta: part10.FileMeta, instance: SopInstance) -> None:
        """Record a file of which nothing is known, and refer it as its routes say."""
        assert meta.origin
        if meta.origin.site not in self._node.config.sites:
            raise Unreadable(f"its site {meta.origin.site} is not configured")
        stored, origin = self._node.archive.measure(file, meta.offset), meta.origin
        try:
            receive.record(stored, instance, origin, self._node, note=reject.read(instance, file, self._node))
        except AnotherVersion as known:
            found = receive.compare(known, instance, file, self._node)
            receive.record(stored, instance, origin, self._node, found)
        self._adopted += 1

    def _mend(self, row: Row, meta: part10.FileMeta, instance: SopInstance) -> None:
        """Record a file again whose row was not read whole, under the number that it had."""
        file, origin = row["file"], meta.origin
        assert origin
        stored = self._node.archive.measure(file, meta.offset)
        if row["sha256"] and row["sop_instance_uid"] == instance.sop_instance_uid and row["size"] != stored.size:
            self._damaged(file, "not as long as what was received")
            return
        site = self._node.config.sites.get(origin.site)
        issuer = site.patient_id_issuer if site else ""
        rebuild.take_out(row)
        study = rebuild.restore_study(row, instance, origin, issuer)
        self._restored |= {study} if study else set()
        recorded = self._record(row, stored, instance, origin, issuer)
        if recorded.kind is not Kind.DUPLICATE:
            rebuild.put_back(row, recorded)
            self._compare(row["id"], instance, origin)

    def _record(self, row: Row, stored: Stored, instance: SopInstance, origin: Origin, issuer: str) -> Recorded:
        kind = Kind(row["kind"]) if row["kind"] else None
        try:
            return index.record(stored, instance, origin, issuer, kind)
        except AnotherVersion as known:
            found = receive.compare(known, instance, stored.file, self._node)
            return index.record(stored, instance, origin, issuer, found.kind)

    def _route(self) -> None:
        """Queue what may never have been sent, for the partners that its study goes to."""
        for study, instances in groupby(rebuild.lacking(), key=lambda found: found[0]):
            values = {kept.id: kept.values for kept in index.of_study(study)}
            for _, instance, _ in instances:
                before = rebuild.transfers_of(instance)
                refer.route(instance, study, values[instance], self._node)
                self._routed += rebuild.transfers_of(instance) > before

    def _miss(self, files: set[str]) -> tuple[str, ...]:
        """Alarm of what the index names, and is not there; which files those are."""
        gone = [kept.file for kept in integrity.newest("", -1) if kept.file not in files]
        for file in gone:
            self._damaged(file, "missing")
        return tuple(gone)

    def _damaged(self, file: str, wrong: str) -> None:
        kept = integrity.named(file)
        if kept and integrity.damage(kept, wrong, now()):
            audit.record(alarm(kept, wrong, now(), self._node))

    def _doubt(self) -> None:
        """A study that was in doubt, and whose row is lost, is in doubt still: nobody knows what a person had said."""
        for study in self._restored & rebuild.undecided():
            refer.quarantine(study, _DOUBT, now(), self._node)
        for study in self._restored & rebuild.stopped(self._anew):
            refer.quarantine(study, _STOPPED, now(), self._node)

    def _judge(self) -> None:
        """Open and close the gates by what is known now, and judge whole studies again whose row is lost."""
        for study in rebuild.studies() if self._anew else ():
            gates.weigh_all(study)
        for study in filter(referrals.is_waiting, sorted(self._restored)):
            vet.vet(study, now(), self._node)

    def _hear(self, tables: Sequence[Salvaged]) -> None:
        """Write down again what patients have said of their consent; hold what may go against their word."""
        lost = sum(table.lost for table in tables if table.table == "consents")
        is_lost = lost > (testimony.restore(list(self._node.config.sites)) if lost else 0)
        held = testimony.hold(lambda *way: is_lost or (not tables and self._wants(*way)), _FORGOTTEN)
        for referral in held:
            refer.record(referral, "referral held", _FORGOTTEN, now(), self._node)
        if is_lost or held:
            text = f"what patients have said of their consent is lost: {len(held)} referrals are held"
            audit.record(audit.Event(now(), "consent forgotten", text, generation=self._node.generation, alarm=True))

    def _wants(self, study: int, partner: str, names: Sequence[str]) -> bool:
        ways = routing.ways(self._node.config, doubts.site_of(study), partner, names)
        return any(route.consent == "required" for route in ways)
