"""operations/getting.py: a C-GET passes the gates that a C-MOVE passes, and opens no referral."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from dicomnode.errors import AssociationLost, ContextMissing, GateClosed
from dicomnode.operations import account, getting, refer, retrieve
from dicomnode.operations.account import SubOperation
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node, Originator, Outgoing
from dicomnode.operations.retrieve import Asked, Plan
from dicomnode.rules.matching import Model
from dicomnode.store import audit, lanes, ledger, queue, referrals
from dicomnode.store.audit import Event
from dicomnode.store.database import one
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import Sample, make_instances


class Link:
    """The association of who asks: implements ports.Link. `fails`: what an instance is met with in place of 0000H."""

    def __init__(self, fails: dict[str, int | Exception] | None = None) -> None:
        self.fails = fails or {}
        self.sent: list[str] = []
        self.following: list[str] = []
        self.on_send: Callable[[], None] = lambda: None

    def send(self, instance: Outgoing, originator: Originator | None = None, following: Outgoing | None = None) -> int:
        assert originator is None
        self.sent.append(instance.sop_instance_uid)
        self.following.append(following.sop_instance_uid if following else "")
        self.on_send()
        answer = self.fails.get(instance.sop_instance_uid, 0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def plan(node: Node, caller: str, study: str, level: str = "STUDY", **keys: str) -> Plan:
    asked = Asked(fakes.asked(level, StudyInstanceUID=study, **keys), Model.STUDY_ROOT)
    return retrieve.plan_get(asked, node.config.partners[caller], node)


def send(node: Node, made: Plan, link: Link, stopped: Callable[[], bool] = lambda: False) -> list[SubOperation]:
    return list(getting.send(made, link, node, stopped))


def told(node: Node, kind: str) -> list[Event]:
    with node.database.read():
        return [event for event in audit.events() if event.kind == kind]


def in_ledger(node: Node) -> list[tuple[str, str, int]]:
    with node.database.read():
        return [(t.partner, t.state, t.attempts) for t in ledger.listed(100)]


@pytest.fixture
def referred(here: Node) -> list[Sample]:
    """Three instances of harbour that were referred to PUBPACS, and that it has."""
    made = make_instances(3, seed="get")
    fakes.receive_all(here, made)
    fakes.complete(here)
    forward(here.config.partners["PUBPACS"], FakePartner(), here, lambda: False)
    return made


def test_within_the_site_nothing_is_written_down(here: Node, referred: list[Sample]) -> None:
    before, link = in_ledger(here), Link()
    done = send(here, plan(here, "RAD_WS", referred[0].study), link)
    assert done == [SubOperation(sample.sop_instance, completed=True) for sample in referred]
    assert link.following == [*link.sent[1:], ""]
    assert in_ledger(here) == before
    assert not told(here, "study fetched")


def test_whose_referral_it_is_has_it_in_its_ledger_and_nobody_else(here: Node, referred: list[Sample]) -> None:
    failing = {referred[1].sop_instance: 0xA700}
    for caller, attempts in (("PUBPACS", 2), ("PUB_WS", 2)):
        done = send(here, plan(here, caller, referred[0].study), Link(dict(failing)))
        assert [each.completed for each in done] == [True, False, True]
        assert in_ledger(here) == [("PUBPACS", "delivered", n) for n in (attempts, 1, attempts)]
    fetched = {(event.partner, event.referral) for event in told(here, "study fetched")}
    assert fetched == {("PUBPACS", 1), ("PUB_WS", None)}
    with here.database.read():
        assert len(referrals.listed()) == 1


def test_another_hospital_fetches_nothing(here: Node, referred: list[Sample]) -> None:
    assert plan(here, "ISLPACS", referred[0].study).instances == ()


STOPS: dict[str, Callable[[Node], object]] = {
    "quarantined": lambda node: node.database.write(lambda: refer.quarantine(1, "doubt", node.clock(), node)),
    "corrected": lambda node: node.database.write(lambda: refer.correct(1, "a new name", node.clock(), node)),
    "referral 1 is held": lambda node: refer.hold([1], "wait", "anna", node),
    "lane of PUBPACS": lambda node: node.database.write(lambda: lanes.hold("PUBPACS", "held by anna")),
}


@pytest.mark.parametrize("why", STOPS)
@pytest.mark.parametrize("caller", ["PUBPACS", "PUB_WS"])
def test_what_closes_after_the_decision_is_seen_before_the_first_goes(
    here: Node, referred: list[Sample], caller: str, why: str
) -> None:
    made, link = plan(here, caller, referred[0].study), Link()
    STOPS[why](here)
    done = send(here, made, link)
    assert [each.completed for each in done] == [False] * 3
    assert all(why in each.reason for each in done)
    assert not link.sent
    (event,) = told(here, "instances not retrieved")
    assert event.text.startswith(f"3 instance(s) did not go to {caller}: ")
    assert why in event.text


def is_refused(node: Node, caller: str, study: str) -> bool:
    """Whether a study is not there for the caller, or is there and its gate closed."""
    try:
        return not plan(node, caller, study).instances
    except GateClosed:
        return True


@pytest.mark.parametrize("why", STOPS)
def test_what_is_closed_is_refused(here: Node, referred: list[Sample], why: str) -> None:
    STOPS[why](here)
    assert is_refused(here, "PUBPACS", referred[0].study)
    assert is_refused(here, "PUB_WS", referred[0].study)
    assert is_refused(here, "RAD_WS", referred[0].study) == (why == "quarantined")


def test_within_the_site_too_a_quarantine_ends_it(here: Node, referred: list[Sample]) -> None:
    made, link = plan(here, "RAD_WS", referred[0].study), Link()
    STOPS["quarantined"](here)
    assert [each.completed for each in send(here, made, link)] == [False] * 3
    assert not link.sent


def test_what_closes_while_it_goes_is_seen_within_a_second(
    here: Node, referred: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(account, "time", SimpleNamespace(monotonic=lambda: now[0]))
    made, link = plan(here, "RAD_WS", referred[0].study), Link()

    def close() -> None:
        STOPS["quarantined"](here)
        now[0] += 0.6

    link.on_send = close
    assert [each.completed for each in send(here, made, link)] == [True, True, False]


def test_what_a_person_has_dropped_is_not_fetched(here: Node) -> None:
    made = make_instances(2, seed="get word")
    fakes.receive_all(here, made)
    fakes.complete(here)
    here.database.write(lambda: queue.drop([_transfer(1)], "dropped by anna: wrong patient", 1))
    link = Link()
    assert [each.completed for each in send(here, plan(here, "PUB_WS", made[0].study), link)] == [True]
    assert link.sent == [made[1].sop_instance]


def _transfer(instance: int) -> int:
    return int(one("SELECT id FROM transfers WHERE instance = ?", instance)[0])


def test_what_cannot_go_fails_alone_and_why_is_told_once(here: Node, referred: list[Sample]) -> None:
    link = Link({sample.sop_instance: ContextMissing("no context") for sample in referred[:2]})
    done = send(here, plan(here, "RAD_WS", referred[0].study), link)
    assert [(each.completed, each.reason) for each in done] == [(False, "no context")] * 2 + [(True, "")]
    assert [event.text for event in told(here, "instances not retrieved")] == [
        "2 instance(s) did not go to RAD_WS: no context"
    ]


def test_when_the_association_is_lost_everything_left_has_failed(here: Node, referred: list[Sample]) -> None:
    link = Link({referred[1].sop_instance: AssociationLost("no answer in time")})
    done = send(here, plan(here, "PUBPACS", referred[0].study), link)
    assert [each.completed for each in done] == [True, False, False]
    assert link.sent == [sample.sop_instance for sample in referred[:2]]
    assert in_ledger(here) == [("PUBPACS", "delivered", n) for n in (2, 1, 1)]


def test_a_stop_is_heard_between_any_two(here: Node, referred: list[Sample]) -> None:
    link = Link()
    done = send(here, plan(here, "RAD_WS", referred[0].study), link, lambda: len(link.sent) == 1)
    assert len(done) == len(link.sent) == 1


def test_not_every_one_of_many_reasons_is_told(here: Node) -> None:
    made = make_instances(30, seed="reasons")
    fakes.receive_all(here, made, called="REFERNODE")
    link = Link({sample.sop_instance: ContextMissing(sample.sop_instance) for sample in made})
    assert len(send(here, plan(here, "RAD_WS", made[0].study), link)) == 30
    assert len(told(here, "instances not retrieved")) == 20
