"""operations/retrieve.py: a C-MOVE is decided before anybody is contacted, and its crossing written down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from itertools import islice

import pytest

from dicomnode.errors import BadIdentifier, GateClosed, UnknownDestination
from dicomnode.operations import housekeep, moving, quarantine, refer, retrieve
from dicomnode.operations.account import SubOperation
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node, Originator, Outgoing
from dicomnode.operations.retrieve import Plan, Request
from dicomnode.rules.matching import Model
from dicomnode.store import audit, lanes, ledger, queue, referrals
from dicomnode.store.database import one
from tests import fakes
from tests.fakes import FakePartner
from tests.node import wait_until
from tests.samples import Sample, make_instances

WHO = Originator("RAD_WS", 7, 1)


def plan(node: Node, to: str, caller: str = "RAD_WS", study: str = "", level: str = "STUDY", **keys: str) -> Plan:
    asked = fakes.asked(level, **({"StudyInstanceUID": study} if study else {}), **keys)
    return retrieve.plan(Request(asked, Model.STUDY_ROOT), to, node.config.partners[caller], node)


def send(node: Node, made: Plan, fake: FakePartner) -> list[SubOperation]:
    return [done for done in moving.send(made, WHO, fake, node, lambda: False) if done]


def transfers(node: Node) -> list[tuple[str, str, int | None]]:
    with node.database.read():
        return [(t.partner, t.state, t.last_status) for t in ledger.listed(100)]


def referred(node: Node) -> list[referrals.Referral]:
    with node.database.read():
        return referrals.listed()


@pytest.fixture
def study(here: Node) -> list[Sample]:
    """Three instances of harbour that no route chose."""
    made = make_instances(3, seed="move")
    fakes.receive_all(here, made, called="REFERNODE")
    return made


# -- within the site -------------------------------------------------------------------------------------------


def test_a_workstation_moves_its_own_site_s_study_to_itself(here: Node, study: list[Sample]) -> None:
    fake = FakePartner()
    done = send(here, plan(here, "RAD_WS", study=study[0].study), fake)
    assert done == [SubOperation(s.sop_instance, completed=True) for s in study]
    assert [(s.dataset, s.partner, s.originator) for s in fake.sent] == [(s.dataset, "RAD_WS", WHO) for s in study]
    assert not referred(here)  # no border was crossed
    assert not transfers(here)


def test_one_series_or_image_can_be_chosen(here: Node, study: list[Sample]) -> None:
    keys = {"SeriesInstanceUID": study[0].series, "SOPInstanceUID": study[1].sop_instance}
    found = plan(here, "RAD_WS", study=study[0].study, level="IMAGE", **keys).instances
    assert [i.sop_instance_uid for i in found] == [study[1].sop_instance]


def test_nothing_found_is_nothing_to_do(here: Node) -> None:
    fake = FakePartner()
    assert send(here, plan(here, "PUBPACS", study="1.2.3"), fake) == []
    assert not fake.contexts
    assert not referred(here)


# -- refusals, before any contact ------------------------------------------------------------------------------

REFUSED = [
    ("RAD_WS", "NOWHERE", "unknown"),
    ("RAD_WS", "CT1", "unknown"),  # known, and nobody can call it
    ("RAD_WS", "PEAK_WS", "forbidden"),
    ("PUBPACS", "RAD_WS", "forbidden"),
    ("PUBPACS", "ISLPACS", "forbidden"),
    ("RAD_WS", "", "unknown"),
    ("RAD_WS", "pubpacs", "unknown"),
]


@pytest.mark.parametrize(("caller", "to", "why"), REFUSED)
def test_a_destination_comes_from_the_configuration_alone(
    here: Node, study: list[Sample], caller: str, to: str, why: str
) -> None:
    with pytest.raises(UnknownDestination) as caught:
        plan(here, to, caller, study[0].study)
    assert str(caught.value) == f"Move Destination {to} unknown"  # the caller does not learn which
    with here.database.read():
        event = audit.events()[-1]
    assert (event.kind, event.partner) == ("move destination refused", caller)
    assert event.text.endswith(why)


def test_one_title_at_two_sites_is_the_one_that_may_be_reached(build: Callable[..., Node]) -> None:
    node = build(fakes.CONFIG.replace("PEAK_WS:  {site: peak,", "PEAK_WS:  {site: peak, ae_title: RAD_WS,"))
    made = make_instances(1)
    fakes.receive_all(node, made, called="REFERNODE")
    assert plan(node, "RAD_WS", study=made[0].study).destination.name == "RAD_WS"
    assert plan(node, "RAD_WS", "PEAK_WS", study=made[0].study).destination.name == "PEAK_WS"


def test_a_bad_identifier_is_refused(here: Node, study: list[Sample]) -> None:
    with pytest.raises(BadIdentifier):
        plan(here, "RAD_WS")


def test_another_site_s_study_does_not_exist(here: Node, study: list[Sample]) -> None:
    assert plan(here, "PEAK_WS", "PEAK_WS", study[0].study).instances == ()
    assert plan(here, "PUBPACS", "PUBPACS", study[0].study).instances == ()


@pytest.mark.parametrize("to", ["RAD_WS", "PUBPACS"])
def test_a_quarantined_study_goes_nowhere(here: Node, study: list[Sample], to: str) -> None:
    here.database.write(lambda: refer.quarantine(1, "doubt", here.clock(), here))
    with pytest.raises(GateClosed):
        plan(here, to, study=study[0].study)
    assert not referred(here)


# -- across a flow ---------------------------------------------------------------------------------------------


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


def test_a_referral_is_not_sent_while_its_move_goes_on(here: Node, study: list[Sample]) -> None:
    made = plan(here, "PUBPACS", study=study[0].study)
    under_way = moving.send(made, WHO, FakePartner(), here, lambda: False)
    list(islice(under_way, 1))
    housekeep.tidy(here, fakes.FakeCallers())
    assert referred(here)[0].state == "sending"
    list(under_way)
    assert referred(here)[0].state == "sent"


def test_a_move_that_is_given_up_leaves_no_referral_under_way(here: Node, study: list[Sample]) -> None:
    made, fake = plan(here, "PUBPACS", study=study[0].study), FakePartner()
    assert len([d for d in moving.send(made, WHO, fake, here, lambda: len(fake.sent) == 1) if d]) == 1
    assert referred(here)[0].state == "sent"
    assert len(transfers(here)) == 1


def test_a_move_that_was_killed_is_settled_by_the_next_start(here: Node, study: list[Sample]) -> None:
    made = plan(here, "PUBPACS", study=study[0].study)
    under_way = moving.send(made, WHO, FakePartner(), here, lambda: False)
    next(under_way)
    assert referred(here)[0].state == "sending"
    housekeep.recover_all(here)
    assert referred(here)[0].state == "sent"


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


def test_a_file_that_is_gone_fails_alone(here: Node, study: list[Sample]) -> None:
    made = plan(here, "RAD_WS", study=study[0].study)
    here.archive.path(made.instances[1].file).unlink()
    assert [d.completed for d in send(here, made, FakePartner())] == [True, False, True]


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


# -- on several associations -----------------------------------------------------------------------------------


@pytest.fixture
def four(build: Callable[..., Node]) -> Node:
    """A node whose workstation takes four associations, with twelve instances."""
    node = build(fakes.CONFIG.replace("host: 10.1.0.30,", "host: 10.1.0.30, associations: 4,"))
    fakes.receive_all(node, make_instances(12, seed="four"), called="REFERNODE")
    return node


def study_of(node: Node) -> str:
    return make_instances(1, seed="four")[0].study


def test_a_move_uses_as_many_associations_as_the_destination_takes(four: Node) -> None:
    fake, gate = FakePartner(), threading.Barrier(4, timeout=10)
    first = threading.local()

    def together(_: object) -> None:
        if not hasattr(first, "done"):
            first.done = gate.wait()  # as long as the others have not begun, this one is not answered

    fake.on_send = together
    done = send(four, plan(four, "RAD_WS", study=study_of(four)), fake)
    assert len(fake.contexts) == fake.released == 4
    assert {each.association for each in fake.sent} == {0, 1, 2, 3}
    assert sorted(d.sop_instance_uid for d in done) == sorted(fake.uids)
    assert len(set(fake.uids)) == 12


def test_what_one_association_loses_the_others_carry_on(four: Node) -> None:
    made = make_instances(12, seed="four")
    fake = FakePartner(lose={made[5].sop_instance})
    done = send(four, plan(four, "RAD_WS", study=study_of(four)), fake)
    assert {d.sop_instance_uid: d.completed for d in done} == {m.sop_instance: m is not made[5] for m in made}
    assert (fake.released, fake.aborted) == (len(fake.contexts) - 1, 1)  # a fifth where the others had ended first


def test_what_a_lost_association_had_not_begun_is_sent_when_the_others_have_ended(four: Node) -> None:
    made = make_instances(12, seed="four")
    fake = FakePartner(lose={made[0].sop_instance})

    def last_of_all(instance: Outgoing) -> None:
        if instance.sop_instance_uid == made[0].sop_instance:
            wait_until(lambda: fake.released == 3, 10, "the others to end")

    fake.on_send = last_of_all
    done = send(four, plan(four, "RAD_WS", study=study_of(four)), fake)
    assert {d.sop_instance_uid: d.completed for d in done} == {m.sop_instance: m is not made[0] for m in made}
    assert (len(done), len(fake.contexts), fake.released, fake.aborted) == (12, 5, 4, 1)


def test_when_the_new_association_is_lost_too_what_is_left_has_failed(four: Node) -> None:
    made = make_instances(12, seed="four")
    fake = FakePartner(lose={made[0].sop_instance})

    def last_of_all(instance: Outgoing) -> None:
        if instance.sop_instance_uid == made[0].sop_instance:
            wait_until(lambda: fake.released == 3, 10, "the others to end")
            fake.unreachable = True

    fake.on_send = last_of_all
    done = send(four, plan(four, "RAD_WS", study=study_of(four)), fake)
    assert [d.completed for d in done].count(False) == 2
    assert (len(done), len(fake.contexts)) == (12, 5)


def test_when_all_are_lost_what_is_left_has_failed(four: Node) -> None:
    made = make_instances(12, seed="four")
    fake = FakePartner(lose={m.sop_instance for m in made})
    done = send(four, plan(four, "RAD_WS", study=study_of(four)), fake)
    assert sorted(d.sop_instance_uid for d in done) == sorted(m.sop_instance for m in made)
    assert not any(d.completed for d in done)
    assert len(fake.sent) == fake.aborted == 4


def test_a_stop_ends_them_all_after_the_instance_in_hand(four: Node) -> None:
    fake = FakePartner()
    made = plan(four, "RAD_WS", study=study_of(four))
    done = [each for each in moving.send(made, WHO, fake, four, lambda: True) if each]
    assert 1 <= len(done) == len(fake.sent) <= 4
    assert fake.released == len(fake.contexts)


def test_while_an_instance_takes_its_time_the_caller_is_not_kept_waiting(
    here: Node, study: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "_TICK", 0.01)
    answer = threading.Event()
    under_way = moving.send(
        plan(here, "RAD_WS", study=study[0].study),
        WHO,
        FakePartner(on_send=lambda _: answer.wait(10)),  # type: ignore[arg-type,return-value]
        here,
        lambda: False,
    )
    assert [next(under_way) for _ in range(3)] == [None] * 3
    answer.set()
    assert len([each for each in under_way if each]) == 3


def test_our_own_bug_is_raised_where_somebody_answers_for_it(here: Node, study: list[Sample]) -> None:
    def bug(_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        send(here, plan(here, "RAD_WS", study=study[0].study), FakePartner(on_send=bug))


def test_a_move_that_nobody_follows_leaves_no_thread(four: Node) -> None:
    before = set(threading.enumerate())
    under_way = moving.send(plan(four, "RAD_WS", study=study_of(four)), WHO, FakePartner(), four, lambda: False)
    next(under_way)
    started = [thread for thread in threading.enumerate() if thread not in before]
    assert isinstance(under_way, Generator)
    under_way.close()
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()


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


def test_a_closed_gate_stops_a_move(here: Node) -> None:
    made = make_instances(1, seed="gate")
    fakes.receive_all(here, made)
    number = referred(here)[0].id
    refer.hold([number], "wait", "anna", here)
    for title in ("PUBPACS", "PUB_WS"):  # another AE of the same hospital, too
        with pytest.raises(GateClosed, match=f"referral {number} is held"):
            plan(here, title, study=made[0].study)
    assert plan(here, "ISLPACS", study=made[0].study).referrals  # another hospital's own
    assert plan(here, "RAD_WS", study=made[0].study).instances  # within the site it may


@pytest.mark.parametrize("sent", [False, True])
def test_a_study_that_was_corrected_crosses_no_flow(here: Node, sent: bool) -> None:
    """Neither what was sent before, nor what nobody refers; its own site goes on seeing what is current."""
    made = make_instances(1, seed="corrected")
    fakes.receive_all(here, made, called="TO_GENERAL" if sent else "REFERNODE")
    fakes.complete(here)
    forward(here.config.partners["PUBPACS"], FakePartner(), here, lambda: False)
    fakes.receive_all(here, make_instances(1, seed="corrected", PatientName="NEW^NAME"), called="REFERNODE")
    for title in ("PUBPACS", "ISLPACS"):
        with pytest.raises(GateClosed, match="corrected"):
            plan(here, title, study=made[0].study)
    assert len(referred(here)) == sent
    assert len(plan(here, "RAD_WS", study=made[0].study).instances) == 1
    quarantine.release(made[0].study, 2, "called the ward", "anna", here)
    assert plan(here, "ISLPACS", study=made[0].study).referrals


# -- a person's word -------------------------------------------------------------------------------------------


def say(node: Node, word: Callable[[list[int]], object], instance: int = 1) -> None:
    """Do something to the transfer of an instance to PUBPACS."""
    node.database.write(lambda: word([one("SELECT id FROM transfers WHERE instance = ?", instance)[0]]))


WORDS = [
    lambda ids: queue.drop(ids, "dropped by anna: wrong patient", 1),
    lambda ids: queue.hold(ids, "held by anna: wrong patient"),
]


@pytest.mark.parametrize("word", WORDS, ids=["drop", "hold"])
def test_what_a_person_has_held_or_dropped_is_not_moved(here: Node, word: Callable[[list[int]], object]) -> None:
    made = make_instances(2, seed="word")
    fakes.receive_all(here, made)
    fakes.complete(here)
    say(here, word)
    before = transfers(here)
    for title in ("PUBPACS", "PUB_WS"):
        for caller in ("PUBPACS", "PUB_WS"):  # the hospital does not even see it
            seen = plan(here, title, caller, made[0].study).instances
            assert [each.sop_instance_uid for each in seen] == [made[1].sop_instance]
        fake = FakePartner()
        done = send(here, plan(here, title, study=made[0].study), fake)
        assert [(d.sop_instance_uid, d.completed) for d in done] == [(m.sop_instance, m is made[1]) for m in made]
        assert fake.uids == [made[1].sop_instance]
    assert transfers(here)[0] == before[0]
    with here.database.read():
        told = [event for event in audit.events() if event.kind == "instances withheld"]
    assert len(told) == 2
    assert "wrong patient" in told[0].text
    keys = {"SeriesInstanceUID": made[0].series, "SOPInstanceUID": made[0].sop_instance}
    with pytest.raises(GateClosed, match="wrong patient"):
        plan(here, "PUB_WS", study=made[0].study, level="IMAGE", **keys)
    assert plan(here, "ISLPACS", study=made[0].study).withheld == {}  # another hospital's own
    assert plan(here, "RAD_WS", study=made[0].study).withheld == {}


def test_what_a_partner_is_not_sent_is_not_moved_to_it(build: Callable[..., Node]) -> None:
    made = make_instances(2, seed="skip")
    ct = made[0].sop_class
    node = build(fakes.CONFIG.replace("PUBPACS:  {", f"PUBPACS:  {{skip_classes: [{ct}], "))
    fakes.receive_all(node, made)
    for caller in ("PUBPACS", "PUB_WS"):
        assert plan(node, "PUBPACS", caller, made[0].study).instances == ()
    fakes.receive_all(node, other := make_instances(2, seed="unreferred"), called="REFERNODE")
    for study in (made[0].study, other[0].study):
        with pytest.raises(GateClosed, match="skip_classes"):
            plan(node, "PUBPACS", study=study)
        assert len(send(node, plan(node, "PUB_WS", study=study), FakePartner())) == 2


def test_a_lane_that_a_person_holds_is_not_moved_along(here: Node) -> None:
    made = make_instances(1, seed="lane")
    fakes.receive_all(here, made)
    here.database.write(lambda: lanes.hold("PUBPACS", "held by anna: wrong cable"))
    for title, caller in (("PUBPACS", "RAD_WS"), ("PUB_WS", "RAD_WS"), ("PUB_WS", "PUB_WS"), ("PUBPACS", "PUBPACS")):
        with pytest.raises(GateClosed, match="the lane of PUBPACS is held by anna: wrong cable"):
            plan(here, title, caller, made[0].study)
    other = make_instances(1, seed="not for PUBPACS")
    fakes.receive_all(here, other, called="REFERNODE")
    with pytest.raises(GateClosed, match="wrong cable"):
        plan(here, "PUBPACS", study=other[0].study)
    assert len(referred(here)) == 1
    assert plan(here, "PUB_WS", study=other[0].study).referrals
    assert plan(here, "ISLPACS", study=made[0].study).referrals


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
