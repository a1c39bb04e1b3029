"""The walk over a Part 10 file: header elements and pixel facts; never decodes pixels, never writes.

Promises that a dataset it accepts was walked to its last byte by the lengths it declares (elements.py), and that memory
stays flat however big the file is, deflated ones apart, which are inflated within a cap.
Unreadable: truncated, over a cap, bytes that can be no element, or an identifying UID is missing. MalformedUID: one is
no UID. Nothing else is raised for any content of a file; OSError is, when it cannot be read.

Its limit: a dataset cut exactly between two top-level elements is a shorter, valid dataset. Only the sender's own end
of message (the last-fragment bit, PS3.8 E.2) tells the two apart.
"""

from __future__ import annotations

import hashlib
import itertools
import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dicomnode.dicom import classes, deflate, instance, part10, syntaxes
from dicomnode.dicom.elements import UNDEFINED, Buffer, elements, fragments, note
from dicomnode.dicom.keywords import show
from dicomnode.dicom.syntaxes import Syntax
from dicomnode.dicom.vrs import PIXELS
from dicomnode.errors import MalformedUID, Unreadable

File = str | os.PathLike[str]

VALUE: Final = 64 * 1024
"""Bytes in one value that is indexed."""

_INDEXED: Final = frozenset((*instance.BY_TAG, *instance.SEQUENCE_TAGS, instance.CHARACTER_SET))
_CHUNK: Final = 1024 * 1024
_SMALL: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Facts:
    """What two versions of one SOP Instance UID are compared by.

    `pixels` is the SHA-256 (hex) of the Pixel Data's value bytes, '' without Pixel Data; of an encapsulated one, of its
    fragments' bytes without the Basic Offset Table. `encoding` is native-le, native-be, or the transfer syntax UID when
    encapsulated. Hashes of different encodings do not compare.
    """

    pixels: str
    encoding: str


def header(path: File, assumed: str = "") -> instance.SopInstance:
    """What we index of the Part 10 file at `path`, whose dataset is walked to its end. Errors: see the module.

    `assumed` is the character set of a sender whose objects declare none, or a wrong one (names.assume). A large file
    is mapped into memory: nobody may shorten it meanwhile.
    """
    data, uid, start, syntax = dataset(path)
    notes: list[str] = []
    values: dict[int, instance.Raw] = {}
    for tag, vr, at, length, stop in elements(data, start, syntax, notes, _INDEXED):
        if stop - at > VALUE:
            _check_long(tag, notes)
        elif tag in values:
            note(notes, f"{show(tag)} is repeated")
        elif length != UNDEFINED or tag in instance.SEQUENCE_TAGS:
            values[tag] = (vr, data[at:stop])
    written = instance.Written(syntax, assumed)
    found = instance.build(values, uid, written, notes)
    _check_uids(found)
    return found


def facts(path: File) -> Facts:
    """The pixels of the Part 10 file at `path`, for comparing; reads all of them. Errors: as `header`, but for UIDs."""
    data, uid, start, syntax = dataset(path)
    native = "native-le" if syntax.little else "native-be"
    for _, _, at, length, stop in elements(data, start, syntax, [], PIXELS):
        if length == UNDEFINED:
            images = itertools.islice(fragments(data, at, syntax), 1, None)  # the first are offsets
            return Facts(_digest(data, images), uid)
        return Facts(_digest(data, [(at, stop)]), native)
    return Facts("", native)


def _check_long(tag: int, notes: list[str]) -> None:
    """What may be left out where it is too long to be indexed: a sequence."""
    if tag not in instance.SEQUENCE_TAGS:
        raise Unreadable(f"the value of {show(tag)} is over 64 KiB")
    note(notes, f"{show(tag)} is over 64 KiB, and not indexed")


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


def dataset(path: File) -> tuple[Buffer, str, int, Syntax]:
    """The bytes of a file, its transfer syntax UID, where in the bytes the dataset starts, and how it is written."""
    data = _contents(path)
    uid, start = part10.start(data)
    if uid in classes.DEFLATED:
        with memoryview(data) as view, view[start:] as stream:
            return deflate.inflate(stream), uid, 0, syntaxes.of(uid)
    return data, uid, start, syntaxes.of(uid)


def _contents(path: File) -> Buffer:
    """A file's bytes: read where they are few, which costs less than to map them. The map ends with its last user."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(file).st_size > _SMALL:
            return mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        return os.read(file, _SMALL)
    finally:
        os.close(file)


def _digest(data: Buffer, ranges: Iterable[tuple[int, int]]) -> str:
    digest = hashlib.sha256()
    for start, stop in ranges:
        for pos in range(start, stop, _CHUNK):
            digest.update(data[pos : min(pos + _CHUNK, stop)])
    return digest.hexdigest()
