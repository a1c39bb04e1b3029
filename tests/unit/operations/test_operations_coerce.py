"""operations/coerce.py and who asks it: whichever way a study leaves its site, its copies are what they are to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dicomnode.operations.files import Person
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node, Outgoing
from dicomnode.operations.send_files import Send
from dicomnode.rules.coercion import Coercion
from dicomnode.rules.referred import Expected
from dicomnode.store import expected, ledger, queue
from dicomnode.store.ledger import Transfer
from tests import fakes, samples
from tests.fakes import FakePartner
from tests.moves import plan, send
from tests.samples import Sample, make_instances

COERCE = "{patient_id: HKID, issuers: true}"
CONFIG = fakes.CONFIG.replace("port: 104, may: [find, move]}\n  PUB_WS", f"port: 104, coerce: {COERCE}}}\n  PUB_WS")
_WS = "host: 10.1.0.30, port: 11112"
CONFIG = CONFIG.replace(_WS, f"{_WS}, coerce: {{issuers: true}}")
CONFIG = CONFIG.replace("wait: 60s}", "wait: 60s, require: referral}")
EXPECTED = Expected(
    *(0, "REF-77", "HA", "A1234563", "HKID", "WONG^SIU MING", "19700101", "M", "ACC-5", "harbour", "PUBPACS"),
    *("Dr Lee", False, "CT thorax", "CTTH", "", "referrals.csv", 0, None),
)
PATIENT = {"PatientName": "WONG^SIU MING", "PatientBirthDate": "19700101", "PatientSex": "M"}
STUDY = make_instances(3, seed="coerced", PatientID="H-1", AccessionNumber="ACC-5", **PATIENT)  # type: ignore[arg-type]


class Peer(FakePartner):
    """Keeps what each instance that it was sent was to have."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[Coercion | None] = []
        self.on_send = self._kept

    def _kept(self, instance: Outgoing) -> None:
        self.copies.append(instance.coercion)


@pytest.fixture
def node(build: Callable[..., Node]) -> Node:
    return build(CONFIG)


def refer(node: Node, **changed: str) -> None:
    told = replace(EXPECTED, **changed)  # type: ignore[arg-type]
    node.database.write(lambda: expected.put(told))


def transfers(node: Node) -> list[Transfer]:
    with node.database.read():
        return ledger.listed(10)


def forwarded(node: Node, peer: FakePartner) -> list[str]:
    fakes.complete(node)
    forward(node.config.partners["PUBPACS"], peer, node, lambda: False)
    return [each.state for each in transfers(node)]


def test_what_is_forwarded_has_what_the_referral_gives(node: Node) -> None:
    refer(node)
    fakes.receive_all(node, STUDY)
    peer = Peer()
    assert forwarded(node, peer) == ["delivered"] * 3
    (copy,) = {id(each): each for each in peer.copies}.values()
    assert copy
    assert (copy.patient_id, copy.issuer, copy.sender_issuer) == ("A1234563", "HKID", "HARBOUR")
    assert (copy.source, copy.system) == ("Harbour Imaging Centre", "REFERNODE")
    assert copy.at.timestamp() * 1e6 == node.clock()


def test_without_a_word_in_the_configuration_it_is_what_was_received(build: Callable[..., Node]) -> None:
    node, peer = build(fakes.CONFIG), Peer()
    fakes.receive_all(node, STUDY)
    assert forwarded(node, peer) == ["delivered"] * 3
    assert peer.copies == [None] * 3


def test_what_cannot_be_made_is_held_until_somebody_changes_that(node: Node) -> None:
    refer(node, issuer_of_patient_id="NHS")
    fakes.receive_all(node, STUDY)
    peer = Peer()
    assert forwarded(node, peer) == ["held"] * 3
    assert not peer.contexts, "nobody was called"
    (reason,) = {each.reason for each in transfers(node)}
    assert reason == (
        "the copy that PUBPACS is to have cannot be made: its referral gives no patient ID of HKID: import it with one"
    )
    with node.database.read():
        (known,) = expected.by_numbers(["REF-77"])
    node.database.write(lambda: expected.change(replace(known, issuer_of_patient_id="HKID")))
    node.database.write(lambda: queue.reconsider("PUBPACS", node.clock()))
    assert forwarded(node, peer) == ["delivered"] * 3


def test_a_move_across_a_flow_is_coerced_and_one_within_the_site_is_not(node: Node) -> None:
    refer(node)
    fakes.receive_all(node, STUDY)
    fakes.complete(node)
    peer = Peer()
    assert all(done.completed for done in send(node, plan(node, "PUBPACS", study=STUDY[0].study), peer))
    assert all(done.completed for done in send(node, plan(node, "RAD_WS", study=STUDY[0].study), peer))
    assert [each and each.patient_id for each in peer.copies] == ["A1234563"] * 3 + [None] * 3
    assert peer.copies[0] is peer.copies[2], "what was read ahead is what is sent"


def test_a_move_before_the_study_is_complete_is_coerced_too(node: Node) -> None:
    refer(node)
    fakes.receive_all(node, STUDY)
    peer = Peer()
    assert all(done.completed for done in send(node, plan(node, "PUBPACS", study=STUDY[0].study), peer))
    assert [each and each.patient_id for each in peer.copies] == ["A1234563"] * 3


def test_a_move_of_what_cannot_be_made_fails_and_says_why(build: Callable[..., Node]) -> None:
    node, peer = build(CONFIG.replace("issuers: true", "request: true")), Peer()
    refer(node, number="A NUMBER OF 17 CH")
    fakes.receive_all(node, STUDY)
    fakes.complete(node)
    made = plan(node, "PUBPACS", study=STUDY[0].study)
    done = send(node, made, peer)
    assert [each.completed for each in done] == [False] * 3
    assert "has over 16 characters" in done[0].reason
    assert not peer.sent


# -- by hand -----------------------------------------------------------------------------------------------------------


def by_hand(node: Node, folder: Path, made: list[Sample], partner: str = "PUBPACS") -> tuple[Peer, dict[str, str]]:
    folder.mkdir()
    for number, sample in enumerate(made):
        (folder / f"{number}.dcm").write_bytes(samples.part10(sample))
    peer, said = Peer(), dict[str, str]()
    person = Person("somebody", lambda path, why: said.update({path.name: why}), lambda: False)
    list(Send(node.config.partners[partner], peer, node, person).send(sorted(folder.iterdir())))
    return peer, said


def test_files_of_a_study_that_is_here_are_coerced(node: Node, tmp_path: Path) -> None:
    refer(node)
    fakes.receive_all(node, STUDY)
    fakes.complete(node)
    peer, said = by_hand(node, tmp_path / "disc", STUDY)
    assert not said
    assert [each and each.patient_id for each in peer.copies] == ["A1234563"] * 3


def test_files_within_the_site_are_not(node: Node, tmp_path: Path) -> None:
    fakes.receive_all(node, STUDY)
    peer, _ = by_hand(node, tmp_path / "disc", STUDY, "RAD_WS")
    assert peer.copies == [None] * 3


def test_of_files_that_nobody_expects_no_copy_can_be_made(build: Callable[..., Node], tmp_path: Path) -> None:
    node = build(CONFIG.replace("to: [PUBPACS]", "to: [ISLPACS]"))  # by no route that would have asked for more
    peer, said = by_hand(node, tmp_path / "disc", STUDY)
    assert not peer.sent
    assert set(said) == {"0.dcm", "1.dcm", "2.dcm"}
    assert "no referral in advance gives its patient ID of HKID" in said["0.dcm"]
