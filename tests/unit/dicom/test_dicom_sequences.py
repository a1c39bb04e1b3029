"""dicom/sequences.py: what is kept of the items of a sequence, however it was written."""

from __future__ import annotations

import json

import pytest
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicomnode.dicom import sequences
from dicomnode.dicom.instance import ATTRIBUTES, Packed, SopInstance, Written
from dicomnode.dicom.syntaxes import EXPLICIT, EXPLICIT_BIG, IMPLICIT, Syntax

REQUEST, CODES = "request_attributes_sequence", "procedure_code_sequence"


def packed(vr: bytes, value: bytes, written: Written, character_set: str = "") -> SopInstance:
    blank = SopInstance._make((*[""] * (len(ATTRIBUTES) + 1), (), ()))
    return blank._replace(sequences=(Packed(0x00400275, vr, value, written, character_set),))


def items(*datasets: Dataset, implicit: bool, little: bool = True, undefined: bool = False) -> bytes:
    """The value of a sequence of these items."""
    whole = Dataset()
    whole.RequestAttributesSequence = list(datasets)
    whole["RequestAttributesSequence"].is_undefined_length = undefined
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    write_dataset(buffer, whole)
    return buffer.getvalue()[8 if implicit else 12 :]


def step(number: str, text: str = "") -> Dataset:
    found = Dataset()
    found.ScheduledProcedureStepID = number
    found.ScheduledProcedureStepDescription = text
    found.ScheduledProtocolCodeSequence = [Dataset()]
    return found


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, EXPLICIT_BIG])
def test_items_are_read_in_every_encoding(syntax: Syntax, undefined: bool) -> None:
    implicit, little = syntax.implicit, syntax.little
    value = items(step("S1", "HEAD"), step("S2"), implicit=implicit, little=little, undefined=undefined)
    found = packed(b"" if implicit else b"SQ", value, Written(syntax))
    assert json.loads(sequences.texts(found)[REQUEST]) == [
        {"00400007": "HEAD", "00400009": "S1"},
        {"00400009": "S2"},
    ]
    assert sequences.texts(found)[CODES] == ""


def test_a_sequence_of_unknown_vr_is_implicit() -> None:
    found = packed(b"UN", items(step("S1"), implicit=True), Written(EXPLICIT))
    assert json.loads(sequences.texts(found)[REQUEST]) == [{"00400009": "S1"}]


def test_items_are_in_the_character_set_of_the_dataset_their_own_or_the_one_assumed() -> None:
    raw = items(step("S1", "x"), implicit=True).replace(b"x ", "é".encode())
    assert "é" in sequences.texts(packed(b"", raw, Written(IMPLICIT), "ISO_IR 192"))[REQUEST]
    big5 = items(step("S1", "x"), implicit=True).replace(b"x ", "王".encode("big5"))
    assert "王" in sequences.texts(packed(b"", big5, Written(IMPLICIT, "BIG5")))[REQUEST]
    own = step("S1", "x")
    own.SpecificCharacterSet = "ISO_IR 192"
    raw = items(own, implicit=True).replace(b"x ", "é".encode())
    assert "é" in sequences.texts(packed(b"", raw, Written(IMPLICIT, "BIG5")))[REQUEST]


@pytest.mark.parametrize("cut", [1, 7, 9, 20])
def test_what_cannot_be_read_fails_nothing(cut: int) -> None:
    whole = items(step("S1"), step("S2"), implicit=False)
    found = json.loads(sequences.texts(packed(b"SQ", whole[:-cut], Written(EXPLICIT)))[REQUEST])
    assert found == [{"00400009": "S1"}]
    assert sequences.texts(packed(b"SQ", b"rubbish!" * 3, Written(EXPLICIT)))[REQUEST] == ""


def test_of_many_items_the_first_hundred_are_kept() -> None:
    many = items(*(step(f"S{n}") for n in range(101)), implicit=False)
    kept = json.loads(sequences.texts(packed(b"SQ", many, Written(EXPLICIT)))[REQUEST])
    assert [item["00400009"] for item in kept] == [f"S{n}" for n in range(100)]
