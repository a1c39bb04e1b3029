"""store/bell.py: who sleeps hears who commits, in any process, and is not woken for every one of many."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicomnode.store.bell import Bell, Ear
from dicomnode.store.database import Database, execute

LONG = 20.0
"""Seconds that nobody sleeps in a test that passes."""
APART = 0.05


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    made = Ear(tmp_path / "run", "forwarder", APART)
    yield made
    os.close(made._fifo)


def slept(ear: Ear, seconds: float = LONG, interrupt: int = -1) -> float:
    began = time.monotonic()
    ear.wait(seconds, interrupt)
    return time.monotonic() - began


@pytest.fixture
def sleeper(ear: Ear) -> Iterator[Callable[[], float]]:
    """Somebody who sleeps; the answer is how long they did."""
    times: list[float] = []
    thread = threading.Thread(target=lambda: times.append(slept(ear)), daemon=True)

    def awake() -> float:
        thread.join(LONG + 5)
        return times[0]

    thread.start()
    yield awake
    thread.join()


def test_a_commit_is_heard(tmp_path: Path, sleeper: Callable[[], float]) -> None:
    database = Database(tmp_path / "index.sqlite")
    database.write(lambda: (execute("CREATE TABLE words (word TEXT)"), execute("INSERT INTO words VALUES ('one')")))
    assert sleeper() < LONG / 2
    database.close()


def test_a_commit_of_another_process_is_heard(tmp_path: Path, sleeper: Callable[[], float]) -> None:
    code = (
        "import sys; from pathlib import Path; from dicomnode.store.database import Database, execute\n"
        "it = Database(Path(sys.argv[1])); it.write(lambda: execute('CREATE TABLE words (word TEXT)'))\n"
        "it.write(lambda: execute('INSERT INTO words VALUES (1)')); it.close()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "index.sqlite")], check=True, timeout=30)
    assert sleeper() < LONG / 2


def test_what_rang_before_is_heard_at_once_and_once(tmp_path: Path, ear: Ear) -> None:
    bell = Bell(tmp_path / "run")
    for _ in range(5):
        bell.ring()
    assert slept(ear) < LONG / 2
    assert slept(ear, 0.2) > 0.1


def test_what_rings_while_the_listener_is_busy_is_heard_the_next_time(tmp_path: Path, ear: Ear) -> None:
    bell = Bell(tmp_path / "run")
    bell.ring()
    ear.wait(LONG)
    bell.ring()  # it looks at what the first ring told of
    assert slept(ear) < LONG / 2


def test_both_listeners_hear_each_ring(tmp_path: Path, ear: Ear) -> None:
    other = Ear(tmp_path / "run", "housekeeper", APART)
    Bell(tmp_path / "run").ring()
    assert max(slept(ear), slept(other)) < LONG / 2
    os.close(other._fifo)


def test_however_much_rings_a_listener_looks_now_and_then(tmp_path: Path, ear: Ear) -> None:
    bell, over = Bell(tmp_path / "run"), threading.Event()

    def keep_ringing() -> None:
        while not over.is_set():
            bell.ring()

    thread = threading.Thread(target=keep_ringing)
    thread.start()
    began = time.monotonic()
    looks = 0
    while time.monotonic() - began < 10 * APART:
        ear.wait(LONG)
        looks += 1
    took = time.monotonic() - began
    over.set()
    thread.join()
    assert 2 <= looks <= took / APART + 1


def test_nobody_waits_for_a_listener_that_does_not_come(tmp_path: Path, ear: Ear) -> None:
    capacity = fcntl.fcntl(ear._fifo, fcntl.F_SETPIPE_SZ, 4096)
    bell = Bell(tmp_path / "run")
    for _ in range(2 * capacity):
        bell.ring()
    assert slept(ear) < LONG / 2


def test_where_nobody_listens_a_ring_does_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    bell = Bell(tmp_path / "run")
    bell.ring()
    assert list(tmp_path.iterdir()) == []
    dead = Ear(tmp_path / "run", "forwarder", APART)
    os.close(dead._fifo)
    bell.ring()
    again = Ear(tmp_path / "run", "forwarder", APART)
    assert slept(again, 0.2) > 0.1
    bell.ring()
    assert slept(again) < LONG / 2
    os.close(again._fifo)


@pytest.mark.parametrize("busy", [False, True])
def test_a_sleep_is_interrupted_by_what_can_be_read(tmp_path: Path, busy: bool) -> None:
    ear = Ear(tmp_path / "run", "forwarder", LONG)
    Bell(tmp_path / "run").ring()
    ear.wait(LONG)
    reader, writer = os.pipe()
    if not busy:
        ear._deaf_until = 0.0
    os.write(writer, b"\1")
    assert slept(ear, LONG, reader) < LONG / 2
    for descriptor in (reader, writer, ear._fifo):
        os.close(descriptor)


def test_to_ring_is_cheap(tmp_path: Path, ear: Ear) -> None:
    bell = Bell(tmp_path / "run")

    def ring() -> float:
        began = time.thread_time()
        bell.ring()
        return time.thread_time() - began

    assert sorted(ring() for _ in range(500))[250] < 50e-6  # 10 µs, on a machine that does something else as well
