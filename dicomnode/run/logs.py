"""How a process logs: one line an event on standard error, in UTC. The only place that configures logging."""

from __future__ import annotations

import logging
import time


def configure(role: str) -> None:
    """Set up logging for a process that plays `role`. Libraries are heard only when something is badly wrong."""
    formatter = logging.Formatter(
        f"%(asctime)s.%(msecs)03dZ %(levelname)s {role}[%(process)d] %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in ("pynetdicom", "pydicom", "peewee"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
