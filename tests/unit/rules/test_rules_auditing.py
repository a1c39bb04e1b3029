"""rules/auditing.py: every kind that is written anywhere in the package has a meaning in the terms of PS3.15."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.rules import auditing

PACKAGE = Path(auditing.__file__).parent.parent
CODES = {  # PS3.16 CID 400, 401 and 403, as far as they are used here
    *("110100", "110101", "110102", "110103", "110104", "110105", "110106", "110107", "110109", "110112", "110113"),
    *("110114", "110120", "110121", "110122", "110126", "110128", "110129", "110132", "110133", "110134"),
}


def kinds(tree: ast.AST) -> Iterator[str]:
    """Patterns of the kinds that a module writes, as far as they stand in a call that makes or records an event.

    What is put together from parts is a pattern. What stands in a variable is seen when it is written, by the fixture
    of all tests that looks at every entry (tests/conftest.py).
    """
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name == "Event" and len(call.args) > 1:
            yield from _said(call.args[1])
        elif name in ("record", "_record", "_note", "_end") and call.args:
            for argument in call.args[:3]:
                yield from _said(argument, literal=True)


def _said(value: ast.AST, *, literal: bool = False) -> Iterator[str]:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        if not literal or re.fullmatch(r"[a-z]+( [a-z]+)+", value.value):
            yield re.escape(value.value)
    elif isinstance(value, ast.IfExp):
        yield from (*_said(value.body, literal=literal), *_said(value.orelse, literal=literal))
    elif isinstance(value, ast.JoinedStr) and not literal:
        yield "".join(re.escape(part.value) if isinstance(part, ast.Constant) else ".+" for part in value.values)


def written() -> dict[str, str]:
    """Every pattern → a module that writes it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for pattern in kinds(ast.parse(path.read_text())):
            found[pattern] = path.name
    return found


def test_every_kind_that_is_written_has_a_meaning() -> None:
    found = written()
    assert len(found) > 30, "the kinds were not found"
    missing = {
        pattern: module
        for pattern, module in found.items()
        if not any(re.fullmatch(pattern, kind) for kind in auditing.MEANINGS)
    }
    assert missing == {}


@pytest.mark.parametrize("kind", auditing.MEANINGS)
def test_the_codes_are_of_the_standard(kind: str) -> None:
    meaning = auditing.meaning(kind)
    codes = {meaning.event.value} | ({meaning.type.value} if meaning.type else set())
    assert codes <= CODES
    assert meaning.action in "CRUDE"
    assert meaning.outcome in (0, auditing.MINOR, auditing.SERIOUS)


def test_what_nobody_knows_is_an_activity_of_ours() -> None:
    assert auditing.meaning("of a later version").event == auditing.APPLICATION_ACTIVITY
