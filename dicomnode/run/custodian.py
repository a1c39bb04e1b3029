"""A worker that is no child of the supervisor: a command that takes instances into custody for a while.

It is beside the node that serves, or in its place: then nobody starts that meanwhile. Promises that whoever starts the
node sees it while it lives, and that nothing half received is left of it. What may fail: UsageError, where the node is
on its way up; DicomnodeError, as premises.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicomnode.config.model import NodeConfig
from dicomnode.errors import UsageError
from dicomnode.operations.ports import Node
from dicomnode.run import premises
from dicomnode.store.archive import Archive, ulid
from dicomnode.store.database import Database, index_of
from dicomnode.store.recover import show_alive


@dataclass(frozen=True, slots=True)
class Custodian:
    """The node with an archive of our own; `serving` is the process of the node beside us, 0 where there is none."""

    node: Node
    serving: int

    def is_left(self) -> bool:
        """Whether the node beside us has ended: it is not started again before we have."""
        return _serves(self.node.config.node.data) != self.serving


@contextmanager
def take_custody(config: NodeConfig, generation: int) -> Iterator[Custodian]:
    """Who may take instances, under the configuration in force."""
    data, name = config.node.data, ulid()
    alive = show_alive(data / "run", name)  # before it is looked who else is there: who comes later sees us
    archive = Archive(data, name, config.node.watermarks.instances)
    try:
        with _premises(data) as serving:
            archive.prepare()
            database = Database(index_of(data), volume=archive.volume)
            try:
                if not serving:
                    database.migrate()
                yield Custodian(Node(config, generation, archive, database), serving)
            finally:
                database.close()
    finally:
        archive.clear_incoming(name)
        (data / "run" / f"{name}.lock").unlink(missing_ok=True)
        os.close(alive)


@contextmanager
def _premises(data: Path) -> Iterator[int]:
    """The process of the node that serves; 0 where none does, and then nobody starts it meanwhile."""
    serving = premises.running(data)
    if serving and not serving[1]:
        raise UsageError("the node is starting, or its index is being rebuilt: try again when that is done")
    if serving:
        yield serving[0]
        return
    lock = premises.lock(data)
    try:
        yield 0
    finally:
        os.close(lock)


def _serves(data: Path) -> int:
    """The process that serves now; 0 where none does."""
    found = premises.running(data)
    return found[0] if found and found[1] else 0
