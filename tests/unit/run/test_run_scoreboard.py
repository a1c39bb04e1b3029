"""run/scoreboard.py: what is open is counted over all processes, and by nobody who has died."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from dicomnode.config.model import Partner
from dicomnode.config.parts import Limits
from dicomnode.rules.governance import Open, reserve
from dicomnode.run import scoreboard
from dicomnode.run.scoreboard import Row, Scoreboard

CT1 = Partner(name="CT1", site="harbour")
CT2 = Partner(name="CT2", site="harbour", max_associations=2)
HERE = "10.1.0.5"


@pytest.fixture
def shared() -> Iterator[int]:
    descriptor = scoreboard.create()
    yield descriptor
    os.close(descriptor)


def rows(descriptor: int, count: int, limits: Limits | None = None) -> list[Row]:
    """Rows as so many acceptors have them: each with a map of its own."""
    return [Row(Scoreboard(descriptor), row, limits or Limits()) for row in range(count)]


def take(row: Row, partner: Partner = CT1, address: str = HERE, *, light: bool = False) -> str:
    """Why it was refused, or nothing."""
    refused = row.take(partner, address, light)
    return refused.why if refused else ""


def test_what_one_acceptor_has_open_counts_with_the_others(shared: int) -> None:
    one, two = rows(shared, 2, Limits(associations=3))
    assert [take(one, light=True), take(two, light=True), take(one, light=True)] == ["", "", ""]
    assert "too many" in take(two, light=True)
    one.leave(CT1, HERE)
    assert take(two, light=True) == ""


def test_the_last_are_kept_for_those_that_do_not_store(shared: int) -> None:
    limits = Limits(associations=4)
    one, two = rows(shared, 2, limits)
    assert [take(one), take(two), take(one)] == ["", "", ""]
    assert "echo and query" in take(two)
    assert reserve(limits) == 1
    assert take(two, light=True) == ""


def test_who_has_an_association_open_with_anybody_is_calling(shared: int) -> None:
    one, two = rows(shared, 2)
    board = Scoreboard(shared)
    assert not board.is_calling("CT1")
    take(one)
    take(two, address="10.1.0.6")
    assert board.is_calling("CT1")
    assert not board.is_calling("CT2")
    assert not board.is_calling(HERE)
    one.leave(CT1, HERE)
    assert board.is_calling("CT1")
    board.clear(1)  # its acceptor was killed
    assert not board.is_calling("CT1")


def test_a_partner_has_its_own_limit_and_leaves_the_others_theirs(shared: int) -> None:
    one, two = rows(shared, 2)
    assert [take(one, CT2, "10.1.0.1"), take(two, CT2, "10.1.0.2")] == ["", ""]
    assert "of CT2" in take(one, CT2, "10.1.0.3")
    assert take(one) == ""
    two.leave(CT2, "10.1.0.2")
    assert take(one, CT2, "10.1.0.3") == ""


def test_an_address_has_its_own_limit_whoever_calls_from_it(shared: int) -> None:
    one, two = rows(shared, 2, Limits(address_associations=2))
    assert [take(one, CT1), take(two, CT2)] == ["", ""]
    assert "one address" in take(two, CT1)
    assert take(two, CT1, "10.1.0.6") == ""


def test_one_that_leaves_takes_no_other_with_it(shared: int) -> None:
    """The entries move together; those that are left are still whose they were."""
    (row,) = rows(shared, 1, Limits(address_associations=1))
    addresses = [f"10.1.0.{n}" for n in range(5)]
    assert [take(row, CT1, address) for address in addresses] == [""] * 5
    for gone in ("10.1.0.0", "10.1.0.4", "10.1.0.2"):
        row.leave(CT1, gone)
    assert ["one address" in take(row, CT1, address) for address in ("10.1.0.1", "10.1.0.3")] == [True, True]
    assert take(row, CT1, "10.1.0.0") == ""


def test_to_leave_without_having_come_is_our_own_fault(shared: int) -> None:
    (row,) = rows(shared, 1)
    assert take(row) == ""
    with pytest.raises(IndexError):
        row.leave(CT2, HERE)
    assert Scoreboard(shared).counts == {0: 1}


def test_a_connection_that_says_nothing_leaves_no_trace_but_a_counter(shared: int) -> None:
    one, two = rows(shared, 2)
    for row in (one, two, two):
        row.touched()
    board = Scoreboard(shared)
    assert (board.touches, board.counts) == (3, {})


def test_a_scoreboard_tells_how_many_there_are(shared: int) -> None:
    one, two = rows(shared, 2)
    take(two)
    one.touched()
    assert repr(one) == "Row(0 of Scoreboard({1: 1} open, 1 silent))"


def test_a_row_that_is_cleared_is_used_again(shared: int) -> None:
    one, two = rows(shared, 2, Limits(associations=4))
    assert [take(one), take(one), take(two)] == ["", "", ""]
    Scoreboard(shared).clear(0)
    assert Scoreboard(shared).counts == {1: 1}
    assert [take(one), take(two)] == ["", ""]
    assert "too many" in take(one)


def test_whoever_has_more_connections_than_another_is_burdened(shared: int) -> None:
    one, other, idle = rows(shared, 3)
    one.arrived()
    assert not one.is_burdened  # nobody accepts, so nobody could take the next one
    one.accepts(True)
    other.accepts(True)
    assert (one.is_burdened, other.is_burdened, idle.is_burdened) == (True, False, False)
    other.arrived()
    assert (one.is_burdened, other.is_burdened) == (False, False)
    one.gone()
    assert (one.is_burdened, other.is_burdened) == (False, True)
    one.accepts(False)
    assert not other.is_burdened


def test_a_row_that_is_cleared_is_nobody_to_leave_connections_to(shared: int) -> None:
    dead, alive = rows(shared, 2)
    dead.accepts(True)
    alive.accepts(True)
    alive.arrived()
    assert alive.is_burdened
    Scoreboard(shared).clear(0)
    assert not alive.is_burdened


def test_memory_is_used_by_what_is_open_alone(shared: int) -> None:
    (row,) = rows(shared, 1)
    take(row)
    assert os.fstat(shared).st_blocks * 512 < 64 << 10


def test_to_enter_and_to_leave_is_cheap_with_300_open(shared: int) -> None:
    board = rows(shared, 4, Limits(associations=1000))
    for n in range(300):
        assert take(board[n % 4], CT1, f"10.1.0.{n % 50}") == ""

    def pair() -> float:
        began = time.thread_time()
        board[1].take(CT1, HERE, False)
        board[1].leave(CT1, HERE)
        return time.thread_time() - began

    assert sorted(pair() for _ in range(300))[150] < 200e-6  # 50 µs each, on a machine half as fast


def _slowly(count: Callable[..., Open]) -> Callable[..., Open]:
    def counted(*given: object) -> Open:
        found = count(*given)
        time.sleep(0)  # another thread's turn, if it may have one
        return found

    return counted


# -- several processes -----------------------------------------------------------------------------------------

_ACCEPTOR = """
import os, pickle, sys
from dicomnode.run.scoreboard import Row, Scoreboard
descriptor, number, limits, partner, address = pickle.load(sys.stdin.buffer)
row, taken = Row(Scoreboard(descriptor), number, limits), 0
print("ready", flush=True)
sys.stdin.buffer.read(1)
while True:
    if row.take(partner, address, False):
        break
    taken += 1
print(taken, flush=True)
sys.stdin.buffer.read(1)
"""


def acceptor(shared: int, row: int, limits: Limits) -> subprocess.Popen[bytes]:
    """A process that takes slots until it is refused, once it is told to, and then sleeps."""
    process = subprocess.Popen(
        [sys.executable, "-c", _ACCEPTOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[shared]
    )
    assert process.stdin
    process.stdin.write(pickle.dumps((shared, row, limits, CT1, HERE)))
    process.stdin.flush()
    return process


def line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout
    return process.stdout.readline().decode().strip()


def go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.write(b"\n")
    process.stdin.flush()


@pytest.fixture
def acceptors(shared: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Three processes at their scoreboard, 1000 slots between them."""
    limits = Limits(associations=1000)
    made = [acceptor(shared, row, limits) for row in range(3)]
    assert [line(process) for process in made] == ["ready"] * 3
    yield made
    for process in made:
        process.kill()
        process.communicate()


def test_no_two_processes_take_the_last_slot(shared: int, acceptors: list[subprocess.Popen[bytes]]) -> None:
    for process in acceptors:
        go(process)
    taken = [int(line(process)) for process in acceptors]
    assert sum(taken) == 900
    assert sum(Scoreboard(shared).counts.values()) == 900


def test_one_that_is_killed_in_the_middle_keeps_nothing_and_stops_nobody(
    shared: int, acceptors: list[subprocess.Popen[bytes]]
) -> None:
    """Killed while it takes slots: its lock is free, and its row can be cleared, whatever it left there."""
    board = Scoreboard(shared)
    first, second, _ = acceptors
    go(first)
    while board.counts.get(0, 0) < 50:
        assert first.poll() is None
    first.kill()
    first.wait()
    board.clear(0)
    assert board.counts == {}
    go(second)
    assert int(line(second)) == 900


def test_threads_of_one_process_do_not_take_the_last_slot_twice(shared: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoreboard.Scoreboard, "open_with", _slowly(Scoreboard.open_with))
    (row,) = rows(shared, 1, Limits(associations=200))
    taken: list[int] = []

    def run() -> None:
        count = 0
        while not take(row):
            count += 1
        taken.append(count)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 180
    assert Scoreboard(shared).counts == {0: 180}
