"""The disk fails while instances flow: `python -m tests.acceptance.faults` tries all of it, a few minutes long.

A running node's system calls are made to fail by strace; its file system is filled, made read-only and given back in a
mount namespace of its own (`unshare`, no rights needed); its processes are left without descriptors. Whoever sends is
told to come later or loses the association, and sends again; in the end nothing that was answered 0000H is missing, and
nothing was kept of which a call had failed.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.acceptance.altered import environment
from tests.acceptance.flow import Flow, at_once, losses
from tests.integration.kit import rows
from tests.node import Node, changed, wait_until
from tests.power.strace import Injection
from tests.wire import Receiver

_INSTANCES = 120
_SENDERS = 4
_PATIENCE = 30.0
_ULID = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{26}(?=\.part)")


@dataclass(frozen=True)
class Fault:
    """Calls of a role's processes that fail: strace's `inject=`; of one file of the data folder, or of any."""

    role: str
    inject: str
    file: str = ""
    hits: int = 3
    """How often it strikes at least, before the calls are left alone."""

    def __str__(self) -> str:
        return f"{self.role}: {self.inject} {self.file}".rstrip()


_LOG = "index.sqlite-wal"
FAULTS = [
    Fault("acceptor", "fdatasync:error=EIO:when=1+4"),
    Fault("acceptor", "fsync:error=EIO:when=2+5"),
    Fault("acceptor", "renameat:error=EIO:when=2+5"),
    Fault("acceptor", "renameat:error=ENOSPC:when=1+3"),
    Fault("acceptor", "write:error=ENOSPC:when=7+11"),
    Fault("acceptor", "write:error=EDQUOT:when=3+50"),
    Fault("acceptor", "openat:error=EMFILE:when=3+6"),
    Fault("acceptor", "openat:error=EROFS:when=3+6"),
    Fault("acceptor", "fdatasync:error=EIO:when=1+4", _LOG),
    Fault("acceptor", "pwrite64:error=ENOSPC:when=5+40", _LOG),
    Fault("acceptor", "pwrite64:error=EIO:when=3+30", _LOG),
    Fault("forwarder", "pwrite64:error=ENOSPC:when=2+10", _LOG),
    Fault("forwarder", "fdatasync:error=EIO:when=1+2", _LOG),
    Fault("housekeeper", "pwrite64:error=EIO:when=1", "index.sqlite", hits=1),
    Fault("housekeeper", "fdatasync:error=EIO:when=1", "index.sqlite", hits=1),
]


def trial(node: Node, receiver: Receiver, folder: Path, fault: Fault) -> list[str]:
    """One fault while a flow goes on; what was lost, and what was kept that had failed."""
    flow = Flow(node, receiver, folder, _INSTANCES, senders=_SENDERS, seed=str(fault))
    filters = ["-P", str(node.data / fault.file)] if fault.file else []
    log = folder / f"{len(list(folder.iterdir()))}.strace"
    with Injection(node.pids()[fault.role], fault.inject, log, *filters) as injection:
        flow.start()
        wait_until(lambda: len(injection.hits()) >= fault.hits, _PATIENCE, f"{fault} to hit", node.log)
    flow.finish()
    return losses(node, receiver, [flow], timeout=30) + kept(node, injection.hits())


def kept(node: Node, hits: list[str]) -> list[str]:
    """Files that are in the index although a call that made them had failed."""
    known = {Path(row["file"]).stem for row in rows(node, "SELECT file FROM instances")}
    failed = {name for line in hits for name in _ULID.findall(line)}
    return [f"kept although it had failed: {name}" for name in sorted(known & failed)]


# -- a file system of its own ----------------------------------------------------------------------------------

_SIZE = 48 << 20
_WATERMARKS = {"associations": "2MB", "instances": "1MB"}


@contextlib.contextmanager
def _full(disk: Path, node: Node) -> Iterator[None]:
    """No byte is left, until all of it is free again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    yield
    filler.unlink()


@contextlib.contextmanager
def _few_descriptors(disk: Path, node: Node) -> Iterator[None]:
    """A process may open one more file, and no other."""
    pids = [pid for role in ("acceptor", "forwarder", "housekeeper") for pid in node.pids()[role]]
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 1, hard))
    yield
    for pid, limits in before.items():
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


@contextlib.contextmanager
def _killed_on_a_full_disk(disk: Path, node: Node) -> Iterator[None]:
    """The node is killed when there is no byte left; then it starts without one, or says that it cannot."""
    with _full(disk, node):
        node.kill_all()
        with contextlib.suppress(AssertionError):
            node.start(60)
    if node.process is None:
        node.start(60)
    yield


Trouble = Callable[[Path, Node], contextlib.AbstractContextManager[None]]
TROUBLES: list[Trouble] = [_full, _few_descriptors, _killed_on_a_full_disk]


def troubled(trouble: Trouble, folder: Path, disk: Path) -> list[str]:
    """One trouble that all processes have, while a flow goes on, with the data on a small disk; what was lost."""
    folder.mkdir()
    keys = {"data": str(disk / trouble.__name__), "watermarks": _WATERMARKS}
    with Receiver() as receiver, _node(receiver, folder, keys) as node:
        flow = Flow(node, receiver, folder, _INSTANCES, senders=_SENDERS, seed=trouble.__name__)
        flow.start().wait_for(_INSTANCES // 10)
        with trouble(disk, node):
            time.sleep(3)  # trouble takes its time
        flow.finish()
        return losses(node, receiver, [flow], timeout=30)


@contextlib.contextmanager
def _node(receiver: Receiver, folder: Path, keys: Mapping[str, Any]) -> Iterator[Node]:
    config = changed(at_once(receiver), {"node": keys})
    node = Node(folder / "node", config, module="tests.acceptance.altered", env=environment("hurries"))
    try:
        yield node.start(60)
    finally:
        node.kill_all()


def _on_a_small_disk(folder: Path) -> int:
    """Run this module again where it may mount, and has a small file system at `folder`."""
    script = f'mount -t tmpfs -o size={_SIZE} tmpfs "$1" && exec "$2" -m tests.acceptance.faults --on "$1"'
    return subprocess.run(["unshare", "-Urm", "sh", "-c", script, "sh", str(folder), sys.executable]).returncode


# -- all of it -------------------------------------------------------------------------------------------------


def _is_sound(what: object, trial: Callable[[], list[str]]) -> bool:
    """Whether a trial came to its end and found nothing; it is said."""
    try:
        found = trial()
    except AssertionError as error:
        found = [str(error)]
    print(f"{what}: {'nothing lost' if not found else found[:5]}", flush=True)
    return not found


def _injections(folder: Path) -> bool:
    with Receiver() as receiver, _node(receiver, folder, {}) as node:
        trials = {fault: partial(trial, node, receiver, folder, fault) for fault in FAULTS}
        sound = [_is_sound(*each) for each in trials.items()]
    return all(sound)


def main(arguments: list[str]) -> int:
    """0 where nothing was lost. `--on FOLDER`: only what needs a small file system, in this folder which is one."""
    if arguments[:1] == ["--on"]:
        small = Path(arguments[1])
        sound = [_is_sound(it.__name__, partial(troubled, it, small.parent / it.__name__, small)) for it in TROUBLES]
        return 0 if all(sound) else 1
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        small = Path(folder) / "small"
        small.mkdir()
        is_sound = _injections(Path(folder))
        return 0 if _on_a_small_disk(small) == 0 and is_sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
