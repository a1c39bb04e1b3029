"""dicom/walk.py and dicom/elements.py: what is kept, what is refused, and what is noted."""

import hashlib
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.multival import MultiValue

from dicomnode.dicom import elements, part10, walk
from dicomnode.dicom.instance import ATTRIBUTES
from dicomnode.errors import InstanceError, MalformedUID, Unreadable

CT, COLOR_PALETTE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.39.1"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG, DEFLATED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.1.99"
LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"ZZ", b"OV")
UNDEFINED = 0xFFFFFFFF
ORIGIN = part10.Origin("CT1", "harbour", 1, "HARBOUR_CT1", "NODE")


def element(tag: int, vr: bytes, value: bytes, syntax: str = EXPLICIT, length: int | None = None) -> bytes:
    order = ">" if syntax == BIG else "<"
    size = len(value) if length is None else length
    if syntax == IMPLICIT:
        return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, size) + value
    head = struct.pack(f"{order}HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + struct.pack(f"{order}2xL" if vr in LONG else f"{order}H", size) + value


def item(value: bytes = b"", tag: int = 0xFFFEE000, length: int | None = None, order: str = "<") -> bytes:
    return struct.pack(f"{order}HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


ITEM_END, SEQUENCE_END = item(tag=0xFFFEE00D), item(tag=0xFFFEE0DD)

HEAD = {
    0x00080016: (b"UI", CT.encode() + b"\0"),
    0x00080018: (b"UI", b"1.2.3.4\0"),
    0x00080060: (b"CS", b"CT"),
    0x00100010: (b"PN", b"Doe^Jane"),
    0x00100020: (b"LO", b"P1"),
    0x0020000D: (b"UI", b"1.2.3 "),
    0x0020000E: (b"UI", b"1.2.3.5\0"),
    0x00280010: (b"US", b"\x02\x00"),
    0x00280011: (b"US", b"\x03\x00"),
}


def dataset(*tail: bytes, syntax: str = EXPLICIT, **changes: tuple[bytes, bytes] | None) -> bytes:
    """The elements of HEAD, some of them changed (t00100020=…) or left out (None), and what follows them."""
    head = HEAD | {int(name[1:], 16): change for name, change in changes.items()}
    whole = {tag: pair for tag, pair in head.items() if pair}
    if syntax == BIG:
        whole = {tag: (vr, value[::-1] if vr == b"US" else value) for tag, (vr, value) in whole.items()}
    return b"".join(element(tag, *whole[tag], syntax) for tag in sorted(whole)) + b"".join(tail)


PIXELS = element(0x7FE00010, b"OW", bytes(range(12)))


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    def write(data: bytes, syntax: str = EXPLICIT) -> Path:
        path = tmp_path / "x.dcm"
        path.write_bytes(part10.encode(CT, "1.2.3.4", syntax, ORIGIN) + data)
        return path

    return write


Put = Callable[..., Path]

# -- what is read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_each_syntax(put: Put, syntax: str) -> None:
    found = walk.header(put(dataset(element(0x7FE00010, b"OW", bytes(12), syntax), syntax=syntax), syntax))
    assert (found.sop_class_uid, found.sop_instance_uid) == (CT, "1.2.3.4")
    assert (found.study_instance_uid, found.series_instance_uid) == ("1.2.3", "1.2.3.5")
    assert (found.patient_name, found.patient_id, found.modality) == ("Doe^Jane", "P1", "CT")
    assert (found.rows, found.columns, found.number_of_frames) == ("2", "3", "")
    assert (found.transfer_syntax_uid, found.notes) == (syntax, ())


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_RLE.dcm",
        "rtplan.dcm",
        "rtdose.dcm",
        "rtdose_expb.dcm",
        "JPEG2000.dcm",
        "JPEG2000-embedded-sequence-delimiter.dcm",
        "test-SR.dcm",
        "waveform_ecg.dcm",
        "image_dfl.dcm",
        "ExplVR_BigEnd.dcm",
        "eCT_Supplemental.dcm",
        "693_J2KI.dcm",
    ],
)
def test_real_files_are_read_as_pydicom_reads_them(name: str) -> None:
    path = Path(get_testdata_file(name))
    found, read = walk.header(path), dcmread(path, stop_before_pixels=True)
    for attribute in ATTRIBUTES:
        value = read.get(attribute.keyword)
        expected = "\\".join(map(str, value)) if isinstance(value, MultiValue) else str("" if value is None else value)
        expected = "\\".join(part.strip() for part in expected.split("\\"))
        assert getattr(found, attribute.column) == expected, attribute.keyword
    assert found.notes == ()


def test_a_deflated_file_and_its_plain_twin_are_one(put: Put) -> None:
    plain = dataset(PIXELS)
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = stream.compress(plain) + stream.flush()
    found = walk.header(put(packed, DEFLATED))
    assert (found.patient_id, found.transfer_syntax_uid) == ("P1", DEFLATED)
    with pytest.raises(Unreadable):
        walk.header(put(packed[:-5], DEFLATED))
    with pytest.raises(Unreadable):
        walk.header(put(plain, DEFLATED))


def test_a_private_syntax_is_read_as_explicit(put: Put) -> None:
    assert walk.header(put(dataset(PIXELS), "1.2.3.4.5")).patient_id == "P1"


def test_a_non_patient_object_needs_no_study(put: Put) -> None:
    palette = dataset(t00080016=(b"UI", COLOR_PALETTE.encode() + b"\0"), t0020000D=None, t0020000E=None, t00100020=None)
    assert walk.header(put(palette)).study_instance_uid == ""


@pytest.mark.parametrize(
    ("vr", "raw", "expected"),
    [
        (b"LO", b" P 1  ", "P 1"),
        (b"LO", b"P1\0\0", "P1"),
        (b"LO", b"A \\ B ", "A\\B"),
        (b"UN", b"P1", "P1"),
        (b"US", b"\x07\x00\x08\x00", "7\\8"),
        (b"LO", b"a\nb\x1b[", "a\ufffdb\ufffd["),
        (b"LO", b"", ""),
    ],
)
def test_values_are_stripped_and_safe(put: Put, vr: bytes, raw: bytes, expected: str) -> None:
    assert walk.header(put(dataset(PIXELS, t00100020=(vr, raw)))).patient_id == expected


def test_rows_of_unknown_vr_and_as_text(put: Put) -> None:
    found = walk.header(put(dataset(t00280010=(b"UN", b"\x00\x02"), t00280011=(b"IS", b"512 "))))
    assert (found.rows, found.columns) == ("512", "512")


def test_text_that_is_not_what_was_declared_is_noted_without_the_text(put: Put) -> None:
    bad = dataset(t00080005=(b"CS", b"ISO_IR 192"), t00100010=(b"PN", b"D\xf6e^Jane"))
    found = walk.header(put(bad))
    assert found.patient_name == "D\ufffde^Jane"
    assert found.notes == ("text in (0010,0010) is not valid ISO_IR 192",)


# -- what is kept, and noted ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "notes"),
    [
        (dataset(PIXELS, b"\0"), ("1 bytes after the dataset",)),
        (dataset(PIXELS, bytes(3000)), ("3000 bytes after the dataset",)),
        (dataset(PIXELS, b"<html>garbage" * 20), ("260 bytes after the dataset",)),
        (dataset(bytes(6)), ("6 bytes after the dataset",)),
        (dataset(bytes(40)), ("40 bytes after the dataset",)),
        (dataset(PIXELS, element(0xFFFCFFFC, b"OB", bytes(50))), ()),
        (dataset(t00100020=(b"LO", b"P12")), ("odd length at (0010,0020)",)),
        (dataset(element(0x00290010, b"ZZ", b"??")), ("unknown VR ZZ at (0029,0010)",)),
        (dataset(element(0x00080070, b"LO", b"ACME")), ("(0008,0070) out of order",)),
        (dataset(PIXELS, element(0x00080070, b"LO", b"ACME")), ("(0008,0070) out of order",)),
        (element(0x00000100, b"US", b"\1\0") + dataset(), ("(0000,0100) inside the dataset",)),
        (element(0x00020010, b"UI", b"1.2 ") + dataset(), ("(0002,0010) inside the dataset",)),
        (dataset(SEQUENCE_END, PIXELS), ("stray delimiter (FFFE,E0DD)",)),
    ],
)
def test_what_is_only_odd_is_kept_and_noted(put: Put, data: bytes, notes: tuple[str, ...]) -> None:
    found = walk.header(put(data))
    assert found.notes == notes
    assert found.study_instance_uid == "1.2.3"


def test_an_element_out_of_order_still_counts(put: Put) -> None:
    found = walk.header(put(dataset(PIXELS, element(0x00080070, b"LO", b"ACME"))))
    assert found.manufacturer == "ACME"


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_the_first_of_repeated_values_wins(put: Put, syntax: str) -> None:
    head = dataset(element(0x00280011, b"US", b"\x09\x00", syntax), syntax=syntax)
    found = walk.header(put(head, syntax))
    assert found.columns == "3"
    assert found.notes == ("(0028,0011) is repeated",)


def test_what_follows_the_pixels_of_an_implicit_dataset(put: Put) -> None:
    pixels = element(0x7FE00010, b"OW", bytes(12), IMPLICIT)
    garbage = b"\xf0\xff\x12\x34some garbage"
    found = walk.header(put(dataset(pixels, garbage, syntax=IMPLICIT), IMPLICIT))
    assert found.notes == ("16 bytes after the dataset",)
    for tag in (0x7FE11010, 0xFFFAFFFA, 0xFFFCFFFC):  # private, digital signatures, padding: these are cut short
        with pytest.raises(Unreadable):
            walk.header(put(dataset(pixels, element(tag, b"", b"1234", IMPLICIT, 40), syntax=IMPLICIT), IMPLICIT))


def test_an_implicit_dataset_with_zero_fill(put: Put) -> None:
    assert walk.header(put(dataset(bytes(48), syntax=IMPLICIT), IMPLICIT)).notes == ("48 bytes after the dataset",)
    with pytest.raises(Unreadable):
        walk.header(put(dataset(bytes(4096), syntax=IMPLICIT), IMPLICIT))


def test_the_notes_of_a_dataset_that_is_odd_throughout_are_few(put: Put) -> None:
    odd = b"".join(element(0x00290100 + number, b"LO", b"x") for number in range(200))
    assert len(walk.header(put(dataset(odd))).notes) == 20


# -- sequences ------------------------------------------------------------------------------------------------------


def nested(depth: int, syntax: str = EXPLICIT) -> bytes:
    content = element(0x00080050, b"SH", b"DEEP", syntax)
    for _ in range(depth):
        inside = item(content, length=UNDEFINED) + ITEM_END + SEQUENCE_END
        content = element(0x00401001, b"SQ", inside, syntax, UNDEFINED)
    return content


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_nesting_is_walked_to_its_cap(put: Put, syntax: str) -> None:
    found = walk.header(put(dataset(nested(63, syntax), syntax=syntax), syntax))
    assert found.accession_number == ""
    for depth in (64, 2000):
        with pytest.raises(Unreadable, match="deep"):
            walk.header(put(dataset(nested(depth, syntax), syntax=syntax), syntax))


SEQUENCES = {
    "empty": element(0x00401001, b"SQ", SEQUENCE_END, length=UNDEFINED),
    "items of both kinds": element(
        0x00401001, b"SQ", item(b"anything") + item(length=UNDEFINED) + ITEM_END + SEQUENCE_END, length=UNDEFINED
    ),
    "UN": element(
        0x00431001,
        b"UN",
        item(element(0x00080050, b"", b"IMPL", IMPLICIT), length=UNDEFINED) + ITEM_END + SEQUENCE_END,
        length=UNDEFINED,
    ),
    "OB within": element(
        0x00401001,
        b"SQ",
        item(
            element(0x7FE00010, b"OB", item(b"") + item(b"\xfe\xff\xdd\xe0") + SEQUENCE_END, length=UNDEFINED),
            length=UNDEFINED,
        )
        + ITEM_END
        + SEQUENCE_END,
        length=UNDEFINED,
    ),
    "private fragments": element(0x00431001, b"OB", item(b"") + item(b"1234") + SEQUENCE_END, length=UNDEFINED),
    "unknown VR": element(0x00431001, b"ZZ", item(b"1234") + SEQUENCE_END, length=UNDEFINED),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_of_undefined_length(put: Put, name: str) -> None:
    whole = dataset(SEQUENCES[name], PIXELS)
    assert walk.header(put(whole)).patient_id == "P1"
    start, stop = len(dataset()), len(whole) - len(PIXELS)
    for cut in range(start + 1, stop):
        with pytest.raises(Unreadable):
            walk.header(put(whole[:cut]))


def test_un_of_undefined_length_in_big_endian(put: Put) -> None:
    for order in "<>":
        inside = struct.pack(f"{order}HHL", 8, 0x50, 4) + b"TEXT"
        ends = item(tag=0xFFFEE00D, order=order) + item(tag=0xFFFEE0DD, order=order)
        content = item(inside, length=UNDEFINED, order=order) + ends
        path = put(dataset(element(0x00431001, b"UN", content, BIG, UNDEFINED), syntax=BIG), BIG)
        assert walk.header(path).patient_id == "P1"


# -- encapsulated pixels --------------------------------------------------------------------------------------------


def encapsulated(*fragments: bytes, end: bytes = SEQUENCE_END) -> bytes:
    return element(0x7FE00010, b"OB", b"".join(map(item, fragments)) + end, length=UNDEFINED)


def test_delimiter_bytes_inside_a_fragment_are_pixels(put: Put) -> None:
    found = walk.header(put(dataset(encapsulated(b"", SEQUENCE_END + b"\xff\xd9", b"xx")), JPEG))
    assert found.notes == ()


@pytest.mark.parametrize(
    "pixels",
    [
        encapsulated(b"", b"abcd", end=b""),
        encapsulated(b"", b"abcd", end=b"\xfe\xff"),
        encapsulated(b"", end=item(b"short", length=5000)),
        encapsulated(b"", end=item(length=UNDEFINED) + SEQUENCE_END),
        encapsulated(b"", end=b"not an item at all"),
        element(0x7FE00010, b"OB", b"", length=UNDEFINED),
    ],
)
def test_broken_encapsulation_is_refused(put: Put, pixels: bytes) -> None:
    with pytest.raises(Unreadable):
        walk.header(put(dataset(pixels), JPEG))


# -- what is refused ------------------------------------------------------------------------------------------------


def test_every_cut_of_an_object_is_refused_unless_it_falls_between_elements(put: Put) -> None:
    """T46. Such a cut leaves a shorter valid dataset: it is refused only while an identifying UID is missing."""
    filler = element(0x00420011, b"OB", bytes(9000)) + nested(3)
    heads = [element(tag, *HEAD[tag]) for tag in sorted(HEAD)]
    whole = b"".join(heads) + filler + PIXELS
    first = len(b"".join(heads[:7]))
    between = {first, first + len(heads[7]), first + len(heads[7] + heads[8]), len(whole) - len(PIXELS)}
    between |= {len(dataset()) + 9012}
    path = put(whole)
    offset = path.stat().st_size - len(whole)
    accepted = set()
    for cut in reversed(range(len(whole))):
        os.truncate(path, offset + cut)
        try:
            walk.header(path)
        except Unreadable:
            continue
        accepted.add(cut)
    assert accepted == between


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm"]
)
def test_real_files_cut_in_their_pixels_are_refused(tmp_path: Path, name: str) -> None:
    content = Path(get_testdata_file(name)).read_bytes()
    path = tmp_path / "cut.dcm"
    found = content.find(b"\x7f\xe0\x00\x10" if "big" in name else b"\xe0\x7f\x10\x00")
    padding = content.find(b"\xff\xfc\xff\xfc" if "big" in name else b"\xfc\xff\xfc\xff", found)
    last = padding if padding > 0 else len(content)
    for cut in [*range(found + 1, found + 40), *range(last - 99, last), *range(last + 2, len(content), 7)]:
        path.write_bytes(content[:cut])
        with pytest.raises(Unreadable):
            walk.header(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        dataset(syntax=IMPLICIT),
        dataset(element(0x00290010, b"OB", b"x", length=0x7FFFFFFF)),
        dataset(element(0x00290010, b"UT", b"x", length=UNDEFINED)),
        dataset(element(0x00290010, b"LO", b"x", length=200)),
        dataset(b"\x29\x00\x10\x00\x00\x00\x00\x00xx"),
        dataset(bytes(200)),
        dataset(item(b"")),
        dataset(item(tag=0xFFFEE00D, length=UNDEFINED)),
        dataset(PIXELS, element(0xFFFCFFFC, b"OB", b"", length=10)),
        dataset(PIXELS, b"\xfc\xff\xfc\xff"),
        dataset(t00100020=(b"UT", b"x" * 70_000)),
    ],
)
def test_nonsense_is_refused(put: Put, data: bytes) -> None:
    with pytest.raises(Unreadable):
        walk.header(put(data))


def test_the_number_of_elements_is_capped(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    many = b"".join(element(0x00290100 + number, b"LO", b"") for number in range(100))
    fragments = encapsulated(*[b"ab"] * 100)
    for tail in (many, many + PIXELS, fragments):
        path = put(dataset(tail))
        walk.header(path)
        with monkeypatch.context() as patch:
            patch.setattr(elements, "ELEMENTS", 90)
            with pytest.raises(Unreadable, match="over 90"):
                walk.header(path)


@pytest.mark.parametrize("tag", ["t00080016", "t00080018", "t0020000D", "t0020000E"])
def test_identifying_uids(put: Put, tag: str) -> None:
    for missing in (None, (b"UI", b""), (b"UI", b"\0\0"), (b"UI", b"  ")):
        with pytest.raises(Unreadable, match="UID is missing"):
            walk.header(put(dataset(PIXELS, **{tag: missing})))
    for bad in (b"../../x", b"..", b"1.2\\1.3", b"1.2.", b"1.2\n3", b"1" * 66, b"1.\xc3\xa9", b"%s", b"1.2\x003"):
        with pytest.raises(MalformedUID) as caught:
            walk.header(put(dataset(PIXELS, **{tag: (b"UI", bad)})))
        assert "no UID" in str(caught.value)
        assert bad.decode("latin-1") not in str(caught.value)


def test_an_empty_file_and_a_text(tmp_path: Path) -> None:
    for content in (b"", b"a text", bytes(200)):
        path = tmp_path / "x"
        path.write_bytes(content)
        with pytest.raises(Unreadable):
            walk.header(path)


def test_a_changed_byte_never_raises_anything_else(put: Put) -> None:
    whole = dataset(nested(3), *SEQUENCES.values(), encapsulated(b"", b"abcd", b"ef"))
    path = put(whole, JPEG)
    content = bytearray(path.read_bytes())
    for position in range(132, len(content)):
        old = content[position]
        for new in (0xFF, 0x1B):
            content[position] = new
            path.write_bytes(content)
            try:
                found = walk.header(path)
            except InstanceError:
                continue
            assert "\x1b" not in repr(found)
        content[position] = old


def test_memory_stays_flat(put: Put) -> None:
    path = put(dataset(element(0x7FE00010, b"OW", b"", length=400_000_000)))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 400_000_000)  # sparse
    tracemalloc.start()
    try:
        assert walk.header(path).notes == ()
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# -- facts ----------------------------------------------------------------------------------------------------------


def test_facts_of_native_pixels(put: Put) -> None:
    expected = walk.Facts(hashlib.sha256(bytes(range(12))).hexdigest(), "native-le")
    assert walk.facts(put(dataset(PIXELS))) == expected
    assert walk.facts(put(dataset(PIXELS, t00100020=None))) == expected
    implicit = dataset(element(0x7FE00010, b"OW", bytes(range(12)), IMPLICIT), syntax=IMPLICIT)
    assert walk.facts(put(implicit, IMPLICIT)) == expected
    big = dataset(element(0x7FE00010, b"OW", bytes(range(12)), BIG), syntax=BIG)
    assert walk.facts(put(big, BIG)).encoding == "native-be"
    other = dataset(element(0x7FE00010, b"OW", bytes(12)))
    assert walk.facts(put(other)).pixels != expected.pixels


def test_facts_of_encapsulated_pixels_leave_offsets_out(put: Put) -> None:
    expected = walk.Facts(hashlib.sha256(b"abcdef").hexdigest(), JPEG)
    for offsets in (b"", bytes(4), bytes(8)):
        assert walk.facts(put(dataset(encapsulated(offsets, b"abcd", b"ef")), JPEG)) == expected
    path = put(dataset(element(0x7FE00010, b"OB", encapsulate([b"abcdef"]) + SEQUENCE_END, length=UNDEFINED)), JPEG)
    assert walk.facts(path) == expected


def test_facts_without_pixels(put: Put) -> None:
    assert walk.facts(put(dataset())) == walk.Facts("", "native-le")
    with pytest.raises(Unreadable):
        walk.facts(put(dataset(PIXELS)[:-1]))


# -- sequences and character sets ------------------------------------------------------------------------------

REQUEST = 0x00400275


def test_a_sequence_too_long_is_left_out(put: Put) -> None:
    long = element(REQUEST, b"SQ", item(element(0x00400009, b"SH", b"A1")) + item(bytes(walk.VALUE)))
    found = walk.header(put(dataset(long)))
    assert found.sequences == ()
    assert found.notes == ("(0040,0275) is over 64 KiB, and not indexed",)


def test_what_is_assumed_of_a_sender_is_assumed(put: Put) -> None:
    path = put(dataset(t00100010=(b"PN", "王^小明".encode("big5"))))
    assert walk.header(path, "BIG5").patient_name == "王^小明"
    assert walk.header(path).patient_name != "王^小明"
