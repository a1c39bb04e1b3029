"""Hospitals that take one transfer syntax: what they are sent, and whether DCMTK reads the same out of it as we meant.

DCMTK's own conversion is the judge: what arrived and what was stored are the same bytes when it writes both in one way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests import dcmtk
from tests.node import LOCAL, Node, default_config
from tests.orthanc import Orthanc
from tests.samples import dataset_of, read_sample, real_files

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
NATIVE = {IMPLICIT, EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
DECODERS = {"5": "dcmdrle", "50": "dcmdjpeg", "57": "dcmdjpeg", "70": "dcmdjpeg", "80": "dcmdjpls", "81": "dcmdjpls"}
"""What of DCMTK decompresses a transfer syntax, by its last component."""
FORWARDED = [
    *("CT_small.dcm", "MR_small_expb.dcm", "image_dfl.dcm", "rtplan.dcm", "reportsi.dcm", "waveform_ecg.dcm"),
    *("SC_rgb_small_odd_big_endian.dcm", "gdcm-US-ALOKA-16_big.dcm", "MR-SIEMENS-DICOM-WithOverlays.dcm"),
    *("mlut_18.dcm", "chrH32.dcm", "OBXXXX1A.dcm", "SC_rgb_rle_16bit_2frame.dcm"),
    *("JPEG-LL.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "emri_small_jpeg_ls_lossless.dcm", "MR2_J2KR.dcm"),
    *("JPGExtended.dcm", "rtdose_expb.dcm"),
]
CANNOT = {"JPGExtended.dcm": "12-bit", "rtdose_expb.dcm": "byte order"}


FILES_BY_NAME = {path.name: path for path in real_files(more=True)}
FILES = {read_sample(FILES_BY_NAME[name]).sop_instance: FILES_BY_NAME[name] for name in FORWARDED}
assert len(FILES) == len(FORWARDED)


HOSPITALS = {"IMPLICIT": set(CANNOT), "UNCOMPRESSED": {"JPGExtended.dcm"}, "EXPLICIT": set(CANNOT)}
"""What they take, and what cannot be made so; the last is Orthanc."""


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dcmtk.StoreSCP | Orthanc]]:
    folder, options = tmp_path_factory.mktemp("hospitals"), {"AcceptedTransferSyntaxes": [EXPLICIT]}
    (folder / "orthanc").mkdir()
    with (
        dcmtk.storescp(folder / "implicit", "IMPLICIT", options=["+xi"]) as implicit,
        dcmtk.storescp(folder / "uncompressed", "UNCOMPRESSED", options=["+xe"]) as uncompressed,
        Orthanc(folder / "orthanc", ae_title="EXPLICIT", options=options) as orthanc,
    ):
        yield {"IMPLICIT": implicit, "UNCOMPRESSED": uncompressed, "EXPLICIT": orthanc}


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node], hospitals: dict[str, Any]) -> Node:
    config = default_config(deflated=True)
    for name, hospital in hospitals.items():
        partner = {"site": "general", "host": LOCAL, "port": hospital.port, "transcode": "decompress"}
        config["partners"][name] = partner
    config["routes"][0] |= {"to": list(hospitals), "identity": "none"}  # what is asked is how they are written
    return start_node(config)


@pytest.fixture(scope="module")
def queue(node: Node) -> list[dict[str, Any]]:
    """What became of each transfer, when all are delivered or held."""
    assert set(node.send(FILES.values(), called="TO_GENERAL").values()) == {0}

    def settled() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = node.cli("queue", "list", json=True)
        return rows if all(row["state"] in ("delivered", "held") for row in rows) else []

    return list(node.wait_until(settled, 120, "everything to be sent, or held"))


@pytest.fixture(scope="module")
def arrived(queue: list[dict[str, Any]], hospitals: dict[str, Any]) -> dict[str, dict[str, Path]]:
    """By hospital, SOP Instance UID → the file that it wrote."""
    return {
        name: {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in _files(hospital)}
        for name, hospital in hospitals.items()
    }


def _files(hospital: dcmtk.StoreSCP | Orthanc) -> list[Path]:
    return hospital.files() if isinstance(hospital, dcmtk.StoreSCP) else _written(hospital)


def _written(orthanc: Orthanc) -> list[Path]:
    paths = []
    for number in orthanc.instances().values():
        paths.append(orthanc.folder / f"{number}.dcm")
        paths[-1].write_bytes(orthanc.dicom_file(number))
    return paths


@pytest.mark.parametrize("hospital", HOSPITALS)
def test_all_arrives_that_can_and_of_the_rest_the_reason_is_given(
    hospital: str, arrived: dict[str, dict[str, Path]], queue: list[dict[str, Any]]
) -> None:
    held = {uid for uid, path in FILES.items() if path.name in HOSPITALS[hospital]}
    assert set(arrived[hospital]) == set(FILES) - held
    rows = {row["sop_instance_uid"]: row for row in queue if row["partner"].startswith(hospital)}
    assert {uid for uid, row in rows.items() if row["state"] == "held"} == held
    for uid in held:
        assert f"{hospital} does not accept" in rows[uid]["reason"]
        assert CANNOT[FILES[uid].name] in rows[uid]["reason"]


@pytest.mark.parametrize("hospital", HOSPITALS)
@pytest.mark.parametrize("name", [path.name for path in FILES.values() if path.name not in CANNOT])
def test_dcmtk_reads_the_same_out_of_it(
    name: str, hospital: str, arrived: dict[str, dict[str, Path]], tmp_path: Path
) -> None:
    (uid,) = [uid for uid, path in FILES.items() if path.name == name]
    stored, made = FILES[uid], tmp_path / "arrived.dcm"
    _converted("dcmconv", arrived[hospital][uid], made)
    syntax = read_sample(stored).transfer_syntax
    if syntax in NATIVE:
        _converted("dcmconv", stored, tmp_path / "stored.dcm")
        assert dataset_of(made) == dataset_of(tmp_path / "stored.dcm")
        return
    wanted = FILES_BY_NAME["MR2_UNCR.dcm"] if name == "MR2_J2KR.dcm" else tmp_path / "stored.dcm"
    if last := DECODERS.get(syntax.rpartition(".")[2]):
        _converted(last, stored, wanted)
    one, two = pydicom.dcmread(wanted), pydicom.dcmread(made)
    assert _by_pixel(two) == _by_pixel(one)
    assert {each.tag for each in two} == {each.tag for each in pydicom.dcmread(stored) if each.tag.element}


def _converted(tool: str, source: Path, target: Path) -> None:
    """Written by DCMTK in Implicit VR Little Endian, with delimiters and without group lengths."""
    options = ["+cn"] if tool == "dcmdjpeg" else []
    done = dcmtk.run(tool, "+ti", "-e", "-g", *options, source, target)
    assert done.code == 0, done.text


def _by_pixel(dataset: pydicom.Dataset) -> bytes:
    """The samples of each pixel next to each other, however they lie."""
    pixels, count = bytes(dataset.PixelData), dataset.SamplesPerPixel
    if count == 1 or dataset.PlanarConfiguration == 0:
        return pixels
    size = dataset.BitsAllocated // 8
    plane = dataset.Rows * dataset.Columns * size
    made = bytearray(len(pixels))
    for frame in range(0, len(pixels) - len(pixels) % 2, plane * count):
        for number in range(count):
            for byte in range(size):
                samples = pixels[frame + number * plane + byte : frame + (number + 1) * plane : size]
                made[frame + number * size + byte : frame + plane * count : size * count] = samples
    return bytes(made)
