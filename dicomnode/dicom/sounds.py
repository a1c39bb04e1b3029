"""What names are found by: pieces of them, and how their words sound (PS3.4 C.2.2.2.1.2, fuzzy semantic matching).

Everything here works on folded component groups (names.groups). Promises that whatever a pattern or a fuzzy key
matches has every token that is asked for: tokens may select too much, and never too little. Nothing here fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

_START, _END, _SOUND = "\ue080", "\ue081", "\ue082"
"""What a group begins and ends with, so that its first and last characters are in pieces as long as the others; and
what the tokens of sounds begin with."""
_PIECE: Final = 3
_PLAIN: Final = {code: 0xE000 + code for code in range(128) if not chr(code).isalnum()}
"""The characters that would end a token, as others that do not."""
_SYLLABLES: Final = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
"""Ideographs, kana and Hangul: each says much, and they are written without spaces."""
_IDEOGRAPH: Final = re.compile(f"[{_SYLLABLES}]")
_WORDS: Final = re.compile(f"[{_SYLLABLES}]|[^\\s^=.,\\-\"'()/\\\\*?_\x00-\x1f{_SYLLABLES}]+")
_CODES: Final = str.maketrans("bfpvcgjkqsxzdtlmnr", "111122222222334556")
_FIRST: Final = str.maketrans("cqzvyj", "kksfig")
_VOWELS: Final = frozenset("aeiouy")


def tokens(*groups: str) -> str:
    """All that a name with these groups is found by: tokens, a line each."""
    found: set[str] = set()
    for group in filter(None, groups):
        padded = f"{_START}{group}{_END}{_END}"
        found.update(padded[at : at + _PIECE] for at in range(len(padded) - _PIECE + 1))
        found.update(_SOUND + sound(word) for word in words(group))
    return "\n".join(token.translate(_PLAIN) for token in sorted(found))


def of_pattern(pattern: str) -> str:
    """The full-text query that every name matching a pattern of one group answers to; '' where it says too little."""
    wanted = dict.fromkeys(piece for run in _runs(pattern) for piece in _pieces(run))
    return " AND ".join(wanted)


def of_words(key: str) -> str:
    """The full-text query of a fuzzy key: each of its words as it sounds; '' where it has none."""
    return " AND ".join(dict.fromkeys(_quoted(_SOUND + sound(word)) for word in words(key)))


def is_alike(name: str, key: str) -> bool:
    """Whether each word of a fuzzy key sounds like one of the words of a name, in whatever order. Both are folded."""
    there = {sound(word) for word in words(name)}
    return all(sound(word) in there for word in words(key))


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


def _runs(pattern: str) -> Iterator[str]:
    """The literal stretches of a pattern, with its ends where these are literal."""
    whole = f"{_START}{pattern}{_END}{_END}"
    yield from filter(None, re.split(r"[*?]+", whole))


def _pieces(run: str) -> Iterator[str]:
    """The tokens of one stretch; a shorter one is how a token begins, wherever in a name it stands."""
    if not run.strip(_START + _END):
        return
    if len(run) < _PIECE and _IDEOGRAPH.search(run):  # of one or two letters there are too many
        yield f"{_quoted(run)}*"
    yield from (_quoted(run[at : at + _PIECE]) for at in range(len(run) - _PIECE + 1))


def _quoted(token: str) -> str:
    return f'"{token.translate(_PLAIN)}"'
