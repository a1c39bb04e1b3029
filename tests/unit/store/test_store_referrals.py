"""store/referrals.py: the arrows of progress, and what the gate does to each."""

from __future__ import annotations

import pytest

from dicomnode.operations.ports import Node
from dicomnode.store import referrals
from dicomnode.store.database import execute
from dicomnode.store.referrals import Gate, Opening, Progress, Referral
from tests import fakes
from tests.fakes import START
from tests.samples import make_instances

WAIT = 60 * fakes.SECOND
OPENING = Opening("ISLPACS", "second", WAIT, 1)


@pytest.fixture
def node(here: Node) -> Node:
    """A study of two instances, referred to PUBPACS."""
    fakes.receive_all(here, make_instances(2))
    return here


def only(node: Node) -> Referral:
    with node.database.read():
        return referrals.listed()[-1]


def put(node: Node, **values: object) -> None:
    for column, value in values.items():
        node.database.write(lambda c=column, v=value: execute(f"UPDATE referrals SET {c} = ?", v))


def transfers(node: Node, *states: str) -> None:
    """The states of the transfers, in their order; without any, there are none."""
    if not states:
        node.database.write(lambda: execute("DELETE FROM transfers"))
    for number, state in enumerate(states, 1):
        sql = "UPDATE transfers SET state = ? WHERE instance = ?"
        node.database.write(lambda sql=sql, n=number, s=state: execute(sql, s, n))


# -- progress --------------------------------------------------------------------------------------------------


def test_quiet_time_counts_from_the_last_instance(node: Node) -> None:
    with node.database.read():
        assert referrals.next_quiet() == START + WAIT
    node.database.write(lambda: referrals.grew(1, START + 5))
    assert node.database.write(lambda: referrals.complete_quiet(START + WAIT)) == []
    assert node.database.write(lambda: referrals.complete_quiet(START + WAIT + 5)) == [1]
    assert (only(node).progress, only(node).completed_at) == (Progress.COMPLETE, START + WAIT + 5)
    assert node.database.write(lambda: referrals.complete_quiet(START + WAIT + 6)) == []


@pytest.mark.parametrize("progress", Progress)
def test_a_late_instance_makes_any_referral_receiving(node: Node, progress: Progress) -> None:
    put(node, progress=progress)
    node.database.write(lambda: referrals.grew(1, START + 1))
    assert (only(node).progress, only(node).gate) == (Progress.RECEIVING, Gate.OPEN)


SETTLED = [
    (Progress.RECEIVING, ("delivered", "delivered"), False),
    (Progress.COMPLETE, ("delivered", "delivered"), True),
    (Progress.SENDING, ("delivered", "delivered"), True),
    (Progress.SENDING, ("delivered", "dropped"), True),
    (Progress.SENDING, ("dropped", "dropped"), False),
    (Progress.SENDING, ("delivered", "queued"), False),
    (Progress.SENDING, ("delivered", "active"), False),
    (Progress.SENDING, ("delivered", "held"), False),
    (Progress.COMPLETE, (), True),
    (Progress.SENT, ("delivered", "delivered"), False),
]


@pytest.mark.parametrize(("progress", "states", "settled"), SETTLED)
def test_a_referral_is_sent_when_nothing_of_it_waits(
    node: Node, progress: Progress, states: tuple[str, ...], settled: bool
) -> None:
    put(node, progress=progress)
    transfers(node, *states)
    assert node.database.write(lambda: referrals.settle(1, START + 9)) is settled
    assert (only(node).sent_at == START + 9) is settled
    assert (only(node).progress == Progress.SENT) is (settled or progress is Progress.SENT)


STATES = [
    (Progress.RECEIVING, Gate.OPEN, ("queued", "queued"), "receiving"),
    (Progress.SENDING, Gate.OPEN, ("queued", "held"), "sending"),
    (Progress.SENDING, Gate.OPEN, ("delivered", "held"), "failed"),
    (Progress.COMPLETE, Gate.OPEN, ("delivered", "held"), "failed"),
    (Progress.SENDING, Gate.OPEN, ("dropped", "dropped"), "failed"),
    (Progress.SENT, Gate.OPEN, ("delivered", "dropped"), "failed"),
    (Progress.RECEIVING, Gate.OPEN, ("delivered", "held"), "receiving"),
    (Progress.SENT, Gate.OPEN, ("delivered", "delivered"), "sent"),
    (Progress.SENT, Gate.HELD, ("delivered", "delivered"), "held"),
    (Progress.SENDING, Gate.QUARANTINED, ("delivered", "held"), "quarantined"),
]


@pytest.mark.parametrize(("progress", "gate", "states", "shown"), STATES)
def test_the_state_is_the_gate_unless_open_else_the_progress(
    node: Node, progress: Progress, gate: Gate, states: tuple[str, ...], shown: str
) -> None:
    put(node, progress=progress, gate=gate)
    transfers(node, *states)
    assert only(node).state == shown


# -- gates -----------------------------------------------------------------------------------------------------

GATES = [  # gate → after hold, after release, after a quarantine of the study
    (Gate.OPEN, Gate.HELD, Gate.OPEN, Gate.QUARANTINED),
    (Gate.HELD, Gate.HELD, Gate.OPEN, Gate.QUARANTINED),
    (Gate.QUARANTINED, Gate.QUARANTINED, Gate.OPEN, Gate.QUARANTINED),
]


@pytest.mark.parametrize(("gate", "held", "released", "quarantined"), GATES)
def test_the_arrows_of_a_gate(node: Node, gate: Gate, held: Gate, released: Gate, quarantined: Gate) -> None:
    for change, after in (
        (lambda: referrals.hold([1, 99], "why"), held),
        (lambda: referrals.release([1, 99]), released),
        (lambda: referrals.quarantine(1, "doubt"), quarantined),
    ):
        put(node, gate=gate, reason="before")
        done = node.database.write(change)
        assert only(node).gate == after
        assert done == ([1] if after != gate else [])
        assert (only(node).reason == "before") is (after == gate)


def test_a_quarantine_leaves_what_was_sent(node: Node) -> None:
    put(node, progress=Progress.SENT)
    assert node.database.write(lambda: referrals.quarantine(1, "doubt")) == []
    assert only(node).state == "sent"


# -- opening, joining, finding ---------------------------------------------------------------------------------


def test_a_referral_is_opened_found_and_joined(node: Node) -> None:
    number = node.database.write(lambda: referrals.open_(1, OPENING, START + 3))
    with node.database.read():
        assert referrals.find(1, "ISLPACS") == (number, ["second"])
        assert referrals.find(1, "NOBODY") is None
        assert referrals.find(2, "ISLPACS") is None
        opened = referrals.get(number)
        assert referrals.site(number) == "harbour"
        assert referrals.is_open(number)
    assert opened
    assert (opened.progress, opened.gate, opened.opened_at, opened.instances) == ("receiving", "open", START + 3, 0)

    longer = Opening("ISLPACS", "third", 2 * WAIT, 1)
    node.database.write(lambda: referrals.join(number, longer, START + 4))
    with node.database.read():
        assert (number, "ISLPACS", ["second", "third"]) in referrals.of_study(1)
        joined = referrals.get(number)
    assert joined
    assert joined.route == "second, third"
    assert node.database.write(lambda: referrals.complete_quiet(START + WAIT + 4)) == [1]
    assert node.database.write(lambda: referrals.complete_quiet(START + 2 * WAIT + 4)) == [number]


def test_referrals_are_listed_the_newest_first(node: Node) -> None:
    number = node.database.write(lambda: referrals.open_(1, OPENING, START))
    with node.database.read():
        assert [r.id for r in referrals.listed()] == [number, 1]
        assert [r.id for r in referrals.listed(1)] == [number]
        assert [r.id for r in referrals.listed(partner="PUBPACS")] == [1]
        assert referrals.listed(study_instance_uid="1.2.3") == []
        assert referrals.get(99) is None
        assert referrals.unsettled() == []
