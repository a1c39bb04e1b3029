"""operations/reject.py: a source's rejection note stops what it names, asks for a recall, and is sent to nobody."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from dicomnode.dicom import rejection
from dicomnode.dicom.encode import Element
from dicomnode.dicom.rejection import SOP_CLASS, TITLES, Note, Rejected
from dicomnode.operations import refer, reject
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.store import audit, database, ledger, referrals, rejections
from dicomnode.store.database import execute, rows
from dicomnode.store.referrals import Gate, Referral
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import CT_IMAGE, Sample, decode, encode, make_instances, uid
from tests.upper_layer import EXPLICIT_LE

CONFIG = fakes.CONFIG.replace("wait: 60s}", "wait: 60s, identity: none}")
MADE = make_instances(3, seed="reject", PatientID="A1234563")


@pytest.fixture
def node(build: Callable[..., Node]) -> Node:
    return build(CONFIG)


def note(word: str = "quality", named: Sequence[Sample] = MADE[:2], *, study: str = "", number: int = 0) -> Sample:
    """A rejection note as a source sends it, in the study that it rejects."""
    of, series, me = study or MADE[0].study, uid("notes", number), uid("note", number)
    wrong = [Rejected(CT_IMAGE, each.sop_instance, each.series, True) for each in named]
    common = (Element(0x00100020, "LO", "A1234563"),)
    told = Note(TITLES[word], "blurred", me, series, of, "20260131", "081502", "Harbour", "1", common, (), wrong)
    return Sample(None, SOP_CLASS, me, of, series, EXPLICIT_LE, rejection.encode(told))


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


def states(node: Node) -> dict[str, str]:
    with node.database.read():
        return {each.sop_instance_uid: each.state for each in ledger.listed(100, referral=1)}


def alarms(node: Node) -> list[str]:
    with node.database.read():
        return [event.text for event in audit.events(alarms=True)]


@pytest.mark.parametrize("word", TITLES)
def test_what_a_source_rejects_is_held_with_its_reason_and_not_its_words(node: Node, word: str) -> None:
    fakes.receive_all(node, MADE)
    fakes.receive(node, note(word))
    fakes.complete(node)
    assert (of(node).gate, send(node), alarms(node)) == (Gate.HELD, [], [])
    for said in ("CT1 rejects 2 instance(s)", TITLES[word].meaning, TITLES[word].value):
        assert said in of(node).reason
    with node.database.read():
        told = rows("SELECT text FROM events UNION SELECT text FROM rejections UNION SELECT hold FROM referrals")
    assert not [text for (text,) in told if "blurred" in text], "it may name the patient"


def test_the_note_itself_is_sent_to_nobody(node: Node) -> None:
    fakes.receive_all(node, MADE)
    fakes.receive(node, note())
    fakes.complete(node)
    assert states(node)[note().sop_instance] == "skipped"
    refer.release([1], "it was a mistake", "alice", node)
    fakes.receive(node, note())  # it comes again: a person has decided
    assert of(node).gate == Gate.OPEN
    assert set(send(node)) == {sample.sop_instance for sample in MADE}
    assert states(node)[note().sop_instance] == "skipped"


def test_a_key_object_that_rejects_nothing_goes_as_all_else(node: Node) -> None:
    other = note()
    dataset = other.dataset.replace(b"113001", b"113000")
    assert dataset != other.dataset
    fakes.receive_all(node, [*MADE, replace(other, dataset=dataset)])
    fakes.complete(node)
    assert other.sop_instance in send(node)


def test_of_what_was_sent_an_alarm_asks_for_a_recall(node: Node) -> None:
    fakes.receive_all(node, MADE)
    fakes.complete(node)
    assert len(send(node)) == 3
    fakes.receive(node, note("worklist"))
    assert of(node).gate == Gate.OPEN
    (alarm,) = alarms(node)
    assert "2 of them were sent" in alarm
    assert "referrals recall 1 --reason-code worklist" in alarm
    fakes.receive(node, note("worklist"))
    assert len(alarms(node)) == 1


def test_what_was_sent_in_part_is_held_and_asks_for_a_recall(node: Node) -> None:
    fakes.receive_all(node, MADE)
    fakes.complete(node)
    send(node)
    node.database.write(lambda: execute("UPDATE referrals SET progress = 'sending'"))
    fakes.receive(node, note())
    assert (of(node).gate, len(alarms(node))) == (Gate.HELD, 1)


def test_a_note_that_comes_before_what_it_names_stops_it(node: Node) -> None:
    fakes.receive(node, note(), called="REFERNODE")  # no route chooses that
    fakes.receive_all(node, MADE)
    fakes.complete(node)
    assert (of(node).gate, send(node)) == (Gate.HELD, [])
    assert "Quality" in of(node).reason


def test_one_site_rejects_nothing_of_another(node: Node) -> None:
    fakes.receive_all(node, MADE)
    theirs = make_instances(1, seed="theirs")[0]
    fakes.receive(node, theirs, "PEAK_CT")
    fakes.receive(node, note(study=theirs.study, number=1), "PEAK_CT")  # in a study of its own, and naming ours
    with node.database.read():
        assert rejections.named([MADE[0].study], "peak") == []
        assert rejections.named([MADE[0].study, theirs.study], "peak") == [(2, theirs.study)]
    fakes.receive(node, replace(note(number=2)), "PEAK_CT")  # in ours
    fakes.complete(node)
    assert of(node).gate == Gate.OPEN
    assert set(send(node)) == {sample.sop_instance for sample in MADE}


def test_one_site_stops_nothing_that_another_is_yet_to_send(node: Node) -> None:
    theirs = make_instances(1, seed="theirs")[0]
    crafted = note(study=theirs.study)
    document = decode(crafted.dataset)
    document.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID = MADE[0].study
    fakes.receive(node, replace(crafted, dataset=encode(document)), "PEAK_CT")
    fakes.receive_all(node, MADE)
    assert of(node).gate == Gate.OPEN


def test_another_route_does_not_send_it_either(build: Callable[..., Node]) -> None:
    more = "  - {name: more, from: [harbour], to: [ISLPACS], wait: 60s, identity: none}\n"
    node = build(CONFIG + more)
    fakes.receive_all(node, MADE[:1], called="REFERNODE")
    fakes.receive(node, note(), called="REFERNODE")
    fakes.receive_all(node, MADE[1:])  # only now the first route chooses it
    with node.database.read():
        every = [each for each in ledger.listed(100) if each.sop_instance_uid == note().sop_instance]
    assert {(each.partner, each.state) for each in every} == {("PUBPACS", "skipped"), ("ISLPACS", "skipped")}


def test_what_cannot_be_read_as_a_note_is_none(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejection, "MOST", 10)
    fakes.receive_all(node, [*MADE, note()])
    assert of(node).gate == Gate.OPEN


def many(count: int, *, instances: int = 1) -> Sample:
    """A note that names so many studies, MADE's the first, and so many instances of each."""
    made = note()
    document = decode(made.dataset)
    (first,) = document.CurrentRequestedProcedureEvidenceSequence
    every = [first]
    for number in range(1, count):
        every.append(copy.deepcopy(first))
        every[-1].StudyInstanceUID = uid("named", number)
    for number, study in enumerate(every):
        (some,) = study.ReferencedSeriesSequence
        references = some.ReferencedSOPSequence
        for other in range(instances):
            references.append(copy.deepcopy(references[0]))
            references[-1].ReferencedSOPInstanceUID = uid("named", number, other)
    document.CurrentRequestedProcedureEvidenceSequence = every
    return replace(made, dataset=encode(document))


def test_a_note_that_names_more_studies_than_anybody_rejects_stops_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reject, "_MOST", 3)
    fakes.receive_all(node, MADE)
    fakes.receive(node, many(4))
    fakes.complete(node)
    assert of(node).gate == Gate.OPEN
    assert set(send(node)) == {sample.sop_instance for sample in MADE}, "and not the note"
    (alarm,) = alarms(node)
    assert "of 4 studies" in alarm


def test_as_many_as_may_be_are_stopped(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reject, "_MOST", 3)
    fakes.receive_all(node, MADE)
    fakes.receive(node, many(3))
    fakes.complete(node)
    assert of(node).gate == Gate.HELD


def test_a_note_holds_nobody_up_by_what_it_names(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many instances it names, of whichever studies, it is a few statements for each study that is here."""
    fakes.receive_all(node, MADE)
    ran = []
    real = database._run
    monkeypatch.setattr(database, "_run", lambda sql, values: ran.append(sql) or real(sql, values))
    counts = []
    for instances in (1, 200):
        ran.clear()
        crafted, name = many(2, instances=instances), uid("m", instances)
        fakes.receive(node, replace(crafted, sop_instance=name, dataset=_as(crafted, name)))
        counts.append(len(ran))
    assert counts[1] <= counts[0], counts


def _as(note: Sample, sop_instance: str) -> bytes:
    document = decode(note.dataset)
    document.SOPInstanceUID = sop_instance
    return encode(document)
