"""What a server's processes hold at this moment: memory, threads, descriptors, and CPU time spent so far.

Read from /proc of a process and all its descendants; nothing is asked of the server. Memory is PSS where the kernel
tells it, so that pages shared by several workers count once.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import cpu

_MB = 1 << 20
_SPARE_THREADS, _SPARE_DESCRIPTORS = 1, 16
"""What workers may begin at any time and keep: with the first write one opens its index, and SQLite keeps descriptors
of connections that were closed while others were open, as many as there were at once. What leaks, leaks more."""


@dataclass(frozen=True)
class Reading:
    """`pids` are the processes that were read; `memory` is in bytes, `cpu` in seconds."""

    pids: frozenset[int]
    memory: int
    threads: int
    descriptors: int
    cpu: float

    def over(self, before: Reading, *, memory: int | None = None) -> list[str]:
        """What is held beyond `before`, in words; memory only beyond an allowance of so many bytes, if one is given."""
        found = []
        if memory is not None and self.memory > before.memory + memory:
            found.append(f"memory +{(self.memory - before.memory) / _MB:.0f} MB")
        if self.threads > before.threads + _SPARE_THREADS:
            found.append(f"threads +{self.threads - before.threads}")
        if self.descriptors > before.descriptors + _SPARE_DESCRIPTORS:
            found.append(f"descriptors +{self.descriptors - before.descriptors}")
        return found


def read(root: int) -> Reading:
    """Of a process and its descendants. ProcessLookupError: `root` is gone."""
    pids = family(root)
    folders = [Path(f"/proc/{pid}") for pid in pids]
    return Reading(
        frozenset(pids),
        sum(map(memory_of, folders)),
        sum(_entries(folder / "task") for folder in folders),
        sum(_entries(folder / "fd") for folder in folders),
        cpu.spent(root),
    )


def settled(root: int, seconds: float = 1.0) -> Reading:
    """What it holds once nothing has changed for so long: threads and descriptors, and not memory."""
    last, since = read(root), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(0.1)
        now = read(root)
        if (now.pids, now.threads, now.descriptors) != (last.pids, last.threads, last.descriptors):
            last, since = now, time.monotonic()
    return last


def family(root: int) -> list[int]:
    """A process and its living descendants, parents first."""
    parents = {pid: stat.parent for pid, stat in cpu.stats().items()}
    found = [root]
    for pid in found:  # grows while it is walked
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def memory_of(folder: Path) -> int:
    """PSS of one process (its folder in /proc) in bytes; RSS on a kernel without smaps_rollup, 0 when it is gone."""
    for name, label in (("smaps_rollup", "Pss"), ("status", "VmRSS")):
        with contextlib.suppress(OSError):
            found = re.search(rf"^{label}:\s+(\d+) kB$", (folder / name).read_text(), re.MULTILINE)
            if found:
                return int(found.group(1)) << 10
    return 0


def _entries(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(1 for _ in folder.iterdir())
    return 0


class Peak:
    """The most memory seen while its block runs, looked at every 50 ms: `memory`, in bytes."""

    def __init__(self, root: int) -> None:
        self._root, self._over = root, threading.Event()
        self.memory = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        folders = [Path(f"/proc/{pid}") for pid in family(self._root)]
        while True:
            self.memory = max(self.memory, sum(map(memory_of, folders)))
            if self._over.wait(0.05):
                return

    @contextlib.contextmanager
    def watched(self) -> Iterator[Peak]:
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._thread.join()
