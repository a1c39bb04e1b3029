"""dicom/answers.py: rows as any reader reads them, each in a character set that carries it."""

from __future__ import annotations

import json
import struct
from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.filereader import read_dataset

from dicomnode.dicom import identifier
from dicomnode.dicom.answers import Field, Template, Writing
from dicomnode.dicom.encode import Element

NAME, DESCRIPTION, STUDY, DATE, ROWS, SEQUENCE = 0x00100010, 0x00081030, 0x0020000D, 0x00080020, 0x00280010, 0x00081032
CODE, MEANING = Field(0x00080100, "SH"), Field(0x00080104, "LO")
CHARACTER_SET, COMMENTS, LEVEL = 0x00080005, 0x00104000, 0x00080052
SAME = [Element(LEVEL, "CS", "STUDY"), Element(0x00080054, "AE", "REFERNODE"), Element(COMMENTS, "LT", "")]
FIELDS = [
    Field(STUDY, "UI"),
    Field(NAME, "PN"),
    Field(DATE, "DA"),
    Field(ROWS, "US"),
    Field(0x00080061, "CS"),
    Field(DESCRIPTION, "LO"),
]


def read(data: bytes, *, implicit: bool) -> Dataset:
    found = read_dataset(BytesIO(data), implicit, True)
    found.decode()
    return found


def named(name: str, asked: str = "", reads: str = "", *, vr: str = "PN") -> Dataset:
    template = Template(SAME[:1], [Field(NAME if vr == "PN" else DESCRIPTION, vr)], Writing(False, asked, reads))
    return read(template.answer((name,)), implicit=False)


@pytest.mark.parametrize("implicit", [True, False])
def test_each_row_is_an_answer_in_tag_order(implicit: bool) -> None:
    template = Template(SAME, FIELDS, Writing(implicit, "ISO_IR 100"))
    first = ("1.2.3", "Jérôme^A", "20240115", "512", "CT\\MR", "HEAD")
    for row in (first, ("1.2.34", "DOE", "", "7\\8", "", ""), first):
        found = read(template.answer(row), implicit=implicit)
        assert list(found.keys()) == sorted(found.keys())
        assert (found.QueryRetrieveLevel, found.RetrieveAETitle, found.PatientComments) == ("STUDY", "REFERNODE", "")
        assert (found.StudyInstanceUID, str(found.PatientName), found.StudyDate) == row[:3]
        assert found.get("SpecificCharacterSet", "") == ("" if row[1].isascii() else "ISO_IR 100")
        assert found.StudyDescription == row[5]
    assert found.Rows == 512
    assert found.ModalitiesInStudy == ["CT", "MR"]
    assert len(found) == len(SAME) + len(FIELDS) + 1


@pytest.mark.parametrize("implicit", [True, False])
def test_what_is_the_same_stands_wherever_its_tag_belongs(implicit: bool) -> None:
    same = [*SAME, Element(0x00041130, "CS", ""), Element(0x7FE00010, "OW", ""), Element(CHARACTER_SET, "CS", "X")]
    data = Template(same, FIELDS[:2], Writing(implicit)).answer(("1.2", "é"))
    found = identifier.decode(data, implicit=implicit)
    assert found.level == "STUDY"
    assert found.character_set == "ISO_IR 192"
    tags = list(read(data, implicit=implicit).keys())
    assert tags == sorted(tags)
    assert {0x00041130, 0x7FE00010, CHARACTER_SET} <= set(tags)
    assert len(tags) == len(same) + 2


def test_without_fields_what_is_the_same_is_the_answer() -> None:
    assert read(Template(SAME, [], Writing(True)).answer(()), implicit=True).QueryRetrieveLevel == "STUDY"


def test_known_bytes() -> None:
    data = Template([], [Field(0x00080018, "UI"), Field(0x00080060, "CS")], Writing(False)).answer(("1.2", "CTX"))
    uid, modality = struct.pack("<HH2sH", 8, 0x18, b"UI", 4), struct.pack("<HH2sH", 8, 0x60, b"CS", 4)
    assert data == uid + b"1.2\0" + modality + b"CTX "


# -- character sets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("Doe^John", "ISO_IR 100", ""),
        ("Jérôme", "ISO_IR 100", "ISO_IR 100"),
        ("Jérôme", "iso-ir 100", "ISO_IR 100"),  # said as it is spelled
        ("Jérôme", "", "ISO_IR 192"),
        ("Jérôme", "ISO_IR 6", "ISO_IR 192"),
        ("Διονυσιος", "ISO_IR 100", "ISO_IR 192"),
        ("Jérôme", "NO SUCH SET", "ISO_IR 192"),
        ("王^小明", "BIG5", "ISO_IR 192"),
        ("Yamada^Tarou=山田^太郎", "\\ISO 2022 IR 87", "\\ISO 2022 IR 87"),
        ("洪^吉洞", "ISO_IR 149", "\\ISO 2022 IR 149"),
        ("李^乗", "GB18030", "GB18030"),
    ],
)
def test_an_answer_is_in_the_set_that_was_asked_in_where_that_carries_it(name: str, asked: str, expected: str) -> None:
    found = named(name, asked)
    terms = found.get("SpecificCharacterSet", "")
    assert (terms if isinstance(terms, str) else "\\".join(terms)) == expected
    assert str(found.PatientName) == name


def test_each_answer_has_a_set_of_its_own() -> None:
    template = Template([], [Field(NAME, "PN"), Field(DESCRIPTION, "LO")], Writing(False, "ISO_IR 100"))
    rows = [("Jérôme", "HEAD"), ("DOE", "HEAD"), ("Jérôme", "Έλεγχος"), ("Jérôme", "TÊTE")]
    found = [read(template.answer(row), implicit=False) for row in rows]
    assert [each.get("SpecificCharacterSet", "") for each in found] == ["ISO_IR 100", "", "ISO_IR 192", "ISO_IR 100"]
    assert [(str(each.PatientName), each.StudyDescription) for each in found] == rows


@pytest.mark.parametrize(
    ("name", "reads", "expected", "said"),
    [
        ("Wang^XiaoDong=王^小東", "ISO_IR 100", "Wang^XiaoDong", ""),
        ("Müller=陳", "ISO_IR 100", "Müller", "ISO_IR 100"),
        ("王^小明", "GB18030", "王^小明", "GB18030"),
        ("Ωmega", "ISO_IR 100", "Omega", ""),
        ("王^小明", "big5", "王^小明", "ISO_IR 192"),  # no term of the standard: nothing an answer may say
        ("DOE", "ISO_IR 100", "DOE", ""),
    ],
)
def test_who_reads_one_set_is_answered_in_that(name: str, reads: str, expected: str, said: str) -> None:
    found = named(name, "ISO_IR 192", reads)
    assert (str(found.PatientName), found.get("SpecificCharacterSet", "")) == (expected, said)


def test_what_is_no_text_is_ascii_whatever_an_object_says() -> None:
    data = Template([], [Field(0x00080060, "CS")], Writing(True)).answer(("C\ufffdT",))
    assert data.endswith(b"C?T ")
    assert identifier.decode(data, implicit=True).character_set == ""


@pytest.mark.parametrize(("vr", "value"), [("US", "512.0"), ("US", "70000"), ("US", "tall"), ("LO", "x" * 70_000)])
def test_what_a_vr_cannot_hold_is_answered_as_unknown(vr: str, value: str) -> None:
    data = Template([], [Field(0x00080050, vr), Field(0x00200010, "SH")], Writing(False)).answer((value, "7"))
    assert [(key.tag, key.value) for key in identifier.decode(data, implicit=False).keys] == [
        (0x00080050, ""),
        (0x00200010, "7"),
    ]


# -- sequences -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("escaped", [True, False])
def test_a_sequence_has_the_attributes_that_were_asked_for(escaped: bool, implicit: bool) -> None:
    items = [{"00080100": "CT1", "00080104": "Kopf für Jérôme", "00080102": "99X"}, {"00080100": "CT22"}]
    template = Template(SAME, [Field(SEQUENCE, "SQ", (MEANING, CODE)), Field(STUDY, "UI")], Writing(implicit))
    found = read(template.answer((json.dumps(items, ensure_ascii=escaped), "1.2")), implicit=implicit)
    assert found.SpecificCharacterSet == "ISO_IR 192"
    one, other = found.ProcedureCodeSequence
    assert [element.keyword for element in one] == ["CodeValue", "CodeMeaning"]
    assert (one.CodeValue, one.CodeMeaning) == ("CT1", "Kopf für Jérôme")
    assert (other.CodeValue, other.CodeMeaning) == ("CT22", "")
    assert found.StudyInstanceUID == "1.2"


@pytest.mark.parametrize("value", ["", "[]"])
def test_a_sequence_that_is_unknown_has_zero_length(value: str) -> None:
    data = Template([], [Field(SEQUENCE, "SQ", (CODE,))], Writing(False)).answer((value,))
    assert data == struct.pack("<HH2s2xL", 0x0008, 0x1032, b"SQ", 0)
