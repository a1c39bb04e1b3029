"""What came of the sub-operations of a C-MOVE or C-GET: told to who asked, and written down.

Where a study left its site, every result is in the ledger of the referral that it joined. What fails is not queued; an
operator reads why in the log and in the audit trail, each reason once. A gate or a lane that closes meanwhile, or a
doubt about the study, is seen before its next instance goes: `closed` is why then, and nothing more goes. What a person
says of one instance is seen before that one goes.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dicomnode.errors import ContextMissing, InstanceError, NotCoerced
from dicomnode.operations import coerce, refer, trail
from dicomnode.operations.ports import Link, Node, Originator, Outgoing
from dicomnode.operations.retrieve import QUARANTINED, Plan, closed
from dicomnode.rules import outcome
from dicomnode.rules.coercion import Coercion
from dicomnode.rules.outcome import Delivered
from dicomnode.store import audit, doubts, gates, queue
from dicomnode.store.queue import Result, State
from dicomnode.store.search import Located

log = logging.getLogger(__name__)

_AFRESH = 1.0
"""Seconds for which what was seen of a study holds, while instances of it go."""
_PAGE = 500
_REASONS = 20
"""Of more, why else something failed is not told: each may name a file of its own."""


@dataclass(frozen=True, slots=True)
class SubOperation:
    """What came of one C-STORE sub-operation (PS3.4 C.4.2.2): done, done with a warning, or failed and why."""

    sop_instance_uid: str
    completed: bool
    warning: bool = False
    reason: str = ""


class Account:
    """The results of one plan. What writes and looks may be called from any thread; `count` and `close` from one."""

    def __init__(self, plan: Plan, node: Node) -> None:
        self.plan, self.node = plan, node
        self.closed = ""
        self._looked: dict[int, float] = {}
        self._failed = Counter[str]()
        self._completed = set[str]()
        self._coercions: dict[int, Coercion | None] = {}

    def __repr__(self) -> str:
        return f"Account({self.plan.destination.display}, {self._failed.total()} failed)"

    def withheld(self) -> Iterator[SubOperation]:
        """The results of what the plan keeps back; it was told when that was decided."""
        for each in self.plan.instances:
            if why := self.plan.withheld.get(each.instance):
                yield SubOperation(each.sop_instance_uid, completed=False, reason=why)

    def may_go(self, located: Located) -> bool:
        """Whether an instance may go still; `closed` says why it may not."""
        now = time.monotonic()
        if not self.closed and now - self._looked.get(located.study, -_AFRESH) >= _AFRESH:
            self._looked[located.study] = now
            with self.node.database.read():
                self.closed = self._why_closed(located) or self.closed
        return not self.closed

    def outgoing(self, located: Located) -> Outgoing:
        """An instance as it is sent. NotCoerced: it cannot be made what the destination is to have."""
        uids = located.sop_class_uid, located.sop_instance_uid, located.transfer_syntax_uid
        path, coercion = self.node.archive.path(located.file), self._coercion(located)
        return Outgoing(*uids, path, located.size, located.sha256, located.crc32, coercion)

    def _coercion(self, located: Located) -> Coercion | None:
        """What its copy is to have: what stays within its site is what was received."""
        if not self.plan.crosses(located):
            return None
        if located.study not in self._coercions:
            self._coercions.setdefault(located.study, self._decided(located.study))
        return self._coercions[located.study]

    def _decided(self, study: int) -> Coercion | None:
        node, to, referral = self.node, self.plan.destination, self.plan.referrals.get(study)
        if referral is not None:
            return node.database.write(lambda: coerce.of_referral(referral, study, to, node))
        with node.database.read():
            return coerce.of_study(study, to, node)

    def send(
        self, located: Located, following: Located | None, link: Link, originator: Originator | None = None
    ) -> SubOperation:
        """Send one instance, for what comes of it. Raises PartnerError where nothing more can go on the association."""
        if why := self._kept_back(located):
            return next(self.failed([located], why))
        try:
            outgoing, after = self.outgoing(located), self._after(following)
            return self._answered(located, link.send(outgoing, originator, after))
        except (ContextMissing, InstanceError) as error:  # this one cannot go; the others can
            return next(self.failed([located], str(error)))

    def _after(self, following: Located | None) -> Outgoing | None:
        """What is read meanwhile; None where that is nothing."""
        with suppress(NotCoerced):
            return self.outgoing(following) if following else None
        return None

    def _kept_back(self, located: Located) -> str:
        """Why it may not cross after all: what a person has said of this one instance since the plan was made."""
        if not self.plan.crosses(located):
            return ""
        destination, config = self.plan.destination, self.node.config
        with self.node.database.read():
            said = gates.withheld([located.instance], destination.name, config.partners_of(destination.site))
        return said.get(located.instance, "")

    def _answered(self, located: Located, status: int) -> SubOperation:
        """The result where the C-STORE was answered."""
        result = outcome.of_status(status, 0)
        completed = isinstance(result, Delivered)
        line = Result(0, State.DELIVERED if completed else State.DROPPED, self.node.clock(), status, result.reason)
        self._write([located], line)
        reason = "" if completed else result.reason
        return SubOperation(located.sop_instance_uid, completed, completed and status != 0, reason)

    def failed(self, left: Sequence[Located], why: str) -> Iterator[SubOperation]:
        """The results of instances that could not be sent."""
        for start in range(0, len(left), _PAGE):
            page = left[start : start + _PAGE]
            self._write(page, Result(0, State.DROPPED, self.node.clock(), None, why))
            yield from (SubOperation(each.sop_instance_uid, completed=False, reason=why) for each in page)

    def count(self, done: SubOperation) -> None:
        """Remember what was sent, and why something failed."""
        if done.completed:
            self._completed.add(done.sop_instance_uid)
        if not done.completed and (done.reason in self._failed or len(self._failed) < _REASONS):
            self._failed[done.reason] += 1

    def close(self) -> None:
        """There are no more results: tell the operator what failed, and see whether the referrals were sent."""
        for why, number in self._failed.items():
            log.warning("not retrieved to=%s instances=%d: %s", self.plan.destination.display, number, why)
        if self._failed or self.plan.referrals:
            self.node.database.write(self._settle)
        sent = [each for each in self.plan.going if each.sop_instance_uid in self._completed]
        trail.retrieval(sent, self.plan.destination, self.plan.caller, self.node, begins=False)

    # -- inside the database -----------------------------------------------------------------------------------

    def _write(self, done: Sequence[Located], line: Result) -> None:
        ledger = [(self.plan.referrals[each.study], each) for each in done if each.study in self.plan.referrals]
        if ledger:
            self.closed = self.node.database.write(lambda: self._written(ledger, line)) or self.closed

    def _written(self, ledger: Sequence[tuple[int, Located]], line: Result) -> str:
        """Write down results, and see why no more of these studies may cross; '' where more may."""
        partner = self.plan.destination.name
        for referral, located in ledger:
            if not queue.moved(referral, partner, located.instance, line):
                text = f"{located.sop_instance_uid} was on its way to {partner} when a person held or dropped it"
                refer.record(referral, "instance sent", text, line.at, self.node)
        studies = {located.study for _, located in ledger}
        return next(filter(None, (closed(study, self.plan.destination, self.node) for study in studies)), "")

    def _why_closed(self, located: Located) -> str:
        if self.plan.crosses(located):
            return closed(located.study, self.plan.destination, self.node)
        return QUARANTINED if doubts.is_quarantined(located.study) else ""

    def _settle(self) -> None:
        at, partner = self.node.clock(), self.plan.destination.name
        for why, number in self._failed.items():
            text = f"{number} instance(s) did not go to {partner}: {why}"
            of = {"generation": self.node.generation, "who": self.plan.caller}
            audit.record(audit.Event(at, "instances not retrieved", text, partner, **of))  # type: ignore[arg-type]
        for referral in self.plan.referrals.values():
            refer.settle(referral, at, self.node)
