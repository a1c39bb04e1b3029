"""dicom/part10.py: the header we write, and the headers others write."""

import struct
import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.filewriter import write_dataset

from dicomnode.dicom import part10
from dicomnode.errors import MalformedUID, Unreadable

ORIGIN = part10.Origin("CT1", "hafen-süd", 1_700_000_000_123_456, "HARBOUR_CT1", "TO_GENERAL")
CT, UID, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5", "1.2.840.10008.1.2.1"


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def written(tmp_path: Path, *parts: bytes) -> Path:
    path = tmp_path / "x.dcm"
    path.write_bytes(b"".join(parts))
    return path


def dataset() -> bytes:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.StudyInstanceUID, data.SeriesInstanceUID = CT, UID, "1.2", "1.3"
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data)
    return buffer.getvalue()


@pytest.mark.parametrize("calling", ["A", "AB", "EXACTLY_16_CHARS", "MORE_THAN_16_CHARACTERS", "WÜRST", ""])
def test_round_trip(tmp_path: Path, calling: str) -> None:
    origin = part10.Origin("P", "s", 1, calling, "NODE")
    header = part10.encode(CT, UID, EXPLICIT, origin)
    meta = part10.read(written(tmp_path, header, dataset()))
    assert meta == part10.FileMeta(CT, UID, EXPLICIT, len(header), origin)


def test_pydicom_reads_our_header(tmp_path: Path) -> None:
    read = dcmread(written(tmp_path, part10.encode(CT, UID, EXPLICIT, ORIGIN), dataset()))
    meta = read.file_meta
    assert read.preamble == bytes(128)
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID) == (
        CT,
        UID,
        EXPLICIT,
    )
    assert meta.FileMetaInformationVersion == b"\x00\x01"
    assert meta.ImplementationClassUID == part10.IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == part10.IMPLEMENTATION_VERSION_NAME
    assert meta.SourceApplicationEntityTitle == meta.SendingApplicationEntityTitle == "HARBOUR_CT1"
    assert meta.ReceivingApplicationEntityTitle == "TO_GENERAL"
    assert read.SOPInstanceUID == UID


@pytest.mark.interop
def test_dcmtk_accepts_our_header(tmp_path: Path) -> None:
    path = written(tmp_path, part10.encode(CT, UID, EXPLICIT, ORIGIN), dataset())
    assert subprocess.run(["dcmftest", path], capture_output=True, check=True).stdout.startswith(b"yes")
    dumped = subprocess.run(["dcmdump", "-v", path], capture_output=True, check=True)
    assert b"[HARBOUR_CT1]" in dumped.stdout
    assert b"W:" not in dumped.stderr
    assert b"E:" not in dumped.stderr


def test_our_names_fit() -> None:
    assert len(part10.IMPLEMENTATION_CLASS_UID) <= 64
    assert int(part10.IMPLEMENTATION_CLASS_UID.removeprefix("2.25.")) < 2**128
    assert len(part10.IMPLEMENTATION_VERSION_NAME) <= 16


def test_an_overlong_uid_is_not_written() -> None:
    with pytest.raises(MalformedUID):
        part10.encode(CT, "1" * 65, EXPLICIT, ORIGIN)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "no_meta_group_length.dcm"])
def test_other_writers_headers(name: str) -> None:
    path = Path(get_testdata_file(name))
    with path.open("rb") as file:
        read_preamble(file, False)
        expected = _read_file_meta_info(file)
        offset = file.tell()
    meta = part10.read(path)
    assert (meta.transfer_syntax_uid, meta.offset) == (expected.TransferSyntaxUID, offset)
    assert meta.origin is None


def test_every_cut_within_an_element_of_the_header_is_refused(tmp_path: Path) -> None:
    header = part10.encode(CT, UID, EXPLICIT, ORIGIN)
    between, pos = {132}, 132
    while pos < len(header):
        vr, length = struct.unpack_from("<2sH", header, pos + 4)
        pos += 12 + struct.unpack_from("<L", header, pos + 8)[0] if vr == b"OB" else 8 + length
        between.add(pos)
    assert len(between) == 13
    for cut in set(range(len(header))) - between:
        with pytest.raises(Unreadable):
            part10.read(written(tmp_path, header[:cut]))


@pytest.mark.parametrize("announced", [0, 10, 30, 10_000])
def test_a_wrong_group_length_is_survived(tmp_path: Path, announced: int) -> None:
    header = part10.encode(CT, UID, EXPLICIT, ORIGIN)
    wrong = header[:140] + struct.pack("<L", announced) + header[144:]
    assert part10.read(written(tmp_path, wrong, dataset())).offset == len(header)


def test_group_2_inside_the_dataset_is_not_merged(tmp_path: Path) -> None:
    header = part10.encode(CT, UID, EXPLICIT, ORIGIN)
    inside = element(2, 0x0010, b"UI", b"9.9.9.9.")
    meta = part10.read(written(tmp_path, header, inside, dataset()))
    assert (meta.offset, meta.transfer_syntax_uid) == (len(header), EXPLICIT)


def test_over_64_kib_is_refused(tmp_path: Path) -> None:
    much = element(2, 0x0016, b"AE", b"x" * 60_000) * 2
    with pytest.raises(Unreadable, match="64 KiB"):
        part10.read(written(tmp_path, bytes(128), b"DICM", much, element(2, 0x0010, b"UI", b"1.2.840.10008.1.2\0")))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"plain text",
        bytes(128) + b"DICM",
        bytes(132) + b"x" * 100,
        bytes(128) + b"DICM" + element(2, 2, b"UI", b"1.2\0"),
        bytes(128) + b"DICM" + element(2, 0x10, b"UI", b"1\n2\0"),
        bytes(128) + b"DICM" + struct.pack("<HHL", 2, 0x10, 4) + b"1.2\0",
    ],
)
def test_no_part10_file(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Unreadable):
        part10.read(written(tmp_path, content))


@pytest.mark.parametrize("raw", [b"{}", b"[1,2,3,4,5]", b'["a","b","c","d","e"]', b"\xff\xff", b"[" * 5000, b"null"])
def test_damaged_private_information_is_no_origin(tmp_path: Path, raw: bytes) -> None:
    whole = part10.encode(CT, UID, EXPLICIT, ORIGIN)
    start = whole.index(struct.pack("<HH", 2, 0x0102))
    damaged = whole[:start] + struct.pack("<HH2s2xL", 2, 0x0102, b"OB", len(raw)) + raw
    assert part10.read(written(tmp_path, damaged)).origin is None


def test_private_information_of_another_creator_is_not_ours(tmp_path: Path) -> None:
    whole = part10.encode(CT, UID, EXPLICIT, ORIGIN)
    place = whole.index(struct.pack("<HH2s", 2, 0x0100, b"UI")) + 8
    foreign = whole[:place] + b"1" + whole[place + 1 :]
    assert part10.read(written(tmp_path, foreign)).origin is None
