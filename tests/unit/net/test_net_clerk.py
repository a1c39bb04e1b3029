"""net/clerk.py: who could not speak TLS is written down, and nobody waits for that."""

from __future__ import annotations

import threading

import pytest

from dicomnode.errors import OutOfResources
from dicomnode.net import clerk as clerks
from dicomnode.net.clerk import Clerk
from dicomnode.operations.ports import Node
from dicomnode.store import audit
from tests.node import wait_until
from tests.patience import patient


def written(node: Node) -> list[audit.Refused]:
    with node.database.read():
        return audit.refusals()


def test_what_is_noted_is_written_and_counted(here: Node) -> None:
    clerk = Clerk(here)
    clerk.start()
    for _ in range(3):
        clerk.note("10.1.0.1", "TLS: the peer shows no certificate")
    clerk.stop()
    (row,) = written(here)
    assert (row.calling_ae_title, row.address, row.why, row.times) == (
        *("", "10.1.0.1", "TLS: the peer shows no certificate"),
        3,
    )
    with here.database.read():
        (event,) = [each for each in audit.events() if each.kind == "association refused"]
    assert event.text == "10.1.0.1: TLS: the peer shows no certificate"


def test_a_flood_waits_for_nobody(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index takes nothing for a while: the porch goes on, and what does not fit is in the log alone."""
    free, write = threading.Event(), here.database.write

    def slow(function: object) -> object:
        free.wait()
        return write(function)  # type: ignore[arg-type]

    monkeypatch.setattr(type(here.database), "write", lambda _, function: slow(function))
    clerk = Clerk(here)
    clerk.start()

    def flood() -> None:
        for number in range(1000):
            clerk.note(f"10.1.{number // 250}.{number % 250}", "TLS: no")

    porch = threading.Thread(target=flood, daemon=True)
    porch.start()
    porch.join(patient(5))
    was_kept_waiting = porch.is_alive()
    free.set()
    assert not was_kept_waiting
    wait_until(lambda: len(written(here)) >= 100, 10, "what fitted to be written")
    clerk.stop()
    assert len(written(here)) < 1000


def test_an_index_that_cannot_be_written_ends_nothing(
    here: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OutOfResources("the disk is full")

    clerk = Clerk(here)
    with monkeypatch.context() as patch:
        patch.setattr(type(here.database), "write", fail)
        clerk.start()
        clerk.note("10.1.0.1", "TLS: no")
        wait_until(lambda: caplog.records, 5, "the failure to be logged")
    clerk.note("10.1.0.2", "TLS: no")
    clerk.stop()
    assert [row.address for row in written(here)] == ["10.1.0.2"]


def test_who_may_not_store_fills_no_trail_with_it(here: Node) -> None:
    for name in ("RAD_WS", "PUB_WS", "RAD_WS"):
        clerks.storage_refused(here.config.partners[name], here)
    with here.database.read():
        assert [event.partner for event in audit.events() if event.kind == "storage refused"] == ["RAD_WS", "PUB_WS"]
