"""The thread in the housekeeper that looks for damage: first in the index, and then, for ever, in the files."""

from __future__ import annotations

import logging
import os
import threading

from dicomnode.errors import OutOfResources
from dicomnode.operations import scrub
from dicomnode.operations.ports import Node
from dicomnode.operations.scrub import Pace

log = logging.getLogger(__name__)

_LATER = 60.0
_END = 0.5
"""Seconds that an end waits for it: it may be in the middle of a table, and holds nothing that would be lost."""


class Scrubbing:
    """From `start` to `stop`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._stopped = threading.Event()
        self._pace = Pace(node.config.node.limits.scrub, self._stopped)
        self._is_checked = False
        self._thread = threading.Thread(target=self._run, name="scrubber", daemon=True)

    def __repr__(self) -> str:
        return f"Scrubbing({self._node.archive.root}, {'stopping' if self._stopped.is_set() else 'at work'})"

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Read no further."""
        self._stopped.set()
        self._thread.join(_END)

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._stopped.wait(self._step())
        except BaseException:
            log.critical("the scrubber failed by our own fault", exc_info=True)
            os._exit(70)  # the supervisor starts a housekeeper that knows nothing of it

    def _step(self) -> float:
        """A piece of the work; seconds until the next."""
        try:
            if not self._is_checked:
                scrub.check_index(self._node, self._pace)
                self._is_checked = True
            return scrub.scrub(self._node, self._pace)
        except OutOfResources as error:
            if not self._stopped.is_set():
                log.error("the scrubber waits: %s", error)
            return _LATER
