"""dicom/rejection.py: a note is a Key Object Selection Document; what dciodvfy says of it is in tests/interop."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from dicomnode.dicom import rejection
from dicomnode.dicom.encode import Element
from dicomnode.dicom.rejection import SOP_CLASS, TITLES, Note, Rejected
from dicomnode.errors import Unreadable
from tests.samples import Sample, decode, encode, part10
from tests.upper_layer import EXPLICIT_LE

CT, PDF, ECG = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.9.1.1"
REJECTED = [
    Rejected(CT, "1.2.3.1.1", "1.2.3.1", True),
    Rejected(PDF, "1.2.3.2.1", "1.2.3.2", False),
    Rejected(CT, "1.2.3.1.2", "1.2.3.1", True),
    Rejected(ECG, "1.2.3.3.1", "1.2.3.3", False),
]
NOTE = Note(
    title=TITLES["patient"],
    reason="the wrong patient",
    sop_instance_uid="2.25.1",
    series_instance_uid="2.25.2",
    study_instance_uid="1.2.3",
    date="20260131",
    time="081502",
    institution="Harbour Imaging Centre",
    software="0.1",
    common=(
        Element(0x00100010, "PN", "CHAN^TAI MAN"),
        Element(0x00100020, "LO", "A1234563"),
        Element(0x00100021, "LO", "HKID"),
        Element(0x00100030, "DA", "19700101"),
        Element(0x00100040, "CS", "M"),
        Element(0x00080020, "DA", "20260130"),
        Element(0x00080030, "TM", "101500"),
        Element(0x00080050, "SH", "ACC1"),
        Element(0x00080090, "PN", ""),
        Element(0x00200010, "SH", "7"),
    ),
    requests=[{0x00401001: "R1", 0x00080050: "ACC1"}],
    rejected=REJECTED,
)


def file(folder: Path, dataset: bytes, sop_class: str = SOP_CLASS) -> Path:
    """A dataset as a Part 10 file."""
    path = folder / "note.dcm"
    path.write_bytes(part10(Sample(None, sop_class, "2.25.1", "1.2.3", "2.25.2", EXPLICIT_LE, dataset)))
    return path


@pytest.mark.parametrize("word", TITLES)
def test_each_title_makes_a_document(tmp_path: Path, word: str) -> None:
    path = file(tmp_path, rejection.encode(replace(NOTE, title=TITLES[word])))
    document = pydicom.dcmread(path)
    (title,) = document.ConceptNameCodeSequence
    wanted = {"patient": "113037", "worklist": "113038", "quality": "113001", "retention": "113039"}[word]
    assert (title.CodeValue, title.CodingSchemeDesignator) == (wanted, "DCM")
    assert (document.Modality, document.StudyInstanceUID, document.PatientID) == ("KO", "1.2.3", "A1234563")
    assert document.IssuerOfPatientID == "HKID"
    assert "SpecificCharacterSet" not in document


def test_every_instance_is_named_by_series_and_by_what_it_is() -> None:
    document = decode(rejection.encode(NOTE))
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == "1.2.3"
    named = {
        series.SeriesInstanceUID: [(each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID)
                                   for each in series.ReferencedSOPSequence]
        for series in study.ReferencedSeriesSequence
    }  # fmt: skip
    assert named == {
        "1.2.3.1": [(CT, "1.2.3.1.1"), (CT, "1.2.3.1.2")],
        "1.2.3.2": [(PDF, "1.2.3.2.1")],
        "1.2.3.3": [(ECG, "1.2.3.3.1")],
    }
    said, *content = document.ContentSequence
    assert (said.ValueType, said.TextValue) == ("TEXT", "the wrong patient")
    assert [each.ValueType for each in content] == ["IMAGE", "COMPOSITE", "IMAGE", "WAVEFORM"]
    assert {each.RelationshipType for each in (said, *content)} == {"CONTAINS"}
    (request,) = document.ReferencedRequestSequence
    assert (request.RequestedProcedureID, request.AccessionNumber) == ("R1", "ACC1")


@pytest.mark.parametrize(("reason", "name"), [("Patientin: Müller", "CHAN^TAI MAN"), ("wrong", "CHAN^TAI MAN=陳^大文")])
def test_what_is_not_ascii_is_utf_8_throughout(tmp_path: Path, reason: str, name: str) -> None:
    common = (Element(0x00100010, "PN", name), *NOTE.common[1:])
    path = file(tmp_path, rejection.encode(replace(NOTE, reason=reason, common=common, requests=())))
    document = pydicom.dcmread(path)
    assert document.SpecificCharacterSet == "ISO_IR 192"
    assert (document.ContentSequence[0].TextValue, str(document.PatientName)) == (reason, name)
    assert "ReferencedRequestSequence" not in document


def test_a_note_of_ten_thousand_instances(tmp_path: Path) -> None:
    many = [Rejected(CT, f"1.2.3.{n // 500}.{n}", f"1.2.3.{n // 500}", True) for n in range(500, 10_500)]
    path = file(tmp_path, rejection.encode(replace(NOTE, rejected=many)))
    found = rejection.read(path)
    assert found
    assert found.named == {"1.2.3": {each.sop_instance_uid for each in many}}


# -- reading ---------------------------------------------------------------------------------------------------


def test_what_was_written_is_read(tmp_path: Path) -> None:
    found = rejection.read(file(tmp_path, rejection.encode(replace(NOTE, reason="falsch: Müller"))))
    assert found
    assert found.title == TITLES["patient"]
    assert found.named == {"1.2.3": {each.sop_instance_uid for each in REJECTED}}


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", EXPLICIT_LE, "1.2.840.10008.1.2.2"])
def test_it_is_read_however_it_is_written(tmp_path: Path, syntax: str) -> None:
    dataset = encode(decode(rejection.encode(NOTE)), syntax)
    path = tmp_path / "other.dcm"
    path.write_bytes(part10(Sample(None, SOP_CLASS, "2.25.1", "1.2.3", "2.25.2", syntax, dataset)))
    found = rejection.read(path)
    assert found
    assert found.named == {"1.2.3": {each.sop_instance_uid for each in REJECTED}}


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("CodeValue", "113000"), ("CodingSchemeDesignator", "99LOCAL"), ("SOPClassUID", CT), ("none", "")],
)
def test_what_has_another_title_or_is_another_document_rejects_nothing(
    tmp_path: Path, keyword: str, value: str
) -> None:
    document = decode(rejection.encode(NOTE))
    if keyword == "none":
        del document.ConceptNameCodeSequence
    elif keyword == "SOPClassUID":
        document.SOPClassUID = value
    else:
        setattr(document.ConceptNameCodeSequence[0], keyword, value)
    assert rejection.read(file(tmp_path, encode(document))) is None


def test_one_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path, rejection.encode(NOTE))
    monkeypatch.setattr(rejection, "MOST", 100)
    assert rejection.read(path) is None


def test_one_that_is_cut_short_is_unreadable(tmp_path: Path) -> None:
    dataset = rejection.encode(NOTE)
    with pytest.raises(Unreadable):
        rejection.read(file(tmp_path, dataset[:-3]))


def test_a_sequence_that_is_no_sequence_names_nothing(tmp_path: Path) -> None:
    document = decode(rejection.encode(NOTE))
    del document.CurrentRequestedProcedureEvidenceSequence
    odd = struct.pack("<HH2s2xL", 0x0040, 0xA375, b"SQ", 0)
    raw = encode(document)
    at = raw.index(struct.pack("<HH2s", 0x0040, 0xA504, b"SQ"))
    found = rejection.read(file(tmp_path, raw[:at] + odd + raw[at:]))
    assert found
    assert found.named == {}
