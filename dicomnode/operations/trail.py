"""What the audit trail is told of queries, and of instances that come and go (PS3.15 A.5.3).

Of what goes to a partner it is told in the commits that claim and end a batch. Of queries, of retrievals and of what
came it is told within a second, many entries in one commit, without anybody waiting (store/later.py): nothing is lost
at an end in order; a kill loses the last second's. What came on an association is told when that ends, and once a
minute before: what a kill loses of it the index knows, each instance, when it came and from whom. What failed is an
entry of its own (A.5.2). The text never names a patient; an Identifier may, and its beginning is kept as it was asked.
"""

from __future__ import annotations

import hashlib
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from dicomnode.config.model import Partner
from dicomnode.operations.ports import Node
from dicomnode.rules.auditing import MINOR, SERIOUS
from dicomnode.store import audit, doubts, space
from dicomnode.store.audit import Event
from dicomnode.store.index import Kind, Recorded
from dicomnode.store.queue import Batch
from dicomnode.store.search import Located

_OFTEN = 60.0
_LONGEST = 1 << 11
"""Bytes of an Identifier that are kept: of a longer one (it lists many UIDs) its beginning, its length and its SHA-256.
Whoever may ask writes as much for good with each question."""
_REASONS = 5
"""Of more, why else an instance was refused is not told: each may name one of its own."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was asked: of which SOP class, and its Identifier in a transfer syntax."""

    sop_class_uid: str
    transfer_syntax_uid: str
    identifier: bytes


def query(asked: Asked, caller: Partner, address: str, status: int, node: Node) -> None:
    """A partner has asked us something, and was answered with a final status."""
    event = Event(
        node.clock(),
        "query answered",
        f"{caller.name} was answered {status:04X}H{_beyond(asked.identifier)}",
        caller.name,
        who=caller.name,
        address=address,
        generation=node.generation,
        outcome=SERIOUS if status not in (0x0000, 0xFE00) else 0,
        classes=((asked.sop_class_uid, 0),),
        query=_kept(asked),
    )
    node.database.write_later(lambda: audit.record(event))


def _kept(asked: Asked) -> str:
    return f"{asked.transfer_syntax_uid} {b64encode(asked.identifier[:_LONGEST]).decode()}"


def _beyond(identifier: bytes) -> str:
    """What tells of an Identifier that is not kept whole."""
    length = len(identifier)
    if length <= _LONGEST:
        return ""
    digest = hashlib.sha256(identifier).hexdigest()
    return f"; of its {length} bytes, SHA-256 {digest}, the first {_LONGEST} are kept"


def counted(classes: Iterable[str] | Counter[str]) -> tuple[tuple[str, int], ...]:
    """How many instances of which SOP class: of each instance's, or of those that are counted already."""
    return tuple(sorted(Counter(classes).items()))


class Received:
    """What one association has brought since that was told last. Is used by its thread alone."""

    def __init__(self, partner: Partner, address: str, node: Node) -> None:
        self._partner, self._address, self._node = partner, address, node
        self._kept: dict[tuple[int, bool], Counter[str]] = {}
        self._refused = Counter[str]()
        self._since = 0.0

    def __repr__(self) -> str:
        return f"Received(from {self._partner.name}, {len(self._kept)} studies)"

    def count(self, recorded: Recorded, sop_class_uid: str) -> None:
        """An instance is kept, or was here already."""
        if recorded.study is not None:
            key = recorded.study, recorded.kind is Kind.DUPLICATE
            self._kept.setdefault(key, Counter())[sop_class_uid] += 1
        self._tell_in_time()

    def refuse(self, why: str) -> None:
        """An instance was refused."""
        if why in self._refused or len(self._refused) < _REASONS:
            self._refused[why] += 1
        self._tell_in_time()

    def _tell_in_time(self) -> None:
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since > _OFTEN:
            self.tell()

    def tell(self) -> None:
        """Have it written down."""
        kept, refused, at = self._kept, self._refused, self._node.clock()
        self._kept, self._refused, self._since = {}, Counter(), 0.0
        if kept or refused:
            self._node.database.write_later(lambda: self._write(kept, refused, at))

    def _write(self, kept: dict[tuple[int, bool], Counter[str]], refused: Counter[str], at: int) -> None:
        for (study, is_known), classes in kept.items():
            what = "known already" if is_known else "new"
            kind = "instances received again" if is_known else "instances received"
            audit.record(self._event(at, kind, f"{classes.total()} instances, {what}", doubts.uid_of(study), classes))
        for why, number in refused.items():
            audit.record(self._event(at, "instances refused", f"{number} instances: {why}", "", Counter()))

    def _event(self, at: int, kind: str, text: str, study: str, classes: Counter[str]) -> Event:
        name = self._partner.name
        return Event(
            *(at, kind, text, name, study),
            generation=self._node.generation,
            who=name,
            address=self._address,
            classes=counted(classes),
        )


# -- what goes: inside the commit that it tells of -------------------------------------------------------------


def begins(batch: Batch, at: int, node: Node) -> None:
    """A batch is about to be sent. Inside `Database.write`."""
    classes = counted(each.sop_class_uid for each in batch.transfers)
    _sent(batch, "sending begins", f"{len(batch.transfers)} instances are to be sent", classes, at, node)


def ended(batch: Batch, delivered: Counter[str], missing: int, why: str, at: int, node: Node) -> None:
    """A batch has ended: so many of each SOP class were delivered, and so many were not. Inside `Database.write`."""
    if delivered:
        _sent(batch, "instances sent", f"{delivered.total()} instances were sent", counted(delivered), at, node)
    if missing:
        _sent(batch, "instances not sent", f"{missing} instances were not sent: {why}", (), at, node)


def _sent(
    batch: Batch, kind: str, text: str, classes: tuple[tuple[str, int], ...], at: int, node: Node
) -> None:
    study = doubts.uid_of(batch.study)
    of = {"referral": batch.referral, "generation": node.generation, "classes": classes}
    audit.record(Event(at, kind, text, batch.partner, study, **of))  # type: ignore[arg-type]


# -- what is fetched, or moved at a partner's word -------------------------------------------------------------


def retrieval(instances: Iterable[Located], destination: Partner, caller: str, node: Node, *, begins: bool) -> None:
    """Instances are to go where a caller had them sent, or have gone there: an entry for each study."""
    studies: dict[str, Counter[str]] = {}
    for each in instances:
        studies.setdefault(each.study_instance_uid, Counter())[each.sop_class_uid] += 1
    at, kind = node.clock(), "study retrieved" if begins else "instances sent"
    for study, classes in studies.items():
        text = f"{classes.total()} instances {'are to be' if begins else 'were'} sent, as {caller} asked"
        event = Event(
            *(at, kind, text, destination.name, study),
            generation=node.generation,
            who=caller,
            classes=counted(classes),
        )
        node.database.write_later(partial(audit.record, event))


# -- the node itself: inside the commit that it tells of -------------------------------------------------------

_RUNS = "node runs"


def started(generation: int, at: int) -> None:
    """The node begins to serve; whether it had ended in order the last time. Inside `Database.write`."""
    was_killed = bool(space.mark(_RUNS))
    space.put(_RUNS, 1)
    text = "it had not ended in order: it was killed, or the machine was" if was_killed else "it had ended in order"
    outcome = MINOR if was_killed else 0
    audit.record(Event(at, "node started", text, generation=generation, outcome=outcome))


def stopped(generation: int, at: int) -> None:
    """The node has ended in order. Inside `Database.write`."""
    space.put(_RUNS, 0)
    audit.record(Event(at, "node stopped", "in order", generation=generation))
