"""dicom/instance.py: the attributes of the index."""

from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicomnode.dicom import instance
from dicomnode.dicom.instance import ATTRIBUTES, BY_COLUMN, BY_TAG, Level, SopInstance


def test_sop_instance_has_a_field_for_each_attribute_in_their_order() -> None:
    columns = [attribute.column for attribute in ATTRIBUTES]
    columns = [attribute.column for attribute in ATTRIBUTES]
    assert list(SopInstance._fields) == [*columns, "transfer_syntax_uid", "notes"]


def test_attributes_agree_with_the_dictionary() -> None:
    for attribute in ATTRIBUTES:
        assert tag_for_keyword(attribute.keyword) == attribute.tag
        assert dictionary_VR(attribute.tag) == attribute.vr
        assert BY_TAG[attribute.tag] is BY_COLUMN[attribute.column] is attribute


def test_columns_and_levels() -> None:
    assert BY_TAG[0x0020000D].column == "study_instance_uid"
    assert BY_TAG[0x00080018].column == "sop_instance_uid"
    assert BY_TAG[0x00100021].column == "issuer_of_patient_id"
    assert BY_TAG[0x00200010].column == "study_id"
    assert (BY_TAG[0x00100020].level, BY_TAG[0x00080050].level) == (Level.PATIENT, Level.STUDY)
    assert (BY_TAG[0x00080060].level, BY_TAG[0x00280008].level) == (Level.SERIES, Level.IMAGE)
    assert [sum(each.level is level for each in ATTRIBUTES) for level in Level] == [5, 7, 12, 9]


def test_numbers_leave_out_half_a_number() -> None:
    assert instance.numbers(b"\x01\x02\x03", "US", little_endian=True) == "513"
    assert instance.numbers(b"\x01\x02\x03\x04", "US", little_endian=False) == "258\\772"
    assert instance.numbers(b"\xff\xff", "SS", little_endian=True) == "-1"
    assert instance.numbers(b"", "US", little_endian=True) == ""


def test_build_says_what_could_not_be_decoded() -> None:
    notes = ["earlier"]
    values = {0x00080005: ("CS", b"ISO_IR 192"), 0x00100010: ("", b"\xff"), 0x00100020: ("LO", b"caf\xc3\xa9")}
    found = instance.build(values, "1.2", little_endian=True, notes=notes)
    assert found.patient_id == "café"
    assert found.notes == ("earlier", "text in (0010,0010) is not valid ISO_IR 192")
    assert found.study_description == ""


def test_a_character_set_cannot_smuggle_control_characters_into_a_note() -> None:
    values = {0x00080005: ("CS", b"X\n\x1b[31m" + b"y" * 100), 0x00100010: ("PN", b"\xff")}
    (note,) = instance.build(values, "1.2", little_endian=True, notes=[]).notes
    assert note.isprintable()
    assert len(note) < 130
