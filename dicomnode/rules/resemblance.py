"""Whether two names of persons may be one person's, however each of two hospitals has written it down. Pure.

    the words of the shorter name are all in the longer one, in whatever order, and two of them at least
    a Chinese name is written as Hong Kong writes it, in Hanyu Pinyin, or in ideographs of either shape
    accents, umlauts, hyphens, titles, initials and doubled letters make no difference; other vowels do, but for what
    Europe made of the commonest Arabic names

Another given name does: how many letters are different tells nothing, for those of brothers differ in one. What is not
close is seen by a person, so a doubt is no. Where both names have ideographs, these alone decide, in their order. What
has a backslash is two names (PS3.5 6.4), and close to none. Nothing here fails, whatever the text, or takes long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dicomnode.dicom import names
from dicomnode.dicom.transliteration import romanised
from dicomnode.rules.syllables import READINGS, SIMPLIFIED, SYLLABLES, VARIANTS

_HAN: Final = re.compile("[\u2e80-\u2fdf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_BETWEEN: Final = re.compile(r"[\s=.,\-\"'()/\\*?_\u2019\u3000\u30fb]+")
_TITLES: Final = frozenset(
    (
        *("dr", "mr", "mrs", "ms", "miss", "mdm", "madam", "mme", "master", "sir", "prof", "professor"),
        *("phd", "md", "herr", "frau"),
    )
)
_MOST = 12
"""Words of a name that are looked at."""
_LETTERS: Final = (
    *(("ae", "a"), ("oe", "o"), ("ue", "u"), ("ch", "k"), ("ck", "k"), ("ph", "f"), ("th", "t"), ("dt", "t")),
    *(("x", "ks"), ("c", "k"), ("q", "k"), ("z", "s"), ("w", "v"), ("y", "i")),
)
_DOUBLED: Final = re.compile(r"(.)\1+")
_ARABIC: Final = (
    *("mohammed mohammad mohamed mohamad muhammad muhammed muhamed muhamad", "hussein hussain hosein hosain husayn"),
    *("ahmed ahmad", "khaled khalid", "mahmoud mahmud", "yousef yousuf yusuf yusef youssouf", "fatima fatema fatimah"),
    *("abdel abdul", "abdallah abdullah", "mustafa mostafa moustafa", "rashid rashed rachid", "saleh salih"),
)
"""In each, the spellings of one name."""
_LONG = 4
"""Letters from which on a word may be spelled in several ways; shorter ones are other words then."""

Words = tuple[str, ...]
Alike = Callable[[str, str], bool]


def is_close(one: str, other: str) -> bool:
    """Whether two person names (PN, with or without component groups) are likely to be the same person's."""
    if "\\" in one + other:
        return False
    first, second = _read(one), _read(other)
    if first.ideographs and second.ideographs:
        return first.ideographs == second.ideographs
    return any(_are_alike(*pair) for pair in _pairs(first.spoken, second.spoken))


@dataclass(frozen=True, slots=True)
class _Name:
    """A name as it is compared: its ideographs, all simplified, and the ways in which it is read aloud."""

    ideographs: Words
    spoken: tuple[Words, ...]


@lru_cache(maxsize=256)
def _read(name: str) -> _Name:
    groups = [_components(group) for group in names.groups(name[:1024])]
    ideographs = tuple(SIMPLIFIED.get(each, each) for group in groups for each in _HAN.findall(group))
    in_letters = [_words(_HAN.sub(" ", group)) for group in groups]
    in_pinyin = tuple(romanised(each) for each in ideographs)
    return _Name(ideographs, tuple(words[:_MOST] for words in (*in_letters, in_pinyin) if words))


def _components(group: str) -> str:
    """Family, given, middle name and suffix: what stands before a name is a title (PS3.5 6.2.1)."""
    components = group.split("^")
    return " ".join(components[:3] + components[4:5])


def _words(text: str) -> Words:
    found = [word for part in _BETWEEN.split(text) if (word := romanised(part))]
    return tuple([word for word in found if word not in _TITLES] or found)


def _pairs(ones: Sequence[Words], others: Sequence[Words]) -> Iterator[tuple[Words, Words]]:
    """Each way to read the one with each way to read the other; words that one of them has in parts are in parts."""
    for one in ones:
        for other in others:
            yield _joined(one, other), _joined(other, one)
            yield _parted(one), _parted(other)


def _joined(words: Words, other: Words) -> Words:
    """The same words, but those as one that the other name has as one: Mc Donald, Jean-Paul, Siu-Ming."""
    at, found = 0, list[str]()
    while at < len(words):
        size = next((size for size in (4, 3, 2) if "".join(words[at : at + size]) in other), 1)
        found.append("".join(words[at : at + size]))
        at += size
    return tuple(found)


def _parted(words: Words) -> Words:
    """The same words, but Chinese ones of several syllables in parts."""
    return tuple(part for word in words for part in (_syllables(word) or (word,)))[:_MOST]


@lru_cache(maxsize=4096)
def _syllables(word: str) -> Words:
    """The two syllables that a word has, as Chinese given names do; () where it is none of those, or is one itself."""
    if word in SYLLABLES:
        return ()
    splits = ((word[:at], word[at:]) for at in range(len(word) - 1, 0, -1))
    return next((parts for parts in splits if all(part in SYLLABLES for part in parts)), ())


# -- two ways to read them ---------------------------------------------------------------------------------------


def _are_alike(one: Words, other: Words) -> bool:
    """Whether all words of the shorter name are those of the longer one, in one way of writing or across two."""
    few, many = sorted((one, other), key=len)
    return any(_covers(few, many, alike) for alike in (_same(few[0], many[0]), _is_pinyin, _has_pinyin))


def _covers(few: Words, many: Words, alike: Alike) -> bool:
    whole = _matched(few, many, alike)
    enough = whole >= 2 or (whole == 1 and len(many) == 1)
    return enough and _matched(few, many, lambda a, b: alike(a, b) or _is_initial(a, b)) == len(few)


def _matched(few: Words, many: Words, alike: Alike) -> int:
    """How many words of the one can be given a word of the other each, for itself (a bipartite matching)."""
    taken: dict[int, int] = {}

    def give(word: int, seen: set[int]) -> bool:
        for at in range(len(many)):
            if at not in seen and alike(few[word], many[at]):
                seen.add(at)
                if at not in taken or give(taken[at], seen):
                    taken[at] = word
                    return True
        return False

    return sum(give(word, set()) for word in range(len(few)))


def _is_initial(one: str, other: str) -> bool:
    return min(len(one), len(other)) == 1 and one[0] == other[0]


def _same(first: str, second: str) -> Alike:
    """Both in one way of writing; but for family names, which stand first and are often left as they were."""

    def alike(one: str, other: str) -> bool:
        if _spelled_alike(one, other):
            return True
        return (one, other) == (first, second) and (_is_pinyin(one, other) or _has_pinyin(one, other))

    return alike


def _is_pinyin(one: str, other: str) -> bool:
    """The second is the first in Hanyu Pinyin; of what is not Chinese in either, the same."""
    return other in READINGS[one] if one in READINGS else _spelled_alike(one, other)


def _has_pinyin(one: str, other: str) -> bool:
    return _is_pinyin(other, one)


@lru_cache(maxsize=4096)
def _spelled_alike(one: str, other: str) -> bool:
    if one == other or other in VARIANTS.get(one, ()):
        return True
    if one in SYLLABLES or other in SYLLABLES or min(len(one), len(other)) < _LONG:
        return False
    return _plain(one) == _plain(other)


def _plain(word: str) -> str:
    """A word without what differs between spellings of one name: of an Arabic one, its first spelling."""
    plain = _sounds(word)
    return _ONE_SPELLING.get(plain, plain)


def _sounds(word: str) -> str:
    for written, sounds in _LETTERS:
        word = word.replace(written, sounds)
    return _DOUBLED.sub(r"\1", word)


_ONE_SPELLING: Final = {_sounds(word): name.split()[0] for name in _ARABIC for word in name.split()}
