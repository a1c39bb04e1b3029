"""store/tokens.py: what a name is found by."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from fnmatch import translate
from re import compile as expression

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.dicom import names, sounds
from dicomnode.store import tokens


def test_the_tokens_of_a_name_are_those_that_the_index_has() -> None:
    """They are kept, and taken out again by being made again: others need a step of the schema that makes them anew."""
    assert tokens.tokens("o'hara^wu", "王^小").split("\n") == [
        *("\ue027ha", "\ue05ewu", "\ue05e小\ue081", "a\ue05ew", "ara", "har", "o\ue027h", "ra\ue05e"),
        *("u\ue081\ue081", "wu\ue081", "小\ue081\ue081", "王\ue05e小", "\ue080o\ue027", "\ue080王\ue05e"),
        *("\ue082h6", "\ue082o", "\ue082w", "\ue082小", "\ue082王"),
    ]


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
    asked = tokens.of_pattern(wanted) if wanted else ""
    matches = expression(translate(wanted.replace("[", "[[]"))).fullmatch
    if not asked or not any(group and matches(group) for group in groups):
        return
    table.execute("BEGIN")
    table.execute("INSERT INTO names (rowid, tokens) VALUES (1, ?)", (tokens.tokens(*groups),))
    found = table.execute("SELECT rowid FROM names WHERE names MATCH ?", (asked,)).fetchall()
    table.execute("ROLLBACK")
    assert found == [(1,)]


@given(name=ALPHABET, key=ALPHABET)
def test_whatever_sounds_alike_is_found(table: sqlite3.Connection, name: str, key: str) -> None:
    groups, wanted = names.groups(name), names.fold(key)
    if not (asked := tokens.of_words(wanted)) or not sounds.is_alike("=".join(groups), wanted):
        return
    table.execute("BEGIN")
    table.execute("INSERT INTO names (rowid, tokens) VALUES (1, ?)", (tokens.tokens(*groups),))
    found = table.execute("SELECT rowid FROM names WHERE names MATCH ?", (asked,)).fetchall()
    table.execute("ROLLBACK")
    assert found == [(1,)]


@pytest.mark.parametrize("pattern", ["*", "??", "*?*", "", "*a*", "*ab*"])
def test_what_says_too_little_asks_for_nothing(pattern: str) -> None:
    assert tokens.of_pattern(pattern) == ""
