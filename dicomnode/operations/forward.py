"""The story of a batch on its way to a partner: claim, associate, send, and write down what came of each instance.

A claim is committed before anything is sent, and a result after it was received: a kill in between sends an instance
twice, and never loses one. A partner that cannot be reached delays its own lane and nobody else's, and charges no
transfer an attempt (operations/breaker.py). What cannot go is held with a reason, and an alarm; nothing ends in
silence.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest

from dicomnode.config.model import Partner
from dicomnode.errors import AssociationLost, ContextMissing, InstanceError, NotCoerced, OutOfResources, PartnerError
from dicomnode.operations import breaker, coerce, refer, scrub, trail, vet
from dicomnode.operations.ports import Link, Node, Outgoing, Peer, Stopped
from dicomnode.rules import oneway, outcome, proposals
from dicomnode.rules.coercion import Coercion
from dicomnode.rules.outcome import Delivered, Later, Never, Outcome, Scope
from dicomnode.store import attempts, lanes, patients, queue, referrals
from dicomnode.store.attempts import Attempt
from dicomnode.store.queue import Batch, Claimed, Hold, Result, State

log = logging.getLogger(__name__)

_BATCH = 200
_COMMIT = 20
"""Results that are written in one commit: as many may be sent twice after a kill, or go after a gate was closed."""
_AGAIN = 1.0
"""Seconds between attempts to write the end of a batch into an index that cannot be written."""


def slots(partner: Partner) -> int:
    """How many associations a partner is sent studies on."""
    return partner.associations if partner.is_destination else 0


def due(node: Node) -> Callable[[Partner, int], int | None]:
    """When there may be something to send to a partner (µs). Inside `Database.read`."""

    def at(partner: Partner, now: int) -> int | None:
        found = lanes.due(partner.name, now, breaker.furthest(node, now))
        return found if found is None else breaker.opens_at(partner, node, max(found, now))

    return at


def forward(partner: Partner, peer: Peer, node: Node, stopped: Stopped) -> bool:
    """Send one batch of what is due to one partner. False where there was nothing to do."""
    found = _next(partner, node, stopped)
    if found is None:
        return False
    Sending(partner, *found, peer, node, stopped).run()
    return True


Copies = Coercion | NotCoerced | None
"""What the copies of a batch are to have, or why that is not to be had."""


def _next(partner: Partner, node: Node, stopped: Stopped) -> tuple[Batch, Copies] | None:
    """A batch that is ours. A study that was judged before something changed is vetted first: its gate may close."""
    while not stopped():
        at = node.clock()
        with node.database.read():
            if not _may_claim(partner, node, at):
                return None
        try:
            return node.database.write(partial(_begin, partner, node, at))
        except vet.Unvetted as unvetted:
            vet.again(unvetted.study, node)
    return None


def _may_claim(partner: Partner, node: Node, at: int) -> bool:
    """Whether a claim may find something: a look that takes no lock."""
    furthest, known = breaker.furthest(node, at), lanes.paused(partner.name)
    if breaker.opens_at(partner, node, at) > at or known.waits(at, furthest):
        return False
    if known.failures and queue.is_active(partner.name):
        return False
    return queue.is_ready(partner.name, at) or lanes.is_ahead(partner.name, furthest)


def _begin(partner: Partner, node: Node, at: int) -> tuple[Batch, Copies] | None:
    """A batch, and what its copies are to have, by the referral that its study has just been held against."""
    batch = _claim(partner, node, at)
    if batch is None:
        return None
    vet.check(batch.study, node)
    trail.begins(batch, at, node)
    return batch, _copies(batch, partner, node)


def _copies(batch: Batch, partner: Partner, node: Node) -> Copies:
    try:
        return coerce.of_referral(batch.referral, batch.study, partner, node)
    except NotCoerced as error:
        return error


def _claim(partner: Partner, node: Node, at: int) -> Batch | None:
    """What the next association carries. A lane that failed half-opens: one slot goes, with one instance."""
    furthest, known = breaker.furthest(node, at), lanes.paused(partner.name)
    queue.hasten(partner.name, furthest, at)
    if known.waits(at, furthest):
        return None
    if not known.failures:
        return queue.claim(partner.name, _BATCH, node.worker, at, partner.associations)
    return None if queue.is_active(partner.name) else queue.claim_one(partner.name, node.worker, at)


class Sending:
    """One batch in flight: what is still to be sent, the results that are not written yet, and how it went."""

    def __init__(
        self, partner: Partner, batch: Batch, copies: Copies, peer: Peer, node: Node, stopped: Stopped
    ) -> None:
        self.partner, self.batch, self.copies = partner, batch, copies
        self.peer, self.node, self.stopped = peer, node, stopped
        self.waiting = list(batch.transfers)
        self.results: list[Result] = []
        self.answered = self.short = self.shut = False
        self.began = node.clock()
        self.connected: int | None = None
        self.offered = self.held = 0
        self.delivered = Counter[str]()
        """How many of which SOP class."""
        self.unusual: int | None = None
        self.reason = ""
        self.coercion: Coercion | None = None

    def __repr__(self) -> str:
        return f"Sending({self.partner.display}, {len(self.waiting)} waiting, {len(self.results)} to write)"

    def run(self) -> None:
        """Send the batch; whatever happens, every claim of it has been given back or written down at the end."""
        failure: Later | None = None
        try:
            self._check_direction()
            self._check_copies()
            stored = ((c.sop_class_uid, c.transfer_syntax_uid) for c in self.batch.transfers)
            for pairs in proposals.groups(stored, self.partner.decompresses):
                failure = self._associate(pairs)
                if failure or self._ends():
                    break
        finally:
            self._close(failure)

    def _check_direction(self) -> None:
        """The last look at the one-way rule, at the moment of dialling: what may not go is held."""
        with self.node.database.read():
            site = referrals.site(self.batch.referral)
        if oneway.may_reach(self.node.config, site, self.partner):
            return
        reason = f"no flow allows studies of {site} to reach {self.partner.site}"
        for claimed in tuple(self.waiting):
            self._note(claimed, Never(reason), None)

    def _check_copies(self) -> None:
        """Where what all the copies are to have is not to be had, they are held."""
        if not isinstance(self.copies, NotCoerced):
            self.coercion = self.copies
            return
        for claimed in tuple(self.waiting):
            self._note(claimed, outcome.of_error(self.copies), None)

    def _associate(self, pairs: Sequence[tuple[str, str]]) -> Later | None:
        members = [c for c in self.waiting if (c.sop_class_uid, c.transfer_syntax_uid) in pairs]
        if not members:
            return None
        outgoing = [self._outgoing(claimed) for claimed in members]
        began = self.node.clock()
        try:
            with self.peer.associate(self.partner, pairs) as link:
                self.connected = self.node.clock() - began
                for claimed, instance, following in zip_longest(members, outgoing, outgoing[1:]):
                    if self._ends():
                        return None
                    self._send(claimed, instance, following, link)
        except PartnerError as error:
            if self.stopped():  # what ends because we do is nobody's failure
                return None
            result = outcome.of_error(error)
            return result if isinstance(result, Later) else Later(Scope.PARTNER, str(error))
        return None

    def _ends(self) -> bool:
        """Whether no more may be begun: a stop, a gate or a lane that was closed meanwhile, the end of the window."""
        if self.shut or self.stopped():
            return True
        at = self.node.clock()
        return breaker.opens_at(self.partner, self.node, at) > at

    def _outgoing(self, claimed: Claimed) -> Outgoing:
        uids = claimed.sop_class_uid, claimed.sop_instance_uid, claimed.transfer_syntax_uid
        path = self.node.archive.path(claimed.file)
        return Outgoing(*uids, path, claimed.size, claimed.sha256, claimed.crc32, self.coercion)

    def _send(self, claimed: Claimed, instance: Outgoing, following: Outgoing | None, link: Link) -> None:
        began, status = self.node.clock(), None
        try:
            status = link.send(instance, following=following)
            result = self._meaning(claimed, status)
        except ContextMissing as error:
            result = outcome.of_error(error)
        except InstanceError as error:  # our own file: missing, not what it was, or not to be read just now
            wrong = scrub.suspect(claimed.instance, self.node)
            result = Never(wrong, damaged=True) if wrong else Later(Scope.INSTANCE, str(error))
        except AssociationLost as error:  # of unknown outcome is this one alone: the others were not begun
            if not self.stopped():
                self._note(claimed, outcome.of_error(error), None, began)
            raise
        self._note(claimed, result, status, began)
        if isinstance(result, Later) and result.scope is Scope.ASSOCIATION:
            raise AssociationLost(result.reason)  # who cannot follow is talked to anew

    def _meaning(self, claimed: Claimed, status: int) -> Outcome:
        self.answered = True
        self.short |= outcome.is_short(status)
        replaces = False
        if status == outcome.DUPLICATE:
            with self.node.database.read():
                replaces = queue.replaces(claimed.transfer)
        return outcome.of_status(status, claimed.refused, replaces=replaces)

    # -- what came of it ---------------------------------------------------------------------------------------

    def _note(self, claimed: Claimed, result: Outcome, status: int | None, began: int | None = None) -> None:
        self.waiting.remove(claimed)
        at = self.node.clock()
        noted = self._result(claimed, result, status, at)
        self.results.append(noted)
        self.offered += 1
        self.delivered[claimed.sop_class_uid] += noted.state is State.DELIVERED
        self.held += noted.state is State.HELD
        if noted.reason:
            self.unusual, self.reason = status, noted.reason
        self._log(claimed, noted, at - began if began is not None else 0)
        if len(self.results) >= _COMMIT:
            self._write()

    def _result(self, claimed: Claimed, result: Outcome, status: int | None, at: int) -> Result:
        if isinstance(result, Delivered):
            return Result(claimed.transfer, State.DELIVERED, at, status, result.reason, at)
        if isinstance(result, Never):
            hold = Hold.CONFIGURATION if result.configuration else Hold.FILE if result.damaged else Hold.NONE
            return Result(claimed.transfer, State.HELD, at, status, result.reason, at, hold=hold)
        since = at
        if claimed.failing_since is not None:  # when it could not go, or we did not try, is not its failing
            since = claimed.failing_since + max(0, claimed.claimed_at - claimed.due_at)
        if reason := breaker.given_up(self.partner, since, at, result.reason):
            return Result(claimed.transfer, State.HELD, at, status, reason, at)
        limits = self.node.config.node.limits
        again = outcome.next_attempt_at(at, since, limits.retry_first, limits.retry_most, random.random())
        return Result(claimed.transfer, State.QUEUED, at, status, result.reason, again, result.refused, since)

    def _log(self, claimed: Claimed, noted: Result, took: int) -> None:
        """`delays` are in seconds: in the queue, until there was an association, until the response."""
        log.log(
            logging.WARNING if noted.state is State.HELD else logging.INFO,
            "transfer=%d sop=%s to=%s status=%s(%s) delays=%.3f/%.3f/%.3f%s",
            *(claimed.transfer, claimed.sop_instance_uid, self.partner.display, noted.state),
            f"{noted.status:04X}H" if noted.status is not None else "none",
            *((claimed.claimed_at - claimed.queued_at) / 1e6, (self.connected or 0) / 1e6, took / 1e6),
            f" reason={noted.reason}" if noted.reason else "",
        )

    def _write(self) -> None:
        """Write down the results so far, which are ours until that is done; see whether more of it may go still."""
        results = list(self.results)

        def written() -> bool:
            queue.finish(results)
            is_judged = patients.is_judged(self.batch.study, self.node.generation)
            return is_judged and queue.may_go(self.batch.referral) and not lanes.paused(self.partner.name).hold

        self.shut = not self.node.database.write(written)
        del self.results[: len(results)]

    def _close(self, failure: Later | None) -> None:
        """One commit for the end of the batch: results, unused claims, the attempt, the lane, the referral."""
        at, results, unused = self.node.clock(), self.results, [c.transfer for c in self.waiting]
        self.results, self.waiting = [], []

        def closed() -> list[str]:
            queue.finish(results)
            queue.give_back(unused)
            attempts.record(self._attempt(failure, at))
            self._tell(failure, at)
            alarms = [*self._alarm(at), *breaker.ended(self._ending(failure), at, self.node)]
            refer.settle(self.batch.referral, at, self.node)
            return alarms

        for alarm in self._surely(closed):
            log.critical("to=%s: %s", self.partner.display, alarm)

    def _tell(self, failure: Later | None, at: int) -> None:
        """Have the audit trail know what was sent, and what was not; what we ended ourselves goes on elsewhere."""
        sent, why = +self.delivered, failure.reason if failure else self.reason
        missing = len(self.batch.transfers) if failure and not self.offered else self.offered
        trail.ended(self.batch, sent, missing - sent.total(), why, at, self.node)

    def _surely(self, closed: Callable[[], list[str]]) -> list[str]:
        while True:
            try:
                return self.node.database.write(closed)
            except OutOfResources as error:  # a claim that nobody gives back would stay active as long as we live
                if self.stopped():
                    raise
                log.error("the end of a batch cannot be written yet: %s", error)
                time.sleep(_AGAIN)

    def _attempt(self, failure: Later | None, at: int) -> Attempt:
        reason = failure.reason if failure else self.reason
        counts = self.offered, self.delivered.total(), self.unusual, reason
        return Attempt(self.batch.referral, self.began, at, self.connected, *counts)

    def _ending(self, failure: Later | None) -> breaker.Ending:
        return breaker.Ending(self.partner, self.batch, failure, self.answered, self.delivered.total() > 0, self.short)

    def _alarm(self, at: int) -> list[str]:
        """What was held is told to a person: once a batch, with the reason of the last."""
        if not self.held:
            return []
        text = f"{self.held} instances are held: {self.reason}; see `dicomnode queue list --state held`"
        refer.record(self.batch.referral, "transfers held", text, at, self.node, alarm=True)
        return [text]
