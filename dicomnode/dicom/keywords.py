"""Attributes as a person writes them: by keyword or by tag (PS3.6 6).

Promises a tag and a VR for whatever is one or the other; UN for a tag that PS3.6 does not have. Nothing here fails.
"""

from __future__ import annotations

import re
from typing import Final

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import tag_for_keyword

_TAG: Final = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")


def tag(text: str) -> int | None:
    """The tag of PatientID, (0010,0020), 0010,0020 or 00100020; None for what is none of these."""
    if found := _TAG.fullmatch(text):
        return int(found[1] + found[2], 16)
    return tag_for_keyword(text) if text else None


def vr(of: int) -> str:
    """The VR that an attribute is written in: the first of those that it may have."""
    return DicomDictionary[of][0][:2] if of in DicomDictionary else "UN"


def is_multiple(of: int) -> bool:
    """Whether it may have several values (VM over 1)."""
    return of in DicomDictionary and DicomDictionary[of][1] != "1"


def column(of: int) -> str:
    """Its keyword as `study_instance_uid`; its tag as `00091001` where it has none."""
    keyword = DicomDictionary[of][4] if of in DicomDictionary else ""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", keyword).lower() or f"{of:08x}"
