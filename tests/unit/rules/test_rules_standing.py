"""rules/standing.py: of all that can be said of a referral, what matters now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dicomnode.rules import standing
from dicomnode.rules.standing import Lane, Standing

AT = 1_790_000_000_000_000
SENT = Standing(AT, 7, "1.2.3", "harbour", "PUBPACS", "r", "sent", "open", "", delivered=3, sent_at=AT)
WAITS = replace(SENT, progress="complete", queued=3, delivered=0, sent_at=None)
STOPPED: list[tuple[str, Any]] = [  # what stops a referral, the worst first
    ("recall", "recalling"),
    ("withdrawn", "it is withdrawn"),
    ("quarantine", "two patients"),
    ("hold", "wait"),
    ("correction", "which version?"),
    ("identity", "another name"),
    ("unreferred", "no referral"),
    ("unconsented", "no consent"),
    ("stranded", True),
]
FACTS = [
    *("being called back", "is withdrawn", "in quarantine", "person holds", "was corrected", "whose study it is"),
    *("referral in advance", "for consent", "nobody to send"),
]


@pytest.mark.parametrize("number", range(len(STOPPED)))
def test_the_worst_that_stops_it_comes_first(number: int) -> None:
    stops = dict(STOPPED[number:])
    it = replace(WAITS, gate="held", reason="all of it", **stops)
    assert FACTS[number] in standing.conclude(it).fact


@pytest.mark.parametrize(
    ("fact", "command"),
    [
        ("quarantine", "dicomnode quarantine show"),
        ("unreferred", "dicomnode referrals match"),
        ("unconsented", "dicomnode referrals consent"),
    ],
)
def test_what_the_reason_says_to_do_is_not_said_twice(fact: str, command: str) -> None:
    for reason in ("it is so", f"it is so: `{command} 1`"):
        said = standing.conclude(replace(WAITS, gate="held", reason=reason, **{fact: reason}))
        assert str(said).count(command) == 1
        assert said.action


@pytest.mark.parametrize("fact", ["quarantine", "correction", "identity", "unreferred", "unconsented"])
def test_what_was_sent_is_not_stopped_by_a_doubt_that_came_later(fact: str) -> None:
    assert standing.conclude(replace(SENT, **{fact: "too late"})).fact.startswith("It was sent")


def test_a_hold_stops_what_was_sent_too() -> None:
    assert "person holds" in standing.conclude(replace(SENT, gate="held", hold="wait", reason="wait")).fact


LANES = [  # lane, cause, whose
    (Lane(hold="tonight", opens_at=AT + 1, failing_since=AT), "A person holds the lane", "you"),
    (Lane(opens_at=AT + 1, failing_since=AT), "The window", "nobody"),
    (Lane(failing_since=AT, reason="off", tried_at=AT + 1), "PUBPACS has failed since", "the administrator of PUBPACS"),
    (Lane(), "It is complete", "nobody"),
]


@pytest.mark.parametrize(("lane", "cause", "whose"), LANES)
def test_what_a_lane_waits_for(lane: Lane, cause: str, whose: str) -> None:
    said = standing.conclude(replace(WAITS, lane=lane))
    assert said.cause.startswith(cause)
    assert said.whose == whose


def test_a_lane_is_no_matter_to_what_was_sent() -> None:
    assert standing.conclude(replace(SENT, lane=Lane(failing_since=AT, reason="off"))).fact.startswith("It was sent")


HELD = [
    ("configuration", "the administrator of PUBPACS"),
    ("person", "you"),
    ("file", "harbour's radiographer"),
    ("", "the administrator of PUBPACS"),
]


@pytest.mark.parametrize(("holds", "whose"), HELD)
def test_whose_it_is_that_an_instance_is_held(holds: str, whose: str) -> None:
    said = standing.conclude(replace(SENT, delivered=2, held=1, holds=holds, held_because="it is so"))
    assert (said.fact, said.whose) == ("Of 3 instances 1 is held, and 2 delivered to PUBPACS.", whose)


def test_what_is_skipped_altogether() -> None:
    said = standing.conclude(replace(SENT, delivered=0, skipped=3))
    assert said.fact == "Nothing of it is to be sent to PUBPACS."


def test_image_by_image_is_not_waited_for() -> None:
    assert "on the way" in standing.conclude(replace(WAITS, progress="receiving", wait=0)).fact


def test_nothing_is_carried_yet() -> None:
    assert "None of its instances" in standing.conclude(replace(WAITS, queued=0)).cause
