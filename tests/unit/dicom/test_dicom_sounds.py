"""dicom/sounds.py: what a name is found by."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from fnmatch import translate
from re import compile as expression

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.dicom import names, sounds

ALIKE = [
    ("wong", "wang"),
    ("hollmann", "holman"),
    ("smith", "schmidt"),
    ("kathryn", "catherine"),
    ("philip", "filip"),
    ("meier", "mayer"),
    ("chan", "chen"),
]
OTHERS = [("wong", "chan"), ("smith", "jones"), ("lee", "lam"), ("山", "川"), ("иванов", "петров")]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_alike(one: str, other: str) -> None:
    assert sounds.sound(one) == sounds.sound(other)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_not_alike(one: str, other: str) -> None:
    assert sounds.sound(one) != sounds.sound(other)


def test_words_are_what_separators_leave_and_each_ideograph() -> None:
    assert sounds.words("wong^tai man=王^小明") == ["wong", "tai", "man", "王", "小", "明"]
    assert sounds.words("o'neil-smith, a.") == ["o", "neil", "smith", "a"]
    assert sounds.words("^^=") == []


@pytest.mark.parametrize(
    ("name", "key", "is_alike"),
    [
        ("wong^siu ming=王^小明", "ming wang", True),
        ("wong^siu ming=王^小明", "小明", True),
        ("wong^siu ming=王^小明", "王小明", True),
        ("wong^siu ming=王^小明", "ming chan", False),
        ("иванов^иван", "иван иванов", True),
        ("", "wong", False),
    ],
)
def test_names_are_alike_in_any_order(name: str, key: str, is_alike: bool) -> None:
    assert sounds.is_alike(name, key) is is_alike


@pytest.fixture(scope="module")
def table() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE names USING fts5(tokens, content = '', detail = none, columnsize = 0, tokenize = 'ascii')"
    )
    yield connection
    connection.close()


ALPHABET = st.text("ab*?王李^ '\"-=_%[é\ue000", max_size=7)


@given(name=ALPHABET, pattern=ALPHABET)
def test_whatever_matches_is_found(table: sqlite3.Connection, name: str, pattern: str) -> None:
    """The tokens of a pattern are among those of each name that it matches, wherever in it the wild cards are."""
    groups, wanted = names.groups(name), names.groups(pattern.replace("=", ""))[0]
    asked = sounds.of_pattern(wanted) if wanted else ""
    matches = expression(translate(wanted.replace("[", "[[]"))).fullmatch
    if not asked or not any(group and matches(group) for group in groups):
        return
    table.execute("BEGIN")
    table.execute("INSERT INTO names (rowid, tokens) VALUES (1, ?)", (sounds.tokens(*groups),))
    found = table.execute("SELECT rowid FROM names WHERE names MATCH ?", (asked,)).fetchall()
    table.execute("ROLLBACK")
    assert found == [(1,)]


@given(name=ALPHABET, key=ALPHABET)
def test_whatever_sounds_alike_is_found(table: sqlite3.Connection, name: str, key: str) -> None:
    groups, wanted = names.groups(name), names.fold(key)
    if not (asked := sounds.of_words(wanted)) or not sounds.is_alike("=".join(groups), wanted):
        return
    table.execute("BEGIN")
    table.execute("INSERT INTO names (rowid, tokens) VALUES (1, ?)", (sounds.tokens(*groups),))
    found = table.execute("SELECT rowid FROM names WHERE names MATCH ?", (asked,)).fetchall()
    table.execute("ROLLBACK")
    assert found == [(1,)]


@pytest.mark.parametrize("pattern", ["*", "??", "*?*", "", "*a*", "*ab*"])
def test_what_says_too_little_asks_for_nothing(pattern: str) -> None:
    assert sounds.of_pattern(pattern) == ""
