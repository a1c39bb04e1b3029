"""The AE that listens: a porch on sockets that somebody else has bound, and an association for each that comes in.

Several processes may serve the same inherited sockets, so a crash or a reload of one of them drops no waiting
connection. `drain` stops accepting, lets what is open come to its end, and aborts it at the deadline.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Sequence

from pynetdicom import AE, _config

from dicomnode.net import pdus
from dicomnode.net.association import Reception
from dicomnode.net.clerk import Clerk
from dicomnode.net.porch import Listener, Porch, Visitor
from dicomnode.operations.ports import Node, Slots

log = logging.getLogger(__name__)

_LAST_WORDS = 1.0
"""Seconds in which associations that are aborted may say so."""
_CONGESTED = pdus.reject(2, 3, 1)


class Acceptor:
    """Serves listening sockets with the associations of one node."""

    def __init__(self, listeners: Sequence[Listener], node: Node, slots: Slots) -> None:
        _config.LOG_HANDLER_LEVEL = "none"  # nothing of a peer's is logged but by us
        self._ae = AE(ae_title=node.config.node.ae_title)
        self._node, self._slots = node, slots
        self._open: set[Reception] = set()
        self._changed = threading.Condition()
        limits = node.config.node.limits
        self._clerk = Clerk(node)
        porch = Porch(listeners, self._admit, self._clerk.note, slots, first=limits.first, silent=limits.silent)
        self._porch = porch

    def __repr__(self) -> str:
        return f"Acceptor({self._porch}, {len(self._open)} associations)"

    def start(self) -> None:
        """Begin to accept; returns at once."""
        self._clerk.start()
        self._porch.start()

    def drain(self, seconds: float) -> int:
        """Accept nothing more, wait for what is open, abort the rest; how many were aborted.

        A connection that was accepted is served: its caller cannot know that another process would have been better.
        """
        deadline = time.monotonic() + seconds
        self._porch.close(seconds)
        self._clerk.stop()
        with self._changed:
            self._changed.wait_for(lambda: not self._open, timeout=max(0.0, deadline - time.monotonic()))
            left = list(self._open)
            for assoc in left:
                assoc.abort()
            self._changed.wait_for(lambda: not self._open, timeout=_LAST_WORDS)
        return len(left)

    def _admit(self, visitor: Visitor) -> None:
        """Give a connection that has brought its request a thread of its own."""
        assoc = None
        try:
            assoc = Reception(self._ae, visitor, self._node, self._slots, self._left)
            with self._changed:
                self._open.add(assoc)
            assoc.start()
        except (OSError, MemoryError, RuntimeError) as error:  # no memory, or no thread, can be had
            log.error("no room for an association from=%s: %s", visitor.address, error)
            if assoc:
                self._left(assoc)
            self._slots.gone()
            with contextlib.suppress(OSError):
                visitor.socket.setblocking(False)
                visitor.socket.send(_CONGESTED)
            visitor.socket.close()

    def _left(self, assoc: Reception) -> None:
        with self._changed:
            self._open.discard(assoc)
            self._changed.notify_all()
