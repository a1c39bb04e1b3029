"""rules/windows.py: when a partner may be sent anything, on clocks that change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.rules.windows import opens_at

SECOND = 1_000_000
HOUR, DAY = 3600 * SECOND, 86400 * SECOND
NIGHT, NOON = (22 * 60, 6 * 60), (11 * 60, 13 * 60 + 30)
LONDON = "Europe/London"
"""Its clocks skip 01:00–02:00 on 29 March 2026, and show 01:00–02:00 twice on 25 October."""


def utc(text: str) -> int:
    """`2026-01-31 08:15`, UTC, in µs."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


TABLE = [  # window, zone, now, when it is open (both UTC)
    (NOON, "UTC", "2026-09-20 10:59", "2026-09-20 11:00"),
    (NOON, "UTC", "2026-09-20 11:00", "2026-09-20 11:00"),
    (NOON, "UTC", "2026-09-20 13:29", "2026-09-20 13:29"),
    (NOON, "UTC", "2026-09-20 13:30", "2026-09-21 11:00"),
    (NIGHT, "UTC", "2026-09-20 05:59", "2026-09-20 05:59"),
    (NIGHT, "UTC", "2026-09-20 06:00", "2026-09-20 22:00"),
    (NIGHT, "UTC", "2026-09-20 23:59", "2026-09-20 23:59"),
    (NIGHT, "Asia/Hong_Kong", "2026-09-20 13:59", "2026-09-20 14:00"),
    (NIGHT, "Asia/Hong_Kong", "2026-09-20 22:00", "2026-09-21 14:00"),
    (NIGHT, LONDON, "2026-03-28 21:00", "2026-03-28 22:00"),
    (NIGHT, LONDON, "2026-03-29 04:59", "2026-03-29 04:59"),  # 05:59 there, since that night
    (NIGHT, LONDON, "2026-03-29 05:00", "2026-03-29 21:00"),
    (NIGHT, LONDON, "2026-10-24 21:00", "2026-10-24 21:00"),
    (NIGHT, LONDON, "2026-10-25 05:59", "2026-10-25 05:59"),  # an hour longer
    (NIGHT, LONDON, "2026-10-25 06:00", "2026-10-25 22:00"),
    ((90, 300), LONDON, "2026-03-29 00:00", "2026-03-29 01:30"),  # 01:30, which is skipped: 02:30
    ((75, 105), LONDON, "2026-03-29 00:00", "2026-03-29 01:15"),
    ((90, 130), LONDON, "2026-03-29 00:00", "2026-03-30 00:30"),  # 02:30 to 02:10: not that day
    ((90, 105), LONDON, "2026-10-25 00:50", "2026-10-26 01:30"),  # 01:50, before clocks show 01:30 once more
]


@pytest.mark.parametrize(("window", "zone", "now", "opens"), TABLE)
def test_it_opens_when_its_clocks_say_so(window: tuple[int, int], zone: str, now: str, opens: str) -> None:
    found = opens_at(utc(now), window, zone)
    assert datetime.fromtimestamp(found / SECOND, UTC) == datetime.fromtimestamp(utc(opens) / SECOND, UTC)


minutes = st.integers(0, 24 * 60 - 1)
windows = st.tuples(minutes, minutes).filter(lambda window: window[0] != window[1])
times = st.integers(utc("1990-01-01 00:00"), utc("2037-12-31 00:00"))
zones = st.sampled_from(["UTC", LONDON, "Asia/Hong_Kong", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"])


@given(times, windows, zones)
def test_it_is_open_when_it_opens_and_not_before(now: int, window: tuple[int, int], zone: str) -> None:
    opens = opens_at(now, window, zone)
    assert now <= opens <= now + 3 * DAY
    assert opens_at(opens, window, zone) == opens
    if opens > now:
        assert opens_at((now + opens) // 2, window, zone) == opens
        assert opens_at(opens - 1, window, zone) == opens


@given(times, windows, zones)
def test_away_from_changes_it_is_what_the_clock_on_the_wall_shows(now: int, window: tuple[int, int], zone: str) -> None:
    shown = datetime.fromtimestamp(now // SECOND, ZoneInfo(zone))
    if len({(shown + timedelta(days=days)).utcoffset() for days in (-2, -1, 0, 1, 2)}) > 1:
        return
    minute, (begin, end) = shown.hour * 60 + shown.minute, window
    is_open = begin <= minute < end if begin < end else minute >= begin or minute < end
    assert (opens_at(now, window, zone) == now) == is_open
    assert is_open or opens_at(now, window, zone) - now <= DAY


def test_without_a_zone_it_is_this_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Hong_Kong")
    time.tzset()
    try:
        assert opens_at(utc("2026-09-20 13:59"), NIGHT, "") == utc("2026-09-20 14:00")
    finally:
        monkeypatch.undo()
        time.tzset()
