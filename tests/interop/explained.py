"""Why a peer answers otherwise than the node: the rules of the standard by which one of them is right.

A rule explains that one has found an entity and the other has not; it is told who found it, the question and the
entity, and looks at one kind of key. Who is right is written down with it: the node, or both where the standard leaves
it to the implementation. A peer that is right where the node is not would be a fault of ours, and has no rule.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.interop.objects import Entity

DCMQRSCP, ORTHANC, BOTH, NODE = "dcmqrscp", "Orthanc", "both", "node"
_NAMES = ("PatientName", "ReferringPhysicianName")
_DATES_TIMES = ("StudyDate", "PatientBirthDate", "StudyTime")


@dataclass(frozen=True)
class Question:
    """A C-FIND at a level, and the value of each key that is matched."""

    level: str
    keys: tuple[tuple[str, str], ...]


Pairs = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Rule:
    """The node (or else the `peer`) alone finds an entity when `applies` is true of one of the keys and its value."""

    name: str
    peer: str
    node_finds: bool
    right: str
    says: str
    keywords: tuple[str, ...]
    applies: Callable[[str, str], bool]
    example: str
    """A value of the first of these keys with which it shows."""

    def __str__(self) -> str:
        return f"{self.peer}: {self.name}"

    @property
    def question(self) -> Question:
        return Question("STUDY", ((self.keywords[0], self.example),))


def explanation(question: Question, entity: Entity, peer: str, node_finds: bool) -> Rule | None:
    """The rule by which an entity is found by one alone; None where there is none."""
    pairs = [(keyword, key, entity.values[keyword]) for keyword, key in question.keys]
    rules = (rule for rule in RULES if (rule.peer, rule.node_finds) == (peer, node_finds))
    for rule in rules:
        if any(rule.applies(key, value) for keyword, key, value in pairs if keyword in rule.keywords):
            return rule
    return None


# -- what a key matches when so much of a name is passed over --------------------------------------------------------


def _same(text: str) -> str:
    return text


def _folded(text: str) -> str:
    """Without case and accents."""
    return "".join(sign for sign in unicodedata.normalize("NFD", text.casefold()) if not unicodedata.combining(sign))


def _cased(text: str) -> str:
    """Without case; accents are kept."""
    return text.casefold()


def _trimmed(text: str) -> str:
    """Without trailing components that are empty, and the padding."""
    return text.rstrip("^= ")


def _whole(key: str, value: str) -> bool:
    """Whether a pattern matches a value, letter by letter; an empty one is universal."""
    parts = {"*": ".*", "?": "."}
    pattern = "".join(parts.get(sign, re.escape(sign)) for sign in key)
    return not key or re.fullmatch(pattern, value, re.DOTALL) is not None


def _needs(*passed_over: Callable[[str], str]) -> Callable[[str, str], bool]:
    """A key that matches a name when this is passed over too, and not when it is all that is not."""

    def applies(key: str, value: str) -> bool:
        key, value = _trimmed(key), _trimmed(value)
        return not _whole(passed_over[0](key), passed_over[0](value)) and _name(key, value)

    return applies


def _name(key: str, value: str) -> bool:
    """As the node does it: case and accents passed over, and a group of its own if the key has no others."""
    groups = value.split("=") if "=" not in key else [value]
    return any(_whole(_folded(key), _folded(_trimmed(group))) for group in groups)


def _in_a_group(key: str, value: str) -> bool:
    """A key that matches one component group, and not all of them together; or the other way round."""
    together = _whole(_folded(_trimmed(key)), _folded(_trimmed(value)))
    return "=" in value and together != _name(_trimmed(key), _trimmed(value))


def _not_trimmed(key: str, value: str) -> bool:
    """A key that matches a name with its trailing delimiters otherwise than without."""
    return _whole(_folded(key), _folded(value)) != _whole(_folded(_trimmed(key)), _folded(_trimmed(value)))


# -- the rest --------------------------------------------------------------------------------------------------------


def _one_of_several_bytes(key: str, value: str) -> bool:
    return "?" in key and not value.isascii()


def _unknown_in_range(key: str, value: str) -> bool:
    return key.startswith("-") and not value


def _another_precision(key: str, value: str) -> bool:
    """A time and a key, or one end of it, of which one says less than the other."""
    ends = [end for end in key.split("-") if end]
    return bool(value) and any(len(end) != len(value) for end in ends)


def _other_modality(key: str, value: str) -> bool:
    return not any(_whole(key.strip(), modality) for modality in value.split("\\"))


RULES = (
    Rule(
        *("component groups", DCMQRSCP, True, BOTH),
        "which component groups a key is for is up to a conformance statement (PS3.4 C.2.2.2.4, PS3.5 6.2.1)",
        *(_NAMES, _in_a_group, "Lee^Siu Man"),
    ),
    Rule(
        *("component groups", ORTHANC, True, BOTH),
        "which component groups a key is for is up to a conformance statement (PS3.4 C.2.2.2.4, PS3.5 6.2.1)",
        *(_NAMES, _in_a_group, "Lee^Siu Man"),
    ),
    Rule(
        *("component groups as one", DCMQRSCP, False, BOTH),
        "which component groups a key is for is up to a conformance statement (PS3.4 C.2.2.2.4, PS3.5 6.2.1)",
        *(_NAMES, _in_a_group, "Lee^Siu Man?*"),
    ),
    Rule(
        *("component groups as one", ORTHANC, False, BOTH),
        "which component groups a key is for is up to a conformance statement (PS3.4 C.2.2.2.4, PS3.5 6.2.1)",
        *(_NAMES, _in_a_group, "Lee^Siu Man?*"),
    ),
    Rule(
        *("case of names", DCMQRSCP, True, BOTH),
        "the case of a name may count or not, and a conformance statement says so (PS3.4 C.2.2.2.1)",
        *(_NAMES, _needs(_same), "doe^jane"),
    ),
    Rule(
        *("trailing delimiters", DCMQRSCP, True, NODE),
        "trailing components that are empty are not significant (PS3.5 6.2, PN)",
        *(_NAMES, _not_trimmed, "DOE^JANE^^"),
    ),
    Rule(
        *("a character of several bytes", DCMQRSCP, True, NODE),
        "a question mark is any one character, of however many bytes (PS3.4 C.2.2.2.4)",
        *(_NAMES, _one_of_several_bytes, "M?ller^J*"),
    ),
    Rule(
        *("modalities in study", DCMQRSCP, False, BOTH),
        "an optional key that is not supported is passed over (PS3.4 C.2.2.1.3)",
        *(("ModalitiesInStudy",), _other_modality, "SR"),
    ),
    Rule(
        *("precision of times", DCMQRSCP, True, BOTH),
        "a time that says less than another is the same as far as it goes (PS3.5 6.2, TM)",
        *(("StudyTime",), _another_precision, "1730"),
    ),
    Rule(
        *("accents", ORTHANC, True, BOTH),
        "whether accents count is up to a conformance statement (PS3.4 C.2.2.2.1)",
        *(_NAMES, _needs(_cased), "muller*"),
    ),
    Rule(
        *("a character of several bytes", ORTHANC, True, NODE),
        "a question mark is any one character, of however many bytes (PS3.4 C.2.2.2.4)",
        *(_NAMES, _one_of_several_bytes, "M?ller^J*"),
    ),
    Rule(
        *("trailing delimiters", ORTHANC, True, NODE),
        "trailing components that are empty are not significant (PS3.5 6.2, PN)",
        *(_NAMES, _not_trimmed, "DOE^JANE^^"),
    ),
    Rule(
        *("trailing delimiters, looked for", ORTHANC, False, NODE),
        "trailing components that are empty are not significant (PS3.5 6.2, PN)",
        *(_NAMES, _not_trimmed, "*GEN^*"),
    ),
    Rule(
        *("trailing delimiters, looked for", DCMQRSCP, False, NODE),
        "trailing components that are empty are not significant (PS3.5 6.2, PN)",
        *(_NAMES, _not_trimmed, "*GEN^*"),
    ),
    Rule(
        *("unknown date or time", ORTHANC, False, NODE),
        "what is not known is in no range (PS3.4 C.2.2.1.2, C.2.2.2.5)",
        *(_DATES_TIMES, _unknown_in_range, "-20200105"),
    ),
    Rule(
        *("precision of times", ORTHANC, True, NODE),
        "0930 is a time between 08 and 1000, whatever it says of seconds (PS3.4 C.2.2.2.5, PS3.5 6.2, TM)",
        *(("StudyTime",), _another_precision, "120000-120001"),
    ),
)
