"""rules/proof.py: what is asked for proof, in which order, and how long is waited."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dicomnode.rules import proof

ALL = ("commitment", "find", "count")
RUNGS = [  # configured, shown, climbed lately → asked
    ("auto", "", False, ALL),
    ("auto", "find", False, ALL),
    ("auto", "", True, ()),
    ("auto", "commitment", True, ALL),
    ("auto", "find", True, ("find", "count")),
    ("auto", "count", True, ("count",)),
    ("find", "", False, ("find",)),
    ("find", "commitment", False, ("find",)),
    ("find", "find", True, ("find",)),
    ("find", "commitment", True, ()),
    ("count", "", True, ()),
]


@pytest.mark.parametrize(("by", "shown", "lately", "asked"), RUNGS)
def test_the_strongest_means_is_asked_first(by: str, shown: str, lately: bool, asked: Sequence[str]) -> None:
    assert tuple(proof.rungs(by, shown, lately=lately)) == asked


REASONS = [
    (0x0110, "processing failure"),
    (0x0112, "no such object instance"),
    (0x0119, "class / instance conflict"),
    (0x0122, "referenced SOP class not supported"),
    (0x0131, "duplicate Transaction UID"),
    (0x0213, "resource limitation"),
    (0xA700, "unknown reason"),
]


@pytest.mark.parametrize(("reason", "words"), REASONS)
def test_a_failure_reason_is_no_status_of_storage(reason: int, words: str) -> None:
    assert proof.failure_reason(reason) == words


BELOW = [
    ("auto", "commitment", ("find", "count")),
    ("auto", "count", ()),
    ("commitment", "commitment", ()),
]


@pytest.mark.parametrize(("by", "rung", "left"), BELOW)
def test_what_is_left_below_a_means(by: str, rung: str, left: Sequence[str]) -> None:
    assert tuple(proof.below(by, rung)) == left


def test_which_proves_more() -> None:
    order = ["", "count", "find", "commitment"]
    for known in order:
        for rung in order[1:]:
            assert proof.is_stronger(rung, known) is (order.index(rung) > order.index(known))


DELAYS = [(1, 30.0, 3600.0, 60.0), (2, 30.0, 3600.0, 600.0), (2, 300.0, 3600.0, 3600.0), (3, 30.0, 3600.0, None)]


@pytest.mark.parametrize(("looks", "first", "most", "delay"), DELAYS)
def test_two_looks_are_delayed_each_longer_than_the_last(
    looks: int, first: float, most: float, delay: float | None
) -> None:
    assert proof.delay(looks, first, most) == delay
