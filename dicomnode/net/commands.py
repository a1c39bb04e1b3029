"""Command sets as bytes, by hand: Implicit VR Little Endian, group 0000 (PS3.7 6.3, 9.3).

What the hot path says and hears: C-STORE on both sides, every request of ours, and every response. The requests that
we hear besides are pynetdicom's.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dicomnode.dicom.classes import is_valid_uid
from dicomnode.errors import AssociationLost
from dicomnode.operations.ports import Suboperations

C_STORE_RQ, C_STORE_RSP, C_ECHO_RQ, C_ECHO_RSP = 0x0001, 0x8001, 0x0030, 0x8030
C_FIND_RQ, C_FIND_RSP, N_ACTION_RQ, N_ACTION_RSP = 0x0020, 0x8020, 0x0130, 0x8130
C_GET_RQ, C_GET_RSP, C_MOVE_RQ, C_MOVE_RSP, C_CANCEL_RQ = 0x0010, 0x8010, 0x0021, 0x8021, 0x0FFF
N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP = 0x0100, 0x8100
_DATASET, _NO_DATASET = 0x0001, 0x0101
_ELEMENT = struct.Struct("<HHI")
_COMMENT = 64
"""Characters of an Error Comment (PS3.7 C.5)."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a response says: its field, to which message, of which instance, and how it went."""

    field: int
    responds_to: int
    sop_instance_uid: str
    status: int
    comment: str = ""
    """The Error Comment, as it can be printed."""


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE-RQ as it was received: its UIDs are whatever the peer wrote, '' where they are missing."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_dataset: bool


@dataclass(frozen=True, slots=True)
class EventReport:
    """An N-EVENT-REPORT-RQ as it was received; what is missing is '' or 0."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    event_type: int


def _uid(value: str) -> bytes:
    raw = value.encode("ascii")
    return raw + b"\0" * (len(raw) % 2)


def _ae(value: str) -> bytes:
    raw = value.encode("ascii")
    return raw + b" " * (len(raw) % 2)


def _us(value: int) -> bytes:
    return struct.pack("<H", value)


def _command(elements: list[tuple[int, bytes]]) -> bytes:
    body = b"".join(_ELEMENT.pack(0, element, len(value)) + value for element, value in elements)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def echo_request(message_id: int) -> bytes:
    """C-ECHO-RQ (PS3.7 9.3.5.1)."""
    elements = [
        (0x0002, _uid("1.2.840.10008.1.1")),
        (0x0100, _us(C_ECHO_RQ)),
        (0x0110, _us(message_id)),
        (0x0800, _us(_NO_DATASET)),
    ]
    return _command(elements)


def store_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, priority: int, originator: tuple[str, int] | None
) -> bytes:
    """C-STORE-RQ (PS3.7 9.3.1.1). `originator`: AE title and Message ID of the C-MOVE that it is a sub-operation of."""
    elements = [
        (0x0002, _uid(sop_class_uid)),
        (0x0100, _us(C_STORE_RQ)),
        (0x0110, _us(message_id)),
        (0x0700, _us(priority)),
        (0x0800, _us(_DATASET)),
        (0x1000, _uid(sop_instance_uid)),
    ]
    if originator:
        elements += [(0x1030, _ae(originator[0])), (0x1031, _us(originator[1]))]
    return _command(elements)


def find_request(message_id: int, sop_class_uid: str) -> bytes:
    """C-FIND-RQ (PS3.7 9.3.2.1), of medium priority."""
    return _command(_query(C_FIND_RQ, message_id, sop_class_uid))


def get_request(message_id: int, sop_class_uid: str) -> bytes:
    """C-GET-RQ (PS3.7 9.3.3.1), of medium priority."""
    return _command(_query(C_GET_RQ, message_id, sop_class_uid))


def move_request(message_id: int, sop_class_uid: str, destination: str) -> bytes:
    """C-MOVE-RQ (PS3.7 9.3.4.1), of medium priority."""
    elements = [*_query(C_MOVE_RQ, message_id, sop_class_uid), (0x0600, _ae(destination))]
    return _command(sorted(elements))


def _query(field: int, message_id: int, sop_class_uid: str) -> list[tuple[int, bytes]]:
    return [
        (0x0002, _uid(sop_class_uid)),
        (0x0100, _us(field)),
        (0x0110, _us(message_id)),
        (0x0700, _us(0)),
        (0x0800, _us(_DATASET)),
    ]


def cancel_request(responds_to: int) -> bytes:
    """C-CANCEL-RQ of a C-FIND, C-MOVE or C-GET (PS3.7 9.3.2.3)."""
    return _command([(0x0100, _us(C_CANCEL_RQ)), (0x0120, _us(responds_to)), (0x0800, _us(_NO_DATASET))])


def action_request(message_id: int, sop_class_uid: str, sop_instance_uid: str, action_type: int) -> bytes:
    """N-ACTION-RQ (PS3.7 10.3.4.1)."""
    elements = [
        (0x0003, _uid(sop_class_uid)),
        (0x0100, _us(N_ACTION_RQ)),
        (0x0110, _us(message_id)),
        (0x0800, _us(_DATASET)),
        (0x1001, _uid(sop_instance_uid)),
        (0x1008, _us(action_type)),
    ]
    return _command(elements)


def event_request(message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type: int) -> bytes:
    """N-EVENT-REPORT-RQ (PS3.7 10.3.1.1)."""
    elements = [
        (0x0002, _uid(sop_class_uid)),
        (0x0100, _us(N_EVENT_REPORT_RQ)),
        (0x0110, _us(message_id)),
        (0x0800, _us(_DATASET)),
        (0x1000, _uid(sop_instance_uid)),
        (0x1002, _us(event_type)),
    ]
    return _command(elements)


def event_response(request: EventReport, status: int) -> bytes:
    """N-EVENT-REPORT-RSP (PS3.7 10.3.1.2); UIDs that are none are not echoed."""
    elements = [
        (0x0100, _us(N_EVENT_REPORT_RSP)),
        (0x0120, _us(request.message_id)),
        (0x0800, _us(_NO_DATASET)),
        (0x0900, _us(status)),
        (0x1002, _us(request.event_type)),
    ]
    for element, uid in ((0x0002, request.sop_class_uid), (0x1000, request.sop_instance_uid)):
        if is_valid_uid(uid):
            elements.append((element, _uid(uid)))
    return _command(sorted(elements))


def store_response(request: StoreRequest, status: int, comment: str = "") -> bytes:
    """C-STORE-RSP (PS3.7 9.3.1.2). `comment`: at most 64 ASCII characters; UIDs that are none are not echoed."""
    elements = [(0x0100, _us(C_STORE_RSP)), (0x0120, _us(request.message_id)), (0x0800, _us(_NO_DATASET))]
    elements.append((0x0900, _us(status)))
    if comment:
        elements.append((0x0902, _ae(comment)))
    for element, uid in ((0x0002, request.sop_class_uid), (0x1000, request.sop_instance_uid)):
        if is_valid_uid(uid):
            elements.append((element, _uid(uid)))
    return _command(sorted(elements))


_SAID: tuple[tuple[int, str, Callable[[Any], bytes]], ...] = (
    (0x0002, "AffectedSOPClassUID", _uid),
    (0x0120, "MessageIDBeingRespondedTo", _us),
    (0x0900, "Status", _us),
    (0x0902, "ErrorComment", _ae),
    (0x1000, "AffectedSOPInstanceUID", _uid),
    (0x1002, "EventTypeID", _us),
    (0x1008, "ActionTypeID", _us),
    (0x1020, "NumberOfRemainingSuboperations", _us),
    (0x1021, "NumberOfCompletedSuboperations", _us),
    (0x1022, "NumberOfFailedSuboperations", _us),
    (0x1023, "NumberOfWarningSuboperations", _us),
)


def of_response(response: Any, field: int, *, has_dataset: bool) -> bytes:
    """The command set of a response that pynetdicom's primitive says (PS3.7 9.3): of its attributes, those it has.

    UIDs that are none are not echoed.
    """
    elements = [(0x0100, _us(field)), (0x0800, _us(_DATASET if has_dataset else _NO_DATASET))]
    for element, name, encoded in _SAID:
        value = getattr(response, name, None)
        if value is not None and (encoded is not _uid or is_valid_uid(value)):
            elements.append((element, encoded(value)))
    return _command(sorted(elements))


def _elements(data: bytes) -> dict[int, bytes]:
    """Element number → value of a command set; what is not of group 0000 is left out. ValueError: it is cut short."""
    values: dict[int, bytes] = {}
    offset = 0
    while offset < len(data):
        if offset + 8 > len(data):
            raise ValueError("a command set that is cut short")
        group, element, length = _ELEMENT.unpack_from(data, offset)
        offset += 8 + length
        if offset > len(data):
            raise ValueError("a command set that is cut short")
        if group == 0:
            values[element] = data[offset - length : offset]
    return values


def store_request_in(data: bytes) -> StoreRequest | None:
    """The C-STORE-RQ in a command set; None where it is another command. ValueError: it cannot be read."""
    values = _elements(data)
    if values.get(0x0100) != _us(C_STORE_RQ):
        return None
    if len(values.get(0x0110, b"")) != 2:
        raise ValueError("a C-STORE-RQ without Message ID")
    (message_id,) = struct.unpack("<H", values[0x0110])
    has_dataset = values.get(0x0800) != _us(_NO_DATASET)
    return StoreRequest(message_id, _text(values.get(0x0002, b"")), _text(values.get(0x1000, b"")), has_dataset)


def store_response_in(data: bytes) -> Response | None:
    """The C-STORE-RSP in a command set; None where it is another command. ValueError: it cannot be read."""
    if _elements(data).get(0x0100) != _us(C_STORE_RSP):
        return None
    try:
        return response(data)
    except AssociationLost as error:
        raise ValueError("a C-STORE-RSP without Message ID or Status") from error


def has_dataset(data: bytes) -> bool:
    """Whether a command set is followed by a dataset. AssociationLost: it cannot be read."""
    try:
        return _elements(data).get(0x0800, _us(_NO_DATASET)) != _us(_NO_DATASET)
    except ValueError as error:
        raise AssociationLost("the partner answered with a response that cannot be read") from error


def event_report_in(data: bytes) -> EventReport | None:
    """The N-EVENT-REPORT-RQ in a command set; None where it is another command, or cannot be read."""
    try:
        values = _elements(data)
    except ValueError:
        return None
    if values.get(0x0100) != _us(N_EVENT_REPORT_RQ) or len(values.get(0x0110, b"")) != 2:
        return None
    number, event_type = (int.from_bytes(values.get(element, b"")[:2], "little") for element in (0x0110, 0x1002))
    return EventReport(number, _text(values.get(0x0002, b"")), _text(values.get(0x1000, b"")), event_type)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", "replace")


def response(data: bytes) -> Response:
    """Read a response's command set. AssociationLost: it cannot be read, so the outcome is unknown."""
    try:
        values = _elements(data)
        field, responds_to, status = (struct.unpack("<H", values[e])[0] for e in (0x0100, 0x0120, 0x0900))
    except (KeyError, ValueError, struct.error) as error:
        raise AssociationLost("the partner answered with a response that cannot be read") from error
    comment = re.sub(r"[^\x20-\x7e]", "?", _text(values.get(0x0902, b"")))[:_COMMENT]
    return Response(field, responds_to, _text(values.get(0x1000, b"")), status, comment)


def suboperations(data: bytes) -> Suboperations:
    """The counters of a C-MOVE-RSP or C-GET-RSP that can be read (PS3.7 9.3.4.2)."""
    values = _elements(data)
    counts = [values.get(element, b"") for element in (0x1020, 0x1021, 0x1022, 0x1023)]
    return Suboperations(*(int.from_bytes(count, "little") if len(count) == 2 else None for count in counts))
