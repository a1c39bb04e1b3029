"""Where test data comes from: the objects that ship with pydicom and pydicom-data, and instances made from one CT.

What is real is handed on byte for byte. What is made is the same on every run for the same arguments (`seed` makes it
another), and made by splicing bytes into a template, so that five hundred instances cost milliseconds.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import struct
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tests.upper_layer import EXPLICIT_LE

_IMPLICIT_LE, _EXPLICIT_BE, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"

BROKEN = {  # Part 10 files with all their UIDs whose dataset cannot be walked, or names itself wrongly
    "MR_truncated.dcm": "Pixel Data cut short",
    "rtplan_truncated.dcm": "cut inside a sequence",
    "SC_rgb_jpeg.dcm": "explicit by its meta, Implicit VR in fact",
    "bad_sequence.dcm": "an implicit sequence inside explicit data; UIDs that are no UIDs",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "encapsulated Pixel Data cut before its end",
}
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True)
class Sample:
    """One instance: its identifiers, and its dataset's bytes as they follow the file meta."""

    path: Path | None
    """None for an instance that was made and never written."""
    sop_class: str
    sop_instance: str
    study: str
    series: str
    transfer_syntax: str
    dataset: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.dataset).hexdigest()


# -- real files ------------------------------------------------------------------------------------------------


def real_files(*, more: bool = False, distinct: bool = False) -> list[Path]:
    """The storable Part 10 objects of pydicom's wheel, sorted; with `more`, those of pydicom-data as well (45 MB).

    Left out, by rule: what has no DICM prefix, and what lacks one of the four UIDs (DICOMDIRs, fragments, palettes,
    which belong to no study); by name: BROKEN. Several files share a SOP Instance UID, as encodings of one image:
    `distinct` keeps the first of each.
    """
    files = [path for root in _roots(more) for path in _part10(root) if path.name not in BROKEN and _uids(path)]
    if not distinct:
        return files
    first: dict[str, Path] = {}
    for path in files:
        first.setdefault(_uids(path)[1], path)
    return list(first.values())


def charset_files() -> list[Path]:
    """Small objects whose patient names are in other alphabets, one character set each."""
    return [path for path in real_files() if path.parent.name == "charset_files"]


def broken_files() -> dict[Path, str]:
    """Real files that must not be taken into custody: path → what is wrong (BROKEN)."""
    return {path: BROKEN[path.name] for root in _roots(True) for path in _part10(root) if path.name in BROKEN}


def _roots(more: bool) -> list[Path]:
    roots = [Path(pydicom.data.__file__).parent]
    if more:
        roots.append(Path(str(resources.files("data_store"))))
    return roots


@functools.cache
def _part10(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.is_file() and _prefix(path) == b"DICM"]


def _prefix(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(132)[128:]


@functools.cache
def _uids(path: Path) -> tuple[str, ...]:
    """The four UIDs of a file, or an empty tuple where one is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_UIDS))
        uids = tuple(str(header.get(keyword) or "") for keyword in _UIDS)
    return uids if all(uids) else ()


def read_sample(path: Path) -> Sample:
    """A Part 10 file as a sample; ValueError where it lacks a UID or its transfer syntax."""
    raw = path.read_bytes()
    syntax, start = _meta(raw)
    uids = _uids(path)
    if not uids or not syntax:
        raise ValueError(f"{path.name} has no transfer syntax, or not all of {', '.join(_UIDS)}")
    return Sample(path, *uids, transfer_syntax=syntax, dataset=raw[start:])


def dataset_of(file: Path | bytes) -> bytes:
    """The bytes of a Part 10 file that follow its file meta."""
    raw = file if isinstance(file, bytes) else file.read_bytes()
    return raw[_meta(raw)[1] :]


def _meta(raw: bytes) -> tuple[str, int]:
    """The transfer syntax, and where the dataset begins; by walking, since a group length may be wrong or missing."""
    at, syntax = 132, ""
    while raw[at : at + 2] == b"\x02\x00":
        element, vr = raw[at + 2 : at + 4], raw[at + 4 : at + 6]
        if vr in (b"OB", b"UN", b"UT"):
            length, at = int.from_bytes(raw[at + 8 : at + 12], "little"), at + 12
        else:
            length, at = int.from_bytes(raw[at + 6 : at + 8], "little"), at + 8
        if element == b"\x10\x00":
            syntax = raw[at : at + length].decode().rstrip("\0 ")
        at += length
    return syntax, at


# -- made instances --------------------------------------------------------------------------------------------

_CLASSES = {  # the class that goes with a modality; others are made as CT
    "CT": CT_IMAGE,
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "NM": "1.2.840.10008.5.1.4.1.1.20",
    "OT": "1.2.840.10008.5.1.4.1.1.7",
}
_SIDES = {"small": 128, "large": 512}  # pixels of 16 bits: datasets of 35 kB and 0.5 MB


def uid(*key: object) -> str:
    """A UID under 2.25 that depends on `key` alone; always of 43 characters."""
    number = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:16], "big")
    return f"2.25.{number % (9 * 10**37) + 10**37}"


def make_instance(*, size: str = "small", seed: object = 0, **attributes: Any) -> bytes:
    """A CT image's dataset in Explicit VR Little Endian: `small` (35 kB) or `large` (0.5 MB).

    `attributes` are DICOM keywords; None removes one. UIDs that are not given come from `seed`.
    """
    dataset = copy.deepcopy(_template(size))  # a copy that shares its elements would change the template
    for keyword, level in (("StudyInstanceUID", 1), ("SeriesInstanceUID", 2), ("SOPInstanceUID", 3)):
        setattr(dataset, keyword, uid("instance", seed, level))
    for keyword, value in attributes.items():
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)
    return encode(dataset)


def make_instances(
    count: int,
    *,
    size: str = "small",
    seed: object = 0,
    modality: str = "CT",
    study_uid: str | None = None,
    series: int = 1,
    **attributes: Any,
) -> list[Sample]:
    """`count` instances of one study and series, with their instance numbers; nothing is written."""
    study = study_uid or uid("study", seed)
    group = uid("series", seed, study, series)
    fields = {"Modality": modality, "SOPClassUID": _CLASSES.get(modality, CT_IMAGE), "SeriesNumber": series}
    fields |= {"StudyInstanceUID": study, "SeriesInstanceUID": group, **attributes}
    template = make_instance(size=size, seed=seed, **fields)
    uids = [uid("instance", group, number) for number in range(1, count + 1)]
    return [
        Sample(None, fields["SOPClassUID"], instance, study, group, EXPLICIT_LE, _numbered(template, instance, number))
        for number, instance in enumerate(uids, 1)
    ]


def make_study(
    folder: Path,
    *,
    slices: int = 10,
    modality: str = "CT",
    patient_id: str = "H0001",
    patient_name: str = "TESTER^ANNA",
    study_uid: str | None = None,
    size: str = "small",
    seed: object = 0,
    **attributes: Any,
) -> list[Path]:
    """Write a study of one series as `folder/0001.dcm` …; the arguments alone decide what is in them."""
    patient = {"PatientID": patient_id, "PatientName": patient_name}
    key = (seed, patient_id, modality)
    made = make_instances(
        slices, size=size, seed=key, modality=modality, study_uid=study_uid, **(patient | attributes)
    )
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04}.dcm" for number in range(1, slices + 1)]
    for path, sample in zip(paths, made, strict=True):
        path.write_bytes(part10(sample))
    return paths


def with_uid(dataset: bytes, sop_instance: str, *, study: str | None = None, series: str | None = None) -> bytes:
    """A made instance's bytes under another SOP Instance UID (and Study, and Series UID)."""
    dataset = _splice(dataset, 0x0008, 0x0018, sop_instance)
    if study:
        dataset = _splice(dataset, 0x0020, 0x000D, study)
    return _splice(dataset, 0x0020, 0x000E, series) if series else dataset


def apart(sample: Sample) -> Sample:
    """A real sample in Explicit VR Little Endian under UIDs of its own: some of them share theirs."""
    study, series, instance = (uid("apart", sample.path and sample.path.name, level) for level in (1, 2, 3))
    dataset = with_uid(sample.dataset, instance, study=study, series=series)
    return replace(sample, sop_instance=instance, study=study, series=series, dataset=dataset)


def part10(sample: Sample) -> bytes:
    """A sample as a file: preamble, file meta, dataset unchanged."""
    values = {2: sample.sop_class, 3: sample.sop_instance, 0x10: sample.transfer_syntax, 0x12: uid("dicomnode tests")}
    body = b"\x02\x00\x01\x00OB\0\0\x02\x00\x00\x00\x00\x01" + b"".join(
        _short(0x0002, element, b"UI", value) for element, value in values.items()
    )
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(body))
    return bytes(128) + b"DICM" + length + body + sample.dataset


def identifier(**attributes: Any) -> bytes:
    """A query's Identifier in Explicit VR Little Endian, as `Association.find` and `.move` send it."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return encode(dataset)


def encode(dataset: Dataset, syntax: str = EXPLICIT_LE) -> bytes:
    """A dataset's bytes, uncompressed."""
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = syntax != _EXPLICIT_BE, syntax == _IMPLICIT_LE
    write_dataset(file, dataset)
    return bytes(file.getvalue())


def decode(raw: bytes, syntax: str = EXPLICIT_LE) -> Dataset:
    """Bytes that came over the wire, as a dataset."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    head = DicomBytesIO()
    head.is_little_endian, head.is_implicit_VR = True, False
    write_dataset(head, meta)
    return pydicom.dcmread(BytesIO(bytes(128) + b"DICM" + head.getvalue() + raw), force=True)


def samples(paths: Iterable[Path]) -> Iterator[Sample]:
    return (read_sample(path) for path in paths)


@functools.cache
def _template(size: str) -> Dataset:
    """pydicom's CT_small without its sequences and private elements; its pixels repeated where more are asked for."""
    dataset = pydicom.dcmread(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    dataset.remove_private_tags()
    for element in [element for element in dataset if element.VR == "SQ" or element.tag.group > 0x7FE0]:
        del dataset[element.tag]
    times, pixels = _SIDES[size] // 128, dataset.PixelData
    rows = (pixels[at : at + 256] * times for at in range(0, len(pixels), 256))
    dataset.PixelData = b"".join(rows) * times
    dataset.Rows = dataset.Columns = _SIDES[size]
    dataset.InstanceNumber = 1
    dataset.preamble = None
    plain = Dataset()
    plain.update(dict(dataset.items()))
    return plain


def _numbered(template: bytes, instance: str, number: int) -> bytes:
    return _splice(_splice(template, 0x0008, 0x0018, instance), 0x0020, 0x0013, str(number))


def _splice(dataset: bytes, group: int, element: int, value: str) -> bytes:
    """Replace a top-level value of a made instance, found by its tag and VR: there are no sequences to trip over."""
    vr = b"IS" if element == 0x0013 else b"UI"
    at = dataset.index(struct.pack("<HH", group, element) + vr)
    (length,) = struct.unpack_from("<H", dataset, at + 6)
    return b"".join((dataset[:at], _short(group, element, vr, value), dataset[at + 8 + length :]))


def _short(group: int, element: int, vr: bytes, value: str) -> bytes:
    raw = value.encode() + (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr, len(raw)) + raw
