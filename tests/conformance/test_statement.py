"""The README's section "Conformance" and the tests: neither says what the other does not hold (R242, R243)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from dicomnode import errors
from dicomnode.config.parts import Limits
from dicomnode.dicom.keywords import show
from dicomnode.net import suboperations
from dicomnode.rules import contexts, keys, negotiated
from dicomnode.rules.keys import LEVELS, SUPPORTED, Supported

REQUIREMENTS = range(1, 244)
CASES = {"E": 6, "A": 28, "S": 20, "F": 89, "M": 27, "G": 11, "C": 8, "W": 6}
"""How many cases there are of each kind: E01 to E06 and so on."""
POLICIES = """
R002 R007 R008 R015 R022 R037 R038 R040 R041 R042 R047 R059 R067 R068 R070 R071 R075 R076 R079 R080 R083 R085 R091
R096 R099 R105 R111 R119 R127 R128 R134 R135 R146 R148 R151 R152 R156 R157 R159 R165 R183 R196 R206 R221 R224
"""
"""What the standard leaves to us, if we say what we do."""

_NUMBER = re.compile(r"\b(R(?=\d{3}\b)|[EASFMGCW](?=\d\d\b))(\d+)(?:–[A-Z]?(\d+))?")
_ROOT = Path(__file__).parents[2]


def section() -> str:
    """The README's section, on one line."""
    text = (_ROOT / "README.md").read_text()
    (found,) = re.findall(r"^## Conformance\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(found.split())


def table(heading: str) -> str:
    """The README's table under a heading of this section."""
    text = (_ROOT / "README.md").read_text()
    (found,) = re.findall(rf"^### {heading}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    return "\n".join(line for line in found.splitlines() if line.startswith("|"))


def numbers(text: str) -> set[str]:
    """Every number in a text, those of a range such as R230–R239 included."""
    found: set[str] = set()
    for kind, first, last in _NUMBER.findall(text):
        found |= {f"{kind}{each:0{len(first)}}" for each in range(int(first), int(last or first) + 1)}
    return found


@pytest.fixture(scope="module")
def tried() -> set[str]:
    """The numbers in the ids of the tests, as pytest collects them."""
    collect = ["-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", str(Path(__file__).parent)]
    done = subprocess.run([sys.executable, *collect], cwd=_ROOT, capture_output=True, text=True, check=True)
    ids = [line.rpartition("[")[2] for line in done.stdout.splitlines() if "::" in line and "[" in line]
    return set().union(*map(numbers, ids))


def test_every_requirement_is_tried_or_is_an_exception(tried: set[str]) -> None:
    excepted = numbers(table("Exceptions"))
    known = {f"R{number:03}" for number in REQUIREMENTS}
    assert known - tried - excepted == {"R243"}, "R243 is this module"
    assert tried & excepted & known == set()
    assert {number for number in tried | excepted if number.startswith("R")} <= known


def test_every_case_is_tried_or_is_an_exception(tried: set[str]) -> None:
    known = {f"{kind}{number:02}" for kind, count in CASES.items() for number in range(1, count + 1)}
    excepted = numbers(table("Exceptions"))
    assert known - tried - excepted == set()
    assert {number for number in tried if number[0] in CASES} <= known


def test_every_policy_is_stated() -> None:
    assert numbers(table("Policies")) == numbers(POLICIES)


# -- facts that the code has -------------------------------------------------------------------------------------

_MATCHING = {
    "UI": "list of UID",
    "PN": "name",
    "DA": "range",
    "TM": "range",
    "DT": "range",
    "IS": "number",
    "US": "number",
    "SQ": "sequence",
}
_KINDS = ["list of UID", "name", "range", "number", "wild card", "sequence", "returned only"]


def _kind(of: Supported) -> str:
    return _MATCHING.get(of.vr, "wild card") if of.matched else "returned only"


def _listed(all_of: Iterable[Supported]) -> str:
    return ", ".join(f"{of.keyword} ({_listed(of.items)})" if of.items else of.keyword for of in all_of)


def supported() -> Iterator[str]:
    """A line for each level, as the README has it: the keys by how they are matched."""
    for level in LEVELS:
        own = [of for of in SUPPORTED.values() if of.level == level]
        kinds = ((kind, [of for of in own if _kind(of) == kind]) for kind in _KINDS)
        yield f"- **{level}** — " + "; ".join(f"{kind}: {_listed(some)}" for kind, some in kinds if some) + "."


@pytest.mark.parametrize("line", list(supported()), ids=[str(level) for level in LEVELS])
def test_the_keys_are_those_of_the_code(line: str) -> None:
    assert line in section()


def test_nothing_else_is_a_key() -> None:
    words = set(
        re.findall(r"\b[A-Z][A-Za-z]{5,}\b", " ".join(re.findall(r"- \*\*[A-Z]+\*\* — .*?\.(?= |$)", section())))
    )
    known = {of.keyword for of in SUPPORTED.values()} | {part.keyword for of in SUPPORTED.values() for part in of.items}
    assert words - {str(level) for level in LEVELS} <= known
    assert len(known) > 50


def test_every_sop_class_of_a_service_is_named() -> None:
    for uid in (contexts.VERIFICATION, contexts.STORAGE_COMMITMENT, *contexts.FINDS, *contexts.MOVES, *contexts.GETS):
        assert uid in section()


def test_the_private_keys_are_those_of_the_code() -> None:
    for tag, of in keys.PRIVATE.items():
        assert show(tag) in section(), of.keyword
    assert f"{show(min(keys.PRIVATE))} is `{keys.CREATOR}`" in section()


def statuses(operation: str) -> set[str]:
    """Those that the README has of one operation, or of several together."""
    found: dict[str, set[str]] = {}
    name = ""
    for line in table("Statuses").splitlines()[2:]:
        cells = [cell.strip() for cell in line.split("|")[1:3]]
        name = cells[0] or name
        found.setdefault(name, set()).update(cells[1].split(", "))
    return found[operation]


def test_every_status_is_named() -> None:
    kinds = [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.DicomnodeError)
    ]
    for kind in kinds:
        assert f"{kind.status:04X}H" in section(), kind.__name__


def test_what_a_retrieve_is_refused_with_is_named() -> None:
    """What an error is called there, and not what it is called elsewhere (PS3.4 C.4.2.1.5)."""
    named = statuses("C-MOVE, C-GET")
    for otherwise, status in suboperations._REFUSED.items():
        assert f"{status:04X}H" in named
        assert f"{otherwise:04X}H" not in named


def test_every_feature_is_named() -> None:
    for number, agreed in enumerate(negotiated.find(b"\1" * 7)[1], 1):
        word = "yes" if agreed else "no"
        assert re.search(rf"\| {number} \| [^|]+ \| {word} \|", section()), number
    assert negotiated.retrieve(b"\1\1")[1] == b"\1\0"


def test_the_defaults_are_those_of_the_code() -> None:
    limits = Limits()
    assert limits.answers is None
    assert f"{limits.associations} associations" in section()
    assert f"{limits.idle:.0f} s" in section()
    assert keys.RETRIEVE_AE_TITLE == 0x00080054
