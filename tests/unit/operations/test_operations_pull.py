"""operations/pull.py: what is expected of a site is looked for at its PACS, and fetched once; what fails, later."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from dicomnode.config.model import Partner
from dicomnode.dicom.identifier import Identifier
from dicomnode.errors import AssociationLost
from dicomnode.operations import intake, pull
from dicomnode.operations.ports import Node, Retrieved, Suboperations, Waiting
from dicomnode.store import audit, expected, referrals
from dicomnode.store.database import execute
from dicomnode.store.expected import Look
from tests import fakes
from tests.fakes import FakeClock, FakePartner
from tests.samples import Sample, make_instances

CONFIG = fakes.CONFIG.replace(
    "  PEAK_CT:", "  PACS: {site: harbour, host: 10.1.0.40, port: 104, may: [store], pull: true}\n  PEAK_CT:"
).replace("when: {called: TO_GENERAL}, to: [PUBPACS], wait: 60s", "to: [PUBPACS], wait: 60s, require: referral")
PATIENT = {"PatientID": "A1", "PatientName": "CHAN^TAI MAN", "PatientBirthDate": "19700131", "PatientSex": "M"}


ISSUERS = [  # of the patient ID as the PACS of harbour says it, and as the referral does; whether it is the study
    ("harbour", "", True),
    (" HARBOUR", "HARBOUR", True),
    ("", "HARBOUR", True),
    ("HKID", "HKID", True),
    ("HKID", "", False),
    ("", "HKID", False),  # an ID of nobody in particular is one of its site
]


@dataclass
class FakePacs(FakePartner):
    """A PACS with one study, which it sends to the node when it is asked to."""

    node: Node | None = None
    study: list[Sample] = field(default_factory=lambda: make_instances(2, seed="pulled", **PATIENT))
    sends: int = 2
    """How many of its instances come."""
    fails: int = 0
    """How many do not, as it says itself."""
    lost: bool = False

    def move(self, partner: Partner, wanted: Identifier, destination: str, waiting: Waiting) -> Retrieved:
        self._asked("move", partner, *(key.value for key in wanted.keys), destination)
        assert self.node
        fakes.receive_all(self.node, self.study[: self.sends], "PACS", called=destination)
        if self.lost:
            raise AssociationLost("the association was aborted")
        counts = Suboperations(0, self.sends, self.fails, 0)
        return Retrieved(0xB000 if self.fails else 0, "one failed" if self.fails else "", counts, ())

    def says(self, **changes: str) -> None:
        """What it answers to a query."""
        said = {
            "StudyInstanceUID": self.study[0].study,
            "PatientID": "A1",
            "AccessionNumber": "ACC1",
            "StudyDate": "20260921",
            "NumberOfStudyRelatedInstances": "2",
        }
        self.rows = lambda _: [fakes.asked("STUDY", **(said | changes))]


@pytest.fixture
def node(build: Callable[..., Node]) -> Node:
    """With a PACS of harbour's that is looked at."""
    return build(CONFIG)


@pytest.fixture
def pacs(node: Node) -> FakePacs:
    """Which has the study."""
    made = FakePacs(node=node)
    made.says()
    return made


def expect(node: Node, **changes: str) -> None:
    row = {"number": "R-1", "patient_id": "A1", "patient_name": "CHAN^TAI MAN", "patient_birth_date": "19700131"}
    row |= {"patient_sex": "M", "site": "harbour", "accession_number": "ACC1"} | changes
    data = f"{','.join(row)}\n{','.join(row.values())}\n".encode()
    assert not intake.import_file(data, "f.csv", "anna", node, check=False).bad


def look(node: Node, peer: FakePartner) -> bool:
    return pull.pull(node.config.partners["PACS"], peer, node, lambda: False)


def state(node: Node) -> Look:
    with node.database.read():
        return expected.look(1)


def advance(node: Node, seconds: float) -> None:
    assert isinstance(node.clock, FakeClock)
    node.clock.advance(seconds)


def test_what_is_expected_is_found_fetched_and_goes_on(node: Node, pacs: FakePacs) -> None:
    expect(node)
    assert look(node, pacs)
    assert pacs.questions == ["find", "move"]
    assert pacs.asked[1][2] == (pacs.study[0].study, "REFERNODE")
    assert state(node).text == "PACS has sent it: 2 instances"
    assert not look(node, pacs), "what has come is not looked for again"
    fakes.complete(node)
    with node.database.read():
        (found,) = referrals.listed()
    assert (found.gate, found.number, found.state) == ("open", "R-1", "complete")


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({}, [("ACC1", "")]),
        ({"accession_number": "ACC9"}, [("ACC9", ""), ("", "A1")]),
        ({"accession_number": ""}, [("", "A1")]),
    ],
)
def test_it_is_asked_by_accession_number_and_else_by_patient(
    node: Node, pacs: FakePacs, changes: dict[str, str], asked: list[tuple[str, str]]
) -> None:
    expect(node, **changes)
    questions: list[Identifier] = []
    rows = pacs.rows
    pacs.rows = lambda question: questions.append(question) or rows(question)  # type: ignore[func-returns-value]
    look(node, pacs)
    assert {question.level for question in questions} == {"STUDY"}
    assert [(question.value(0x00080050), question.value(0x00100020)) for question in questions] == asked
    assert state(node).at is None, "it was fetched"


@pytest.mark.parametrize(
    "said",
    [
        {"PatientID": "B2"},
        {"PatientID": ""},
        {"IssuerOfPatientID": "HKID"},
        {"AccessionNumber": "ACC2", "StudyDate": "20260901"},
        {"StudyInstanceUID": "no uid"},
        {"StudyInstanceUID": ""},
    ],
)
def test_what_is_not_it_is_not_fetched(node: Node, pacs: FakePacs, said: dict[str, str]) -> None:
    expect(node)
    pacs.says(**said)
    look(node, pacs)
    assert set(pacs.questions) == {"find"}
    assert state(node).text == "PACS does not have it yet"


@pytest.mark.parametrize(("said", "wanted", "fetched"), ISSUERS)
def test_a_patient_is_an_id_of_its_issuer(node: Node, pacs: FakePacs, said: str, wanted: str, fetched: bool) -> None:
    expect(node, issuer_of_patient_id=wanted)
    pacs.says(IssuerOfPatientID=said)
    look(node, pacs)
    assert ("move" in pacs.questions) is fetched


@pytest.mark.parametrize(("jitter", "after"), [(0.0, 30 * 0.875), (0.5, 30), (1.0, 30 * 1.125)])
def test_those_that_fail_together_are_not_asked_again_in_step(
    node: Node, monkeypatch: pytest.MonkeyPatch, jitter: float, after: float
) -> None:
    monkeypatch.setattr(random, "random", lambda: jitter)
    expect(node)
    assert look(node, FakePartner(unreachable=True))
    assert state(node).at == node.clock() + after * 1e6


def test_what_fails_for_long_waits_as_long_as_it_was_told_to(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", lambda: 1.0)
    expect(node)
    node.database.write(lambda: execute("UPDATE expected SET looks = 100"))
    assert look(node, FakePartner(unreachable=True))
    with node.database.read():
        assert pull.due(node)(node.config.partners["PACS"], node.clock()) == state(node).at
    assert not look(node, FakePartner())


@pytest.mark.parametrize("day", ["20260901", ""])
def test_by_patient_an_older_study_is_not_it(node: Node, pacs: FakePacs, day: str) -> None:
    expect(node, accession_number="")
    pacs.says(StudyDate=day)
    look(node, pacs)
    assert pacs.questions == ["find"]


def test_of_two_that_fit_neither_is_fetched(node: Node, pacs: FakePacs) -> None:
    expect(node, accession_number="")
    (one,) = pacs.rows(fakes.asked("STUDY"))
    pacs.says(StudyInstanceUID="1.2.3")
    (two,) = pacs.rows(fakes.asked("STUDY"))
    pacs.rows = lambda _: [one, two, one]
    look(node, pacs)
    assert pacs.questions == ["find"]
    assert state(node).text == "PACS has 2 studies that fit: none is fetched"


def test_it_is_looked_for_again_until_it_is_there(node: Node) -> None:
    expect(node)
    peer = FakePacs(node=node)
    assert look(node, peer)
    assert not look(node, peer), "every limits.pull"
    advance(node, 300)
    peer.says()
    assert look(node, peer)
    assert state(node).text == "PACS has sent it: 2 instances"


def test_a_clock_that_was_ahead_delays_nothing(node: Node) -> None:
    expect(node)
    peer = FakePacs(node=node)
    look(node, peer)
    advance(node, -86400)
    with node.database.read():
        assert pull.due(node)(node.config.partners["PACS"], node.clock()) == node.clock()
    assert look(node, peer)


def test_no_other_site_is_told_of_it(node: Node, pacs: FakePacs) -> None:
    expect(node, site="peak", issuer_of_patient_id="HARBOUR")
    assert not look(node, pacs)
    expect(node, number="R-2", site="", issuer_of_patient_id="HARBOUR")
    assert not look(node, pacs)
    assert pacs.asked == []


def test_what_has_come_already_is_not_fetched(node: Node, pacs: FakePacs) -> None:
    fakes.receive_all(node, make_instances(2, seed="pulled", **(PATIENT | {"PatientName": "CHAN^T M"})))
    fakes.complete(node)
    expect(node)  # by its patient it is found at once: nothing is left to look for
    assert not look(node, pacs)


def test_what_came_unknown_is_known_once_the_pacs_says_that_it_is_it(node: Node, pacs: FakePacs) -> None:
    fakes.receive_all(node, make_instances(2, seed="pulled", **(PATIENT | {"PatientID": "A9"})))
    fakes.complete(node)
    expect(node)
    look(node, pacs)
    assert pacs.questions == ["find"]
    assert state(node).text == "it is here: 2 instances, as many as PACS has"
    with node.database.read():
        (found,) = referrals.listed()
    assert found.number == "R-1"


def test_fewer_than_it_has_are_waited_for_and_fetched_again(node: Node, pacs: FakePacs) -> None:
    expect(node)
    pacs.sends, pacs.fails = 1, 1
    look(node, pacs)
    assert state(node).text.startswith("PACS has it, and 1 of 2 instances have come: some were not sent")
    assert state(node).text.endswith("(B000H): one failed")
    assert state(node).times == 1
    assert fakes.complete(node) == 0, "it is not complete"
    pacs.sends = 2
    assert look(node, pacs), "the minute until it is tried again has passed"
    assert state(node).text == "PACS has sent it: 2 instances"
    assert fakes.complete(node) == 1


def test_what_fails_is_tried_again_later_each_time(
    node: Node, pacs: FakePacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.5)
    expect(node)
    pacs.sends, pacs.lost = 0, True
    waits = []
    for _ in range(4):
        look(node, pacs)
        at = state(node).at
        assert at is not None
        waits.append((at - node.clock()) // fakes.SECOND)
        advance(node, waits[-1])
    assert waits == [30, 60, 120, 240]
    assert state(node).text == "PACS has it, and did not send it: the association was aborted"
    with node.database.read():
        kinds = [each.kind for each in audit.events()]
    assert kinds.count("expected study not fetched") == 1, "once an hour"


def test_who_cannot_be_asked_is_left_alone_with_all_of_it(node: Node) -> None:
    expect(node)
    expect(node, number="R-2")
    peer = FakePartner(unreachable=True)
    assert look(node, peer)
    assert not look(node, peer)
    assert state(node).text == "PACS cannot be asked: no connection: [Errno 111] Connection refused"
    assert state(node).times == 1


def test_a_pacs_without_end_is_cut_off(node: Node, pacs: FakePacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "_MOST", 3)
    expect(node)
    (it,) = pacs.rows(fakes.asked("STUDY"))
    pacs.says(PatientID="B2")
    (other,) = pacs.rows(fakes.asked("STUDY"))
    pacs.rows = lambda _: [other, other, other, it]
    look(node, pacs)
    assert set(pacs.questions) == {"find"}


def test_only_what_is_configured_is_looked_at(node: Node) -> None:
    assert [name for name, partner in node.config.partners.items() if pull.slots(partner)] == ["PACS"]
