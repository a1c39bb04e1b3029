"""dicom/keywords.py: attributes as a person writes them."""

from __future__ import annotations

import pytest

from dicomnode.dicom import keywords
from dicomnode.dicom.instance import ATTRIBUTES


@pytest.mark.parametrize("text", ["PatientID", "patient_id", "00100020", "(0010,0020)", "0010,0020"])
def test_a_tag(text: str) -> None:
    assert keywords.tag(text) == 0x00100020


@pytest.mark.parametrize("text", ["", "PatientId", "patient id", "0010,002", "0010;0020", "*"])
def test_what_is_none(text: str) -> None:
    assert keywords.tag(text) is None


@pytest.mark.parametrize("text", ["PatientId", "patientid", "PatientIDs", "patient_ID"])
def test_what_may_be_meant(text: str) -> None:
    assert keywords.near(text) == "PatientID"
    assert keywords.near("*") == keywords.near("") == ""


def test_what_is_known_of_it() -> None:
    assert keywords.show(0x0010002A) == "(0010,002A)"
    assert keywords.is_multiple(0x00080061)
    assert not keywords.is_multiple(0x00100020)
    assert not keywords.is_multiple(0x00091001)


def test_its_column_is_that_of_the_index() -> None:
    assert {keywords.column(each.tag) for each in ATTRIBUTES} == {each.column for each in ATTRIBUTES}
    assert keywords.column(0x00091001) == "00091001"
