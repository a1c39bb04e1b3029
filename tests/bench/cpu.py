"""The CPU time that a server has used: all its processes, and those of them that are gone.

Read from /proc/<pid>/stat (proc(5)), in clock ticks of some 10 ms: measure over enough work. A descendant that has
ended counts as long as it, or one of its ancestors that waited for it, is there; one whose parent died is lost.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

TICK = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds; half of the resolution of a difference, for each process."""


class Stat(NamedTuple):
    """One process: its parent, the ticks it has used itself, and those of the children that it has waited for."""

    parent: int
    own: int
    reaped: int


def spent(root: int) -> float:
    """Seconds of CPU, user and system, of a process and everything it started. ProcessLookupError: it is gone."""
    seen = -1
    while (now := total(root, stats())) != seen:  # until no child was reaped between its own line and its parent's
        seen = now
    return seen * TICK


def total(root: int, processes: Mapping[int, Stat]) -> int:
    """Ticks of `root` and its descendants among `processes`, reaped ones included."""
    if root not in processes:
        raise ProcessLookupError(f"process {root} is gone")
    family = [root]
    for pid in family:  # grows while it is walked
        family += [child for child, stat in processes.items() if stat.parent == pid]
    return sum(processes[pid].own + processes[pid].reaped for pid in family)


def stats() -> dict[int, Stat]:
    """Every process there is, zombies included: their time is not their parent's yet."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found[int(entry.name)] = parse((entry / "stat").read_text())
    return found


def parse(line: str) -> Stat:
    """A line of /proc/<pid>/stat. The name, in brackets, may hold anything, so what follows the last one is split."""
    fields = line.rpartition(")")[2].split()
    user, system, children_user, children_system = map(int, fields[11:15])
    return Stat(int(fields[1]), user + system, children_user + children_system)
