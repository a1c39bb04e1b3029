"""The power is cut at every point of a recording, the node recovers, and what it had promised until then is looked for.

Points that leave the same bytes on disk are one state: recovery runs once on each. Nothing else runs: no process, no
network; a state is a folder on a file system in memory, where there is one.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dicomnode.config import load
from dicomnode.config.model import NodeConfig
from dicomnode.operations import housekeep
from dicomnode.operations.ports import Node
from dicomnode.run import workers
from dicomnode.store.archive import ulid
from tests.power.disk import Disk, Plain, Some, View, tree
from tests.power.recording import Recording, acknowledged
from tests.samples import dataset_of

NOTHING_MORE = Plain(all_names=False, all_bytes=False)
EVERYTHING = Plain(all_names=True, all_bytes=True)
NAMES_ONLY = Plain(all_names=True, all_bytes=False)
BYTES_ONLY = Plain(all_names=False, all_bytes=True)

Variants = Callable[[int], Mapping[str, View]]
"""The views that are tried at the n-th point, by what they are called."""


def synced(_: int) -> Mapping[str, View]:
    """Of what was not synced, nothing is there; or the names alone are."""
    return {"nothing more": NOTHING_MORE, "names only": NAMES_ONLY}


def every(number: int) -> Mapping[str, View]:
    """All that is tried at all."""
    some = {f"some ({seed})": Some((number, seed)) for seed in range(4)}
    return {**synced(number), "bytes only": BYTES_ONLY, "everything": EVERYTHING, **some}


def spread(number: int) -> Mapping[str, View]:
    """All of them, but the dear ones one at a time at a few points."""
    dear = ("bytes only", "everything", "some (0)", "some (1)")
    named = every(number)
    return {**synced(number), **({name: named[name] for name in (dear[number // 23 % 4],)} if number % 23 == 0 else {})}


@dataclass(frozen=True)
class State:
    """What a start found, and what its recovery made of it."""

    indexed: frozenset[str] = frozenset()
    """Instances that had a row before the recovery: what it adopts is no loss, but its commit was."""
    whole: frozenset[str] = frozenset()
    """Instances that are in the index after it, on disk as they were sent, and queued or more."""
    faults: tuple[str, ...] = ()


@dataclass
class Outcome:
    """How many points were cut at, how many states they left, and what was lost or found wrong, where."""

    points: int = 0
    states: int = 0
    promised: int = 0
    """How many instances had been answered 0000H at the last point."""
    losses: list[str] = field(default_factory=list)
    """Instances that are not there, or not as they were sent."""
    forgotten: list[str] = field(default_factory=list)
    """Instances whose commit is gone: their files may be adopted, but what was decided of them since is lost."""
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = (len(self.losses), "lost"), (len(self.forgotten), "forgotten"), (len(self.faults), "other faults")
        return f"{self.points} points, {self.states} states: " + ", ".join(f"{n} {what}" for n, what in counts)

    def note(self, where: str, promised: frozenset[str], state: State) -> None:
        """What of the promised is missing in a state."""
        self.losses += [f"{where}: lost {uid}" for uid in sorted(promised - state.whole)]
        self.forgotten += [f"{where}: forgotten {uid}" for uid in sorted(promised - state.indexed)]

    @property
    def found(self) -> list[str]:
        """All that should not be."""
        return [*self.losses, *self.forgotten, *self.faults]


def replay(recording: Recording, variants: Variants, *, enough: int = 20) -> Outcome:
    """Cut everywhere; ends early where so much was lost that no more need be known."""
    outcome, known = Outcome(), dict[bytes, State]()
    with _folder() as folder, _quiet():
        recovery = Recovery(folder, recording)
        for point in points(recording):
            outcome.points, outcome.promised = outcome.points + 1, len(point.promised)
            for name, view in variants(point.number).items():
                left = tree(point.disk, view)
                key, where = _digest(left), f"after event {point.number}, {name}"
                if key not in known:
                    known[key] = recovery.run(left)
                    outcome.faults += [f"{where}: {it}" for it in known[key].faults]
                outcome.note(where, point.promised, known[key])
            if len(outcome.found) >= enough:
                break
        outcome.states = len(known)
    return outcome


@dataclass(frozen=True)
class Point:
    """The power is cut after an event: the disk then, and the instances that had been answered 0000H."""

    number: int
    disk: Disk
    promised: frozenset[str]


def points(recording: Recording) -> Iterator[Point]:
    """Every point at which the disk, or what was promised, is another than before. The disk goes on changing."""
    disk, promised = Disk(str(recording.folder)), frozenset[str]()
    for number, event in enumerate(recording.events):
        changed = disk.apply(event)
        if event.result is None and event.call.name.startswith("send"):
            told = acknowledged(b"".join(event.call.strings))
            changed, promised = changed or bool(told), promised.union(told)
        if changed:
            yield Point(number, disk, promised)


def _digest(left: Mapping[str, bytes | None]) -> bytes:
    digest = hashlib.sha256()
    for path in sorted(left):
        content = left[path]
        digest.update(f"{path}\0{'-' if content is None else len(content)}\0".encode())
        digest.update(content or b"")
    return digest.digest()


class Recovery:
    """A node that starts on what is left of another."""

    def __init__(self, folder: Path, recording: Recording) -> None:
        self._folder, self._sent = folder, recording.sent
        (folder / "dicomnode.yaml").write_text(recording.config)
        self._config: NodeConfig = load.load(folder / "dicomnode.yaml")

    def run(self, left: Mapping[str, bytes | None]) -> State:
        data = self._config.node.data
        shutil.rmtree(data, ignore_errors=True)
        for path, content in left.items():
            place = self._folder / path
            if content is None:
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
        try:
            return self._start()
        except Exception as error:  # whatever it is, the node does not start
            return State(faults=(f"the node does not start: {error!r}",))

    def _start(self) -> State:
        node = workers.build(self._config, 0, ulid())
        try:
            node.database.migrate()
            indexed = frozenset(uid for uid, *_ in self._rows(node))
            housekeep.recover_all(node)
        finally:
            node.database.close()
        whole = frozenset(uid for uid, *kept in self._rows(node) if self._is_whole(node, uid, *kept))
        with contextlib.closing(sqlite3.connect(node.database.path)) as index:
            checks = [text for (text,) in index.execute("PRAGMA quick_check") if text != "ok"]
        parts = [f"left over: {part.name}" for part in node.archive.root.rglob("*.part")]
        return State(indexed, whole, (*checks, *parts))

    def _rows(self, node: Node) -> list[tuple[str, str, int]]:
        with contextlib.closing(sqlite3.connect(node.database.path)) as index:
            return index.execute(_KEPT).fetchall()

    def _is_whole(self, node: Node, uid: str, file: str, transfers: int) -> bool:
        path = node.archive.path(file)
        return transfers == 1 and path.is_file() and hashlib.sha256(dataset_of(path)).hexdigest() == self._sent[uid]


_KEPT = """SELECT sop_instance_uid, file, (SELECT count(*) FROM transfers WHERE instance = instances.id)
           FROM instances WHERE current"""


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="power-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What a recovery says of what it finds is said a thousand times here."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
