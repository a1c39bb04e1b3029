"""dicom/names.py: character sets, person names, folding."""

import logging
import unicodedata
import warnings
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_charset_files

from dicomnode.dicom import names, walk

FILES = [path for path in sorted(get_charset_files("*.dcm")) if "SQEncoding" not in path]


@pytest.mark.parametrize("path", FILES, ids=lambda path: Path(path).stem)
def test_the_charset_files_are_read_as_pydicom_reads_them(path: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = str(dcmread(path).PatientName)
    found = walk.header(Path(path))
    assert found.patient_name.rstrip("=") == expected.rstrip("=")
    assert found.notes == ()


def test_there_are_charset_files() -> None:
    assert len(FILES) >= 15


@pytest.mark.parametrize(
    ("text", "character_set"),
    [
        ("Buc^Jérôme", "ISO_IR 100"),
        ("Świerk^Łucja", "ISO_IR 101"),
        ("Œuvre^5 €", "ISO_IR 203"),
        ("สมชาย^ใจดี", "ISO_IR 166"),
        ("Wang^XiaoDong=王^小東", "ISO_IR 192"),
        ("Li^A=李^乗\\x", "GB18030"),
        ("Zhang^Wei=张^𠮷", "GB18030"),
        ("张^伟=张^伟", "GBK"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "\\ISO 2022 IR 87"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "ISO 2022 IR 13\\ISO 2022 IR 87"),
        ("Hong^Gildong=洪^吉洞=홍^길동", "\\ISO 2022 IR 149"),
        ("Zhang^XiaoDong=张^小东", "\\ISO 2022 IR 58"),
        ("Ivanov^Ivan=Иванов^Иван", "\\ISO 2022 IR 144"),
        ("Иван Jérôme^山", "ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 87"),
        ("Διονυσιος", "ISO_IR 126"),
        ("丂丄", "\\ISO 2022 IR 87\\ISO 2022 IR 159"),
    ],
)
def test_round_trip(text: str, character_set: str) -> None:
    assert names.encodable(text, character_set)
    raw = names.encode(text, "PN", character_set)
    assert names.decode(raw, character_set, "PN") == (text, True)


def test_known_bytes_of_the_standard() -> None:
    # PS3.5 H.3.1, I.2 and K.2
    japanese = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
    assert names.encode("Yamada^Tarou=山田^太郎=やまだ^たろう", "PN", "\\ISO 2022 IR 87") == japanese
    korean = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
    assert names.encode("Hong^Gildong=洪^吉洞=홍^길동", "PN", "\\ISO 2022 IR 149") == korean
    chinese = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="
    assert names.decode(chinese, "\\ISO 2022 IR 58", "PN") == ("Zhang^XiaoDong=张^小东=", True)


@pytest.mark.parametrize(
    ("raw", "character_set", "expected"),
    [
        (b"DOE^JOHN", "", ("DOE^JOHN", True)),
        ("Müller".encode(), "", ("Müller", True)),  # undeclared, and plainly UTF-8
        ("Müller".encode("latin-1"), "", ("Müller", False)),
        ("Müller".encode("latin-1"), "ISO_IR 192", ("M\ufffdller", False)),
        ("Müller".encode(), "NO SUCH TERM", ("Müller", False)),
        (b"Muller", "NO SUCH TERM", ("Muller", True)),
        ("é".encode("latin-1"), "ISO-IR 100", ("é", True)),
        ("é".encode("latin-1"), "ISO IR 100 ", ("é", True)),
        ("é".encode("latin-1"), "iso_ir_100", ("é", True)),
        ("홍".encode("euc_kr"), "ISO_IR 149", ("홍", True)),
        (b"\x1b$)C\xb1\xe8^\xc8\xf1", "\\ISO 2022 IR 149", ("김^희", True)),  # escaped once for the whole name
        (b"\x1b%Gx", "\\ISO 2022 IR 87", ("\ufffd%Gx", False)),
        (b"a\nb\x1b[2J\x7f", "", ("a\ufffdb\ufffd[2J\ufffd", False)),
        ("a\u2028b\u202e\x85".encode(), "ISO_IR 192", ("a\ufffdb\ufffd\ufffd", False)),
        (b"DOE\0\0", "", ("DOE", True)),
        (b"", "ISO_IR 192\\ISO 2022 IR 87", ("", True)),
    ],
)
def test_what_devices_send(raw: bytes, character_set: str, expected: tuple[str, bool]) -> None:
    assert names.decode(raw, character_set, "PN") == expected


def test_lines_survive_in_text_and_nowhere_else() -> None:
    assert names.decode(b"a\r\nb\tc", "", "LT") == ("a\r\nb\tc", True)
    assert names.decode(b"a\r\nb", "", "LO") == ("a\ufffd\ufffdb", False)


def test_nothing_is_warned_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        for character_set in ("", "ISO_IR 192", "ISO 2022 IR 6\\ISO_IR 192", "GB18030\\ISO 2022 IR 87", "???", "\\\\"):
            for raw in (b"\xff\xfe\x1b$B\x1b", b"\x1b", b"\x81", bytes(range(256))):
                names.decode(raw, character_set, "PN")
                names.encodable("é山", character_set)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("text", "character_set"), [("é", ""), ("山", "ISO_IR 100"), ("é", "NONSENSE"), ("é", "\\ISO 2022 IR 87")]
)
def test_what_cannot_be_encoded(text: str, character_set: str) -> None:
    assert not names.encodable(text, character_set)


@pytest.mark.parametrize("text", ["ﾔ¥", "山田‾"])
@pytest.mark.parametrize("character_set", ["ISO_IR 13", "ISO 2022 IR 13\\ISO 2022 IR 87", "\\ISO 2022 IR 87"])
def test_a_yen_is_not_written_where_it_would_be_read_as_a_backslash(text: str, character_set: str) -> None:
    assert not names.encodable(text, character_set)
    assert names.encodable(text, "ISO_IR 192")
    with pytest.raises(UnicodeError):
        names.encode(text, "LO", character_set)


@pytest.mark.parametrize(
    ("one", "other"),
    [("DOE", "doe"), ("Jérôme", "JEROME"), ("Straße", "STRASSE"), ("Διονύσιος", "διονυσιοσ"), ("ＤＯＥ", "doe")],
)
def test_folding_makes_equal(one: str, other: str) -> None:
    assert names.fold(one) == names.fold(other)


@pytest.mark.parametrize(("one", "other"), [("だ", "た"), ("パ", "ハ"), ("김", "기"), ("นี", "น")])
def test_folding_keeps_apart(one: str, other: str) -> None:
    assert names.fold(one) != names.fold(other)
    assert unicodedata.is_normalized("NFC", names.fold(one))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DOE^JOHN^^^", ("doe^john", "", "")),
        ("Doe ^ John ^^ ", ("doe^john", "", "")),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ("yamada^tarou", "山田^太郎", "やまだ^たろう")),
        ("=山田", ("", "山田", "")),
        ("", ("", "", "")),
        ("a=b=c=d", ("a", "b", "c")),
        ("^John", ("^john", "", "")),
    ],
)
def test_groups(name: str, expected: tuple[str, str, str]) -> None:
    assert names.groups(name) == expected


BIG5 = "王^小明".encode("big5")


@pytest.mark.parametrize(
    ("raw", "character_set", "assumed", "expected"),
    [
        # nothing is declared, or what a device declares that nobody has told where it stands
        (BIG5, "", "big5", "王^小明"),
        (BIG5, "ISO_IR 6", "big5", "王^小明"),
        (BIG5, "ISO_IR 100", "big5", "王^小明"),
        (BIG5, "\\ISO 2022 IR 100", "big5", "王^小明"),
        ("王".encode("gb18030"), "", "GB18030", "王"),
        ("Müller".encode(), "ISO_IR 100", "ISO_IR 192", "Müller"),
        # a set in which the value is not
        (BIG5, "ISO_IR 192", "big5", "王^小明"),
        (BIG5, "NO SUCH TERM", "big5", "王^小明"),
        # what is declared holds
        ("王".encode(), "ISO_IR 192", "big5", None),
        ("Жук".encode("iso8859_5"), "ISO_IR 144", "big5", None),
        (b"WONG^SIU MING", "ISO_IR 100", "big5", None),
        # what is assumed fits no better
        ("Müller".encode("latin-1"), "ISO_IR 100", "ISO_IR 192", None),
        (b"M\xfc", "", "big5", None),
        (b"\xa4\xfd\x1b[2J", "", "big5", None),
        (BIG5, "", "NO SUCH TERM", None),
        (BIG5, "", "", None),
    ],
)
def test_what_is_assumed_of_a_peer(raw: bytes, character_set: str, assumed: str, expected: str | None) -> None:
    assert names.assume(raw, character_set, "PN", assumed) == expected
    if expected is None:
        assert names.decode(raw, character_set, "PN", assumed) == names.decode(raw, character_set, "PN")
    else:
        assert names.decode(raw, character_set, "PN", assumed) == (expected, True)


@pytest.mark.parametrize(
    ("said", "spelled"),
    [
        ("", ""),
        ("ISO_IR 100", "ISO_IR 100"),
        ("iso-ir 100 ", "ISO_IR 100"),
        ("\\ISO 2022 IR 87", "\\ISO 2022 IR 87"),
        ("ISO_IR 100\\ISO_IR 144", "ISO 2022 IR 100\\ISO 2022 IR 144"),
        ("ISO_IR 149", "\\ISO 2022 IR 149"),
        ("ISO_IR 192\\ISO 2022 IR 87", "ISO_IR 192"),
        ("gb18030", "GB18030"),
        ("big5", ""),
        ("ISO 2022 GBK", ""),
        ("ISO_IR 100\\nonsense", ""),
    ],
)
def test_terms_are_spelled_as_the_standard_has_them(said: str, spelled: str) -> None:
    assert names.spelled(said) == spelled
