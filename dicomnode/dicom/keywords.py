"""Attributes as a person writes them: by keyword or by tag (PS3.6 6).

Promises a tag for whatever is one or the other, and a name for every tag. Nothing here fails.
"""

from __future__ import annotations

import difflib
import functools
import re
from typing import Final

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import tag_for_keyword

_TAG: Final = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")


def tag(text: str) -> int | None:
    """The tag of PatientID, patient_id, (0010,0020), 0010,0020 or 00100020; None for what is none of these."""
    if found := _TAG.fullmatch(text):
        return int(found[1] + found[2], 16)
    return (tag_for_keyword(text) or _columns().get(text)) if text else None


def near(text: str) -> str:
    """The keyword that a text is most like; '' where it is like none."""
    keywords = {entry[4].lower(): entry[4] for entry in DicomDictionary.values()}
    found = difflib.get_close_matches(text.replace("_", "").lower()[:64], keywords, 1)
    return keywords[found[0]] if found else ""


@functools.cache
def _columns() -> dict[str, int]:
    """The tag of every keyword, by its column."""
    return {column(tag): tag for tag in DicomDictionary}


def show(of: int) -> str:
    """A tag as the standard writes it: (0010,0020)."""
    return f"({of >> 16:04X},{of & 0xFFFF:04X})"


def is_multiple(of: int) -> bool:
    """Whether it may have several values (VM over 1)."""
    return of in DicomDictionary and DicomDictionary[of][1] != "1"


def column(of: int) -> str:
    """Its keyword as `study_instance_uid`; its tag as `00091001` where it has none."""
    keyword = DicomDictionary[of][4] if of in DicomDictionary else ""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", keyword).lower() or f"{of:08x}"
