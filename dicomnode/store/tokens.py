"""What a name is found by in the index of names: tokens, and the full-text queries (SQLite's FTS5) for them.

Everything here works on folded component groups (names.groups). Promises that whatever a pattern or a fuzzy key
matches has every token that is asked for: tokens may select too much, and never too little. Nothing here fails.

The index keeps them, and takes out those of a name that changes by making them again (migrations/m0004_query.py): what
a name's tokens are, how its words sound among it, changes only with a step of the schema that makes all of them anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from dicomnode.dicom.sounds import IDEOGRAPH, sound, words

_START, _END, _SOUND = "\ue080", "\ue081", "\ue082"
"""What a group begins and ends with, so that its first and last characters are in pieces as long as the others; and
what the tokens of sounds begin with."""
_PIECE: Final = 3
_PLAIN: Final = {code: 0xE000 + code for code in range(128) if not chr(code).isalnum()}
"""The characters that would end a token, as others that do not."""


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


def _runs(pattern: str) -> Iterator[str]:
    """The literal stretches of a pattern, with its ends where these are literal."""
    whole = f"{_START}{pattern}{_END}{_END}"
    yield from filter(None, re.split(r"[*?]+", whole))


def _pieces(run: str) -> Iterator[str]:
    """The tokens of one stretch; a shorter one is how a token begins, wherever in a name it stands."""
    if not run.strip(_START + _END):
        return
    if len(run) < _PIECE and IDEOGRAPH.search(run):  # of one or two letters there are too many
        yield f"{_quoted(run)}*"
    yield from (_quoted(run[at : at + _PIECE]) for at in range(len(run) - _PIECE + 1))


def _quoted(token: str) -> str:
    return f'"{token.translate(_PLAIN)}"'
