"""What a character set does not carry, in letters that it does: for a caller that reads nothing else.

Promises text that the set carries, with its structure (values, component groups, components) untouched. A character of
which no letters are known becomes a question mark. Nothing here fails, whatever the text, in a set that we know.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from anyascii import anyascii

from dicomnode.dicom import names

_STRUCTURE: Final = re.compile(r"[\\^=\x00-\x1f\x7f]")
_UNKNOWN: Final = "?"


def fitted(text: str, vr: str, character_set: str) -> str:
    """`text` as `character_set` carries it.

    Of a name, an ideographic or phonetic group that is not carried is left out where there is an alphabetic one
    (PS3.5 6.2.1.1): its letters would only say the same again, and worse.
    """
    if names.encodable(text, character_set):
        return text
    if vr == "PN":
        return "\\".join(_name(name, character_set) for name in text.split("\\"))
    return _letters(text, character_set)


def romanised(text: str) -> str:
    """`text` in the letters a to z alone: of another script, as it is read; an ideograph as in Hanyu Pinyin."""
    return "".join(letter for letter in anyascii(text).lower() if "a" <= letter <= "z")


def _name(name: str, character_set: str) -> str:
    alphabetic, *others = name.split("=")
    if alphabetic.strip("^ "):
        others = [group if names.encodable(group, character_set) else "" for group in others]
    return "=".join(_letters(group, character_set) for group in (alphabetic, *others)).rstrip("=")


def _letters(text: str, character_set: str) -> str:
    return "".join(_letter(character, character_set) for character in text)


@lru_cache(maxsize=4096)
def _letter(character: str, character_set: str) -> str:
    if names.encodable(character, character_set):
        return character
    letters = _STRUCTURE.sub(_UNKNOWN, anyascii(character))
    return letters or ("" if _is_silent(character) else _UNKNOWN)


def _is_silent(character: str) -> bool:
    """Whether no letters say it right, as of an alef that only carries a vowel. Of an ideograph they are unknown."""
    is_spoken = unicodedata.category(character)[0] in "LM"
    return is_spoken and not unicodedata.name(character, "").startswith("CJK")
