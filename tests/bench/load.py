"""The load generator: C-STOREs at the least cost to the machine that the servers under test share.

Each association has a process of its own. A request is encoded once, for the PDU length that the peer announced; the
next one differs by its Message ID and its SOP Instance UID, which are overwritten in place, and leaves in one call.
Every response is read before the next request is sent, as modalities do, and has to be the right one with 0000H.
"""

from __future__ import annotations

import multiprocessing
import struct
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

from tests import wire
from tests.node import LOCAL
from tests.samples import Sample
from tests.upper_layer import C_STORE, Channel, Value, encode_command

_PATIENCE = 60.0
"""Seconds that a peer may take for one answer."""
_DIGITS = 6
_MESSAGE_ID = struct.pack("<HHL", 0x0000, 0x0110, 2)


class LoadFailed(Exception):
    """A peer did not take everything that it was sent: there is nothing to measure."""


@dataclass(frozen=True)
class Load:
    """What one association carries: `count` copies of a sample, each under a SOP Instance UID of its own."""

    port: int
    called: str
    calling: str
    sample: Sample
    count: int


@dataclass(frozen=True)
class Sent:
    """C-STOREs answered 0000H, their datasets' bytes, seconds from the first request to the last answer, our CPU."""

    count: int
    size: int
    seconds: float
    sender_cpu: float


class Request:
    """A C-STORE-RQ as the bytes of all its PDUs (one PDV each), to be sent again and again under other UIDs."""

    def __init__(self, sample: Sample, context: int, channel: Channel) -> None:
        self._template = sample.sop_instance
        command: dict[str, Value | None] = {
            "CommandField": C_STORE,
            "MessageID": 1,
            "AffectedSOPClassUID": sample.sop_class,
            "AffectedSOPInstanceUID": sample.sop_instance,
            "Priority": 0,
            "CommandDataSetType": 0,
        }
        pdus = (
            *channel.fragments(context, encode_command(command), command=True),
            *channel.fragments(context, sample.dataset, command=False),
        )
        self._bytes = bytearray().join(pdus)
        self._id_at = self._bytes.index(_MESSAGE_ID) + len(_MESSAGE_ID)
        self._uids_at = _places(self._bytes, self._template.encode())
        if len(self._uids_at) != 2:  # that of the command and that of the dataset
            raise ValueError(f"the SOP Instance UID is {len(self._uids_at)} times in the PDUs, and not twice")

    def uid(self, number: int) -> str:
        """The SOP Instance UID of the copy with this number, below a million: as long as the sample's own."""
        return f"{self._template[:-_DIGITS]}{number:0{_DIGITS}}"

    def numbered(self, number: int) -> tuple[int, bytearray]:
        """Message ID and bytes of the copy with this number; the next call overwrites them."""
        uid, message_id = self.uid(number).encode(), number % 0xFFFF + 1
        for at in self._uids_at:
            self._bytes[at : at + len(uid)] = uid
        struct.pack_into("<H", self._bytes, self._id_at, message_id)
        return message_id, self._bytes


def _places(raw: bytearray, part: bytes) -> list[int]:
    found, at = [], raw.find(part)
    while at >= 0:
        found.append(at)
        at = raw.find(part, at + len(part))
    return found


class Senders:
    """A context manager: on entry every association is open, and nothing was sent; on exit all are released.

    `send` is called once in between. LoadFailed from each of the three: a peer refused, or an answer was not 0000H.
    """

    def __init__(self, loads: Sequence[Load]) -> None:
        self._loads = list(loads)
        self._children: list[tuple[BaseProcess, Connection]] = []

    def __enter__(self) -> Senders:
        with ExitStack() as undo:
            undo.callback(self._end)
            for load in self._loads:
                self._children.append(_start(load))
            self._answers()
            undo.pop_all()
        return self

    def send(self) -> Sent:
        """Let all of them send at once, and wait for their last answers."""
        for _, pipe in self._children:
            pipe.send("go")
        times = self._answers()
        seconds = max(end for _, end, _ in times) - min(begin for begin, _, _ in times)
        size = sum(load.count * len(load.sample.dataset) for load in self._loads)
        return Sent(sum(load.count for load in self._loads), size, seconds, sum(cpu for _, _, cpu in times))

    def _answers(self) -> list[Any]:
        """What each child says next."""
        said = []
        for _, pipe in self._children:
            try:
                said.append(pipe.recv())
            except EOFError:
                raise LoadFailed("a sender died") from None
            if isinstance(said[-1], Exception):
                raise said[-1]
        return said

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self._answers()
        self._end()

    def _end(self) -> None:
        for process, pipe in self._children:
            pipe.close()
            process.terminate()
            process.join()


def _start(load: Load) -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(load, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _child(load: Load, pipe: Connection) -> None:
    """Say when the association is open, wait for the word, send, say how long it took; and when it is released."""
    try:
        contexts = wire.contexts_for([load.sample])
        with wire.Association(LOCAL, load.port, load.called, load.calling, contexts, timeout=_PATIENCE) as association:
            request = Request(load.sample, association.context_of(load.sample.sop_class), association.channel)
            pipe.send("open")
            pipe.recv()
            pipe.send(store_all(association, request, load.count))
        pipe.send("released")
    except Exception as error:
        pipe.send(LoadFailed(f"{type(error).__name__}: {error}"))


def store_all(association: wire.Association, request: Request, count: int) -> tuple[float, float, float]:
    """Send that many copies: begin and end (monotonic seconds), CPU seconds. LoadFailed at the first wrong answer."""
    cpu, begin = time.process_time(), time.monotonic()
    for number in range(count):
        message_id, raw = request.numbered(number)
        association.channel.socket.sendall(raw)
        response = association.read_response()
        if (response.message_id, response.status) != (message_id, 0x0000):
            raise LoadFailed(f"{request.uid(number)} was answered {response.status:04X}H {response.command}")
    return begin, time.monotonic(), time.process_time() - cpu
