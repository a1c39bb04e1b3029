"""A whole node takes ten instances into custody and carries them to a partner, while strace writes down what it does.

The recording begins with an empty folder, and ends after the node has ended in good order: schema, group commits,
checkpoints and the end of the log are all in it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.altered import environment
from tests.node import Node, default_config, wait_until
from tests.power import strace
from tests.power.strace import Event
from tests.samples import Sample, make_instances
from tests.upper_layer import C_STORE, RESPONSE, decode_command
from tests.wire import Receiver, contexts_for

_PATIENCE = 60


class Traced(Node):
    """A node under strace."""

    @property
    def trace(self) -> Path:
        return self.folder.with_suffix(".strace")

    def _command(self, *arguments: str) -> list[str]:
        command = super()._command(*arguments)
        return [*strace.tracing(self.trace), *command] if arguments[0] == "serve" else command

    def events(self) -> list[Event]:
        """What it did in its folder and said on its sockets, once strace has written all of it down."""
        folder = "".join(f"\\x{byte:02x}" for byte in bytes(self.folder))
        ended = [str(self._pid), "+++"]
        wait_until(lambda: any(line[:40].split()[:2] == ended for line in self._lines()), _PATIENCE, "the trace's end")
        return [it for it in strace.events(self._lines()) if folder in it.call.text or it.call.name.startswith("send")]

    def _lines(self) -> Iterator[str]:
        with self.trace.open() as file:
            yield from file

    def start(self, timeout: float = 60) -> Node:
        strace.check()
        super().start(timeout)
        assert self.process
        self._pid = self.process.pid
        return self


@dataclass(frozen=True)
class Recording:
    """What a node did below `folder`, and what it was sent: SOP Instance UID → SHA-256 of the dataset."""

    folder: Path
    events: Sequence[Event]
    sent: Mapping[str, str]
    config: str
    """The text of its configuration, which names no absolute path."""


def record(folder: Path, *alterations: str, instances: int = 10) -> Recording:
    """Record a node in a new folder; `alterations` are those of tests/acceptance/altered.py."""
    made = [_share(number, instances) for number in range(4)]
    with Receiver() as receiver:
        config = default_config(pubpacs=receiver.port)
        config["routes"][0]["wait"] = "0s"
        folder.mkdir(parents=True)
        env = environment("hurries", *alterations)
        node = Traced(folder / "node", config, module="tests.acceptance.altered", env=env)
        node.start()
        try:
            _store(node, made)
            receiver.wait_for(instances, timeout=_PATIENCE)
            node.stop(_PATIENCE)
        finally:
            node.kill_all()
    sent = {sample.sop_instance: sample.sha256 for share in made for sample in share}
    return Recording(node.folder, node.events(), sent, node.file.read_text())


def _share(number: int, instances: int) -> list[Sample]:
    """A part of the instances, as a series of its own in one of two studies."""
    count = instances // 4 + (number < instances % 4)
    return make_instances(count, seed=("power", number // 2), series=number + 1, **_SMALL)


_SMALL = {"Rows": 32, "Columns": 32, "PixelData": bytes(range(256)) * 8}


def _store(node: Node, shares: Sequence[Sequence[Sample]]) -> None:
    """Two associations one after the other, and two at once."""
    for share in shares[:2]:
        _send(node, share)
    threads = [threading.Thread(target=_send, args=(node, share)) for share in shares[2:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE)


def _send(node: Node, share: Sequence[Sample]) -> None:
    with node.associate("CT1", contexts_for(share), called="TO_GENERAL", timeout=_PATIENCE) as association:
        assert {association.send_sample(sample) for sample in share} == {0}


# -- answers ---------------------------------------------------------------------------------------------------

_P_DATA = 4
_LAST_OF_A_COMMAND = 3


def acknowledged(data: bytes) -> list[str]:
    """The SOP Instance UIDs that what was sent to a socket answers 0000H for."""
    return [str(it["AffectedSOPInstanceUID"]) for it in _commands(data) if _is_success(it)]


def _is_success(command: Mapping[str, object]) -> bool:
    return command.get("CommandField") == C_STORE | RESPONSE and command.get("Status") == 0


def _commands(data: bytes) -> Iterator[Mapping[str, object]]:
    """The command sets in P-DATA-TF PDUs (PS3.8 9.3.5), each in one PDV."""
    while len(data) >= 12 and data[0] == _P_DATA:
        length = int.from_bytes(data[2:6], "big")
        body, data = data[6 : 6 + length], data[6 + length :]
        size = int.from_bytes(body[:4], "big")
        if body[5] == _LAST_OF_A_COMMAND:
            yield decode_command(body[6 : 4 + size])
