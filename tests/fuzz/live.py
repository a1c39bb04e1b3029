"""A running node under mutated conversations, each on a connection of its own.

After every round: its processes are those of before, a good partner associates and stores, nothing unfinished lies
about, each instance that is kept is byte for byte one that was sent whole, memory is what it was and some megabytes
more, and the log has no traceback and no broken line.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from tests.abuse import gauge, siege
from tests.abuse.targets import NodeTarget
from tests.certificates import Authority
from tests.fuzz import mutations
from tests.fuzz.conversations import datasets_in
from tests.node import tail

_ROOM = 48 << 20
"""Bytes of memory that the node may have more than at its start, over all processes."""
_ANSWER = 0.05
"""Seconds of silence in which what was said is taken in, by a node that waits for more."""


class Fuzzed:
    """A node that is talked to by `hears`, and looked over by `is_well`."""

    def __init__(self, target: NodeTarget) -> None:
        self.target = target
        self._whole: set[str] = set()
        self._logged = target.log.stat().st_size
        siege.warm_up(target)
        self._whole |= target.held()
        self._begin = gauge.read(target.process.pid)

    def hears(self, tape: bytes) -> None:
        """One conversation from its connection to its end; whatever is answered is read."""
        said = mutations.said(tape)
        self._whole.update(hashlib.sha256(dataset).hexdigest() for dataset in datasets_in(said.raw))
        with contextlib.suppress(OSError), socket.create_connection((self.target.host, self.target.port), 5) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for segment in said.segments:
                sock.sendall(segment)
            if said.end == "silence":
                sock.settimeout(_ANSWER)
                while sock.recv(1 << 16):
                    pass
            elif said.end == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def is_well(self) -> None:
        """AssertionError with the end of the log where something is wrong."""
        faults = [*self._left_over(), *self._heard()]
        self._good()
        if self.target.held() - self._whole:
            faults.append("something is kept that nobody sent whole")
        assert not faults, "; ".join(faults) + tail(self.target.log)

    def _good(self) -> None:
        self._whole.add(self.target.mark(siege.store(self.target)))

    def _left_over(self) -> list[str]:
        return siege.left_over(siege.Field(self.target, self._begin), memory=_ROOM)

    def _heard(self) -> list[str]:
        with self.target.log.open("rb") as log:
            log.seek(self._logged)
            lines = log.read()
        self._logged += len(lines)
        return self.target.faults(lines.decode(errors="replace"))


@contextlib.contextmanager
def fuzzed(folder: Path) -> Iterator[Fuzzed]:
    """A freshly started node with data in `folder`."""
    with NodeTarget(folder / "node", Authority(folder / "authority")) as target:
        yield Fuzzed(target)
