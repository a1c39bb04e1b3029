"""What kinds of SOP class and transfer syntax there are.

Promises constant sets, made once from pydicom's UID dictionary (PS3.6 A) and the few standard UIDs that are newer than
it. Never decides who may send what: that is configuration and rules. Nothing here fails.
"""

from __future__ import annotations

import re
from typing import Final

from pydicom._uid_dict import UID_dictionary

_NEWER: Final = {  # in PS3.6 since 2024 and 2025, not yet in pydicom 3.0.2
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}
_NEWER_STORAGE: Final = {"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"}
_NAMES: Final = {uid: entry[0] for uid, entry in UID_dictionary.items() if entry[0]} | _NEWER | _NEWER_STORAGE

_NOT_STORAGE: Final = {
    "1.2.840.10008.1.3.10",  # Media Storage Directory: describes a medium, and is never sent (PS3.4 I.4)
    "1.2.840.10008.1.20.1",  # Storage Commitment Push
    "1.2.840.10008.1.20.2",  # Storage Commitment Pull
}
_NAMELESS: Final = {  # retired storage classes whose names PS3.6 has emptied
    "1.2.840.10008.5.1.4.1.1.12.77",
    "1.2.840.10008.5.1.4.1.1.40",
}

STORAGE_CLASSES: Final[frozenset[str]] = (
    frozenset(uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class" and "Storage" in entry[0])
    - _NOT_STORAGE
) | _NAMELESS | set(_NEWER_STORAGE)
"""Every storage SOP class, current and retired: 204 that have a name, the two that have lost it, and newer ones."""

NON_PATIENT_CLASSES: Final[frozenset[str]] = frozenset(
    (
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.39.1",  # Color Palette
        "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template
        "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template
        "1.2.840.10008.5.1.4.45.1",  # Implant Template Group
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.200.3",  # Protocol Approval
        "1.2.840.10008.5.1.4.1.1.200.7",  # XA Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.201.1",  # Inventory
    )
)
"""Objects that belong to no patient, and so to no study (PS3.4 GG)."""

DEFLATED: Final[frozenset[str]] = frozenset(
    (
        "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
        "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
        "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
    )
)
"""Transfer syntaxes whose whole dataset is deflated (PS3.5 A.5)."""

NATIVE: Final[frozenset[str]] = frozenset(
    (
        "1.2.840.10008.1.2",  # Implicit VR Little Endian
        "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
        "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
        "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    )
)
"""Transfer syntaxes whose pixels are not compressed: a dataset in one can be rewritten into another (PS3.5 10.1)."""

DECODED: Final[frozenset[str]] = frozenset(
    (
        "1.2.840.10008.1.2.4.50",  # JPEG Baseline
        "1.2.840.10008.1.2.4.51",  # JPEG Extended
        "1.2.840.10008.1.2.4.57",  # JPEG Lossless
        "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
        "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
        "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-Lossless
        "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
        "1.2.840.10008.1.2.4.91",  # JPEG 2000
        "1.2.840.10008.1.2.5",  # RLE Lossless
    )
)
"""Transfer syntaxes whose pixels can be decompressed (dicom/decompress.py)."""

_NOT_KEPT: Final = {
    # Not a dataset of elements, but mail and mark-up; both retired.
    "1.2.840.10008.1.2.6.1",  # RFC 2557 MIME encapsulation
    "1.2.840.10008.1.2.6.2",  # XML Encoding
    # DICOM-RTV: live streams, never sent by C-STORE (PS3.22).
    "1.2.840.10008.1.2.7.1",
    "1.2.840.10008.1.2.7.2",
    "1.2.840.10008.1.2.7.3",
}

_KNOWN: Final = (uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax")
TRANSFER_SYNTAXES: Final[tuple[str, ...]] = tuple(
    uid for uid in dict.fromkeys((*_KNOWN, *_NEWER)) if uid not in DEFLATED and uid not in _NOT_KEPT
)
"""Every transfer syntax whose dataset can be kept as received and walked to its end, in the dictionary's order."""

_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def class_name(uid: str) -> str:
    """The SOP class's name in PS3.6, or the UID itself for a class that we do not know."""
    return _NAMES.get(uid, uid)


def syntax_name(uid: str) -> str:
    """The transfer syntax's name in PS3.6, or the UID itself for one that we do not know."""
    return _NAMES.get(uid, uid)


def is_valid_uid(text: str) -> bool:
    """Whether `text` is digits and single dots, 1 to 64 characters (PS3.5 9.1).

    A component may start with a zero: real objects have such UIDs, and changing them would be worse.
    """
    return len(text) <= 64 and _UID.fullmatch(text) is not None
