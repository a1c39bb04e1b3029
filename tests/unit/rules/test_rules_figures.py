"""rules/figures.py: numbers that may be published, from which nobody can be told."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.rules import figures
from dicomnode.rules.figures import FEWEST, SUPPRESSED, Exchange


def exchange(
    *,
    month: str = "2026-03",
    site: str = "harbour",
    modality: str = "CT",
    confirmed: bool = True,
    media: bool = False,
    took: float | None = 60.0,
    failure: str = "",
    quarantined: bool = False,
) -> Exchange:
    return Exchange(month, site, modality, not failure, media, confirmed and not failure, quarantined, took, failure)


def test_what_is_counted() -> None:
    made = [exchange(took=float(number)) for number in range(1, 91)] + [exchange(failure="no consent", took=None)] * 10
    found = figures.report(made)
    assert list(found.rows) == [("2026-03", "harbour", "CT")]
    row = found.rows["2026-03", "harbour", "CT"]
    assert (row.referred, row.electronic, row.media, row.confirmed) == (100, 90, 0, 1.0)
    assert (row.p50, row.p90) == (45.5, pytest.approx(81.1))
    assert found.failures == {"no consent": 10}
    assert found.total == row == found.months["2026-03"] == found.sites["harbour"]


def test_the_share_that_was_confirmed_is_of_those_sent() -> None:
    made = [exchange()] * 30 + [exchange(confirmed=False)] * 10 + [exchange(failure="in quarantine")] * 60
    assert figures.report(made).total.confirmed == 0.75


def test_the_share_that_ever_was_in_quarantine() -> None:
    assert figures.report([exchange()] * 15 + [exchange(quarantined=True)] * 5).total.quarantined == 0.25


def test_of_few_nothing_is_told() -> None:
    found = figures.report([exchange()] * 10 + [exchange(modality="MR", failure="no consent")] * 4)
    few = found.rows["2026-03", "harbour", "MR"]
    assert (few.referred, few.confirmed, few.p50, few.p90, few.quarantined) == (SUPPRESSED, None, None, None, None)
    assert found.failures == {"no consent": SUPPRESSED}


def test_a_sum_with_few_in_it_is_rounded() -> None:
    made = [exchange()] * 11 + [exchange(modality="MR")] * 3 + [exchange(site="peak", month="2026-04")] * 11
    found = figures.report(made)
    assert found.total.referred == 25
    assert (found.sites["harbour"].referred, found.sites["peak"].referred) == (15, 11)
    assert (found.months["2026-03"].referred, found.months["2026-04"].referred) == (15, 11)


@pytest.mark.parametrize("some", range(11))
def test_a_share_tells_of_neither_side_when_it_is_few(some: int) -> None:
    made = [exchange(confirmed=number < some) for number in range(10)]
    expected = some / 10 if some in (0, 5, 10) else None
    assert figures.report(made).total.confirmed == expected


def test_nothing_is_a_report_too() -> None:
    found = figures.report([])
    assert (found.rows, found.total.referred, found.total.p50) == ({}, 0, None)


_EXCHANGES = st.builds(
    Exchange,
    st.sampled_from(["2026-03", "2026-04"]),
    st.sampled_from(["harbour", "peak"]),
    st.sampled_from(["CT", "MR"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.none() | st.floats(0, 1e6),
    st.sampled_from(["", "no consent"]),
)


@given(st.lists(_EXCHANGES, max_size=60))
def test_no_number_tells_of_few(made: list[Exchange]) -> None:
    found = figures.report(made)
    for each in (*found.rows.values(), *found.months.values(), *found.sites.values(), found.total):
        for count in (each.referred, each.electronic, each.media):
            assert count == SUPPRESSED or count == 0 or (isinstance(count, int) and count >= FEWEST)


# -- whoever has all that is published, and knows how it is made -----------------------------------------------------


def cell(referred: int, electronic: int, confirmed: int, modality: str = "CT") -> list[Exchange]:
    def one(number: int) -> Exchange:
        return Exchange("2026-03", "harbour", modality, number < electronic, False, number < confirmed, False, None, "")

    return [one(number) for number in range(referred)]


def published(made: list[Exchange]) -> str:
    return repr(figures.report(made))


def untold(possible: Mapping[str, list[tuple[int, ...]]]) -> None:
    """No number from one to four is the only one that what is published leaves possible."""
    for what, found in possible.items():
        for each in zip(*found, strict=True):
            assert not 0 < min(each) == max(each) < FEWEST, (found, what)


@pytest.mark.parametrize("told", range(5, 11))
@pytest.mark.parametrize("hidden", [1, 2, 3])
def test_no_sum_tells_of_a_part_that_is_not_told(told: int, hidden: int) -> None:
    possible: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
    for few in itertools.product(range(1, FEWEST), repeat=hidden):
        made = cell(told, told, told)
        for number, count in enumerate(few):
            made += cell(count, count, count, f"M{number}")
        possible[published(made)].append(few)
    untold(possible)


@pytest.mark.parametrize("referred", [*range(5, 22), 37])
def test_no_share_and_no_rest_tells_of_few(referred: int) -> None:
    """Of every number that might be sent, and confirmed: what is published tells neither of few, nor of few others."""
    possible: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
    for electronic in range(referred + 1):
        for confirmed in range(electronic + 1):
            rests = referred - electronic, electronic - confirmed, referred - confirmed
            numbers = electronic, confirmed, *rests
            possible[published(cell(referred, electronic, confirmed))].append(numbers)
    untold(possible)


@pytest.mark.parametrize("told", [(60, 53), (40, 33), (17, 12), (10, 5)])
def test_no_share_of_a_sum_tells_of_its_parts(told: tuple[int, int]) -> None:
    possible: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
    for few in range(1, FEWEST):
        for electronic in range(few + 1):
            for confirmed in range(electronic + 1):
                made = cell(told[0], *told) + cell(few, electronic, confirmed, "MR")
                possible[published(made)].append((few, electronic, confirmed, few - electronic, electronic - confirmed))
    untold(possible)


def test_a_failure_of_few_is_not_what_the_others_leave() -> None:
    made = [exchange()] * 40 + [exchange(failure="in quarantine")] * 8 + [exchange(failure="no consent")] * 2
    found = figures.report(made)
    assert (found.total.referred, found.total.electronic) == (50, 40)
    assert found.failures == {"in quarantine": 10, "no consent": SUPPRESSED}
    assert figures.report(made[:-2]).failures == {"in quarantine": 8}


@pytest.mark.parametrize(
    ("modality", "told"),
    [
        *((each, each) for each in ("CT", "CT+MR", "X_1 A", "unknown", "A" * 16)),
        *((each, "other") for each in ("ct", "Chan Tai Man", "A" * 17, "CT+Müller", "CHAN^TAI MAN", "")),
    ],
)
def test_a_modality_is_told_that_looks_like_one(modality: str, told: str) -> None:
    """Whoever sends a study writes it, and may write whatever there is in it."""
    assert list(figures.report([exchange(modality=modality)] * 6).rows) == [("2026-03", "harbour", told)]
