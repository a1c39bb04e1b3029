"""What every story is handed: the node as this process has it, a partner to talk to, and what all processes count.

`Node` is built once a process and passed; nothing of it changes while the process lives. `Peer` is implemented by
net/requestor.py, and by a fake with one switch for each failure in the tests; `Slots` and `Callers` are implemented by
run/scoreboard.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom.identifier import Identifier
from dicomnode.rules.admission import Command, Refusal
from dicomnode.rules.coercion import Coercion
from dicomnode.store.archive import Archive
from dicomnode.store.database import Database

Stopped = Callable[[], bool]
"""Whether what is being done is to end now."""


def ignored() -> None:
    """Nothing: for whom what he could be told makes no difference."""


def now() -> int:
    """The time, in µs since the epoch, UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Node:
    """One process's view of the node: what is configured (and which generation of it), where things are, the time."""

    config: NodeConfig
    generation: int
    archive: Archive
    database: Database
    clock: Callable[[], int] = now

    @property
    def worker(self) -> str:
        """The name under which this process claims work."""
        return self.archive.worker


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One instance that is sent: its UIDs, how it is stored, and the Part 10 file whose dataset goes out.

    `size` (bytes), `sha256` (hex) and `crc32` (where it is known) are of the dataset as it was received: what is not
    that is not sent. `coercion` is what its copy is to have; None: it is what was received.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    path: Path
    size: int
    sha256: str
    crc32: int | None = None
    coercion: Coercion | None = None

    @property
    def context(self) -> tuple[str, str]:
        """SOP class and transfer syntax, as it is stored."""
        return self.sop_class_uid, self.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class Originator:
    """On whose C-MOVE an instance is sent (PS3.7 9.1.1.1): AE title, Message ID, and the priority that was asked."""

    ae_title: str
    message_id: int
    priority: int


@dataclass(frozen=True, slots=True)
class Reference:
    """One instance, as Storage Commitment names it (PS3.4 J.3.2.1)."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a Storage Commitment transaction (PS3.4 J.3.3): what is committed to, and what is not and why."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...] = ()
    """Each with its Failure Reason (0008,1197), such as 0112H: no such object instance."""


@dataclass(frozen=True, slots=True)
class Suboperations:
    """How many sub-operations of a C-MOVE or C-GET remain, and how the others went; None where that is not said."""

    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None


@dataclass(frozen=True, slots=True)
class Retrieved:
    """How a C-MOVE or C-GET ended: its final status, with all that the partner says of it."""

    status: int
    comment: str
    counts: Suboperations
    failed: tuple[str, ...]
    """The Failed SOP Instance UID List (0008,0058), as far as it has UIDs."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Who waits for a C-MOVE or C-GET: whether it is to be cancelled, who is told how far it is, what has come of it.

    `arrived` counts what came elsewhere: more of it is a sign of life of a partner that says nothing.
    """

    stopped: Stopped
    told: Callable[[Suboperations], None]
    arrived: Callable[[], int] = lambda: 0


class Arriving(Protocol):
    """One instance that a C-GET brings. Nothing raises but for our own faults."""

    def write(self, fragment: bytes) -> None:
        """Take the next bytes of its dataset."""

    def keep(self) -> tuple[int, str]:
        """All has come: the status and the Error Comment that it is answered with; 0000H once it is durable."""

    def discard(self) -> None:
        """Forget it, unless it is kept."""


Opener = Callable[[Command, str], Arriving]
"""Takes an instance in: what its C-STORE-RQ says, and the transfer syntax of the context it comes on."""


class Slots(Protocol):
    """The associations that are open with the whole node, whichever process has accepted them.

    And which of these processes has more connections than another: it leaves the next one to that.
    """

    @property
    def is_burdened(self) -> bool:
        """Whether another process that accepts has fewer connections."""

    def accepts(self, does: bool) -> None:
        """This process begins to accept connections, or accepts no more."""

    def arrived(self) -> None:
        """A connection was accepted."""

    def gone(self) -> None:
        """A connection that was accepted is over."""

    def take(self, partner: Partner, address: str, light: bool) -> Refusal | None:
        """Count one more, or why there may not be one. `light`: it proposes no storage context."""

    def leave(self, partner: Partner, address: str) -> None:
        """One that was taken is over."""

    def touched(self) -> None:
        """A connection came and went, and said nothing: a health check."""


@dataclass(frozen=True, slots=True)
class AuditMessage:
    """One audit message on its way to a collector: its time (xsd:dateTime), severity as syslog has it, and its XML."""

    at: str
    severity: int
    xml: bytes


class Collector(Protocol):
    """Who keeps audit messages for the whole hospital."""

    def deliver(self, messages: Sequence[AuditMessage]) -> None:
        """Have all of them read, in order. Raises PartnerError where some, or all, may not have been."""


class Callers(Protocol):
    """Who has an association open with the node, whichever process has accepted it."""

    def is_calling(self, partner: str) -> bool:
        """Whether a partner has, by its name."""


class Link(Protocol):
    """An association with a partner."""

    def send(self, instance: Outgoing, originator: Originator | None = None, following: Outgoing | None = None) -> int:
        """C-STORE one instance; the status of the matching response. `following` is read meanwhile: it goes next.

        Raises ContextMissing (this instance cannot go on this association; others can) or AssociationLost (no matching
        response: the outcome is unknown, and the association is over).
        """


class Peer(Protocol):
    """A partner, reachable."""

    def associate(self, partner: Partner, contexts: Sequence[tuple[str, str]]) -> AbstractContextManager[Link]:
        """An association that proposes these (SOP class, transfer syntax) pairs, a group of rules/proposals; released.

        Raises Unreachable or Rejected on entry.
        """

    def echo(self, partner: Partner) -> None:
        """C-ECHO; raises PartnerError with the reason when it does not succeed."""

    def instances(self, partner: Partner, study_instance_uid: str) -> frozenset[str]:
        """C-FIND (Study Root): the SOP Instance UIDs that a partner says it has of a study.

        Raises PartnerError where it cannot be asked or does not answer with success; ContextMissing where it takes no
        queries, or not at this level.
        """

    def count(self, partner: Partner, study_instance_uid: str) -> int | None:
        """C-FIND: Number of Study Related Instances (0020,1208); 0 where it has no such study, None where it does not
        say. Raises as `instances`.
        """

    def commit(
        self, partner: Partner, transaction_uid: str, references: Sequence[Reference], over: Stopped
    ) -> Report | None:
        """N-ACTION: ask for Storage Commitment; the result where it comes on the same association within a moment.

        None: the request was taken, and the result is to come on another association, or has: `over` says so. Raises
        PartnerError where it was not taken; ContextMissing where the partner has no Storage Commitment.
        """

    def report(self, partner: Partner, report: Report) -> None:
        """N-EVENT-REPORT: tell a partner the result of the commitment that it asked for, on a new association of ours.

        Raises PartnerError unless it answered with success.
        """

    def find(
        self, partner: Partner, question: Identifier, stopped: Stopped, unsupported: Callable[[], None] = ignored
    ) -> Iterator[Identifier]:
        """C-FIND: each answer as it comes, decoded, and not to be trusted for more than text that can be printed.

        In the Study Root model, and in the Patient Root at PATIENT level. Once `stopped`, it is cancelled.
        `unsupported` is called where the partner says that it does not support every key: such a key restricts nothing.
        Raises as `instances`, where the final status is no success, too.
        """

    def worklist(self, partner: Partner, since: str, stopped: Stopped) -> Iterator[Identifier]:
        """C-FIND (Modality Worklist): each step that is scheduled from a day on (YYYYMMDD), decoded as by `find`.

        Raises as `find`; PartnerError, too, where there are more than anybody has.
        """

    def move(self, partner: Partner, wanted: Identifier, destination: str, waiting: Waiting) -> Retrieved:
        """C-MOVE (Study Root): have a partner send to an AE title what its unique keys name, whatever comes of it.

        Raises PartnerError where there is no final response; ContextMissing where the partner has no C-MOVE.
        """

    def get(
        self, partner: Partner, wanted: Identifier, pairs: Sequence[tuple[str, str]], opener: Opener, waiting: Waiting
    ) -> Retrieved:
        """C-GET (Study Root): take what the unique keys name, in as many (SOP class, transfer syntax) pairs as 127.

        Raises as `move`.
        """
