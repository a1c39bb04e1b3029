"""store/later.py: what nobody waits for is written all the same, in few commits, and not lost at an end."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dicomnode.errors import OutOfResources
from dicomnode.operations.ports import Node
from dicomnode.store import audit, later
from dicomnode.store.audit import Event
from dicomnode.store.later import Later
from tests.fakes import START
from tests.node import wait_until


class Index:
    """Where it is written: how many commits, what was written, and whether it can be."""

    def __init__(self) -> None:
        self.commits = 0
        self.written: list[int] = []
        self.fails = threading.Event()

    def write(self, fn: later.Write) -> None:
        if self.fails.is_set():
            raise OutOfResources("the disk is full")
        before = list(self.written)
        try:
            fn()
        except Exception:
            self.written = before
            raise
        self.commits += 1


def test_many_are_written_in_one_commit_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later, "_MOMENT", 0.2)
    index = Index()
    some = Later(index.write)
    for number in range(400):
        some.do(lambda number=number: index.written.append(number))
    wait_until(lambda: len(index.written) == 400, 5, "all to be written")
    assert index.written == list(range(400))
    assert index.commits == 1
    some.close()


def test_nothing_is_lost_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later, "_MOMENT", 3600.0)
    index = Index()
    some = Later(index.write)
    for number in range(1200):
        some.do(lambda number=number: index.written.append(number))
    some.close()
    assert index.written == list(range(1200))


def test_an_index_that_cannot_be_written_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later, "_MOMENT", 0.01)
    index = Index()
    index.fails.set()
    some = Later(index.write)
    some.do(lambda: index.written.append(1))
    some.do(lambda: index.written.append(2))
    assert len(some) == 2
    index.fails.clear()
    wait_until(lambda: index.written == [1, 2], 5, "both to be written")
    some.close()


def test_what_is_lost_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(later, "_MOMENT", 0.01)
    monkeypatch.setattr(later, "_MOST", 3)
    index = Index()
    index.fails.set()
    some = Later(index.write)
    for number in range(5):
        some.do(lambda number=number: index.written.append(number))
    some.close()
    assert index.written == []
    assert "entries=5 of the audit trail are lost" in caplog.text


def test_one_of_ours_that_is_wrong_does_not_keep_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(later, "_MOMENT", 0.01)
    index = Index()
    some = Later(index.write)
    some.do(lambda: index.written.append(1))
    some.do(lambda: 1 / 0)
    some.do(lambda: index.written.append(2))
    some.close()
    assert index.written == [1, 2]
    assert caplog.text.count("an entry of the audit trail cannot be written") == 1


def test_one_that_is_wrong_is_looked_for_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And not again after each of the others: each try holds others up."""
    monkeypatch.setattr(later, "_MOMENT", 3600.0)
    index, ran = Index(), []
    some = Later(index.write)
    for number in range(200):
        some.do(lambda number=number: (ran.append(number), index.written.append(number)))
    some.do(lambda: 1 / 0)
    for number in range(200, 300):
        some.do(lambda number=number: (ran.append(number), index.written.append(number)))
    some.close()
    assert index.written == list(range(300))
    assert len(ran) == 200 + 300
    assert caplog.text.count("an entry of the audit trail cannot be written") == 1


def test_a_database_writes_what_waits_before_it_closes(
    build: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(later, "_MOMENT", 3600.0)
    build().database.write_later(lambda: audit.record(Event(START, "lane changed", "later")))
    with build().database.read():
        assert [event.text for event in audit.events()] == ["later"]
