"""What is logged of a flood: enough to see it, and not so much that it fills a disk."""

from __future__ import annotations

import logging

import pytest

from dicomnode.run import logs


def _record(name: str, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, "closed a connection from=%s", ("192.0.2.1",), None)


def test_a_flood_of_strangers_is_told_in_part_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    flood = logs._Flood()
    told = [record for record in (_record("dicomnode.net.porch") for _ in range(1000)) if flood.filter(record)]
    assert len(told) == 60
    assert {record.getMessage() for record in told} == {"closed a connection from=192.0.2.1"}
    now[0] += 1
    later = _record("dicomnode.net.association")
    assert flood.filter(later)
    assert later.getMessage() == "closed a connection from=192.0.2.1 (and 940 like it that are not told)"
    assert not flood.filter(_record("dicomnode.net.porch"))


def test_nothing_else_is_left_out() -> None:
    flood = logs._Flood()
    for _ in range(1000):
        assert flood.filter(_record("dicomnode.net.handlers"))
        assert flood.filter(_record("dicomnode.net.association", logging.INFO))
