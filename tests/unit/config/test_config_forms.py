"""config/forms.py: the forms of IDs mean what they mean to `re`, and no ID takes long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.config import forms, units
from dicomnode.config.parts import Issuer
from dicomnode.rules import checkdigits
from tests.patience import patient

FORMS = [
    *("H[0-9]{6}", "H[0-9]{6}(-[0-9])?", r"\d{3}-?\d{3}", "A|B|AB", "(?:A|B){2,3}", "[^A-Z]+", "[]A]B*"),
    *(r"[\]A]\.", "", ".{2,}", "A{0,1}B+", "(AB|A)(B|)", "(A|AB|B){2}", r"\w\s\W?", "(A(B|-)?)B*"),
    *("(A?B){1}", "A*A*A*B"),
]


@pytest.mark.parametrize("form", FORMS)
@given(text=st.text("AB10-. ]", max_size=9) | st.text(max_size=4))
def test_a_form_means_what_it_means_to_re(form: str, text: str) -> None:
    assert forms.read(form)(text) == bool(re.fullmatch(form, text, re.ASCII))


@pytest.mark.parametrize(
    ("form", "said"),
    [
        *((each, "repeats what has a repetition") for each in ("([A-Z0-9]+-?)+[0-9]", "(A*)*", "((A{2})|B){3}")),
        *((each, "at '") for each in ("^A", "A$", r"\1", "[A", "A{x}", r"\x41")),
        *((each, "of nothing") for each in ("*A", "A|+", "(?)", "(?=A)", "(?P<a>A)")),
        *(("A**", "after a count"), ("A+?", "after a count"), ("(A", "without its )"), ("A)", "without its (")),
        *(("A{3,2}", "smaller number first"), ("A{65}", "64 at most"), ("[B-A]", "no class"), ("A" * 129, "128 char")),
    ],
)
def test_what_is_no_form_is_said_when_it_is_loaded(form: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        units.form(form)


@pytest.mark.parametrize("form", ["(A|A)" * 25, "A*" * 60 + "B", "(A?){64}B" * 10, "((A|AA|AAA|AAAA){64}|A)B"])
def test_no_id_takes_long(form: str) -> None:
    began = time.monotonic()
    for length in (24, 64):
        checkdigits.fault(Issuer(key="HARBOUR", pattern=form), "A" * length)
    assert time.monotonic() - began < patient(2)


def test_a_longer_one_than_an_id_has_no_form() -> None:
    assert forms.read("A+")("A" * 64)
    assert not forms.read("A+")("A" * 65)
