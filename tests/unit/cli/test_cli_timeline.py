"""cli/timeline.py and cli/referrals.py: what a person reads of a referral, and never "confirmed" without proof."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from dicomnode.cli import timeline
from dicomnode.cli.referrals import _words
from dicomnode.operations.confirm import prove
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.store import attempts, audit, referrals, transactions
from dicomnode.store.attempts import Attempt
from dicomnode.store.audit import Event
from dicomnode.store.referrals import Referral
from dicomnode.store.transactions import Told
from tests import fakes
from tests.fakes import SECOND, START, FakePartner
from tests.samples import make_instances


@pytest.fixture
def sent(here: Node) -> Referral:
    """A referral that was sent."""
    fakes.receive_all(here, make_instances(2))
    fakes.complete(here)
    fakes_advance(here, 3)
    while forward(here.config.partners["PUBPACS"], FakePartner(), here, lambda: False):
        pass
    return only(here)


def fakes_advance(node: Node, seconds: float) -> None:
    assert isinstance(node.clock, fakes.FakeClock)
    node.clock.advance(seconds)


def only(node: Node) -> Referral:
    with node.database.read():
        return referrals.listed()[0]


WORDS: list[tuple[dict[str, Any], str]] = [
    ({}, "sent"),
    ({"proof": "none"}, "sent, partner cannot confirm"),
    ({"dropped": 2}, "sent, 2 not accepted"),
    ({"dropped": 2, "proof": "none"}, "sent, 2 not accepted, partner cannot confirm"),
    ({"progress": "confirmed", "state": "confirmed", "proof": "find"}, "confirmed"),
    ({"gate": "held", "state": "held", "proof": "none"}, "held"),
    ({"held": 1, "state": "failed"}, "failed"),
    ({"progress": "sending", "dropped": 1, "state": "failed"}, "failed"),
    ({"progress": "receiving", "state": "receiving"}, "receiving"),
]


@pytest.mark.parametrize(("changes", "words"), WORDS)
def test_sent_and_confirmed_are_different_words(sent: Referral, changes: dict[str, Any], words: str) -> None:
    assert _words(dataclasses.replace(sent, **changes)) == words


def test_the_four_delays(here: Node, sent: Referral) -> None:
    assert timeline.delays(sent) == {"receiving": 61.0, "waiting": 3.0, "sending": 0.0, "proving": None}
    assert timeline.stages(sent) == "receiving 61.0 s, waiting 3.0 s, sending 0.0 s"
    late = dataclasses.replace(sent, completed_at=sent.begun_at and sent.begun_at + SECOND)
    assert timeline.delays(late)["waiting"] == 0.0


def test_the_timeline_has_every_attempt_with_its_status_in_hex_and_in_words(here: Node) -> None:
    fakes.receive_all(here, make_instances(2))
    fakes.complete(here)
    fake = FakePartner(status=0xA700)
    forward(here.config.partners["PUBPACS"], fake, here, lambda: False)
    fakes_advance(here, 3600)
    fake.status = 0
    while forward(here.config.partners["PUBPACS"], fake, here, lambda: False):
        pass
    prove(here.config.partners["PUBPACS"], fake, here, lambda: False)
    with here.database.read():
        tried, asked = attempts.of(1), transactions.of(1)
        rows = timeline.merged(audit.events(referral=1), tried, asked)
    assert [row["event"] for row in rows if row["event"] == "attempt"] == ["attempt"] * len(tried)
    assert any("A700H (out of resources)" in row["text"] for row in rows)
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    names = [row["event"] for row in rows]
    assert names[-1] == "referral confirmed"
    assert {"commitment asked for", "commitment answered", "referral sent"} <= set(names)
    assert timeline.attempt(tried[0])["last_status"] == "A700"
    assert timeline.attempt(tried[0])["meaning"] == "out of resources"
    assert timeline.commitment(asked[0])["state"] == "answered"


ENDS: list[tuple[str, int, str, str, str]] = [
    ("answered", 0, "", "answered", "committed to all"),
    ("answered", 3, "", "answered", "3 not committed to"),
    ("expired", 0, "", "expired", "no result came in time"),
    ("void", 0, "", "not needed", "not needed any more"),
    ("void", 0, "the partner answered with 0110H", "failed", "the partner answered with 0110H"),
]


@pytest.mark.parametrize(("state", "failed", "reason", "end", "text"), ENDS)
def test_how_a_commitment_ended(state: str, failed: int, reason: str, end: str, text: str) -> None:
    told = Told("2.25.1", state, START, START + 1, failed, reason)
    rows = timeline.merged([], [], [told])
    assert [(row["event"], row["text"]) for row in rows] == [
        ("commitment asked for", "2.25.1"),
        (f"commitment {end}", text),
    ]


def test_what_is_not_over_has_no_end() -> None:
    rows = timeline.merged([], [], [Told("2.25.1", "asked", START, None, 0, "")])
    assert [row["event"] for row in rows] == ["commitment asked for"]


ATTEMPTS: list[Callable[[], tuple[Attempt, str]]] = [
    lambda: (Attempt(1, START, START + SECOND, 9, 5, 5, None, ""), "5 of 5 delivered in 1.0 s"),
    lambda: (Attempt(1, START, START, None, 5, 0, None, "lost"), "0 of 5 delivered in 0.0 s: lost"),
    lambda: (Attempt(1, START, START, None, 0, 0, None, "no connection"), "nothing was offered: no connection"),
]


@pytest.mark.parametrize("case", ATTEMPTS)
def test_an_attempt_in_words(case: Callable[[], tuple[Attempt, str]]) -> None:
    made, text = case()
    (row,) = timeline.merged([], [made], [])
    assert row["text"] == text


def test_events_keep_their_order_within_a_moment() -> None:
    rows = timeline.merged([Event(START, "b", ""), Event(START, "a", "")], [], [])
    assert [row["event"] for row in rows] == ["b", "a"]
