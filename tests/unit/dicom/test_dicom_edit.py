"""dicom/edit.py, recode.py and splice.py, with pydicom as the judge: what changes, and that nothing else does."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as Items

from dicomnode.dicom import edit, elements, stream, syntaxes
from dicomnode.dicom.deflate import inflate
from dicomnode.dicom.edit import Found, Node, Sequence, Survey
from dicomnode.dicom.encode import Element
from dicomnode.dicom.instance import Written
from dicomnode.dicom.splice import Spliced
from dicomnode.errors import Unreadable
from tests.samples import read_sample, real_files

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
ID, ISSUER, TYPE, OTHERS, INSTITUTION = 0x00100020, 0x00100021, 0x00100022, 0x00101002, 0x00080080
ORIGINAL, CHARSET = 0x04000561, 0x00080005
WANTED = (ID, ISSUER, OTHERS, INSTITUTION, ORIGINAL)
Changes = Mapping[int, Node | None]


def looked(raw: bytes, syntax: str = EXPLICIT, assumed: str = "") -> Survey:
    reading = stream.opened(io.BytesIO(raw), len(raw), syntax)
    return edit.survey(reading, Written(syntaxes.of(syntax), assumed), WANTED)


def edited(raw: bytes, changes: Changes, syntax: str = EXPLICIT, assumed: str = "") -> bytes:
    """The dataset as it is sent, inflated."""
    survey = looked(raw, syntax, assumed)
    made = edit.splices(stream.opened(io.BytesIO(raw), len(raw), syntax), survey, changes)
    return Spliced(stream.inflated(io.BytesIO(raw), len(raw), syntax), made).readall()


def coerced(survey: Survey, institution: str = "Harbour") -> dict[int, Node | None]:
    """Each kind of change: another value, a new one, one that goes, an item behind those that are there, a copy."""
    previous = tuple(survey.found.get(tag) or Element(tag, "LO", "") for tag in (INSTITUTION, ID, ISSUER))
    return {
        ID: Element(ID, "LO", "A1234563"),
        ISSUER: None,
        INSTITUTION: Element(INSTITUTION, "LO", institution),
        OTHERS: Sequence(OTHERS, ((Element(ID, "LO", "X"), Element(TYPE, "CS", "TEXT")),), survey.found.get(OTHERS)),
        ORIGINAL: Sequence(ORIGINAL, ((Sequence(0x04000550, (previous,)),),), survey.found.get(ORIGINAL)),
    }


def read(raw: bytes, syntax: str = EXPLICIT) -> Dataset:
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    return pydicom.dcmread(io.BytesIO(bytes(128) + b"DICM\2\0\x10\0UI" + struct.pack("<H", len(uid)) + uid + raw))


def written(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = syntax != BIG, syntax == IMPLICIT
    write_dataset(out, dataset)
    return out.getvalue()


def parts(raw: bytes, syntax: str) -> list[tuple[int, bytes]]:
    """The top-level elements, each with all its bytes; then what follows the dataset."""
    found, end = [], 0
    for tag, _, _, _, stop in elements.elements(raw, 0, syntaxes.of(syntax), []):
        found.append((tag, raw[end:stop]))
        end = stop
    return [*found, (1 << 32, raw[end:])]


# -- real files --------------------------------------------------------------------------------------------------------

FILES = {path.name: path for path in real_files(more=True)}


@pytest.mark.parametrize("name", FILES)
def test_every_byte_is_what_it_was_but_for_what_is_changed(name: str) -> None:
    sample = read_sample(FILES[name])
    before, syntax = sample.dataset, sample.transfer_syntax
    if syntax == DEFLATED:
        before = inflate(before)
    made = edited(sample.dataset, coerced(looked(sample.dataset, syntax)), syntax)
    groups = {tag >> 16 for tag in WANTED}
    lengths = {tag << 16 for tag in groups}
    kept = [each for each in parts(before, syntax) if each[0] not in {*WANTED, *lengths}]
    assert [each for each in parts(made, syntax) if each[0] not in WANTED] == kept


@pytest.mark.parametrize("name", FILES)
def test_of_a_real_file_pydicom_reads_what_was_to_change(name: str) -> None:
    sample = read_sample(FILES[name])
    syntax = sample.transfer_syntax
    before = pydicom.dcmread(FILES[name], stop_before_pixels=True)
    made = edited(sample.dataset, coerced(looked(sample.dataset, syntax)), syntax)
    after = read(made, syntax.replace(DEFLATED, EXPLICIT))
    assert (after.PatientID, after.InstitutionName) == ("A1234563", "Harbour")
    assert "IssuerOfPatientID" not in after
    assert [item.PatientID for item in after.OtherPatientIDsSequence][-1] == "X"
    previous = after.OriginalAttributesSequence[-1].ModifiedAttributesSequence[0]
    for keyword in ("PatientID", "IssuerOfPatientID", "InstitutionName"):
        assert (previous[keyword].value or "") == (before.get(keyword) or ""), keyword


# -- character sets ----------------------------------------------------------------------------------------------------

NAMES = {
    "": "WONG^SIU MING",
    "ISO_IR 100": "Müller^Jürgen",
    "ISO_IR 144": "Люкceмбypг",
    "ISO_IR 192": "Wong^Siu=王^小明",
    "GB18030": "Wang^XiaoDong=王^小东",
    "GBK": "Wang^XiaoDong=王^小东",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "ISO 2022 IR 13\\ISO 2022 IR 87": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "\\ISO 2022 IR 58": "Zhang^XiaoDong=张^小东",
}
CARRIED = {"ISO_IR 192", "GB18030", "GBK", "\\ISO 2022 IR 58"}
"""Those that carry 码头."""


def speaking(character_set: str, syntax: str, defined: bool = False) -> bytes:
    """A dataset with text in it: a name, in items too, private, and after what changes."""
    dataset, item, inner = Dataset(), Dataset(), Dataset()
    if character_set:
        dataset.SpecificCharacterSet = character_set.split("\\")
    name = NAMES[character_set]
    text = name.replace("^", " ").replace("=", " ")
    inner.ScheduledPerformingPhysicianName = name
    item.RequestedProcedureDescription, item.ScheduledProtocolCodeSequence = text, Items([inner])
    dataset.PatientName = name
    dataset.PatientID = text[:4]
    dataset.InstitutionName = text
    dataset.RequestAttributesSequence = Items([item, item])
    dataset.ImageComments = f"{text} again"
    dataset.private_block(0x0029, text[:3] if character_set == "" else "OURS", create=True).add_new(1, "LO", text)
    dataset.PixelRepresentation = 1
    for items in (dataset["RequestAttributesSequence"], item["ScheduledProtocolCodeSequence"]):
        items.is_undefined_length = not defined
        for each in items.value:
            each.is_undefined_length_sequence_item = not defined
    return written(dataset, syntax)


def texts(dataset: Dataset) -> list[tuple[str, str]]:
    return [(str(each.tag), str(each.value)) for each in dataset.iterall() if each.VR in ("LO", "PN", "LT", "SH")]


@pytest.mark.parametrize("defined", [False, True])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize("character_set", NAMES)
def test_what_the_character_set_does_not_carry_makes_all_text_utf_8(
    character_set: str, syntax: str, defined: bool
) -> None:
    raw = speaking(character_set, syntax, defined)
    survey, before = looked(raw, syntax), read(raw, syntax)
    made = edited(raw, coerced(survey, "码头"), syntax)
    after = read(made, syntax)
    if character_set in CARRIED:
        assert after.SpecificCharacterSet == before.SpecificCharacterSet
        assert before["RequestAttributesSequence"] == after["RequestAttributesSequence"]
    else:
        assert after.SpecificCharacterSet == "ISO_IR 192"
    assert after.InstitutionName.removeprefix("\x1b$)A") == "码头"  # pydicom leaves ISO-IR 58's escape sequence there
    previous = after.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert (previous.InstitutionName, previous.PatientID) == (before.InstitutionName, before.PatientID)
    for dataset in (before, after):
        for keyword in ("InstitutionName", "PatientID", "OtherPatientIDsSequence", "OriginalAttributesSequence"):
            dataset.pop(keyword, None)
    for dataset in (before, after):
        if syntax == IMPLICIT:  # nobody knows that it is text
            dataset.pop(0x00291001, None)
    assert texts(after) == texts(before)


@pytest.mark.parametrize("character_set", NAMES)
def test_what_is_carried_changes_nothing_else(character_set: str) -> None:
    raw = speaking(character_set, EXPLICIT)
    made = edited(raw, coerced(looked(raw)))
    assert [p for p in parts(made, EXPLICIT) if p[0] not in WANTED] == [
        p for p in parts(raw, EXPLICIT) if p[0] not in WANTED
    ]


def test_an_item_with_a_character_set_of_its_own_is_read_in_that() -> None:
    item, dataset = Dataset(), Dataset()
    item.SpecificCharacterSet, item.RequestedProcedureDescription = "GB18030", "胸部"
    dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 100", "Müller"
    dataset.RequestAttributesSequence = Items([item])
    dataset.DocumentTitle = "Schädel"
    raw = written(dataset)
    after = read(edited(raw, {INSTITUTION: Element(INSTITUTION, "LO", "码头")}))
    assert after.RequestAttributesSequence[0].SpecificCharacterSet == "ISO_IR 192"
    assert after.RequestAttributesSequence[0].RequestedProcedureDescription == "胸部"
    assert (after.PatientName, after.DocumentTitle) == ("Müller", "Schädel")


@pytest.mark.parametrize("where", ["top", "item", "kept"])
def test_text_that_cannot_be_decoded_is_not_re_encoded(where: str) -> None:
    item, dataset = Dataset(), Dataset()
    dataset.InstitutionName = "?" if where == "kept" else "Ours"
    dataset.PatientName = "?" if where == "top" else "WONG"
    item.RequestedProcedureDescription = "?" if where == "item" else "CHEST"
    dataset.RequestAttributesSequence = Items([item])
    raw = written(dataset).replace(b"? ", b"\xb4\xfa")  # two bytes of Big5, and nothing says so
    assert b"\xb4\xfa" in raw
    with pytest.raises(Unreadable, match=r"is not valid ISO-IR 6, so it cannot be re-encoded"):
        edited(raw, coerced(looked(raw), "码头"))
    assert b"\xb4\xfa" in edited(raw, coerced(looked(raw)))
    after = read(edited(raw, coerced(looked(raw, assumed="big5"), "码头"), assumed="big5"))
    assert "測" in str(after)


def test_what_is_written_as_unknown_is_re_encoded_where_the_standard_knows_it() -> None:
    dataset = Dataset()
    dataset.SpecificCharacterSet, dataset.ImageComments = "ISO_IR 100", "Schädel"
    dataset.add_new(0x00291001, "UN", b"\xe4\xe4")
    raw = written(dataset).replace(b"\x20\x00\x00\x40LT\x08\x00", b"\x20\x00\x00\x40UN\0\0\x08\0\0\0")
    assert raw.count(b"UN") == 2
    after = read(edited(raw, {INSTITUTION: Element(INSTITUTION, "LO", "码头")}))
    assert bytes(after[0x00291001].value) == b"\xe4\xe4"
    assert after.get_item(0x00204000).value == "Schädel".encode()
    item = "Schädel".encode("latin-1") + b" "
    item = struct.pack("<HHL", 0x0032, 0x1060, len(item)) + item
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item
    raw += struct.pack("<HH2s2xL", 0x0040, 0x0275, b"UN", len(item)) + item
    after = read(edited(raw, {INSTITUTION: Element(INSTITUTION, "LO", "码头")}))
    assert after.RequestAttributesSequence[0].RequestedProcedureDescription == "Schädel"


# -- shapes ------------------------------------------------------------------------------------------------------------


def test_group_lengths_are_left_out_where_they_would_be_wrong() -> None:
    dataset = Dataset()
    dataset.PatientName, dataset.Rows = "WONG", 1
    lengths = b"".join(struct.pack("<HH2sHL", group, 0, b"UL", 4, 10) for group in (0x0010,))
    raw = lengths + written(dataset)[:12] + struct.pack("<HH2sHL", 0x0028, 0, b"UL", 4, 10) + written(dataset)[12:]
    assert [tag for tag, _ in parts(edited(raw, {ID: Element(ID, "LO", "1")}), EXPLICIT)] == [
        0x00100010,
        ID,
        0x00280000,
        0x00280010,
        1 << 32,
    ]


def test_every_one_of_a_repeated_attribute_goes() -> None:
    """Or the one that is left would be the patient, for who reads the last."""
    one, two, three = (written(_only(ID, value)) for value in ("ONE ", "TWO ", "THREE "))
    rows = Dataset()
    rows.Rows = 1
    made = edited(one + two + written(rows) + three, {ID: Element(ID, "LO", "OURS")})
    assert parts(made, EXPLICIT) == [(ID, written(_only(ID, "OURS"))), (0x00280010, written(rows)), (1 << 32, b"")]


def _only(tag: int, value: str) -> Dataset:
    dataset = Dataset()
    dataset.add_new(tag, "LO", value)
    return dataset


@pytest.mark.parametrize("trailing", [b"\0" * 10, b"\0" * 100, b"rubbish!" * 20, b"\x08\0\x80\0LO\xff\xff"])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_what_follows_the_pixels_stays(trailing: bytes, syntax: str) -> None:
    dataset = _only(ID, "1")
    dataset.add_new(0x7FE00010, "OW", b"\1\2")
    raw = written(dataset, syntax)
    made = edited(raw + trailing, {ID: Element(ID, "LO", "2")}, syntax)
    assert made == raw.replace(b"1 ", b"2 ") + trailing


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize("undefined", [False, True])
def test_items_that_are_there_stay_byte_for_byte(syntax: str, undefined: bool) -> None:
    dataset, item = Dataset(), _only(ID, "OLD ")
    dataset.OtherPatientIDsSequence = Items([item, _only(ID, "OLDER")])
    dataset["OtherPatientIDsSequence"].is_undefined_length = undefined
    item.is_undefined_length_sequence_item = undefined
    raw = written(dataset, syntax)
    survey = looked(raw, syntax)
    made = edited(raw, coerced(survey), syntax)
    assert survey.found[OTHERS].value in made
    assert [each.PatientID for each in read(made, syntax).OtherPatientIDsSequence] == ["OLD", "OLDER", "X"]
    assert [each[ID] for each in survey.found[OTHERS].items] == ["OLD", "OLDER"]


def test_a_sequence_that_is_written_as_unknown_goes_on_so() -> None:
    """Implicit VR inside, whatever is outside (PS3.5 6.2.2); what is copied into it is written so too."""
    inside = written(_only(ID, "OLD "), IMPLICIT)
    items = struct.pack("<HHL", 0xFFFE, 0xE000, len(inside)) + inside
    raw = written(_only(ID, "HERE")) + struct.pack("<HH2s2xL", 0x0010, 0x1002, b"UN", len(items)) + items
    survey = looked(raw)
    others = Sequence(OTHERS, ((survey.found[ID],),), survey.found[OTHERS])
    made = edited(raw, {OTHERS: others})
    assert [each.PatientID for each in read(made).OtherPatientIDsSequence] == ["OLD", "HERE"]
    assert made.endswith(struct.pack("<HHL", 0x0010, 0x0020, 4) + b"HERE")


def test_what_should_be_a_sequence_and_is_none_is_refused() -> None:
    raw = written(_only(OTHERS, "OLD "))
    survey = looked(raw)
    with pytest.raises(Unreadable, match="is no sequence"):
        edited(raw, {OTHERS: Sequence(OTHERS, (), survey.found[OTHERS])})
    with pytest.raises(Unreadable, match="is no sequence"):
        assert survey.found[OTHERS].items


@pytest.mark.parametrize("undefined", [False, True])
def test_what_has_to_be_kept_is_bounded_and_what_has_not_is_not(undefined: bool) -> None:
    large, dataset = Dataset(), Dataset()
    large.add_new(0x00291001, "OB", bytes(2 << 20))
    for keyword in ("ReferencedImageSequence", "OtherPatientIDsSequence"):
        setattr(dataset, keyword, Items([large]))
        dataset[keyword].is_undefined_length = large.is_undefined_length_sequence_item = undefined
        if keyword == "ReferencedImageSequence":
            assert read(edited(written(dataset), {ID: Element(ID, "LO", "1")})).PatientID == "1"
    with pytest.raises(Unreadable, match="over 1 MiB"):
        looked(written(dataset))


def test_memory_does_not_grow_with_the_pixels() -> None:
    raw = written(_only(ID, "1")) + struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OW", 64 << 20) + bytes(64 << 20)
    file = io.BytesIO(raw)
    tracemalloc.start()
    try:
        survey = edit.survey(stream.Reading(file, len(raw)), Written(syntaxes.EXPLICIT), WANTED)
        file.seek(0)
        made = edit.splices(stream.Reading(file, len(raw)), survey, coerced(survey, "码头"))
        file.seek(0)
        with io.BufferedReader(Spliced(file, made), 1 << 18) as spliced:
            total = sum(len(piece) for piece in iter(lambda: spliced.read(1 << 18), b""))
        assert total == len(raw) + sum(len(each.data) - (each.stop - each.start) for each in made)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_no_change_is_no_splice() -> None:
    raw = written(_only(ID, "1"))
    assert edited(raw, {}) == edited(raw, {ISSUER: None}) == raw


# -- made datasets -----------------------------------------------------------------------------------------------------

_TEXT = st.text("abc王山.^ ", max_size=12).map(str.strip)
_LEAVES: dict[int, tuple[str, Any]] = {
    0x00080080: ("LO", _TEXT),
    0x00080090: ("PN", _TEXT),
    0x00100020: ("LO", _TEXT),
    0x00100021: ("LO", _TEXT),
    0x00180050: ("DS", st.just("1.5")),
    0x00280010: ("US", st.integers(0, 65535)),
    0x00204000: ("LT", _TEXT),
    0x00420010: ("ST", _TEXT),
    0x00420011: ("OB", st.binary(max_size=9).map(lambda raw: raw + b"\0" * (len(raw) % 2))),
}
_SEQUENCES = (0x00081140, OTHERS, 0x00400275, ORIGINAL)


@st.composite
def datasets(draw: st.DrawFn, depth: int = 0) -> Dataset:
    made = Dataset()
    for tag in draw(st.sets(st.sampled_from(sorted(_LEAVES)))):
        vr, values = _LEAVES[tag]
        made.add_new(tag, vr, draw(values))
    if depth < 3:
        for tag in draw(st.sets(st.sampled_from(_SEQUENCES), max_size=2)):
            made.add_new(tag, "SQ", Items(draw(st.lists(datasets(depth + 1), max_size=2))))
            made[tag].is_undefined_length = draw(st.booleans())
    made.is_undefined_length_sequence_item = draw(st.booleans())
    return made


@given(datasets(), st.sampled_from([IMPLICIT, EXPLICIT, BIG]), st.sampled_from(["GBK", "ISO_IR 192"]), st.booleans())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_made_dataset_says_the_same_but_for_what_is_changed(
    dataset: Dataset, syntax: str, character_set: str, re_encode: bool
) -> None:
    dataset.SpecificCharacterSet = character_set
    raw = written(dataset, syntax)
    institution = "\N{GRINNING FACE}" if re_encode else "Harbour"
    made = edited(raw, coerced(looked(raw, syntax), institution), syntax)
    before, after = read(raw, syntax), read(made, syntax)
    others = [*before.get("OtherPatientIDsSequence", []), _other()]
    assert list(after.OtherPatientIDsSequence) == others
    assert list(after.OriginalAttributesSequence)[:-1] == list(before.get("OriginalAttributesSequence", []))
    assert (after.PatientID, after.InstitutionName) == ("A1234563", institution)
    for each in (before, after):
        for tag in WANTED:
            each.pop(tag, None)
        each.pop("SpecificCharacterSet")
    assert before == after


def _other() -> Dataset:
    item = Dataset()
    item.PatientID, item.TypeOfPatientID = "X", "TEXT"
    return item


def test_what_was_found_is_text_and_bytes() -> None:
    raw = speaking("\\ISO 2022 IR 87", EXPLICIT)
    survey = looked(raw)
    found: Found = survey.found[INSTITUTION]
    assert survey.character_set == "\\ISO 2022 IR 87"
    assert found.text == NAMES["\\ISO 2022 IR 87"].replace("^", " ").replace("=", " ")
    assert found.raw in raw
    assert survey.places.keys() >= {ISSUER}
