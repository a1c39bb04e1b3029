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
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    warnings.simplefilter("ignore")  # a library's warning shows what a peer has sent, in as many lines as it likes
    for library in ("pynetdicom", "pydicom", "peewee"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
