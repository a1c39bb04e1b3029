"""The story of proof: sent is not confirmed, until the partner itself says that it has every instance.

`prove` asks it about one referral by the strongest means that it has shown, and by the next where it has not that one;
`hear` takes a Storage Commitment result whenever it comes, on whichever association. What the partner says and what
follows from it are one commit, so a kill asks again and never confirms. Not to reach a partner is no answer; to lack
something at two delayed looks is one: that is sent again, twice at most, and then held for a person. What has no means
to be proven stays "sent", and is asked about once a day; a partner without any, once a day and not once a study.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import uuid4

from dicomnode.config import units
from dicomnode.config.model import Partner
from dicomnode.errors import (
    ContextMissing,
    PartnerError,
    Rejected,
    RejectedForGood,
    UnknownTransaction,
    Unreachable,
)
from dicomnode.operations import arrival, refer
from dicomnode.operations.arrival import Answer
from dicomnode.operations.ports import Node, Peer, Reference, Report, Stopped
from dicomnode.rules import outcome
from dicomnode.rules import proof as rules
from dicomnode.store import audit, proof, transactions
from dicomnode.store.proof import Case
from dicomnode.store.transactions import Asked

log = logging.getLogger(__name__)

_DAY = 86_400_000_000
"""How long (µs) a means that the partner has not is not asked for again."""
_NOT_REACHED = (Unreachable, Rejected)

T = TypeVar("T")


def slots(partner: Partner) -> int:
    """One association at a time is for proof."""
    return int(partner.is_destination)


def due(partner: Partner, now: int) -> int | None:
    """When something is to be proven by this partner (µs). Inside `Database.read`."""
    return proof.next_look(partner.name)


def revive(node: Node) -> None:
    """At a start, and with a new configuration: what could not be proven is looked at again."""
    at = node.clock()
    node.database.write(lambda: proof.revive(at))


def set_back(node: Node) -> None:
    """A clock that was ahead must not keep until then what is to be proven. Costs little where there is nothing."""
    at = node.clock()
    furthest = {name: _furthest(partner, at, node) for name, partner in node.config.partners.items()}
    with node.database.read():
        ahead = [name for name, then in furthest.items() if proof.is_ahead(name, then)]
    if ahead:
        count = node.database.write(lambda: sum(proof.hasten(name, furthest[name], at) for name in ahead))
        log.warning("the clock was set back: %d referrals are looked at now", count)


def _furthest(partner: Partner, at: int, node: Node) -> int:
    """The latest time (µs) until which anything may have to wait for its next look."""
    waits = [wait for route in node.config.routes for wait in (route.wait, *route.waits.values())]
    longest = max(_DAY, round(max(partner.confirm.within, *waits, 0) * 1e6))
    return max(at + longest, outcome.furthest(at, node.config.node.limits.retry_most))


def prove(partner: Partner, peer: Peer, node: Node, stopped: Stopped) -> bool:
    """Ask a partner about one referral that is due. False where there was none."""
    at = node.clock()
    with node.database.read():
        case = proof.next_case(partner.name, at)
    if case is None:
        return False
    Proving(partner, case, peer, node).run(stopped)
    return True


class Proving:
    """One look at one referral."""

    def __init__(self, partner: Partner, case: Case, peer: Peer, node: Node) -> None:
        self.partner, self.case, self.peer, self.node = partner, case, peer, node
        self.ways = {"commitment": self._commit, "find": self._find, "count": self._count}
        self.whole = self.overdue = False
        """Whether the ladder is climbed from its top, and whether that has failed which the partner had promised."""

    def __repr__(self) -> str:
        return f"Proving({self.case.referral} by {self.partner.display})"

    def run(self, stopped: Stopped) -> None:
        """Climb the ladder until the partner answers; whatever happens, it is known when to look again."""
        if not self.case.awaited:
            self._write(lambda at: proof.look(self.case.referral, None))
        elif self.partner.confirm.by == rules.WAIVED:
            self._write(lambda at: refer.waive(self.case.referral, at, self.node))
        else:
            self._climb(stopped)

    def _climb(self, stopped: Stopped) -> None:
        failure: PartnerError | None = None
        for rung in self._rungs():
            try:
                if stopped() or self.ways[rung]():
                    return
            except ContextMissing:
                self._misses(rung)
            except PartnerError as error:  # it has the means, and did not use it just now: that is not "cannot"
                failure = error
                if isinstance(error, _NOT_REACHED) and not isinstance(error, RejectedForGood):
                    break
        if failure:
            self._later(failure)
        else:
            self._cannot()

    def _rungs(self) -> Sequence[str]:
        by, at = self.partner.confirm.by, self.node.clock()
        with self.node.database.read():
            open_ = transactions.overdue(self.case.referral, at)
            shown = proof.shown(self.partner.name)
        self.overdue = bool(open_) and self._write(lambda at: _expire(self.partner, self.case.referral, at, self.node))
        lately = 0 <= at - shown.climbed_at < _DAY
        self.whole = self.overdue or not lately
        return rules.below(by, "commitment") if self.overdue else rules.rungs(by, shown.proof, lately=lately)

    def _misses(self, rung: str) -> None:
        self._write(lambda at: proof.forget(self.partner.name, rung))

    def _write(self, fn: Callable[[int], T]) -> T:
        at = self.node.clock()
        return self.node.database.write(lambda: fn(at))

    # -- the rungs: each tells whether the partner has answered, or is going to ---------------------------------

    def _commit(self) -> bool:
        case = self.case
        versions = {each.sop_instance_uid: each.sop_class_uid for each in case.awaited}  # it has the last one of each
        references = tuple(Reference(sop_class, uid) for uid, sop_class in versions.items())
        uid = f"2.25.{uuid4().int}"
        number = self._write(lambda at: self._open(uid, references, at))
        try:
            asked = self.partner.at(self.partner.confirm.commit)
            report = self.peer.commit(asked, uid, references, lambda: self._is_over(number))
        except PartnerError as error:
            why = str(error)
            if self._write(lambda at: transactions.end(number, transactions.VOID, at, why)):
                raise
            return True  # its result has come meanwhile, on another association
        within = round(self.partner.confirm.within * 1e6)
        self._write(lambda at: self._taken(number, at + within))
        if report:
            try:
                hear(report, self.partner, self.node)
            except UnknownTransaction as error:  # the one that was asked for may still come
                log.warning("proof of=%s: %s", self.partner.display, error)
        return True

    def _open(self, uid: str, references: Sequence[Reference], at: int) -> int:
        """A kill before the partner has taken it leaves it to the next look, which asks anew."""
        due = at + round(self.node.config.node.limits.retry_first * 1e6)
        pairs = [(each.sop_class_uid, each.sop_instance_uid) for each in references]
        proof.look(self.case.referral, due)
        return transactions.open_(uid, self.partner.name, self.case.referral, pairs, at, due)

    def _is_over(self, commitment: int) -> bool:
        with self.node.database.read():
            return not transactions.is_open(commitment)

    def _taken(self, commitment: int, due: int) -> None:
        if transactions.taken(commitment, due):
            proof.look(self.case.referral, due, "a commitment result is awaited")

    def _find(self) -> bool:
        found = self.peer.instances(self.partner.at(self.partner.confirm.find), self.case.study_instance_uid)
        has = [each.transfer for each in self.case.awaited if each.sop_instance_uid in found]
        lacks = [each.transfer for each in self.case.awaited if each.sop_instance_uid not in found]
        self._answered(Answer(self.partner, self.case.referral, "find", has, lacks))
        return True

    def _count(self) -> bool:
        count = self.peer.count(self.partner.at(self.partner.confirm.find), self.case.study_instance_uid)
        if count is None:
            return False
        awaited = [each.transfer for each in self.case.awaited]
        has, lacks, why = awaited, list[int](), ""
        if count < self.case.delivered:
            has, lacks = lacks, has
            why = f"it counts {count} of {self.case.delivered}, so nothing of the study is proven"
        self._answered(Answer(self.partner, self.case.referral, "count", has, lacks, why))
        return True

    # -- what follows ------------------------------------------------------------------------------------------

    def _answered(self, answer: Answer) -> None:
        def answered(at: int) -> None:
            if self.whole:
                proof.climbed(self.partner.name, at)
            arrival.conclude(answer, at, self.node)

        self._write(answered)

    def _later(self, error: PartnerError) -> None:
        """It has not answered, which is no failure of proof. Where it was not reached, it is not asked the rest."""
        limits, why = self.node.config.node.limits, f"not asked for proof yet: {error}"
        log.info("referral=%d to=%s %s", self.case.referral, self.partner.display, why)

        def later(at: int) -> None:
            since = self.case.sent_at
            until = outcome.next_attempt_at(at, since, limits.retry_first, limits.retry_most, random.random())
            proof.look(self.case.referral, until, why)
            if isinstance(error, _NOT_REACHED):
                proof.postpone(self.partner.name, at, until, why)

        self._write(later)

    def _cannot(self) -> None:
        """Nothing is left to ask it: this is said, and another day it may be otherwise."""

        def unprovable(at: int) -> None:
            name, referral = self.partner.name, self.case.referral
            if self.overdue:  # which tells nothing of its other referrals
                proof.unprovable([referral], at + _DAY, f"{name} has sent no result of the commitment it was asked for")
                return
            if self.whole:
                proof.climbed(name, at)
            until = proof.shown(name).climbed_at + _DAY
            proof.unprovable([referral, *proof.due(name, at)], until, f"{name} cannot confirm")

        self._write(unprovable)


def _expire(partner: Partner, referral: int, at: int, node: Node) -> bool:
    """End the transactions whose result has not come; whether the partner had promised one."""
    broken = False
    for number, taken in transactions.overdue(referral, at):
        silent = transactions.is_silent(partner.name)
        broken |= transactions.end(number, transactions.EXPIRED if taken else transactions.VOID, at) and taken
        if taken:
            within = units.say_duration(partner.confirm.within)
            text = f"{partner.name} took a request for commitment, and sent no result in {within}"
            refer.record(referral, "commitment overdue", text, at, node, alarm=not silent)
            log.log(logging.WARNING if silent else logging.CRITICAL, "referral=%d %s", referral, text)
        if taken and silent:
            proof.forget(partner.name, "commitment")
    return broken


# -- a result that comes ---------------------------------------------------------------------------------------


def hear(report: Report, partner: Partner, node: Node) -> None:
    """Take a Storage Commitment result that a partner has sent; durable when this returns.

    Raises UnknownTransaction where it answers no request of ours to this partner (or to one that names this one in its
    `results_from`), or is not about exactly the instances of that. One that comes again changes nothing; one that comes
    too late still proves what it commits to.
    """
    at = node.clock()
    askers = [each.name for each in node.config.partners.values() if partner.name in each.confirm.results_from]

    def heard() -> None:
        asked = transactions.asked(report.transaction_uid, [partner.name, *askers])
        if asked is None:
            raise UnknownTransaction("a result of a transaction that was not asked of this partner")
        if asked.pairs and asked.state != transactions.ANSWERED:
            _check(report, asked)
            _take(report, asked, at, node)

    try:
        node.database.write(heard)
    except UnknownTransaction as error:
        text, generation = f"{error} (transaction {report.transaction_uid})", node.generation
        event = audit.Event(at, "commitment result refused", text, partner.name, generation=generation)
        node.database.write(lambda: audit.record_seldom(event))
        raise


def _check(report: Report, asked: Asked) -> None:
    told = [*report.committed, *(reference for reference, _ in report.failed)]
    pairs = {(each.sop_class_uid, each.sop_instance_uid) for each in told}
    if len(told) != len(pairs) or pairs != asked.pairs:
        raise UnknownTransaction("a result that is not about exactly the instances that were asked for, each once")


def _take(report: Report, asked: Asked, at: int, node: Node) -> None:
    transactions.answered(asked.id, at)
    transactions.failed(asked.id, [(each.sop_instance_uid, reason) for each, reason in report.failed])
    has = transactions.named(asked.referral, [each.sop_instance_uid for each in report.committed], asked.asked_at)
    failed = [each.sop_instance_uid for each, _ in report.failed]
    lacks = transactions.named(asked.referral, failed, asked.asked_at) if asked.state == transactions.ASKED else []
    why = ", ".join(sorted({f"{rules.failure_reason(reason)} ({reason:04X}H)" for _, reason in report.failed}))
    partner = node.config.partners[asked.partner]
    arrival.conclude(Answer(partner, asked.referral, "commitment", has, lacks, why), at, node)
