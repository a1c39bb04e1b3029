"""Does an instance meet the conditions of a route, and what is it about it that does, or does not?

What the conditions mean is said in config/conditions.py. Here they are asked of every instance that arrives, so each
list of values is made into a test once. Nothing that an instance has can fail: a date that is none lies in no range.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from dicomnode.config import conditions as config
from dicomnode.config.conditions import VRS, Condition, Conditions, Group
from dicomnode.dicom import keywords, sequences
from dicomnode.dicom.identifier import is_wild

Values = Mapping[str, str]
"""What is asked of an instance: its indexed columns, its sequences as JSON, and how it came (config ORIGIN)."""
_Test = Callable[[str], object]

_WILD = {"*": ".*", "?": "."}
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_COMPARISON = re.compile(r"(>=|<=|>|<) *(-?[0-9]+)")
_NUMBER = re.compile(r" *[+-]?[0-9]{1,12} *")


def hold(conditions: Conditions, seen: Values) -> bool:
    """Whether an instance meets all of them."""
    for each in conditions.of:  # no generator: this is asked of every instance by every route
        if isinstance(each, Condition):
            if not is_met(each, seen):
                return False
        elif not _group_holds(each, seen):
            return False
    return True


def _group_holds(group: Group, seen: Values) -> bool:
    if group.word == "not":
        return not hold(group.of[0], seen)
    return (any if group.word == "any" else all)(hold(each, seen) for each in group.of)


def is_met(condition: Condition, seen: Values) -> bool:
    """Whether one of the values of an attribute is one of those asked for."""
    test, value = _test(condition.attribute, condition.values), value_of(condition.attribute, seen)
    if "\\" not in value:
        return bool(test(value))
    return any(test(single) for single in value.split("\\"))


def value_of(attribute: str, seen: Values) -> str:
    """What an instance has of an attribute; of the items of a sequence all there are, joined by backslashes."""
    if "." not in attribute:
        return seen[attribute]
    sequence, _, item = attribute.partition(".")
    tag = keywords.tag(item)
    return "\\".join(sequences.of_items(seen[sequence], tag)) if tag else ""


@lru_cache(maxsize=1024)
def _test(attribute: str, values: tuple[str, ...]) -> _Test:
    """Whether a single value is one of these: wildcards in one expression, ranges and comparisons by themselves."""
    vr = VRS.get(attribute, "")
    special = [value for value in values if _is_special(value, vr)]
    texts = [value for value in values if value not in special]
    pattern = re.compile("|".join("".join(_WILD.get(c) or re.escape(c) for c in text) for text in texts), re.DOTALL)
    if not special:
        return pattern.fullmatch
    tests = [_range(value, vr) if config.is_moment(vr) else _comparison(value) for value in special]
    tests += [pattern.fullmatch] if texts else []
    return lambda single: any(test(single) for test in tests)


def _is_special(value: str, vr: str) -> bool:
    return (config.is_moment(vr) and not is_wild(value)) or config.is_comparison(value, vr)


def _range(value: str, vr: str) -> _Test:
    """Within a range of dates or times, as they were sent, but for the punctuation of old ones (PS3.5 6.2)."""
    low, high = config.ends(value, vr)

    def lies_within(single: str) -> bool:
        digits = single.replace(":", "").replace(".", "")
        return digits[:1].isdigit() and digits >= low and (not high or digits[: len(high)] <= high)

    return lies_within


def _comparison(value: str) -> _Test:
    wanted = [(_COMPARE[sign], int(number)) for sign, number in _COMPARISON.findall(value)]

    def compares(single: str) -> bool:
        return bool(_NUMBER.fullmatch(single)) and all(than(int(single), number) for than, number in wanted)

    return compares


# -- in words --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one condition, or of one group of them (which has no attribute); `depth` is of its nesting."""

    depth: int
    attribute: str
    wanted: str
    value: str
    met: bool


_GROUPS = {"any": "any of", "all": "all of", "not": "not"}


def findings(conditions: Conditions, seen: Values, depth: int = 0) -> Iterator[Finding]:
    """Every condition with the value that it met with, in the order of the file; a group before what is in it."""
    for each in conditions.of:
        if isinstance(each, Condition):
            value = value_of(each.attribute, seen)
            yield Finding(depth, each.attribute, " or ".join(each.values), value, is_met(each, seen))
        else:
            yield Finding(depth, "", _GROUPS[each.word], "", _group_holds(each, seen))
            for inner in each.of:
                yield from findings(inner, seen, depth + 1)


_SAID = {"called": "sent to", "calling": "sent by", "partner": "sent by", "site": "sent from"}


def words(conditions: Conditions) -> str:
    """All of it in words, after "was"."""
    return " and ".join(map(_words, conditions.of))


def unmet(each: Condition | Group) -> str:
    """What it means that no instance of a study meets this one."""
    if isinstance(each, Group) and each.word == "not":
        return f"every instance was {words(each.of[0])}"
    return f"no instance was {_words(each)}"


def _words(each: Condition | Group) -> str:
    if isinstance(each, Group):
        return _group_words(each)
    return f"{_SAID.get(each.attribute, f'made with {each.attribute}')} {' or '.join(each.values)}"


def _group_words(group: Group) -> str:
    if group.word == "not":
        return f"not ({words(group.of[0])})"
    return "(" + (" or " if group.word == "any" else " and ").join(map(words, group.of)) + ")"
