"""Lanes: one for each partner that can be called, each with as many slots (threads) as it may have associations.

A lane that is stuck is its own affair. A slot sleeps until something was committed or half a second has passed, so
what is queued by another process is on its way at once, and what is due later is not forgotten.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from dicomnode.config.model import Partner
from dicomnode.errors import OutOfResources
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node, Peer

log = logging.getLogger(__name__)

_LOOK = 0.05
_SLEEP = 0.5


class Lanes:
    """The forwarder's lanes, from `start` to `drain`."""

    def __init__(self, node: Node, peer: Peer) -> None:
        self._node = node
        self._peer = peer
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        partners = [p for p in node.config.partners.values() if p.is_destination]
        slots = [(partner, number) for partner in partners for number in range(partner.associations)]
        self._slots = [
            threading.Thread(target=self._run, args=(partner,), name=f"lane-{partner.name}-{number}", daemon=True)
            for partner, number in slots
        ]
        self._watch = threading.Thread(target=self._look, name="lane-watch", daemon=True)

    def __repr__(self) -> str:
        return f"Lanes({len(self._slots)} slots{', stopping' if self._stopping.is_set() else ''})"

    def start(self) -> None:
        """Begin to forward; returns at once."""
        for thread in (self._watch, *self._slots):
            thread.start()

    def drain(self, seconds: float) -> None:
        """Finish the instances in flight, give back the rest, and end; after `seconds` in any case.

        What a slot still has then stays claimed, and is taken back when this worker is gone.
        """
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        end = time.monotonic() + seconds
        for thread in self._slots:
            thread.join(max(0.0, end - time.monotonic()))

    def _look(self) -> None:
        """Wake the lanes when anything was committed."""
        seen = self._node.database.version()
        while not self._stopping.wait(_LOOK):
            version = self._node.database.version()
            if version != seen:
                seen = version
                with self._changed:
                    self._changed.notify_all()

    def _run(self, partner: Partner) -> None:
        try:
            while not self._stopping.is_set():
                if not self._once(partner):
                    with self._changed:
                        self._changed.wait(_SLEEP)
        except BaseException:
            log.critical("the lane of %s failed by our own fault", partner.name, exc_info=True)
            os._exit(70)  # the supervisor starts a forwarder that knows nothing of what went wrong here

    def _once(self, partner: Partner) -> bool:
        try:
            return forward(partner, self._peer, self._node, self._stopping.is_set)
        except OutOfResources as error:
            log.error("the lane of %s waits: %s", partner.name, error)
            return False
