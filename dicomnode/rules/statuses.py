"""What a status means: any one by its class (PS3.7 C), and the final one of a C-FIND, C-MOVE or C-GET in words (PS3.4
C.4.1.1.4, C.4.2.1.5, C.4.3.1.4). Those of a C-STORE have words in outcome.py.

Promises words for every status: where one is unknown, those of its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GENERAL: Final[Mapping[int, str]] = {
    0x0000: "success",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    0x0112: "no such SOP instance",
    0x0117: "invalid SOP Instance UID",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
}
"""Those that are the same whatever was asked (PS3.7 C)."""
_OF_QUERIES: Final[Mapping[int, str]] = {
    **GENERAL,
    0x0001: "done, and the optional parts were left out",
    0xA700: "out of resources: it has more answers than it gives, or none to spare",
    0xA701: "out of resources: it cannot count the matches",
    0xA702: "out of resources: it cannot send",
    0xA801: "it does not know the move destination",
    0xA900: "the Identifier does not match the SOP class",
    0xB000: "some were not sent, or with warnings",
    0xB001: "it has more answers than it gives",
    0xFE00: "cancelled",
}


def meaning(status: int) -> str:
    """A status in words, with its number."""
    return f"{_words(status)} ({status:04X}H)"


def _words(status: int) -> str:
    if status in _OF_QUERIES:
        return _OF_QUERIES[status]
    if status >> 8 == 0xA7:
        return "out of resources"
    return {0xA: "failure", 0xB: "warning", 0xC: "it cannot process this"}.get(status >> 12, "unknown status")


def is_pending(status: int) -> bool:
    """Whether more is to come: of an unknown status of that kind, too."""
    return status >> 8 == 0xFF


def is_warning(status: int) -> bool:
    """Whether it was done, and something is to be said of it."""
    return status >> 12 == 0xB
