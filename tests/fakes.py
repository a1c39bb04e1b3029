"""What stands in for the world in tests of rules, store and operations: a partner, a clock, a real node in a folder.

Only the network is pretended. A `FakePartner` has one switch for each way in which a partner can fail, and remembers
all that it was sent; the index, the archive and the configuration are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicomnode.config import load
from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom import part10
from dicomnode.dicom.identifier import Identifier, Key
from dicomnode.dicom.part10 import Origin
from dicomnode.errors import (
    AssociationLost,
    ContextMissing,
    PartnerError,
    Rejected,
    RejectedForGood,
    Unreachable,
    Unreadable,
)
from dicomnode.operations import complete as completing
from dicomnode.operations import find as finding
from dicomnode.operations import receive as custody
from dicomnode.operations.ports import (
    Node,
    Opener,
    Originator,
    Outgoing,
    Reference,
    Report,
    Retrieved,
    Stopped,
    Suboperations,
    Waiting,
    ignored,
)
from dicomnode.rules.admission import Command, Refusal
from dicomnode.rules.matching import Model
from dicomnode.rules.negotiated import Features
from dicomnode.store.archive import Archive, Part, ulid
from dicomnode.store.database import Database
from dicomnode.store.index import Recorded
from tests.samples import Sample

SECOND = 1_000_000
START = 1_790_000_000 * SECOND
"""When a FakeClock begins: in September 2026, in µs."""

CONFIG = """
node: {ae_title: REFERNODE, aliases: [TO_GENERAL], data: ./data, limits: {retry_first: 30s, retry_most: 1h}}
sites:
  harbour: {sector: private, name: Harbour Imaging Centre, patient_id_issuer: HARBOUR}
  peak:    {sector: private, name: Peak Radiology}
  general: {sector: public, name: General Hospital, patient_id_issuer: HKID}
  island:  {sector: public, name: Island Hospital}
partners:
  CT1:      {site: harbour, address: 10.1.0.0/24, may: [store]}
  RAD_WS:   {site: harbour, host: 10.1.0.30, port: 11112, may: [find, move]}
  PEAK_CT:  {site: peak, address: 10.2.0.0/24, may: [store]}
  PEAK_WS:  {site: peak, host: 10.2.0.30, port: 11112, may: [find, move]}
  PUBPACS:  {site: general, host: 10.9.0.5, port: 104, may: [find, move]}
  PUB_WS:   {site: general, host: 10.9.0.6, port: 104, may: [find, move]}
  ISLPACS:  {site: island, host: 10.8.0.5, port: 104, may: [find]}
routes:
  - {name: referrals, from: [harbour], when: {called: TO_GENERAL}, to: [PUBPACS], wait: 60s}
"""
"""Two imaging centres, two hospitals: what harbour sends to TO_GENERAL goes to the General Hospital's PACS."""


class FakeClock:
    """A clock that moves when it is told to; `clock()` is µs since the epoch."""

    def __init__(self, at: int = START) -> None:
        self.at = at

    def __call__(self) -> int:
        return self.at

    def advance(self, seconds: float) -> int:
        """Let time pass; the new time."""
        self.at += round(seconds * SECOND)
        return self.at


@dataclass(frozen=True, slots=True)
class Sent:
    """One instance as a partner got it: on which association (from 0), under what name, and the status it answered."""

    association: int
    partner: str
    sop_instance_uid: str
    dataset: bytes = field(repr=False)
    originator: Originator | None
    status: int | None


@dataclass
class FakePartner:
    """A partner, or all of them: implements ports.Peer and ports.Link. Each switch is one way to fail."""

    unreachable: bool = False
    """Nobody answers the dial."""
    rejected: bool = False
    """Every association is rejected."""
    barred: bool = False
    """Every association is rejected, for good."""
    refused: set[tuple[str, str]] = field(default_factory=set)
    """(SOP class, transfer syntax) pairs that get no presentation context."""
    status: int = 0x0000
    """What every C-STORE is answered with …"""
    statuses: dict[str, int] = field(default_factory=dict)
    """… unless the SOP Instance UID has an answer of its own."""
    lose_at: int = 0
    """The n-th instance of an association is taken, and the association lost before the answer; 0: never."""
    stray_at: int = 0
    """The n-th instance of an association is answered with the response to another request; 0: never."""
    lose: set[str] = field(default_factory=set)
    """SOP Instance UIDs at which the partner always aborts."""
    on_send: Callable[[Outgoing], None] = lambda _: None
    """Called with every instance before it is answered."""
    has_not: set[str] = field(default_factory=set)
    """Means of proof ("commitment", "find", "count") for which it gives no presentation context …"""
    declines: set[str] = field(default_factory=set)
    """… or which it answers with a failure."""
    lacks: set[str] = field(default_factory=set)
    """SOP Instance UIDs that it says it has not, whatever it answered when they were stored."""
    counts: bool = True
    """Whether an answer to a query has the number of instances in it."""
    commits: Literal["at once", "late", "never"] = "at once"
    """Whether a commitment result comes on the same association, later (it is in `late` then), or not at all."""
    other_transaction: bool = False
    """A commitment result names another transaction."""
    failure: int = 0x0112
    """The Failure Reason for what it lacks."""
    on_ask: Callable[[str], None] = lambda _: None
    """Called with every question for proof, and its name, before it is answered."""
    scheduled: list[Identifier] = field(default_factory=list)
    """Its worklist."""
    rows: Callable[[Identifier], list[Identifier]] = lambda _: []
    """What it answers to each question …"""
    has: list[Sample] = field(default_factory=list)
    """… and what it sends back when it is asked by C-GET, whatever it is asked for."""
    got: list[tuple[int, str]] = field(default_factory=list)
    """Status and comment that it was answered for each of these."""
    late: list[Report] = field(default_factory=list)
    asked: list[tuple[str, Partner, tuple[str, ...]]] = field(default_factory=list)
    """Each question for proof: its name, at which AE, and the UIDs that were named."""
    reports: list[Report] = field(default_factory=list)
    """Commitment results that it was sent."""
    sent: list[Sent] = field(default_factory=list)
    contexts: list[tuple[tuple[str, str], ...]] = field(default_factory=list)
    """What each association that was asked for proposed, those that failed included."""
    released: int = 0
    aborted: int = 0

    @contextmanager
    def associate(self, partner: Partner, contexts: Sequence[tuple[str, str]]) -> Iterator[_FakeLink]:
        """An association, released at the end, aborted on an error."""
        self.contexts.append(tuple(contexts))
        if self.unreachable:
            raise Unreachable("no connection: [Errno 111] Connection refused")
        if self.rejected:
            raise Rejected("rejected: calling AE title not recognized")
        if self.barred:
            raise RejectedForGood("rejected-permanent: calling AE title not recognized")
        try:
            yield _FakeLink(self, partner, len(self.contexts) - 1)
        except BaseException:
            self.aborted += 1
            raise
        self.released += 1

    def echo(self, partner: Partner) -> None:
        """C-ECHO."""
        with self.associate(partner, []):
            pass

    # -- proof --

    def instances(self, partner: Partner, study_instance_uid: str) -> frozenset[str]:
        """C-FIND of the SOP Instance UIDs: what it was sent and does not lack."""
        self._asked("find", partner, study_instance_uid)
        return frozenset(self.kept - self.lacks)

    def count(self, partner: Partner, study_instance_uid: str) -> int | None:
        """C-FIND of their number."""
        self._asked("count", partner, study_instance_uid)
        return len(self.kept - self.lacks) if self.counts else None

    def commit(
        self, partner: Partner, transaction_uid: str, references: Sequence[Reference], over: Stopped
    ) -> Report | None:
        """N-ACTION, and what comes of it."""
        self._asked("commitment", partner, *(each.sop_instance_uid for each in references))
        has = self.kept - self.lacks
        kept = [each for each in references if each.sop_instance_uid in has]
        failed = [(each, self.failure) for each in references if each.sop_instance_uid not in has]
        report = Report("1.2.3" if self.other_transaction else transaction_uid, tuple(kept), tuple(failed))
        if self.commits == "late":
            self.late.append(report)
        return report if self.commits == "at once" else None

    def report(self, partner: Partner, report: Report) -> None:
        """N-EVENT-REPORT."""
        if self.unreachable:
            raise Unreachable("no connection: [Errno 111] Connection refused")
        if "commitment" in self.has_not:
            raise ContextMissing(f"{partner.name} takes no commitment results")
        self.reports.append(report)

    # -- query and retrieve --

    def find(
        self, partner: Partner, question: Identifier, stopped: Stopped, unsupported: Callable[[], None] = ignored
    ) -> Iterator[Identifier]:
        """C-FIND."""
        self._asked("find", partner, question.level)
        yield from self.rows(question)

    def worklist(self, partner: Partner, since: str, stopped: Stopped) -> Iterator[Identifier]:
        """C-FIND of the Modality Worklist."""
        self._asked("worklist", partner, since)
        yield from self.scheduled

    def move(self, partner: Partner, wanted: Identifier, destination: str, waiting: Waiting) -> Retrieved:
        """C-MOVE, which always succeeds."""
        self._asked("move", partner, *(key.value for key in wanted.keys), destination)
        return Retrieved(0x0000, "", Suboperations(None, len(self.has), 0, 0), ())

    def get(
        self, partner: Partner, wanted: Identifier, pairs: Sequence[tuple[str, str]], opener: Opener, waiting: Waiting
    ) -> Retrieved:
        """C-GET: what it has, each in two fragments; without a presentation context it fails."""
        self._asked("get", partner, *(key.value for key in wanted.keys))
        self.contexts.append(tuple(pairs))
        failed = [sample.sop_instance for sample in self.has if not self._gives(sample, pairs, opener)]
        counts = Suboperations(None, len(self.has) - len(failed), len(failed), 0)
        return Retrieved(0xB000 if failed else 0x0000, "", counts, tuple(failed))

    def _gives(self, sample: Sample, pairs: Sequence[tuple[str, str]], opener: Opener) -> bool:
        if (sample.sop_class, sample.transfer_syntax) not in pairs:
            return False
        arriving = opener(command_of(sample), sample.transfer_syntax)
        middle = len(sample.dataset) // 2
        for fragment in (sample.dataset[:middle], sample.dataset[middle:]):
            arriving.write(fragment)
        self.got.append(arriving.keep())
        arriving.discard()
        return self.got[-1][0] == 0

    def _asked(self, name: str, partner: Partner, *uids: str) -> None:
        self.asked.append((name, partner, uids))
        self.on_ask(name)
        if self.unreachable:
            raise Unreachable("no connection: [Errno 111] Connection refused")
        if name in self.has_not:
            raise ContextMissing(f"{partner.name} accepts no context for {name}")
        if name in self.declines:
            raise PartnerError(f"{partner.name} answered with 0110H")

    @property
    def kept(self) -> set[str]:
        """The SOP Instance UIDs that it has answered for with success or a warning."""
        return {each.sop_instance_uid for each in self.sent if each.status in (0x0000, 0xB000, 0xB006, 0xB007)}

    @property
    def questions(self) -> list[str]:
        """The names of the questions for proof, in their order."""
        return [name for name, _, _ in self.asked]

    @property
    def uids(self) -> list[str]:
        """The SOP Instance UIDs that were sent, in their order."""
        return [each.sop_instance_uid for each in self.sent]


class _FakeLink:
    def __init__(self, fake: FakePartner, partner: Partner, number: int) -> None:
        self._fake, self._partner, self._number, self._count = fake, partner, number, 0

    def send(self, instance: Outgoing, originator: Originator | None = None, following: Outgoing | None = None) -> int:
        fake, uid = self._fake, instance.sop_instance_uid
        if instance.context in fake.refused:
            raise ContextMissing(f"{self._partner.name} does not accept {instance.context}")
        try:
            raw = instance.path.read_bytes()
        except OSError as error:
            raise Unreadable(f"our own file cannot be read: {error.strerror}") from error
        self._count += 1
        fake.on_send(instance)
        lost = uid in fake.lose or self._count in (fake.lose_at, fake.stray_at)
        status = None if lost else fake.statuses.get(uid, fake.status)
        dataset = raw[part10.parse(raw).offset :]
        fake.sent.append(Sent(self._number, self._partner.name, uid, dataset, originator, status))
        if status is None:
            stray = self._count == fake.stray_at
            raise AssociationLost("the response answers another request" if stray else "the association was aborted")
        return status


# -- a real node -----------------------------------------------------------------------------------------------


def configuration(text: str, folder: Path) -> NodeConfig:
    """A configuration text as `load` reads it; its data folder is `folder`/data."""
    return load.parse(text, folder / "dicomnode.yaml")


def make_node(folder: Path, config: str = CONFIG, *, clock: Callable[[], int] | None = None, worker: str = "") -> Node:
    """A node in `folder`: real archive, real and migrated index, and a FakeClock unless another is given.

    One at a time in a process (the index is). End it with `node.database.close()`.
    """
    parsed = configuration(config, folder)
    archive = Archive(parsed.node.data, worker or ulid(), parsed.node.watermarks.instances)
    archive.prepare()
    database = Database(parsed.node.data / "index.sqlite", volume=archive.volume)
    database.migrate()
    return Node(parsed, 1, archive, database, clock or FakeClock())


def origin(node: Node, partner: str = "CT1", called: str = "TO_GENERAL") -> Origin:
    """How an instance that `partner` sends just now comes here."""
    known = node.config.partners[partner]
    return Origin(known.name, known.site, node.clock(), known.ae_title, called)


def part_of(node: Node, sample: Sample, came: Origin, *, cap: int = 1 << 30) -> Part:
    """An instance as it is when its last byte has arrived: a part file in `incoming`."""
    header = part10.encode(sample.sop_class, sample.sop_instance, sample.transfer_syntax, came)
    part = node.archive.part(header, cap)
    part.write(sample.dataset)
    return part


def command_of(sample: Sample) -> Command:
    """The C-STORE-RQ that goes with an instance."""
    return Command(sample.sop_class, sample.sop_instance, sample.sop_class)


def receive(node: Node, sample: Sample, partner: str = "CT1", called: str = "TO_GENERAL") -> Recorded:
    """Let `partner` store an instance here."""
    came = origin(node, partner, called)
    return custody.receive(part_of(node, sample, came), command_of(sample), came, node)


def receive_all(
    node: Node, samples: Iterable[Sample], partner: str = "CT1", called: str = "TO_GENERAL"
) -> list[Recorded]:
    """Let `partner` store instances here."""
    return [receive(node, sample, partner, called) for sample in samples]


def complete(node: Node, seconds: float = 61.0) -> int:
    """Let the quiet time pass; how many referrals became complete."""
    assert isinstance(node.clock, FakeClock)
    node.clock.advance(seconds)
    return completing.complete(node, FakeCallers())


def files(node: Node) -> set[str]:
    """Every file in the archive, parts included, relative to the data folder."""
    found = [path for top in ("incoming", "instances") for path in (node.archive.root / top).rglob("*")]
    return {str(path.relative_to(node.archive.root)) for path in found if path.is_file()}


AskedItem = dict[str, str]


def found(identifier: Identifier, caller: Partner, node: Node) -> int:
    """How many answers a Study Root query gets."""
    question = finding.Question(identifier, Model.STUDY_ROOT, Features(), implicit=True)
    return sum(len(page) for page in finding.find(question, caller, node, lambda: False).pages)


def asked(level: str, character_set: str = "", **keys: str | list[AskedItem]) -> Identifier:
    """A query's Identifier by keywords; a sequence is a list of its items."""
    return Identifier(level, tuple(asked_key(*each) for each in keys.items()), character_set)


def asked_key(keyword: str, value: str | list[AskedItem]) -> Key:
    """One of its keys."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    if isinstance(value, str):
        return Key(tag, dictionary_VR(tag), value)
    return Key(tag, "SQ", "", tuple(tuple(asked_key(*part) for part in item.items()) for item in value))


class FakeCallers:
    """Who has an association open with the node: nobody, unless `calling` names them."""

    def __init__(self, *calling: str) -> None:
        self.calling = set(calling)

    def is_calling(self, partner: str) -> bool:
        return partner in self.calling


class FakeSlots:
    """A scoreboard of one process: whoever asks gets a slot, unless `refusal` says why not; what was asked is kept."""

    def __init__(self, refusal: Refusal | None = None) -> None:
        self.refusal = refusal
        self.open: list[tuple[str, str]] = []
        self.touches = self.connections = 0
        self.is_burdened = self.is_accepting = False

    def accepts(self, does: bool) -> None:
        self.is_accepting = does

    def arrived(self) -> None:
        self.connections += 1

    def gone(self) -> None:
        self.connections -= 1

    def take(self, partner: Partner, address: str, light: bool) -> Refusal | None:
        if self.refusal is None:
            self.open.append((partner.name, address))
        return self.refusal

    def leave(self, partner: Partner, address: str) -> None:
        self.open.remove((partner.name, address))

    def touched(self) -> None:
        self.touches += 1
