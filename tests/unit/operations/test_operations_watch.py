"""operations/watch.py: a watermark that is crossed is told once, and a clock that was set makes no study old."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from dicomnode.errors import OutOfResources
from dicomnode.operations.ports import Node
from dicomnode.operations.watch import Watch, tell
from dicomnode.store import audit, space
from dicomnode.store.database import execute, one
from tests import fakes
from tests.fakes import SECOND, FakeClock
from tests.samples import make_instances

GB = 10**9
HOUR, DAY = 3600, 86400
RETENTION = fakes.CONFIG.replace("data: ./data,", "data: ./data, retention: {after: 1d},")


class Disk:
    """The free space of the node's disk, and the time that nobody can set."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.node, self.free, self.now = node, 100 * GB, 0.0
        monkeypatch.setattr(node.archive.volume, "free", lambda: self.free)

    def watch(self) -> Watch:
        return Watch(self.node, lambda: self.now)

    def lives(self, seconds: float, *, clock: float | None = None) -> None:
        """Time passes; by the clock that can be set as well, or another time by that."""
        self.now += seconds
        assert isinstance(self.node.clock, FakeClock)
        self.node.clock.advance(seconds if clock is None else clock)


@pytest.fixture
def disk(here: Node, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(here, monkeypatch)


def events(node: Node) -> list[tuple[str, bool]]:
    with node.database.read():
        return [(event.kind, event.alarm) for event in audit.events() if event.kind.startswith("disk")]


def test_each_crossing_is_told_once(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    watch, seen = disk.watch(), []
    for free in (100, 100, 1.9, 1.9, 2.0, 1.99, 0.4, 0.3, 0.6, 3, 100):
        disk.free = int(free * GB)
        for _ in range(3):
            watch.look()
            disk.lives(1)
        seen.append(len(events(disk.node)))
    assert seen == [0, 0, 1, 1, 1, 1, 2, 2, 3, 4, 4]
    kinds = [("disk low", True), ("disk full", True), ("disk low", False), ("disk has room", False)]
    assert events(disk.node) == kinds
    levels = [record.levelno for record in caplog.records if " free, " in record.message or "free:" in record.message]
    assert levels == [logging.CRITICAL, logging.CRITICAL, logging.WARNING, logging.WARNING]


def test_a_new_housekeeper_does_not_tell_it_again(disk: Disk) -> None:
    disk.free = GB
    disk.watch().look()
    disk.watch().look()
    assert events(disk.node) == [("disk low", True)]


def test_what_could_not_be_written_down_is_when_there_is_room(
    disk: Disk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OutOfResources("disk full")

    watch, disk.free = disk.watch(), 0
    with monkeypatch.context() as patch:
        patch.setattr(disk.node.database, "write", fail)
        for _ in range(3):
            watch.look()
    assert [record.levelno for record in caplog.records].count(logging.CRITICAL) == 1
    assert events(disk.node) == []
    watch.look()
    assert events(disk.node) == [("disk full", True)]


def test_how_long_the_room_lasts_is_logged_every_hour_and_more_often_when_it_is_low(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watch = disk.watch()

    def told(seconds: int) -> int:
        caplog.clear()
        for _ in range(0, seconds, 10):
            watch.look()
            disk.lives(10)
        return sum("disk free=" in record.message for record in caplog.records)

    assert told(2 * HOUR) == 2
    disk.free = GB
    assert told(HOUR) == 6


def test_what_the_disk_did_to_a_process_gets_into_the_audit_trail_once(disk: Disk) -> None:
    disk.node.archive.volume.suspect("Input/output error")
    tell(disk.node)
    tell(disk.node)
    assert events(disk.node) == [("disk failed", True)]


def test_what_cannot_be_told_is_told_later(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise OutOfResources("disk I/O error")

    disk.node.archive.volume.suspect("Input/output error")
    with monkeypatch.context() as patch:
        patch.setattr(disk.node.database, "write", fail)
        tell(disk.node)
    assert events(disk.node) == []
    tell(disk.node)
    assert events(disk.node) == [("disk failed", True)]


# -- retention, and the time -----------------------------------------------------------------------------------


@pytest.fixture
def kept(build: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A node that keeps studies for a day, with one that was confirmed just now."""
    disk = Disk(build(RETENTION), monkeypatch)
    disk.watch().look()
    fakes.receive_all(disk.node, make_instances(1))
    confirm = "UPDATE referrals SET progress = 'confirmed', confirmed_at = ?"
    disk.node.database.write(lambda: execute(confirm, disk.node.clock()))
    disk.node.database.write(lambda: execute("UPDATE transfers SET state = 'delivered'"))
    return disk


def has_gone(disk: Disk) -> bool:
    with disk.node.database.read():
        return bool(one("SELECT evicted_at IS NOT NULL FROM instances")[0])


def live(disk: Disk, watch: Watch, hours: int) -> None:
    for _ in range(hours):
        disk.lives(HOUR)
        watch.look()


def test_retention_is_looked_after(kept: Disk) -> None:
    watch = kept.watch()
    watch.look()
    live(kept, watch, 23)
    assert not has_gone(kept)
    live(kept, watch, 2)
    assert has_gone(kept)


@pytest.mark.parametrize("jump", [DAY, 30 * DAY, 365 * DAY])
@pytest.mark.parametrize("restart", [False, True], ids=["", "and a restart"])
def test_a_clock_that_jumps_ahead_evicts_nothing_that_was_confirmed_an_hour_ago(
    kept: Disk, jump: int, restart: bool
) -> None:
    watch = kept.watch()
    live(kept, watch, 1)
    kept.lives(0, clock=jump)
    watch = kept.watch() if restart else watch
    live(kept, watch, 8)
    assert not has_gone(kept)
    live(kept, watch, 24)  # it does go in its time: it has lived for as long as it is to be kept
    assert has_gone(kept)


def test_a_clock_that_is_set_back_a_day_evicts_nothing_too_soon(kept: Disk) -> None:
    watch = kept.watch()
    live(kept, watch, 1)
    kept.lives(0, clock=-DAY)
    live(kept, watch, 24)
    assert not has_gone(kept)
    live(kept, watch, 26)
    assert has_gone(kept)


def test_more_is_evicted_at_once_when_there_is_more(kept: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = []
    monkeypatch.setattr("dicomnode.operations.watch.evict", lambda *_: rounds.append(1) or len(rounds) < 3)
    watch = kept.watch()
    for _ in range(60):
        watch.look()
        kept.lives(1)
    assert len(rounds) == 3
    kept.lives(10)
    watch.look()
    assert len(rounds) == 4


def test_the_trusted_time_outlives_the_housekeeper(kept: Disk) -> None:
    watch = kept.watch()
    live(kept, watch, 3)
    with kept.node.database.read():
        assert 0 <= kept.node.clock() - space.mark("trusted time") <= HOUR * SECOND
