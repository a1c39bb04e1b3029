"""store/functions.py: what SQL asks of Python."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.store import functions

LETTERS = "abc"


@given(st.text(f"{LETTERS}*?", min_size=1, max_size=9), st.text(LETTERS, max_size=9))
def test_a_star_is_any_characters_and_a_question_mark_is_one(key: str, name: str) -> None:
    assert functions.is_named(name, key) == fnmatchcase(name, key)


@pytest.mark.parametrize("key", ["*a" * 31 + "b", "*a?" * 21 + "b", "*" * 63 + "b"])
def test_no_key_takes_long_to_fit_nothing(key: str) -> None:
    """With an expression that tries every way to share the name out among the stars, this does not end."""
    assert not functions.is_named("a" * 64, key)


def test_groups_are_compared_one_by_one() -> None:
    assert functions.is_named("Yamada^Tarou=山田^太郎", "=山田*")
    assert not functions.is_named("Yamada^Tarou=山田^太郎", "山*=山田*")
    assert functions.is_named("Yamada^Tarou=山田^太郎", "山田*")
