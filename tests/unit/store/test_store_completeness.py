"""store/completeness.py: the evidence is kept with the referral, and begins anew with each instance."""

from __future__ import annotations

import pytest

from dicomnode.operations.ports import Node
from dicomnode.store import completeness, referrals
from dicomnode.store.database import execute, one, rows
from dicomnode.store.referrals import Gate, Opening, Progress
from tests import fakes
from tests.fakes import START
from tests.samples import make_instances

WAIT = 60 * fakes.SECOND
OPENING = Opening("ISLPACS", "second", WAIT, 1)
MADE = make_instances(2)


@pytest.fixture
def node(here: Node) -> Node:
    """A study of two instances, referred to PUBPACS."""
    fakes.receive_all(here, MADE)
    return here


def pending(node: Node, at: int) -> list[int]:
    with node.database.read():
        return [each.referral for each in completeness.pending(at)]


def put(node: Node, **values: object) -> None:
    for column, value in values.items():
        node.database.write(lambda c=column, v=value: execute(f"UPDATE referrals SET {c} = ?", v))


def kept(node: Node, *columns: str) -> tuple[object, ...]:
    with node.database.read():
        return tuple(one(f"SELECT {', '.join(columns)} FROM referrals WHERE id = 1"))


def complete(node: Node, at: int, decided_by: int | None = None) -> bool:
    return node.database.write(lambda: completeness.complete(1, at, decided_by))


# -- quiet time ------------------------------------------------------------------------------------------------


def test_quiet_time_counts_from_the_last_instance(node: Node) -> None:
    with node.database.read():
        assert completeness.next_quiet(START) == START + WAIT
        assert completeness.next_quiet(START + WAIT) is None  # it is over
    node.database.write(lambda: completeness.grew(1, START + 5))
    assert pending(node, START + WAIT) == []
    assert pending(node, START + WAIT + 5) == [1]
    assert complete(node, START + WAIT + 5)
    assert kept(node, "progress", "completed_at") == (Progress.COMPLETE, START + WAIT + 5)
    assert pending(node, START + WAIT + 6) == []
    assert not complete(node, START + WAIT + 6)


def test_the_longest_quiet_time_of_its_routes_and_instances_holds(node: Node) -> None:
    number = node.database.write(lambda: referrals.open_(1, OPENING, START))
    node.database.write(lambda: referrals.join(number, Opening("ISLPACS", "third", 2 * WAIT, 1), START + 4))
    assert pending(node, START + WAIT + 4) == [1]
    assert pending(node, START + 2 * WAIT + 4) == [1, number]
    node.database.write(lambda: completeness.grew(1, START, 3 * WAIT))
    node.database.write(lambda: completeness.grew(1, START, WAIT))
    assert pending(node, START + 2 * WAIT + 4) == [number]
    with node.database.read():
        assert next(p.routes for p in completeness.pending(START + 2 * WAIT + 4)) == ["second", "third"]


@pytest.mark.parametrize("progress", Progress)
def test_a_late_instance_makes_any_referral_receiving(node: Node, progress: Progress) -> None:
    put(node, progress=progress, confirmed_at=START, proof="find", look_at=START)
    node.database.write(lambda: completeness.grew(1, START + 1))
    assert kept(node, "progress", "gate", "last_instance_at") == (Progress.RECEIVING, Gate.OPEN, START + 1)
    if progress is not Progress.RECEIVING:
        assert kept(node, "confirmed_at", "proof", "look_at") == (None, "", None)


def test_what_came_after_the_decision_undoes_it(node: Node) -> None:
    node.database.write(lambda: completeness.grew(1, START + 1))
    assert not complete(node, START + WAIT, START)
    assert kept(node, "progress") == (Progress.RECEIVING,)
    assert complete(node, START + WAIT + 1, START + 1)


def test_whose_the_instances_of_a_study_are(node: Node) -> None:
    with node.database.read():
        assert completeness.is_from(1, ["RAD_WS", "CT1"])
        assert not completeness.is_from(1, ["RAD_WS"])
        assert not completeness.is_from(1, [])
        assert not completeness.is_from(2, ["CT1"])


def test_what_is_to_come_in_the_future_came_now(node: Node) -> None:
    put(node, asks=2, ask_at=START + 5, lacking=1)
    for clock, ahead in ((START, False), (START - fakes.SECOND, False), (START - fakes.SECOND - 1, True)):
        with node.database.read():
            assert completeness.is_ahead(clock) is ahead
    day = START - 86400 * fakes.SECOND
    assert node.database.write(lambda: completeness.set_back(day)) == 1
    assert kept(node, "last_instance_at", "asks", "ask_at", "lacking") == (day, 0, None, None)
    assert node.database.write(lambda: completeness.set_back(day)) == 0


# -- questions -------------------------------------------------------------------------------------------------


def asks(node: Node) -> tuple[object, ...]:
    return kept(node, "asked", "asks", "ask_at", "lacking")


def ask(node: Node, at: int = START) -> None:
    node.database.write(lambda: completeness.put(1, "PACS", at))


def test_a_question_is_open_from_when_it_was_put(node: Node) -> None:
    with node.database.read():
        assert completeness.due("PACS") is None
    ask(node, START + 7)
    with node.database.read():
        assert completeness.due("PACS") == START + 7
        assert completeness.due("CT1") is None
        assert completeness.question("PACS", START + 6) is None
        assert completeness.question("CT1", START + 7) is None
        question = completeness.question("PACS", START + 7)
    assert question
    assert (question.study, question.study_instance_uid, question.asks) == (1, MADE[0].study, 1)


def test_what_has_been_due_for_longest_is_asked_first(node: Node) -> None:
    fakes.receive_all(node, make_instances(1, seed="other"))
    node.database.write(lambda: completeness.put(1, "PACS", START + 2))
    node.database.write(lambda: completeness.put(2, "PACS", START + 1))
    with node.database.read():
        question = completeness.question("PACS", START + 2)
    assert question
    assert question.study == 2


def test_who_has_more_is_asked_again_and_who_has_not_is_done(node: Node) -> None:
    ask(node)
    node.database.write(lambda: completeness.answered(1, "PACS", START, 2, START + 30))
    assert asks(node) == ("PACS", 2, START + 30, 2)
    node.database.write(lambda: completeness.answered(1, "PACS", START + 30, 0, START + 90))
    assert asks(node) == ("PACS", 2, None, 0)


def test_who_cannot_be_asked_is_asked_again_and_keeps_what_he_said(node: Node) -> None:
    ask(node)
    node.database.write(lambda: completeness.unanswered("PACS", START, START + 30))
    assert asks(node) == ("PACS", 2, START + 30, None)
    node.database.write(lambda: completeness.answered(1, "PACS", START + 30, 2, START + 60))
    node.database.write(lambda: completeness.unanswered("PACS", START + 60, START + 90, study=2))
    assert asks(node) == ("PACS", 3, START + 60, 2)  # that was about another study
    node.database.write(lambda: completeness.unanswered("PACS", START + 60, START + 90))
    assert asks(node) == ("PACS", 4, START + 90, 2)


def test_an_answer_is_to_the_question_that_was_put_before_it(node: Node) -> None:
    ask(node)
    node.database.write(lambda: completeness.grew(1, START + 5))
    assert asks(node) == ("PACS", 0, None, None)
    node.database.write(lambda: completeness.answered(1, "PACS", START + 4, 0, START + 30))
    node.database.write(lambda: completeness.unanswered("PACS", START + 4, START + 30))
    assert asks(node) == ("PACS", 0, None, None)
    ask(node, START + 70)
    node.database.write(lambda: completeness.answered(1, "PACS", START + 4, 0, START + 30))
    assert asks(node) == ("PACS", 1, START + 70, None)


def test_what_we_lack_is_what_no_kept_version_has(node: Node) -> None:
    known = [sample.sop_instance for sample in MADE]
    node.database.write(lambda: execute("UPDATE instances SET current = 0 WHERE sop_instance_uid = ?", known[0]))
    with node.database.read():
        assert completeness.lacking(1, known) == 0
        assert completeness.lacking(1, [*known, "1.2.3", "1.2.4"]) == 2
        assert completeness.lacking(2, known) == 2


REMARKS = [
    ("complete", 0, None, None),
    ("complete", 1, 0, None),
    ("complete", 1, 3, "the source (PACS) has 3 more"),
    ("confirmed", 4, None, "the source (PACS) could not be asked"),
    ("receiving", 1, 3, None),
    ("receiving", 1, None, None),
]


@pytest.mark.parametrize(("progress", "count", "lacking", "remark"), REMARKS)
def test_a_remark_is_made_of_what_went_without_its_sources_word(
    node: Node, progress: str, count: int, lacking: int | None, remark: str | None
) -> None:
    put(node, progress=progress, asked="PACS", asks=count, lacking=lacking)
    with node.database.read():
        assert rows(f"SELECT {completeness.REMARK} FROM referrals r") == [(remark,)]


def test_completion_leaves_no_question_open(node: Node) -> None:
    ask(node)
    assert complete(node, START + WAIT)
    with node.database.read():
        assert completeness.due("PACS") is None
