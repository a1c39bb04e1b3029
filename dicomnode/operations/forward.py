"""The story of a batch on its way to a partner: claim, associate, send, and write down what came of each instance.

A claim is committed before anything is sent, and a result after it was received: a kill in between sends an instance
twice, and never loses one. A partner that cannot be reached delays its own lane and nobody else's, and charges no
transfer an attempt. What cannot go is held with a reason; nothing ends in silence.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from itertools import zip_longest

from dicomnode.config.model import Partner
from dicomnode.errors import AssociationLost, ContextMissing, InstanceError, OutOfResources, PartnerError
from dicomnode.operations import refer
from dicomnode.operations.ports import Link, Node, Outgoing, Peer
from dicomnode.rules import contexts, oneway, outcome
from dicomnode.rules.outcome import Delivered, Later, Never, Outcome, Scope
from dicomnode.store import audit, lanes, queue, referrals
from dicomnode.store.lanes import Pause
from dicomnode.store.queue import Batch, Claimed, Result, State

log = logging.getLogger(__name__)

_BATCH = 200
_COMMIT = 20
"""Results that are written in one commit: as many may be sent twice after a kill, or go after a gate has closed."""
_AGAIN = 1.0
"""Seconds between attempts to write the end of a batch into an index that cannot be written."""
_SHORT = 3
"""Studies in a row that a partner answers A7xxH before its lane pauses."""

Stopped = Callable[[], bool]


def forward(partner: Partner, peer: Peer, node: Node, stopped: Stopped) -> bool:
    """Send one batch of what is due to one partner. False where there was nothing to do."""
    at = node.clock()
    with node.database.read():
        waits = lanes.paused(partner.name)
        if waits.until > at or not queue.is_ready(partner.name, at):
            return False
    most = 1 if waits.failures else _BATCH  # a lane that was paused half-opens with one instance
    batch = node.database.write(lambda: queue.claim(partner.name, most, node.worker, at, partner.associations))
    if batch is None:
        return False
    Sending(partner, batch, peer, node, stopped).run()
    return True


class Sending:
    """One batch in flight: what is still to be sent, and the results that are not written yet."""

    def __init__(self, partner: Partner, batch: Batch, peer: Peer, node: Node, stopped: Stopped) -> None:
        self.partner, self.batch, self.peer, self.node, self.stopped = partner, batch, peer, node, stopped
        self.waiting = list(batch.transfers)
        self.results: list[Result] = []
        self.answered = self.took = self.short = self.shut = False

    def __repr__(self) -> str:
        return f"Sending({self.partner.display}, {len(self.waiting)} waiting, {len(self.results)} to write)"

    def run(self) -> None:
        """Send the batch; whatever happens, every claim of it has been given back or written down at the end."""
        failure: Later | None = None
        try:
            self._check_direction()
            for pairs in contexts.groups((c.sop_class_uid, c.transfer_syntax_uid) for c in self.batch.transfers):
                failure = self._associate(pairs)
                if failure or self._ends():
                    break
        finally:
            self._close(failure)

    def _check_direction(self) -> None:
        """The last look at the one-way rule, at the moment of dialling: what may not go is held, and an alarm."""
        with self.node.database.read():
            site = referrals.site(self.batch.referral)
        if oneway.may_flow(self.node.config, site, self.partner.site):
            return
        reason = f"no flow allows studies of {site} to reach {self.partner.site}"
        log.critical("transfer refused at dial: %s", reason)
        for claimed in tuple(self.waiting):
            self._note(claimed, Never(reason), None)

    def _associate(self, pairs: Sequence[tuple[str, str]]) -> Later | None:
        members = [c for c in self.waiting if (c.sop_class_uid, c.transfer_syntax_uid) in pairs]
        if not members:
            return None
        outgoing = [self._outgoing(claimed) for claimed in members]
        try:
            with self.peer.associate(self.partner, pairs) as link:
                for claimed, instance, following in zip_longest(members, outgoing, outgoing[1:]):
                    if self._ends():
                        return None
                    self._send(claimed, instance, following, link)
        except PartnerError as error:
            result = outcome.of_error(error)
            return result if isinstance(result, Later) else Later(Scope.PARTNER, str(error))
        return None

    def _ends(self) -> bool:
        """Whether no further instance may be begun: a stop, or a gate that was closed meanwhile."""
        return self.shut or self.stopped()

    def _outgoing(self, claimed: Claimed) -> Outgoing:
        return Outgoing(
            *(claimed.sop_class_uid, claimed.sop_instance_uid, claimed.transfer_syntax_uid),
            *(self.node.archive.path(claimed.file), claimed.size, claimed.sha256),
        )

    def _send(self, claimed: Claimed, instance: Outgoing, following: Outgoing | None, link: Link) -> None:
        status: int | None = None
        try:
            status = link.send(instance, following=following)
            result = outcome.of_status(status, claimed.attempts)
            self.answered = True
            self.took |= isinstance(result, Delivered)
            self.short |= outcome.is_short(status)
        except ContextMissing as error:
            result = outcome.of_error(error)
        except InstanceError as error:  # our own file: missing, or not what it was
            result = Never(str(error))
        except AssociationLost as error:  # of unknown outcome is this one alone: the others were not begun
            self._note(claimed, outcome.of_error(error), None)
            raise
        self._note(claimed, result, status)

    def _note(self, claimed: Claimed, result: Outcome, status: int | None) -> None:
        self.waiting.remove(claimed)
        at = self.node.clock()
        state, due = State.DELIVERED, at
        if isinstance(result, Never):
            state = State.HELD
        elif isinstance(result, Later):
            state, due = State.QUEUED, self._again(claimed.queued_at, at)
        self.results.append(Result(claimed.transfer, state, at, status, result.reason, due))
        log.log(
            logging.WARNING if state is State.HELD else logging.INFO,
            "transfer=%d sop=%s to=%s status=%s(%s) delays=%.3f/%.3f%s",
            *(claimed.transfer, claimed.sop_instance_uid, self.partner.display, state),
            *(f"{status:04X}H" if status is not None else "none", (claimed.claimed_at - claimed.queued_at) / 1e6),
            *((at - claimed.claimed_at) / 1e6, f" reason={result.reason}" if result.reason else ""),
        )
        if len(self.results) >= _COMMIT:
            self._write()

    def _again(self, since: int, at: int) -> int:
        limits = self.node.config.node.limits
        return outcome.next_attempt_at(at, since, limits.retry_first, limits.retry_most, random.random())

    def _write(self) -> None:
        """Write down the results so far, which are ours until that is done; see whether the gate is open still."""
        results = list(self.results)

        def written() -> bool:
            queue.finish(results)
            return referrals.is_open(self.batch.referral)

        self.shut = not self.node.database.write(written)
        del self.results[: len(results)]

    def _close(self, failure: Later | None) -> None:
        """One commit for the end of the batch: results, unused claims, the lane, the referral."""
        at, results, unused = self.node.clock(), self.results, [c.transfer for c in self.waiting]
        self.results, self.waiting = [], []

        def closed() -> None:
            queue.finish(results)
            queue.give_back(unused)
            self._lane(failure, at)
            refer.settle(self.batch.referral, at, self.node)

        while True:
            try:
                return self.node.database.write(closed)
            except OutOfResources as error:  # a claim that nobody gives back would stay active as long as we live
                if self.stopped():
                    raise
                log.error("the end of a batch cannot be written yet: %s", error)
                time.sleep(_AGAIN)

    def _lane(self, failure: Later | None, at: int) -> None:
        """Pause the lane of a partner that failed and took nothing, or let it run again."""
        reason = failure.reason if failure and not self.took else ""
        if self.short and not self.took and not failure:
            studies = lanes.short(self.partner.name, self.batch.study)
            reason = f"out of resources for {studies} studies in a row" if studies >= _SHORT else ""
        elif self.answered and not reason:
            lanes.resume(self.partner.name, at)
        if not reason:
            return
        known = lanes.paused(self.partner.name)
        if failure and failure.scope is Scope.ASSOCIATION and not known.failures:
            lanes.pause(self.partner.name, Pause(at, 1, reason, at))  # one instance may have done it: try another
            return
        since = known.since if known.failures else at
        lanes.pause(self.partner.name, Pause(self._again(since, at), known.failures + 1, reason, since))
        log.warning("lane=%s paused: %s", self.partner.display, reason)
        if known.until <= known.since:  # it ran until now
            text = f"the lane of {self.partner.name} waits: {reason}"
            audit.record(audit.Event(at, "lane paused", text, self.partner.name, generation=self.node.generation))
