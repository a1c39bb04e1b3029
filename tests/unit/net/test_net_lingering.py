"""net/lingering.py: who stays open, for how long, and who is released when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from dicomnode.net.lingering import Lingering
from tests.node import wait_until

LONG = 3600.0


class Fake:
    """An association: whether it can go on, and when it was released."""

    def __init__(self, *, over: bool = False) -> None:
        self.over = over
        self.released = threading.Event()
        self.at = 0.0

    def linger(self) -> bool:
        return not self.over

    def release(self) -> None:
        assert not self.released.is_set(), "released twice"
        self.at = time.monotonic()
        self.released.set()


class Watched(threading.Condition):
    """A condition that writes down how long each wait was to be."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return super().wait(timeout)


@pytest.fixture
def make() -> Iterator[Callable[[float], Lingering[Fake]]]:
    made: list[Lingering[Fake]] = []

    def lingering(seconds: float) -> Lingering[Fake]:
        made.append(Lingering(seconds))
        return made[-1]

    yield lingering
    for it in made:
        it.close()
        if it._thread:
            it._thread.join(10)
            assert not it._thread.is_alive()


def test_what_was_kept_last_is_taken_first_and_once(make: Callable[[float], Lingering[Fake]]) -> None:
    it, first, second, other = make(LONG), Fake(), Fake(), Fake()
    it.keep("PUBPACS", first)
    it.keep("PUBPACS", second)
    it.keep("ISLPACS", other)
    assert [it.take("PUBPACS") for _ in range(3)] == [second, first, None]
    assert it.take("ISLPACS") is other
    assert not any(each.released.is_set() for each in (first, second, other))


def test_one_that_is_over_is_not_handed_out(make: Callable[[float], Lingering[Fake]]) -> None:
    it, alive, dead = make(LONG), Fake(), Fake()
    it.keep("PUBPACS", alive)
    it.keep("PUBPACS", dead)
    dead.over = True
    assert it.take("PUBPACS") is alive
    assert dead.released.is_set()
    assert it.take("PUBPACS") is None


def test_nothing_lingers_for_no_time(make: Callable[[float], Lingering[Fake]]) -> None:
    it, fake = make(0), Fake()
    it.keep("PUBPACS", fake)
    assert fake.released.is_set()
    assert it.take("PUBPACS") is None
    assert it._thread is None


def test_each_is_released_when_its_time_has_come_and_not_before(make: Callable[[float], Lingering[Fake]]) -> None:
    it, fakes = make(0.3), [Fake(), Fake()]
    begun = time.monotonic()
    it.keep("PUBPACS", fakes[0])
    wait_until(lambda: time.monotonic() > begun + 0.1, 5, "a moment between the two")
    it.keep("ISLPACS", fakes[1])
    assert all(fake.released.wait(10) for fake in fakes)
    assert fakes[0].at - begun >= 0.3
    assert fakes[1].at - begun >= 0.4
    assert it.take("PUBPACS") is None


def test_one_that_is_in_use_again_does_not_expire(make: Callable[[float], Lingering[Fake]]) -> None:
    it, used, other = make(0.2), Fake(), Fake()
    it.keep("PUBPACS", used)
    it.keep("ISLPACS", other)
    assert it.take("PUBPACS") is used
    assert other.released.wait(10)
    assert not used.released.is_set()


def test_nobody_wakes_while_nothing_lingers(make: Callable[[float], Lingering[Fake]]) -> None:
    it, watched = make(0.1), Watched()
    it._changed = watched
    first = Fake()
    it.keep("PUBPACS", first)
    assert first.released.wait(10)
    wait_until(lambda: watched.waits[-1] is None, 5, "the thread to sleep for ever")
    assert len(watched.waits) == 2, "it slept until the time had come, and then for ever"
    second = Fake()
    it.keep("PUBPACS", second)
    assert second.released.wait(10)


def test_the_end_waits_for_the_slowest_alone(make: Callable[[float], Lingering[Fake]]) -> None:
    """All farewells are said at once: each waits here until every other has begun."""
    together = threading.Barrier(3, timeout=10)

    class Slow(Fake):
        def release(self) -> None:
            together.wait()
            super().release()

    it, fakes = make(LONG), [Slow(), Slow(), Slow()]
    for fake in fakes:
        it.keep("PUBPACS", fake)
    it.close()
    assert all(fake.released.is_set() for fake in fakes)


def test_the_end_releases_everything_and_keeps_nothing_more(make: Callable[[float], Lingering[Fake]]) -> None:
    it, fakes = make(LONG), [Fake(), Fake()]
    for fake in fakes:
        it.keep("PUBPACS", fake)
    it.close()
    assert all(fake.released.is_set() for fake in fakes)
    late = Fake()
    it.keep("PUBPACS", late)
    assert late.released.is_set()
