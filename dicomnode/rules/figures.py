"""What was exchanged, in numbers that may be published: by site, modality and month, and nobody can be told from them.

No patient, no UID and no person is in here. A number of fewer than FEWEST studies is not told, nor anything that is
computed of so few, nor of how many others they are the rest; a sum that has such a number in it is rounded to fives,
and its shares are those of rounded numbers: it cannot be had by subtraction, nor by division.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

FEWEST = 5
"""Of fewer, each might be known by name."""
SUPPRESSED = f"<{FEWEST}"
_CS = re.compile("unknown|[A-Z0-9_ ]{1,16}")
_OTHER = "other"

K = TypeVar("K", bound=Hashable)
Count = int | str
"""A number that may be told, or that it may not."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One study on its way to one partner, as far as it may be published.

    `took`: seconds from the acquisition to the confirmation; `failure`: why it is not there, '' where it is or may yet
    be; `quarantined`: whether it ever was.
    """

    month: str
    site: str
    modality: str
    electronic: bool
    media: bool
    confirmed: bool
    quarantined: bool
    took: float | None
    failure: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What may be told of some exchanges: shares from 0 to 1, times in seconds; None: of too few, or of none."""

    referred: Count
    electronic: Count
    media: Count
    confirmed: float | None
    p50: float | None
    p90: float | None
    quarantined: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """All that is published of a period."""

    rows: dict[tuple[str, str, str], Figures]
    """By month (YYYY-MM), site and modality."""
    months: dict[str, Figures]
    sites: dict[str, Figures]
    total: Figures
    failures: dict[str, Count]
    """Studies by the reason for which they are not there."""


def report(exchanges: Sequence[Exchange]) -> Report:
    """The figures of a period."""
    cells = _grouped(exchanges, lambda each: (each.month, each.site, _modality(each.modality)))
    tallies = {key: _tally(found) for key, found in sorted(cells.items())}
    failures = Counter(each.failure for each in exchanges if each.failure)
    total = _sum(tallies.values())
    rounded = not total.is_exact or any(count < FEWEST for count in failures.values())
    return Report(
        {key: _figures(tally) for key, tally in tallies.items()},
        _sums(tallies, 0),
        _sums(tallies, 1),
        _figures(total),
        {why: _failed(count, rounded) for why, count in sorted(failures.items())},
    )


def _modality(modality: str) -> str:
    """A modality as the standard writes them (PS3.5 6.2, VR CS), several joined; else whoever sent it chose a text."""
    return modality if all(map(_CS.fullmatch, modality.split("+"))) else _OTHER


def _grouped(exchanges: Iterable[Exchange], key: Callable[[Exchange], K]) -> dict[K, list[Exchange]]:
    groups: defaultdict[K, list[Exchange]] = defaultdict(list)
    for each in exchanges:
        groups[key(each)].append(each)
    return groups


def _sums(tallies: Mapping[tuple[str, str, str], _Tally], at: int) -> dict[str, Figures]:
    """By one part of the key."""
    names = sorted({key[at] for key in tallies})
    return {name: _figures(_sum(tally for key, tally in tallies.items() if key[at] == name)) for name in names}


def _failed(count: int, rounded: bool) -> Count:
    if count < FEWEST:
        return SUPPRESSED
    return FEWEST * round(count / FEWEST) if rounded else count


# -- what may be told of a number --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Number:
    """A number, and between which the rest of what is told leaves it: where those are one, it is told itself."""

    count: int
    least: int
    most: int

    @property
    def is_exact(self) -> bool:
        return self.least == self.most

    @property
    def told(self) -> Count:
        """One that is not exact is rounded; both ends count as what is next to them, or an end would be told by it."""
        if self.is_exact:
            return self.count
        within = min(max(self.count, self.least + 1), self.most - 1)
        return SUPPRESSED if within < FEWEST else FEWEST * round(within / FEWEST)


def _number(count: int) -> _Number:
    return _Number(count, 1, FEWEST - 1) if 0 < count < FEWEST else _Number(count, count, count)


def _part(count: int, whole: _Number) -> _Number:
    """So many of a whole: neither they nor the others are told where they are few."""
    if count < FEWEST:
        return _number(count)
    if count == whole.count or whole.most < 2 * FEWEST:  # of so few, some would be told by the others
        return whole
    if count > whole.least - FEWEST:
        return _Number(count, whole.least - FEWEST + 1, whole.most - 1)
    return _number(count)


def _added(numbers: Sequence[_Number]) -> _Number:
    return _Number(sum(n.count for n in numbers), sum(n.least for n in numbers), sum(n.most for n in numbers))


@dataclass(frozen=True, slots=True)
class _Tally:
    """The numbers of some exchanges, and how long each took."""

    referred: _Number
    electronic: _Number
    media: _Number
    confirmed: _Number
    quarantined: _Number
    took: Sequence[float]

    @property
    def is_exact(self) -> bool:
        return all(getattr(self, name).is_exact for name in _NUMBERS)


_NUMBERS = ("referred", "electronic", "media", "confirmed", "quarantined")


def _tally(found: Sequence[Exchange]) -> _Tally:
    referred = _number(len(found))
    electronic = _part(sum(each.electronic for each in found), referred)
    return _Tally(
        referred,
        electronic,
        _part(sum(each.media for each in found), referred),
        _part(sum(each.confirmed for each in found if each.electronic), electronic),
        _part(sum(each.quarantined for each in found), referred),
        [each.took for each in found if each.took is not None],
    )


def _sum(tallies: Iterable[_Tally]) -> _Tally:
    every = list(tallies)
    took = [took for each in every for took in each.took]
    numbers = {name: _added([getattr(each, name) for each in every]) for name in _NUMBERS}
    return _Tally(**numbers, took=took)


def _figures(it: _Tally) -> Figures:
    took = sorted(it.took)
    p50, p90 = (_percentile(took, 50), _percentile(took, 90)) if len(took) >= FEWEST else (None, None)
    confirmed, quarantined = _share(it.confirmed, it.electronic), _share(it.quarantined, it.referred)
    return Figures(it.referred.told, it.electronic.told, it.media.told, confirmed, p50, p90, quarantined)


def _share(some: _Number, whole: _Number) -> float | None:
    """A share; None where it would tell of fewer than may be told: of the some, or of the rest. Of rounded numbers it
    is one of these, in whole percents."""
    one, of, rest = some.told, whole.told, whole.count - some.count
    if isinstance(one, str) or isinstance(of, str) or not whole.count:
        return None
    if rest == 0:
        return 1.0
    others = _Number(rest, of - some.most, of - some.least).told if whole.is_exact else of - one
    if isinstance(others, str) or others < FEWEST:
        return None
    return one / of if some.is_exact and whole.is_exact else round(min(1.0, one / of), 2)


def _percentile(sorted_values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(sorted_values, n=100, method="inclusive")[percent - 1]


def record(it: Figures) -> dict[str, Any]:
    """As a row of a table."""
    return {field.name: getattr(it, field.name) for field in fields(it)}
