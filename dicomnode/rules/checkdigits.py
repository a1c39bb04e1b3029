"""Whether a patient ID is one that its issuer may have given out: by its check digit, or by the form of them all. Pure.

Only what an issuer declares is asked of its IDs. What is wrong is said without the ID. HKID: the Hong Kong identity
card; NHS: the NHS number of England and Wales; Luhn: ISO/IEC 7812-1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from string import ascii_uppercase
from typing import Final

from dicomnode.config import forms
from dicomnode.config.parts import Issuer
from dicomnode.rules.patients import id_key

_HKID: Final = re.compile(r"([A-Z]{1,2})([0-9]{6})([0-9A])")
_NHS: Final = re.compile("[0-9]{10}")
_DIGITS: Final = re.compile("[0-9]{2,}")
_NO_LETTER: Final = 36
"""What stands for the second letter of an identity card that has one."""


def fault(issuer: Issuer, value: str) -> str:
    """What is wrong with a patient ID of an issuer, '' where nothing is, or where it asks for nothing."""
    if issuer.pattern and not any(map(forms.read(issuer.pattern), (value.strip(), id_key(value)))):
        return f"it has not the form that IDs of {issuer.key} have"
    return _CHECKS[issuer.check](_bare(value)) if issuer.check else ""


def _bare(value: str) -> str:
    """Its letters and digits: 943-476-5919 is an NHS number, although nobody else's ID is compared like that."""
    return "".join(filter(str.isalnum, id_key(value)))


def _hkid(value: str) -> str:
    parts = _HKID.fullmatch(value)
    if not parts:
        return "it is no HKID: one or two letters, six digits and a check digit"
    letters = [10 + ascii_uppercase.index(letter) for letter in parts[1]]
    figures = [*([_NO_LETTER] * (2 - len(letters))), *letters, *map(int, parts[2]), int(parts[3], 11)]
    return _wrong(sum(weight * figure for weight, figure in zip(range(9, 0, -1), figures, strict=True)) % 11 == 0)


def _nhs(value: str) -> str:
    if not _NHS.fullmatch(value):
        return "it is no NHS number: ten digits"
    return _wrong(sum(weight * int(digit) for weight, digit in zip(range(10, 0, -1), value, strict=True)) % 11 == 0)


def _luhn(value: str) -> str:
    if not _DIGITS.fullmatch(value):
        return "it is not a number of digits alone, with a check digit"
    doubled = (int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(value)))
    return _wrong(sum(figure // 10 + figure % 10 for figure in doubled) % 10 == 0)


def _wrong(fits: bool) -> str:
    return "" if fits else "its check digit is wrong"


_CHECKS: Final[dict[str, Callable[[str], str]]] = {"hkid": _hkid, "nhs": _nhs, "luhn": _luhn}
