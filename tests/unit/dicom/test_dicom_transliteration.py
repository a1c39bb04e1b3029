"""dicom/transliteration.py: what is left of a text where its reader has few letters."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.dicom import names
from dicomnode.dicom.transliteration import fitted

LATIN = "ISO_IR 100"


@pytest.mark.parametrize(
    ("name", "character_set", "expected"),
    [
        ("DOE^JOHN", LATIN, "DOE^JOHN"),
        ("Müller^Jürgen", LATIN, "Müller^Jürgen"),
        ("Müller^Łucja", LATIN, "Müller^Lucja"),
        ("Müller", "ISO_IR 6", "Muller"),
        ("王^小東", LATIN, "Wang^XiaoDong"),
        ("Люкceмбypг", LATIN, "Lyukcembypg"),
        ("Διονυσιος", LATIN, "Dionysios"),
        ("홍^길동", LATIN, "Hong^GilDong"),
        ("قباني^لنزار", LATIN, "qbny^lnzr"),
        # the other groups say the same again: they are not transliterated where there is an alphabetic one
        ("Wang^XiaoDong=王^小東", LATIN, "Wang^XiaoDong"),
        ("Yamada^Tarou=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ", "ISO_IR 13", "Yamada^Tarou==ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("=王^小東", LATIN, "=Wang^XiaoDong"),
        ("^=王", LATIN, "^=Wang"),
        ("A=王\\Ωmega", LATIN, "A\\Omega"),
        # what would look like a separator is none
        ("Ａ＝Ｂ＾＼", LATIN, "A?B??"),
        ("\U0010ffff", LATIN, "?"),
        ("王\u4dbf", LATIN, "Wang?"),  # an ideograph that nobody has romanised
    ],
)
def test_a_name_as_its_reader_can_read_it(name: str, character_set: str, expected: str) -> None:
    assert fitted(name, "PN", character_set) == expected


def test_other_text_has_no_groups() -> None:
    assert fitted("E=mc²: 王", "LO", LATIN) == "E=mc²: Wang"


_SETS = [LATIN, "ISO_IR 6", "GBK", "ISO_IR 13"]


@given(st.text(max_size=30), st.sampled_from(["PN", "LO", "LT"]), st.sampled_from(_SETS))
def test_whatever_it_is_it_fits_and_keeps_its_structure(text: str, vr: str, character_set: str) -> None:
    found = fitted(text, vr, character_set)
    assert names.encodable(found, character_set)
    assert found.count("\\") == text.count("\\")
    if vr != "PN":
        assert found.count("=") == text.count("=")
    added = {unicodedata.category(c) for c in set(found) - set(text)}
    assert "Cc" not in added
