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

STOPS = {  # what stops a referral → the statement that sets it, and its words; in the order in which they are said
    "withdrawn": ("UPDATE referrals SET withdrawn = 'the patient moved'", "the patient moved"),
    "quarantine": ("UPDATE studies SET quarantine = 'two patients'", "two patients"),
    "hold": ("UPDATE referrals SET hold = 'the patient asked'", "the patient asked"),
    "correction": ("UPDATE studies SET correction = 'a new name'", "a new name"),
    "identity": ("UPDATE studies SET identity = 'no patient ID'", "no patient ID"),
    "unreferred": ("UPDATE referrals SET unreferred = 'no referral'", "no referral"),
    "unconsented": ("UPDATE referrals SET unconsented = 'no consent'", "no consent"),
    "stranded": ("UPDATE referrals SET stranded = 1", gates.no_partner("PUBPACS")),
}
SETS = [subset for n in (0, 1, 2, len(STOPS)) for subset in combinations(STOPS, n)]
DOUBTS = ("quarantine", "correction", "identity")
LASTING = ("withdrawn", "hold")
"""What stops a referral even when it was sent."""


@pytest.fixture
def node(here: Node) -> Node:
    """A study of two instances, referred to PUBPACS."""
    fakes.receive_all(here, make_instances(2))
    return here


def only(node: Node) -> Referral:
    with node.database.read():
        return referrals.listed()[-1]


def put(node: Node, *statements: str) -> None:
    node.database.write(lambda: [execute(sql) for sql in statements])


NOTHING = (
    "UPDATE studies SET quarantine = '', correction = '', identity = ''",
    "UPDATE referrals SET withdrawn = '', hold = '', unreferred = '', unconsented = '', stranded = 0, gate = 'open'",
)


@pytest.mark.parametrize("progress", Progress)
def test_a_gate_follows_from_all_that_stops_it(node: Node, progress: Progress) -> None:
    for stops in SETS:
        put(node, *NOTHING, f"UPDATE referrals SET progress = '{progress}'", *(STOPS[stop][0] for stop in stops))
        check_gate(node, stops, is_sent=progress in (Progress.SENT, Progress.CONFIRMED))


def check_gate(node: Node, stops: tuple[str, ...], *, is_sent: bool) -> None:
    changed = node.database.write(lambda: gates.weigh(1))
    left = [stop for stop in stops if stop in LASTING or not is_sent]
    found = only(node)
    first = [gate for stop, gate in (("withdrawn", "withdrawn"), ("quarantine", "quarantined")) if stop in left]
    assert found.gate == [*first, "held" if left else "open"][0], stops
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
            assert gates.is_in_doubt(1) is (progress == "complete" and stop in DOUBTS)


@pytest.mark.parametrize("stop", [stop for stop in STOPS if stop not in LASTING])
def test_what_goes_away_stops_nothing_more(node: Node, stop: str) -> None:
    put(node, STOPS[stop][0])
    assert node.database.write(lambda: gates.weigh(1))
    assert only(node).reason == STOPS[stop][1]
    empty = "''" if "'" in STOPS[stop][0] else "0"
    put(node, f"{STOPS[stop][0].split(' = ')[0]} = {empty}")
    assert node.database.write(lambda: gates.weigh(1))
    assert (only(node).gate, only(node).reason) == ("open", "")


@pytest.mark.parametrize("recall", ["recalling", "recalled"])
@pytest.mark.parametrize("progress", Progress)
def test_a_recall_outweighs_all_else(node: Node, progress: Progress, recall: str) -> None:
    put(node, f"UPDATE referrals SET recall = '{recall}', progress = '{progress}'", *(sql for sql, _ in STOPS.values()))
    assert node.database.write(lambda: gates.weigh(1))
    assert (only(node).gate, only(node).reason.split("; ")[0]) == (recall, "the patient moved")


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
