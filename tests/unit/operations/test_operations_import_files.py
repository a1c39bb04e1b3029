"""operations/import_files.py: files into custody as if a partner had sent them: no more, no less, and no sooner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicomnode.dicom import part10
from dicomnode.errors import NotAllowed, OutOfResources
from dicomnode.operations import files, import_files
from dicomnode.operations.files import Person
from dicomnode.operations.import_files import Import
from dicomnode.operations.ports import Node
from dicomnode.store import archive
from dicomnode.store.database import rows
from tests import fakes, samples
from tests.samples import Sample, make_instances

MADE = make_instances(3, seed="on a disc")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    text = fakes.CONFIG.replace("when: {called: TO_GENERAL}", "when: {modality: CT}")
    it = fakes.make_node(tmp_path, text)
    yield it
    it.database.close()


def write(folder: Path, made: list[Sample]) -> Path:
    folder.mkdir(parents=True)
    for number, sample in enumerate(made):
        (folder / f"{number}.dcm").write_bytes(samples.part10(sample))
    return folder


class Hand:
    """Imports, and has what was said of each file by its name."""

    def __init__(self, node: Node, partner: str = "CT1") -> None:
        self.said: dict[str, str] = {}
        self.stopped = False
        person = Person("somebody", self._say, lambda: self.stopped)
        self.importing = Import(node.config.partners[partner], node, person)

    def _say(self, path: Path, why: str) -> None:
        self.said[path.name] = why

    def __call__(self, *paths: Path) -> files.Tally:
        self.counted = list(self.importing.take(files.named(paths)))
        return self.importing.tally


def kept(node: Node) -> dict[str, bytes]:
    """SOP Instance UID → dataset, of all that the index has."""
    with node.database.read():
        found = rows("SELECT sop_instance_uid, file FROM instances")
    return {uid: samples.dataset_of(node.archive.path(file)) for uid, file in found}


def test_files_are_in_custody_as_if_they_had_been_sent(node: Node, tmp_path: Path) -> None:
    folder = write(tmp_path / "disc", MADE)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    hand = Hand(node)
    tally = hand(folder)
    assert (tally.done, tally.failed, tally.is_good, hand.said) == (3, 0, True, {})
    assert kept(node) == {sample.sop_instance: sample.dataset for sample in MADE}
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    with node.database.read():
        assert rows("SELECT DISTINCT partner, site FROM instances") == [("CT1", "harbour")]
        assert rows("SELECT partner, state, count(*) FROM transfers GROUP BY 1, 2") == [("PUBPACS", "queued", 3)]
        file = node.archive.path(rows("SELECT file FROM instances")[0][0])
        events = [text for (text,) in rows("SELECT text FROM events WHERE kind = 'imported by hand'")]
    origin = part10.read(file).origin
    assert origin
    assert (origin.partner, origin.calling_ae_title, origin.called_ae_title) == ("CT1", "CT1", "REFERNODE")
    assert events[0] == "somebody brings 3 files as if CT1 had sent them"
    assert events[-1] == "somebody has brought 3 instances, 0 were here, 0 were refused, 0 were not tried"


def test_what_is_here_is_counted_and_kept_once(node: Node, tmp_path: Path) -> None:
    folder = write(tmp_path / "disc", MADE)
    fakes.receive(node, MADE[0])
    tally = Hand(node)(folder)
    assert (tally.done, tally.known, tally.is_good) == (2, 1, True)
    assert len([name for name in fakes.files(node) if name.endswith(".dcm")]) == 3
    tally = Hand(node)(folder)
    assert (tally.done, tally.known, tally.is_good) == (0, 3, True)


def test_another_version_is_kept_apart_and_said(node: Node, tmp_path: Path) -> None:
    fakes.receive(node, MADE[0])
    changed = make_instances(1, seed="on a disc", PatientName="OTHER^NAME")
    hand = Hand(node)
    assert hand(write(tmp_path / "disc", changed)).is_good
    assert hand.said == {"0.dcm": "is kept apart: correction"}


OTHER = make_instances(1, seed="another")[0]


def changed(old: bytes, new: bytes) -> Sample:
    assert old in OTHER.dataset
    return replace(OTHER, dataset=OTHER.dataset.replace(old, new))


REFUSED = {
    "a class that is not stored": (changed(b"5.1.4.1.1.2\0", b"5.1.4.1.1.0\0"), "1.1.0 is not stored here"),
    "a syntax that is not stored": (replace(OTHER, transfer_syntax="1.2.3"), "1.2.3 is not stored here"),
    "cut short": (replace(OTHER, dataset=OTHER.dataset[:-100]), ""),
    "without a SOP Instance UID": (changed(b"\x08\x00\x18\x00UI", b"\x08\x00\x19\x00UI"), "missing"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_c_store_would_be_refused_for(node: Node, tmp_path: Path, what: str) -> None:
    sample, words = REFUSED[what]
    hand = Hand(node)
    tally = hand(write(tmp_path / "disc", [sample, MADE[0]]))
    assert (tally.done, tally.failed, tally.is_good) == (1, 1, False)
    assert words in hand.said["0.dcm"]
    assert kept(node).keys() == {MADE[0].sop_instance}
    assert not [name for name in fakes.files(node) if name.endswith(".part")]


FLOWS = [  # of whom the file says that it is; as whose it is brought; whether it is taken
    ("CT1", "CT1", True),
    ("PUBPACS", "CT1", False),
    ("PEAK_CT", "CT1", False),
    ("CT1", "PEAK_CT", False),
]


@pytest.mark.parametrize(("source", "brought", "taken"), FLOWS)
def test_import_is_no_way_round_the_flows(node: Node, tmp_path: Path, source: str, brought: str, taken: bool) -> None:
    """What was fetched from a hospital is not given to an imaging centre by calling it its own."""
    folder, sample = write(tmp_path / "disc", MADE[:1]), MADE[0]
    header = part10.encode(sample.sop_class, sample.sop_instance, sample.transfer_syntax, fakes.origin(node, source))
    (folder / "0.dcm").write_bytes(header + sample.dataset)
    hand = Hand(node, brought)
    assert hand(folder).is_good == taken
    assert bool(kept(node)) == taken
    assert ("no flow allows studies of" in hand.said.get("0.dcm", "")) != taken


@pytest.mark.parametrize("partner", ["RAD_WS", "PUBPACS"])
def test_who_may_not_store_has_nothing_imported_for_it(node: Node, tmp_path: Path, partner: str) -> None:
    with pytest.raises(NotAllowed, match="may not store"):
        Hand(node, partner)(write(tmp_path / "disc", MADE))
    assert kept(node) == {}


def test_what_is_no_dicom_is_left_out(node: Node, tmp_path: Path) -> None:
    folder = write(tmp_path / "disc", MADE)
    (folder / "readme.txt").write_text("hello")
    (folder / "dicomdir").write_bytes(bytes(128) + b"DICM")
    hand = Hand(node)
    tally = hand(folder)
    assert (tally.done, tally.skipped, tally.is_good) == (3, 1, True)
    assert hand.said == {"readme.txt": "is no DICOM file"}


def test_a_full_disk_ends_it(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "disc", MADE)
    monkeypatch.setattr(import_files, "_HANDS", 1)

    def full(self: object) -> None:
        raise OutOfResources("the disk is full")

    monkeypatch.setattr(archive.Part, "finish", full)
    tally = Hand(node)(folder)
    assert (tally.done, tally.failed, tally.stopped, tally.is_good) == (0, 0, "the disk is full", False)
    assert tally.untried == 3


def test_a_disk_that_fails_is_told(node: Node, tmp_path: Path) -> None:
    """By who found it: this process has no housekeeper."""
    node.archive.volume.alarm = "a file could not be written"
    Hand(node)(write(tmp_path / "disc", MADE[:1]))
    with node.database.read():
        assert rows("SELECT text FROM events WHERE kind = 'disk failed'") == [("a file could not be written",)]


def test_an_interruption_ends_it(node: Node, tmp_path: Path) -> None:
    hand = Hand(node)
    hand.stopped = True
    tally = hand(write(tmp_path / "disc", MADE))
    assert (tally.done, tally.stopped) == (0, "it was interrupted, or the node was stopped")
    assert kept(node) == {}
