"""A workstation that asks and counts: C-FIND on one association, at as little cost as can be.

Requests are made once and sent as bytes; of an answer no more is read than its status. What is slow is the server.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

from tests import wire
from tests.bench import peers
from tests.bench.load import LoadFailed
from tests.node import LOCAL
from tests.upper_layer import C_FIND, EXPLICIT_LE, P_DATA, STUDY_ROOT_FIND, Command, encode_command

_PENDING = (0xFF00, 0xFF01)
_STATUS = struct.pack("<HHL", 0x0000, 0x0900, 2)
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A server that can be asked, as whom, and how many studies it has."""

    name: str
    server: peers.Server
    calling: str
    studies: int

    @property
    def answering(self) -> list[int]:
        """The processes that answer."""
        return self.server.acceptors if isinstance(self.server, peers.ThisNode) else [self.server.pid]


class Workstation:
    """A context manager: an association for questions, to be asked one after the other."""

    def __init__(self, archive: Archive) -> None:
        server = archive.server
        contexts = [(STUDY_ROOT_FIND, [EXPLICIT_LE])]
        self._name = archive.name
        self.association = wire.Association(
            LOCAL, server.port, server.called, archive.calling, contexts, timeout=120, max_pdu=1 << 17
        )

    def __enter__(self) -> Workstation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.association.__exit__(kind, error, trace)

    def ask(self, identifier: bytes) -> tuple[int, float]:
        """How many answers there were, and the seconds until the last response. LoadFailed: it was no success."""
        request, channel = self._request(identifier), self.association.channel
        answers, began = 0, time.perf_counter()
        channel.send_raw(request)
        for status in statuses(channel.socket.recv_into):
            if status not in _PENDING:
                break
            answers += 1
        if status:
            raise LoadFailed(f"{self._name} ended a C-FIND with {status:04X}H after {answers} answers")
        return answers, time.perf_counter() - began

    def _request(self, identifier: bytes) -> bytes:
        command: Command = {"AffectedSOPClassUID": STUDY_ROOT_FIND, "CommandField": C_FIND, "MessageID": 1}
        command |= {"Priority": 0, "CommandDataSetType": 0}
        channel, context = self.association.channel, self.association.context_of(STUDY_ROOT_FIND)
        told = channel.fragments(context, encode_command(command), command=True)
        return b"".join((*told, *channel.fragments(context, identifier, command=False)))


def statuses(receive: Callable[[memoryview], int]) -> Iterator[int]:
    """The status of every response, read from as many PDUs at once as there are."""
    buffer, filled = bytearray(_BUFFER), 0
    while True:
        got = receive(memoryview(buffer)[filled:])
        if not got:
            raise LoadFailed("the association ended in the middle of an answer")
        filled, at = filled + got, 0
        while filled - at >= 6:
            kind, length = struct.unpack_from(">BxL", buffer, at)
            if kind != P_DATA:
                raise LoadFailed(f"PDU type {kind:02X}H in the middle of an answer")
            if filled - at - 6 < length:
                break
            yield from _commands(buffer, at + 6, at + 6 + length)
            at += 6 + length
        buffer[: filled - at] = buffer[at:filled]
        filled -= at


def _commands(buffer: bytearray, at: int, end: int) -> Iterator[int]:
    """The statuses of the command sets in the body of a P-DATA-TF PDU: none is so long that it would be cut."""
    while at < end:
        length, flags = struct.unpack_from(">LxB", buffer, at)
        if flags & 1:
            found = buffer.index(_STATUS, at, at + 4 + length) + len(_STATUS)
            yield int.from_bytes(buffer[found : found + 2], "little")
        at += 4 + length
