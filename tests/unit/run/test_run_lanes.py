"""run/lanes.py: a lane sleeps until there is something to send, and is then called at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from dicomnode.operations.forward import slots
from dicomnode.operations.ports import Node, now
from dicomnode.run import lanes
from dicomnode.run.lanes import Errand, Lane, Lanes, errands
from dicomnode.store import lanes as store
from dicomnode.store.database import execute
from dicomnode.store.lanes import Pause
from tests import fakes
from tests.fakes import FakePartner
from tests.node import wait_until
from tests.patience import patient
from tests.samples import make_instances

AT_ONCE = lanes._LONGEST / 2
"""Seconds: less than the sleep of a lane that heard nothing."""


@pytest.fixture
def node(build: Callable[..., Node]) -> Node:
    """Without a quiet time, and under the real clock."""
    return build(fakes.CONFIG.replace("wait: 60s", "wait: 0s"), clock=now)


@pytest.fixture
def partner() -> FakePartner:
    return FakePartner()


@pytest.fixture
def running(node: Node, partner: FakePartner) -> Iterator[Lanes]:
    made = Lanes(node, partner)
    made.start()
    yield made
    made.drain(5)


def arrived(partner: FakePartner, count: int, timeout: float = AT_ONCE) -> None:
    wait_until(lambda: len(partner.sent) >= count, timeout, f"{count} instances")


def test_what_is_committed_is_sent_at_once(node: Node, partner: FakePartner, running: Lanes) -> None:
    samples = make_instances(3)
    for n, sample in enumerate(samples, 1):
        fakes.receive(node, sample)
        arrived(partner, n)


def test_what_is_due_later_is_sent_then(node: Node, partner: FakePartner, running: Lanes) -> None:
    at = node.clock()
    node.database.write(lambda: store.pause("PUBPACS", Pause(at + 1_000_000, 1, "down", at)))
    fakes.receive_all(node, make_instances(2))
    arrived(partner, 2, 1 + AT_ONCE)
    assert node.clock() - at >= 1_000_000


def test_what_was_queued_before_is_sent_when_the_lanes_start(node: Node, partner: FakePartner) -> None:
    fakes.receive_all(node, make_instances(2))
    made = Lanes(node, partner)
    made.start()
    arrived(partner, 2)
    made.drain(5)


def test_idle_lanes_ask_the_index_nothing(node: Node, partner: FakePartner, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    idle = Errand("idle", lambda known, *_: looks.append(known.name), lambda known, _: looks.append(known.name), slots)  # type: ignore
    monkeypatch.setattr(lanes, "errands", lambda _: (idle,))
    made = Lanes(node, partner)
    made.start()
    once = sorted(2 * [each.name for each in node.config.partners.values() if each.is_destination])
    wait_until(lambda: sorted(looks) == once, 5, "the look of each at its start")
    time.sleep(10 * lanes._APART)  # nothing is to happen: there is nothing to wait for
    assert sorted(looks) == once
    made.drain(5)


def test_under_load_lanes_look_twenty_times_a_second(
    node: Node, running: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    monkeypatch.setattr(Lanes, "_look", lambda self: looks.append(time.monotonic()) or 60.0)
    began, commits = time.monotonic(), 0
    node.database.write(lambda: execute("CREATE TABLE words (word TEXT)"))
    while time.monotonic() - began < 0.5:
        node.database.write(lambda: execute("INSERT INTO words VALUES ('one')"))
        commits += 1
    took = time.monotonic() - began
    assert commits > 2 * took / lanes._APART
    assert 2 <= len(looks) <= took / lanes._APART + 2


def test_an_index_that_cannot_be_read_ends_no_lane(
    node: Node, partner: FakePartner, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, failed = Lanes._look, threading.Event()

    def broken(self: Lanes) -> float:
        monkeypatch.setattr(Lanes, "_look", look)
        failed.set()
        raise lanes.OutOfResources("the index cannot be read")

    monkeypatch.setattr(Lanes, "_look", broken)
    made = Lanes(node, partner)
    made.start()
    assert failed.wait(5)
    time.sleep(lanes._APART)
    fakes.receive_all(node, make_instances(1))
    arrived(partner, 1)
    made.drain(5)


def test_drained_lanes_end(node: Node, partner: FakePartner) -> None:
    made = Lanes(node, partner)
    made.start()
    began = time.monotonic()
    made.drain(120)
    assert time.monotonic() - began < patient(10)
    assert not any(thread.is_alive() for thread in made._slots)


def test_a_call_that_comes_while_a_slot_looks_is_not_missed(node: Node) -> None:
    lane = Lane(node.config.partners["PUBPACS"], errands(node)[0])
    heard = lane.calls
    lane.call()
    began = time.monotonic()
    lane.sleep(heard, 60)
    assert time.monotonic() - began < patient(5)
    lane.sleep(lane.calls, 0.1)
    assert time.monotonic() - began >= 0.1
