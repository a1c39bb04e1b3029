"""operations/receive.py: an instance is taken into custody whole, or refused and nothing of it kept."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom import part10
from dicomnode.errors import (
    ClassNotSupported,
    DicomnodeError,
    MalformedUID,
    Mismatch,
    OutOfResources,
    Unfinished,
    Unreadable,
)
from dicomnode.operations import receive as custody
from dicomnode.operations.ports import Node
from dicomnode.store import audit, doubts, index, ledger, queue, referrals
from dicomnode.store.archive import Part
from dicomnode.store.database import execute, rows
from dicomnode.store.index import Kind
from tests import fakes
from tests.samples import Sample, decode, encode, make_instance, make_instances, with_uid

ONE = make_instances(1, seed="receive")[0]
IMPLICIT = "1.2.840.10008.1.2"


def changed(sample: Sample, **attributes: object) -> Sample:
    """The same instance with other attributes: made again from the same seed, and so with the same UIDs."""
    fields = {"StudyInstanceUID": sample.study, "SeriesInstanceUID": sample.series, **attributes}
    dataset = make_instance(seed="receive", SOPInstanceUID=sample.sop_instance, **fields)
    return replace(sample, dataset=dataset)


BASE = changed(ONE)


def tables(node: Node) -> dict[str, int]:
    """How many rows each table has that knows of instances."""
    with node.database.read():
        return {
            name: rows(f"SELECT count(*) FROM {name}")[0][0]
            for name in ("studies", "series", "instances", "referrals", "transfers", "events")
        }


def study_of(node: Node, sample: Sample) -> index.Study:
    with node.database.read():
        found = index.study(sample.study)
    assert found
    return found


def versions_of(node: Node, sample: Sample) -> list[index.Version]:
    with node.database.read():
        return index.versions(study_of(node, sample).id)


# -- what is kept ----------------------------------------------------------------------------------------------


def test_an_instance_is_on_disk_indexed_and_queued(here: Node) -> None:
    recorded = fakes.receive(here, ONE)
    assert recorded.kind is Kind.NEW
    (kept,) = fakes.files(here)
    raw = here.archive.path(kept).read_bytes()
    meta = part10.parse(raw)
    assert raw[meta.offset :] == ONE.dataset
    assert meta.origin == fakes.origin(here)
    (version,) = versions_of(here, ONE)
    assert (version.file, version.sha256, version.size) == (kept, ONE.sha256, len(ONE.dataset))
    with here.database.read():
        (transfer,) = ledger.listed(10)
        (referral,) = referrals.listed()
    assert (transfer.sop_instance_uid, transfer.partner, transfer.state) == (ONE.sop_instance, "PUBPACS", "queued")
    assert (referral.progress, referral.gate, referral.route) == ("receiving", "open", "referrals")


def test_an_object_of_no_study_is_kept(here: Node) -> None:
    palette = "1.2.840.10008.5.1.4.39.1"
    dataset = make_instance(seed="palette", SOPClassUID=palette, StudyInstanceUID=None, SeriesInstanceUID=None)
    sample = replace(BASE, sop_class=palette, study="", series="", dataset=with_uid(dataset, BASE.sop_instance))
    recorded = fakes.receive(here, sample)
    assert (recorded.kind, recorded.study) == (Kind.NEW, None)
    assert len(fakes.files(here)) == 1
    assert tables(here)["instances"] == 1
    assert fakes.receive(here, sample).kind is Kind.DUPLICATE


# -- what is refused leaves nothing ----------------------------------------------------------------------------

OTHER = "1.2.826.0.1.3680043.8.498.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
REFUSED: dict[str, tuple[type[DicomnodeError], Callable[[Node, Sample], object]]] = {}


def refused(error: type[DicomnodeError]) -> Callable[[Callable[[Node, Sample], object]], object]:
    def note(way: Callable[[Node, Sample], object]) -> object:
        REFUSED[way.__name__] = (error, way)
        return way

    return note


def _send(node: Node, sample: Sample, **command: str) -> object:
    came = fakes.origin(node)
    part = fakes.part_of(node, sample, came)
    return custody.receive(part, replace(fakes.command_of(sample), **command), came, node)


@refused(Mismatch)
def another_instance_uid(node: Node, sample: Sample) -> object:
    return _send(node, sample, sop_instance_uid=OTHER)


@refused(Mismatch)
def another_class_uid(node: Node, sample: Sample) -> object:
    return _send(node, sample, sop_class_uid=MR, context_class=MR)


@refused(ClassNotSupported)
def another_context(node: Node, sample: Sample) -> object:
    return _send(node, sample, context_class=MR)


@refused(Unreadable)
def truncated(node: Node, sample: Sample) -> object:
    return _send(node, replace(sample, dataset=sample.dataset[:-1]))


@refused(Unreadable)
def empty(node: Node, sample: Sample) -> object:
    return _send(node, replace(sample, dataset=b""))


@refused(Unreadable)
def without_a_study_uid(node: Node, sample: Sample) -> object:
    return _send(node, changed(sample, StudyInstanceUID=None))


@refused(MalformedUID)
def a_study_uid_that_is_none(node: Node, sample: Sample) -> object:
    return _send(node, replace(sample, dataset=with_uid(sample.dataset, sample.sop_instance, study="1..2")))


@refused(Unreadable)
def over_the_cap(node: Node, sample: Sample) -> object:
    came = fakes.origin(node)
    part = fakes.part_of(node, sample, came, cap=len(sample.dataset) - 1)
    return custody.receive(part, fakes.command_of(sample), came, node)


@pytest.mark.parametrize("way", REFUSED)
def test_what_is_refused_leaves_nothing(here: Node, way: str) -> None:
    error, send = REFUSED[way]
    with pytest.raises(error):
        send(here, BASE)
    assert not fakes.files(here)
    assert not any(tables(here).values())
    assert fakes.receive(here, BASE).kind is Kind.NEW  # and does not stand in the way of the good one


@pytest.mark.parametrize("call", ["write", "fdatasync", "fsync", "rename", "mkdir"])
def test_a_full_disk_leaves_nothing(here: Node, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    came = fakes.origin(here)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        part = fakes.part_of(here, BASE, came)
        with pytest.raises(OutOfResources, match="No space left"):
            custody.receive(part, fakes.command_of(BASE), came, here)
    assert not fakes.files(here)
    assert not any(tables(here).values())


def test_what_is_refused_is_not_synced(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends rubbish keeps no disk busy."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with pytest.raises(Unreadable):
        truncated(here, BASE)
    assert synced == []


def test_an_index_that_cannot_be_written_leaves_nothing(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(queue, "execute", failing)  # the last step of the commit: what came before is undone with it
        with pytest.raises(OutOfResources, match="disk I/O error"):
            fakes.receive(here, BASE)
    assert not fakes.files(here)
    assert not any(tables(here).values())


def test_a_file_stays_whose_commit_may_have_been_made(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log could not be synced: its frames are there, or are not, when the index is opened the next time."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC

    def failing(_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(here.database, "_commit", failing)
        patch.setattr(here.database._commits, "_work", failing)
        with pytest.raises(Unfinished, match="disk I/O error"):
            fakes.receive(here, BASE)
    (file,) = fakes.files(here)
    adopted = custody.adopt(file, here)
    assert adopted
    assert adopted.kind is Kind.NEW


# -- the same UID again ----------------------------------------------------------------------------------------


def test_the_same_bytes_again_are_a_duplicate(here: Node) -> None:
    first = fakes.receive(here, BASE)
    before = tables(here), fakes.files(here)
    again = fakes.receive(here, BASE)
    assert (again.kind, again.instance) == (Kind.DUPLICATE, first.instance)
    assert (tables(here), fakes.files(here)) == before
    assert [v.duplicates for v in versions_of(here, BASE)] == [1]


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("damage", [Path.unlink, _cut])
def test_a_duplicate_replaces_a_file_that_was_lost_or_cut(damage: Callable[[Path], None], here: Node) -> None:
    fakes.receive(here, BASE)
    (lost,) = fakes.files(here)
    damage(here.archive.path(lost))
    assert fakes.receive(here, BASE).kind is Kind.DUPLICATE
    (kept,) = [file for file in fakes.files(here) if file != lost]
    assert [v.file for v in versions_of(here, BASE)] == [kept]


def _in_implicit(sample: Sample) -> Sample:
    dataset = Dataset(decode(sample.dataset))  # without the file meta of the one that was read
    return replace(sample, transfer_syntax=IMPLICIT, dataset=encode(dataset, IMPLICIT))


PIXELS = bytes(2 * 128 * 128)
VERSIONS: list[tuple[str, Callable[[], Sample], Kind, bool]] = [
    ("another encoding", lambda: _in_implicit(BASE), Kind.VARIANT, False),
    ("another name", lambda: changed(BASE, PatientName="OTHER^NAME"), Kind.CORRECTION, True),
    ("another patient", lambda: changed(BASE, PatientID="X9"), Kind.CORRECTION, True),
    ("another order", lambda: changed(BASE, AccessionNumber="A-2"), Kind.CORRECTION, True),
    ("what is not indexed", lambda: changed(BASE, PatientComments="new"), Kind.CORRECTION, True),
    ("other pixels", lambda: changed(BASE, PixelData=PIXELS), Kind.CONFLICT, True),
    ("another series", lambda: changed(BASE, SeriesInstanceUID=OTHER), Kind.CONFLICT, True),
    ("another study", lambda: changed(BASE, StudyInstanceUID=OTHER), Kind.CONFLICT, True),
]


@pytest.mark.parametrize(("make", "kind", "stops"), [v[1:] for v in VERSIONS], ids=[v[0] for v in VERSIONS])
def test_a_second_version_is_kept_beside_the_first(
    here: Node, make: Callable[[], Sample], kind: Kind, stops: bool
) -> None:
    fakes.receive(here, BASE)
    second = make()
    assert fakes.receive(here, second).kind is kind
    assert len(fakes.files(here)) == 2
    current = [v for v in versions_of(here, BASE) if v.current]
    assert [v.sha256 for v in current] == [BASE.sha256]
    with here.database.read():
        (referral,) = referrals.listed()
        kinds = [event.kind for event in audit.events()]
        sent = [t.sop_instance_uid for t in ledger.listed(10)]
    assert referral.gate == {Kind.VARIANT: "open", Kind.CORRECTION: "held", Kind.CONFLICT: "quarantined"}[kind]
    assert bool(study_of(here, BASE).quarantine) is (kind is Kind.CONFLICT)
    with here.database.read():
        doubt = doubts.of(1)
    assert (doubt and doubt.state) == {Kind.CORRECTION: "held", Kind.CONFLICT: "quarantined"}.get(kind)
    assert (f"{kind} kept" in kinds) is stops
    assert sent == [BASE.sop_instance]  # the second version is on its way to nobody
    assert fakes.receive(here, second).kind is Kind.DUPLICATE


def test_a_conflict_over_two_studies_stops_both(here: Node) -> None:
    fakes.receive(here, BASE)
    fakes.receive(here, changed(BASE, StudyInstanceUID=OTHER))
    with here.database.read():
        assert [bool(s.quarantine) for s in index.studies(10)] == [True, True]


# -- another site ----------------------------------------------------------------------------------------------


def test_an_instance_from_another_site_is_kept_apart(here: Node) -> None:
    mine, theirs = make_instances(2, seed="foreign")
    fakes.receive(here, mine)
    assert fakes.receive(here, theirs, "PEAK_CT").kind is Kind.FOREIGN
    study = study_of(here, mine)
    with here.database.read():
        (referral,) = referrals.listed()
        sent = [t.sop_instance_uid for t in ledger.listed(10)]
        kinds = [event.kind for event in audit.events()]
    assert (study.site, study.instances, study.quarantine) == ("harbour", 1, "")
    assert "PEAK_CT of peak" in study.remark
    assert (referral.gate, sent) == ("open", [mine.sop_instance])
    assert "foreign kept" in kinds


def test_a_foreign_copy_does_not_take_the_place_of_the_owner_s(here: Node) -> None:
    """Somebody else sent the image first; the owner's own must not be thrown away as a duplicate of it."""
    mine, theirs = make_instances(2, seed="squatted")
    fakes.receive(here, mine)
    fakes.receive(here, theirs, "PEAK_CT")
    assert fakes.receive(here, theirs, "PEAK_CT").kind is Kind.DUPLICATE
    assert fakes.receive(here, theirs).kind is Kind.NEW
    with here.database.read():
        assert {t.sop_instance_uid for t in ledger.listed(10)} == {mine.sop_instance, theirs.sop_instance}
    assert study_of(here, mine).instances == 2
    assert len(fakes.files(here)) == 3


# -- adoption --------------------------------------------------------------------------------------------------


def orphan(node: Node, sample: Sample) -> str:
    """A file as a kill between the rename and the commit leaves it."""
    came = fakes.origin(node)
    part: Part = fakes.part_of(node, sample, came)
    part.finish()
    return node.archive.keep(part, came.received_at).file


def test_an_orphan_is_adopted_as_it_was_received(here: Node) -> None:
    file = orphan(here, BASE)
    adopted = custody.adopt(file, here)
    assert adopted
    assert adopted.kind is Kind.NEW
    (version,) = versions_of(here, BASE)
    assert (version.sha256, version.size, version.partner) == (BASE.sha256, len(BASE.dataset), "CT1")
    with here.database.read():
        assert [t.partner for t in ledger.listed(10)] == ["PUBPACS"]


@pytest.mark.parametrize("what", ["of no program of ours", "of a site that is gone", "no DICOM"])
def test_what_cannot_be_adopted_is_left_in_place(build: Callable[..., Node], tmp_path: Path, what: str) -> None:
    node = build()
    file = orphan(node, BASE)
    path = node.archive.path(file)
    raw = path.read_bytes()
    if what == "of no program of ours":
        path.write_bytes(raw.replace(b"2.25.85892903464253513623062090745687802692", b"2.25.1".ljust(43, b"\0")))
    elif what == "no DICOM":
        path.write_bytes(b"rubbish")
    else:
        node = build(fakes.CONFIG.replace("harbour", "haven"))
    assert custody.adopt(file, node) is None
    assert path.exists()


def test_an_orphan_survives_an_index_that_is_busy(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been acknowledged under an index that was lost: only who was told so may remove it."""
    file = orphan(here, BASE)

    def busy(_: object) -> None:
        raise OutOfResources("the index is busy")

    with monkeypatch.context() as patch:
        patch.setattr(here.database, "write", busy)
        assert custody.adopt(file, here) is None
    assert here.archive.path(file).exists()


# -- character sets that nobody declares -----------------------------------------------------------------------


def test_what_a_partner_is_known_to_send_is_read_so_now_and_by_an_adoption(tmp_path: Path) -> None:
    config = fakes.CONFIG.replace("may: [store]}\n  RAD_WS", "may: [store], charset: BIG5}\n  RAD_WS")
    node = fakes.make_node(tmp_path, config)
    made = make_instances(2, seed="big5", PatientName="WONG^AB")
    first, second = (replace(m, dataset=m.dataset.replace(b"WONG^AB ", "王^小明 ".encode("big5"))) for m in made)
    try:
        fakes.receive(node, first)
        stored = fakes.receive(node, second)
        node.database.write(lambda: execute("DELETE FROM transfers WHERE instance = ?", stored.instance))
        node.database.write(lambda: execute("DELETE FROM instances WHERE id = ?", stored.instance))
        assert custody.adopt(stored.file, node)
        with node.database.read():
            assert rows("SELECT patient_name FROM studies") == [("王^小明",)]
            assert rows("SELECT notes FROM instances") == [('["text in (0010,0010) is read as BIG5"]',)] * 2
    finally:
        node.database.close()
