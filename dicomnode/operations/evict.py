"""The story of a study that goes: confirmed everywhere, old enough or in the way, and then off the disk.

First the index says in one commit, with its audit event, that the study's files are gone; then they are removed. A kill
in between leaves files that nobody offers, and the next round removes them. Who has such a file open reads it to its
end; who was to open it is told that it is not there. What store/space.py keeps is kept, whatever the disk is like.

What may fail: OutOfResources, where the index cannot be written; a file that cannot be removed is tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import groupby
from os.path import dirname

from dicomnode.operations.ports import Node
from dicomnode.store import audit, space
from dicomnode.store.audit import Event
from dicomnode.store.space import Age, Evicted

log = logging.getLogger(__name__)

_STUDIES = 50
_FILES = 2000
"""The most that go in one round, or a single larger study: other housekeeping does not wait for long."""


def evict(node: Node, trusted: int) -> bool:
    """One round; whether there is more to do at once. `trusted` is the time (µs) by which a study's age is told."""
    more = [_go(why, age, wanted, node) for why, age, wanted in _reasons(node, trusted)]
    return sweep(node) or any(more)


def _reasons(node: Node, trusted: int) -> Iterator[tuple[str, Age, float]]:
    """Why studies are to go, which may, and how many bytes are wanted."""
    retention = node.config.node.retention
    if retention.after is not None:
        old = trusted - round(retention.after * 1e6)
        yield "it is older than node.retention.after", Age(old, old, retention.committed), float("inf")
    if retention.free is not None:
        wanted = retention.free - node.archive.volume.free()
        yield "room is wanted by node.retention.free", Age(committed=retention.committed), wanted


def _go(why: str, age: Age, wanted: float, node: Node) -> bool:
    """Let studies go until enough is free; whether there is more to do."""
    if wanted <= 0:
        return False
    with node.database.read():
        studies = space.evictable(age, _STUDIES)
    files = 0
    for study in studies:
        gone = _evict(study, why, age, node)
        wanted -= gone.bytes if gone else 0
        files += gone.instances if gone else 0
        if wanted <= 0 or files >= _FILES:
            break
    return wanted > 0 and (files >= _FILES or len(studies) == _STUDIES)


def _evict(study: int, why: str, age: Age, node: Node) -> Evicted | None:
    """One study, with its event, in one commit; None where something has happened meanwhile that keeps it."""

    at = node.clock()

    def evicted() -> Evicted | None:
        gone = space.evict(study, age, at)
        if gone:
            text, uid = f"{gone.instances} instances, {gone.bytes} bytes: {why}", gone.study_instance_uid
            audit.record(Event(at, "study evicted", text, study_instance_uid=uid, generation=node.generation))
        return gone

    gone = node.database.write(evicted)
    if gone:
        uid, count = gone.study_instance_uid, gone.instances
        log.info("evicted study=%s instances=%d bytes=%d: %s", uid, count, gone.bytes, why)
    return gone


def sweep(node: Node) -> bool:
    """Remove files that are of no use any more; whether there are more."""
    with node.database.read():
        files = space.discarded(_FILES)
    gone = [
        file
        for folder, inside in groupby(files, dirname)
        for file in node.archive.clear(folder, list(inside), node.clock())
    ]
    if gone:
        node.database.write(lambda: space.removed(gone))
    return len(gone) == _FILES
