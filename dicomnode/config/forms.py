"""The form that all IDs of an issuer have, as a regular expression of which the cost is known.

Letters, `.`, `[A-Z]`, `\\d` `\\w` `\\s` (of ASCII), `(…)`, `|`, and counts: `?` `*` `+` `{2}` `{2,}` `{2,4}`. The whole
of an ID has the form or has not, so there is no `^` and no `$`. Something that is repeated has nothing in it that is.

It is found out without going back: what can have been read of a text is a set of places in it, so that no ID takes much
longer than another of its length, however it is made. `read` raises ValueError, with a sentence for the person who
wrote the form; what it returns never fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

LONGEST: Final = 64
"""Characters of an ID (PS3.5 6.2, VR LO); a longer one has no form."""
_MOST: Final = 128
"""Characters of an expression."""
_CLASS: Final = r"\[\^?\]?(?:\\.|[^\]\\])*\]"
_TOKEN: Final = re.compile(
    rf"(?P<one>{_CLASS}|\\[dwsDWS]|\\[^A-Za-z0-9]|[^\\\[\](){{}}?*+|^$])"
    r"|(?P<count>[?*+]|\{(?P<least>[0-9]{1,2})(?P<open>,(?P<most>[0-9]{1,2})?)?\})"
    r"|(?P<mark>\((?:\?:)?|\)|\|)"
)

Places = set[int]
Step = Callable[[str, Places], Places]
"""From where something may begin in a text, to where it may end."""


@lru_cache(maxsize=256)
def read(written: str) -> Callable[[str], bool]:
    """Whether a text has a form."""
    if len(written) > _MOST:
        raise ValueError(f"is over {_MOST} characters long")
    reader = _Reader(written)
    step, _ = reader.choice()
    reader.end()
    return lambda text: len(text) <= LONGEST and len(text) in step(text, {0})


class _Reader:
    """One expression, from its left to its right. Each method returns a step, and whether something in it repeats."""

    def __init__(self, written: str) -> None:
        self._left = list(_tokens(written))[::-1]

    def choice(self) -> tuple[Step, bool]:
        """Ways of which one is taken."""
        ways = [self._row()]
        while self._takes("|"):
            ways.append(self._row())
        return _either([step for step, _ in ways]), any(repeats for _, repeats in ways)

    def end(self) -> None:
        """Nothing is left."""
        if self._left:
            raise ValueError("has a ) without its (")

    def _row(self) -> tuple[Step, bool]:
        """What follows one another."""
        steps, repeats = list[Step](), False
        while self._left and self._left[-1][0] not in ("|", ")"):
            step, inner = self._counted()
            steps.append(step)
            repeats |= inner
        return _each(steps), repeats

    def _counted(self) -> tuple[Step, bool]:
        step, repeats = self._one()
        if not self._left or (found := self._left[-1][1])["count"] is None:
            return step, repeats
        self._left.pop()
        least, most = _bounds(found)
        if self._left and self._left[-1][1]["count"]:
            raise ValueError("has a count after a count")
        if repeats and most > 1:
            raise ValueError("repeats what has a repetition in it: write it without, as [A-Z0-9-]+ for ([A-Z0-9]+-?)+")
        return _times(step, least, most), repeats or most > 1

    def _one(self) -> tuple[Step, bool]:
        token, found = self._left.pop()
        if found["count"]:
            raise ValueError(f"has a count, {token}, of nothing")
        if found["one"]:
            return _character(token), False
        inner = self.choice()
        if not self._takes(")"):
            raise ValueError("has a ( without its )")
        return inner

    def _takes(self, mark: str) -> bool:
        is_next = bool(self._left) and self._left[-1][0] == mark
        if is_next:
            self._left.pop()
        return is_next


def _tokens(written: str) -> Iterator[tuple[str, re.Match[str]]]:
    at = 0
    while at < len(written):
        found = _TOKEN.match(written, at)
        if found is None:
            raise ValueError(f"has something at {written[at : at + 8]!r} that a form of IDs has not")
        yield found[0], found
        at = found.end()


def _bounds(count: re.Match[str]) -> tuple[int, int]:
    """How often, at least and at most; no ID has room for more than LONGEST."""
    if count["least"] is None:
        return (1 if count[0] == "+" else 0), (1 if count[0] == "?" else LONGEST)
    least = int(count["least"])
    most = int(count["most"]) if count["most"] else LONGEST if count["open"] else least
    if not least <= most <= LONGEST:
        raise ValueError(f"has a count, {count[0]}, that is not of {LONGEST} at most, the smaller number first")
    return least, most


def _character(written: str) -> Step:
    try:
        fits = re.compile(written, re.ASCII).fullmatch
    except re.error as error:
        raise ValueError(f"has {written!r}, which is no class of characters: {error}") from None
    return lambda text, places: {at + 1 for at in places if at < len(text) and fits(text[at])}


def _each(steps: list[Step]) -> Step:
    def step(text: str, places: Places) -> Places:
        for each in steps:
            places = each(text, places)
        return places

    return step


def _either(ways: list[Step]) -> Step:
    return ways[0] if len(ways) == 1 else lambda text, places: set[int]().union(*(way(text, places) for way in ways))


def _times(once: Step, least: int, most: int) -> Step:
    def step(text: str, places: Places) -> Places:
        for _ in range(least):
            places = once(text, places)
        found = set(places)
        for _ in range(most - least):
            places = once(text, places) - found
            if not places:
                break
            found |= places
        return found

    return step
