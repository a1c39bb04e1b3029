"""store/together.py: work is done once for all who wait, by one of them, and for nobody who has gone away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from dicomnode.errors import OutOfResources
from dicomnode.store.together import Together
from tests.node import wait_until

MOST, PATIENCE = 4, 0.2


class Work:
    """What was done, list by list, and in which threads; it stands still at an item that is a closed gate."""

    def __init__(self) -> None:
        self.lists: list[list[object]] = []
        self.threads: list[int] = []
        self.begun = threading.Event()

    def __call__(self, items: list[object]) -> None:
        self.lists.append(items)
        self.threads.append(threading.get_ident())
        self.begun.set()
        for item in items:
            if isinstance(item, threading.Event):
                assert item.wait(10)
            if isinstance(item, Exception):
                raise item


@pytest.fixture
def work() -> Work:
    return Work()


Behind = tuple[threading.Event, list[Future[None]]]


@contextmanager
def behind_a_gate(work: Work, together: Together[object], *items: object) -> Iterator[Behind]:
    """Items that wait in their order while a first is worked on: the gate that ends it, and what becomes of them."""
    gate = threading.Event()
    with ThreadPoolExecutor(len(items) + 1) as pool:
        first = pool.submit(together.do, gate)
        try:
            assert work.begun.wait(10)
            futures = []
            for number, item in enumerate(items, 1):
                futures.append(pool.submit(together.do, item))
                wait_until(lambda number=number: len(together) == number, 10, "one more in the line")
            yield gate, futures
        finally:
            gate.set()
        first.result(10)


def test_alone_it_is_done_at_once_and_by_the_caller(work: Work) -> None:
    together = Together[object](work, MOST, PATIENCE)
    for item in range(3):
        together.do(item)
    assert work.lists == [[0], [1], [2]]
    assert set(work.threads) == {threading.get_ident()}


def test_what_waits_is_done_in_one_and_in_its_order(work: Work) -> None:
    together = Together[object](work, MOST, 10)
    with behind_a_gate(work, together, 1, 2, 3) as (gate, futures):
        gate.set()
        for future in futures:
            future.result(10)
    assert work.lists[1:] == [[1, 2, 3]]
    assert len(together) == 0


def test_what_is_too_much_for_one_is_done_in_the_next(work: Work) -> None:
    together = Together[object](work, MOST, 10)
    with behind_a_gate(work, together, *range(10)) as (gate, futures):
        gate.set()
        for future in futures:
            future.result(10)
    assert work.lists[1:] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_failure_is_that_of_its_list_alone(work: Work) -> None:
    together = Together[object](work, 2, 10)
    failure = KeyError("no")
    with behind_a_gate(work, together, 1, failure, 3) as (gate, futures):
        gate.set()
        for future in futures[:2]:
            with pytest.raises(KeyError):
                future.result(10)
        futures[2].result(10)
    together.do(4)
    assert work.lists[-2:] == [[3], [4]]


def test_who_waits_too_long_goes_away_and_nothing_is_done_for_it(work: Work) -> None:
    together = Together[object](work, MOST, PATIENCE)
    with behind_a_gate(work, together, 1) as (_, (future,)):
        with pytest.raises(OutOfResources, match="busy"):
            future.result(10)
        assert len(together) == 0
    together.do(2)
    assert [1] not in work.lists
    assert work.lists[-1] == [2]


def test_what_has_begun_is_waited_for_however_long_it_takes(work: Work) -> None:
    gate = threading.Event()
    together = Together[object](work, MOST, PATIENCE)
    with behind_a_gate(work, together, gate) as (first, (future,)):
        first.set()
        wait_until(lambda: len(work.lists) == 2, 10, "the second list")
        with pytest.raises(TimeoutError):
            future.result(2 * PATIENCE)  # longer than it would have waited in the line
        gate.set()
        future.result(10)


def test_closing_waits_for_what_was_asked_for_and_begins_nothing_more(work: Work) -> None:
    together = Together[object](work, MOST, 10)
    with behind_a_gate(work, together, 1, 2) as (gate, futures):
        closing = threading.Thread(target=together.close)
        closing.start()
        wait_until(lambda: together._is_closed, 10, "the closing to begin")
        with pytest.raises(OutOfResources, match="ending"):
            together.do(3)
        assert closing.is_alive()
        gate.set()
        closing.join(10)
        assert not closing.is_alive()
        for future in futures:
            future.result(10)
    assert work.lists[1:] == [[1, 2]]


def test_each_is_done_once_and_no_two_at_the_same_time(work: Work) -> None:
    inside: list[int] = []
    done, over = list[int](), set[int]()

    def alone(items: list[int]) -> None:
        inside.append(1)
        assert len(inside) == 1
        done.extend(items)
        over.update(items)
        inside.pop()

    together = Together[int](alone, MOST, 10)

    def some(start: int) -> None:
        for item in range(start, start + 200):
            together.do(item)
            assert item in over

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(some, 1000 * number) for number in range(8)]:
            future.result(30)
    assert sorted(done) == [1000 * number + item for number in range(8) for item in range(200)]
