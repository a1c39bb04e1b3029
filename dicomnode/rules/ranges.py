"""Dates, times and date-times as a key asks for them → ranges that compare as text (PS3.4 C.2.2.2.5, PS3.5 6.2).

Promises (low, high), both inclusive, '' where the range is open; a single value is the range that its precision leaves
open, so that 0930 is all of that minute. A range that ends before it begins is handed on as it is: nothing lies in it.
A day beyond the end of its month is taken as asked, as many callers end every month at 31. ValueError: any other text.
"""

from __future__ import annotations

import calendar
import re
from datetime import datetime, timedelta
from typing import Final

Range = tuple[str, str]

_MONTH: Final = r"(?:0[1-9]|1[0-2])"
_DAY: Final = r"(?:0[1-9]|[12][0-9]|3[01])"
_HOUR: Final = r"(?:[01][0-9]|2[0-3])"
_MINUTE: Final = r"[0-5][0-9]"
_SECOND: Final = r"(?:[0-5][0-9]|60)"  # PS3.5 6.2: a leap second
_FRACTION: Final = r"(?:\.[0-9]{1,6})?"
_OFFSET: Final = r"(?:[+-](?:0[0-9]|1[0-4])[0-5][0-9])?"

_DATE: Final = rf"[0-9]{{4}}{_MONTH}{_DAY}"
_TIME: Final = rf"{_HOUR}(?::?{_MINUTE}(?::?{_SECOND}{_FRACTION})?)?"
_OF_DAY: Final = rf"{_HOUR}(?:{_MINUTE}(?:{_SECOND}{_FRACTION})?)?"
_DATE_TIME: Final = rf"[0-9]{{4}}(?:{_MONTH}(?:{_DAY}(?:{_OF_DAY})?)?)?{_OFFSET}"

# The low end of what is not said, and the high one.
_FIRST: Final = ("00000101000000", "0")
_LAST: Final = ("99991231235959", "9")


def _pattern(one: str) -> re.Pattern[str]:
    """A single value, else a range. A hyphen that can begin an offset does: the year 0500 is not asked for."""
    return re.compile(rf" *(?P<single>{one}) *| *(?P<low>{one}) *- *| *(?P<from>{one})? *- *(?P<high>{one}) *")


_DATES: Final = _pattern(_DATE)
_TIMES: Final = _pattern(_TIME)
_DATE_TIMES: Final = _pattern(_DATE_TIME)


def dates(text: str) -> Range:
    """A DA key: YYYYMMDD."""
    return _ends(_DATES, text)


def times(text: str) -> Range:
    """A TM key, within one day: HHMMSS.ffffff."""
    low, high = _ends(_TIMES, text)
    return _time(low, _FIRST), _time(high, _LAST)


def date_times(text: str) -> Range:
    """A DT key, in UTC: YYYYMMDDHHMMSS.ffffff. What has no offset is taken to be in UTC already."""
    low, high = _ends(_DATE_TIMES, text)
    try:
        return _utc(low, _FIRST), _utc(high, _LAST)
    except OverflowError as fault:  # before the year 1, or after 9999
        raise ValueError(text) from fault


def moments(first_date: str, last_date: str, first_time: str, last_time: str) -> Range:
    """A range of dates and one of times as one, from the first moment to the last: YYYYMMDDHHMMSS.ffffff."""
    low = first_date and first_date + (first_time or "000000.000000")
    high = last_date and last_date + (last_time or "235959.999999")
    return low, high


def _ends(pattern: re.Pattern[str], text: str) -> Range:
    found = pattern.fullmatch(text)
    if found is None:
        raise ValueError(text)
    if found["single"]:
        return found["single"], found["single"]
    return found["low"] or found["from"] or "", found["high"] or ""


def _time(value: str, unsaid: tuple[str, str]) -> str:
    """A time to the microsecond; '' of ''."""
    whole, _, fraction = value.replace(":", "").partition(".")
    return whole and f"{whole + unsaid[0][8 + len(whole) :]}.{fraction.ljust(6, unsaid[1])}"


def _utc(value: str, unsaid: tuple[str, str]) -> str:
    """A date-time to the microsecond in UTC; '' of ''."""
    if not value:
        return ""
    local, sign, offset = [*re.split(r"([+-])", value), "", ""][:3]
    whole, _, fraction = local.partition(".")
    whole += unsaid[0][len(whole) :]
    year, month = int(whole[:4]), int(whole[4:6])
    day = min(int(whole[6:8]), calendar.monthrange(year, month)[1])
    hour, minute, second = (int(whole[at : at + 2]) for at in (8, 10, 12))
    microsecond = int(fraction.ljust(6, unsaid[1]))
    ahead = timedelta(hours=int(offset[:2] or 0), minutes=int(offset[2:] or 0)) * (-1 if sign == "-" else 1)
    moment = datetime(year, month, day) + timedelta(0, second, microsecond, 0, minute, hour) - ahead
    return re.sub("[-:T]", "", moment.isoformat(timespec="microseconds"))
