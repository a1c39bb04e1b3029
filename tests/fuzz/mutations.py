"""Captured conversations, changed where a parser could stumble, and cut into odd segments; all decided by a tape.

A tape is a few bytes that hypothesis makes up: it is read for each decision, and says no more once it is spent, so a
tape of zeros is a conversation as it was captured, and the smallest tape that fails has the fewest changes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from hypothesis import strategies as st

from tests.fuzz.conversations import Conversation, Pdu, Value, captured, encode
from tests.upper_layer import ASSOCIATE_RQ, P_DATA

T = TypeVar("T")
ENDS = ("close", "reset", "silence")
"""How the sender ends it: FIN, RST, or waiting for the other side."""
_LENGTHS = (0, 1, 2, 3, 5, 6, 7, 0xFFFF, 0x100000, 0x7FFFFFFF, 0xFFFFFFFF)
_VALUES = (
    *(struct.pack("<H", number) for number in (1, 2, 0x20, 0x21, 0x30, 0x100, 0x101, 0x130, 0xFFF, 0x8001, 0xFFFF)),
    *(b"../../x\0", b"1.2.3\0", b"1." + b"2" * 63, b"1.2.840.10008.1.1\0", b""),
)


class Tape:
    """Decisions, read from bytes; 0, and the first of a choice, when there are no more."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def below(self, end: int) -> int:
        """A number from 0 up to `end`, which is not meant."""
        self._at += 2
        return int.from_bytes(self._raw[self._at - 2 : self._at], "big") % end if end > 1 else 0

    def among(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def raw(self) -> bytes:
        """Up to 40 bytes."""
        count = self.below(41)
        self._at += count
        return self._raw[self._at - count : self._at]

    def length(self) -> int:
        """One that means trouble, or any."""
        return self.below(20_000) if self.below(3) == 2 else self.among(_LENGTHS)


tapes = st.binary(min_size=16, max_size=160)


@dataclass(frozen=True)
class Said:
    """What is sent: its bytes in the segments they are sent in, and how the sender ends it."""

    segments: tuple[bytes, ...]
    end: str

    @property
    def raw(self) -> bytes:
        return b"".join(self.segments)


def said(raw: bytes, *, after_request: bool = False) -> Said:
    """By the tape: a conversation with up to five changes, and odd bytes now and then; or what follows its request."""
    tape = Tape(raw)
    conversation = tape.among(captured())[int(after_request) :]
    for _ in range(tape.below(6)):
        conversation = tape.among(_MUTATIONS)(tape, conversation)
    whole = encode(conversation)
    if tape.below(4) == 3:
        whole = _changed(tape, whole)
    cuts = sorted(tape.below(len(whole) + 1) for _ in range(tape.below(6)))
    pieces = (whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True))
    return Said(tuple(piece for piece in pieces if piece), tape.among(ENDS))


def request(raw: bytes) -> bytes:
    """By the tape: an A-ASSOCIATE-RQ with up to five changes."""
    tape = Tape(raw)
    pdu = tape.among(captured())[0]
    for _ in range(tape.below(6)):
        pdu = tape.among((_items_changed, _items_changed, _body))(tape, pdu)
    return pdu.encode()


def _changed(tape: Tape, raw: bytes) -> bytes:
    """One place overwritten, cut out, filled in, or everything cut off after it."""
    at = tape.below(len(raw) + 1)
    gone = tape.among((0, 1, 2, 8, 100, len(raw)))
    return raw[:at] + tape.raw() + raw[at + gone :]


# -- of PDUs ---------------------------------------------------------------------------------------------------

Mutation = Callable[[Tape, Conversation], Conversation]


def _of_pdu(change: Callable[[Tape, Pdu], Pdu]) -> Mutation:
    """Change one PDU."""

    def mutate(tape: Tape, said: Conversation) -> Conversation:
        at = tape.below(len(said))
        return (*said[:at], *(change(tape, pdu) for pdu in said[at : at + 1]), *said[at + 1 :])

    return mutate


def _kind(tape: Tape, pdu: Pdu) -> Pdu:
    return replace(pdu, kind=tape.below(tape.among((9, 256))))


def _length(tape: Tape, pdu: Pdu) -> Pdu:
    return replace(pdu, length=tape.length())


def _body(tape: Tape, pdu: Pdu) -> Pdu:
    return replace(pdu, body=_changed(tape, pdu.body))


def _dropped(tape: Tape, said: Conversation) -> Conversation:
    at = tape.below(len(said))
    return said[:at] + said[at + 1 :]


def _repeated(tape: Tape, said: Conversation) -> Conversation:
    at = tape.below(len(said))
    return said[:at] + said[at : at + 1] * tape.among((2, 3, 12)) + said[at + 1 :]


def _swapped(tape: Tape, said: Conversation) -> Conversation:
    one, other = sorted((tape.below(len(said)), tape.below(len(said))))
    return said[:one] + said[other : other + 1] + said[one + 1 : other] + said[one : one + 1] + said[other + 1 :]


def _inserted(tape: Tape, said: Conversation) -> Conversation:
    at = tape.below(len(said) + 1)
    new = Pdu(tape.below(9), tape.raw(), length=tape.among((None, tape.length())))
    return (*said[:at], new, *said[at:])


def _spliced(tape: Tape, said: Conversation) -> Conversation:
    """Go on with the end of another conversation."""
    other = tape.among(captured())
    return said[: tape.below(len(said) + 1)] + other[tape.below(len(other)) :]


# -- of requests -----------------------------------------------------------------------------------------------

_FIXED, _CONTEXT = 68, 0x20
"""Bytes of an A-ASSOCIATE-RQ's body before its items; the type of an item whose sub-items begin at the fifth byte."""
_ITEMS = (0x10, 0x20, 0x21, 0x30, 0x40, *range(0x50, 0x5A), 0xFF)


def _asked_otherwise(tape: Tape, said: Conversation) -> Conversation:
    if not said or said[0].kind != ASSOCIATE_RQ:
        return said
    return (_items_changed(tape, said[0]), *said[1:])


def _items_changed(tape: Tape, pdu: Pdu) -> Pdu:
    return replace(pdu, body=pdu.body[:_FIXED] + _items(tape, pdu.body[_FIXED:]))


def _items(tape: Tape, raw: bytes, depth: int = 0) -> bytes:
    """One item other: its type, its length, its value, an item inside, left out, or there many times."""
    found = _parsed(raw)
    if not found or depth > 2:
        return raw + tape.raw()
    at, what = tape.below(len(found)), tape.below(6)
    kind, value = found[at]
    begin = 4 if kind == _CONTEXT else 0
    if what < 2:
        new = _item(kind, value[:begin] + _items(tape, value[begin:], depth + 1))
    elif what == 2:
        new = _item(tape.among(_ITEMS), value)
    elif what == 3:
        new = _item(kind, value, tape.length() & 0xFFFF)
    elif what == 4:
        new = _item(kind, _changed(tape, value))
    else:
        new = _item(kind, value) * tape.among((0, 2, 130, 500))
    whole = [_item(*each) for each in found]
    return b"".join((*whole[:at], new, *whole[at + 1 :]))


def _item(kind: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BxH", kind, len(value) & 0xFFFF if length is None else length) + value


def _parsed(raw: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at + 4 <= len(raw):
        kind, length = struct.unpack_from(">BxH", raw, at)
        found.append((kind, raw[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


# -- of presentation data values -------------------------------------------------------------------------------


def _of_value(change: Callable[[Tape, Value], tuple[Value, ...]]) -> Mutation:
    """Change one value of one P-DATA-TF into others."""

    def mutate(tape: Tape, said: Conversation) -> Conversation:
        places = [at for at, pdu in enumerate(said) if pdu.kind == P_DATA and pdu.values]
        if not places:
            return said
        at = tape.among(places)
        values = said[at].values
        one = tape.below(len(values))
        changed = (*values[:one], *change(tape, values[one]), *values[one + 1 :])
        return (*said[:at], replace(said[at], values=changed), *said[at + 1 :])

    return mutate


def _value_length(tape: Tape, value: Value) -> tuple[Value, ...]:
    return (replace(value, length=tape.length()),)


def _context(tape: Tape, value: Value) -> tuple[Value, ...]:
    return (replace(value, context=tape.among((1, 3, 5, tape.below(256)))),)


def _control(tape: Tape, value: Value) -> tuple[Value, ...]:
    return (replace(value, control=tape.below(tape.among((4, 256)))),)


def _split(tape: Tape, value: Value) -> tuple[Value, ...]:
    """In two, as a sender may: the first half is not the last fragment."""
    at = tape.below(len(value.fragment) + 1)
    first = replace(value, control=value.control & ~2, fragment=value.fragment[:at])
    return (first, replace(value, fragment=value.fragment[at:]))


def _fragment(tape: Tape, value: Value) -> tuple[Value, ...]:
    return (replace(value, fragment=_changed(tape, value.fragment)),)


def _command(tape: Tape, value: Value) -> tuple[Value, ...]:
    """A command set with one element other: its number, its length, its value, left out, or twice; or its order."""
    elements = _elements(value.fragment) if value.control & 1 else []
    if not elements:
        return (value,)
    at, what = tape.below(len(elements)), tape.below(6)
    number, raw, length = elements[at]
    new = tape.among((tape.raw(), *_VALUES))
    elements[at : at + 1] = (
        [(number, new, len(new))],
        [(tape.among((0, 2, 0x100, 0x110, 0x120, 0x600, 0x800, 0x1000, 0xFFFF)), raw, length)],
        [(number, raw, tape.length())],
        [],
        [(number, raw, length)] * 2,
        [(number, raw, length)],
    )[what]
    if what == 5:
        elements.reverse()
    return (replace(value, fragment=b"".join(struct.pack("<HHL", 0, n, size) + raw for n, raw, size in elements)),)


def _elements(command: bytes) -> list[tuple[int, bytes, int]]:
    """(element number, value, length) of every element of a command set that can be read."""
    found, at = [], 0
    while at + 8 <= len(command):
        _, number, length = struct.unpack_from("<HHL", command, at)
        found.append((number, command[at + 8 : at + 8 + length], length))
        at += 8 + length
    return found


_MUTATIONS: tuple[Mutation, ...] = (
    *map(_of_value, (_command, _command, _command, _value_length, _context, _control, _split, _fragment)),
    *map(_of_pdu, (_kind, _length, _body)),
    *(_dropped, _repeated, _swapped, _inserted, _spliced, _asked_otherwise),
)
