"""What SQL asks of Python: functions that every connection of ours has. Pure; none of them raises on any text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from dicomnode.dicom import names, sounds
from dicomnode.rules import ranges
from dicomnode.store.tokens import tokens

_OFFSET: Final = re.compile(r"[+-][0-9]{4}")


def text_values(stored: str) -> str:
    """The values of a stored text, as a JSON list."""
    return json.dumps(stored.split("\\"))


def is_named(stored: str, key: str) -> bool:
    """Whether a name matches a key: case and accents aside, component groups apart; a key of one group, in any."""
    found = names.groups(stored)
    patterns = _patterns(key)
    if "=" in key:
        return all(pattern is None or pattern.fullmatch(group) for pattern, group in zip(patterns, found, strict=True))
    return patterns[0] is None or any(patterns[0].fullmatch(group) for group in found)


def moment(stored: str, offset: str) -> str:
    """A stored DT to the microsecond, in UTC; '' for one that is unknown or malformed. `offset`: where it has none."""
    if not _OFFSET.search(stored[8:]) and _OFFSET.fullmatch(offset):
        stored += offset
    try:
        return ranges.date_times(stored)[0]
    except ValueError:
        return ""


@lru_cache(maxsize=64)
def _patterns(key: str) -> tuple[re.Pattern[str] | None, ...]:
    """The expression of each group of a key; None of one that is not asked for."""
    return tuple(_pattern(group) if group else None for group in names.groups(key))


def _pattern(text: str) -> re.Pattern[str]:
    """What stands between two stars is taken where it is first found, for good: no key takes long to fit nothing."""
    first, *others = ("".join("." if c == "?" else re.escape(c) for c in part) for part in text.split("*"))
    middle = "".join(f"(?>.*?{part})" for part in others[:-1] if part)
    return re.compile(f"{first}{middle}.*{others[-1]}" if others else first, re.DOTALL)


FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], int]]] = {
    "name_tokens": (tokens, 3),
    "text_values": (text_values, 1),
    "is_named": (is_named, 2),
    "is_alike": (sounds.is_alike, 2),
    "fold": (names.fold, 1),
    "moment": (moment, 2),
}
"""Their names in SQL, and how many values each takes."""
