"""dicom/vrs.py: the table of VRs, with pydicom as the judge, and which one an element has that was written without."""

from __future__ import annotations

import struct

import pytest
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from dicomnode.dicom import vrs

SIGNED, ALLOCATED, WAVEFORM = 0x00280103, 0x00280100, 0x54001004
FIRST = [
    (0x00100010, "PN"),
    (0x00280106, "US"),  # US or SS
    (0x60020010, "US"),  # the rows of a second overlay: a group that repeats
    (0x00090010, "LO"),  # a private creator
    (0x00091001, "UN"),
    (0x00100011, "UN"),  # in no dictionary
]
OF = [
    ("the dictionary's", 0x00100010, 6, {}, b"PN"),
    ("too long for a short one", 0x00100010, 0x10000, {}, b"UN"),
    ("as long as a short one may be", 0x00100010, 0xFFFE, {}, b"PN"),
    ("no whole number", 0x00280010, 3, {}, b"UN"),
    ("unsigned where nothing is said", 0x00280106, 2, {}, b"US"),
    ("signed", 0x00280106, 2, {SIGNED: 1}, b"SS"),
    ("a table, which is words", 0x00281200, 8, {SIGNED: 1}, b"OW"),
    ("pixels", 0x7FE00010, 8, {}, b"OW"),
    ("pixels of a byte", 0x7FE00010, 8, {ALLOCATED: 8}, b"OB"),
    ("pixels of more", 0x7FE00010, 8, {ALLOCATED: 16, WAVEFORM: 8}, b"OW"),
    ("a waveform of bytes", 0x54001010, 8, {ALLOCATED: 16, WAVEFORM: 8}, b"OB"),
    ("private", 0x00091001, 4, {}, b"UN"),
]


def test_every_vr_is_short_or_long() -> None:
    assert {vr.encode() for vr in EXPLICIT_VR_LENGTH_16} == vrs.SHORT
    assert {vr.encode() for vr in EXPLICIT_VR_LENGTH_32} == vrs.LONG
    assert vrs.UNITS.keys() == vrs.SHORT | vrs.LONG


def test_numbers_are_as_long_as_their_vr_says() -> None:
    for vr, code in vrs.NUMBERS.items():
        assert struct.calcsize(f"<{code}") == vrs.UNITS[vr.encode()]


@pytest.mark.parametrize(("tag", "vr"), FIRST)
def test_the_vr_of_an_attribute(tag: int, vr: str) -> None:
    assert vrs.first(tag) == vr


@pytest.mark.parametrize(("tag", "length", "known", "vr"), [it[1:] for it in OF], ids=[it[0] for it in OF])
def test_the_vr_of_what_was_written_without(tag: int, length: int, known: vrs.Hint, vr: bytes) -> None:
    assert vrs.of(tag, length, known) == vr
