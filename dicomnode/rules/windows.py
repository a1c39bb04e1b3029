"""A partner's window: the time of day, on the clocks of its site, in which it is sent anything.

There is one window each day, from when the clocks first show its begin until they first show its end; one that ends
before it begins ends the next day. A time that clocks skip is as much later as they skip, so a window may be shorter
or longer on a day on which they change, or not be at all. Times in µs; a zone is its name, '' that of this machine.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

Window = tuple[int, int]
"""Minutes since midnight: begin and end."""
_DAY = timedelta(days=1)


def opens_at(now: int, window: Window, zone: str) -> int:
    """When the window is open next: `now` where it is."""
    return next(max(now, begin) for begin, end in _around(now, window, zone) if begin < end and now < end)


def _around(now: int, window: Window, zone: str) -> list[tuple[int, int]]:
    """The windows of some days before and after, the first one first."""
    clock = ZoneInfo(zone) if zone else None
    today = datetime.fromtimestamp(now / 1e6, clock).date()
    return [_on(today + days * _DAY, window, clock) for days in range(-2, 4)]


def _on(day: date, window: Window, clock: ZoneInfo | None) -> tuple[int, int]:
    begin, end = window
    return _at(day, begin, clock), _at(day if begin < end else day + _DAY, end, clock)


def _at(day: date, minutes: int, clock: ZoneInfo | None) -> int:
    shown = datetime.combine(day, time(minutes // 60, minutes % 60), clock)
    return round(shown.timestamp()) * 1_000_000
