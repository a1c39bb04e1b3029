"""A node that has nothing to do does nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.node import Node, default_config
from tests.samples import make_instances
from tests.wire import contexts_for

SECONDS = 3.0
ONCE_A_SECOND = 1
"""The most often that a process wakes by itself. Each look at the index may sleep a few times: for the disk, a lock."""
A_LOOK = 15
"""Sleeps of one look of the housekeeper or the forwarder, which they have every five seconds or slower."""


def switches(node: Node) -> dict[tuple[str, int], int]:
    """How often each process has gone to sleep, all its threads together."""
    return {(role, pid): sum(map(_slept, _threads(pid))) for role, pids in node.pids().items() for pid in pids}


def _threads(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def _slept(thread: Path) -> int:
    (line,) = (text for text in (thread / "status").read_text().splitlines() if text.startswith("voluntary"))
    return int(line.split()[1])


def test_an_idle_node_with_twenty_associations_sleeps(node: Callable[..., Node]) -> None:
    """Anything that polls more often than once a second is seen: at four times a second it is twelve switches more."""
    it = node(default_config(acceptors=2))
    made = make_instances(1)
    for _ in range(20):
        it.associate("CT1", contexts_for(made), called="TO_GENERAL")
    it.wait_until(lambda: _is_quiet(it), 20, "the node to be quiet")
    before = switches(it)
    time.sleep(SECONDS)
    after = switches(it)
    assert after.keys() == before.keys()
    woken = {role: after[role, pid] - before[role, pid] for role, pid in after}
    most = {"supervisor": 0, "acceptor": 0, "forwarder": A_LOOK, "housekeeper": A_LOOK}
    assert all(count <= ONCE_A_SECOND * SECONDS + most[role] for role, count in woken.items()), woken


def _is_quiet(node: Node) -> bool:
    before = switches(node)
    time.sleep(0.5)
    return switches(node) == before
