"""store/proof.py and store/transactions.py: what the rows must say before a referral is confirmed."""

from __future__ import annotations

import pytest

from dicomnode.operations.ports import Node
from dicomnode.store import proof, queue, referrals, transactions
from dicomnode.store.database import execute, one, rows
from dicomnode.store.queue import Result, State
from dicomnode.store.referrals import Referral
from tests import fakes
from tests.fakes import START
from tests.samples import make_instances

AT = START + 1000


@pytest.fixture
def node(here: Node) -> Node:
    """A study of two instances, sent to PUBPACS."""
    fakes.receive_all(here, make_instances(2))
    put(here, "UPDATE transfers SET state = 'delivered', finished_at = ?", START + 1)
    put(here, "UPDATE referrals SET progress = 'sending'")
    here.database.write(lambda: referrals.settle(1, START + 2))
    return here


def put(node: Node, sql: str, *values: object) -> None:
    node.database.write(lambda: execute(sql, *values))


def only(node: Node) -> Referral:
    with node.database.read():
        return referrals.listed()[0]


def ids(node: Node) -> list[int]:
    with node.database.read():
        return [transfer for (transfer,) in rows("SELECT id FROM transfers ORDER BY id")]


def look_at(node: Node) -> int | None:
    with node.database.read():
        return one("SELECT look_at FROM referrals")[0]  # type: ignore[no-any-return]


CONFIRMS = [
    ("delivered", True, True),
    ("delivered", False, False),
    ("queued", False, False),
    ("active", False, False),
    ("held", False, False),
    ("dropped", False, False),
    ("skipped", False, True),
]


@pytest.mark.parametrize(("state", "proven", "confirmed"), CONFIRMS)
def test_it_is_confirmed_when_each_instance_is(node: Node, state: str, proven: bool, confirmed: bool) -> None:
    first, second = ids(node)
    put(node, "UPDATE transfers SET state = ? WHERE id = ?", state, second)
    node.database.write(lambda: proof.has([first, *([second] if proven else [])], AT))
    assert node.database.write(lambda: proof.confirm(1, "find", AT)) is confirmed
    found = only(node)
    assert (found.progress, found.confirmed_at) == (("confirmed", AT) if confirmed else ("sent", None))
    assert found.confirmed == 1 + (confirmed and state == "delivered")


@pytest.mark.parametrize("progress", ["receiving", "complete", "sending"])
def test_what_is_on_its_way_is_not_confirmed(node: Node, progress: str) -> None:
    node.database.write(lambda: proof.has(ids(node), AT))
    put(node, "UPDATE referrals SET progress = ?", progress)
    assert not node.database.write(lambda: proof.confirm(1, "find", AT))
    assert only(node).progress == progress


def test_a_study_of_which_nothing_was_delivered_is_not_confirmed(node: Node) -> None:
    put(node, "UPDATE transfers SET state = 'skipped'")
    assert not node.database.write(lambda: proof.confirm(1, "find", AT))
    assert only(node).progress == "sent"
    assert look_at(node) is None


def test_only_what_was_delivered_can_be_proven(node: Node) -> None:
    put(node, "UPDATE transfers SET state = 'queued'")
    node.database.write(lambda: proof.has(ids(node), AT))
    with node.database.read():
        assert one("SELECT count(*) FROM transfers WHERE confirmed_at IS NOT NULL") == (0,)


def test_what_is_sent_is_due_at_once_and_only_that(node: Node) -> None:
    with node.database.read():
        assert proof.next_look("PUBPACS") == START + 2
        assert proof.next_look("ISLPACS") is None
        assert proof.next_case("PUBPACS", START + 1) is None
        case = proof.next_case("PUBPACS", START + 2)
    assert case
    assert (case.referral, case.delivered, len(case.awaited)) == (1, 2, 2)
    put(node, "UPDATE referrals SET progress = 'receiving'")
    with node.database.read():
        assert proof.next_look("PUBPACS") is None
        assert proof.next_case("PUBPACS", AT) is None


def test_the_next_look_is_found_by_its_index(node: Node) -> None:
    with node.database.read():
        for sql in (
            "SELECT min(look_at) FROM referrals WHERE partner = ? AND look_at IS NOT NULL AND progress = 'sent'",
            "SELECT id FROM referrals WHERE partner = ? AND look_at <= 1 AND progress = 'sent' ORDER BY look_at",
        ):
            plan = str(rows(f"EXPLAIN QUERY PLAN {sql}", "PUBPACS"))
            assert "referrals_look" in plan
            assert "TEMP" not in plan


def test_a_move_of_something_more_undoes_a_proof(node: Node) -> None:
    node.database.write(lambda: proof.waive(1, AT))
    assert only(node).progress == "confirmed"
    (fresh,) = [each.instance for each in fakes.receive_all(node, make_instances(1, seed="more"), called="REFERNODE")]
    moved = Result(0, State.DELIVERED, AT + 1, 0)
    node.database.write(lambda: queue.moved(1, "PUBPACS", fresh, moved))
    assert (only(node).progress, only(node).confirmed_at) == ("sending", None)
    node.database.write(lambda: referrals.settle(1, AT + 2))
    assert (only(node).state, look_at(node)) == ("sent", AT + 2)


def test_a_move_of_what_is_proven_undoes_nothing(node: Node) -> None:
    node.database.write(lambda: proof.waive(1, AT))
    with node.database.read():
        (instance,) = one("SELECT instance FROM transfers LIMIT 1")
    node.database.write(lambda: queue.moved(1, "PUBPACS", instance, Result(0, State.DELIVERED, AT + 1, 0)))
    assert only(node).progress == "confirmed"


# -- transactions ----------------------------------------------------------------------------------------------


def opened(node: Node, uid: str = "2.25.1") -> int:
    pairs = [("1.2", "1.2.1"), ("1.2", "1.2.2")]
    return node.database.write(lambda: transactions.open_(uid, "PUBPACS", 1, pairs, AT, AT + 60))


def test_a_transaction_is_ours_with_one_partner(node: Node) -> None:
    opened(node)
    with node.database.read():
        assert transactions.asked("2.25.2", ["PUBPACS"]) is None
        assert transactions.asked("2.25.1", ["ISLPACS"]) is None
        found = transactions.asked("2.25.1", ["ISLPACS", "PUBPACS"])
    assert found
    assert (found.referral, found.state) == (1, "asked")
    assert found.pairs == {("1.2", "1.2.1"), ("1.2", "1.2.2")}
    put(node, "UPDATE commitments SET referral = NULL")  # what a source has asked of us
    with node.database.read():
        assert transactions.asked("2.25.1", ["PUBPACS"]) is None


def test_a_transaction_that_was_answered_is_not_waited_for(node: Node) -> None:
    number = opened(node)
    with node.database.read():
        assert transactions.overdue(1, AT + 59) == []
        assert transactions.overdue(1, AT + 60) == [(number, False)]
    assert node.database.write(lambda: transactions.taken(number, AT + 100))
    with node.database.read():
        assert transactions.overdue(1, AT + 60) == []
        assert transactions.overdue(1, AT + 100) == [(number, True)]
    node.database.write(lambda: transactions.answered(number, AT + 70))
    node.database.write(lambda: transactions.answered(number, AT + 71))
    with node.database.read():
        assert [each.ended_at for each in transactions.of(1)] == [AT + 70]
    assert not node.database.write(lambda: transactions.taken(number, AT + 200))
    assert not node.database.write(lambda: transactions.end(number, "expired", AT + 200))
    with node.database.read():
        assert transactions.overdue(1, AT + 1000) == []


def test_a_partner_is_silent_until_a_result_comes_again(node: Node) -> None:
    def silent() -> bool:
        with node.database.read():
            return transactions.is_silent("PUBPACS")

    first, second = opened(node), opened(node, "2.25.2")
    assert not silent()
    node.database.write(lambda: transactions.end(first, "expired", AT + 60))
    assert silent()
    node.database.write(lambda: transactions.answered(second, AT + 70))
    assert not silent()
