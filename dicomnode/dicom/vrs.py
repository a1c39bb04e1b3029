"""Value Representations (PS3.5 6.2): how each is written, and which one an element has that was written without.

Promises a VR for every element: the dictionary's (PS3.6), where the value fits it; one of several as PS3.5 A.2 and the
elements before it decide; else UN, which any value fits (6.2.2). Nothing here fails.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

from pydicom.datadict import dictionary_VR

PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))

Hint = Mapping[int, int]
"""What decides between VRs, by tag: Pixel Representation, Bits Allocated, Waveform Bits Allocated."""

_SIGNED: Final = 0x00280103
BITS_ALLOCATED: Final = 0x00280100
_WAVEFORM_BITS: Final = 0x54001004
HINTS: Final = frozenset((_SIGNED, BITS_ALLOCATED, _WAVEFORM_BITS))

SHORT: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""Those whose length has 16 bits."""
UNITS: Final[Mapping[bytes, int]] = {
    **dict.fromkeys(b"AE AS CS DA DS DT IS LO LT OB PN SH SQ ST TM UC UI UN UR UT".split(), 1),
    **dict.fromkeys(b"AT OW SS US".split(), 2),
    **dict.fromkeys(b"FL OF OL SL UL".split(), 4),
    **dict.fromkeys(b"FD OD OV SV UV".split(), 8),
}
"""Every VR, and of how many bytes its numbers are (PS3.5 7.3); 1 where it has none."""
LONG: Final = frozenset(UNITS) - SHORT
"""Those whose length has 32 bits, after two bytes that say nothing."""
NUMBERS: Final[Mapping[str, str]] = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q"}
"""The integer VRs and how `struct` packs one value of each."""


def of(tag: int, length: int, known: Hint) -> bytes:
    """The VR of an element that was written without one, and has so many bytes."""
    named = dictionary(tag)
    vr = named.encode() if len(named) == 2 else _decided(tag, named, known)
    fits = vr in UNITS and length % UNITS[vr] == 0 and (vr not in SHORT or length <= 0xFFFF)
    return vr if fits else b"UN"


def _decided(tag: int, named: str, known: Hint) -> bytes:
    """One of those that the dictionary names: `US or SS`, `OB or OW`, `US or OW`."""
    if "SS" in named and "OW" not in named:
        return b"SS" if known.get(_SIGNED) == 1 else b"US"
    bits = _WAVEFORM_BITS if tag >> 16 == 0x5400 else BITS_ALLOCATED if tag in PIXELS else None
    return b"OB" if bits and known.get(bits, 16) <= 8 else b"OW"


def first(tag: int) -> str:
    """The VR that an attribute is written in where nothing decides: the first of those that it may have."""
    return dictionary(tag)[:2]


@functools.lru_cache(maxsize=8192)
def dictionary(tag: int) -> str:
    """The VR, or VRs, of PS3.6; LO for a private creator (PS3.5 7.8.1), UN for what is not in it."""
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"
