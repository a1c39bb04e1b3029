"""How the elements of a dataset are written: what a transfer syntax says of VRs and byte order (PS3.5 7, 10).

Nothing here fails: a transfer syntax that nobody knows is read as nearly all are written.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple


class Syntax(NamedTuple):
    """How elements are written."""

    implicit: bool
    little: bool
    head: struct.Struct
    long: struct.Struct
    item: struct.Struct


IMPLICIT: Final = Syntax(True, True, struct.Struct("<HHL"), struct.Struct("<L"), struct.Struct("<HHL"))
EXPLICIT: Final = Syntax(False, True, struct.Struct("<HH2sH"), struct.Struct("<L"), struct.Struct("<HHL"))
EXPLICIT_BIG: Final = Syntax(False, False, struct.Struct(">HH2sH"), struct.Struct(">L"), struct.Struct(">HHL"))
IMPLICIT_BIG: Final = Syntax(True, False, struct.Struct(">HHL"), struct.Struct(">L"), struct.Struct(">HHL"))
"""No transfer syntax: how some big-endian writers write the items of a sequence whose VR they do not know."""

_OTHERS: Final = {
    "1.2.840.10008.1.2": IMPLICIT,
    "1.2.840.10008.1.20": IMPLICIT,
    "1.2.840.113619.5.2": IMPLICIT,  # GE, big endian in its pixels only
    "1.2.840.10008.1.2.2": EXPLICIT_BIG,
}


def of(transfer_syntax_uid: str) -> Syntax:
    """How its elements are written. All but four, private ones too, are explicit little endian around their pixels, or
    when they were inflated (PS3.5 10, A.4, A.5).
    """
    return _OTHERS.get(transfer_syntax_uid, EXPLICIT)


def inside(vr: bytes, syntax: Syntax) -> Syntax:
    """How the items of a sequence of this VR are written (PS3.5 6.2.2 notes 2 and 4)."""
    return IMPLICIT if vr == b"UN" else syntax
