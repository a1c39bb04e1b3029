"""rules/checkdigits.py: a table of patient IDs, good and bad."""

from __future__ import annotations

import pytest

from dicomnode.config.parts import Issuer
from dicomnode.rules.checkdigits import fault

HKID, NHS, LUHN = (Issuer(key="GENERAL", check=check) for check in ("hkid", "nhs", "luhn"))
FORM = Issuer(key="HARBOUR", pattern="H[0-9]{6}-[0-9]")
GOOD = [
    *((HKID, each) for each in ("A123456(3)", "A1234563", "a123456 3", "Ａ123456（3）", "AB987654(3)", "G123456(A)")),
    *((NHS, each) for each in ("943 476 5919", "9434765919", "943-476-5919")),
    *((LUHN, each) for each in ("79927398713", "4539 1488 0343 6467", "00")),
    *((FORM, each) for each in ("H123456-7", " H123456-7 ")),
    (Issuer(key="ANY"), "whatever"),
    (Issuer(key="BOTH", check="luhn", pattern="[0-9]{11}"), "79927398713"),
]
BAD = [
    *((HKID, each) for each in ("A123456(4)", "B123456(3)", "A123465(3)", "AB987654(4)", "G123456(0)")),
    *((HKID, each) for each in ("", "A12345(3)", "1234563", "ABC123456(3)", "A123456", "A123456(B)", "Ä123456(3)")),
    *((NHS, each) for each in ("943 476 5918", "943 476 5991", "943476591", "94347659190", "", "١٢٣٤٥٦٧٨٩٠")),
    *((LUHN, each) for each in ("79927398710", "79927398731", "7", "", "7992739871A")),
    *((FORM, each) for each in ("h123456-7", "H1234567", "XH123456-7", "H123456-78")),
    (Issuer(key="BOTH", check="luhn", pattern="[0-9]{11}"), "00"),
]


@pytest.mark.parametrize(("issuer", "value"), GOOD)
def test_what_an_issuer_may_have_given_out_is_no_fault(issuer: Issuer, value: str) -> None:
    assert fault(issuer, value) == ""


@pytest.mark.parametrize(("issuer", "value"), BAD)
def test_what_it_cannot_have_given_out_is_one_and_said_without_it(issuer: Issuer, value: str) -> None:
    wrong = fault(issuer, value)
    assert wrong
    assert not value or value not in wrong


@pytest.mark.parametrize("issuer", [HKID, NHS, LUHN], ids=lambda each: each.check)
def test_one_digit_of_another_kind_is_always_seen(issuer: Issuer) -> None:
    good = {"hkid": "A1234563", "nhs": "9434765919", "luhn": "79927398713"}[str(issuer.check)]
    for at, digit in enumerate(good):
        for other in set("0123456789") - {digit}:
            assert not digit.isdigit() or fault(issuer, good[:at] + other + good[at + 1 :])
