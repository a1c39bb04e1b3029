"""rules/patients.py: two are one patient where only ways of writing differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.config.parts import Issuer
from dicomnode.rules import checkdigits, patients
from dicomnode.rules.patients import Id, id_key, issuer_key

HKID = Id("A123456(3)", "HKID")
WRITTEN = [
    *("A123456(3)", "a123456(3)", "A 123456 3", "A1234563", "A123456-3", "A-123456-3", "\tA123456（3）\n"),
    *("Ａ１２３４５６３", "A\u200b123456\u20603", "\ufeffA123456\xad3", "A123456\x003", "A123456\x7f(3)\0"),
    "A\u3000123456\xa03",
]


@pytest.mark.parametrize("one", WRITTEN)
def test_a_patient_id_is_one_however_it_is_written(one: str) -> None:
    assert id_key(one) == "A1234563"
    assert patients.same(Id(one, "HKID"), HKID)
    assert checkdigits.fault(Issuer(key="HKID", check="hkid"), one) == ""


@pytest.mark.parametrize(
    "issuer", ["HKID", "hkid", " HKID  ", "HKID\0", "\u200bHK\u2060ID", "ＨＫＩＤ", "\tHkId\n", "HK\x7fID", "HK\xadID"]
)
def test_an_issuer_is_one_however_it_is_written(issuer: str) -> None:
    assert issuer_key(issuer) == "hkid"
    assert patients.same(Id("A1234563", issuer), HKID)


@pytest.mark.parametrize("other", ["1.23&ISO", "1 2.3&ISO", "123&ISO", "12.3-ISO", "12.3"])
def test_of_an_issuer_punctuation_counts(other: str) -> None:
    assert not patients.same(Id("A1", "12.3&ISO"), Id("A1", other))
    assert patients.same(Id("A1", "Our  Hospital"), Id("A1", "our\u3000hospital"))


@pytest.mark.parametrize("unsaid", ["", " ", "\0", "\u200b"])
def test_an_issuer_that_is_not_said_is_the_default(unsaid: str) -> None:
    assert issuer_key(unsaid, " HkId") == "hkid"
    assert patients.same(Id("A1234563", unsaid), HKID, "HKID")
    assert not patients.same(Id("A1234563", unsaid), HKID, "HARBOUR")
    assert not patients.same(Id("A1234563", unsaid), HKID)


@pytest.mark.parametrize(
    ("one", "other"),
    [("A12-3", "A1-23"), ("1.23", "12.3"), ("1½", "112"), ("A/12", "A12"), ("1-2-3", "12-3"), ("A-1-23", "A12-3")],
)
def test_of_an_id_other_punctuation_counts(one: str, other: str) -> None:
    assert not patients.same(Id(one, "HKID"), Id(other, "HKID"))


@pytest.mark.parametrize("nobody", ["", " ", "()", "--", "\u200b"])
def test_without_an_id_nobody_is_anybody(nobody: str) -> None:
    assert not patients.same(Id(nobody, "HKID"), Id(nobody, "HKID"))


def test_another_id_or_another_issuer_is_another_patient() -> None:
    assert not patients.same(Id("A1234564", "HKID"), HKID)
    assert not patients.same(Id("A1234563", "HARBOUR"), HKID)


@given(st.text(max_size=12), st.text(max_size=12))
def test_whoever_has_an_id_is_himself_whatever_is_written(patient_id: str, issuer: str) -> None:
    said = Id(patient_id, issuer)
    assert patients.same(said, said) == bool(id_key(patient_id))
    assert repr(said) == "Id(…)"
