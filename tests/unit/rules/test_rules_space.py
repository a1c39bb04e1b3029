"""rules/space.py: what so much free space allows, how long it lasts, and which clock a study's age is told by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.config.parts import Watermarks
from dicomnode.rules.space import Room, amount, forecast, lasts, refusal, room, span, told, trusted

GB = 10**9
MARKS = Watermarks(associations=2 * GB, instances=GB)
HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("free", "expected"),
    [(0, Room.NONE), (GB - 1, Room.NONE), (GB, Room.SCARCE), (2 * GB - 1, Room.SCARCE), (2 * GB, Room.PLENTY)],
)
def test_below_a_watermark_less_is_taken(free: int, expected: Room) -> None:
    assert room(MARKS, free) is expected


@pytest.mark.parametrize(
    ("free", "before", "expected"),
    [
        (2 * GB - 1, Room.PLENTY, Room.SCARCE),
        (2 * GB, Room.SCARCE, Room.SCARCE),  # at the very mark: it was told, and nothing has changed
        (2.1 * GB, Room.SCARCE, Room.PLENTY),
        (GB - 1, Room.PLENTY, Room.NONE),
        (GB, Room.NONE, Room.NONE),
        (1.05 * GB, Room.NONE, Room.SCARCE),
        (2 * GB, Room.NONE, Room.SCARCE),
        (3 * GB, Room.NONE, Room.PLENTY),
        (2 * GB, Room.PLENTY, Room.PLENTY),
    ],
)
def test_worse_is_told_at_once_and_better_when_it_is_clearly_so(free: float, before: Room, expected: Room) -> None:
    assert told(MARKS, int(free), before) is expected


@given(st.integers(0, 4 * GB), st.sampled_from(Room))
def test_what_was_told_is_never_better_than_it_is_and_stays_said(free: int, before: Room) -> None:
    now = told(MARKS, free, before)
    assert now <= room(MARKS, free)
    assert told(MARKS, free, now) is now


def test_who_would_store_is_told_to_come_again() -> None:
    assert refusal(MARKS, 2 * GB, "") is None
    low, failed = refusal(MARKS, 2 * GB - 1, ""), refusal(MARKS, 9 * GB, "Input/output error")
    assert low
    assert failed
    assert (low.result, low.source, low.reason, low.why) == (2, 3, 1, "disk low")
    assert (failed.result, failed.source, failed.reason) == (2, 3, 1)
    assert failed.why == "the disk failed: Input/output error"


def test_how_long_it_lasts() -> None:
    assert lasts(MARKS, 3 * GB, GB / 1000) == 2000
    assert lasts(MARKS, 0, 1) == 0
    assert lasts(MARKS, 3 * GB, 0) is None


def test_a_clock_that_jumps_ahead_makes_nothing_old() -> None:
    day, year = 24 * HOUR, 365 * 24 * HOUR
    assert trusted(day, 0, HOUR) == 2 * HOUR
    assert trusted(year, 0, day) == 2 * day
    assert trusted(HOUR, 0, HOUR) == HOUR
    assert trusted(-day, 0, HOUR) == -day  # set back: followed at once
    assert trusted(10 * HOUR, 0, 6 * HOUR) == 10 * HOUR  # time that the node did not live is caught up with


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.integers(0, 10**12))
def test_the_trusted_time_is_never_ahead_of_the_clock_nor_of_what_was_lived(now: int, before: int, lived: int) -> None:
    time = trusted(now, before, lived)
    assert time <= now
    assert time - before <= 2 * lived


def test_words() -> None:
    assert [amount(size) for size in (0, 5 * 10**6, 74 * GB, 1_234 * GB)] == ["0 MB", "5 MB", "74.0 GB", "1.2 TB"]
    assert [span(seconds) for seconds in (1, 90, 7200, 86400, 172800)] == [
        *("1 minute", "2 minutes", "2 hours", "24 hours", "2 days"),
    ]
    assert forecast(None) == "nothing has come in of late"
    assert forecast(0) == "there is no room for more"
    assert forecast(7200) == "that lasts about 2 hours"
