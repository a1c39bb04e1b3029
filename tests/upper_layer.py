"""DICOM upper layer and DIMSE command sets as bytes (PS3.8 9.3, PS3.7 6.3 and E), for the tests' own peers.

Written from the standard and from nothing else, so that a mistake of the node, or of the library it stands on, is not
mirrored here. Nothing is checked that a test may want to get wrong: what a caller says is what is sent.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
COMMITMENT = "1.2.840.10008.1.20.1"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
C_STORE, C_GET, C_FIND, C_MOVE, C_ECHO = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030
N_EVENT_REPORT, N_ACTION, C_CANCEL, RESPONSE = 0x0100, 0x0130, 0x0FFF, 0x8000
NO_DATASET = 0x0101

_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
_IMPLEMENTATION = b"2.25.263945729816405412846590283574019283746"
_STORAGE_ROOTS = tuple(f"1.2.840.10008.5.1.4.{n}." for n in ("1.1.1", "1.1", "38", "39", "43", "44", "45"))


class WireError(Exception):
    """The peer ended, or refused, what was going on."""


class Rejected(WireError):
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(f"rejected: result {result}, source {source}, reason {reason}")
        self.result, self.source, self.reason = result, source, reason


class Aborted(WireError):
    """A-ABORT arrived (PS3.8 9.3.8)."""

    def __init__(self, source: int, reason: int) -> None:
        super().__init__(f"aborted: source {source}, reason {reason}")
        self.source, self.reason = source, reason


class Closed(WireError):
    """The connection ended without an A-ABORT; or the peer released in the middle."""


def is_storage(uid: str) -> bool:
    """Whether a SOP class belongs to a storage service: the standard's, or any private one."""
    return uid.startswith(_STORAGE_ROOTS) or not uid.startswith("1.2.840.10008.")


# -- PDUs ------------------------------------------------------------------------------------------------------


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body)) + body


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def _items(body: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(body):
        kind, length = struct.unpack_from(">BxH", body, at)
        yield kind, body[at + 4 : at + 4 + length]
        at += 4 + length


def _uid(raw: bytes) -> str:
    return raw.decode("ascii", "replace").rstrip("\0 ")


def _title(raw: bytes) -> str:
    return raw.decode("ascii", "replace").strip()


@dataclass
class Associate:
    """A-ASSOCIATE-RQ and -AC (PS3.8 9.3.2, 9.3.3): a context is (abstract syntax, [transfer syntaxes]) in a request.

    `results` is filled in an answer: context id → (result, transfer syntax). `roles`: SOP class → (SCU, SCP).
    """

    called: str
    calling: str
    contexts: dict[int, tuple[str, list[str]]] = field(default_factory=dict)
    results: dict[int, tuple[int, str]] = field(default_factory=dict)
    roles: dict[str, tuple[int, int]] = field(default_factory=dict)
    max_pdu: int = 16384
    user: tuple[str, str] | None = None
    """User name and passcode (PS3.7 D.3.3.7, type 2)."""
    version_name: str = "TESTWIRE"
    extended: dict[str, bytes] = field(default_factory=dict)
    """SOP class → what is negotiated of it, a byte for each feature (PS3.7 D.3.3.5)."""
    protocol: int = 1
    application_context: bytes = _APPLICATION_CONTEXT
    implementation: bytes = _IMPLEMENTATION
    """Class UID; left out where it is empty."""
    further: bytes = b""
    """User-information sub-items as they are, before all others."""
    sub_items: list[tuple[int, bytes]] = field(default_factory=list)
    """Every user-information sub-item of what was decoded."""

    def encode(self, kind: int) -> bytes:
        """As an A-ASSOCIATE-RQ, with the contexts, or an A-ASSOCIATE-AC, with the results."""
        titles = self.called.ljust(16).encode(), self.calling.ljust(16).encode()
        head = struct.pack(">HH16s16s32x", self.protocol, 0, *titles)
        proposed = [_item(0x20, bytes((n, 0, 0, 0)) + _syntaxes(*context)) for n, context in self.contexts.items()]
        answered = [
            _item(0x21, bytes((n, 0, result, 0)) + _item(0x40, syntax.encode()))
            for n, (result, syntax) in self.results.items()
        ]
        contexts = proposed if kind == ASSOCIATE_RQ else answered
        user = _item(0x50, self._user_information())
        return pdu(kind, b"".join((head, _item(0x10, self.application_context), *contexts, user)))

    def _user_information(self) -> bytes:
        parts = [self.further, _item(0x51, struct.pack(">L", self.max_pdu))]
        parts += [_item(0x52, self.implementation)] if self.implementation else []
        for uid, (scu, scp) in self.roles.items():
            parts.append(_item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes((scu, scp))))
        for uid, features in self.extended.items():
            parts.append(_item(0x56, struct.pack(">H", len(uid)) + uid.encode() + features))
        parts.append(_item(0x55, self.version_name.encode()))
        if self.user:
            name, passcode = (part.encode() for part in self.user)
            fields = struct.pack(">BBH", 2, 0, len(name)) + name + struct.pack(">H", len(passcode)) + passcode
            parts.append(_item(0x58, fields))
        return b"".join(parts)

    @classmethod
    def decode(cls, body: bytes) -> Associate:
        it = cls(called=_title(body[4:20]), calling=_title(body[20:36]))
        for kind, content in _items(body[68:]):
            if kind == 0x20:
                parts = list(_items(content[4:]))
                abstract = next((_uid(raw) for sub, raw in parts if sub == 0x30), "")
                it.contexts[content[0]] = (abstract, [_uid(raw) for sub, raw in parts if sub == 0x40])
            elif kind == 0x21:
                syntax = next((_uid(raw) for sub, raw in _items(content[4:]) if sub == 0x40), "")
                it.results[content[0]] = (content[2], syntax)
            elif kind == 0x50:
                it._read_user_information(content)
        return it

    def _read_user_information(self, content: bytes) -> None:
        for kind, raw in _items(content):
            self.sub_items.append((kind, raw))
            if kind == 0x51:
                (self.max_pdu,) = struct.unpack(">L", raw)
            elif kind == 0x54:
                (length,) = struct.unpack_from(">H", raw)
                self.roles[_uid(raw[2 : 2 + length])] = (raw[2 + length], raw[3 + length])
            elif kind == 0x56:
                (length,) = struct.unpack_from(">H", raw)
                self.extended[_uid(raw[2 : 2 + length])] = raw[2 + length :]
            elif kind == 0x55:
                self.version_name = _title(raw)


def _syntaxes(abstract: str, transfers: list[str]) -> bytes:
    return _item(0x30, abstract.encode()) + b"".join(_item(0x40, syntax.encode()) for syntax in transfers)


# -- command sets ----------------------------------------------------------------------------------------------

_ELEMENTS = {  # PS3.7 E.1; group 0000, always Implicit VR Little Endian
    "CommandGroupLength": (0x0000, "UL"),
    "AffectedSOPClassUID": (0x0002, "UI"),
    "RequestedSOPClassUID": (0x0003, "UI"),
    "CommandField": (0x0100, "US"),
    "MessageID": (0x0110, "US"),
    "MessageIDBeingRespondedTo": (0x0120, "US"),
    "MoveDestination": (0x0600, "AE"),
    "Priority": (0x0700, "US"),
    "CommandDataSetType": (0x0800, "US"),
    "Status": (0x0900, "US"),
    "OffendingElement": (0x0901, "AT"),
    "ErrorComment": (0x0902, "LO"),
    "ErrorID": (0x0903, "US"),
    "AffectedSOPInstanceUID": (0x1000, "UI"),
    "RequestedSOPInstanceUID": (0x1001, "UI"),
    "EventTypeID": (0x1002, "US"),
    "ActionTypeID": (0x1008, "US"),
    "NumberOfRemainingSuboperations": (0x1020, "US"),
    "NumberOfCompletedSuboperations": (0x1021, "US"),
    "NumberOfFailedSuboperations": (0x1022, "US"),
    "NumberOfWarningSuboperations": (0x1023, "US"),
    "MoveOriginatorApplicationEntityTitle": (0x1030, "AE"),
    "MoveOriginatorMessageID": (0x1031, "US"),
}
_KEYWORDS = {element: (keyword, vr) for keyword, (element, vr) in _ELEMENTS.items()}

Value = int | str | bytes
Command = dict[str, Value]


def encode_command(command: Mapping[str, Value | None]) -> bytes:
    """A command set with its group length; values of None are left out."""
    elements = sorted((*_ELEMENTS[keyword], value) for keyword, value in command.items() if value is not None)
    body = b"".join(_element(element, _raw(vr, value)) for element, vr, value in elements)
    return _element(0, struct.pack("<L", len(body))) + body


def _element(element: int, raw: bytes) -> bytes:
    return struct.pack("<HHL", 0, element, len(raw)) + raw


def _raw(vr: str, value: Value) -> bytes:
    if vr == "US" or vr == "UL":
        return struct.pack("<H" if vr == "US" else "<L", value)
    raw = value if isinstance(value, bytes) else str(value).encode()
    return raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)


def decode_command(raw: bytes) -> Command:
    """Keyword → value. Elements that this module does not know are left out."""
    command: Command = {}
    at = 0
    while at + 8 <= len(raw):
        _, element, length = struct.unpack_from("<HHL", raw, at)
        value = raw[at + 8 : at + 8 + length]
        at += 8 + length
        if element in _KEYWORDS:
            keyword, vr = _KEYWORDS[element]
            command[keyword] = _value(vr, value)
    return command


def _value(vr: str, raw: bytes) -> Value:
    if vr in ("US", "UL"):
        return int.from_bytes(raw, "little")
    if vr == "AT":
        return raw
    return _uid(raw) if vr == "UI" else _title(raw)


# -- a connection ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Message:
    """One DIMSE message: presentation context id, command set, and the dataset's bytes where there is one."""

    context: int
    command: Command
    dataset: bytes | None = None

    def __getitem__(self, keyword: str) -> Value:
        return self.command[keyword]


class Channel:
    """PDUs and messages over one socket. Reading raises Aborted or Closed; TimeoutError when the peer is silent."""

    def __init__(self, sock: socket.socket, timeout: float | None) -> None:
        self.socket = sock
        self.max_pdu = 16384  # the most that the peer takes; 0 is no limit
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send_raw(self, raw: bytes) -> None:
        try:
            self.socket.sendall(raw)
        except (BrokenPipeError, ConnectionError) as error:
            raise Closed(f"while sending: {error}") from error

    def recv_pdu(self) -> tuple[int, bytes]:
        """The next PDU: (type, body)."""
        kind, length = struct.unpack(">BxL", self._recv(6))
        body = self._recv(length)
        if kind == ABORT:
            raise Aborted(body[2], body[3])
        return kind, body

    def _recv(self, length: int) -> bytes:
        buffer = bytearray(length)
        view, at = memoryview(buffer), 0
        while at < length:
            try:
                got = self.socket.recv_into(view[at:])
            except ConnectionError as error:
                raise Closed(f"while reading: {error}") from error
            if not got:
                raise Closed("the peer closed the connection")
            at += got
        return bytes(buffer)

    def send_message(self, context: int, command: Mapping[str, Value | None], dataset: bytes | None = None) -> None:
        """Send a message in fragments that the peer takes. CommandDataSetType is set here, unless given."""
        command = {"CommandDataSetType": NO_DATASET if dataset is None else 0, **command}
        self.send_raw(b"".join(self.fragments(context, encode_command(command), command=True)))
        if dataset is not None:
            self.send_raw(b"".join(self.fragments(context, dataset, command=False)))

    def fragments(self, context: int, raw: bytes, *, command: bool) -> Iterator[bytes]:
        """The P-DATA-TF PDUs that carry `raw`, one PDV each (PS3.8 E.2)."""
        most = (self.max_pdu or 1 << 20) - 6
        for at in range(0, len(raw) or 1, most):
            flags = (1 if command else 0) | (2 if at + most >= len(raw) else 0)
            part = raw[at : at + most]
            yield pdu(P_DATA, struct.pack(">LBB", len(part) + 2, context, flags) + part)

    def read_message(self) -> Message | None:
        """The next message; None when the peer asks for a release."""
        kinds: dict[bool, list[bytes]] = {True: [], False: []}
        command: Command | None = None
        while True:
            kind, body = self.recv_pdu()
            if kind == RELEASE_RQ:
                return None
            if kind != P_DATA:
                raise WireError(f"PDU type {kind:02X}H in the middle of an association")
            for context, flags, part in _values(body):
                kinds[bool(flags & 1)].append(part)
                if not flags & 2:
                    continue
                if flags & 1:
                    command = decode_command(b"".join(kinds[True]))
                if command is not None and (not flags & 1 or command.get("CommandDataSetType") == NO_DATASET):
                    return Message(context, command, None if flags & 1 else b"".join(kinds[False]))

    def close(self, *, reset: bool = False) -> None:
        """End the TCP connection; with `reset` by RST, as a machine does whose power fails."""
        with contextlib.suppress(OSError):
            if reset:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.close()


def _values(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The presentation data values of a P-DATA-TF body: (context id, flags, fragment)."""
    at = 0
    while at + 6 <= len(body):
        length, context, flags = struct.unpack_from(">LBB", body, at)
        yield context, flags, body[at + 6 : at + 4 + length]
        at += 4 + length
