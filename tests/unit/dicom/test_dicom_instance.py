"""dicom/instance.py: the attributes of the index."""

import pytest
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

from dicomnode.dicom import instance
from dicomnode.dicom.instance import ATTRIBUTES, BY_COLUMN, BY_TAG, SEQUENCES, Level, SopInstance, Written
from dicomnode.dicom.syntaxes import EXPLICIT

LITTLE = Written(EXPLICIT)


def test_sop_instance_has_a_field_for_each_attribute_in_their_order() -> None:
    columns = [attribute.column for attribute in ATTRIBUTES]
    assert list(SopInstance._fields) == [*columns, "transfer_syntax_uid", "notes", "sequences"]


def test_attributes_agree_with_the_dictionary() -> None:
    for attribute in ATTRIBUTES:
        assert tag_for_keyword(attribute.keyword) == attribute.tag
        assert dictionary_VR(attribute.tag) == attribute.vr
        assert (dictionary_VM(attribute.tag) != "1") is attribute.multiple
        assert BY_TAG[attribute.tag] is BY_COLUMN[attribute.column] is attribute
    assert {a.column for a in ATTRIBUTES if a.multiple} == {
        *("name_of_physicians_reading_study", "operators_name", "image_type"),
    }


def test_sequences_agree_with_the_dictionary() -> None:
    for sequence in SEQUENCES:
        assert (tag_for_keyword(sequence.keyword), dictionary_VR(sequence.tag)) == (sequence.tag, "SQ")
        assert sequence.column not in BY_COLUMN
        for item in sequence.items:
            assert tag_for_keyword(item.keyword) == item.tag


def test_columns_and_levels() -> None:
    assert BY_TAG[0x0020000D].column == "study_instance_uid"
    assert BY_TAG[0x00080018].column == "sop_instance_uid"
    assert BY_TAG[0x00100021].column == "issuer_of_patient_id"
    assert BY_TAG[0x00200010].column == "study_id"
    assert (BY_TAG[0x00100020].level, BY_TAG[0x00080050].level) == (Level.PATIENT, Level.STUDY)
    assert (BY_TAG[0x00080060].level, BY_TAG[0x00280008].level) == (Level.SERIES, Level.IMAGE)
    assert [sum(each.level is level for each in ATTRIBUTES) for level in Level] == [5, 8, 16, 11]


def test_numbers_leave_out_half_a_number() -> None:
    assert instance.numbers(b"\x01\x02\x03", "US", little_endian=True) == "513"
    assert instance.numbers(b"\x01\x02\x03\x04", "US", little_endian=False) == "258\\772"
    assert instance.numbers(b"\xff\xff", "SS", little_endian=True) == "-1"
    assert instance.numbers(b"", "US", little_endian=True) == ""


def test_build_says_what_could_not_be_decoded() -> None:
    notes = ["earlier"]
    values = {0x00080005: ("CS", b"ISO_IR 192"), 0x00100010: ("", b"\xff"), 0x00100020: ("LO", b"caf\xc3\xa9")}
    found = instance.build(values, "1.2", LITTLE, notes)
    assert found.patient_id == "café"
    assert found.notes == ("earlier", "text in (0010,0010) is not valid ISO_IR 192")
    assert found.study_description == ""


def test_a_character_set_cannot_smuggle_control_characters_into_a_note() -> None:
    values = {0x00080005: ("CS", b"X\n\x1b[31m" + b"y" * 100), 0x00100010: ("PN", b"\xff")}
    (note,) = instance.build(values, "1.2", LITTLE, []).notes
    assert note.isprintable()
    assert len(note) < 130


WONG = "王^小明"


@pytest.mark.parametrize(
    ("declared", "raw", "text", "note"),
    [
        (b"", WONG.encode("big5"), WONG, "read as BIG5"),
        (b"ISO_IR 6", WONG.encode("big5"), WONG, "read as BIG5"),
        (b"ISO_IR 100", WONG.encode("big5"), WONG, "read as BIG5"),
        (b"ISO_IR 192", WONG.encode("big5"), WONG, "read as BIG5"),  # which it is not
        (b"ISO_IR 192", WONG.encode(), WONG, ""),
        (b"GB18030", WONG.encode("gb18030"), WONG, ""),
        (b"", b"WONG^MING", "WONG^MING", ""),
        (b"", b"caf\xe9 ", "café", "not valid ISO-IR 6"),  # no BIG5 either
    ],
)
def test_a_character_set_is_assumed_where_what_is_declared_tells_nothing(
    declared: bytes, raw: bytes, text: str, note: str
) -> None:
    values = {0x00080005: (b"CS", declared), 0x00100010: (b"PN", raw), 0x00080060: (b"CS", b"CT")}
    found = instance.build(values, "1.2", LITTLE._replace(assumed="BIG5"), [])
    assert (found.patient_name, found.modality) == (text, "CT")
    assert found.notes == ((f"text in (0010,0010) is {note}",) if note else ())


def test_nothing_is_assumed_of_a_code() -> None:
    """(0008,0005) does not apply to CS, and what is assumed in its place does not either."""
    values = {0x00080060: (b"CS", "王".encode("big5"))}
    assert instance.build(values, "1.2", LITTLE._replace(assumed="BIG5"), []).modality != "王"


@pytest.mark.parametrize(("length", "kept"), [(1024, 1024), (1025, 1024), (60_000, 1024)])
def test_of_a_book_in_a_short_attribute_the_beginning_is_indexed(length: int, kept: int) -> None:
    notes: list[str] = []
    found = instance.build({0x00081030: (b"LO", b"x" * length)}, "1.2", LITTLE, notes)
    assert found.study_description == "x" * kept
    said = ["of the text in (0008,1030), the first 1024 characters are indexed"]
    assert list(found.notes) == (said if length > kept else [])
