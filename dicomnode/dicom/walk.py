"""The walk over a Part 10 file: header elements and pixel facts; never decodes pixels, never writes.

Promises that a dataset it accepts was walked to its last byte by the lengths it declares (elements.py), and that memory
stays flat however big the file is, deflated ones apart, which are inflated within a cap.
Unreadable: truncated, over a cap, bytes that can be no element, or an identifying UID is missing. MalformedUID: one is
no UID. Nothing else is raised for any content of a file; OSError is, when it cannot be read.

Its limit: a dataset cut exactly between two top-level elements is a shorter, valid dataset. Only the sender's own end
of message (the last-fragment bit, PS3.8 E.2) tells the two apart.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicomnode.dicom import classes, deflate, instance, part10
from dicomnode.dicom.elements import (
    EXPLICIT,
    EXPLICIT_BIG,
    IMPLICIT,
    PIXELS,
    UNDEFINED,
    Buffer,
    Syntax,
    elements,
    fragments,
    note,
)
from dicomnode.errors import MalformedUID, Unreadable

VALUE: Final = 64 * 1024
"""Bytes in one value that is indexed."""

_INDEXED: Final = frozenset((*instance.BY_TAG, instance.CHARACTER_SET))
_CHUNK: Final = 1024 * 1024
_IMPLICIT_SYNTAXES: Final = frozenset(
    ("1.2.840.10008.1.2", "1.2.840.10008.1.20", "1.2.840.113619.5.2")  # the last: GE, big endian in its pixels only
)
_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"


@dataclass(frozen=True, slots=True)
class Facts:
    """What two versions of one SOP Instance UID are compared by.

    `pixels` is the SHA-256 (hex) of the Pixel Data's value bytes, '' without Pixel Data; of an encapsulated one, of its
    fragments' bytes without the Basic Offset Table. `encoding` is native-le, native-be, or the transfer syntax UID when
    encapsulated. Hashes of different encodings do not compare.
    """

    pixels: str
    encoding: str


def header(path: Path) -> instance.SopInstance:
    """What we index of the Part 10 file at `path`, whose dataset is walked to its end. Errors: see the module.

    The file is mapped into memory: nobody may shorten it meanwhile.
    """
    with _dataset(path) as (data, meta, start, syntax):
        notes: list[str] = []
        values: dict[int, instance.Raw] = {}
        for tag, vr, at, length, stop in elements(data, start, syntax, notes):
            if tag not in _INDEXED:
                continue
            if stop - at > VALUE:
                raise Unreadable(f"the value of {instance.show(tag)} is over 64 KiB")
            if tag in values:
                note(notes, f"{instance.show(tag)} is repeated")
            elif length != UNDEFINED:
                values[tag] = (vr.decode("ascii"), data[at:stop])
        found = instance.build(values, meta.transfer_syntax_uid, little_endian=syntax.little, notes=notes)
    _check_uids(found)
    return found


def facts(path: Path) -> Facts:
    """The pixels of the Part 10 file at `path`, for comparing; reads all of them. Errors: as `header`, but for UIDs."""
    with _dataset(path) as (data, meta, start, syntax):
        native = "native-le" if syntax.little else "native-be"
        for tag, _, at, length, stop in elements(data, start, syntax, []):
            if tag not in PIXELS:
                continue
            if length == UNDEFINED:
                images = itertools.islice(fragments(data, at, syntax), 1, None)  # the first are offsets
                return Facts(_digest(data, images), meta.transfer_syntax_uid)
            return Facts(_digest(data, [(at, stop)]), native)
    return Facts("", native)


def _check_uids(found: instance.SopInstance) -> None:
    of_study = found.sop_class_uid not in classes.NON_PATIENT_CLASSES
    for name, uid, required in (
        ("SOP Class UID", found.sop_class_uid, True),
        ("SOP Instance UID", found.sop_instance_uid, True),
        ("Study Instance UID", found.study_instance_uid, of_study),
        ("Series Instance UID", found.series_instance_uid, of_study),
    ):
        if not uid and required:
            raise Unreadable(f"the {name} is missing")
        if uid and not classes.is_valid_uid(uid):
            raise MalformedUID(f"the {name} is no UID")


@contextlib.contextmanager
def _dataset(path: Path) -> Iterator[tuple[Buffer, part10.FileMeta, int, Syntax]]:
    """The bytes at `path`, its header, where in the bytes the dataset starts, and how it is written."""
    with path.open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as fault:
            raise Unreadable("the file is empty") from fault
    with mapped:
        meta = part10.parse(mapped)
        uid = meta.transfer_syntax_uid
        if uid in classes.DEFLATED:
            with memoryview(mapped) as view, view[meta.offset :] as stream:
                inflated = deflate.inflate(stream)
            yield inflated, meta, 0, EXPLICIT
        else:
            # Every other one, private ones too, is explicit little endian around its pixels (PS3.5 10, A.4).
            syntax = IMPLICIT if uid in _IMPLICIT_SYNTAXES else EXPLICIT_BIG if uid == _BIG_ENDIAN else EXPLICIT
            yield mapped, meta, meta.offset, syntax


def _digest(data: Buffer, ranges: Iterable[tuple[int, int]]) -> str:
    digest = hashlib.sha256()
    for start, stop in ranges:
        for pos in range(start, stop, _CHUNK):
            digest.update(data[pos : min(pos + _CHUNK, stop)])
    return digest.hexdigest()
