"""rules/versions.py: two files under one SOP Instance UID."""

from __future__ import annotations

import pytest

from dicomnode.dicom.instance import ATTRIBUTES, SopInstance
from dicomnode.dicom.walk import Facts
from dicomnode.rules import versions

FIRST = SopInstance(**{a.column: a.column[:5] for a in ATTRIBUTES}, transfer_syntax_uid="explicit", notes=())
IMPLICIT = FIRST._replace(transfer_syntax_uid="implicit")
NATIVE, OTHER = Facts("a", "native-le"), Facts("b", "native-le")
JPEG, SWAPPED = Facts("b", "jpeg"), Facts("b", "native-be")

CONFLICTS = ["study_instance_uid", "series_instance_uid", "sop_class_uid", "rows", "columns", "number_of_frames"]
ORDER = ["patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex", "accession_number"]
ORDER += ["study_id", "study_date", "study_time"]
OTHERS = [a.column for a in ATTRIBUTES if a.column not in (*CONFLICTS, *ORDER, "sop_instance_uid")]


@pytest.mark.parametrize("column", CONFLICTS)
def test_another_study_series_class_or_image_is_a_conflict(column: str) -> None:
    assert versions.is_conflict(FIRST, FIRST._replace(**{column: "x"}), (NATIVE, NATIVE))


@pytest.mark.parametrize("column", [*ORDER, *OTHERS])
def test_other_text_is_no_conflict(column: str) -> None:
    assert not versions.is_conflict(FIRST, FIRST._replace(**{column: "x"}), (NATIVE, NATIVE))


PIXELS = [
    ((NATIVE, NATIVE), False),
    ((NATIVE, OTHER), True),
    ((JPEG, JPEG), False),
    ((JPEG, Facts("c", "jpeg")), True),
    ((NATIVE, JPEG), False),  # hashes of different encodings do not compare
    ((NATIVE, SWAPPED), False),
    ((Facts("", "native-le"), NATIVE), True),
]


@pytest.mark.parametrize(("pixels", "conflict"), PIXELS)
def test_pixels_are_compared_within_one_encoding(pixels: tuple[Facts, Facts], conflict: bool) -> None:
    assert versions.is_conflict(FIRST, FIRST, pixels) is conflict


def test_the_same_in_another_encoding_is_a_variant() -> None:
    assert versions.is_variant(FIRST, IMPLICIT)
    assert not versions.is_variant(FIRST, FIRST)  # other bytes in the same encoding: something else differs


@pytest.mark.parametrize("column", ORDER)
def test_another_patient_or_order_is_no_variant(column: str) -> None:
    assert not versions.is_variant(FIRST, IMPLICIT._replace(**{column: "x"}))
