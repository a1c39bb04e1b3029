"""The smallest images that say all of a study that can be asked for: half a kilobyte of Explicit VR Little Endian each.

Made of bytes, because ten thousand of them are made while somebody waits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests import samples
from tests.bench.hoard import Study

_SIDE = 8


def images(study: Study) -> Iterator[tuple[str, bytes]]:
    """The first image of its first series of each modality: SOP Instance UID, dataset."""
    for modality in dict.fromkeys(study.modalities):
        series = study.modalities.index(modality) + 1
        uid = f"{study.series_uid(series)}.1"
        yield uid, b"".join(_elements(study, uid, series))


def _elements(study: Study, uid: str, series: int) -> Iterator[bytes]:
    yield _text(0x0008, 0x0005, "CS", "ISO_IR 192")
    yield _text(0x0008, 0x0016, "UI", samples.CT_IMAGE)
    yield _text(0x0008, 0x0018, "UI", uid)
    yield _text(0x0008, 0x0020, "DA", study.date)
    yield _text(0x0008, 0x0030, "TM", study.time)
    yield _text(0x0008, 0x0050, "SH", study.accession)
    yield _text(0x0008, 0x0060, "CS", study.modalities[series - 1])
    yield _text(0x0008, 0x0090, "PN", study.referrer)
    yield _text(0x0008, 0x1030, "LO", study.description)
    yield _text(0x0010, 0x0010, "PN", study.patient.name)
    yield _text(0x0010, 0x0020, "LO", study.patient.patient_id)
    yield _text(0x0010, 0x0030, "DA", study.patient.birth_date)
    yield _text(0x0010, 0x0040, "CS", study.patient.sex)
    yield _text(0x0020, 0x000D, "UI", study.uid)
    yield _text(0x0020, 0x000E, "UI", study.series_uid(series))
    yield _text(0x0020, 0x0010, "SH", str(study.number))
    yield _text(0x0020, 0x0011, "IS", str(series))
    yield _text(0x0020, 0x0013, "IS", "1")
    yield from _PIXELS


def _text(group: int, element: int, vr: str, text: str) -> bytes:
    value = text.encode()
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr.encode(), len(value)) + value


def _number(element: int, number: int) -> bytes:
    return struct.pack("<HH2sHH", 0x0028, element, b"US", 2, number)


_PIXELS = (
    _number(0x0002, 1),
    _text(0x0028, 0x0004, "CS", "MONOCHROME2"),
    *(_number(element, value) for element, value in ((0x10, _SIDE), (0x11, _SIDE), (0x100, 8), (0x101, 8))),
    *(_number(element, value) for element, value in ((0x102, 7), (0x103, 0))),
    struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, _SIDE * _SIDE) + bytes(range(_SIDE * _SIDE)),
)
