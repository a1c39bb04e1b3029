"""The thread in the housekeeper that has the audit trail known outside: its head in the log, and all of it at a
collector, where one is configured."""

from __future__ import annotations

import logging
import os
import threading
import time

from dicomnode.errors import OutOfResources
from dicomnode.operations.outbox import Outbox
from dicomnode.operations.ports import Collector, Node
from dicomnode.store import chain

log = logging.getLogger(__name__)

_DAY = 86400.0
_LATER = 10.0
_END = 0.5
"""Seconds that an end waits for it: what it is sending then is sent again."""


class Post:
    """From `start` to `stop`."""

    def __init__(self, node: Node, collector: Collector | None) -> None:
        self._node = node
        self._outbox = Outbox(collector, node) if collector else None
        self._stopped = threading.Event()
        self._tell_at = 0.0
        self._thread = threading.Thread(target=self._run, name="post", daemon=True)

    def __repr__(self) -> str:
        return f"Post({self._outbox}, {'stopping' if self._stopped.is_set() else 'at work'})"

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stopped.set()
        self._thread.join(_END)

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._stopped.wait(self._step())
        except BaseException:
            log.critical("the post failed by our own fault", exc_info=True)
            os._exit(70)  # the supervisor starts a housekeeper that knows nothing of it

    def _step(self) -> float:
        """A piece of the work; seconds until the next."""
        try:
            now = time.monotonic()
            if now >= self._tell_at:
                self._tell()
                self._tell_at = now + _DAY
            return self._outbox.send() if self._outbox else self._tell_at - now
        except OutOfResources as error:
            if not self._stopped.is_set():
                log.error("the audit trail is not sent: %s", error)
            return _LATER

    def _tell(self) -> None:
        """Once a day: `dicomnode audit verify --head` holds the trail against what was logged."""
        with self._node.database.read():
            log.info("audit head=%s", chain.head())
