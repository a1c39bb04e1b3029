"""Who sends a study to a storage SCP, and what that costs: this node, DCMTK's tools, Orthanc and stock pynetdicom.

Each has the study before it is told to send: the node and Orthanc in their archives, the others as files.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Protocol

from tests import dcmtk, samples
from tests.bench import cpu, peers
from tests.bench.load import Load, LoadFailed, Senders
from tests.bench.scenario import NODE
from tests.node import LOCAL, wait_until
from tests.samples import Sample

_REST = 0.1
"""Seconds after the last arrival in which a server may still write down what it did."""
Arrived = Callable[[], bool]
"""Whether the last instance has reached the SCP."""


class Sender(Protocol):
    """Somebody who can send so many instances to the SCP that it was made for."""

    name: str
    share: float
    """Of the instances that the others send."""
    associations: int

    def send(self, count: int, number: int, arrived: Arrived) -> float:
        """Send them all: the CPU seconds that it took. LoadFailed. `number` is the round's."""


def files(folder: Path, sample: Sample, count: int) -> list[Path]:
    """A study of copies of a sample, written as Part 10 files."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        uid = f"{sample.sop_instance[:-6]}{number:06}"
        copy = replace(sample, sop_instance=uid, dataset=samples.with_uid(sample.dataset, uid))
        made.append(folder / f"{number:06}.dcm")
        made[-1].write_bytes(samples.part10(copy))
    return made


class Tool:
    """A command of DCMTK that is given the files' names; its CPU from its start to its end."""

    share, associations = 1.0, 1

    def __init__(self, command: Sequence[object], paths: Sequence[Path], name: str) -> None:
        self.name, self._command, self._paths = name, [str(word) for word in command], [str(path) for path in paths]

    def send(self, count: int, number: int, arrived: Arrived) -> float:
        command = [*self._command, *self._paths[:count]]
        process = subprocess.Popen(command, env=peers.NODELAY, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin
        assert process.stdout
        before = self._ready(process.pid, process.stdin, process.stdout)
        said = process.stdout.read()
        _, process.returncode, used = os.wait4(process.pid, 0)
        if process.returncode:
            raise LoadFailed(f"{self.name}: {said.decode(errors='replace')}")
        return used.ru_utime + used.ru_stime - before

    def _ready(self, pid: int, told: IO[bytes], said: IO[bytes]) -> float:
        """The CPU seconds that it had used before it could begin."""
        return 0.0


class Stock(Tool):
    """stock.py: its CPU from when its association is open, since Python's start is not what is measured."""

    share = 0.2

    def _ready(self, pid: int, told: IO[bytes], said: IO[bytes]) -> float:
        if said.readline() != b"open\n":
            raise LoadFailed("stock pynetdicom could not associate")
        before = cpu.spent(pid)
        told.write(b"go\n")
        told.flush()
        return before


def storescu(port: int, called: str, paths: Sequence[Path]) -> Tool:
    return Tool((dcmtk.binary("storescu"), "-R", "-aec", called, LOCAL, port), paths, "storescu")


def dcmsend(port: int, called: str, paths: Sequence[Path]) -> Tool:
    return Tool((dcmtk.binary("dcmsend"), "-aec", called, LOCAL, port), paths, "dcmsend")


def stock(port: int, called: str, paths: Sequence[Path]) -> Stock:
    return Stock((sys.executable, "-m", "tests.bench.stock", "send", port, called), paths, "stock")


class FromOrthanc:
    """Orthanc, told over HTTP to send a study that it has; asked for more or fewer, it gets another."""

    name, share, associations = "Orthanc", 1.0, 1

    def __init__(self, orthanc: peers.Orthanc, modality: str, make: Callable[[object], Sample]) -> None:
        self._orthanc, self._modality, self._make = orthanc, modality, make
        self._ids: dict[int, str] = {}

    def send(self, count: int, number: int, arrived: Arrived) -> float:
        if count not in self._ids:
            self._ids[count] = self._taken(count)
        before = cpu.spent(self._orthanc.pid)
        self._orthanc.store_to(self._modality, self._ids[count])
        return cpu.spent(self._orthanc.pid) - before

    def _taken(self, count: int) -> str:
        sample = self._make(("Orthanc", count))
        ingest(self._orthanc, self._orthanc.called, [sample], count)
        return str(self._orthanc.studies()[sample.study]["ID"])


class FromNode:
    """This node, which gets new studies by a route that waits half a second: until then they are held, not sent.

    Its CPU runs from when it has answered for the last instance, and the housekeeper's and the ledger's work is in it.
    """

    share, name = 1.0, NODE

    def __init__(
        self, node: peers.ThisNode, title: str, make: Callable[[object], Sample], associations: int = 1
    ) -> None:
        """`associations`: those of the partner that this title leads to."""
        self._node, self._title, self._make, self.associations = node, title, make, associations

    def send(self, count: int, number: int, arrived: Arrived) -> float:
        made = [self._make((self.name, self._title, number, study)) for study in range(self._studies())]
        ingest(self._node, self._title, made, count)
        before = cpu.spent(self._node.pid)
        wait_until(arrived, 60, f"{count} instances to be forwarded", self._node.node.log)
        time.sleep(_REST)
        return cpu.spent(self._node.pid) - before

    def _studies(self) -> int:
        return self.associations


class OneStudy(FromNode):
    """The same instances as a single study."""

    name = f"{NODE}, one study"

    def _studies(self) -> int:
        return 1


def ingest(server: peers.Server, called: str, made: Sequence[Sample], count: int) -> None:
    """Store `count` instances, as copies of these samples in equal parts, over an association for each."""
    loads = [Load(server.port, called, server.calling, sample, count // len(made)) for sample in made]
    with Senders(loads) as senders:
        senders.send()


def forwarding(folder: Path, ports: Mapping[str, int], associations: int) -> peers.ThisNode:
    """A node that sends what is stored to a title on to the port that goes with it, over so many associations."""
    partners = {
        f"FAR_{title}": {"site": "general", "host": LOCAL, "port": port, "associations": associations}
        | {"ae_title": peers.StoreSCP.called}
        for title, port in ports.items()
    }
    routes = [
        {"name": title, "from": ["harbour"], "when": {"called": title}, "to": [f"FAR_{title}"], "wait": "0.5s"}
        for title in ports
    ]
    changes: dict[str, Any] = {"node": {"aliases": list(ports)}, "partners": partners, "routes": routes}
    return peers.ThisNode(folder, changes)


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
