"""rules/completeness.py: when a study is complete, by a table and by what must be true of any evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.rules.completeness import Ask, Asked, Complete, Decision, Evidence, Wait, decide, next_question_at

SECOND = 1_000_000
MINUTE = 60 * SECOND
LAST = 1_790_000_000 * SECOND
QUIET = LAST + MINUTE
PLAIN = Evidence(LAST, MINUTE, 5 * MINUTE)
CALLING = replace(PLAIN, is_calling=True)
LONG = Evidence(LAST, 60 * MINUTE, 5 * MINUTE, is_calling=True)
NEVER = Asked("PACS", 30 * MINUTE)
SILENT = Asked("PACS", 30 * MINUTE, asks=3)
MORE = Asked("PACS", 30 * MINUTE, asks=2, lacking=2)
ALL = Asked("PACS", 30 * MINUTE, asks=1, lacking=0)
END = LAST + 30 * MINUTE

TABLE: list[tuple[Evidence, int, Decision | None, str]] = [
    # the evidence, the time; what follows (None: it is complete, for a reason with these words)
    (PLAIN, LAST, Wait(QUIET), ""),
    (PLAIN, QUIET - 1, Wait(QUIET), ""),
    (PLAIN, QUIET, None, "nothing new came within the quiet time"),
    (replace(PLAIN, wait=0), LAST, None, "nothing new"),
    (replace(CALLING, wait=0), LAST, None, "nothing new"),
    (CALLING, QUIET - 1, Wait(QUIET), ""),
    (CALLING, QUIET, Wait(QUIET + SECOND), ""),
    (CALLING, LAST + 3 * MINUTE - 1, Wait(LAST + 3 * MINUTE), ""),
    (CALLING, LAST + 3 * MINUTE, None, "still has open brought nothing of it"),
    (LONG, LAST + 65 * MINUTE - 1, Wait(LAST + 65 * MINUTE), ""),
    (LONG, LAST + 65 * MINUTE, None, "still has open"),
    (replace(PLAIN, asked=NEVER), QUIET - 1, Wait(QUIET), ""),
    (replace(PLAIN, asked=NEVER), QUIET, Ask(), ""),
    (replace(CALLING, asked=NEVER), QUIET, Ask(), ""),
    (replace(PLAIN, asked=SILENT), QUIET, Wait(END), ""),
    (replace(PLAIN, asked=SILENT), END, None, "PACS did not say what it has"),
    (replace(PLAIN, asked=NEVER), END, None, "PACS did not say what it has"),
    (replace(PLAIN, asked=MORE), END - 1, Wait(END), ""),
    (replace(PLAIN, asked=MORE), END, None, "PACS has 2 more"),
    (replace(PLAIN, asked=ALL), QUIET, None, "PACS has no more"),
    (replace(PLAIN, asked=ALL), QUIET - 1, Wait(QUIET), ""),
    (replace(CALLING, asked=ALL), QUIET, Wait(QUIET + SECOND), ""),
]


@pytest.mark.parametrize(("evidence", "now", "decision", "words"), TABLE)
def test_what_follows_from_the_evidence(evidence: Evidence, now: int, decision: Decision | None, words: str) -> None:
    made = decide(evidence, now)
    if decision is None:
        assert isinstance(made, Complete)
        assert words in made.why
    else:
        assert made == decision


durations = st.integers(0, 10**11)
asked = st.builds(Asked, st.just("PACS"), durations, st.integers(0, 40), st.none() | st.integers(0, 5000))
evidences = st.builds(Evidence, durations, durations, durations, st.booleans(), st.none() | asked)


@given(evidences, durations)
def test_nothing_is_complete_before_its_quiet_time_or_late_for_ever(evidence: Evidence, now: int) -> None:
    made = decide(evidence, now)
    quiet = evidence.last_instance_at + evidence.wait
    within = evidence.asked.within if evidence.asked else 0
    latest = max(quiet + 2 * evidence.wait, evidence.last_instance_at + within)
    if isinstance(made, Wait):
        assert now < made.until <= latest
    else:
        assert now >= quiet
    if now >= latest:
        assert isinstance(made, Complete)
    if isinstance(made, Complete):  # what has become complete stays so, if nothing comes
        assert isinstance(decide(evidence, now + 1), Complete)


@given(evidences, durations)
def test_more_evidence_against_it_never_makes_it_sooner(evidence: Evidence, now: int) -> None:
    if isinstance(decide(replace(evidence, is_calling=True), now), Complete):
        assert isinstance(decide(replace(evidence, is_calling=False), now), Complete)
        assert isinstance(decide(replace(evidence, asked=None), now), Complete)
        assert isinstance(decide(replace(evidence, last_instance_at=evidence.last_instance_at - 1), now), Complete)


@given(evidences, durations)
def test_nobody_is_asked_twice_for_one_silence(evidence: Evidence, now: int) -> None:
    if isinstance(decide(evidence, now), Ask):
        assert evidence.asked
        assert not isinstance(decide(replace(evidence, asked=replace(evidence.asked, asks=1)), now), Ask)


def test_questions_come_further_and_further_apart() -> None:
    delays = [next_question_at(LAST, asks, 30, 600) - LAST for asks in range(8)]
    assert delays == [s * SECOND for s in (30, 30, 60, 120, 240, 480, 600, 600)]
    assert next_question_at(LAST, 10**9, 30, 3600) == LAST + 3600 * SECOND
