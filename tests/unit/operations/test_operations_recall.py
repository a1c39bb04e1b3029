"""operations/recall.py: a note goes until it is taken, names all that was delivered, and outlives every kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dicomnode.dicom.rejection import SOP_CLASS
from dicomnode.operations import intake, moving, recall, resend, retrieve, withdraw
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node, Originator, Outgoing
from dicomnode.rules.contexts import EXPLICIT_LE
from dicomnode.rules.matching import Model
from dicomnode.run import lanes as running
from dicomnode.store import audit, expected, lanes, recalls
from dicomnode.store.database import execute
from dicomnode.store.expected import Expected
from dicomnode.store.recalls import Recall
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import decode, encode, make_instances

CONFIG = fakes.CONFIG.replace("wait: 60s}", "wait: 60s, identity: none}").replace(
    "host: 10.9.0.5,", "host: 10.9.0.5, iocm: true, give_up_after: 2h,"
)
MADE = make_instances(3, seed="recall", PatientID="A1234563", PatientName="CHAN^TAI MAN", AccessionNumber="ACC1")


@pytest.fixture
def recalling(build: Callable[..., Node]) -> Node:
    """Three instances that PUBPACS has, and is to be told by a note that they are rejected."""
    node = build(CONFIG)
    begin(node)
    return node


def begin(node: Node) -> None:
    fakes.receive_all(node, MADE)
    fakes.complete(node)
    while forward(node.config.partners["PUBPACS"], FakePartner(), node, lambda: False):
        pass
    withdraw.call_back(1, "patient", "the wrong patient", "alice", node)


def tell(node: Node, fake: FakePartner, *, stopped: bool = False) -> bool:
    return recall.tell(node.config.partners["PUBPACS"], fake, node, lambda: stopped)


def row(node: Node) -> Recall:
    with node.database.read():
        return recalls.of(1)[-1]


def due(node: Node) -> int | None:
    with node.database.read():
        return recall.due(node.config.partners["PUBPACS"], node.clock())


def last(node: Node) -> audit.Event:
    with node.database.read():
        return audit.events(referral=1)[-1]


def advance(node: Node, seconds: float) -> None:
    assert isinstance(node.clock, fakes.FakeClock)
    node.clock.advance(seconds)


def test_a_partner_is_told_once_what_it_has(recalling: Node) -> None:
    fake = FakePartner()
    assert due(recalling) == recalling.clock()
    assert tell(recalling, fake)
    assert not tell(recalling, fake)
    assert due(recalling) is None
    (sent,) = fake.sent
    assert fake.contexts == [((SOP_CLASS, EXPLICIT_LE),)]
    document = decode(sent.dataset)
    assert (document.SOPInstanceUID, document.StudyInstanceUID) == (sent.sop_instance_uid, MADE[0].study)
    assert (document.PatientID, document.PatientName, document.AccessionNumber) == ("A1234563", "CHAN^TAI MAN", "ACC1")
    assert "IssuerOfPatientID" not in document  # as in the images; the index has the site's
    assert document.SeriesInstanceUID not in {sample.series for sample in MADE}
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    named = [each.ReferencedSOPInstanceUID for each in series.ReferencedSOPSequence]
    assert named == [sample.sop_instance for sample in MADE]
    assert document.ContentSequence[0].TextValue == "the wrong patient"
    assert (row(recalling).state, row(recalling).last_status, last(recalling).kind) == ("told", 0, "recall note sent")
    assert fakes.files(recalling) == {name for name in fakes.files(recalling) if name.startswith("instances")}


def test_the_note_is_the_same_whenever_it_goes_and_by_whichever_process(
    recalling: Node, build: Callable[..., Node]
) -> None:
    fake = FakePartner(lose_at=1)  # it is taken, and the answer is lost: as after a kill before it was written down
    assert tell(recalling, fake)
    assert row(recalling).state == "waiting"
    again = build(CONFIG, clock=recalling.clock)
    advance(again, 3600)
    fake.lose_at = 0
    assert tell(again, fake)
    assert row(again).state == "told"
    first, second = fake.sent
    assert first.dataset == second.dataset


FAILURES: dict[str, dict[str, Any]] = {
    "unreachable": {"unreachable": True},
    "rejected": {"rejected": True},
    "lost": {"lose_at": 1},
    "out of resources": {"status": 0xA700},
}


@pytest.mark.parametrize("how", FAILURES)
def test_what_passes_is_tried_again_and_given_up_with_an_alarm(recalling: Node, how: str) -> None:
    fake, tries = FakePartner(**FAILURES[how]), 0
    while row(recalling).state == "waiting":
        assert tries < 30
        advance(recalling, max(0, (due(recalling) or 0) - recalling.clock()) / 1e6)
        assert tell(recalling, fake)
        assert not tell(recalling, fake)  # not at once
        tries += 1
    assert tries > 3
    assert (row(recalling).state, row(recalling).attempts) == ("held", tries)
    assert "given up after 2 h" in row(recalling).why
    assert last(recalling).alarm
    assert "--letter FILE" in last(recalling).text


@pytest.mark.parametrize(
    "switch", [{"refused": {(SOP_CLASS, EXPLICIT_LE)}}, {"status": 0x0124}, {"status": 0x0122}], ids=str
)
def test_what_cannot_be_told_is_held_with_an_alarm_and_may_be_tried_again(
    recalling: Node, switch: dict[str, Any]
) -> None:
    assert tell(recalling, FakePartner(**switch))
    assert (row(recalling).state, last(recalling).kind, last(recalling).alarm) == ("held", "recall note held", True)
    assert due(recalling) is None
    withdraw.call_back(1, "patient", "the wrong patient", "bob", recalling)
    assert tell(recalling, FakePartner())
    assert row(recalling).state == "told"


def test_what_the_partner_cannot_understand_is_offered_three_times(recalling: Node) -> None:
    for _ in range(3):
        assert row(recalling).state == "waiting"
        advance(recalling, max(0, (due(recalling) or 0) - recalling.clock()) / 1e6)
        assert tell(recalling, FakePartner(status=0xC000))
    assert (row(recalling).state, row(recalling).attempts) == ("held", 3)


def test_a_stop_is_no_failure(recalling: Node) -> None:
    assert not tell(recalling, FakePartner(unreachable=True), stopped=True)
    assert row(recalling).attempts == 0


def test_a_lane_that_a_person_holds_sends_no_note(recalling: Node) -> None:
    recalling.database.write(lambda: lanes.hold("PUBPACS", "moving house"))
    assert due(recalling) is None
    assert not tell(recalling, FakePartner())
    recalling.database.write(lambda: lanes.release("PUBPACS", recalling.clock()))
    assert tell(recalling, FakePartner())


def test_a_lane_that_waits_for_its_partner_does_not_keep_a_note(recalling: Node) -> None:
    execute_ = "INSERT INTO partners (name, paused_until, failures) VALUES ('PUBPACS', ?, 1)"
    execute_ += " ON CONFLICT DO UPDATE SET paused_until = excluded.paused_until, failures = 1"
    recalling.database.write(lambda: execute(execute_, recalling.clock() + 10**9))
    assert tell(recalling, FakePartner())


def test_no_note_goes_where_no_flow_leads(recalling: Node, build: Callable[..., Node]) -> None:
    text = CONFIG.replace("sites:", "flows: []\nsites:").split("routes:")[0]
    node = build(text, clock=recalling.clock)
    fake = FakePartner()
    assert tell(node, fake)
    assert (fake.contexts, row(node).state) == ([], "held")
    assert "no flow allows" in row(node).why


def test_a_note_to_whom_none_is_sent_any_more_is_held_with_an_alarm(
    recalling: Node, build: Callable[..., Node]
) -> None:
    recall.strand(recalling)
    assert row(recalling).state == "waiting"
    node = build(CONFIG.replace("iocm: true,", ""), clock=recalling.clock)
    recall.strand(node)
    assert (row(node).state, last(node).kind, last(node).alarm) == ("held", "recall note held", True)
    assert "3 instance(s)" in last(node).text


def test_a_clock_that_was_ahead_keeps_no_note(recalling: Node) -> None:
    recalling.database.write(lambda: execute("UPDATE recalls SET due_at = due_at + ?", 10**15))
    assert not tell(recalling, FakePartner())
    recall.set_back(recalling)
    assert tell(recalling, FakePartner())


def test_what_an_image_says_that_is_gone_the_index_says(recalling: Node) -> None:
    for file in fakes.files(recalling):
        (recalling.archive.root / file).unlink()
    fake = FakePartner()
    assert tell(recalling, fake)
    document = decode(fake.sent[0].dataset)
    assert (document.PatientID, document.IssuerOfPatientID) == ("A1234563", "HARBOUR")


def test_the_requests_of_the_images_are_those_of_the_note(build: Callable[..., Node]) -> None:
    node = build(CONFIG)
    made = make_instances(1, seed="asked")[0]
    dataset = decode(made.dataset)
    request = decode(b"")
    request.RequestedProcedureID, request.AccessionNumber = "R77", "ACC9"
    dataset.RequestAttributesSequence = [request]
    fakes.receive(node, replace(made, dataset=encode(dataset)))
    fakes.complete(node)
    while forward(node.config.partners["PUBPACS"], FakePartner(), node, lambda: False):
        pass
    withdraw.call_back(1, "worklist", "another entry", "alice", node)
    fake = FakePartner()
    assert tell(node, fake)
    (asked,) = decode(fake.sent[0].dataset).ReferencedRequestSequence
    assert (asked.RequestedProcedureID, asked.AccessionNumber) == ("R77", "ACC9")


def test_a_note_is_coerced_as_the_images_were(recalling: Node, build: Callable[..., Node]) -> None:
    text = CONFIG.replace("iocm: true,", "iocm: true, coerce: {institution: true, request: true},")
    node, got = build(text, clock=recalling.clock), list[Outgoing]()
    who = ("R1", "HKID", "", "", "", "", "", "", "harbour", "", "", False, "CT chest", "", "", "a.csv")
    known = node.database.write(lambda: expected.put(Expected(0, *who, node.clock(), None)))  # type: ignore[arg-type]
    node.database.write(lambda: execute("UPDATE studies SET expected = ?", known))
    advance(node, 600)
    assert tell(node, FakePartner(on_send=got.append))
    changed = got[0].coercion
    assert changed
    assert (changed.institution, changed.request) == ("Harbour Imaging Centre", None)
    assert round(changed.at.timestamp() * 1e6) == row(node).at  # whenever it goes


def test_a_note_that_cannot_be_coerced_does_not_go_as_it_is(recalling: Node, build: Callable[..., Node]) -> None:
    text = CONFIG.replace("iocm: true,", "iocm: true, coerce: {patient_id: HKID},")
    text = text.replace("identity: none}", "require: referral}")
    node, fake = build(text, clock=recalling.clock), FakePartner()
    assert tell(node, fake)
    assert (fake.contexts, row(node).state) == ([], "held")


def test_notes_have_a_lane_to_whoever_understands_them(recalling: Node) -> None:
    (errand,) = [each for each in running.errands(recalling) if each.name == "recall"]
    slots = {name: errand.slots(partner) for name, partner in recalling.config.partners.items()}
    assert {name for name, count in slots.items() if count} == {"PUBPACS"}


COERCED = CONFIG.replace("iocm: true,", "iocm: true, coerce: {patient_id: HKID},").replace(
    ", identity: none}", ", require: referral}"
)
R1 = Expected(
    *(0, "R-1", "RIS", "B7654325", "HKID", "CHAN^TAI MAN", "19800512", "M", "ACC1", "", "", "", False, "", "", ""),
    *("a.csv", 1, None),
)
KNOWN = make_instances(
    2,
    seed="as whom",
    PatientID="H1",
    PatientName="CHAN^TAI MAN",
    PatientBirthDate="19800512",
    PatientSex="M",
    AccessionNumber="ACC1",
)


def coerced(build: Callable[..., Node]) -> Node:
    """A partner has been sent images under the patient ID of a referral."""
    node = build(COERCED)
    node.database.write(lambda: expected.put(R1))
    fakes.receive_all(node, KNOWN)
    fakes.complete(node)
    assert forward(node.config.partners["PUBPACS"], FakePartner(), node, lambda: False)
    return node


def match(node: Node) -> None:
    """A person says that the study was another patient's."""
    node.database.write(lambda: expected.put(replace(R1, number="R-2", patient_id="C1234569", accession_number="")))
    intake.match("1", "R-2", None, "alice", node)


def call_back(node: Node) -> str:
    """The patient ID that a note goes with; '' where none goes."""
    withdraw.call_back(1, "worklist", "wrong patient", "alice", node)
    got = list[Outgoing]()
    assert tell(node, FakePartner(on_send=got.append))
    return got[0].coercion.patient_id if got and got[0].coercion else ""


def test_a_note_names_the_patient_as_whom_the_images_were_sent(build: Callable[..., Node]) -> None:
    node = coerced(build)
    match(node)
    assert call_back(node) == "B7654325"


def test_no_note_goes_where_the_images_went_as_two_patients(build: Callable[..., Node]) -> None:
    node = coerced(build)
    match(node)
    resend.resend([1], "as the right patient", "alice", node)
    assert forward(node.config.partners["PUBPACS"], FakePartner(), node, lambda: False)
    assert (call_back(node), row(node).state, last(node).alarm) == ("", "held", True)
    assert "not certain" in row(node).why


def test_what_was_claimed_and_never_sent_names_nobody(build: Callable[..., Node]) -> None:
    node = build(COERCED)
    node.database.write(lambda: expected.put(R1))
    fakes.receive_all(node, KNOWN)
    fakes.complete(node)
    assert forward(node.config.partners["PUBPACS"], FakePartner(unreachable=True), node, lambda: False)
    match(node)
    advance(node, 3600)
    while forward(node.config.partners["PUBPACS"], FakePartner(), node, lambda: False):
        pass
    assert call_back(node) == "C1234569"


def test_no_note_goes_where_nobody_knows_as_whom_the_images_went(build: Callable[..., Node]) -> None:
    node = coerced(build)
    node.database.write(lambda: execute("UPDATE referrals SET sent_as = NULL"))
    assert (call_back(node), row(node).state) == ("", "held")


def test_a_move_remembers_the_patient_too(build: Callable[..., Node]) -> None:
    node = build(COERCED)
    node.database.write(lambda: expected.put(R1))
    fakes.receive_all(node, KNOWN, called="REFERNODE")
    asked = retrieve.Asked(fakes.asked("STUDY", StudyInstanceUID=KNOWN[0].study), Model.STUDY_ROOT)
    plan = retrieve.plan(asked, "PUBPACS", node.config.partners["RAD_WS"], node)
    list(moving.send(plan, Originator("RAD_WS", 1, 0), FakePartner(), node, lambda: False))
    match(node)
    assert call_back(node) == "B7654325"
