"""The datasets of Storage Commitment as bytes (PS3.4 J.3.2, J.3.3): the request of an N-ACTION, the N-EVENT-REPORT.

Promises of what was decoded that UIDs are UIDs, that no instance is there twice, and that there are `MOST` at most;
what a dataset has besides is skipped. What it raises has the status that tells the sender (PS3.7 C.5): InvalidArgument,
MissingAttribute, MissingValue, MalformedUID, ResourceLimitation.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from dicomnode.dicom import elements, encode
from dicomnode.dicom.classes import is_valid_uid
from dicomnode.dicom.elements import UNDEFINED
from dicomnode.dicom.encode import Element
from dicomnode.dicom.syntaxes import EXPLICIT, IMPLICIT, Syntax
from dicomnode.errors import (
    InvalidArgument,
    MalformedUID,
    MissingAttribute,
    MissingValue,
    ResourceLimitation,
    Unreadable,
)
from dicomnode.operations.ports import Reference, Report

MOST: Final = 25_000
"""Instances in one transaction: with the longest UIDs, as many as fit into what is taken as one dataset."""
REQUEST = 1
"""The one Action Type (PS3.4 J.3.2.1)."""
ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event Types (PS3.4 J.3.3.1)."""

_TRANSACTION, _FAILED, _REFERENCED = 0x00081195, 0x00081198, 0x00081199
_CLASS, _INSTANCE, _REASON = 0x00081150, 0x00081155, 0x00081197
_RETRIEVE_AE_TITLE = 0x00080054
_PROCESSING_FAILURE = 0x0110
_Values = dict[int, bytes]


# -- writing -------------------------------------------------------------------------------------------------------


def request(transaction_uid: str, references: Sequence[Reference], *, implicit: bool) -> bytes:
    """The Action Information: commit to these."""
    head = encode.identifier([Element(_TRANSACTION, "UI", transaction_uid)], implicit=implicit, character_set="")
    return head + _sequence(_REFERENCED, (_item(each, implicit) for each in references), implicit)


def report(result: Report, retrieve_from: str, *, implicit: bool) -> bytes:
    """The Event Information; `retrieve_from` is the AE title where the partner gets them again, '' for none."""
    first = [Element(_TRANSACTION, "UI", result.transaction_uid)]
    if retrieve_from:
        first.append(Element(_RETRIEVE_AE_TITLE, "AE", retrieve_from))
    data = encode.identifier(first, implicit=implicit, character_set="")
    if result.failed:
        data += _sequence(_FAILED, (_item(each, implicit, reason) for each, reason in result.failed), implicit)
    if result.committed:
        data += _sequence(_REFERENCED, (_item(each, implicit) for each in result.committed), implicit)
    return data


def _item(reference: Reference, implicit: bool, reason: int | None = None) -> bytes:
    within = [Element(_CLASS, "UI", reference.sop_class_uid), Element(_INSTANCE, "UI", reference.sop_instance_uid)]
    if reason is not None:
        within.append(Element(_REASON, "US", str(reason)))
    data = encode.identifier(within, implicit=implicit, character_set="")
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(data)) + data


def _sequence(tag: int, items: Iterable[bytes], implicit: bool) -> bytes:
    data = b"".join(items)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + (b"" if implicit else b"SQ\0\0")
    return head + struct.pack("<L", len(data)) + data


# -- reading -------------------------------------------------------------------------------------------------------


def requested(data: bytes, *, implicit: bool) -> tuple[str, tuple[Reference, ...]]:
    """The Transaction UID and the instances of an N-ACTION."""
    transaction, sequences = _open(data, IMPLICIT if implicit else EXPLICIT)
    if _REFERENCED not in sequences:
        raise MissingAttribute("Referenced SOP Sequence is missing")
    found = _unique(map(_reference, sequences[_REFERENCED]))
    if not found:
        raise MissingValue("Referenced SOP Sequence is empty")
    return transaction, tuple(Reference(uid_class, uid) for uid, uid_class in found.items())


def reported(data: bytes, *, implicit: bool) -> Report:
    """The result in an N-EVENT-REPORT. What is in both of its sequences has failed."""
    transaction, sequences = _open(data, IMPLICIT if implicit else EXPLICIT)
    if not sequences.keys() & {_REFERENCED, _FAILED}:
        raise MissingAttribute("Referenced SOP Sequence and Failed SOP Sequence are missing")
    failed = {_reference(item): _reason(item) for item in sequences.get(_FAILED, ())}
    committed = dict.fromkeys(map(_reference, sequences.get(_REFERENCED, ())))
    return Report(transaction, tuple(each for each in committed if each not in failed), tuple(failed.items()))


def _open(data: bytes, syntax: Syntax) -> tuple[str, dict[int, list[_Values]]]:
    """The Transaction UID, and the items of each sequence that is there."""
    try:
        found = {element[0]: element for element in elements.elements(data, 0, syntax, [])}
        sequences = {tag: _items(data, found[tag], syntax) for tag in (_REFERENCED, _FAILED) if tag in found}
    except Unreadable as fault:
        raise InvalidArgument(f"the dataset cannot be read: {fault}") from fault
    if _TRANSACTION not in found:
        raise MissingAttribute("Transaction UID is missing")
    _, _, start, _, stop = found[_TRANSACTION]
    transaction = _text(data[start:stop])
    if not transaction:
        raise MissingValue("Transaction UID is empty")
    if not is_valid_uid(transaction):
        raise InvalidArgument("Transaction UID is no UID")
    return transaction, sequences


def _items(data: bytes, sequence: elements.Element, syntax: Syntax) -> list[_Values]:
    """Each item's values by their tags; what has items itself is not looked into."""
    found: list[_Values] = []
    for first, past in elements.items(data, sequence, syntax):
        if len(found) == MOST:
            raise ResourceLimitation(f"over {MOST} instances in one transaction")
        within = elements.elements(data[first:past], 0, syntax, [])
        values = {tag: (first + start, first + stop) for tag, _, start, length, stop in within if length != UNDEFINED}
        found.append({tag: data[start:stop] for tag, (start, stop) in values.items()})
    return found


def _reference(item: _Values) -> Reference:
    return Reference(_uid(item, _CLASS, "SOP Class"), _uid(item, _INSTANCE, "SOP Instance"))


def _unique(references: Iterable[Reference]) -> dict[str, str]:
    """SOP Instance UID → SOP Class UID."""
    found: dict[str, str] = {}
    for each in references:
        if found.setdefault(each.sop_instance_uid, each.sop_class_uid) != each.sop_class_uid:
            raise InvalidArgument("an instance is named twice, with different SOP classes")
    return found


def _uid(item: _Values, tag: int, name: str) -> str:
    if tag not in item:
        raise MissingAttribute(f"Referenced {name} UID is missing")
    uid = _text(item[tag])
    if not uid:
        raise MissingValue(f"Referenced {name} UID is empty")
    if not is_valid_uid(uid):
        raise MalformedUID(f"a Referenced {name} UID is no UID")
    return uid


def _reason(item: _Values) -> int:
    """The Failure Reason; processing failure where none is given."""
    value = item.get(_REASON, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else _PROCESSING_FAILURE


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")
