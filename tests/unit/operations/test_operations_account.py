"""operations/account.py: what came of each sub-operation is told and written down, and a gate that closes is seen."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dicomnode.operations import refer
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node, Outgoing
from dicomnode.store import audit, lanes, ledger, queue
from tests import fakes
from tests.fakes import FakePartner
from tests.moves import plan, referred, send, transfers
from tests.samples import Sample, make_instances


def test_a_move_across_opens_a_referral_and_writes_every_result_down(here: Node, study: list[Sample]) -> None:
    fake = FakePartner(statuses={study[1].sop_instance: 0xB000})
    done = send(here, plan(here, "PUBPACS", study=study[0].study), fake)
    assert [(d.completed, d.warning) for d in done] == [(True, False), (True, True), (True, False)]
    assert transfers(here) == [("PUBPACS", "delivered", status) for status in (0, 0xB000, 0)]
    (found,) = referred(here)
    assert (found.route, found.state, found.delivered) == ("C-MOVE by RAD_WS", "sent", 3)
    with here.database.read():
        assert [e.kind for e in audit.events(referral=found.id)][-1] == "referral sent"
    assert plan(here, "PUBPACS", "PUBPACS", study[0].study).instances  # and the hospital sees it now


FAILURES = [
    (FakePartner(unreachable=True), [False] * 3),
    (FakePartner(rejected=True), [False] * 3),
    (FakePartner(refused={("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")}), [False] * 3),
    (FakePartner(status=0xA700), [False] * 3),
    (FakePartner(lose_at=2), [True, False, False]),
]


@pytest.mark.parametrize(("fake", "completed"), FAILURES, ids=["unreachable", "rejected", "context", "A700", "lost"])
def test_what_fails_is_told_and_not_queued(
    here: Node, study: list[Sample], fake: FakePartner, completed: list[bool]
) -> None:
    done = send(here, plan(here, "PUBPACS", study=study[0].study), fake)
    assert [d.completed for d in done] == completed
    assert [d.sop_instance_uid for d in done] == [s.sop_instance for s in study]
    assert [state for _, state, _ in transfers(here)] == ["delivered" if c else "dropped" for c in completed]
    assert referred(here)[0].state == ("sent" if any(completed) else "failed")
    assert not forward(here.config.partners["PUBPACS"], FakePartner(), here, lambda: False)

    assert all(d.completed for d in send(here, plan(here, "PUBPACS", study=study[0].study), FakePartner()))
    assert referred(here)[0].state == "sent"  # moved again, with success


def test_what_failed_is_told_to_the_operator_each_reason_once(here: Node, study: list[Sample]) -> None:
    fake = FakePartner(statuses={study[0].sop_instance: 0xA700, study[1].sop_instance: 0xA700})
    here.archive.path(plan(here, "RAD_WS", study=study[0].study).instances[2].file).unlink()
    send(here, plan(here, "RAD_WS", study=study[0].study), fake)
    with here.database.read():
        told = [(e.partner, e.text) for e in audit.events() if e.kind == "instances not retrieved"]
    assert {partner for partner, _ in told} == {"RAD_WS"}
    refused, unread = sorted(text for _, text in told)[::-1]
    assert refused.startswith("2 instance(s) did not go to RAD_WS: ")
    assert "A700H" in refused
    assert "cannot be read" in unread


def test_what_is_quarantined_meanwhile_is_not_moved_within_the_site_either(here: Node, study: list[Sample]) -> None:
    made, fake = plan(here, "RAD_WS", study=study[0].study), FakePartner()
    here.database.write(lambda: refer.quarantine(1, "doubt", here.clock(), here))
    done = send(here, made, fake)
    assert [each.completed for each in done] == [False] * 3
    assert all("quarantined" in each.reason for each in done)
    assert not fake.sent


def doubt(node: Node) -> None:
    node.database.write(lambda: refer.quarantine(1, "doubt", node.clock(), node))


def correct(node: Node) -> None:
    node.database.write(lambda: refer.correct(1, "a new name", node.clock(), node))


def hold_referral(node: Node) -> None:
    refer.hold([1], "wait", "anna", node)


def hold_lane(node: Node) -> None:
    node.database.write(lambda: lanes.hold("PUBPACS", "held by anna"))


STOPS = {"quarantined": doubt, "corrected": correct, "referral 1 is held": hold_referral, "lane of PUBPACS": hold_lane}


@pytest.mark.parametrize("why", STOPS)
@pytest.mark.parametrize("associations", [1, 3])
def test_a_move_ends_when_the_study_may_cross_no_more(build: Callable[..., Node], why: str, associations: int) -> None:
    node = build(fakes.CONFIG.replace("PUBPACS:  {", f"PUBPACS:  {{associations: {associations}, "))
    made = [*make_instances(8, seed="ends"), *make_instances(1, seed="ends", series=2, modality="MR")]
    fakes.receive_all(node, made, called="REFERNODE")
    lock = threading.Lock()

    def stop(_: Outgoing) -> None:
        with lock:
            if len(fake.sent) == 0 and not stopped:
                stopped.append(True)
                STOPS[why](node)

    stopped = list[bool]()
    fake = FakePartner(on_send=stop)
    done = send(node, plan(node, "PUBPACS", study=made[0].study), fake)
    assert len(done) == len(made)
    assert 1 <= len(fake.sent) == sum(each.completed for each in done) <= 2 * associations
    with node.database.read():
        reasons = {t.reason for t in ledger.listed(100, state="dropped")}
    assert len(reasons) == 1
    assert why in reasons.pop()


def drop(node: Node, *samples: Sample) -> None:
    """A person drops the transfers of these."""
    with node.database.read():
        found = [t.transfer for t in ledger.listed(100) if t.sop_instance_uid in {s.sop_instance for s in samples}]
    node.database.write(lambda: queue.drop(found, "not this one", node.clock()))


def test_what_a_person_drops_while_it_goes_does_not_go(here: Node) -> None:
    made = make_instances(4, seed="dropped")
    fakes.receive_all(here, made)
    fake = FakePartner()
    fake.on_send = lambda _: None if fake.sent else drop(here, *made[2:])
    done = send(here, plan(here, "PUBPACS", study=made[0].study), fake)
    assert [each.completed for each in done] == [True, True, False, False]
    assert {each.reason for each in done[2:]} == {"not this one"}
    assert [sent.sop_instance_uid for sent in fake.sent] == [sample.sop_instance for sample in made[:2]]
    assert [state for _, state, _ in transfers(here)] == ["delivered", "delivered", "dropped", "dropped"]


def test_what_was_on_its_way_when_a_person_dropped_it_is_told(here: Node) -> None:
    """Its row says what the person said; the audit trail says what happened."""
    (sample,) = made = make_instances(1, seed="on its way")
    fakes.receive_all(here, made)
    fake = FakePartner(on_send=lambda _: drop(here, sample))
    (done,) = send(here, plan(here, "PUBPACS", study=sample.study), fake)
    assert done.completed
    assert [state for _, state, _ in transfers(here)] == ["dropped"]
    with here.database.read():
        (told,) = [event.text for event in audit.events() if event.kind == "instance sent"]
    assert told == f"{sample.sop_instance} was on its way to PUBPACS when a person held or dropped it"


# -- together with a route -------------------------------------------------------------------------------------


def test_a_route_takes_over_what_was_moved_by_hand(here: Node, study: list[Sample]) -> None:
    """One image moved, one that failed, one not asked for: the route that chooses the study later owes the last two."""
    keys = {"SeriesInstanceUID": study[0].series, "SOPInstanceUID": f"{study[0].sop_instance}\\{study[1].sop_instance}"}
    made = plan(here, "PUBPACS", study=study[0].study, level="IMAGE", **keys)
    send(here, made, FakePartner(statuses={study[1].sop_instance: 0xA700}))
    late = make_instances(4, seed="move")[3]
    fakes.receive(here, late)  # to TO_GENERAL
    fakes.complete(here)
    fake = FakePartner()
    while forward(here.config.partners["PUBPACS"], fake, here, lambda: False):
        pass
    assert set(fake.uids) == {study[1].sop_instance, study[2].sop_instance, late.sop_instance}
    (found,) = referred(here)
    assert (found.state, found.delivered) == ("sent", 4)


def test_a_move_of_what_is_queued_settles_the_route_s_referral(here: Node) -> None:
    made = make_instances(2, seed="queued")
    fakes.receive_all(here, made)
    fakes.complete(here)
    send(here, plan(here, "PUBPACS", study=made[0].study), FakePartner())
    assert (len(referred(here)), referred(here)[0].state) == (1, "sent")
    assert not forward(here.config.partners["PUBPACS"], FakePartner(), here, lambda: False)


def test_a_failed_move_takes_nothing_back(here: Node) -> None:
    made = make_instances(2, seed="back")
    fakes.receive_all(here, made)
    fakes.complete(here)
    forward(here.config.partners["PUBPACS"], FakePartner(), here, lambda: False)
    send(here, plan(here, "PUBPACS", study=made[0].study), FakePartner(status=0xA700))
    assert transfers(here) == [("PUBPACS", "delivered", 0)] * 2
    assert referred(here)[0].state == "sent"


def test_an_unreachable_destination_charges_the_queue_nothing(here: Node) -> None:
    made = make_instances(2, seed="charge")
    fakes.receive_all(here, made)
    send(here, plan(here, "PUBPACS", study=made[0].study), FakePartner(unreachable=True))
    with here.database.read():
        assert [(t.state, t.attempts) for t in ledger.listed(10)] == [("queued", 0)] * 2
