"""Two files under one SOP Instance UID: what is the second to the first?"""

from __future__ import annotations

from dicomnode.dicom.instance import ATTRIBUTES, SopInstance
from dicomnode.dicom.walk import Facts

_ORDER = (
    "patient_id",
    "issuer_of_patient_id",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "accession_number",
    "study_id",
    "study_date",
    "study_time",
)
_IMAGE = ("sop_class_uid", "rows", "columns", "number_of_frames")


def is_conflict(first: SopInstance, second: SopInstance, pixels: tuple[Facts, Facts]) -> bool:
    """Whether they are two different things: another study, series or class, another image."""
    if (first.study_instance_uid, first.series_instance_uid) != (second.study_instance_uid, second.series_instance_uid):
        return True
    if any(getattr(first, column) != getattr(second, column) for column in _IMAGE):
        return True
    comparable = pixels[0].encoding == pixels[1].encoding
    return comparable and pixels[0].pixels != pixels[1].pixels


def differences(first: SopInstance, second: SopInstance) -> list[str]:
    """The keywords of the indexed attributes in which they differ: for a person, and without the values."""
    return [a.keyword for a in ATTRIBUTES if getattr(first, a.column) != getattr(second, a.column)]


def is_variant(first: SopInstance, second: SopInstance) -> bool:
    """Whether they are the same identity, order and image in another encoding. Asked when there is no conflict."""
    same = all(getattr(first, column) == getattr(second, column) for column in _ORDER)
    return same and first.transfer_syntax_uid != second.transfer_syntax_uid
