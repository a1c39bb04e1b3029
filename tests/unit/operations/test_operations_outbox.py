"""operations/outbox.py: every entry gets to the collector, in order, at least once, whatever happens in between."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from dicomnode.errors import AssociationLost, Unreachable
from dicomnode.operations import outbox
from dicomnode.operations.outbox import Outbox
from dicomnode.operations.ports import AuditMessage, Node
from dicomnode.store import audit
from dicomnode.store.audit import Event
from tests.fakes import FakeClock


class FakeCollector:
    """What it has read, as the numbers of the entries; `fails` says why it takes nothing, `loses` why it may not have.
    """

    def __init__(self) -> None:
        self.read: list[int] = []
        self.fails = self.loses = ""
        self.sizes: list[int] = []
        self.calls = 0

    def deliver(self, messages: Sequence[AuditMessage]) -> None:
        self.calls += 1
        self.sizes.append(len(messages))
        if self.fails:
            raise Unreachable(self.fails)
        for message in messages:
            (number,) = re.findall(rb"urn:dicomnode:REFERNODE:audit:(\d+)", message.xml)
            self.read.append(int(number))
        if self.loses:
            raise AssociationLost(self.loses)


class Timer:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def collector() -> FakeCollector:
    return FakeCollector()


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def box(here: Node, collector: FakeCollector, timer: Timer) -> Outbox:
    return Outbox(collector, here, timer)


def write(node: Node, count: int) -> None:
    def written() -> None:
        for _ in range(count):
            audit.record(Event(node.clock(), "lane changed", "again"))

    node.database.write(written)


def kinds(node: Node) -> list[tuple[str, bool]]:
    with node.database.read():
        return [(event.kind, event.alarm) for event in audit.events(1000) if event.kind.startswith("audit")]


def backlog(node: Node) -> outbox.Backlog:
    with node.database.read():
        return outbox.backlog()


def test_every_entry_goes_once_and_in_order(
    here: Node, collector: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_BATCH", 4)
    box = Outbox(collector, here)
    write(here, 9)
    assert backlog(here) == outbox.Backlog(9, here.clock(), 0)
    assert [box.send() for _ in range(3)] == [0.0, 0.0, 1.0]
    box.send()
    assert collector.read == list(range(1, 10))
    assert collector.calls == 3, "an empty outbox calls nobody"
    assert backlog(here) == outbox.Backlog(0, 0, 0)


def test_what_may_have_been_lost_is_sent_again(here: Node, box: Outbox, collector: FakeCollector, timer: Timer) -> None:
    write(here, 3)
    collector.loses = "reset"
    timer.at += box.send()
    assert collector.read == [1, 2, 3]
    collector.loses = ""
    while box.send() == 0.0:
        pass
    assert collector.read[3:] == [1, 2, 3, 4, 5]  # and that it had stopped, and goes on


def test_another_process_goes_on_where_the_last_was(here: Node, box: Outbox, collector: FakeCollector) -> None:
    write(here, 2)
    box.send()
    write(here, 2)
    Outbox(collector, here).send()
    assert collector.read == [1, 2, 3, 4]


def test_a_collector_that_is_away_is_asked_less_and_less_and_told_of_once(
    here: Node, box: Outbox, collector: FakeCollector, timer: Timer
) -> None:
    assert isinstance(here.clock, FakeClock)
    write(here, 2)
    collector.fails = "nobody there"
    waits = []
    for _ in range(12):
        waits.append(box.send())
        assert box.send() == pytest.approx(waits[-1]), "nothing is tried before its time"
        timer.at += waits[-1]
        here.clock.advance(waits[-1])
    assert collector.calls == 12
    assert 20 < waits[0] < 40
    assert 250 < waits[-1] < 340
    assert kinds(here) == [("audit sending stopped", True)]
    assert backlog(here).entries == 3
    assert backlog(here).failing_since
    collector.fails = ""
    box.send()
    assert kinds(here) == [("audit sending stopped", True), ("audit sending resumed", False)]
    box.send()
    assert collector.read == [1, 2, 3, 4]
    assert backlog(here) == outbox.Backlog(0, 0, 0)


def test_that_it_has_stopped_is_told_once_over_restarts(here: Node, box: Outbox, collector: FakeCollector) -> None:
    write(here, 1)
    collector.fails = "nobody there"
    box.send()
    Outbox(collector, here).send()
    assert kinds(here) == [("audit sending stopped", True)]


def test_a_trail_of_before_there_was_a_collector_is_sent(here: Node, box: Outbox, collector: FakeCollector) -> None:
    write(here, 700)
    while box.send() == 0.0:
        pass
    assert collector.read == list(range(1, 701))


def test_what_never_says_that_it_has_read_gets_fewer_and_fewer_twice(
    here: Node, collector: FakeCollector, timer: Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_BATCH", 8)
    box = Outbox(collector, here, timer)
    write(here, 20)
    collector.loses = "it did not end the connection"
    for _ in range(5):
        timer.at += box.send()
    assert collector.sizes == [8, 4, 2, 1, 1]
    collector.loses = ""
    while box.send() == 0.0:
        pass
    assert collector.sizes[5:] == [1, 2, 4, 8, 7]
    assert sorted({*collector.read}) == list(range(1, 23))


def test_who_cannot_be_reached_has_read_nothing(here: Node, collector: FakeCollector, timer: Timer) -> None:
    box = Outbox(collector, here, timer)
    write(here, 4)
    collector.fails = "nobody there"
    timer.at += box.send()
    collector.fails = ""
    box.send()
    assert collector.sizes == [4, 5]
