"""The file meta information (PS3.10 7.1) and our private information in it.

Promises a header that says who wrote the file and how the instance came here, and reads any writer's header, wrong or
missing group lengths included. Never reads more than 64 KiB of group 0002, and never looks into the dataset. `read`
fails with Unreadable on what is no Part 10 file, or names no transfer syntax.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Final

from dicomnode.dicom.classes import is_valid_uid
from dicomnode.dicom.vrs import LONG
from dicomnode.errors import MalformedUID, Unreadable

IMPLEMENTATION_CLASS_UID: Final = "2.25.95909033523086151201496786222060932731"
IMPLEMENTATION_VERSION_NAME: Final = "DICOMNODE_0_1"
_PRIVATE_CREATOR: Final = "2.25.85892903464253513623062090745687802692"  # names the form of (0002,0102) below

_START: Final = 128 + 4
_CAP: Final = 64 * 1024
_SHORT: Final = struct.Struct("<HH2sH")
_LONG: Final = struct.Struct("<HH2s2xL")
_UINT: Final = struct.Struct("<L")


@dataclass(frozen=True, slots=True)
class Origin:
    """How an instance came here. `received_at` is in microseconds since the epoch, UTC."""

    partner: str
    site: str
    received_at: int
    calling_ae_title: str
    called_ae_title: str


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the header says; `offset` is of the dataset's first byte, `origin` is None in another program's file."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int
    origin: Origin | None


# -- writing -------------------------------------------------------------------------------------------------------


def _element(element: int, vr: bytes, value: str) -> bytes:
    raw = value.encode("ascii", "replace")
    if len(raw) % 2:
        raw += b"\0" if vr == b"UI" else b" "
    return _SHORT.pack(0x0002, element, vr, len(raw)) + raw


_PREAMBLE: Final = bytes(128) + b"DICM" + _SHORT.pack(0x0002, 0x0000, b"UL", 4)
_VERSION: Final = _LONG.pack(0x0002, 0x0001, b"OB", 2) + b"\x00\x01"
_WRITER: Final = _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID) + _element(
    0x0013, b"SH", IMPLEMENTATION_VERSION_NAME
)
_CREATOR: Final = _element(0x0100, b"UI", _PRIVATE_CREATOR)
_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, origin: Origin) -> bytes:
    """Preamble, prefix and the whole of group 0002, after which the dataset follows.

    The preamble is zeros whatever a peer sent (CVE-2019-11687). Titles are cut at 16 characters, and whole in our
    private information. MalformedUID: a UID of over 64 characters; otherwise UIDs are written as given.
    """
    if max(len(sop_class_uid), len(sop_instance_uid), len(transfer_syntax_uid)) > 64:
        raise MalformedUID("a UID of the command has more than 64 characters")
    calling = origin.calling_ae_title[:16]
    group = b"".join(
        (
            _VERSION,
            _element(0x0002, b"UI", sop_class_uid),
            _element(0x0003, b"UI", sop_instance_uid),
            _element(0x0010, b"UI", transfer_syntax_uid),
            _WRITER,
            _element(0x0016, b"AE", calling),
            _element(0x0017, b"AE", calling),
            _element(0x0018, b"AE", origin.called_ae_title[:16]),
            _CREATOR,
            _private(origin),
        )
    )
    return _PREAMBLE + _UINT.pack(len(group)) + group


def _private(origin: Origin) -> bytes:
    fields = [
        origin.partner,
        origin.site,
        origin.received_at,
        origin.calling_ae_title,
        origin.called_ae_title,
    ]
    raw = _JSON.encode(fields).encode("utf-8")
    raw += b" " * (len(raw) % 2)
    return _LONG.pack(0x0002, 0x0102, b"OB", len(raw)) + raw


# -- reading -------------------------------------------------------------------------------------------------------


def read(path: Path) -> FileMeta:
    """The header of the Part 10 file at `path`.

    Unreadable: no DICM prefix, group 0002 cut short, in another encoding or over 64 KiB, or without (0002,0010).
    """
    with path.open("rb") as file:
        return parse(file.read(_START + _CAP))


def parse(data: bytes | mmap) -> FileMeta:
    """As `read`, on the file's bytes; no more than 64 KiB of them are looked at."""
    values, syntax, offset = _open(data)
    origin = _origin(values[0x0102]) if _uid(values.get(0x0100, b"")) == _PRIVATE_CREATOR and 0x0102 in values else None
    return FileMeta(_uid(values.get(0x0002, b"")), _uid(values.get(0x0003, b"")), syntax, offset, origin)


def start(data: bytes | mmap) -> tuple[str, int]:
    """The transfer syntax UID and where the dataset starts; for who asks nothing else. As `parse`."""
    _, syntax, offset = _open(data)
    return syntax, offset


def _open(data: bytes | mmap) -> tuple[dict[int, bytes], str, int]:
    """The values of group 0002, the transfer syntax among them, and where the dataset starts."""
    if data[128:_START] != b"DICM":
        raise Unreadable("not a DICOM file: the DICM prefix is missing")
    values, offset = _group(data)
    syntax = _uid(values.get(0x0010, b""))
    if not is_valid_uid(syntax):
        raise Unreadable("the file meta information names no transfer syntax")
    return values, syntax, offset


def _group(data: bytes | mmap) -> tuple[dict[int, bytes], int]:
    """The values of group 0002 by element number, and where the dataset starts.

    The group ends where (0002,0000) says, if an element ends there and the transfer syntax was seen; else, that length
    being missing or wrong, with the last element of group 0002.
    """
    values: dict[int, bytes] = {}
    pos, announced = _START, -1
    while pos != announced or 0x0010 not in values:
        if len(data) - pos < 8:
            if data[pos : pos + 2] in (b"\x02", b"\x02\x00"):
                raise Unreadable("the file ends in its meta information")
            break
        group, element, vr, length = _SHORT.unpack_from(data, pos)
        if group != 0x0002:
            break
        pos += 8
        if vr in LONG:
            length = _UINT.unpack_from(data, pos)[0] if len(data) - pos >= 4 else _CAP
            pos += 4
        elif not (vr.isalpha() and vr.isupper()):
            raise Unreadable("the file meta information is not in explicit VR little endian")
        pos += length
        if pos > len(data) or pos > _START + _CAP:
            raise Unreadable("the file meta information is cut short or over 64 KiB")
        values.setdefault(element, data[pos - length : pos])
        if element == 0x0000 and length == 4:
            announced = pos + _UINT.unpack(values[element])[0]
    return values, pos


def _uid(raw: bytes) -> str:
    """The text of a UID, that need not be a valid one, safe to print."""
    return re.sub("[^!-~]", "?", raw.decode("latin-1").strip(" \0"))


def _origin(raw: bytes) -> Origin | None:
    """Our private information; None when it is damaged, for the instance is worth more than its label."""
    try:
        partner, site, received_at, calling, called = json.loads(raw)
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (partner, site, calling, called)
    if type(received_at) is not int or not all(isinstance(text, str) for text in texts):
        return None
    return Origin(partner, site, received_at, calling, called)
