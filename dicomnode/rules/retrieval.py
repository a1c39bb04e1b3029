"""What to propose for a C-GET: in which transfer syntaxes instances of which SOP classes may come (PS3.4 C.5.3).

Each pair has a context of its own, so that what is stored comes as it is, and none more than one association has room
for beside the request's own. Nothing here fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice, product

from dicomnode.dicom.classes import STORAGE_CLASSES, TRANSFER_SYNTAXES
from dicomnode.rules.proposals import MOST

_FIRST = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, Selection Value 1
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
)
_SYNTAXES = tuple(dict.fromkeys((*_FIRST, *TRANSFER_SYNTAXES)))
"""The likeliest first: of many classes, only these have room."""
_IMAGE = "1.2.840.10008.5.1.4.1.1"
_ENDINGS = "2 4 1 1.1 1.2 1.3 6.1 3.1 7 20 128 130 12.1 12.2 2.1 4.1 13.1.3 88.59 88.11 88.22 88.33 88.67 11.1 104.1"
_MORE = "1.1.1 1.2.1 481.1 481.2 481.3 481.5 66.4 77.1.4 77.1.2 9.1.1 4.2 7.2 7.4"
_COMMON = tuple(f"{_IMAGE}.{ending}" for ending in f"{_ENDINGS} {_MORE}".split())
"""What is asked for where a partner does not say of which classes a study is."""


def pairs(classes: Iterable[str]) -> list[tuple[str, str]]:
    """(SOP class, transfer syntax) of each context, for instances of these classes; of no known one, for the common."""
    wanted = sorted(STORAGE_CLASSES.intersection(classes)) or _COMMON
    return list(islice(((each, syntax) for syntax, each in product(_SYNTAXES, wanted)), MOST - 1))
