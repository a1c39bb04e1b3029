"""operations/moving.py: the sub-operations of a C-MOVE, on as many associations as the destination takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from itertools import islice

import pytest

from dicomnode.operations import housekeep, moving
from dicomnode.operations.account import SubOperation
from dicomnode.operations.ports import Node, Outgoing
from tests import fakes
from tests.fakes import FakePartner
from tests.moves import WHO, plan, referred, send, transfers
from tests.node import wait_until
from tests.samples import Sample, make_instances


def test_a_workstation_moves_its_own_site_s_study_to_itself(here: Node, study: list[Sample]) -> None:
    fake = FakePartner()
    done = send(here, plan(here, "RAD_WS", study=study[0].study), fake)
    assert done == [SubOperation(s.sop_instance, completed=True) for s in study]
    assert [(s.dataset, s.partner, s.originator) for s in fake.sent] == [(s.dataset, "RAD_WS", WHO) for s in study]
    assert not referred(here)  # no border was crossed
    assert not transfers(here)


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


def test_a_file_that_is_gone_fails_alone(here: Node, study: list[Sample]) -> None:
    made = plan(here, "RAD_WS", study=study[0].study)
    here.archive.path(made.instances[1].file).unlink()
    assert [d.completed for d in send(here, made, FakePartner())] == [True, False, True]


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
    fake, begun = FakePartner(lose={made[0].sop_instance}), threading.Event()

    def last_of_all(instance: Outgoing) -> None:
        """The others wait until its association has taken what follows it, too."""
        if instance.sop_instance_uid != made[0].sop_instance:
            assert begun.wait(10)
        else:
            begun.set()
            wait_until(lambda: fake.released == 3, 10, "the others to end")

    fake.on_send = last_of_all
    done = send(four, plan(four, "RAD_WS", study=study_of(four)), fake)
    assert {d.sop_instance_uid: d.completed for d in done} == {m.sop_instance: m is not made[0] for m in made}
    assert (len(done), len(fake.contexts), fake.released, fake.aborted) == (12, 5, 4, 1)


def test_when_the_new_association_is_lost_too_what_is_left_has_failed(four: Node) -> None:
    made = make_instances(12, seed="four")
    fake, begun = FakePartner(lose={made[0].sop_instance}), threading.Event()

    def last_of_all(instance: Outgoing) -> None:
        """The others wait until its association has taken what follows it, too."""
        if instance.sop_instance_uid != made[0].sop_instance:
            assert begun.wait(10)
        else:
            begun.set()
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
