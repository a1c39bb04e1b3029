"""operations/send_files.py: which files of a person may go, what is said of the others, and what is left behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.config.model import Partner
from dicomnode.dicom import part10
from dicomnode.operations import consent, files, quarantine
from dicomnode.operations.files import Person
from dicomnode.operations.ports import Node, Outgoing
from dicomnode.operations.send_files import Send
from dicomnode.store import gates, queue
from dicomnode.store.database import execute, rows
from tests import fakes, samples
from tests.fakes import FakePartner
from tests.samples import Sample, make_instances

MADE = make_instances(5, seed="on a disc")
CT = MADE[0].sop_class


PLAIN = fakes.CONFIG.replace("wait: 60s}", "wait: 60s, identity: none}")
"""No route asks for more than its flow."""


@pytest.fixture
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    it = fakes.make_node(tmp_path, getattr(request, "param", PLAIN))
    yield it
    it.database.close()


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    return write(tmp_path / "disc", MADE)


def write(folder: Path, made: list[Sample]) -> Path:
    folder.mkdir(parents=True)
    for number, sample in enumerate(made):
        (folder / f"{number}.dcm").write_bytes(samples.part10(sample))
    return folder


class Hand:
    """Sends, and has what was said of each file by its name."""

    def __init__(self, node: Node, peer: FakePartner, partner: str = "PUBPACS", **change: object) -> None:
        self.said: dict[str, str] = {}
        self.stopped = False
        known: Partner = node.config.partners[partner].model_copy(update=change)
        self.sending = Send(known, peer, node, Person("somebody", self._say, lambda: self.stopped))

    def _say(self, path: Path, why: str) -> None:
        self.said[path.name] = why

    def __call__(self, *paths: Path) -> files.Tally:
        self.counted = list(self.sending.send(files.named(paths)))
        return self.sending.tally


def audited(node: Node) -> list[tuple[str, str, str]]:
    with node.database.read():
        found = rows("SELECT partner, study_instance_uid, text FROM events WHERE kind = 'sent by hand' ORDER BY id")
    return [tuple(row) for row in found]


def test_all_goes_as_it_is_and_is_audited_first(node: Node, disc: Path) -> None:
    peer = FakePartner()
    seen: list[int] = []
    peer.on_send = lambda _: seen.append(len(audited(node)))
    hand = Hand(node, peer)
    tally = hand(disc)
    assert (tally.done, tally.failed, tally.is_good) == (5, 0, True)
    assert [sent.dataset for sent in peer.sent] == [sample.dataset for sample in MADE]
    assert peer.contexts == [((CT, samples.EXPLICIT_LE),)]
    assert seen == [1] * 5, "it was in the audit trail before anything of it was sent"
    (partner, study, text), (_, _, last) = audited(node)
    assert (partner, study) == ("PUBPACS", MADE[0].study)
    assert text.startswith("somebody: ")
    assert "outside of routes" in text
    assert last == "somebody: 5 instances were sent, 0 failed, 0 were not tried"
    with node.database.read():
        assert rows("SELECT count(*) FROM transfers") == [(0,)]


def test_what_is_no_dicom_is_named_and_left_out(node: Node, disc: Path) -> None:
    (disc / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (disc / "autorun.inf").write_text("[autorun]")
    (disc / "empty").write_bytes(b"")
    os.mkfifo(disc / "pipe")
    hand = Hand(node, FakePartner())
    tally = hand(disc)
    assert (tally.done, tally.skipped, tally.failed, tally.is_good) == (5, 3, 0, True)
    assert hand.said == dict.fromkeys(("autorun.inf", "empty", "pipe"), "is no DICOM file")
    assert hand.counted == [8]


def test_a_file_that_cannot_be_walked_fails(node: Node, disc: Path) -> None:
    (disc / "2.dcm").write_bytes((disc / "2.dcm").read_bytes()[:-100])
    hand = Hand(node, FakePartner())
    tally = hand(disc)
    assert (tally.done, tally.failed, tally.is_good) == (4, 1, False)
    assert list(hand.said) == ["2.dcm"]


def test_nothing_to_send_is_not_good(node: Node, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    assert not Hand(node, FakePartner())(tmp_path / "nothing").is_good


# -- where it may go -------------------------------------------------------------------------------------------

FLOWS = [  # whose study is here, or of whom the file says it is; to whom; whether it goes
    ("", "PUBPACS", True),
    ("", "RAD_WS", False),
    ("CT1", "PUBPACS", True),
    ("CT1", "RAD_WS", True),
    ("CT1", "PEAK_WS", False),
    ("PEAK_CT", "RAD_WS", False),
]


@pytest.mark.parametrize(("source", "to", "goes"), FLOWS)
@pytest.mark.parametrize("known_by", ["index", "file"])
def test_the_flows_hold(node: Node, tmp_path: Path, source: str, to: str, goes: bool, known_by: str) -> None:
    folder = write(tmp_path / "disc", MADE[:1])
    if source and known_by == "index":
        fakes.receive(node, MADE[0], source)
    elif source:
        uids = CT, MADE[0].sop_instance, MADE[0].transfer_syntax
        header = part10.encode(*uids, fakes.origin(node, source))
        (folder / "0.dcm").write_bytes(header + MADE[0].dataset)
    peer = FakePartner()
    hand = Hand(node, peer, to)
    assert hand(folder).is_good == goes
    assert bool(peer.contexts) == goes, "nobody was called for what may not go"
    assert bool(audited(node)[:-1]) == goes
    if not goes:
        assert "no flow" in hand.said["0.dcm"]


def test_a_study_from_a_hospital_goes_to_no_other(node: Node, tmp_path: Path) -> None:
    folder = write(tmp_path / "disc", MADE[:1])
    header = part10.encode(CT, MADE[0].sop_instance, MADE[0].transfer_syntax, fakes.origin(node, "ISLPACS"))
    (folder / "0.dcm").write_bytes(header + MADE[0].dataset)
    hand = Hand(node, FakePartner())
    assert not hand(folder).is_good
    assert "no flow allows studies of island to reach general" in hand.said["0.dcm"]


MORE = ("require: referral", "consent: required")
ASKED = [*(PLAIN.replace("identity: none", f"identity: none, {more}") for more in MORE), fakes.CONFIG]


@pytest.mark.parametrize("node", ASKED, ids=["referral", "consent", "identity"], indirect=True)
@pytest.mark.parametrize("source", ["", "CT1"])
def test_what_a_route_would_have_looked_at_is_imported_first(node: Node, tmp_path: Path, source: str) -> None:
    folder = write(tmp_path / "disc", MADE[:1])
    if source:
        uids = CT, MADE[0].sop_instance, MADE[0].transfer_syntax
        (folder / "0.dcm").write_bytes(part10.encode(*uids, fakes.origin(node, source)) + MADE[0].dataset)
    hand = Hand(node, peer := FakePartner())
    assert not hand(folder).is_good
    assert "its study is not in custody" in hand.said["0.dcm"]
    assert "`dicomnode import` it first" in hand.said["0.dcm"]
    assert not peer.contexts
    assert not audited(node)[:-1]


@pytest.mark.parametrize("node", [fakes.CONFIG], ids=["identity"], indirect=True)
@pytest.mark.parametrize(("source", "to"), [("CT1", "RAD_WS"), ("CT1", "ISLPACS"), ("PEAK_CT", "PUBPACS")])
def test_no_other_route_keeps_a_file_here(node: Node, tmp_path: Path, source: str, to: str) -> None:
    folder = write(tmp_path / "disc", MADE[:1])
    uids = CT, MADE[0].sop_instance, MADE[0].transfer_syntax
    (folder / "0.dcm").write_bytes(part10.encode(*uids, fakes.origin(node, source)) + MADE[0].dataset)
    assert Hand(node, FakePartner(), to)(folder).is_good


@pytest.mark.parametrize("node", [fakes.CONFIG], ids=["identity"], indirect=True)
def test_what_is_in_custody_and_in_no_doubt_goes(node: Node, disc: Path) -> None:
    fakes.receive_all(node, MADE)
    assert Hand(node, FakePartner())(disc).done == len(MADE)


def test_what_is_in_quarantine_here_goes_nowhere(node: Node, disc: Path) -> None:
    fakes.receive(node, MADE[0])
    node.database.write(lambda: execute("UPDATE studies SET quarantine = 'in doubt'"))
    hand = Hand(node, peer := FakePartner())
    assert not hand(disc).is_good
    assert all("quarantine" in why for why in hand.said.values())
    assert not peer.contexts


def test_what_a_person_has_held_goes_to_nobody_of_the_site(node: Node, disc: Path) -> None:
    fakes.receive_all(node, MADE)
    (referral,) = node.database.write(lambda: rows("SELECT id FROM referrals"))[0]
    node.database.write(lambda: gates.hold([referral], "wrong patient"))
    hand = Hand(node, peer := FakePartner())
    assert hand(disc).failed == len(MADE)
    assert set(hand.said.values()) == {f"referral {referral} is held"}
    assert not peer.contexts


def test_what_a_person_has_dropped_does_not_go_by_hand_either(node: Node, disc: Path) -> None:
    fakes.receive_all(node, MADE)
    (first, *_) = node.database.write(lambda: rows("SELECT id FROM transfers ORDER BY id"))[0]
    node.database.write(lambda: queue.drop([first], "not wanted", node.clock()))
    hand = Hand(node, peer := FakePartner())
    tally = hand(disc)
    assert (tally.done, tally.failed) == (len(MADE) - 1, 1)
    assert list(hand.said.values()) == ["a person has held or dropped it: not wanted"]
    assert MADE[0].sop_instance not in [sent.sop_instance_uid for sent in peer.sent]


def test_what_a_partner_is_never_sent_it_is_not_sent_by_hand(node: Node, disc: Path) -> None:
    hand = Hand(node, peer := FakePartner(), skip_classes=(CT,))
    assert not hand(disc).is_good
    assert not peer.contexts


# -- what fails ------------------------------------------------------------------------------------------------


def test_a_status_is_said_and_the_rest_goes(node: Node, disc: Path) -> None:
    peer = FakePartner(statuses={MADE[1].sop_instance: 0xA700, MADE[2].sop_instance: 0xB000})
    hand = Hand(node, peer)
    tally = hand(disc)
    assert (tally.done, tally.failed) == (4, 1)
    assert hand.said == {"1.dcm": "out of resources (A700H)"}


def test_what_the_partner_does_not_accept_is_said(node: Node, disc: Path) -> None:
    hand = Hand(node, FakePartner(refused={(CT, samples.EXPLICIT_LE)}))
    tally = hand(disc)
    assert (tally.done, tally.failed, tally.stopped) == (0, 5, "")


def test_after_a_lost_association_the_rest_goes_on_another(node: Node, disc: Path) -> None:
    peer = FakePartner(lose={MADE[1].sop_instance})
    hand = Hand(node, peer)
    tally = hand(disc)
    assert (tally.done, tally.failed) == (4, 1)
    assert "not known" in hand.said["1.dcm"]
    assert [sent.association for sent in peer.sent] == [0, 0, 1, 1, 1]


def test_who_cannot_be_reached_is_called_once(node: Node, disc: Path) -> None:
    peer = FakePartner(unreachable=True)
    tally = Hand(node, peer)(disc)
    assert (tally.done, tally.failed, tally.untried, tally.is_good) == (0, 0, 5, False)
    assert tally.stopped.startswith("PUBPACS@10.9.0.5:104: no connection")
    assert "`dicomnode partners echo PUBPACS`" in tally.stopped
    assert len(peer.contexts) == 1
    texts = [text for _, _, text in audited(node)]
    assert texts == [
        "somebody: files of it are to be sent by hand, outside of routes and ledger",
        "somebody: 0 instances were sent, 0 failed, 5 were not tried",
    ]


def test_an_interruption_ends_it_between_two_instances(node: Node, disc: Path) -> None:
    peer = FakePartner()
    hand = Hand(node, peer)

    def stop(_: object) -> None:
        hand.stopped = len(peer.sent) == 1

    peer.on_send = stop
    tally = hand(disc)
    assert (tally.done, tally.stopped) == (2, "it was interrupted")
    assert peer.released == 1


def test_all_associations_of_a_partner_are_used_at_once(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BATCH", 2)
    folder = write(tmp_path / "disc", MADE)
    first, together = {MADE[n].sop_instance for n in (0, 2, 4)}, threading.Barrier(3, timeout=20)

    def meet(outgoing: Outgoing) -> None:
        if outgoing.sop_instance_uid in first:
            together.wait()

    hand = Hand(node, FakePartner(on_send=meet), associations=3)
    assert hand(folder).done == 5
    assert sum(hand.counted) == 5
    assert len(audited(node)) == 2, "a study is announced once"


# -- of a study that is here, and of a patient who is known -----------------------------------------------------


def test_of_a_study_that_is_here_only_what_is_kept_of_it_goes(node: Node, disc: Path) -> None:
    fakes.receive_all(node, MADE[:2])
    other = make_instances(3, seed="on a disc", PatientName="ANOTHER^PATIENT")
    (disc / "1.dcm").write_bytes(samples.part10(other[1]))  # the same image, with another name
    peer = FakePartner()
    hand = Hand(node, peer)
    tally = hand(disc)
    assert (tally.done, [sent.dataset for sent in peer.sent]) == (1, [MADE[0].dataset])
    assert hand.said.keys() == {"1.dcm", "2.dcm", "3.dcm", "4.dcm"}
    assert all("not the current version" in why for why in hand.said.values())
    within = Hand(node, FakePartner(), "RAD_WS")
    assert within(disc).is_good, "within its own site everything goes"


def test_a_version_that_a_person_has_rejected_does_not_go(node: Node, tmp_path: Path) -> None:
    fakes.receive(node, MADE[0])
    changed = make_instances(1, seed="on a disc", PatientName="ANOTHER^PATIENT")[0]
    fakes.receive(node, changed)
    quarantine.reject("1", "the first is right", "anna", node)
    hand = Hand(node, FakePartner())
    tally = hand(write(tmp_path / "both", [MADE[0], changed]))
    assert (tally.done, list(hand.said)) == (1, ["1.dcm"])


@pytest.mark.parametrize(("patient", "goes"), [("H1", False), ("H2", True)])
@pytest.mark.parametrize("known_by", ["nothing", "file"])
def test_nothing_goes_of_a_patient_who_has_withdrawn_consent(
    node: Node, tmp_path: Path, patient: str, goes: bool, known_by: str
) -> None:
    fakes.receive_all(node, make_instances(1, seed="one", PatientID="H1"))
    fakes.complete(node)
    consent.withdraw([1], "by phone", "anna", node)
    (made,) = make_instances(1, seed="another", PatientID=patient)
    folder = write(tmp_path / "disc", [made])
    if known_by == "file":
        uids = made.sop_class, made.sop_instance, made.transfer_syntax
        (folder / "0.dcm").write_bytes(part10.encode(*uids, fakes.origin(node, "CT1")) + made.dataset)
    hand = Hand(node, FakePartner())
    assert hand(folder).is_good == goes
    assert goes or "consent was withdrawn" in hand.said["0.dcm"]
