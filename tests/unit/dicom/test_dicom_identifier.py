"""dicom/identifier.py: an Identifier as it was asked."""

import struct
import warnings
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicomnode.dicom import identifier
from dicomnode.dicom.identifier import Key
from dicomnode.errors import BadIdentifier
from dicomnode.rules import matching


def encoded(query: Dataset, *, implicit: bool) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
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
        asked.add_new(0x00090010, "LO", "CREATOR")
        asked.add_new(0x00091010, "LO", "private")
    return asked


@pytest.mark.parametrize("implicit", [True, False])
def test_keys_come_as_they_were_asked(implicit: bool) -> None:
    found = identifier.decode(encoded(query(), implicit=implicit), implicit=implicit)
    assert (found.level, found.character_set) == ("STUDY", "ISO_IR 100")
    assert found.keys == (
        Key(0x00080020, "DA", "20200105-"),
        Key(0x00080030, "TM", "0930-1000"),
        Key(0x00080054, "AE", "NODE"),
        Key(0x00080061, "CS", "CT\\MR"),
        Key(0x00081110, "SQ", "", ((),)),
        Key(0x00090010, "LO", "CREATOR"),
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


def element(tag: int, value: bytes, vr: bytes = b"") -> bytes:
    """One element, in explicit VR if it has a VR, with a length of 16 bits."""
    head = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) if vr else b""
    return (head or struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value))) + value


DECLARED = [
    (element(0x00280010, b"\0\2", b"US"), Key(0x00280010, "US", "512")),
    (element(0x00280010, b"512 ", b"IS"), Key(0x00280010, "US", "512")),  # packed, it would be 12597 and 8242
    (element(0x00200013, b"\7\0", b"US"), Key(0x00200013, "IS", "7")),
    (element(0x00100010, b"Doe*", b"LO"), Key(0x00100010, "PN", "Doe*")),
    (element(0x00081110, b"", b"LO"), Key(0x00081110, "SQ", "")),
]


@pytest.mark.parametrize(("data", "key"), DECLARED)
def test_a_wrong_vr_is_tolerated(data: bytes, key: Key) -> None:
    assert identifier.decode(data, implicit=False).keys == (key,)


def test_an_empty_identifier_has_no_level() -> None:
    empty = identifier.decode(b"", implicit=True)
    assert empty == identifier.Identifier("", (), "")
    with pytest.raises(BadIdentifier, match=r"Query/Retrieve Level .* is missing"):
        matching.query(empty, matching.Model.STUDY_ROOT)


def test_what_is_assumed_of_a_peer_holds_where_it_declares_nothing() -> None:
    big5 = element(0x00100010, "王小明".encode("big5"))
    assert identifier.decode(big5, implicit=True, assumed="BIG5").value(0x00100010) == "王小明"
    declared = element(0x00080005, b"ISO_IR 192") + element(0x00100010, "王小明 ".encode())
    assert identifier.decode(declared, implicit=True, assumed="BIG5").value(0x00100010) == "王小明"
    within = element(0x00081110, element(0xFFFEE000, big5))
    assert identifier.decode(within, implicit=True, assumed="BIG5").keys[0].items[0][0].value == "王小明"


def test_keys_are_capped() -> None:
    """Each answer repeats them."""
    keys = b"".join(element(0x00090000 + number, b"") for number in range(1, 4098))
    assert len(identifier.decode(keys[:-8], implicit=True).keys) == 4096
    with pytest.raises(BadIdentifier, match="over 4096 keys"):
        identifier.decode(keys, implicit=True)


# -- sequences -------------------------------------------------------------------------------------------------


def asked_in_items(*, undefined: bool) -> Dataset:
    code, item, query = Dataset(), Dataset(), Dataset()
    code.CodeValue = "X"
    item.RequestedProcedureDescription = "Thorax größer*"
    item.ScheduledProtocolCodeSequence = [code]
    item.ScheduledProcedureStepID = "SPS-1"
    item.is_undefined_length_sequence_item = undefined
    query.SpecificCharacterSet = "ISO_IR 192"
    query.RequestAttributesSequence = [item]
    query["RequestAttributesSequence"].is_undefined_length = undefined
    return query


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("undefined", [True, False])
def test_the_keys_of_an_item_are_decoded_and_what_is_nested_in_it_is_not(implicit: bool, undefined: bool) -> None:
    data = encoded(asked_in_items(undefined=undefined), implicit=implicit)
    (sequence,) = identifier.decode(data, implicit=implicit).keys
    assert sequence == Key(
        0x00400275,
        "SQ",
        "",
        (
            (
                Key(0x00321060, "LO", "Thorax größer*"),
                Key(0x00400008, "SQ", ""),
                Key(0x00400009, "SH", "SPS-1"),
            ),
        ),
    )


@pytest.mark.parametrize(("around", "within"), [(b"ISO_IR 100", b"ISO_IR 144"), (b"ISO_IR 144", b"")])
def test_an_item_has_the_character_set_around_it_or_one_of_its_own(around: bytes, within: bytes) -> None:
    item = element(0x00080005, within) + element(0x00321060, "Грудь ".encode("iso8859_5"))
    data = element(0x00080005, around) + element(0x00400275, element(0xFFFEE000, item))
    (sequence,) = identifier.decode(data, implicit=True).keys
    assert sequence.items == ((Key(0x00321060, "LO", "Грудь"),),)


def test_a_sequence_declared_un_is_in_implicit_vr() -> None:
    value = element(0xFFFEE000, element(0x00400009, b"SPS1"))
    data = struct.pack("<HH2s2xL", 0x40, 0x275, b"UN", len(value)) + value
    assert identifier.decode(data, implicit=False).keys[0].items == ((Key(0x00400009, "SH", "SPS1"),),)


def test_every_item_is_told() -> None:
    data = element(0x00400275, element(0xFFFEE000, b"") + element(0xFFFEE000, element(0x00400009, b"")))
    assert identifier.decode(data, implicit=True).keys[0].items == ((), (Key(0x00400009, "SH", ""),))


def test_items_are_capped() -> None:
    items = element(0xFFFEE000, b"") * 4097
    assert len(identifier.decode(element(0x00400275, items[:-8]), implicit=True).keys[0].items) == 4096
    with pytest.raises(BadIdentifier, match="over 4096 items"):
        identifier.decode(element(0x00400275, items), implicit=True)


UNDEFINED_LENGTH = struct.pack("<HHL", 0x10, 0x10, 0xFFFFFFFF)
NO_SEQUENCES = [
    (True, element(0x00400275, b"SPS1")),  # no item
    (True, element(0x00400275, element(0xFFFEE000, b"abc "))),  # no element in it
    (True, element(0x00400275, element(0xFFFEE000, b"")[:-1])),
    (True, UNDEFINED_LENGTH + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)),
    (False, struct.pack("<HH2s2xL", 0x10, 0x20, b"SQ", 8) + element(0xFFFEE000, b"")),
    (False, element(0x00400275, b"SPS1", b"LO")),
]


@pytest.mark.parametrize(("implicit", "data"), NO_SEQUENCES)
def test_items_that_do_not_belong_or_are_none_are_refused(implicit: bool, data: bytes) -> None:
    with pytest.raises(BadIdentifier):
        identifier.decode(data, implicit=implicit)


def test_a_private_sequence_is_a_key_without_a_value() -> None:
    value = element(0xFFFEE000, b"")
    data = struct.pack("<HH2s2xL", 9, 0x1010, b"SQ", len(value)) + value
    assert identifier.decode(data, implicit=False).keys == (Key(0x00091010, "UN", ""),)


# -- whatever comes --------------------------------------------------------------------------------------------

CUTS = st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6)), max_size=4)


@given(st.booleans(), st.booleans(), CUTS)
def test_no_bytes_raise_anything_but_bad_identifier(
    implicit: bool, undefined: bool, cuts: list[tuple[int, bytes]]
) -> None:
    asked = query()
    asked.update(asked_in_items(undefined=undefined))
    data = encoded(asked, implicit=implicit)
    for at, bad in cuts:
        at %= len(data)
        data = data[:at] + bad + data[at + len(bad) :]
    with suppress(BadIdentifier):
        found = identifier.decode(data, implicit=implicit)
        for model in matching.Model:
            with suppress(BadIdentifier):
                matching.query(found, model)
            with suppress(BadIdentifier):
                matching.retrieve(found, model)


@given(st.binary(max_size=200))
def test_nor_do_any_others(data: bytes) -> None:
    for implicit in (True, False):
        with suppress(BadIdentifier):
            identifier.decode(data, implicit=implicit)


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


def test_what_is_asked_by_tags() -> None:
    found = identifier.of("SERIES", {identifier.STUDY: "1.2", identifier.SERIES: "", 0x00201209: "", 0x00091001: "x"})
    keys = [("UI", "1.2"), ("UI", ""), ("IS", ""), ("UN", "x")]
    assert (found.level, [(key.vr, key.value) for key in found.keys]) == ("SERIES", keys)
