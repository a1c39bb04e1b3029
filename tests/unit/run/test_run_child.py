"""run/child.py: a worker has what it was given and nothing else, and its parent knows how it ended."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from dicomnode.run.child import Child


def told(pipe: int) -> bytes:
    with os.fdopen(pipe, "rb") as reader:
        return reader.read()


def asleep(_: int) -> None:
    signal.pause()


def test_it_has_the_descriptors_that_it_was_given_and_no_others() -> None:
    reader, writer = os.pipe()
    other = os.open("/dev/null", os.O_RDONLY)

    def work(lifeline: int) -> None:
        found = sorted(int(each) for each in os.listdir("/proc/self/fd"))
        os.write(writer, json.dumps([found, lifeline]).encode())
        os._exit(3)

    child = Child(work, {writer})
    os.close(writer)
    found, lifeline = json.loads(told(reader))
    assert {0, 1, 2, writer, lifeline} <= set(found)
    assert other not in found
    assert len(found) == 6, "the sixth was that of the folder that was read"
    assert child.wait(10)
    assert child.status == 3
    child.release()
    os.close(other)


def test_its_lifeline_closes_with_its_parent_s_end_of_it_whatever_siblings_there_are() -> None:
    def work(lifeline: int) -> None:
        os.read(lifeline, 1)
        os._exit(7)

    first = Child(work, ())
    second = Child(asleep, ())  # it was forked while the other's lifeline was open
    assert not first.wait(0)
    first.release()
    assert first.wait(10)
    assert first.status == 7
    second.signal(signal.SIGKILL)
    assert second.wait(10)
    second.release()


def test_how_it_was_killed_is_known_and_who_is_gone_gets_no_signal() -> None:
    child = Child(asleep, ())
    assert not child.is_gone
    child.signal(signal.SIGTERM)
    assert child.wait(10)
    assert child.status == -signal.SIGTERM
    child.signal(signal.SIGKILL)  # its number may be another's by now
    child.release()


def test_nothing_of_its_parent_s_is_run_when_its_work_raises(tmp_path: Path) -> None:
    def work(_: int) -> None:
        raise ZeroDivisionError

    mine = os.getpid()
    try:
        child = Child(work, ())
    finally:
        (tmp_path / str(os.getpid())).touch()
    assert child.wait(10)
    assert child.status == 70
    assert [path.name for path in tmp_path.iterdir()] == [str(mine)]
    child.release()


def test_signals_that_came_to_its_parent_are_not_its_own() -> None:
    """Python runs handlers later than signals come: what was on its way when it was forked stays where it was."""
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        child = Child(asleep, ())
        os.kill(os.getpid(), signal.SIGTERM)
        end = time.monotonic() + 5
        while not seen and time.monotonic() < end:
            pass
        assert seen == [signal.SIGTERM]
        assert not child.wait(0)
    finally:
        signal.signal(signal.SIGTERM, before)
        child.signal(signal.SIGKILL)
        child.wait(10)
        child.release()
