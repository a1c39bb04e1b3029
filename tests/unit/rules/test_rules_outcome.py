"""rules/outcome.py: what a status or an error means for a transfer, and when it is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.errors import AssociationLost, ContextMissing, PartnerError, Rejected, RejectedForGood, Unreachable
from dicomnode.rules import outcome
from dicomnode.rules.outcome import Delivered, Later, Never, Scope

D, N = Delivered, Never
INSTANCE, ASSOCIATION, PARTNER = Scope.INSTANCE, Scope.ASSOCIATION, Scope.PARTNER
STATUSES = [  # status, meaning where it was never refused, once, twice
    (0x0000, D, D, D),
    (0xB000, D, D, D),
    (0xB006, D, D, D),
    (0xB007, D, D, D),
    (0xB123, D, D, D),
    (0x0001, D, D, D),
    (0x0107, D, D, D),
    (0x0116, D, D, D),
    (0xA700, INSTANCE, INSTANCE, INSTANCE),
    (0xA7FF, INSTANCE, INSTANCE, INSTANCE),
    (0x0213, INSTANCE, INSTANCE, INSTANCE),
    (0xA900, INSTANCE, INSTANCE, N),
    (0xA9FF, INSTANCE, INSTANCE, N),
    (0xC000, INSTANCE, INSTANCE, N),
    (0xC123, INSTANCE, INSTANCE, N),
    (0x0117, INSTANCE, INSTANCE, N),
    (0x0111, D, D, D),
    (0x0112, N, N, N),
    (0x0122, N, N, N),
    (0x0124, N, N, N),
    (0x0214, N, N, N),
    (0x0210, ASSOCIATION, N, N),
    (0x0211, ASSOCIATION, N, N),
    (0x0212, ASSOCIATION, N, N),
    (0x0105, INSTANCE, INSTANCE, INSTANCE),
    (0x0106, INSTANCE, INSTANCE, INSTANCE),
    (0x0110, INSTANCE, INSTANCE, INSTANCE),
    (0xFE00, INSTANCE, INSTANCE, INSTANCE),
    (0xFF00, INSTANCE, INSTANCE, INSTANCE),
    (0x1234, INSTANCE, INSTANCE, INSTANCE),
]


def kind(found: outcome.Outcome) -> object:
    return found.scope if isinstance(found, Later) else type(found)


@pytest.mark.parametrize(("status", "first", "second", "third"), STATUSES)
def test_a_status_means_delivered_later_or_never(status: int, first: object, second: object, third: object) -> None:
    found = [outcome.of_status(status, refused) for refused in range(3)]
    assert [kind(each) for each in found] == [first, second, third]
    if status:
        assert all(each.reason.endswith(f"({status:04X}H)") for each in found)


COUNTED = {0xA900, 0xA9FF, 0xC000, 0xC123, 0x0117, 0x0210, 0x0211, 0x0212}
CONFIGURED = {0x0112, 0x0122, 0x0124, 0x0214}


@pytest.mark.parametrize("status", [status for status, *_ in STATUSES])
def test_only_what_says_that_it_cannot_take_it_is_counted(status: int) -> None:
    found = outcome.of_status(status, 0)
    assert (isinstance(found, Later) and found.refused) == (status in COUNTED)
    assert (isinstance(found, Never) and found.configuration) == (status in CONFIGURED)


def test_a_partner_that_keeps_an_old_version_is_not_said_to_have_the_new_one() -> None:
    assert isinstance(outcome.of_status(0x0111, 0), Delivered)
    found = outcome.of_status(0x0111, 0, replaces=True)
    assert isinstance(found, Never)
    assert not found.configuration
    assert "another version" in found.reason
    assert isinstance(outcome.of_status(0x0000, 0, replaces=True), Delivered)


@given(st.integers(0, 0xFFFF), st.integers(0, 50))
def test_only_a_success_or_a_warning_is_delivered(status: int, attempts: int) -> None:
    delivered = isinstance(outcome.of_status(status, attempts), Delivered)
    assert delivered == (status in (0, 1, 0x0107, 0x0111, 0x0116) or status >> 12 == 0xB)


@given(st.integers(0, 0xFFFF))
def test_never_stays_never(status: int) -> None:
    """An instance that was given up is not taken up again because it was tried once more."""
    given_up = [isinstance(outcome.of_status(status, attempts), Never) for attempts in range(5)]
    assert given_up == sorted(given_up)


SHORT = {0xA700: True, 0xA7AB: True, 0x0213: True, 0xA900: False, 0x0000: False, 0xB700: False}


@pytest.mark.parametrize(("status", "short"), SHORT.items())
def test_out_of_resources_passes(status: int, short: bool) -> None:
    assert outcome.is_short(status) is short


MEANINGS = {
    0x0000: "success",
    0xA701: "out of resources",
    0xA901: "dataset does not match the SOP class",
    0xC001: "cannot understand",
    0xB001: "stored with a warning",
    0x0122: "SOP class not supported",
    0x0112: "SOP class not supported (as PS3.2 prints it)",
    0x0213: "resource limitation",
    0x1234: "unknown status",
}


@pytest.mark.parametrize(("status", "text"), MEANINGS.items())
def test_a_status_in_words(status: int, text: str) -> None:
    assert outcome.words(status) == text


ERRORS: list[tuple[PartnerError, object]] = [
    (Unreachable("x"), PARTNER),
    (Rejected("x"), PARTNER),
    (RejectedForGood("x"), PARTNER),
    (PartnerError("x"), PARTNER),
    (AssociationLost("x"), ASSOCIATION),
    (ContextMissing("x"), Never),
]


@pytest.mark.parametrize(("error", "meaning"), ERRORS)
def test_an_error_has_a_scope(error: PartnerError, meaning: object) -> None:
    found = outcome.of_error(error)
    assert (kind(found), found.reason) == (meaning, "x")


def test_only_who_says_that_trying_again_will_not_help_is_asked_seldom() -> None:
    slow = {error.__class__: outcome.of_error(error) for error, _ in ERRORS}
    assert [kind for kind, found in slow.items() if isinstance(found, Later) and found.slow] == [RejectedForGood]


def test_what_is_further_ahead_than_any_delay_was_written_by_another_clock() -> None:
    now = 1_790_000_000 * SECOND
    assert outcome.next_attempt_at(now, 0, 30, 3600, 1.0) <= outcome.furthest(now, 3600) == now + 4050 * SECOND


# -- back-off --------------------------------------------------------------------------------------------------

SECOND = 1_000_000
TABLE = [  # age, first, most → delay without jitter (s)
    (0, 30, 3600, 30),
    (29, 30, 3600, 30),
    (60, 30, 3600, 60),
    (1000, 30, 3600, 1000),
    (10**6, 30, 3600, 3600),
    (-500, 30, 3600, 30),  # the clock was set back
]


@pytest.mark.parametrize(("age", "first", "most", "delay"), TABLE)
def test_what_waited_long_can_wait_longer(age: float, first: float, most: float, delay: float) -> None:
    now = 1_790_000_000 * SECOND
    assert outcome.next_attempt_at(now, now - age * SECOND, first, most, 0.5) == now + delay * SECOND


times = st.integers(0, 2 * 10**15)
limits = st.tuples(st.floats(0.1, 1000), st.floats(1, 1000)).map(lambda pair: (pair[0], pair[0] * pair[1]))


@given(times, times, limits, st.floats(0, 1))
def test_a_delay_stays_within_its_limits(now: int, since: int, limit: tuple[float, float], jitter: float) -> None:
    first, most = limit
    delay = (outcome.next_attempt_at(now, since, first, most, jitter) - now) / SECOND
    assert 0.874 * first - 1e-5 <= delay <= 1.126 * most + 1e-5


@given(times, st.integers(0, 10**13), st.integers(0, 10**13), limits, st.floats(0, 1))
def test_a_delay_grows_with_age(now: int, age: int, more: int, limit: tuple[float, float], jitter: float) -> None:
    younger = outcome.next_attempt_at(now, now - age, *limit, jitter)
    assert outcome.next_attempt_at(now, now - age - more, *limit, jitter) >= younger


@given(times, times, limits, st.floats(0, 1), st.floats(0, 1))
def test_jitter_spreads(now: int, since: int, limit: tuple[float, float], one: float, two: float) -> None:
    found = [outcome.next_attempt_at(now, since, *limit, each) for each in sorted((one, two))]
    assert found == sorted(found)


def test_six_days_of_failure_are_some_hundred_attempts() -> None:
    now = since = 0
    attempts = 0
    while now < 6 * 86_400 * SECOND:
        now = outcome.next_attempt_at(now, since, 30, 3600, 0.5)
        attempts += 1
    assert 100 < attempts < 200
