"""operations/consent.py: what waits for consent, what lets it go, and what its withdrawal stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dicomnode.errors import UsageError
from dicomnode.operations import consent, resend, retrieve
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.operations.withdraw import LETTER
from dicomnode.store import audit, consents, expected, index, referrals
from dicomnode.store.database import execute
from dicomnode.store.expected import Expected
from dicomnode.store.referrals import Gate, Opening, Referral
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import Sample, make_instances

WANTED = fakes.CONFIG.replace("wait: 60s}", "wait: 60s, consent: required, identity: none}")
FREE = fakes.CONFIG.replace("wait: 60s}", "wait: 60s, identity: none}")


def study(number: int, patient: str = "A123456(3)", slices: int = 2) -> list[Sample]:
    return make_instances(slices, seed=f"consent {number}", PatientID=patient, PatientName="CHAN^TAI MAN")


@pytest.fixture
def wanted(build: Callable[..., Node]) -> Node:
    """Its one route wants consent; a study has come whole by it."""
    node = build(WANTED)
    arrive(node, study(1))
    return node


@pytest.fixture
def free(build: Callable[..., Node]) -> Node:
    """Its one route wants none; a study has come whole by it."""
    node = build(FREE)
    arrive(node, study(1))
    return node


def arrive(node: Node, made: list[Sample]) -> None:
    fakes.receive_all(node, made)
    fakes.complete(node)


def of(node: Node, referral: int = 1) -> Referral:
    with node.database.read():
        found = referrals.get(referral)
    assert found
    return found


def send(node: Node) -> list[str]:
    fake = FakePartner()
    while forward(node.config.partners["PUBPACS"], fake, node, lambda: False):
        pass
    return fake.uids


def closed(node: Node, name: str, number: int = 1) -> str:
    """Why a study may not be moved to a partner."""
    with node.database.read():
        found = index.study(str(number))
        assert found
        return retrieve.closed(found.id, node.config.partners[name], node)


def advance(node: Node) -> None:
    assert isinstance(node.clock, fakes.FakeClock)
    node.clock.advance(1)


# -- a route that wants it -------------------------------------------------------------------------------------


def test_nothing_of_a_route_that_wants_consent_goes_without_it(wanted: Node) -> None:
    assert (of(wanted).gate, send(wanted)) == (Gate.HELD, [])
    assert "consent 1 --evidence" in of(wanted).reason
    assert "consent" in closed(wanted, "PUBPACS")
    assert "consent" in closed(wanted, "PUB_WS")  # another AE of the same hospital
    (done,) = consent.give([1], "form 17, signed", "alice", wanted)
    assert (done.gate, done.reason) == (Gate.OPEN, "")
    assert closed(wanted, "PUBPACS") == closed(wanted, "PUB_WS") == ""
    assert len(send(wanted)) == 2
    with wanted.database.read():
        kinds = {event.kind: event.text for event in audit.events(referral=1)}
    assert "alice" in kinds["consent given"]
    assert "form 17" in kinds["consent given"]
    assert {"consent wanted", "consent known"} < kinds.keys()


def test_evidence_for_one_ae_of_a_hospital_is_enough_for_a_move_to_the_next(wanted: Node) -> None:
    consent.give([1], "form 17, signed", "alice", wanted)
    assert closed(wanted, "PUB_WS") == ""
    consent.withdraw([1], "by phone", "alice", wanted)
    assert closed(wanted, "PUB_WS") != ""


def test_a_route_that_wants_none_waits_for_none(free: Node) -> None:
    assert of(free).gate == Gate.OPEN
    assert closed(free, "PUBPACS") == ""


def test_consent_for_one_referral_is_none_for_another(wanted: Node) -> None:
    consent.give([1], "form 17", "alice", wanted)
    arrive(wanted, study(2))
    assert of(wanted, 2).gate == Gate.HELD


def test_a_move_by_hand_to_whom_a_route_sends_with_consent_alone_wants_it_too(build: Callable[..., Node]) -> None:
    node = build(WANTED)
    fakes.receive_all(node, study(1), called="REFERNODE")  # no route has chosen it
    assert "consent" in closed(node, "PUBPACS")
    assert closed(node, "ISLPACS") == ""


@pytest.mark.parametrize(
    ("destination", "evidence", "gate"),
    [("", "form", Gate.OPEN), ("PUBPACS", "form", Gate.OPEN), ("ISLPACS", "form", Gate.HELD), ("", "", Gate.HELD)],
)
def test_a_referral_in_advance_may_bring_it(wanted: Node, destination: str, evidence: str, gate: Gate) -> None:
    known = put(wanted, destination, evidence)
    wanted.database.write(lambda: execute("UPDATE studies SET expected = ? WHERE id = 1", known))
    wanted.database.write(lambda: consent.check(1, wanted.clock(), wanted))
    assert of(wanted).gate == gate


def put(node: Node, destination: str, evidence: str) -> int:
    who = ("R1", "HKID", "", "", "", "", "", "", "harbour", destination, "", False, "", "", evidence, "a.csv")
    return node.database.write(lambda: expected.put(Expected(0, *who, node.clock(), None)))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "  "])
def test_consent_wants_evidence_and_a_withdrawal_a_reason(wanted: Node, text: str) -> None:
    with pytest.raises(UsageError, match="--evidence"):
        consent.give([1], text, "alice", wanted)
    with pytest.raises(UsageError, match="--reason"):
        consent.withdraw([1], text, "alice", wanted)
    with pytest.raises(UsageError, match="no referral 9"):
        consent.give([1, 9], "form", "alice", wanted)
    assert of(wanted).gate == Gate.HELD


# -- withdrawal ------------------------------------------------------------------------------------------------


def test_withdrawn_before_it_is_sent_it_never_goes(wanted: Node) -> None:
    consent.give([1], "form 17", "alice", wanted)
    (done,) = consent.withdraw([1], "by telephone", "bob", wanted)
    assert (done.referral.gate, done.called_back) == (Gate.WITHDRAWN, 0)
    assert "by telephone" in done.referral.reason
    assert send(wanted) == []
    with pytest.raises(UsageError, match="withdrawn"):
        consent.give([1], "form 18", "alice", wanted)
    assert "withdrawn" in closed(wanted, "PUBPACS")
    assert "withdrawn" in closed(wanted, "PUB_WS")


def test_withdrawn_after_it_was_sent_it_is_called_back_by_letter(free: Node) -> None:
    assert len(send(free)) == 2
    (done,) = consent.withdraw([1], "by telephone", "bob", free)
    assert (done.referral.gate, done.called_back, done.means) == (Gate.RECALLING, 2, LETTER)


def test_after_a_withdrawal_nothing_more_of_the_patient_leaves_the_site(free: Node) -> None:
    arrive(free, study(2, "A1234563"))  # the same ID, written otherwise; on its way already
    send_to_nobody = consent.withdraw([1], "by telephone", "bob", free)
    assert [each.called_back for each in send_to_nobody] == [0]
    assert of(free, 2).gate == Gate.HELD
    advance(free)
    arrive(free, study(3, "a123456 (3)"))
    assert of(free, 3).gate == Gate.HELD  # also what comes later
    assert "referral 1" in of(free, 3).reason
    assert send(free) == []
    consent.give([3], "form 18", "alice", free)
    free.database.write(lambda: consent.check(2, free.clock(), free))
    assert (of(free, 2).gate, of(free, 3).gate) == (Gate.HELD, Gate.OPEN)  # what was open before needs its own
    advance(free)
    arrive(free, study(4))
    assert of(free, 4).gate == Gate.OPEN  # a new consent, and a route that wants none


@pytest.mark.parametrize("where", ["another patient", "another issuer", "another site", "no patient ID"])
def test_a_withdrawal_is_about_one_patient_of_one_site(build: Callable[..., Node], where: str) -> None:
    node = build(FREE.replace("from: [harbour]", "from: [harbour, peak]"))
    arrive(node, study(1, "" if where == "no patient ID" else "A123456(3)"))
    consent.withdraw([1], "by telephone", "bob", node)
    changes = {"another issuer": {"IssuerOfPatientID": "ISLAND"}}.get(where, {})
    patient = {"another patient": "B123456", "no patient ID": ""}.get(where, "A123456(3)")
    made = make_instances(1, seed=where, PatientID=patient, **changes)
    fakes.receive_all(node, made, "PEAK_CT" if where == "another site" else "CT1")
    assert of(node, 2).gate == Gate.OPEN


def test_a_withdrawal_is_about_its_patient_however_the_issuer_is_written(build: Callable[..., Node]) -> None:
    node = build(FREE)
    arrive(node, make_instances(1, seed="upper", PatientID="A1234563", IssuerOfPatientID="HKID"))
    arrive(node, make_instances(1, seed="lower", PatientID="A123456(3)", IssuerOfPatientID="hkid"))
    consent.withdraw([1], "by telephone", "bob", node)
    assert of(node, 2).gate == Gate.HELD
    advance(node)
    arrive(node, make_instances(1, seed="wide", PatientID="A123456(3)", IssuerOfPatientID="Hkid"))
    assert of(node, 3).gate == Gate.HELD  # also what comes later


def test_what_opens_after_a_withdrawal_opens_closed_whoever_opens_it(free: Node) -> None:
    arrive(free, study(2))
    consent.withdraw([1], "by telephone", "bob", free)
    opening = Opening("ISLPACS", "C-MOVE by RAD_WS", 0, 1)
    other = free.database.write(lambda: referrals.open_(2, opening, free.clock()))
    assert of(free, other).gate == Gate.HELD
    assert "withdrawn" in closed(free, "ISLPACS", 2)


def test_what_was_sent_before_is_not_sent_again_by_hand(free: Node) -> None:
    arrive(free, study(2))
    assert len(send(free)) == 4
    consent.withdraw([1], "by telephone", "bob", free)
    assert of(free, 2).gate == Gate.OPEN  # it was sent, and nobody has called it back
    assert "withdrawn" in closed(free, "PUBPACS", 2)


def test_every_word_is_kept(wanted: Node, tmp_path: Path) -> None:
    consent.give([1], "form 17", "alice", wanted)
    consent.withdraw([1], "by telephone", "bob", wanted)
    with wanted.database.read():
        words = consents.of(1)
    assert [(each.given, each.text, each.who) for each in words] == [
        (True, "form 17", "alice"),
        (False, "by telephone", "bob"),
    ]


# -- a study of several patients ---------------------------------------------------------------------------------

HASTY = fakes.CONFIG.replace("wait: 60s}", "wait: 0s}")


@pytest.mark.parametrize("config", [FREE, HASTY])
@pytest.mark.parametrize("others", ["", "B1"])
def test_any_patient_of_a_study_may_stop_it(build: Callable[..., Node], config: str, others: str) -> None:
    node = build(config)
    arrive(node, study(1))
    consent.withdraw([1], "by telephone", "anna", node)
    first, second = study(2, slices=2)
    arrive(node, [replace(first, dataset=study(2, others)[0].dataset), second])
    assert "withdrawn" in of(node, 2).reason
    assert (of(node, 2).gate, send(node)) == ("held", [])


def test_a_word_about_a_study_of_several_stops_what_waits_of_each(build: Callable[..., Node]) -> None:
    node = build(FREE)
    for number, patient in ((1, "A1"), (2, "B1")):
        arrive(node, study(number, patient))
    first, second = study(3, "A1")
    arrive(node, [first, replace(second, dataset=study(3, "B1")[1].dataset)])
    consent.withdraw([3], "by telephone", "anna", node)
    assert [of(node, number).gate for number in (1, 2, 3)] == ["held", "held", "withdrawn"]
    with node.database.read():
        assert len(consents.of(3)) == 1, "it is one word"
    consent.give([1], "a form", "anna", node)
    assert [of(node, number).gate for number in (1, 2)] == ["open", "held"]
    assert len(send(node)) == 2


def test_what_goes_again_of_a_patient_who_has_withdrawn_consent_is_stopped(free: Node) -> None:
    assert len(send(free)) == 2
    arrive(free, study(2))
    consent.withdraw([2], "by telephone", "anna", free)
    resend.resend([1], "lost", "anna", free)
    assert (send(free), of(free).gate) == ([], "held")
    consent.give([1], "a form", "anna", free)
    assert len(send(free)) == 2


def test_the_evidence_of_a_referral_counts_before_a_study_is_whole(wanted: Node) -> None:
    fakes.receive_all(wanted, made := study(2, "B1"), called="REFERNODE")
    assert "is wanted" in closed(wanted, "PUBPACS", 2)
    who = ("R-2", "RIS", "B1", "HARBOUR", "", "", "", "", "", "", "", False, "", "", "form 7", "list.csv", 1, None)
    wanted.database.write(lambda: expected.put(Expected(0, *who)))
    wanted.database.write(lambda: execute("UPDATE expected SET study_instance_uid = ?", made[0].study))
    assert closed(wanted, "PUBPACS", 2) == ""
