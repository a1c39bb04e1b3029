"""dicom/decompress.py: what comes out of a decoder, in a dataset that is else what it was. RLE, which needs no library.

Other compressions are decompressed in a process of their own: tests/unit/net/test_net_decoding.py.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from dicomnode.dicom import decompress
from dicomnode.errors import InstanceError
from tests.samples import dataset_of, real_files

FILES = {path.name: path for path in real_files(more=True)}
EXPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"
_META = b"\2\0\x10\0UI\x14\0" + EXPLICIT.encode() + b"\0"


def decompressed(path: Path) -> bytes:
    with path.open("rb") as source, tempfile.TemporaryFile() as target:
        decompress.decompress(source, target)
        target.seek(0)
        return target.read()


def read(dataset: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(bytes(128) + b"DICM" + _META + dataset))


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """The RLE file, with some attributes changed."""

    def make(name: str = "MR_small_RLE.dcm", frames: list[bytes] | None = None, **attributes: Any) -> Path:
        dataset = pydicom.dcmread(FILES[name])
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        if frames is not None:
            dataset.PixelData = encapsulate(frames)
        dataset.save_as(tmp_path / "made.dcm")
        return tmp_path / "made.dcm"

    return make


@pytest.mark.parametrize(
    ("compressed", "native"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("emri_small_RLE.dcm", "emri_small.dcm"),
        ("OBXXXX1A_rle_2frame.dcm", "OBXXXX1A_2frame.dcm"),
        ("rtdose_rle.dcm", "rtdose.dcm"),
    ],
)
def test_the_pixels_are_those_that_were_compressed(compressed: str, native: str) -> None:
    found, wanted = read(decompressed(FILES[compressed])), pydicom.dcmread(FILES[native])
    assert found.PixelData == wanted.PixelData
    assert ("OB" if wanted.BitsAllocated <= 8 else "OW") == found["PixelData"].VR


def test_all_but_the_pixels_is_byte_for_byte_what_it_was() -> None:
    before = dataset_of(FILES["MR_small_RLE.dcm"])
    after = decompressed(FILES["MR_small_RLE.dcm"])
    pixels = b"\xe0\x7f\x10\0O"
    assert after[: after.index(pixels)] == before[: before.index(pixels)]
    end = pydicom.dcmread(FILES["MR_small.dcm"]).PixelData
    assert after.endswith(b"W\0\0" + len(end).to_bytes(4, "little") + end + before[before.index(b"\xfc\xff\xfc\xff") :])


def test_colours_lie_by_plane_as_the_decoder_leaves_them() -> None:
    found, wanted = read(decompressed(FILES["SC_rgb_rle.dcm"])), pydicom.dcmread(FILES["SC_rgb_small_odd.dcm"])
    assert (found.PlanarConfiguration, found.PhotometricInterpretation) == (1, "RGB")
    assert wanted.PlanarConfiguration == 0
    before = pydicom.dcmread(FILES["SC_rgb_rle.dcm"])
    planes = [found.PixelData[n * 10_000 : (n + 1) * 10_000] for n in range(3)]
    colours = {tuple(plane[at] for plane in planes) for at in range(10_000)}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255)} <= colours
    assert [each.tag for each in found] == [each.tag for each in before]


def test_the_marks_of_a_lossy_compression_stay(made: Any) -> None:
    marks = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "9.5", "DerivationDescription": "squeezed"}
    path = made(**marks)
    found = read(decompressed(path))
    assert {keyword: found[keyword].value for keyword in marks} == marks
    assert found.SOPInstanceUID == pydicom.dcmread(path).SOPInstanceUID


def test_the_offsets_of_frames_go_and_group_lengths_too(made: Any) -> None:
    dataset = pydicom.dcmread(FILES["MR_small_RLE.dcm"])
    path = made(ExtendedOffsetTable=bytes(8), ExtendedOffsetTableLengths=len(dataset.PixelData).to_bytes(8, "little"))
    raw, length = path.read_bytes(), b"\x28\0\0\0UL\4\0\1\0\0\0"
    at = raw.index(b"\x28\0\2\0US")
    path.write_bytes(raw[:at] + length + raw[at:])
    found = read(decompressed(path))
    assert [each.tag for each in found] == [each.tag for each in dataset]


def test_a_frame_of_another_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = decompress._decoded

    def longer(*arguments: Any) -> Any:
        for frame, facts in right(*arguments):
            yield frame + b"\0\0", facts

    monkeypatch.setattr(decompress, "_decoded", longer)
    with pytest.raises(InstanceError, match="the size"):
        decompressed(FILES["MR_small_RLE.dcm"])


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"NumberOfFrames": 2}, "frames"),
        ({"Rows": 65}, "decode"),
        ({"frames": [b"\0" * 70]}, "decode"),
        ({"frames": []}, "decode|frames"),
        ({"Rows": 0}, "Rows|rows"),
        ({"Rows": 65535, "Columns": 65535, "NumberOfFrames": 3}, "too many"),
    ],
)
def test_what_is_not_what_it_says_cannot_be_decompressed(made: Any, attributes: dict[str, Any], text: str) -> None:
    with pytest.raises(InstanceError, match=text):
        decompressed(made(**attributes))


@pytest.mark.parametrize(
    ("name", "attributes"),
    [("J2K_pixelrep_mismatch.dcm", {}), ("MR_small_jp2klossless.dcm", {"PixelRepresentation": 0})],
)
def test_pixels_that_say_another_sign_than_their_dataset_are_refused(
    made: Any, name: str, attributes: dict[str, Any]
) -> None:
    with pytest.raises(InstanceError, match="its pixels are signed, and its Pixel Representation is not"):
        decompressed(made(name, **attributes))


@pytest.mark.parametrize(
    ("narrow", "signed", "wide"),
    [
        (b"\x01\xff", False, b"\x01\0\xff\0"),
        (b"\x01\xff\x80", True, b"\x01\0\xff\xff\x80\xff"),
    ],
)
def test_a_decoder_that_takes_fewer_bytes_to_a_number_is_made_up_for(narrow: bytes, signed: bool, wide: bytes) -> None:
    assert decompress._widened(narrow, 1, 2, signed) == wide
    assert decompress._widened(wide, 2, 2, signed) == wide
    assert decompress._widened(wide, 2, 4, False)[:4] == wide[:2] + b"\0\0"
