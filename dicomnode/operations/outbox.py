"""The story of audit messages on their way to the collector: from the trail itself, in order, at least once.

The trail is the outbox: all that is kept besides is the number of the last entry that the collector has read. It is
remembered after that was so; whatever happens in between, some messages are sent again (each names its entry), the
fewer the oftener. A
collector that cannot be reached is told nothing, and delays nobody: the trail grows, and goes on from there when it
answers. That it has stopped, and that it goes on, are entries of the trail themselves.

What may fail: OutOfResources, where the index cannot be read or written; the next step tries again.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from dicomnode.errors import AssociationLost, ConfigurationError, PartnerError
from dicomnode.operations import audit_message
from dicomnode.operations.ports import AuditMessage, Collector, Node
from dicomnode.rules import outcome
from dicomnode.store import audit, chain, space
from dicomnode.store.audit import Event

log = logging.getLogger(__name__)

_BATCH = 500
_SENT, _FAILING = "audit sent", "audit failing since"
_GLANCE = 1.0
_LONGEST = 300.0
"""Seconds between two attempts at most, whatever partners are given: it is one connection."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What the collector has not read: how many entries, since when the first of them waits (µs), since when nothing
    could be sent (µs; 0: it can).
    """

    entries: int
    oldest: int
    failing_since: int


class Outbox:
    """What one housekeeper sends. `timer` is a clock that nobody can set, in seconds."""

    def __init__(self, collector: Collector, node: Node, timer: Callable[[], float] = time.monotonic) -> None:
        self._collector, self._node, self._timer = collector, node, timer
        self._wait_until = self._failing_from = 0.0
        self._most = _BATCH

    def __repr__(self) -> str:
        return f"Outbox({self._collector})"

    def send(self) -> float:
        """Send a batch, if it is time to; seconds until it should be looked again."""
        if (left := self._wait_until - self._timer()) > 0:
            return left
        with self._node.database.read():
            waiting = audit.after(space.mark(_SENT), self._most)
        if not waiting:
            return _GLANCE
        try:
            self._collector.deliver([self._message(event) for event in waiting])
        except (PartnerError, ConfigurationError) as error:
            if isinstance(error, AssociationLost):  # it may have read them, and is to read fewer of them twice
                self._most = max(1, len(waiting) // 2)
            return self._failed(str(error))
        is_full = len(waiting) == self._most
        self._most = min(_BATCH, 2 * self._most)
        self._succeeded(waiting[-1].id)
        return 0.0 if is_full else _GLANCE

    def _message(self, event: Event) -> AuditMessage:
        xml = audit_message.xml(event, self._node.config)
        return AuditMessage(audit_message.moment(event.at), audit_message.severity(event), xml)

    def _succeeded(self, last: int) -> None:
        node, at = self._node, self._node.clock()
        self._wait_until = self._failing_from = 0.0

        def succeeded() -> None:
            space.put(_SENT, last)
            if since := space.mark(_FAILING):
                space.put(_FAILING, 0)
                text = f"the collector takes audit messages again, after {round((at - since) / 1e6)} seconds"
                audit.record(Event(at, "audit sending resumed", text, generation=node.generation))

        node.database.write(succeeded)

    def _failed(self, why: str) -> float:
        """Wait longer the longer it fails; the first time, a person is told."""
        node, at, now = self._node, self._node.clock(), self._timer()
        self._failing_from = self._failing_from or now
        limits = node.config.node.limits
        since = at - round((now - self._failing_from) * 1e6)
        most = min(_LONGEST, limits.retry_most)
        again = outcome.next_attempt_at(at, since, min(limits.retry_first, most), most, random.random())
        self._wait_until = now + (again - at) / 1e6

        def failed() -> None:
            if not space.mark(_FAILING):
                space.put(_FAILING, at)
                text = f"the collector takes no audit messages: {why}; what is written waits for it"
                audit.record(Event(at, "audit sending stopped", text, generation=node.generation, alarm=True))

        log.error("audit messages wait for the collector: %s", why)
        node.database.write(failed)
        return self._wait_until - now


def backlog() -> Backlog:
    """What waits for the collector. Inside `Database.read`."""
    sent = space.mark(_SENT)
    first = audit.after(sent, 1)
    number = chain.head().id - first[0].id + 1 if first else 0
    return Backlog(number, first[0].at if first else 0, space.mark(_FAILING))
