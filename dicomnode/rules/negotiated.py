"""What a caller and this node have agreed on beyond the baseline of query and retrieve (PS3.4 C.5.1 to C.5.3).

Extended negotiation is a byte for each feature: 1 where it is wanted. The answer has as many bytes as were offered, and
a feature that is not answered with 1 is not performed. What is not known is answered with 0.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Features:
    """What may be asked for on a presentation context: nothing beyond the baseline, unless it was agreed on."""

    relational: bool = False
    """Keys of any level at any level, and no unique keys above it."""
    date_time: bool = False
    """A date and its time are one: a range of both begins at the first moment and ends at the last."""
    fuzzy: bool = False
    """Names match as they sound, in any order."""
    empty_value: bool = False
    """Two quotation marks match what has no value."""
    multiple_value: bool = False
    """Of several values in a key, each must match."""


_FIND = ("relational", "date_time", "fuzzy", "", "", "empty_value", "multiple_value")
"""Table C.5-2; neither the adjustment of time zones nor the views of multi-frame images are performed."""
_RETRIEVE = ("relational", "")


def find(offered: bytes) -> tuple[Features, bytes]:
    """What a C-FIND may ask, and the answer to what was offered."""
    return _agreed(offered, _FIND)


def retrieve(offered: bytes) -> tuple[Features, bytes]:
    """What a C-MOVE or C-GET may ask, and the answer to what was offered."""
    return _agreed(offered, _RETRIEVE)


def _agreed(offered: bytes, known: tuple[str, ...]) -> tuple[Features, bytes]:
    names = (*known, *[""] * len(offered))
    answer = bytes(wanted == 1 and name != "" for wanted, name in zip(offered, names, strict=False))
    return Features(**{name: True for name, agreed in zip(known, answer, strict=False) if agreed}), answer
