"""run/rounds.py: the housekeeper wakes for what there is to do, and moves the log in time."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicomnode.operations import housekeep
from dicomnode.operations.ports import Node, now
from dicomnode.run import rounds, scoreboard, workers
from dicomnode.run.orders import Orders
from dicomnode.run.rounds import Rounds
from dicomnode.store import referrals
from dicomnode.store.bell import Bell
from dicomnode.store.database import execute, one
from dicomnode.store.recover import Found
from tests import fakes
from tests.node import wait_until
from tests.samples import make_instances

AT_ONCE = rounds._LONGEST / 2


@pytest.fixture
def node(build: Callable[..., Node]) -> Node:
    """With a short quiet time, and under the real clock."""
    return build(fakes.CONFIG.replace("wait: 60s", "wait: 1s"), clock=now)


@pytest.fixture
def running(node: Node) -> Iterator[list[float]]:
    """A housekeeper at work, and the times of its rounds."""
    reader, writer = os.pipe()
    over, times, it = threading.Event(), list[float](), Rounds(node, fakes.FakeCallers())

    def run() -> None:
        while not over.is_set():
            times.append(time.monotonic())
            it.go(reader)

    thread = threading.Thread(target=run)
    thread.start()
    yield times
    over.set()
    os.write(writer, b"\1")
    thread.join(5)
    assert not thread.is_alive(), "the housekeeper sleeps on"
    for descriptor in (reader, writer):
        os.close(descriptor)


def progress(node: Node) -> str:
    with node.database.read():
        return referrals.listed()[0].progress


def test_a_study_is_complete_when_its_quiet_time_ends(node: Node, running: list[float]) -> None:
    fakes.receive_all(node, make_instances(1))
    began = time.monotonic()
    assert progress(node) == "receiving"
    wait_until(lambda: progress(node) == "complete", 1 + AT_ONCE, "the end of the quiet time")
    assert time.monotonic() - began > 0.9


def test_a_worker_that_dies_is_buried_when_somebody_rings(node: Node, running: list[float]) -> None:
    wait_until(lambda: running, 5, "the first round")
    lock = node.archive.root / "run" / "dead.lock"
    lock.touch()
    Bell(node.archive.root / "run").ring()
    wait_until(lambda: not lock.exists(), AT_ONCE, "the burial")


def test_an_idle_housekeeper_makes_no_rounds(node: Node, running: list[float]) -> None:
    wait_until(lambda: running, 5, "the first round")
    time.sleep(3 * rounds._APART)  # nothing is to happen: there is nothing to wait for
    assert len(running) <= 2  # what the first writes down is heard once


def test_however_much_is_committed_rounds_are_apart(node: Node, running: list[float]) -> None:
    bell = Bell(node.archive.root / "run")
    wait_until(lambda: bool(bell.ring() or len(running) >= 4), 5, "four rounds")
    assert all(b - a >= 0.8 * rounds._APART for a, b in itertools.pairwise(running[1:]))


def test_an_index_that_cannot_be_written_ends_no_housekeeper(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Node) -> None:
        raise rounds.OutOfResources("disk full")

    monkeypatch.setattr(rounds, "_OFTEN", 0.1)
    monkeypatch.setattr(housekeep, "strand", full)
    began = time.monotonic()
    Rounds(node, fakes.FakeCallers()).go(-1)
    assert time.monotonic() - began >= 0.1


class _Impatient:
    """A Stop that comes after some rounds."""

    signal = -1

    def __init__(self, rounds: int) -> None:
        self._left = rounds

    @property
    def has_come(self) -> bool:
        self._left -= 1
        return self._left < 0


def test_an_index_that_is_locked_at_its_start_ends_no_housekeeper(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may lock it before the housekeeper has begun: what a start does is done when it can be."""
    write, done, refused = node.database.write, list[str](), iter([True])

    def once_locked(fn: Callable[[], object]) -> object:
        if next(refused, False):
            raise rounds.OutOfResources("the index is locked")
        done.append(fn.__qualname__)
        return write(fn)

    reader, writer = os.pipe()
    monkeypatch.setattr(rounds, "_OFTEN", 0.0)
    monkeypatch.setattr(rounds, "_LONGEST", 0.0)
    monkeypatch.setattr(node.database, "write", once_locked)
    orders = Orders(tmp_path, writer, scoreboard=scoreboard.create())
    workers._housekeeper(orders, node, _Impatient(2))  # type: ignore[arg-type]
    os.close(orders.scoreboard)
    assert os.read(reader, 1) == b"\1"
    os.close(reader)
    assert done[0] == "strand.<locals>.stranded"


def test_the_log_is_moved_a_while_after_it_began_to_grow(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "_CHECKPOINT", 0.3)
    it = Rounds(node, fakes.FakeCallers())
    fakes.receive_all(node, make_instances(1))
    before = _moved(node)
    assert 0.2 < it._checkpoint() <= 0.3 + 1e-6  # of sums of the clock
    assert _moved(node) == before
    time.sleep(0.3)
    it._checkpoint()
    assert _moved(node) != before
    assert it._checkpoint() == rounds._LONGEST
    fakes.receive_all(node, make_instances(1, seed="more"))
    assert it._checkpoint() > 0.2  # it has just begun to grow again


def test_a_large_log_is_moved_sooner(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.receive_all(node, make_instances(1))
    it = Rounds(node, fakes.FakeCallers())
    before = _moved(node)
    assert it._checkpoint() == rounds._CHECKPOINT
    monkeypatch.setattr(rounds, "_LARGE", 1000)
    assert it._checkpoint() <= rounds._OFTEN
    assert _moved(node) == before
    monkeypatch.setattr(rounds, "_OFTEN", 0.0)
    it._checkpoint()
    assert _moved(node) != before


def test_files_are_looked_at_a_while_after_a_death_and_daily(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, clock = list[float](), [1000.0]
    monkeypatch.setattr(housekeep, "look_back", lambda _, age: looks.append(age) or Found(0, 0, 0))
    monkeypatch.setattr(rounds.time, "monotonic", lambda: clock[0])
    it = Rounds(node, fakes.FakeCallers())

    def after(seconds: float, died: bool = False) -> int:
        clock[0] += seconds
        it._look_back(died)
        return len(looks)

    assert after(0) == 0
    assert after(601) == 1  # the housekeeper before it may have died owing one
    assert after(601, died=True) == 1
    assert after(600) == 1
    assert after(2) == 2
    assert after(86398) == 2
    assert after(3) == 3
    assert set(looks) == {housekeep.SETTLED}


def test_a_round_that_buries_somebody_looks_at_the_files_later(node: Node) -> None:
    it = Rounds(node, fakes.FakeCallers())
    (node.archive.root / "run" / "dead.lock").touch()
    it._look_back_at = before = it._look_back_at + 86400
    interrupt, bell = os.pipe()
    os.write(bell, b"\1")
    it.go(interrupt)
    assert it._look_back_at < before - 3600
    for descriptor in (interrupt, bell):
        os.close(descriptor)


def test_a_study_whose_source_hangs_up_is_complete_soon_after(node: Node) -> None:
    callers = fakes.FakeCallers("CT1")
    fakes.receive_all(node, make_instances(1))
    it = Rounds(node, callers)
    wait_until(lambda: _past(it, node, 1.1), 5, "the end of the quiet time")
    assert progress(node) == "receiving"
    callers.calling.clear()
    wait_until(lambda: _past(it, node, 0) and progress(node) == "complete", 3, "the end of the wait")


def _past(it: Rounds, node: Node, seconds: float) -> bool:
    """A round; whether so much time has passed since the last instance."""
    it.go(-1)
    with node.database.read():
        (last,) = one("SELECT last_instance_at FROM referrals")
    return node.clock() - last >= seconds * 1e6


def _moved(node: Node) -> bytes:
    """What is in the database file itself."""
    return node.database.path.read_bytes()


def test_housekeepers_show_what_they_keep(node: Node) -> None:
    assert "index.sqlite" in repr(Rounds(node, fakes.FakeCallers()))


def test_what_an_earlier_version_did_not_compare_is_compared(node: Node) -> None:
    fakes.receive_all(node, make_instances(2, seed="earlier"))
    node.database.write(lambda: execute("UPDATE studies SET compared = 0"))
    reader, writer = os.pipe()
    os.close(writer)
    Rounds(node, fakes.FakeCallers()).go(reader)
    os.close(reader)
    with node.database.read():
        assert one("SELECT compared FROM studies") == (1,)
