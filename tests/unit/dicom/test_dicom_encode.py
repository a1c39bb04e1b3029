"""dicom/encode.py: answers that any reader reads."""

import struct
from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.filereader import read_dataset

from dicomnode.dicom import encode, identifier
from dicomnode.dicom.encode import Element

ANSWER = [
    Element(0x0020000D, "UI", "1.2.3"),
    Element(0x00080052, "CS", "STUDY"),
    Element(0x00080061, "CS", "CT\\MR"),
    Element(0x00100010, "PN", "Jérôme^A"),
    Element(0x00100020, "LO", "P1"),
    Element(0x00100030, "DA", ""),
    Element(0x00081110, "SQ", ""),
    Element(0x00080119, "UC", "long one"),
    Element(0x00201208, "IS", "120"),
    Element(0x00280010, "US", "512\\65535"),
    Element(0x00189219, "SS", "-3"),
    Element(0x00186018, "UL", "4294967295"),
]


def read(data: bytes, *, implicit: bool) -> Dataset:
    found = read_dataset(BytesIO(data), implicit, True)
    found.decode()
    return found


@pytest.mark.parametrize("implicit", [True, False])
def test_pydicom_reads_the_answer(implicit: bool) -> None:
    found = read(encode.identifier(ANSWER, implicit=implicit, character_set="ISO_IR 100"), implicit=implicit)
    assert list(found.keys()) == sorted(found.keys())
    assert len(found) == len(ANSWER) + 1
    assert found.SpecificCharacterSet == "ISO_IR 100"
    assert found.PatientName == "Jérôme^A"
    assert found.ModalitiesInStudy == ["CT", "MR"]
    assert found.StudyInstanceUID == "1.2.3"
    assert found.Rows == [512, 65535]
    assert found[0x00189219].value == -3
    assert found.NumberOfStudyRelatedInstances == 120
    assert found.PatientBirthDate == ""
    assert len(found.ReferencedStudySequence) == 0


@pytest.mark.parametrize("implicit", [True, False])
def test_our_own_reader_reads_the_answer(implicit: bool) -> None:
    found = identifier.decode(encode.identifier(ANSWER, implicit=implicit, character_set=""), implicit=implicit)
    assert found.level == "STUDY"
    assert found.character_set == "ISO_IR 192"
    for element in ANSWER:
        if element.tag != 0x00080052:
            assert found.value(element.tag) == element.value


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("Doe^John", "ISO_IR 100", ""),
        ("Doe^John", "", ""),
        ("Jérôme", "ISO_IR 100", "ISO_IR 100"),
        ("Jérôme", "", "ISO_IR 192"),
        ("Διονυσιος", "ISO_IR 100", "ISO_IR 192"),
        ("Jérôme", "NO SUCH SET", "ISO_IR 192"),
        ("Yamada^Tarou=山田^太郎", "\\ISO 2022 IR 87", "\\ISO 2022 IR 87"),
        ("李^乗", "GB18030", "GB18030"),
    ],
)
def test_the_character_set_is_the_asked_one_where_it_carries_all(name: str, asked: str, expected: str) -> None:
    data = encode.identifier([Element(0x00100010, "PN", name)], implicit=False, character_set=asked)
    found = identifier.decode(data, implicit=False)
    assert (found.character_set, found.value(0x00100010)) == (expected, name)
    assert str(read(data, implicit=False).PatientName) == name


def test_one_value_that_does_not_fit_moves_the_whole_answer_to_utf8() -> None:
    mixed = [Element(0x00081030, "LO", "Έλεγχος"), Element(0x00100010, "PN", "Jérôme")]
    found = identifier.decode(encode.identifier(mixed, implicit=True, character_set="ISO_IR 100"), implicit=True)
    assert found.character_set == "ISO_IR 192"
    assert [key.value for key in found.keys] == ["Έλεγχος", "Jérôme"]


def test_a_given_character_set_is_ours_to_decide() -> None:
    given = [Element(0x00080005, "CS", "ISO_IR 6"), Element(0x00100010, "PN", "é")]
    assert (
        identifier.decode(encode.identifier(given, implicit=True, character_set=""), implicit=True).value(0x00100010)
        == "é"
    )


def test_padding() -> None:
    data = encode.identifier(
        [Element(0x00080018, "UI", "1.2"), Element(0x00080060, "CS", "CTX")], implicit=True, character_set=""
    )
    assert data == struct.pack("<HHL", 8, 0x18, 4) + b"1.2\0" + struct.pack("<HHL", 8, 0x60, 4) + b"CTX "


def test_what_is_no_text_stays_ascii() -> None:
    data = encode.identifier([Element(0x00080060, "CS", "C\ufffdT ")], implicit=True, character_set="")
    assert data.endswith(b"C?T ")


def test_what_a_vr_cannot_hold_is_answered_as_unknown() -> None:
    for wrong in (Element(0x00280010, "US", "512.0"), Element(0x00100020, "LO", "x" * 70_000)):
        data = encode.identifier([wrong, Element(0x00200010, "SH", "7")], implicit=False, character_set="")
        assert [(key.tag, key.value) for key in identifier.decode(data, implicit=False).keys] == [
            (wrong.tag, "") if wrong.tag < 0x00200010 else (0x00200010, "7"),
            (0x00200010, "7") if wrong.tag < 0x00200010 else (wrong.tag, ""),
        ]
