"""How the words of a name sound, for fuzzy semantic matching (PS3.4 C.2.2.2.1.2).

Everything here works on folded component groups (names.groups). The index keeps how words sound: see store/tokens.py
before anything of it is changed. Nothing here fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

_SYLLABLES: Final = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
"""Ideographs, kana and Hangul: each says much, and they are written without spaces."""
IDEOGRAPH: Final = re.compile(f"[{_SYLLABLES}]")
_WORDS: Final = re.compile(f"[{_SYLLABLES}]|[^\\s^=.,\\-\"'()/\\\\*?_\x00-\x1f{_SYLLABLES}]+")
_CODES: Final = str.maketrans("bfpvcgjkqsxzdtlmnr", "111122222222334556")
_FIRST: Final = str.maketrans("cqzvyj", "kksfig")
_VOWELS: Final = frozenset("aeiouy")


def is_alike(name: str, key: str) -> bool:
    """Whether each word of a fuzzy key sounds like one of the words of a name, in whatever order. Both are folded.

    A key without a word sounds like nothing.
    """
    there, wanted = {sound(word) for word in words(name)}, words(key)
    return bool(wanted) and all(sound(word) in there for word in wanted)


def words(text: str) -> list[str]:
    """The words of a folded name, wherever its components end."""
    return _WORDS.findall(text)


@lru_cache(maxsize=4096)
def sound(word: str) -> str:
    """How a Latin word sounds: Soundex of up to four consonants. Another word sounds only like itself."""
    if not word.isascii() or not word.isalpha():
        return word
    codes = "".join(_consonants(word))
    return word.replace("ph", "f")[0].translate(_FIRST) + codes[:4]


def _consonants(word: str) -> Iterator[str]:
    """The codes of the consonants after the first letter. Of neighbours that sound alike one counts, h and w aside."""
    last = word[0].translate(_CODES)
    for letter in word[1:]:
        code = letter.translate(_CODES)
        if code.isdigit() and code != last:
            yield code
        if letter not in "hw":
            last = "" if letter in _VOWELS else code
