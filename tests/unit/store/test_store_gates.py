"""store/gates.py: each thing that stops a referral is kept by itself, and the gate follows from all of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest

from dicomnode.operations.ports import Node
from dicomnode.store import completeness, gates, referrals
from dicomnode.store.database import execute
from dicomnode.store.referrals import Opening, Progress, Referral
from tests import fakes
from tests.samples import make_instances

STOPS = {  # what stops a referral → the statement that sets it, and its words
    "quarantine": ("UPDATE studies SET quarantine = 'two patients'", "two patients"),
    "hold": ("UPDATE referrals SET hold = 'the patient asked'", "the patient asked"),
    "correction": ("UPDATE studies SET correction = 'a new name'", "a new name"),
    "stranded": ("UPDATE referrals SET stranded = 1", gates.no_partner("PUBPACS")),
}
SETS = [subset for n in range(len(STOPS) + 1) for subset in combinations(STOPS, n)]


@pytest.fixture
def node(here: Node) -> Node:
    """A study of two instances, referred to PUBPACS."""
    fakes.receive_all(here, make_instances(2))
    return here


def only(node: Node) -> Referral:
    with node.database.read():
        return referrals.listed()[-1]


def put(node: Node, *statements: str) -> None:
    for sql in statements:
        node.database.write(lambda sql=sql: execute(sql))


@pytest.mark.parametrize("progress", Progress)
@pytest.mark.parametrize("stops", SETS, ids=["+".join(s) or "nothing" for s in SETS])
def test_a_gate_follows_from_all_that_stops_it(node: Node, stops: tuple[str, ...], progress: Progress) -> None:
    put(node, f"UPDATE referrals SET progress = '{progress}'", *(STOPS[stop][0] for stop in stops))
    changed = node.database.write(lambda: gates.weigh(1))
    sent = progress in (Progress.SENT, Progress.CONFIRMED)
    left = [stop for stop in stops if stop == "hold" or not sent]
    found = only(node)
    assert found.gate == ("quarantined" if "quarantine" in left else "held" if left else "open")
    assert changed is bool(left)
    if left:
        assert found.reason == "; ".join(STOPS[stop][1] for stop in left)
    assert not node.database.write(lambda: gates.weigh(1))


def test_a_person_s_hold_is_one(node: Node) -> None:
    assert node.database.write(lambda: gates.hold([1, 99], "first")) == [1]
    assert node.database.write(lambda: gates.hold([1], "second")) == []
    assert (only(node).gate, only(node).reason) == ("held", "first")
    assert node.database.write(lambda: gates.release([1, 99])) == [1]
    assert node.database.write(lambda: gates.release([1])) == []
    assert only(node).gate == "open"


def test_a_hold_outlasts_a_partner_that_comes_back(node: Node) -> None:
    node.database.write(lambda: gates.hold([1], "the patient asked"))
    assert node.database.write(lambda: gates.strand(["ISLPACS"])) == []  # closed already
    assert only(node).reason == f"the patient asked; {gates.no_partner('PUBPACS')}"
    assert node.database.write(lambda: gates.strand(["PUBPACS"])) == []
    assert (only(node).gate, only(node).reason) == ("held", "the patient asked")


def test_a_partner_that_is_gone_stops_what_is_not_sent(node: Node) -> None:
    assert node.database.write(lambda: gates.strand(["ISLPACS"])) == [1]
    assert node.database.write(lambda: gates.strand(["ISLPACS"])) == []
    assert only(node).gate == "held"
    node.database.write(lambda: gates.strand(["PUBPACS"]))
    assert only(node).gate == "open"


@pytest.mark.parametrize("progress", [Progress.SENT, Progress.CONFIRMED])
@pytest.mark.parametrize("again", [lambda: completeness.grew(1, fakes.START), lambda: referrals.reopen(1)])
def test_what_was_sent_to_a_partner_that_is_gone_is_stopped_when_it_is_to_be_sent_again(
    node: Node, again: Callable[[], object], progress: Progress
) -> None:
    put(node, f"UPDATE referrals SET progress = '{progress}'")
    assert node.database.write(lambda: gates.strand(["ISLPACS"])) == []
    assert only(node).gate == "open"  # nothing of it waits
    node.database.write(again)
    assert (only(node).gate, only(node).reason) == ("held", gates.no_partner("PUBPACS"))
    node.database.write(lambda: gates.strand(["PUBPACS"]))
    assert only(node).gate == "open"


def test_a_partner_that_is_back_stops_nothing_more(node: Node) -> None:
    put(node, "UPDATE referrals SET progress = 'sent'")
    node.database.write(lambda: gates.strand([]))
    node.database.write(lambda: gates.strand(["PUBPACS"]))
    node.database.write(lambda: referrals.reopen(1))
    assert only(node).gate == "open"


@pytest.mark.parametrize("stop", STOPS)
def test_a_doubt_is_told_from_all_else_that_stops_a_referral(node: Node, stop: str) -> None:
    put(node, STOPS[stop][0])
    for progress in ("complete", "sent"):
        put(node, f"UPDATE referrals SET progress = '{progress}'")
        with node.database.read():
            assert gates.is_in_doubt(1) is (progress == "complete" and stop in ("quarantine", "correction"))


def test_the_study_s_referrals_are_weighed_together(node: Node) -> None:
    other = node.database.write(lambda: referrals.open_(1, Opening("ISLPACS", "second", 0, 1), fakes.START))
    node.database.write(lambda: gates.hold([other], "wait"))
    put(node, STOPS["correction"][0])
    assert node.database.write(lambda: gates.weigh_all(1)) == [(1, "held")]  # the other was held already
    put(node, STOPS["quarantine"][0])
    assert node.database.write(lambda: gates.weigh_all(1)) == [(1, "quarantined"), (other, "quarantined")]


def test_what_a_person_holds_is_found_by_its_partners(node: Node) -> None:
    put(node, STOPS["stranded"][0])
    with node.database.read():
        assert gates.held(1, ["PUBPACS"]) is None
    node.database.write(lambda: gates.hold([1], "wait"))
    with node.database.read():
        assert gates.held(1, ["PUBPACS", "PUB_WS"]) == 1
        assert gates.held(1, ["ISLPACS"]) is None
        assert gates.held(2, ["PUBPACS"]) is None


@pytest.mark.parametrize("progress", [Progress.SENT, Progress.CONFIRMED])
def test_what_is_reopened_meets_the_doubt_that_came_after_it(node: Node, progress: Progress) -> None:
    put(node, f"UPDATE referrals SET progress = '{progress}', confirmed_at = 1, proof = 'find', look_at = 5")
    put(node, STOPS["correction"][0])
    node.database.write(lambda: gates.weigh_all(1))
    assert only(node).gate == "open"
    assert node.database.write(lambda: referrals.reopen(1))
    found = only(node)
    assert (found.progress, found.gate, found.confirmed_at, found.proof) == ("sending", "held", None, "")
    assert not node.database.write(lambda: referrals.reopen(1))
