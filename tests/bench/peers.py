"""The servers that are measured: this node, DCMTK's storescp and Orthanc, each as it ships, on loopback.

What each has done before it answers differs (seen with strace). This node: file, folder and index synced. Orthanc: file
synced, its name and the index not. storescp: nothing synced, and no index. The last two get TCP_NODELAY=1, without
which DCMTK's network layer waits 40 ms for a delayed acknowledgement now and then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

from tests import dcmtk, orthanc, wire
from tests.node import LOCAL, Node, default_config, free_port, tail, wait_until


class Server(Protocol):
    """A storage SCP under test; a context manager that listens on entry, and is gone, with its children, on exit."""

    name: str
    port: int
    called: str
    calling: str

    def __enter__(self) -> Server: ...

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None: ...

    @property
    def pid(self) -> int:
        """The process that all its others descend from."""

    def held(self) -> int:
        """How many instances it has."""


class ThisNode:
    """A whole node with its supervisor and workers, and as many acceptors as it takes by itself."""

    name, called, calling = "dicomnode", "REFERNODE", "CT1"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._node = Node(folder, default_config(port=self.port))

    def __enter__(self) -> ThisNode:
        self._node.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._node.__exit__(kind, error, trace)

    @property
    def pid(self) -> int:
        assert self._node.process is not None
        return self._node.process.pid

    def held(self) -> int:
        return sum(1 for _ in self._node.data.glob("instances/*/*/*.dcm"))


class StoreSCP:
    """DCMTK's storescp, which forks a process for each association."""

    name, called, calling = "storescp", "STORESCP", "BENCH"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._files, self._log = folder / "files", folder / "storescp.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> StoreSCP:
        self._files.mkdir(parents=True)
        command = [dcmtk.binary("storescp"), "--fork", "-aet", self.called, "-od", str(self._files), str(self.port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=_without_nagle(), stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until(self._answers, 10, "storescp to listen", self._log)
        except BaseException:
            self._end()
            raise
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"storescp ended{tail(self._log)}"
        with contextlib.suppress(OSError, wire.WireError):
            return wire.echo(LOCAL, self.port, self.called, timeout=2) == 0
        return False

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        """Its session is its own: the process group is it and the children that it forked."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def held(self) -> int:
        return len(list(self._files.iterdir()))


class Orthanc(orthanc.Orthanc):
    """Orthanc with its SQLite index; what the tests' one has for their convenience is set back to its defaults."""

    name, called, calling = "Orthanc", "ORTHANC", "BENCH"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        super().__init__(folder, options={"StableAge": 60, "UnknownSopClassAccepted": False})

    def __enter__(self) -> Orthanc:
        with _environment(_without_nagle()):
            self.start()
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def held(self) -> int:
        return self.count()


PEERS: tuple[Callable[[Path], Server], ...] = (ThisNode, StoreSCP, Orthanc)
"""This node first: the others are compared with it."""


@contextlib.contextmanager
def all_of_them(folder: Path) -> Iterator[list[Server]]:
    """Every peer, started with data below `folder`."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(peer(folder / str(number))) for number, peer in enumerate(PEERS)]


def _without_nagle() -> dict[str, str]:
    return {**os.environ, "TCP_NODELAY": "1"}


@contextlib.contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """What is started in the block inherits this environment."""
    before = dict(os.environ)
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
