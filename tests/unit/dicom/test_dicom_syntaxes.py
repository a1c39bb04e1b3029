"""dicom/syntaxes.py: how the elements of each transfer syntax are written."""

from __future__ import annotations

import pytest

from dicomnode.dicom import syntaxes
from dicomnode.dicom.syntaxes import EXPLICIT, EXPLICIT_BIG, IMPLICIT, Syntax


@pytest.mark.parametrize(
    ("uid", "syntax"),
    [
        ("1.2.840.10008.1.2", IMPLICIT),
        ("1.2.840.10008.1.2.1", EXPLICIT),
        ("1.2.840.10008.1.2.1.99", EXPLICIT),  # what was deflated
        ("1.2.840.10008.1.2.2", EXPLICIT_BIG),
        ("1.2.840.10008.1.2.4.90", EXPLICIT),
        ("1.2.840.10008.1.20", IMPLICIT),
        ("1.2.840.113619.5.2", IMPLICIT),
        ("1.2.3.4.5", EXPLICIT),
    ],
)
def test_a_transfer_syntax(uid: str, syntax: Syntax) -> None:
    assert syntaxes.of(uid) is syntax


@pytest.mark.parametrize("around", [IMPLICIT, EXPLICIT, EXPLICIT_BIG])
def test_what_is_in_a_sequence_of_unknown_vr_is_implicit(around: Syntax) -> None:
    assert syntaxes.inside(b"UN", around) is IMPLICIT
    assert syntaxes.inside(b"SQ", around) is syntaxes.inside(b"", around) is around
