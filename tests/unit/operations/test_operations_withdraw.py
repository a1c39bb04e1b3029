"""operations/withdraw.py: what is withdrawn never goes, and what has gone of it is called back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dicomnode.errors import UsageError
from dicomnode.operations import complete, forward, refer, resend, retrieve, withdraw
from dicomnode.operations.account import Account
from dicomnode.operations.ports import Node
from dicomnode.operations.retrieve import Plan
from dicomnode.operations.withdraw import LETTER, NOTE
from dicomnode.store import audit, gates, ledger, proof, queue, recalls, referrals
from dicomnode.store.database import execute
from dicomnode.store.queue import Result, State
from dicomnode.store.recalls import Recall
from dicomnode.store.referrals import Gate, Referral
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import make_instances

CONFIG = fakes.CONFIG.replace("wait: 60s}", "wait: 60s, identity: none}")
IOCM = CONFIG.replace("host: 10.9.0.5,", "host: 10.9.0.5, iocm: true,")
MADE = make_instances(4, seed="withdraw")


@pytest.fixture
def waiting(build: Callable[..., Node]) -> Node:
    """Three instances that wait to be sent."""
    node = build(IOCM)
    fakes.receive_all(node, MADE[:3])
    fakes.complete(node)
    return node


@pytest.fixture
def sent(waiting: Node) -> Node:
    """Three instances that PUBPACS has."""
    assert len(send(waiting)) == 3
    return waiting


def send(node: Node, fake: FakePartner | None = None) -> list[str]:
    fake = fake or FakePartner()
    while forward.forward(node.config.partners["PUBPACS"], fake, node, lambda: False):
        pass
    return fake.uids


def of(node: Node, referral: int = 1) -> Referral:
    with node.database.read():
        found = referrals.get(referral)
    assert found
    return found


def called_back(node: Node) -> list[Recall]:
    with node.database.read():
        return recalls.of(1)


def kinds(node: Node) -> list[str]:
    with node.database.read():
        return [event.kind for event in audit.events(referral=1)]


@pytest.mark.parametrize("gate", Gate)
def test_a_claim_takes_only_what_is_open(waiting: Node, gate: Gate) -> None:
    waiting.database.write(lambda: execute("UPDATE referrals SET gate = ?", gate))
    is_open = gate == Gate.OPEN
    with waiting.database.read():
        assert queue.is_ready("PUBPACS", waiting.clock()) is is_open
    assert bool(waiting.database.write(lambda: queue.claim_one("PUBPACS", "w", waiting.clock()))) is is_open
    assert bool(waiting.database.write(lambda: queue.claim("PUBPACS", 9, "w", waiting.clock()))) is is_open


def test_what_is_withdrawn_before_it_is_sent_never_goes(waiting: Node) -> None:
    (done,) = withdraw.withdraw([1], "the wrong hospital", "alice", waiting)
    assert (done.referral.gate, done.referral.reason, done.called_back) == (Gate.WITHDRAWN, "the wrong hospital", 0)
    assert send(waiting) == []
    assert kinds(waiting)[-1] == "referral withdrawn"
    fakes.receive(waiting, MADE[3])  # late
    fakes.complete(waiting)
    assert (of(waiting).gate, of(waiting).instances, send(waiting)) == (Gate.WITHDRAWN, 4, [])
    assert "late instances kept" in kinds(waiting)
    assert of(waiting).reason == "the wrong hospital"


def test_nobody_sends_it_by_hand(waiting: Node) -> None:
    withdraw.withdraw([1], "the wrong hospital", "alice", waiting)
    with waiting.database.read():
        for name in ("PUBPACS", "PUB_WS"):
            assert retrieve.closed(1, waiting.config.partners[name], waiting) == "referral 1 was withdrawn"
        assert retrieve.closed(1, waiting.config.partners["ISLPACS"], waiting) == ""


@pytest.mark.parametrize("gate", [Gate.WITHDRAWN, Gate.RECALLING, Gate.RECALLED])
def test_a_person_s_other_words_are_refused_with_the_reason(waiting: Node, gate: Gate) -> None:
    if gate != Gate.WITHDRAWN:
        send(waiting)
    withdraw.withdraw([1], "the wrong hospital", "alice", waiting)
    if gate == Gate.RECALLED:
        withdraw.acknowledge(1, "deleted on Monday", "bob", waiting)
    assert of(waiting).gate == gate
    words = (
        lambda: refer.hold([1], "why", "alice", waiting),
        lambda: refer.release([1], "why", "alice", waiting),
        lambda: resend.resend([1], "why", "alice", waiting, everything=True),
        lambda: complete.by_word([1], "alice", waiting),
        lambda: withdraw.withdraw([1], "again", "alice", waiting),
    )
    for word in words:
        with pytest.raises(UsageError, match=f"referral 1 is {gate}.*the wrong hospital"):
            word()
    assert of(waiting).gate == gate


def test_what_was_sent_is_called_back_by_letter_until_it_is_acknowledged(sent: Node) -> None:
    (done,) = withdraw.withdraw([1], "the wrong hospital", "alice", sent)
    assert (done.referral.gate, done.called_back, done.means) == (Gate.RECALLING, 3, LETTER)
    (row,) = called_back(sent)
    assert (row.state, row.instances, row.acknowledged_at) == ("letter", 3, None)
    known = withdraw.acknowledge(1, "deleted on Monday", "bob", sent)
    assert known.gate == Gate.RECALLED
    (row,) = called_back(sent)
    assert (row.acknowledged, row.acknowledged_by) == ("deleted on Monday", "bob")
    with pytest.raises(UsageError, match="nothing of referral 1"):
        withdraw.acknowledge(1, "twice", "bob", sent)
    assert kinds(sent)[-2:] == ["referral withdrawn", "recall acknowledged"]
    fakes.receive(sent, MADE[3])
    assert (of(sent).gate, kinds(sent)[-1]) == (Gate.RECALLED, "late instances kept")


def test_what_was_sent_is_called_back_by_a_note_where_that_is_understood(sent: Node) -> None:
    done = withdraw.call_back(1, "patient", "the wrong patient", "alice", sent)
    assert (done.referral.gate, done.called_back, done.means) == (Gate.RECALLING, 3, NOTE)
    (row,) = called_back(sent)
    assert (row.state, row.code, row.instances) == ("waiting", "patient", 3)
    with pytest.raises(UsageError, match="was told, or is being told"):
        withdraw.call_back(1, "patient", "again", "alice", sent)


def test_a_letter_may_become_a_note(sent: Node) -> None:
    withdraw.withdraw([1], "the wrong hospital", "alice", sent)
    done = withdraw.call_back(1, "quality", "blurred", "bob", sent)
    assert (done.called_back, done.means) == (3, NOTE)
    (row,) = called_back(sent)
    assert (row.state, row.code, row.reason) == ("waiting", "quality", "blurred")
    assert kinds(sent)[-1] == "recall begun"


def test_no_note_goes_to_who_does_not_understand_it(build: Callable[..., Node]) -> None:
    node = build(CONFIG)
    fakes.receive_all(node, MADE)
    fakes.complete(node)
    send(node)
    assert withdraw.call_back(1, "patient", "the wrong patient", "alice", node).means == LETTER
    with pytest.raises(UsageError, match="--letter"):
        withdraw.call_back(1, "patient", "again", "alice", node)


def test_what_was_not_sent_cannot_be_called_back(waiting: Node) -> None:
    with pytest.raises(UsageError, match="referrals withdraw 1"):
        withdraw.call_back(1, "patient", "the wrong patient", "alice", waiting)
    assert of(waiting).gate == Gate.OPEN
    withdraw.withdraw([1], "the wrong hospital", "alice", waiting)
    with pytest.raises(UsageError, match="before anything of it was sent"):
        withdraw.call_back(1, "patient", "the wrong patient", "alice", waiting)
    with pytest.raises(UsageError, match="say with --reason why"):
        withdraw.call_back(1, "patient", " ", "alice", waiting)


def test_what_is_on_its_way_when_it_is_withdrawn_is_called_back_too(waiting: Node) -> None:
    def withdrawn(instance: object) -> None:
        if len(fake.sent) == 1:
            withdraw.call_back(1, "patient", "the wrong patient", "alice", waiting)

    fake = FakePartner(on_send=withdrawn)
    send(waiting, fake)
    done = of(waiting)
    assert done.gate == Gate.RECALLING
    assert done.delivered == len(fake.sent)
    with waiting.database.read():
        named = {each.sop_instance_uid for row in recalls.of(1) for each in recalls.instances(row.id)}
        assert proof.next_look("PUBPACS") is None
    assert named == set(fake.uids)
    assert "recall begun" in kinds(waiting)


def test_what_a_move_delivers_after_the_withdrawal_is_called_back_too(waiting: Node) -> None:
    account = Account(Plan(waiting.config.partners["PUBPACS"], (), {1: 1}, {}), waiting)
    withdraw.withdraw([1], "the wrong hospital", "alice", waiting)
    assert of(waiting).gate == Gate.WITHDRAWN
    done = Result(0, State.DELIVERED, waiting.clock(), 0)
    waiting.database.write(lambda: queue.moved(1, "PUBPACS", 1, done))
    account.close()
    assert (of(waiting).gate, called_back(waiting)[0].instances) == (Gate.RECALLING, 1)


def test_who_is_told_that_it_is_called_back_is_not_asked_whether_it_has_it(sent: Node) -> None:
    with sent.database.read():
        assert proof.next_look("PUBPACS") is not None
    withdraw.withdraw([1], "the wrong hospital", "alice", sent)

    def again() -> None:
        proof.learn("PUBPACS", "find", sent.clock())
        proof.revive(sent.clock())
        proof.look(1, sent.clock())
        assert proof.looked(1) is None

    sent.database.write(again)
    fakes.receive_all(sent, MADE[:3])  # its source sends it again
    assert isinstance(sent.clock, fakes.FakeClock)
    sent.clock.advance(3600)
    fakes.receive_all(sent, MADE[:3])
    with sent.database.read():
        assert proof.next_look("PUBPACS") is None
        assert {each.state for each in ledger.listed(10, referral=1)} == {"delivered"}


def test_a_gate_stays_closed_whatever_else_comes_and_goes(sent: Node) -> None:
    withdraw.withdraw([1], "the wrong hospital", "alice", sent)

    def weighed() -> None:
        gates.strand([])
        gates.strand(["PUBPACS"])
        referrals.reopen(1)
        gates.weigh_all(1)

    sent.database.write(weighed)
    assert of(sent).gate == Gate.RECALLING
