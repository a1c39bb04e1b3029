"""rules/ranges.py: dates, times and date-times as ranges."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.rules import ranges

DATES = [
    ("20260105", "20260105", "20260105"),
    ("20260105-20260110", "20260105", "20260110"),  # F13
    ("20260105-", "20260105", ""),  # F15
    ("-20260110", "", "20260110"),  # F14
    (" 20260105 - 20260110 ", "20260105", "20260110"),
    ("20260110-20260105", "20260110", "20260105"),  # F16: nothing lies in it
    ("20260201-20260231", "20260201", "20260231"),
]


@pytest.mark.parametrize(("text", "low", "high"), DATES)
def test_dates(text: str, low: str, high: str) -> None:
    assert ranges.dates(text) == (low, high)


NO_DATES = ["", "-", "2026", "2026010", "202601055", "2026.01.05", "2026*", "20261301", "20260100", "20260132"]
NO_DATES += ["20260105--20260110", "20260105-20260110-", "20260105-20260110-20260111", "x", "٢٠٢٦٠١٠٥", "20260105-x"]


@pytest.mark.parametrize("text", NO_DATES)  # F17
def test_no_dates(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        ranges.dates(text)


TIMES = [
    ("09", "090000.000000", "095959.999999"),
    ("0930", "093000.000000", "093059.999999"),  # F20
    ("093015", "093015.000000", "093015.999999"),  # F19
    ("093015.5", "093015.500000", "093015.599999"),
    ("093015.123456", "093015.123456", "093015.123456"),
    ("09:30:15", "093015.000000", "093015.999999"),
    ("235960", "235960.000000", "235960.999999"),
    ("0800-1000", "080000.000000", "100059.999999"),  # F18
    ("235959-", "235959.000000", ""),  # F21
    ("-12", "", "125959.999999"),
    ("2200-0200", "220000.000000", "020059.999999"),  # within one day: nothing lies in it
]


@pytest.mark.parametrize(("text", "low", "high"), TIMES)
def test_times(text: str, low: str, high: str) -> None:
    assert ranges.times(text) == (low, high)


@pytest.mark.parametrize("text", ["", "-", "9", "24", "093", "0960", "093061", "093015.", "093015.1234567", "0930*"])
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        ranges.times(text)


DATE_TIMES = [
    ("2026", "20260101000000.000000", "20261231235959.999999"),
    ("202602", "20260201000000.000000", "20260228235959.999999"),
    ("202402", "20240201000000.000000", "20240229235959.999999"),
    ("20260105", "20260105000000.000000", "20260105235959.999999"),
    ("2026010509", "20260105090000.000000", "20260105095959.999999"),
    ("20260105093015.25", "20260105093015.250000", "20260105093015.259999"),
    ("20260105093060", "20260105093100.000000", "20260105093100.999999"),  # a leap second
    ("20260105-20260106", "20260105000000.000000", "20260106235959.999999"),  # F69
    ("20260105-", "20260105000000.000000", ""),
    ("-202601", "", "20260131235959.999999"),
    # F70: an offset is taken into account, and a hyphen may begin one.
    ("20260531230000+0000", "20260531230000.000000", "20260531230000.999999"),
    ("20260601080000+0900", "20260531230000.000000", "20260531230000.999999"),
    ("20260531180000-0500", "20260531230000.000000", "20260531230000.999999"),
    ("2026-0500", "20260101050000.000000", "20270101045959.999999"),
    ("2026-1300", "20260101130000.000000", "20270101125959.999999"),
    ("2026-2027", "20260101000000.000000", "20271231235959.999999"),  # no place is 20 hours behind
    ("2026-0500-", "20260101050000.000000", ""),
    ("-2026-0500", "", "20270101045959.999999"),
    ("2026-0500-2027-0500", "20260101050000.000000", "20280101045959.999999"),
    ("2026+0100-2027", "20251231230000.000000", "20271231235959.999999"),
    ("2026-2027+0100", "20260101000000.000000", "20271231225959.999999"),
    ("2027-2026", "20270101000000.000000", "20261231235959.999999"),
]


@pytest.mark.parametrize(("text", "low", "high"), DATE_TIMES)
def test_date_times(text: str, low: str, high: str) -> None:
    assert ranges.date_times(text) == (low, high)


NO_DATE_TIMES = ["", "-", "26", "20261", "2026010524", "20260105+1500", "2026+01", "0000", "00010101+0100", "2026*"]


@pytest.mark.parametrize("text", [*NO_DATE_TIMES, "9999-0100", "20260105T0930"])
def test_no_date_times(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        ranges.date_times(text)


ZONES = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(1000, 1, 2), datetime(9999, 12, 30), timezones=ZONES))
def test_a_whole_date_time_is_one_moment(moment: datetime) -> None:
    asked = f"{moment.isoformat(timespec='microseconds').translate(str.maketrans('', '', '-:T'))[:21]}{moment:%z}"
    low, high = ranges.date_times(asked)
    assert low == high
    assert datetime.strptime(low, "%Y%m%d%H%M%S.%f").replace(tzinfo=UTC) == moment


@given(st.text("0123456789-+.: ", max_size=45))
def test_any_text_is_a_range_or_a_value_error(text: str) -> None:
    for parse, lengths in ((ranges.dates, {0, 8}), (ranges.times, {0, 13}), (ranges.date_times, {0, 21})):
        try:
            found = parse(text)
        except ValueError:
            continue
        assert {len(end) for end in found} <= lengths
        assert any(found)


MOMENTS = [
    (("20260105", "20260106", "090000.000000", "120059.999999"), ("20260105090000.000000", "20260106120059.999999")),
    (("20260105", "20260105", "093000.000000", ""), ("20260105093000.000000", "20260105235959.999999")),
    (("20260105", "20260106", "", "120000.999999"), ("20260105000000.000000", "20260106120000.999999")),
    (("20260105", "", "090000.000000", "120000.999999"), ("20260105090000.000000", "")),
    (("", "20260106", "090000.000000", "120000.999999"), ("", "20260106120000.999999")),
]


@pytest.mark.parametrize(("ends", "found"), MOMENTS)  # F23
def test_moments(ends: tuple[str, str, str, str], found: tuple[str, str]) -> None:
    assert ranges.moments(*ends) == found
