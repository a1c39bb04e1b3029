"""dicom/rewrite.py and dicom/vrs.py, with pydicom as the judge: every element of every real file, and of made ones."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zlib
from array import array
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from dicomnode.dicom import deflate, rewrite
from dicomnode.dicom.classes import NATIVE
from dicomnode.errors import Unreadable
from tests.samples import read_sample, real_files

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
_KINDS = {
    vr: kind
    for kind, vrs in {"H": "AT OW SS US", "I": "FL OF OL SL UL", "Q": "FD OD OV SV UV"}.items()
    for vr in vrs.split()
}


def rewritten(raw: bytes, source: str, target: str) -> bytes:
    file, out = io.BytesIO(raw), io.BytesIO()
    hint = rewrite.survey(file, len(raw), source, target)
    file.seek(0)
    rewrite.rewrite(file, len(raw), source, target, hint, out.write)
    return out.getvalue()


def read(raw: bytes, syntax: str) -> Dataset:
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    return pydicom.dcmread(io.BytesIO(bytes(128) + b"DICM\2\0\x10\0UI" + struct.pack("<H", len(uid)) + uid + raw))


def same(before: Dataset, after: Dataset, swapped: bool) -> None:
    """Every element is there, in its order, with its value."""
    ones = {tag: before.get_item(tag) for tag in sorted(before.keys()) if tag.element}
    twos = {tag: after.get_item(tag) for tag in sorted(after.keys())}  # as they are: to look at one changes it
    assert list(ones) == list(twos)
    for tag, one in ones.items():
        if before[tag].VR == "SQ" and after[tag].VR == "SQ":
            assert len(before[tag].value) == len(after[tag].value), tag
            for inner, outer in zip(before[tag].value, after[tag].value, strict=True):
                same(inner, outer, swapped)
        elif one.is_raw and twos[tag].is_raw:
            assert (twos[tag].value or b"") == _turned(one.value or b"", str(one.VR), swapped), tag
        else:
            assert (before[tag].value or None) == (after[tag].value or None), tag


def _turned(value: bytes, vr: str, swapped: bool) -> bytes:
    """What a value in big endian is in little endian, where it was."""
    if not swapped or vr not in _KINDS:
        return value
    numbers = array(_KINDS[vr], value)
    numbers.byteswap()
    return numbers.tobytes()


# -- real files --------------------------------------------------------------------------------------------------------


def _native() -> list[Path]:
    return [path for path in real_files(more=True) if read_sample(path).transfer_syntax in NATIVE]


@pytest.mark.parametrize("path", _native(), ids=lambda path: path.name)
def test_a_real_file_says_the_same_in_each_syntax(path: Path) -> None:
    sample = read_sample(path)
    for target in {IMPLICIT, EXPLICIT} - {sample.transfer_syntax}:
        if sample.transfer_syntax == BIG and path.name.startswith(("rtdose", "SC_rgb_expb_16bit", "SC_rgb_expb_32bit")):
            with pytest.raises(Unreadable, match="byte order"):
                rewritten(sample.dataset, sample.transfer_syntax, target)
            continue
        made = rewritten(sample.dataset, sample.transfer_syntax, target)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before, after = read(sample.dataset, sample.transfer_syntax), read(made, target)
            same(before, after, sample.transfer_syntax == BIG)
        back = EXPLICIT if target == IMPLICIT else IMPLICIT
        again = rewritten(rewritten(made, target, back), back, target)
        if target == IMPLICIT:  # which loses nothing on the way there and back; VRs that it never had, the other does
            assert again == made


def test_the_files_have_every_syntax() -> None:
    assert {read_sample(path).transfer_syntax for path in _native()} == NATIVE


# -- made datasets -----------------------------------------------------------------------------------------------------

_TEXT = st.text(st.characters(codec="ascii", categories=("L", "N")), max_size=40)
_16, _32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "PatientComments": _TEXT,
    "PatientName": _TEXT,
    "Rows": _16,
    "FrameIncrementPointer": st.integers(0x00080000, 0x7FE00000),
    "ReferencedFrameNumber": st.integers(1, 1000).map(str),
    "RedPaletteColorLookupTableData": st.binary(max_size=3000).map(lambda raw: raw[: len(raw) & ~1]),
    "SelectorULValue": st.lists(_32, min_size=2, max_size=5),
    "SelectorSLValue": st.integers(-(2**31), 2**31 - 1),
    "SelectorFDValue": st.floats(allow_nan=False),
    "SelectorUVValue": st.integers(0, 2**64 - 1),
    "VerticesOfThePolygonalShutter": st.lists(st.integers(1, 99).map(str), max_size=4),
    "FloatPixelData": st.binary(max_size=64).map(lambda raw: raw[: len(raw) & ~3]),
    "EncapsulatedDocument": st.binary(max_size=70_000).map(lambda raw: raw[: len(raw) & ~1]),
}


@st.composite
def _datasets(draw: st.DrawFn, depth: int = 0) -> Dataset:
    made = Dataset()
    for keyword in draw(st.lists(st.sampled_from(sorted(_VALUES)), unique=True, max_size=6)):
        setattr(made, keyword, draw(_VALUES[keyword]))
    if draw(st.booleans()):
        made.add_new(0x00110010, "LO", "TESTS")
        made.add_new(0x00111001, draw(st.sampled_from(["UN", "OB"])), draw(st.binary(max_size=9)) + b"")
    if depth < 3 and draw(st.booleans()):
        made.RequestAttributesSequence = Sequence(draw(st.lists(_datasets(depth + 1), max_size=3)))
        made["RequestAttributesSequence"].is_undefined_length = draw(st.booleans())
        for item in made.RequestAttributesSequence:
            item.is_undefined_length_sequence_item = draw(st.booleans())
    return made


def encoded(dataset: Dataset, syntax: str) -> bytes:
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = syntax != BIG, syntax == IMPLICIT
    write_dataset(file, dataset)
    return file.getvalue()


@given(_datasets(), st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED]), st.sampled_from([IMPLICIT, EXPLICIT]))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_made_dataset_says_the_same_in_each_syntax(dataset: Dataset, source: str, target: str) -> None:
    plain = encoded(dataset, EXPLICIT if source == DEFLATED else source)
    raw = deflated(plain) if source == DEFLATED else plain
    if source != target:
        made = rewritten(raw, source, target)
        same(read(plain, EXPLICIT if source == DEFLATED else source), read(made, target), source == BIG)


def deflated(raw: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(raw) + packer.flush()


def test_what_was_deflated_comes_out_as_it_went_in() -> None:
    raw = explicit(0x00080000, b"UL", b"\0\0\0\0") + explicit(0x00080060, b"CS", b"CT") + bytes(3_000_001)
    assert rewritten(deflated(raw), DEFLATED, EXPLICIT) == raw


# -- element by element ------------------------------------------------------------------------------------------------

LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV", b"QQ")


def explicit(tag: int, vr: bytes, value: bytes = b"", length: int | None = None, order: str = "<") -> bytes:
    size = len(value) if length is None else length
    head = struct.pack(f"{order}HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack(f"{order}xxL" if vr in LONG else f"{order}H", size)) + value


def implicit(tag: int, value: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


UNDEFINED = 0xFFFFFFFF
END, ITEM_END = implicit(0xFFFEE0DD), implicit(0xFFFEE00D)
SIGNED, UNSIGNED = implicit(0x00280103, b"\1\0"), implicit(0x00280103, b"\0\0")


@pytest.mark.parametrize(
    ("raw", "tag", "vr"),
    [
        (implicit(0x00280120, b"\0\x80") + UNSIGNED, 0x00280120, b"US"),
        (SIGNED + implicit(0x00280120, b"\0\x80"), 0x00280120, b"SS"),
        (implicit(0x00189810, b"\0\x80") + SIGNED, 0x00189810, b"SS"),  # before that which decides it
        (implicit(0x00280120, b"\0\x80"), 0x00280120, b"US"),
        (implicit(0x00280100, b"\x08\0") + implicit(0x7FE00010, b"ab"), 0x7FE00010, b"OB"),
        (implicit(0x00280100, b"\x10\0") + implicit(0x7FE00010, b"ab"), 0x7FE00010, b"OW"),
        (implicit(0x7FE00010, b"ab"), 0x7FE00010, b"OW"),
        (implicit(0x54001004, b"\x08\0") + implicit(0x54001010, b"ab"), 0x54001010, b"OB"),
        (implicit(0x54001004, b"\x10\0") + implicit(0x54001010, b"ab"), 0x54001010, b"OW"),
        (implicit(0x00283006, bytes(70_000)), 0x00283006, b"OW"),
        (implicit(0x60023000, b"ab"), 0x60023000, b"OW"),
        (implicit(0x00090010, b"ACME"), 0x00090010, b"LO"),
        (implicit(0x00091001, b"anything"), 0x00091001, b"UN"),
        (implicit(0x00091001, implicit(0xFFFEE000)), 0x00091001, b"UN"),
        (implicit(0x00089999, b"no such"), 0x00089999, b"UN"),
        (implicit(0x00104000, bytes(70_000)), 0x00104000, b"UN"),  # LT: PS3.5 6.2.2
        (implicit(0x00280010, b"abc"), 0x00280010, b"UN"),  # US: not whole
        (implicit(0x0040A160, bytes(70_000)), 0x0040A160, b"UT"),
    ],
)
def test_a_vr_that_was_not_written_is_found(raw: bytes, tag: int, vr: bytes) -> None:
    made = rewritten(raw, IMPLICIT, EXPLICIT)
    assert struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr in made
    assert rewritten(made, EXPLICIT, IMPLICIT) == raw


def test_an_item_decides_by_itself_and_else_as_what_it_is_in() -> None:
    value = implicit(0x00280120, b"\0\x80")
    items = implicit(0xFFFEE000, value) + implicit(0xFFFEE000, UNSIGNED + value)
    made = rewritten(SIGNED + implicit(0x00283000, items), IMPLICIT, EXPLICIT)
    assert made.count(b"\x28\0\x20\1SS") == made.count(b"\x28\0\x20\1US") == 1


@pytest.mark.parametrize("sequence", [None, UNDEFINED], ids=["length", "delimiter"])
@pytest.mark.parametrize("item", [None, UNDEFINED], ids=["length", "delimiter"])
def test_sequences_end_with_delimiters_however_they_ended(sequence: int | None, item: int | None) -> None:
    inner = explicit(0x00080100, b"SH", b"T1")
    items = implicit(0xFFFEE000, inner + (ITEM_END if item else b""), item or len(inner)) * 2 + implicit(0xFFFEE000)
    raw = explicit(0x00400275, b"SQ", items + (END if sequence else b""), sequence or len(items)) + inner
    value = implicit(0x00080100, b"T1")
    wanted = (implicit(0xFFFEE000, value + ITEM_END, UNDEFINED)) * 2 + implicit(0xFFFEE000)
    assert rewritten(raw, EXPLICIT, IMPLICIT) == implicit(0x00400275, wanted + END, UNDEFINED) + value


def test_an_empty_sequence_stays_empty() -> None:
    assert rewritten(implicit(0x00400275), IMPLICIT, EXPLICIT) == explicit(0x00400275, b"SQ")


def test_a_sequence_of_unknown_vr_and_undefined_length_is_implicit_inside() -> None:
    """PS3.5 6.2.2 note 4."""
    inner = implicit(0xFFFEE000, implicit(0x00280010, b"\1\0") + ITEM_END, UNDEFINED) + END
    for source, order in ((EXPLICIT, "<"), (BIG, ">")):
        raw = explicit(0x00091001, b"UN", inner, UNDEFINED, order)
        assert rewritten(raw, source, IMPLICIT) == implicit(0x00091001, inner, UNDEFINED)
    wanted = implicit(0xFFFEE000, explicit(0x00280010, b"US", b"\1\0") + ITEM_END, UNDEFINED) + END
    assert rewritten(raw, BIG, EXPLICIT) == explicit(0x00091001, b"SQ", wanted, UNDEFINED)


def test_what_is_unknown_stays_as_it_is() -> None:
    raw = explicit(0x00091001, b"UN", b"\1\2\3\4") + explicit(0x00091002, b"QQ", b"\5\6")
    assert rewritten(raw, EXPLICIT, IMPLICIT) == implicit(0x00091001, b"\1\2\3\4") + implicit(0x00091002, b"\5\6")
    raw = explicit(0x00091001, b"UN", b"\1\2\3\4", order=">")
    assert rewritten(raw, BIG, IMPLICIT) == implicit(0x00091001, b"\1\2\3\4")


def test_what_is_odd_and_means_nothing_does_no_harm() -> None:
    """Group lengths, odd lengths, elements out of order and repeated, zeros after the end."""
    elements = implicit(0x00100020, b"ABC") + implicit(0x00080060, b"CT") + implicit(0x00080060, b"CT")
    raw = implicit(0x00100000, b"\5\0\0\0") + elements + bytes(1001)
    made = explicit(0x00100020, b"LO", b"ABC") + explicit(0x00080060, b"CS", b"CT") * 2
    assert rewritten(raw, IMPLICIT, EXPLICIT) == made


def big(tag: int, vr: bytes, value: bytes) -> bytes:
    return explicit(tag, vr, value, order=">")


DEEP = implicit(0x00400275, implicit(0xFFFEE000, b"", UNDEFINED), UNDEFINED) * 80 + (ITEM_END + END) * 80
CANNOT = {
    "compressed": (EXPLICIT, explicit(0x7FE00010, b"OB", implicit(0xFFFEE000) + END, UNDEFINED), "compressed"),
    "a compressed icon": (
        *(
            EXPLICIT,
            explicit(0x00880200, b"SQ", implicit(0xFFFEE000, b"", UNDEFINED), UNDEFINED)
            + explicit(0x7FE00010, b"OB", implicit(0xFFFEE000) + END, UNDEFINED)
            + ITEM_END
            + END,
        ),
        "compressed",
    ),
    "pixels of 32 bits": (BIG, big(0x00280100, b"US", b"\0\x20") + big(0x7FE00010, b"OW", bytes(4)), "byte order"),
    "pixels of 16 bits as bytes": (
        *(BIG, big(0x00280100, b"US", b"\0\x10") + big(0x7FE00010, b"OB", bytes(4))),
        "byte order",
    ),
    "half a number": (BIG, big(0x00280010, b"US", b"abc"), "byte order"),
    "a VR nobody knows": (BIG, big(0x00091001, b"QQ", b"ab"), "byte order"),
    "bytes after the end": (IMPLICIT, implicit(0x00080060, b"CT") + bytes(8) + b"x", "after the dataset"),
    "half a header": (IMPLICIT, implicit(0x00080060, b"CT") + b"x", "header"),
    "half a long header": (EXPLICIT, explicit(0x7FE00010, b"OW")[:10], "no element"),
    "half a value": (IMPLICIT, implicit(0x00080060, b"C", 2), "truncated"),
    "half a hint": (IMPLICIT, implicit(0x00280103, b"\1", 2), "truncated"),
    "no delimiter": (IMPLICIT, implicit(0x00400275, implicit(0xFFFEE000), UNDEFINED), "lacks its end"),
    "no item": (IMPLICIT, implicit(0x00400275, implicit(0x00080060)), "no item"),
    "an item alone": (IMPLICIT, implicit(0xFFFEE000), "outside"),
    "an item in an item": (IMPLICIT, implicit(0x00400275, implicit(0xFFFEE000, implicit(0xFFFEE000))), "outside"),
    "an end without a begin": (IMPLICIT, implicit(0x00400275, implicit(0xFFFEE000, ITEM_END)), "goes on"),
    "an item that is too long": (
        *(IMPLICIT, implicit(0x00400275, implicit(0xFFFEE000, b"", 9), 8) + implicit(0x00080060, b"\0")),
        "its sequence",
    ),
    "an element that is too long": (
        *(IMPLICIT, implicit(0x00400275, implicit(0xFFFEE000, implicit(0x00080060, b"", 2))) + bytes(2)),
        "its item",
    ),
    "implicit in explicit": (
        EXPLICIT,
        explicit(0x00400275, b"SQ", implicit(0xFFFEE000, implicit(0x280010, b"ab"))),
        "no element",
    ),
    "too deep": (IMPLICIT, DEEP, "deep"),
    "not deflated": (DEFLATED, b"\xff" * 20, "deflated"),
    "deflated in part": (DEFLATED, deflated(bytes(1000))[:-2], "too early"),
}


@pytest.mark.parametrize("case", CANNOT)
def test_what_would_become_something_else_is_refused_before_anything_is_written(case: str) -> None:
    source, raw, text = CANNOT[case]
    for target in {IMPLICIT, EXPLICIT} - {source}:
        with pytest.raises(Unreadable, match=text):
            rewrite.survey(io.BytesIO(raw), len(raw), source, target)


def test_what_inflates_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflate, "CAP", 1_000_000)
    raw = deflated(explicit(0x7FE00010, b"OW", bytes(1_000_000)))
    with pytest.raises(Unreadable, match="too big"):
        rewrite.survey(io.BytesIO(raw), len(raw), DEFLATED, EXPLICIT)


def test_memory_stays_flat(tmp_path: Path) -> None:
    """The largest value costs what any does, swapped or not."""
    path, size = tmp_path / "large", 64 << 20
    head = big(0x00280100, b"US", b"\0\x10") + explicit(0x7FE00010, b"OW", b"", size, ">")
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    written = 0

    def put(data: bytes) -> None:
        nonlocal written
        written += len(data)

    tracemalloc.start()
    try:
        with path.open("rb") as stored:
            rewrite.rewrite(stored, len(head) + size, BIG, IMPLICIT, {}, put)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    assert written == size + 18
