"""net/converting.py, with the reader and the association that use it: what arrives where it is not taken as stored."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom import part10, rewrite
from dicomnode.dicom.deflate import inflate
from dicomnode.dicom.part10 import Origin
from dicomnode.errors import ContextMissing, InstanceError, Unreadable
from dicomnode.net.reading import Reader
from dicomnode.net.requestor import Requestor
from dicomnode.operations.ports import Outgoing
from dicomnode.rules.coercion import Coercion, Request
from tests import fakes
from tests.node import wait_until
from tests.receiver import Receiver
from tests.samples import dataset_of, read_sample, real_files

FILES = {path.name: path for path in real_files(more=True)}
IMPLICIT, EXPLICIT, JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as it:
        yield it


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str], Outgoing]:
    """A real file as the archive keeps it."""

    def make(name: str) -> Outgoing:
        sample = read_sample(FILES[name])
        path = tmp_path / name
        path.write_bytes(FILES[name].read_bytes())
        uids = sample.sop_class, sample.sop_instance, sample.transfer_syntax
        return Outgoing(*uids, path, len(sample.dataset), sample.sha256)

    return make


@pytest.fixture
def send(tmp_path: Path, receiver: Receiver) -> Iterator[Callable[..., list[object]]]:
    """Send instances on one association; the status of each, or why it could not go."""
    requestors = []

    def sent(*instances: Outgoing, transcode: str = "never") -> list[object]:
        port = f"host: 127.0.0.1, port: {receiver.port}, transcode: {transcode}"
        config: NodeConfig = fakes.configuration(fakes.CONFIG.replace("host: 10.9.0.5, port: 104", port), tmp_path)
        requestors.append(Requestor(config))
        results: list[object] = []
        partner: Partner = config.partners["PUBPACS"]
        with requestors[-1].associate(partner, sorted({each.context for each in instances})) as link:
            for one, two in zip(instances, (*instances[1:], None), strict=True):
                try:
                    results.append(link.send(one, following=two))
                except (ContextMissing, Unreadable) as error:  # NotCoerced among them
                    results.append(str(error))
        return results

    yield sent
    for requestor in requestors:
        requestor.close()


def only(*taken: str) -> Callable[[str, Sequence[str]], str | None]:
    """An acceptor of these transfer syntaxes, in its own order."""
    return lambda _, syntaxes: next((each for each in taken if each in syntaxes), None)


def read(dataset: bytes, syntax: str) -> Dataset:
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    return pydicom.dcmread(io.BytesIO(bytes(128) + b"DICM\2\0\x10\0UI" + bytes((len(uid), 0)) + uid + dataset))


# -- what arrives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [IMPLICIT, EXPLICIT])
def test_who_takes_one_syntax_is_sent_all_that_is_not_compressed_in_it(
    send: Callable[..., list[object]], put: Callable[[str], Outgoing], receiver: Receiver, taken: str
) -> None:
    """Large and small, from each of the others; what needs no change is byte for byte what it was."""
    names = ["CT_small.dcm", "MR_small_expb.dcm", "image_dfl.dcm", "rtplan.dcm", "693_UNCI.dcm", "RG3_UNCR.dcm"]
    receiver.accept = only(taken)
    assert send(*(put(name) for name in names)) == [0] * len(names)
    for name, arrived in zip(names, receiver.received, strict=True):
        sample = read_sample(FILES[name])
        assert (arrived.sop_instance, arrived.transfer_syntax) == (sample.sop_instance, taken)
        if sample.transfer_syntax == taken:
            assert arrived.dataset == sample.dataset
        before, after = pydicom.dcmread(FILES[name]), read(arrived.dataset, taken)
        assert [each.tag for each in before if each.tag.element] == [each.tag for each in after if each.tag.element]
        if name != "MR_small_expb.dcm" and "PixelData" in before:
            assert after.PixelData == before.PixelData


def test_what_is_stored_is_sent_so_where_it_is_taken_so(
    send: Callable[..., list[object]], put: Callable[[str], Outgoing], receiver: Receiver
) -> None:
    names = ["CT_small.dcm", "MR_small_expb.dcm", "image_dfl.dcm", "rtplan.dcm", "JPEG2000.dcm"]
    assert send(*(put(name) for name in names), transcode="decompress") == [0] * len(names)
    assert [each.dataset.rstrip(b"\0") for each in receiver.received] == [
        dataset_of(FILES[name]).rstrip(b"\0") for name in names
    ]


def test_what_is_compressed_is_decompressed_for_whom_it_is_configured(
    send: Callable[..., list[object]], put: Callable[[str], Outgoing], receiver: Receiver
) -> None:
    receiver.accept = only(IMPLICIT)
    names = ["MR_small_RLE.dcm", "JPGExtended.dcm", "MR_small_jp2klossless.dcm"]
    results = send(*(put(name) for name in names), transcode="decompress")
    assert (results[0], results[2]) == (0, 0)
    assert "it cannot be decompressed: " in str(results[1])
    pixels = pydicom.dcmread(FILES["MR_small.dcm"]).PixelData
    for arrived in receiver.received:
        assert arrived.transfer_syntax == IMPLICIT
        assert read(arrived.dataset, IMPLICIT).PixelData == pixels
    assert len(receiver.received) == 2


def test_it_is_not_for_who_is_not(
    send: Callable[..., list[object]], put: Callable[[str], Outgoing], receiver: Receiver
) -> None:
    receiver.accept = only(IMPLICIT, EXPLICIT)
    result, status = send(put("MR_small_RLE.dcm"), put("MR_small.dcm"))
    assert result == (
        "PUBPACS does not accept MR Image Storage in RLE Lossless, "
        "but in Explicit VR Little Endian or Implicit VR Little Endian"
    )
    assert status == 0


def test_what_nobody_can_rewrite_is_held_back_and_the_next_one_goes(
    send: Callable[..., list[object]], put: Callable[[str], Outgoing], receiver: Receiver
) -> None:
    receiver.accept = only(IMPLICIT)
    first, second = send(put("rtdose_expb.dcm"), put("CT_small.dcm"))
    assert "cannot be sent in Implicit VR Little Endian: the byte order of (7FE0,0010)" in str(first)
    assert second == 0
    assert [each.sop_instance for each in receiver.received] == [read_sample(FILES["CT_small.dcm"]).sop_instance]
    assert not receiver.aborted
    assert len(receiver.requests) == 1, "nothing of it was sent"


# -- a file that is not what was received ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CT_small.dcm", "RG3_UNCR.dcm", "MR_small_RLE.dcm", "image_dfl.dcm", "rtplan.dcm"])
@pytest.mark.parametrize("damage", ["last byte", "shorter", "longer", "gone", "its middle"])
def test_the_end_of_a_damaged_file_is_never_sent(
    send: Callable[..., list[object]], put: Callable[[str], Outgoing], receiver: Receiver, name: str, damage: str
) -> None:
    receiver.accept = only(IMPLICIT if read_sample(FILES[name]).transfer_syntax != IMPLICIT else EXPLICIT)
    instance, sound = put(name), put("MR_small.dcm")
    _damage(instance, damage)
    result, status = send(instance, sound, transcode="decompress")
    assert "our own file" in str(result)
    assert status == 0
    assert [each.sop_instance for each in receiver.received] == [sound.sop_instance_uid]


def _damage(instance: Outgoing, how: str) -> None:
    raw = bytearray(instance.path.read_bytes())
    if how == "gone":
        return instance.path.unlink()
    if how == "shorter":
        del raw[-1]
    elif how == "longer":
        raw += b"\0"
    else:
        raw[-1 if how == "last byte" else -instance.size // 2] ^= 1
    instance.path.write_bytes(raw)
    return None


def test_a_file_that_changes_while_it_is_sent_is_noticed(
    put: Callable[[str], Outgoing], monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = put("RG3_UNCR.dcm")
    survey = rewrite.survey

    def surveyed(*arguments: object) -> object:
        hint = survey(*arguments)  # type: ignore[arg-type]
        _damage(instance, "last byte")
        return hint

    monkeypatch.setattr(rewrite, "survey", surveyed)
    reader, sizes = Reader(16378), []
    reader.expect(instance, 1, IMPLICIT)
    try:
        with pytest.raises(Unreadable, match="not what was received"):
            sizes = [len(buffer.behind(b"")) for buffer in reader.buffers()]
    finally:
        reader.close()
    assert not sizes


# -- as PDUs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [10, 1018, 16378, 262132])
def test_it_leaves_in_full_pdus_of_any_size(put: Callable[[str], Outgoing], step: int) -> None:
    name = "CT_small.dcm" if step == 10 else "693_UNCI.dcm"
    reader, whole, found = Reader(step), bytearray(), []
    reader.expect(put(name), 7, IMPLICIT)
    for buffer in reader.buffers():
        whole += buffer.behind(b"")
    reader.close()
    at = 0
    while at < len(whole):
        length = int.from_bytes(whole[at + 2 : at + 6], "big")
        assert whole[at + 10] == 7
        found.append((whole[at + 11], bytes(whole[at + 12 : at + 6 + length])))
        at += 6 + length
    assert [control for control, _ in found] == [0] * (len(found) - 1) + [2]
    assert {len(fragment) for _, fragment in found[:-1]} <= {step}
    before = pydicom.dcmread(FILES[name])
    after = read(b"".join(fragment for _, fragment in found), IMPLICIT)
    assert after.PixelData == before.PixelData


def test_an_end_in_the_middle_ends_thread_and_process_and_leaves_no_file(put: Callable[[str], Outgoing]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for name in ("RG3_UNCR.dcm", "RG3_J2KR.dcm"):
        instance, reader = put(name), Reader(1018)
        reader.expect(instance, 1, IMPLICIT)
        next(reader.buffers())
        running = reader._decoder._running
        reader.close()
        assert reader._thread
        reader._thread.join(30)
        assert not reader._thread.is_alive()
        assert (running is None) == (name == "RG3_UNCR.dcm")
        assert running is None or running[0].returncode is not None
        if running:
            running[1].close()
        assert hashlib.sha256(dataset_of(instance.path)).hexdigest() == instance.sha256
        assert len(list(instance.path.parent.iterdir())) == 1 + (name == "RG3_J2KR.dcm")
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_room_to_decompress_into_is_no_fault_of_the_instance(
    put: Callable[[str], Outgoing], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    reader = Reader(16378)
    reader.expect(put("MR_small_RLE.dcm"), 1, IMPLICIT)
    with pytest.raises(InstanceError, match="just now: No space left") as raised:
        next(reader.buffers())
    assert not isinstance(raised.value, Unreadable)
    reader.close()


def test_an_end_while_pixels_are_decompressed_ends_that(put: Callable[[str], Outgoing], tmp_path: Path) -> None:
    begun, reader = tmp_path / "begun", Reader(16378)
    reader._decoder._program = f"import time; open({str(begun)!r}, 'w'); time.sleep(600)"
    reader.expect(put("MR_small_RLE.dcm"), 1, IMPLICIT)
    wait_until(begun.exists, 30, "the decoder to begin")
    reader.close()
    assert reader._thread
    reader._thread.join(30)
    assert not reader._thread.is_alive()
    assert reader._decoder._running is None


# -- coerced -----------------------------------------------------------------------------------------------------------

COERCION = Coercion(
    *("A1234563", "HKID", "HARBOUR", True, "HARBOUR-RIS", "Harbour", None, "REFERNODE", "Harbour"),
    *(datetime(2026, 9, 21, tzinfo=UTC), (("CT1", "big5"),)),
)
CHINESE = replace(COERCION, institution="海港", request=Request("1", "", "", "胸部", ""))
COERCED = {
    "CT_small.dcm": (EXPLICIT, IMPLICIT),
    "MR_small_expb.dcm": ("1.2.840.10008.1.2.2", EXPLICIT),
    "image_dfl.dcm": ("1.2.840.10008.1.2.1.99", IMPLICIT),
    "rtplan.dcm": (IMPLICIT, EXPLICIT),
    "JPEG2000.dcm": ("1.2.840.10008.1.2.4.91",),
    "MR_small_RLE.dcm": ("1.2.840.10008.1.2.5", EXPLICIT, IMPLICIT),
    "emri_small_RLE.dcm": ("1.2.840.10008.1.2.5", IMPLICIT),
}
"""Each as it is stored, and as it is made."""


def coerced(instance: Outgoing, coercion: Coercion = CHINESE) -> Outgoing:
    return replace(instance, coercion=coercion)


@pytest.mark.parametrize(("name", "taken"), [(name, each) for name, taken in COERCED.items() for each in taken])
def test_what_is_coerced_arrives_so_in_whatever_is_taken(
    send: Callable[..., list[object]], put: Callable[[str], Outgoing], receiver: Receiver, name: str, taken: str
) -> None:
    receiver.accept = only(taken)
    instance = put(name)
    assert send(coerced(instance), coerced(instance, COERCION), transcode="decompress") == [0, 0]
    before = pydicom.dcmread(FILES[name])
    for arrived, institution in zip(receiver.received, ("海港", "Harbour"), strict=True):
        assert arrived.transfer_syntax == taken
        after = _read_all(arrived.dataset, taken)
        assert (after.PatientID, after.IssuerOfPatientID) == ("A1234563", "HKID")
        if before.get("PatientID"):
            assert after.OtherPatientIDsSequence[-1].PatientID == before.PatientID
        assert after.SOPInstanceUID == before.SOPInstanceUID == instance.sop_instance_uid
        assert (after.get("PatientName"), after.get("Rows")) == (before.get("PatientName"), before.get("Rows"))
        if not before.get("InstitutionName"):
            assert after.InstitutionName == institution
        if taken == instance.transfer_syntax_uid and "PixelData" in before:
            assert after.PixelData == before.PixelData


def _read_all(dataset: bytes, syntax: str) -> Dataset:
    """As `read`; of a deflated dataset, pydicom wants the group length of its header."""
    return read(inflate(dataset), EXPLICIT) if syntax.endswith(".99") else read(dataset, syntax)


def test_what_needs_no_change_is_byte_for_byte_what_it_was(
    send: Callable[..., list[object]], put: Callable[[str], Outgoing], receiver: Receiver
) -> None:
    nothing = replace(COERCION, patient_id="", issuer="", says_issuers=False, institution="")
    names = ["CT_small.dcm", "MR_small_expb.dcm", "JPEG2000.dcm", "rtplan.dcm"]
    assert send(*(coerced(put(name), nothing) for name in names)) == [0] * 4
    assert [each.dataset for each in receiver.received] == [dataset_of(FILES[name]) for name in names]


def test_what_cannot_be_coerced_is_held_back_and_the_next_one_goes(
    send: Callable[..., list[object]], put: Callable[[str], Outgoing], receiver: Receiver
) -> None:
    """Nothing of it is on the wire, and nobody is told that the partner did not take it."""
    garbled = _named(put("CT_small.dcm"), b"\x1b%Z\xb4\xfa", "CT1")
    result, status = send(coerced(garbled), put("MR_small.dcm"))
    assert str(result).startswith("the copy that the partner is to have cannot be made: the text in (0010,0010) is not")
    assert status == 0
    assert len(receiver.requests) == 1


def _named(stored: Outgoing, name: bytes, partner: str) -> Outgoing:
    """The same instance of a patient who is called so, from a partner."""
    raw = dataset_of(stored.path)
    old = b"CompressedSamples^CT1 "
    assert old in raw
    raw = raw.replace(old, name.ljust(len(old)))
    uids = stored.sop_class_uid, stored.sop_instance_uid, stored.transfer_syntax_uid
    stored.path.write_bytes(part10.encode(*uids, Origin(partner, "harbour", 0, partner, "US")) + raw)
    return replace(stored, size=len(raw), sha256=hashlib.sha256(raw).hexdigest())


def test_the_sender_s_character_set_is_that_of_who_sent_it(
    send: Callable[..., list[object]], put: Callable[[str], Outgoing], receiver: Receiver
) -> None:
    """By what the file says of where it came from: CT1 declares Latin-1, as all its make, and sends Big5."""
    for partner, name in {"CT1": "測^測", "PEAK_CT": "´ú^´ú"}.items():
        instance = _named(put("CT_small.dcm"), b"\xb4\xfa^\xb4\xfa", partner)
        assert send(coerced(instance)) == [0]
        assert read(receiver.received[-1].dataset, EXPLICIT).PatientName == name


@pytest.mark.parametrize("damage", ["last byte", "shorter", "longer", "its middle"])
@pytest.mark.parametrize("name", ["CT_small.dcm", "JPEG2000.dcm", "image_dfl.dcm", "rtplan.dcm", "RG3_UNCR.dcm"])
def test_the_end_of_a_damaged_file_is_never_sent_coerced(
    send: Callable[..., list[object]], put: Callable[[str], Outgoing], receiver: Receiver, name: str, damage: str
) -> None:
    instance, sound = put(name), put("MR_small.dcm")
    _damage(instance, damage)
    result, status = send(coerced(instance), sound)
    assert "our own file" in str(result)
    assert status == 0
    assert [each.sop_instance for each in receiver.received] == [sound.sop_instance_uid]
