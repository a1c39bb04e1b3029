"""store/referrals.py: the arrows of progress, and what the gate does to each."""

from __future__ import annotations

import pytest

from dicomnode.operations.ports import Node
from dicomnode.store import overview, referrals
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


SETTLED = [
    (Progress.RECEIVING, ("delivered", "delivered"), False),
    (Progress.COMPLETE, ("delivered", "delivered"), True),
    (Progress.SENDING, ("delivered", "delivered"), True),
    (Progress.SENDING, ("delivered", "dropped"), True),
    (Progress.SENDING, ("dropped", "dropped"), True),
    (Progress.SENDING, ("held", "held"), True),
    (Progress.COMPLETE, ("delivered", "held"), True),
    (Progress.SENDING, ("delivered", "queued"), False),
    (Progress.SENDING, ("delivered", "active"), False),
    (Progress.SENDING, ("delivered", "held"), True),
    (Progress.SENDING, ("queued", "held"), False),
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
    (Progress.SENT, Gate.OPEN, ("delivered", "dropped"), "sent"),
    (Progress.RECEIVING, Gate.OPEN, ("delivered", "held"), "receiving"),
    (Progress.SENT, Gate.OPEN, ("delivered", "delivered"), "sent"),
    (Progress.SENT, Gate.OPEN, ("delivered", "held"), "failed"),
    (Progress.SENT, Gate.OPEN, ("dropped", "dropped"), "failed"),
    (Progress.CONFIRMED, Gate.OPEN, ("delivered", "dropped"), "confirmed"),
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
    with node.database.read():
        assert overview.referrals() == {shown: 1}


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


def test_referrals_are_listed_the_newest_first(node: Node) -> None:
    number = node.database.write(lambda: referrals.open_(1, OPENING, START))
    with node.database.read():
        assert [r.id for r in referrals.listed()] == [number, 1]
        assert [r.id for r in referrals.listed(1)] == [number]
        assert [r.id for r in referrals.listed(partner="PUBPACS")] == [1]
        assert referrals.listed(study_instance_uid="1.2.3") == []
        assert referrals.get(99) is None
        assert referrals.unsettled() == []
