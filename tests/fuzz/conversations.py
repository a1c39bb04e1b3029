"""Conversations as a requestor has them, as structures that can be mutated and written down again.

They are captured from associations of the tests' own client with the tests' own receiver. `datasets_in` is the model:
what any reader may take for a whole dataset in the bytes that were sent, by the letter of PS3.8 9.3.5 and E.2.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests import samples, wire
from tests.upper_layer import C_FIND, IMPLICIT_LE, P_DATA, STUDY_ROOT_FIND, VERIFICATION

CALLED, STORES, QUERIES = "REFERNODE", "CT1", "RAD_WS"
"""AE titles: of the node, and of two of its partners."""
CONTEXTS = ((VERIFICATION, (IMPLICIT_LE,)), (samples.CT_IMAGE, (wire.EXPLICIT_LE,)))
_COMMAND, _LAST = 1, 2


@dataclass(frozen=True)
class Value:
    """A presentation data value; with a `length` of its own, one that may be a lie."""

    context: int
    control: int
    fragment: bytes
    length: int | None = None

    def encode(self) -> bytes:
        length = len(self.fragment) + 2 if self.length is None else self.length
        return struct.pack(">LBB", length, self.context, self.control) + self.fragment


@dataclass(frozen=True)
class Pdu:
    """One PDU: P-DATA-TF as its values, any other as its body."""

    kind: int
    body: bytes = b""
    values: tuple[Value, ...] = ()
    length: int | None = None

    def encode(self) -> bytes:
        body = b"".join(value.encode() for value in self.values) + self.body
        return struct.pack(">BxL", self.kind, len(body) if self.length is None else self.length) + body


Conversation = tuple[Pdu, ...]


def encode(conversation: Conversation) -> bytes:
    return b"".join(each.encode() for each in conversation)


def parse(raw: bytes) -> Conversation:
    """Bytes that are whole PDUs, as they were captured."""
    return tuple(
        Pdu(kind, values=tuple(_values(body))) if kind == P_DATA else Pdu(kind, body) for kind, body in _pdus(raw)
    )


def _pdus(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of every PDU; of the last one, what there is."""
    at = 0
    while at + 6 <= len(raw):
        kind, length = struct.unpack_from(">BxL", raw, at)
        yield kind, raw[at + 6 : at + 6 + length]
        at += 6 + length


def _values(body: bytes) -> Iterator[Value]:
    """Every presentation data value up to the first that does not fit."""
    at = 0
    while at + 6 <= len(body):
        length, context, control = struct.unpack_from(">LBB", body, at)
        if length < 2 or at + 4 + length > len(body):
            return
        yield Value(context, control, body[at + 6 : at + 4 + length])
        at += 4 + length


def datasets_in(raw: bytes) -> list[bytes]:
    """Each sequence of data fragments since a command, up to one that is marked as the last."""
    found, dataset = [], b""
    for kind, body in _pdus(raw):
        for value in _values(body) if kind == P_DATA else ():
            if value.control & _COMMAND:
                dataset = b""
                continue
            dataset += value.fragment
            if value.control & _LAST:
                found.append(dataset)
                dataset = b""
    return found


# -- captures --------------------------------------------------------------------------------------------------


class _Recorder:
    """A socket that remembers what is sent on it, and sends it unless it `is_mute`."""

    def __init__(self, sock: Any) -> None:
        self._socket, self.sent, self.is_mute = sock, bytearray(), False

    def sendall(self, raw: bytes) -> None:
        self.sent += raw
        if not self.is_mute:
            self._socket.sendall(raw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def small(seed: object) -> samples.Sample:
    """A CT image of two kilobytes."""
    (made,) = samples.make_instances(1, seed=("fuzz", seed), Rows=16, Columns=16, PixelData=bytes(range(256)) * 2)
    return made


@functools.cache
def captured() -> tuple[Conversation, ...]:
    """Whole associations: an echo, stores in one fragment and in many, several messages, a query that is cancelled."""
    made = [small(number) for number in range(4)]
    plain = [
        _capture(lambda it: it.echo()),
        *(_capture(lambda it, sample=sample: it.send_sample(sample)) for sample in made[:3]),
        _capture(lambda it: [it.send_sample(sample) for sample in made], max_pdu=300),
        _capture(lambda it: (it.echo(), it.send_sample(made[0]), it.echo())),
    ]
    return (*plain, *(_joined(each) for each in plain[1:3]), _query())


def _capture(
    act: Callable[[wire.Association], object],
    calling: str = STORES,
    contexts: wire.Contexts = CONTEXTS,
    *,
    max_pdu: int = 16384,
) -> Conversation:
    recorders: list[_Recorder] = []

    def record(sock: Any) -> Any:
        recorders.append(_Recorder(sock))
        return recorders[0]

    with (
        wire.Receiver(max_pdu=max_pdu, accept=lambda _, syntaxes: syntaxes[0]) as receiver,
        wire.Association("127.0.0.1", receiver.port, CALLED, calling, contexts, wrap=record) as association,
    ):
        act(association)
    return parse(bytes(recorders[0].sent))


def _joined(conversation: Conversation) -> Conversation:
    """The same with all values in one PDU, as some peers write them."""
    data = [each for each in conversation if each.kind == P_DATA]
    values = tuple(value for each in data for value in each.values)
    return (conversation[0], replace(data[0], values=values), conversation[-1])


def _query() -> Conversation:
    """C-FIND, and the C-CANCEL of it: the receiver serves no queries, and hears of neither."""
    keys = samples.identifier(QueryRetrieveLevel="STUDY", PatientName="", StudyInstanceUID="")

    def ask(it: wire.Association) -> None:
        recorder: Any = it.channel.socket
        recorder.is_mute = True
        fields: dict[str, Any] = {"AffectedSOPClassUID": STUDY_ROOT_FIND, "Priority": 0}
        it.cancel(it.send(1, C_FIND, fields, keys), STUDY_ROOT_FIND)
        recorder.is_mute = False

    return _capture(ask, QUERIES, [(STUDY_ROOT_FIND, [wire.EXPLICIT_LE])])
