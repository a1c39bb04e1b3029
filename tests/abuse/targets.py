"""Who is abused: a whole node of ours as processes, and, for comparison, the storage SCP that pynetdicom ships.

Both have deadlines of a second or two. A target is a context manager; what it keeps is known by marks, which for the
node are the SHA-256 of the dataset: an instance counts as the one that was sent only when every byte is.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tests import samples, wire
from tests.abuse import gauge
from tests.certificates import Authority, Identity
from tests.node import LOCAL, Node, changed, default_config, free_port, tail, wait_until

FIRST, PDU, IDLE = 1.0, 1.5, 5.0
"""Seconds: for the association request, for a PDU that has begun, and for an association on which nothing comes."""
OBJECT_SIZE = 2_000_000
FROM_ONE_ADDRESS = 100
"""Few enough that a slow machine has them all open well within IDLE."""
ABUSER = "127.0.0.9"
"""Where those call from whose number is limited by address; all the others share the good partner's."""

LIMITS = {
    "first": f"{FIRST:g}s",
    "pdu": f"{PDU:g}s",
    "idle": f"{IDLE:g}s",
    "object_size": f"{OBJECT_SIZE // 1_000_000}MB",
    "associations": FROM_ONE_ADDRESS + 100,
    "address_associations": FROM_ONE_ADDRESS,
}
Wrap = Callable[[socket.socket], socket.socket]
_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\S+Z [A-Z]+ \w+\[\d+\] [\x20-\x7e]*")


class Target(Protocol):
    """A storage SCP that is abused; it listens on entry, and is gone on exit. Partner titles: `good`, and `abuser`;
    and `pinned`, which has to show `own`. `authority` vouches for all of them.

    `wrap` makes a connection one of TLS, where that is spoken on `port`.
    """

    name: str
    host: str
    port: int
    called: str
    good: str
    abuser: str
    pinned: str
    authority: Authority
    own: Identity
    log: Path
    wrap: Wrap | None

    def __enter__(self) -> Target: ...

    def __exit__(self, *problem: Any) -> None: ...

    def secured(self) -> Target:
        """The same where it speaks TLS. Either of the two is entered, not both."""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that all its others descend from."""

    def held(self) -> set[str]:
        """The marks of all that is kept."""

    def mark(self, sample: samples.Sample) -> str:
        """What `held` says once this sample is kept."""

    def remains(self) -> list[str]:
        """Files that may not be there while nothing is being received: unfinished ones, and any in a strange place."""

    def faults(self, log: str) -> list[str]:
        """What is wrong with the lines that it has logged."""


class NodeTarget:
    """dicomnode with two acceptors; `folder` is its own, and nothing else may be written there."""

    name, host, called, good, abuser, pinned = "dicomnode", LOCAL, "REFERNODE", "PEAK_CT", "CT1", "PINNED"

    def __init__(self, folder: Path, authority: Authority) -> None:
        self._peer, self._tls_port = authority.issue("peer"), free_port()
        self.authority, self.own = authority, authority.issue("pinned")
        tls = authority.issue("node").node(f"{LOCAL}:{self._tls_port}")
        config = changed(default_config(), {"node": {"acceptors": 2, "limits": LIMITS, "tls": tls}})
        pinned = {"site": "harbour", "may": ["store"], "tls": {"spki": self.own.spki}}
        partners = {"CT1": {"address": "127.0.0.0/8"}, "PINNED": pinned}
        self.node = Node(folder, changed(config, {"partners": partners}))
        self.port, self.log = self.node.port, self.node.log
        self.wrap: Wrap | None = None
        self._marks: dict[Path, str] = {}

    def secured(self) -> NodeTarget:
        other = copy.copy(self)
        other.port, other.wrap = self._tls_port, self._peer.context().wrap_socket
        return other

    def __enter__(self) -> NodeTarget:
        self.node.start()
        gauge.settled(self.process.pid)  # the others load while an acceptor answers already
        return self

    def __exit__(self, *problem: Any) -> None:
        self.node.kill_all()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self.node.process is not None
        return self.node.process

    def held(self) -> set[str]:
        files = [*self.node.data.glob("instances/*/*/*.dcm")]
        self._marks |= {path: _sha256(samples.dataset_of(path)) for path in files if path not in self._marks}
        return {self._marks[path] for path in files}

    def mark(self, sample: samples.Sample) -> str:
        return sample.sha256

    def remains(self) -> list[str]:
        folder = self.node.folder
        files = [path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()]
        return sorted(str(path) for path in files if path.suffix == ".part" or not _belongs(path))

    def faults(self, log: str) -> list[str]:
        traceback = log.partition("Traceback")
        if traceback[1]:
            return [f"a traceback in the log: {''.join(traceback[1:])[:3000]}"]
        whole = log[: log.rfind("\n") + 1]  # the last line may be on its way
        broken = [line for line in whole.splitlines() if not _LOG_LINE.fullmatch(line)]
        return [f"a broken line in the log: {line[:100]!r}" for line in broken[:1]]


def _belongs(path: Path) -> bool:
    """Whether a file is one of those that a node makes in its folder; its instances have names of its own."""
    if path.parts[0] != "data":
        return str(path) in ("dicomnode.yaml", "node.log")
    if path.parts[1] == "instances":
        return re.fullmatch(r"data/instances/\d{8}/\d\d/[0-9A-Z]{26}\.dcm", str(path)) is not None
    return re.fullmatch(r"data/(index\.sqlite(-wal|-shm)?|write\.lock|run/\w+\.(lock|bell))", str(path)) is not None


class Stock:
    """`python -m pynetdicom storescp`, unmodified, its time limits set to the node's; over TLS, tests.abuse.stock."""

    name, host, called, good, abuser, pinned = "pynetdicom", LOCAL, "STORESCP", "GOOD", "ABUSER", "PINNED"

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.port, self.log = free_port(), folder / "storescp.log"
        self.wrap: Wrap | None = None
        self._files, self.authority, self.own = folder / "files", authority, authority.issue("pinned")
        limits = ["-ta", f"{FIRST:g}", "-td", f"{PDU:g}", "-tn", f"{IDLE:g}"]
        self._words = ["pynetdicom", "storescp", str(self.port), "-od", str(self._files), *limits]
        self._process: subprocess.Popen[bytes] | None = None

    def secured(self) -> Stock:
        own, other = self.authority.issue("stock"), copy.copy(self)
        other.wrap = self.authority.issue("peer").context().wrap_socket
        other._words = ["tests.abuse.stock", str(self.port), str(self._files), str(own.certificate), str(own.key)]
        return other

    def __enter__(self) -> Stock:
        self._files.mkdir(parents=True)
        environment = {**os.environ, "TMPDIR": str(self._files.parent)}
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", *self._words]
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        wait_until(self._answers, 20, "storescp to listen", self.log)
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"storescp ended{tail(self.log)}"
        with contextlib.suppress(OSError, wire.WireError):
            return wire.echo(self.host, self.port, self.called, timeout=2, wrap=self.wrap) == 0
        return False

    def __exit__(self, *problem: Any) -> None:
        self.process.kill()
        self.process.wait(10)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def held(self) -> set[str]:
        return {path.name.partition(".")[2] for path in self._files.iterdir()}

    def mark(self, sample: samples.Sample) -> str:
        return sample.sop_instance

    def remains(self) -> list[str]:
        folder = self._files.parent
        return sorted(path.name for path in folder.iterdir() if path not in (self._files, self.log))

    def faults(self, log: str) -> list[str]:
        return ["a traceback in the log"] if "Traceback" in log else []


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
