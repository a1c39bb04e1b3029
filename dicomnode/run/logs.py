"""How a process logs: one line an event on standard error, in UTC. The only place that configures logging."""

from __future__ import annotations

import logging
import os
import time
import warnings


class _Lines(logging.Handler):
    """One write a line, so that what several processes say on one standard error is not mixed up."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            os.write(2, f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)


class _Flood(logging.Filter):
    """What strangers can cause as often as they like is told sixty times in a row, and then once a second."""

    _STRANGERS = frozenset(("dicomnode.net.porch", "dicomnode.net.association"))
    _MOST = 60

    def __init__(self) -> None:
        super().__init__()
        self._left, self._at, self._untold = float(self._MOST), time.monotonic(), 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name not in self._STRANGERS or record.levelno != logging.WARNING:
            return True
        now = time.monotonic()
        self._left, self._at = min(self._MOST, self._left + now - self._at), now
        if self._left < 1:
            self._untold += 1
            return False
        if self._untold:
            record.msg, record.args = f"{record.getMessage()} (and {self._untold} like it that are not told)", None
        self._left, self._untold = self._left - 1, 0
        return True


def configure(role: str) -> None:
    """Set up logging for a process that plays `role`. Libraries are heard only when something is badly wrong."""
    # What no line shows is not looked up for each: https://docs.python.org/3/howto/logging.html#optimization
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    formatter = logging.Formatter(
        f"%(asctime)s.%(msecs)03dZ %(levelname)s {role}[{os.getpid()}] %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler = _Lines()
    handler.setFormatter(formatter)
    handler.addFilter(_Flood())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    warnings.simplefilter("ignore")  # a library's warning shows what a peer has sent, in as many lines as it likes
    for library in ("pynetdicom", "pydicom", "peewee"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
