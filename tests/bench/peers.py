"""The servers that are measured: this node, the peers as they ship, and the least that can be done; on loopback.

What each has done before it answers differs (seen with strace). This node: file, folder and index synced, and so the
yardstick. Orthanc: file synced, its name and the index not. storescp, stock pynetdicom: nothing synced, and no index.
What is DCMTK inside gets TCP_NODELAY=1, without which it waits 40 ms for a delayed acknowledgement now and then.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from tests import dcmtk, orthanc
from tests.node import LOCAL, Node, changed, default_config, tail, wait_until

NODELAY = {**os.environ, "TCP_NODELAY": "1"}


class Server(Protocol):
    """A storage SCP under test; a context manager that listens on entry, and is gone, with its children, on exit."""

    name: str
    port: int
    called: str
    calling: str
    share: float
    """Of the work that the others get: what is slow gets less, so that a run takes no longer for it."""

    def __enter__(self) -> Server: ...

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None: ...

    @property
    def pid(self) -> int:
        """The process that all its others descend from."""

    def held(self) -> int:
        """How many instances it has."""


class ThisNode:
    """A whole node with its supervisor and workers, and as many acceptors as it takes by itself.

    `changes` to the configuration of the tests are merged key by key.
    """

    name, called, calling, share = "dicomnode", "REFERNODE", "CT1", 1.0

    def __init__(self, folder: Path, changes: Mapping[str, Any] | None = None) -> None:
        self.node = Node(folder, changed(default_config(port=quiet_port()), changes or {}))
        self.port = self.node.port

    def __enter__(self) -> ThisNode:
        self.node.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.node.__exit__(kind, error, trace)

    @property
    def pid(self) -> int:
        assert self.node.process is not None
        return self.node.process.pid

    @property
    def acceptors(self) -> list[int]:
        """Their process ids."""
        return self.node.pids()["acceptor"]

    def held(self) -> int:
        return sum(1 for _ in self.node.data.glob("instances/*/*/*.dcm"))


class Program:
    """A server that is one command and keeps a file for each instance in a folder. Its session is its own, so that
    its process group is it and the children that it forked."""

    name, called, calling, share = "", "ANY-SCP", "BENCH", 1.0

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.files, self._log = quiet_port(), folder / "files", folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def __enter__(self) -> Any:
        self.files.mkdir()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(), env=NODELAY, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until(self._listens, 20, f"{self.name} to listen", self._log)
        except BaseException:
            self._end()
            raise
        return self

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} ended{tail(self._log)}"
        with contextlib.suppress(OSError), socket.create_connection((LOCAL, self.port), 2):
            return True
        return False

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def held(self) -> int:
        return sum(1 for path in self.files.iterdir() if not path.name.startswith("."))


class StoreSCP(Program):
    """DCMTK's storescp, which forks a process for each association."""

    name = called = "storescp"

    def command(self) -> list[str]:
        return [dcmtk.binary("storescp"), "--fork", "-aet", self.called, "-od", str(self.files), str(self.port)]


class Stock(Program):
    """stock.py: pynetdicom as it is."""

    name, share = "stock", 0.2

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.bench.stock", "receive", str(self.port), str(self.files)]


class Yardstick(Program):
    """yardstick.py, in as many processes as the node has acceptors."""

    name = "yardstick"

    def __init__(self, folder: Path, processes: int) -> None:
        super().__init__(folder)
        self._processes = str(processes)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.bench.yardstick", str(self.port), str(self.files), self._processes]


class Probe(Program):
    """Somebody else's yardstick, a script that is run as `python SCRIPT PORT FOLDER 1 PROCESSES`."""

    name = "probe"

    def __init__(self, folder: Path, script: Path, processes: int) -> None:
        super().__init__(folder)
        self._script, self._processes = str(script), str(processes)

    def command(self) -> list[str]:
        return [sys.executable, self._script, str(self.port), str(self.files), "1", self._processes]


class Orthanc(orthanc.Orthanc):
    """Orthanc with its SQLite index; what the tests' one has for their convenience is set back to its defaults."""

    name, called, calling, share = "Orthanc", "ORTHANC", "BENCH", 1.0

    def __init__(
        self,
        folder: Path,
        modalities: Mapping[str, tuple[str, str, int]] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        folder.mkdir(parents=True)
        defaults = {"StableAge": 60, "UnknownSopClassAccepted": False}
        super().__init__(folder, modalities=modalities, options=defaults | dict(options or {}))
        self.port, self.http_port = quiet_port(), quiet_port()

    def __enter__(self) -> Orthanc:
        self.start()
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def held(self) -> int:
        return self.count()


def quiet_port() -> int:
    """A free port that the system gives to no outgoing connection: with thousands of those, storescp could not bind."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, first)
        with contextlib.suppress(OSError), socket.create_server((LOCAL, port)):
            return port


@contextlib.contextmanager
def all_of_them(folder: Path, probe: Path | None = None) -> Iterator[list[Server]]:
    """Every storage SCP, started with data below `folder`; this node first: the others are compared with it."""
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(ThisNode(folder / "node"))
        processes = len(node.acceptors)
        others: list[Server] = [StoreSCP(folder / "storescp"), Orthanc(folder / "orthanc"), Stock(folder / "stock")]
        others.append(Yardstick(folder / "yardstick", processes))
        if probe:
            others.append(Probe(folder / "probe", probe, processes))
        yield [node, *(stack.enter_context(other) for other in others)]
