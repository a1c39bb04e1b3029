"""operations/fetch.py: a study into a folder; nothing but what was asked for, and nothing in another's place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicomnode.dicom import part10
from dicomnode.dicom.identifier import Identifier, Key
from dicomnode.errors import Unreachable
from dicomnode.operations.fetch import Fetch
from dicomnode.operations.ports import Retrieved, Waiting
from dicomnode.rules.admission import Command
from dicomnode.store.folder import Folder
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import EXPLICIT_LE, dataset_of, make_instances, with_uid

MADE = make_instances(3)
STUDY, CT = MADE[0].study, MADE[0].sop_class


@pytest.fixture
def fetch(tmp_path: Path) -> Iterator[Fetch]:
    config = fakes.configuration(fakes.CONFIG, tmp_path)
    folder = Folder(tmp_path / "study")
    yield Fetch(STUDY, config.partners["PUBPACS"], folder, config, fakes.FakeClock())
    folder.close()


def run(fetch: Fetch, peer: FakePartner) -> Retrieved:
    return fetch.run(peer, Waiting(lambda: False, lambda counts: None))


def files(fetch: Fetch) -> dict[str, bytes]:
    return {path.name: dataset_of(path) for path in fetch.folder.path.iterdir()}


def test_a_study_becomes_files(fetch: Fetch) -> None:
    peer = FakePartner(has=MADE)
    assert run(fetch, peer).status == 0
    assert files(fetch) == {f"{sample.sop_instance}.dcm": sample.dataset for sample in MADE}
    assert fetch.kept == {sample.sop_instance for sample in MADE}
    assert fetch.refused == {}
    meta = part10.read(fetch.folder.path / f"{MADE[0].sop_instance}.dcm")
    assert (meta.sop_instance_uid, meta.transfer_syntax_uid) == (MADE[0].sop_instance, EXPLICIT_LE)
    assert meta.origin
    assert meta.origin.site == "general"


def test_what_comes_again_is_there_already(fetch: Fetch) -> None:
    run(fetch, FakePartner(has=MADE))
    before = {path.name: path.stat().st_ino for path in fetch.folder.path.iterdir()}
    peer = FakePartner(has=MADE)
    assert run(fetch, peer).status == 0
    assert {path.name: path.stat().st_ino for path in fetch.folder.path.iterdir()} == before


OTHER = make_instances(1, seed="another study")[0]
REFUSED = {
    "of another study": (OTHER, 0xA900, "another study"),
    "of another instance than it says": (replace(MADE[0], sop_instance="1.2.3"), 0xA900, "not the command's"),
    "cut short": (replace(MADE[0], dataset=MADE[0].dataset[:-50]), 0xC000, ""),
    "under a name that leads elsewhere": (replace(MADE[0], sop_instance="../../etc/passwd"), 0x0117, "no UID"),
    "under no name": (replace(MADE[0], sop_instance=""), 0x0117, "no UID"),
    "under a name that is too long": (replace(MADE[0], sop_instance="1." * 40 + "1"), 0x0117, "no UID"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_leaves_nothing_and_the_rest_comes(fetch: Fetch, what: str) -> None:
    sample, status, words = REFUSED[what]
    peer = FakePartner(has=[sample, MADE[1]])
    run(fetch, peer)
    assert [got for got, _ in peer.got] == [status, 0]
    assert set(files(fetch)) == {f"{MADE[1].sop_instance}.dcm"}
    ((_, why),) = fetch.refused.items()
    assert words in why


def test_what_is_larger_than_an_object_may_be_is_refused(tmp_path: Path) -> None:
    text = fakes.CONFIG.replace("limits: {", "limits: {object_size: 1KB, ")
    config, folder = fakes.configuration(text, tmp_path), Folder(tmp_path / "study")
    fetch = Fetch(STUDY, config.partners["PUBPACS"], folder, config, fakes.FakeClock())
    run(fetch, peer := FakePartner(has=MADE[:1]))
    folder.close()
    assert len(MADE[0].dataset) > 1000
    assert peer.got == [(0xC000, "the dataset is larger than 1000 bytes")]
    assert files(fetch) == {}


def test_another_files_place_is_not_taken(fetch: Fetch) -> None:
    taken = fetch.folder.path / f"{MADE[0].sop_instance}.dcm"
    taken.write_bytes(b"something of somebody's")
    peer = FakePartner(has=MADE)
    run(fetch, peer)
    assert [status for status, _ in peer.got] == [0xA700, 0, 0]
    assert taken.read_bytes() == b"something of somebody's"
    assert fetch.refused.keys() == {MADE[0].sop_instance}


def test_what_was_half_received_is_forgotten(fetch: Fetch) -> None:
    arriving = fetch.open(Command(CT, MADE[0].sop_instance, CT), EXPLICIT_LE)
    arriving.write(MADE[0].dataset[:1000])
    arriving.discard()
    assert files(fetch) == {}


def answers(level: str, tag: int, *values: str) -> list[Identifier]:
    return [Identifier(level, (Key(tag, "UI", value),), "") for value in values]


def test_the_classes_of_the_study_are_asked_for_and_proposed(fetch: Fetch) -> None:
    sr = "1.2.840.10008.5.1.4.1.1.88.22"
    peer = FakePartner(rows=lambda asked: answers("STUDY", 0x00080062, f"{CT}\\{sr}\\nonsense\\1.2.3"))
    run(fetch, peer)
    assert {abstract for abstract, _ in peer.contexts[0]} == {CT, sr}
    assert len(peer.contexts[0]) > 60
    assert [level for _, _, (level,) in peer.asked[:-1]] == ["STUDY"]


def test_where_a_partner_does_not_say_so_of_a_study_its_instances_are_asked(fetch: Fetch) -> None:
    mr = "1.2.840.10008.5.1.4.1.1.4"

    def says(asked: Identifier) -> list[Identifier]:
        if asked.level == "SERIES":
            return answers("SERIES", 0x0020000E, "1.2.3.1", "", "1.2.3.2")
        series = asked.value(0x0020000E)
        return answers("IMAGE", 0x00080016, CT if series == "1.2.3.1" else mr) if asked.level == "IMAGE" else []

    peer = FakePartner(rows=says)
    run(fetch, peer)
    assert {abstract for abstract, _ in peer.contexts[0]} == {CT, mr}


def test_who_answers_no_queries_is_asked_for_the_common_classes(fetch: Fetch) -> None:
    peer = FakePartner(has_not={"find"}, has=MADE)
    assert run(fetch, peer).status == 0
    assert len(fetch.kept) == 3
    assert len(peer.contexts[0]) == 127


def test_who_cannot_be_reached(fetch: Fetch) -> None:
    with pytest.raises(Unreachable):
        run(fetch, FakePartner(unreachable=True))


def test_a_changed_instance_is_another_content(fetch: Fetch) -> None:
    run(fetch, FakePartner(has=MADE[:1]))
    changed = replace(MADE[0], dataset=with_uid(MADE[0].dataset, MADE[0].sop_instance, series="1.2.3"))
    run(fetch, peer := FakePartner(has=[changed]))
    assert peer.got[0][0] == 0xA700
    assert files(fetch)[f"{MADE[0].sop_instance}.dcm"] == MADE[0].dataset
