"""Lanes: one for each partner and each errand that there is to it, with as many slots (threads) as that may have.

A lane that is stuck is its own affair. Slots sleep until their lane is called, and one thread knows when to call which:
it looks after each commit of any process (at most five times a second), when something is due, and every few seconds
in any case.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dicomnode.config.model import Partner
from dicomnode.errors import OutOfResources
from dicomnode.operations import commit, complete, confirm, forward, pull, recall, worklist
from dicomnode.operations.ports import Node, Peer, Stopped
from dicomnode.store.bell import Ear

log = logging.getLogger(__name__)

_APART = 0.2
_LONGEST = 5.0


@dataclass(frozen=True, slots=True)
class Errand:
    """Something that the forwarder goes to partners for."""

    name: str
    run: Callable[[Partner, Peer, Node, Stopped], bool]
    """Do a piece of it; False where there was nothing to do."""
    due: Callable[[Partner, int], int | None]
    """When there may be something to do (µs; not after the time that is given: now), as far as is known. Is called
    inside `Database.read`, and often: it costs little."""
    slots: Callable[[Partner], int]
    """How many threads may be on it at once; 0: none goes to this partner."""


def errands(node: Node) -> tuple[Errand, ...]:
    """All there are."""
    return (
        Errand("forward", forward.forward, forward.due(node), forward.slots),
        Errand("report", commit.report, commit.due, commit.slots),
        Errand("prove", confirm.prove, confirm.due, confirm.slots),
        Errand("ask", complete.ask, complete.due, complete.slots(node)),
        Errand("worklist", worklist.ask, worklist.due, worklist.slots),
        Errand("pull", pull.pull, pull.due(node), pull.slots),
        Errand("recall", recall.tell, recall.due, recall.slots),
    )


@contextmanager
def _fatal(who: str) -> Iterator[None]:
    """What goes wrong in a block ends the process: the supervisor starts one that knows nothing of it."""
    try:
        yield
    except BaseException:
        log.critical("%s failed by our own fault", who, exc_info=True)
        os._exit(70)


class Lane:
    """Where the slots of an errand to a partner sleep. `calls` counts: one that comes while a slot looks is heard."""

    def __init__(self, partner: Partner, errand: Errand) -> None:
        self.partner, self.errand = partner, errand
        self.calls = 0
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        return f"Lane({self}, {self.calls} calls)"

    def __str__(self) -> str:
        return f"{self.errand.name}-{self.partner.name}"

    def call(self) -> None:
        """There may be something to do."""
        with self._changed:
            self.calls += 1
            self._changed.notify_all()

    def sleep(self, heard: int, seconds: float | None = None) -> None:
        """Until there are more calls than those that were heard, or so long."""
        with self._changed:
            self._changed.wait_for(lambda: self.calls != heard, seconds)


class Lanes:
    """The forwarder's lanes, from `start` to `drain`."""

    def __init__(self, node: Node, peer: Peer) -> None:
        self._node = node
        self._peer = peer
        self._stopping = threading.Event()
        self._ear = Ear(node.archive.root / "run", "forwarder", _APART)
        every = [Lane(partner, errand) for errand in errands(node) for partner in node.config.partners.values()]
        slots = [(lane, number) for lane in every for number in range(lane.errand.slots(lane.partner))]
        self._lanes = list(dict.fromkeys(lane for lane, _ in slots))
        self._slots = [
            threading.Thread(target=self._run, args=(lane,), name=f"{lane}-{number}", daemon=True)
            for lane, number in slots
        ]
        self._watch = threading.Thread(target=self._call, name="lane-watch", daemon=True)

    def __repr__(self) -> str:
        return f"Lanes({len(self._slots)} slots{', stopping' if self._stopping.is_set() else ''})"

    def start(self) -> None:
        """Begin to go; returns at once."""
        for thread in (self._watch, *self._slots):
            thread.start()

    def stop(self) -> None:
        """Begin nothing more; returns at once."""
        self._stopping.set()
        for lane in self._lanes:
            lane.call()

    def drain(self, seconds: float) -> None:
        """Finish the instances in flight, give back the rest, and end; after `seconds` in any case.

        What a slot still has then stays claimed, and is taken back when this worker is gone.
        """
        self.stop()
        end = time.monotonic() + seconds
        for thread in self._slots:
            thread.join(max(0.0, end - time.monotonic()))

    def _call(self) -> None:
        """Call the lanes that have something to send, each time there may be one."""
        with _fatal("the watch of the lanes"):
            while not self._stopping.is_set():
                try:
                    rest = self._look()
                except OutOfResources as error:
                    log.error("the lanes wait: %s", error)
                    rest = _LONGEST
                self._ear.wait(rest)

    def _look(self) -> float:
        """Call whom something is due for; seconds until the next is."""
        at = self._node.clock()
        with self._node.database.read():
            due = [(lane, when) for lane in self._lanes if (when := lane.errand.due(lane.partner, at)) is not None]
        for lane in (lane for lane, when in due if when <= at):
            lane.call()
        return min([_LONGEST, *((when - at) / 1e6 for _, when in due if when > at)])

    def _run(self, lane: Lane) -> None:
        with _fatal(f"the lane {lane}"):
            while not self._stopping.is_set():
                heard = lane.calls
                if not self._once(lane):
                    lane.sleep(heard)

    def _once(self, lane: Lane) -> bool:
        try:
            return lane.errand.run(lane.partner, self._peer, self._node, self._stopping.is_set)
        except OutOfResources as error:
            log.error("the lane %s waits: %s", lane, error)
            return False
