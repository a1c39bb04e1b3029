"""operations/trail.py: what came, went and was asked is in the audit trail, by study, as PS3.15 A.5.3 wants it told."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Callable, Sequence

import pytest

from dicomnode.operations import forward, getting, retrieve, trail
from dicomnode.operations.ports import Node
from dicomnode.operations.receive import receive
from dicomnode.operations.trail import Received
from dicomnode.rules.matching import Model
from dicomnode.store import audit, chain, later
from dicomnode.store.audit import Event
from tests import fakes
from tests.fakes import FakePartner
from tests.node import wait_until
from tests.samples import Sample, make_instances

FIND, IMPLICIT = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.2"


def told(node: Node, *kinds: str) -> list[Event]:
    """The entries of some kinds, once they are written."""

    def found() -> list[Event]:
        with node.database.read():
            return [event for event in audit.events(1000) if event.kind in kinds]

    return wait_until(found, 5, f"an entry of {kinds}")  # type: ignore[no-any-return]


def take(node: Node, samples: Sequence[Sample], received: Received) -> None:
    """As the desk does for each C-STORE."""
    for sample in samples:
        part = fakes.part_of(node, sample, fakes.origin(node))
        received.count(receive(part, fakes.command_of(sample), fakes.origin(node), node), sample.sop_class)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later, "_MOMENT", 0.01)


@pytest.fixture
def received(here: Node) -> Received:
    return Received(here.config.partners["CT1"], "10.1.0.9", here)


def test_what_an_association_brought_is_told_by_study(here: Node, received: Received) -> None:
    first, second = make_instances(3, seed=1, PatientID="A1234563"), make_instances(2, seed=2)
    take(here, [first[0], second[0], *first[1:], second[1]], received)
    received.tell()
    events = told(here, "instances received")
    assert [(e.study_instance_uid, e.classes) for e in events] == [
        (first[0].study, ((first[0].sop_class, 3),)),
        (second[0].study, ((second[0].sop_class, 2),)),
    ]
    assert {(e.partner, e.who, e.address, e.outcome) for e in events} == {("CT1", "CT1", "10.1.0.9", 0)}
    assert (events[0].patient_id, events[0].issuer_of_patient_id) == ("A1234563", "HARBOUR")


def test_what_was_known_already_and_what_was_refused_are_told_apart(here: Node, received: Received) -> None:
    samples = make_instances(2)
    take(here, samples, received)
    take(here, samples[:1], received)
    received.refuse("it is truncated")
    received.refuse("it is truncated")
    received.tell()
    events = {event.kind: event for event in told(here, "instances received", "instances received again")}
    assert events["instances received"].classes[0][1] == 2
    assert events["instances received again"].classes[0][1] == 1
    assert [event.text for event in told(here, "instances refused")] == ["2 instances: it is truncated"]


def test_what_is_told_is_told_once(here: Node, received: Received) -> None:
    take(here, make_instances(1), received)
    received.tell()
    received.tell()
    assert len(told(here, "instances received")) == 1


def test_a_long_association_is_told_of_while_it_lasts(
    here: Node, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "_OFTEN", -1.0)
    take(here, make_instances(1), received)
    assert told(here, "instances received")


def test_reasons_of_a_peer_s_making_fill_no_trail(here: Node, received: Received) -> None:
    for number in range(50):
        received.refuse(f"instance {number} is wrong")
    received.tell()
    assert len(told(here, "instances refused")) == 5


@pytest.mark.parametrize(("status", "outcome"), [(0x0000, 0), (0xFE00, 0), (0xA900, 8), (0xA700, 8)])
def test_a_query_is_told_as_it_was_asked(here: Node, status: int, outcome: int) -> None:
    identifier = b"\x08\x00\x52\x00\x06\x00\x00\x00STUDY "
    caller = here.config.partners["RAD_WS"]
    trail.query(trail.Asked(FIND, IMPLICIT, identifier), caller, "10.1.0.30", status, here)
    (event,) = told(here, "query answered")
    syntax, _, encoded = event.query.partition(" ")
    assert (syntax, b64decode(encoded)) == (IMPLICIT, identifier)
    assert (event.classes, event.partner, event.address, event.outcome) == (
        ((FIND, 0),),
        "RAD_WS",
        "10.1.0.30",
        outcome,
    )


def test_of_a_long_identifier_the_beginning_is_kept_and_what_it_was(here: Node) -> None:
    """Whoever may ask writes it for good."""
    identifier = b"x" * 40_000
    trail.query(trail.Asked(FIND, IMPLICIT, identifier), here.config.partners["RAD_WS"], "", 0, here)
    (event,) = told(here, "query answered")
    syntax, _, encoded = event.query.partition(" ")
    assert (syntax, b64decode(encoded)) == (IMPLICIT, identifier[:2048])
    assert "40000 bytes" in event.text
    assert hashlib.sha256(identifier).hexdigest() in event.text


def test_of_what_is_kept_whole_no_more_is_told(here: Node) -> None:
    trail.query(trail.Asked(FIND, IMPLICIT, b"x" * 2048), here.config.partners["RAD_WS"], "", 0, here)
    (event,) = told(here, "query answered")
    assert event.text == "RAD_WS was answered 0000H"


def sent(node: Node, partner: FakePartner) -> list[Event]:
    fakes.receive_all(node, make_instances(3))
    fakes.complete(node)
    assert forward.forward(node.config.partners["PUBPACS"], partner, node, lambda: False)
    return told(node, "sending begins", "instances sent", "instances not sent")


def test_a_batch_is_told_of_before_and_after(here: Node) -> None:
    begun, ended = sent(here, FakePartner())
    assert (begun.kind, ended.kind) == ("sending begins", "instances sent")
    assert begun.classes == ended.classes == ((make_instances(1)[0].sop_class, 3),)
    assert (ended.referral, ended.partner) == (1, "PUBPACS")
    assert ended.study_instance_uid == make_instances(1)[0].study


def test_that_a_batch_begins_is_written_before_anything_of_it_is_sent(here: Node) -> None:
    seen = []

    def look(_: object) -> None:
        with here.database.read():
            seen.append([event.kind for event in audit.events()][-1])

    partner = FakePartner()
    partner.on_send = look
    sent(here, partner)
    assert seen[0] == "sending begins"


def test_what_was_not_sent_is_told_apart(here: Node) -> None:
    """One message for what succeeded and one for what did not (A.5.2)."""
    bad = make_instances(3)[1].sop_instance
    begun, good, failed = sent(here, FakePartner(statuses={bad: 0xA900}))
    assert (begun.classes[0][1], good.classes[0][1]) == (3, 2)
    assert (failed.kind, failed.classes) == ("instances not sent", ())
    assert failed.text.startswith("1 instances were not sent: ")


def test_a_partner_that_cannot_be_reached_was_sent_nothing(here: Node) -> None:
    begun, failed = sent(here, FakePartner(unreachable=True))
    assert (begun.kind, failed.kind) == ("sending begins", "instances not sent")


@pytest.mark.parametrize(("caller", "begin"), [("RAD_WS", "study retrieved"), ("PUBPACS", "study fetched")])
def test_who_fetches_a_study_is_told_of(here: Node, caller: str, begin: str) -> None:
    samples = make_instances(3)
    fakes.receive_all(here, samples)
    fakes.complete(here)
    asked = retrieve.Asked(fakes.asked("STUDY", StudyInstanceUID=samples[0].study), Model.STUDY_ROOT)
    plan = retrieve.plan_get(asked, here.config.partners[caller], here)
    with FakePartner(statuses={samples[0].sop_instance: 0xA900}).associate(plan.destination, ()) as link:
        list(getting.send(plan, link, here, lambda: False))
    (begun,), (ended,) = told(here, begin), told(here, "instances sent")
    assert {(e.who, e.partner, e.study_instance_uid) for e in (begun, ended)} == {(caller, caller, samples[0].study)}
    assert ended.classes == ((samples[0].sop_class, 2),), "what failed was not sent"
    (failed,) = told(here, "instances not retrieved")
    assert failed.who == caller


def test_a_start_knows_how_the_last_one_ended(build: Callable[..., Node]) -> None:
    node = build()
    steps = (trail.started, trail.stopped, trail.started, trail.started)
    for step in steps:
        node.database.write(lambda step=step: step(7, node.clock()))
    seen = [(event.kind, event.outcome) for event in told(node, "node started", "node stopped")]
    assert seen == [("node started", 0), ("node stopped", 0), ("node started", 0), ("node started", 4)]
    with node.database.read():
        assert list(chain.verify()) == []
