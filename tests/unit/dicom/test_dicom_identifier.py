"""dicom/identifier.py: an Identifier as it was asked."""

import struct
import warnings

import pytest
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicomnode.dicom import identifier
from dicomnode.dicom.identifier import Key
from dicomnode.errors import BadIdentifier


def encoded(query: Dataset, *, implicit: bool, little_endian: bool = True) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = little_endian, implicit
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_dataset(buffer, query)
    return buffer.getvalue()


def query() -> Dataset:
    with config.disable_value_validation():
        asked = Dataset()
        asked.SpecificCharacterSet = "ISO_IR 100"
        asked.QueryRetrieveLevel = "STUDY"
        asked.RetrieveAETitle = "NODE"
        asked.StudyDate = "20200105-"
        asked.StudyTime = "0930-1000"
        asked.ModalitiesInStudy = ["CT", "MR"]
        asked.PatientName = "Jérôme*"
        asked.PatientID = ""
        asked.StudyInstanceUID = ["1.2.3", "CONF*"]
        asked.Rows = 512
        asked.ReferencedStudySequence = [Dataset()]
        asked.add_new(0x00091010, "LO", "private")
    return asked


WAYS = [(True, True), (False, True), (False, False)]


@pytest.mark.parametrize(("implicit", "little_endian"), WAYS)
def test_keys_come_as_they_were_asked(implicit: bool, little_endian: bool) -> None:
    data = encoded(query(), implicit=implicit, little_endian=little_endian)
    found = identifier.decode(data, implicit=implicit, little_endian=little_endian)
    assert (found.level, found.character_set) == ("STUDY", "ISO_IR 100")
    assert found.keys == (
        Key(0x00080020, "DA", "20200105-"),
        Key(0x00080030, "TM", "0930-1000"),
        Key(0x00080054, "AE", "NODE"),
        Key(0x00080061, "CS", "CT\\MR"),
        Key(0x00081110, "SQ", ""),
        Key(0x00091010, "UN", "private"),
        Key(0x00100010, "PN", "Jérôme*"),
        Key(0x00100020, "LO", ""),
        Key(0x0020000D, "UI", "1.2.3\\CONF*"),
        Key(0x00280010, "US", "512"),
    )
    assert found.value(0x00100010) == "Jérôme*"
    assert found.value(0x00100030) == ""


def test_gb18030_is_not_split_at_a_second_byte() -> None:
    raw = "李^乗".encode("gb18030")
    assert b"\\" in raw
    data = struct.pack("<HHL", 8, 5, 8) + b"GB18030 " + struct.pack("<HHL", 0x10, 0x10, len(raw)) + raw
    assert identifier.decode(data, implicit=True).value(0x00100010) == "李^乗"


def test_group_lengths_and_repeated_keys_are_dropped() -> None:
    one = struct.pack("<HHLL", 8, 0, 4, 99)
    two = struct.pack("<HHL2s", 0x10, 0x20, 2, b"A ") + struct.pack("<HHL2s", 0x10, 0x20, 2, b"B ")
    assert identifier.decode(one + two, implicit=True).keys == (Key(0x00100020, "LO", "A"),)


def test_a_declared_un_is_read_by_the_dictionary() -> None:
    data = struct.pack("<HH2s2xL", 0x10, 0x10, b"UN", 4) + b"Doe*"
    assert identifier.decode(data, implicit=False).keys == (Key(0x00100010, "PN", "Doe*"),)


def test_an_empty_identifier_has_no_level() -> None:
    assert identifier.decode(b"", implicit=True) == identifier.Identifier("", (), "")


def test_control_characters_do_not_survive() -> None:
    data = struct.pack("<HHL", 8, 0x52, 8) + b"STU\x1b\nDY " + struct.pack("<HHL", 0x10, 0x20, 4) + b"a\nb "
    found = identifier.decode(data, implicit=True)
    assert found.level == "STU??DY"
    assert found.value(0x00100020) == "a\ufffdb"


@pytest.mark.parametrize("implicit", [True, False])
def test_undecodable_bytes(implicit: bool) -> None:
    data = encoded(query(), implicit=implicit)
    for bad in (data[:-1], data[:5], b"\xff" * 40, b"\x08\x00\x52\x00\xff\xff\xff\xff\xff\xff\xff\xff"):
        with pytest.raises(BadIdentifier):
            identifier.decode(bad, implicit=implicit)


def test_the_wrong_syntax_is_refused() -> None:
    with pytest.raises(BadIdentifier):
        identifier.decode(encoded(query(), implicit=True), implicit=False)
    with pytest.raises(BadIdentifier):
        identifier.decode(encoded(query(), implicit=False), implicit=True)


def test_the_size_is_capped() -> None:
    with pytest.raises(BadIdentifier, match="4 MiB"):
        identifier.decode(struct.pack("<HHL", 0x10, 0x4000, 4 * 1024 * 1024) + bytes(4 * 1024 * 1024), implicit=True)
