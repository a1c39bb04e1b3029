"""run/scrubbing.py: it is at work while the housekeeper is, and in nobody's way when that ends."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from dicomnode.errors import OutOfResources
from dicomnode.operations import scrub
from dicomnode.operations.ports import Node, now
from dicomnode.run import scrubbing
from dicomnode.run.scrubbing import Scrubbing
from dicomnode.store import damaged, space
from dicomnode.store.database import execute, one
from tests import fakes
from tests.node import wait_until
from tests.patience import patient
from tests.samples import make_instances


def _aged(build: Callable[..., Node], rate: str) -> Node:
    node = build(fakes.CONFIG.replace("limits: {", f"limits: {{scrub: {rate}, "), clock=now)
    fakes.receive_all(node, make_instances(2))
    node.database.write(lambda: execute("UPDATE instances SET received_at = 1"))
    return node


def _cursor(node: Node) -> int:
    with node.database.read():
        return space.mark("scrubbed")


def test_it_looks_at_the_index_and_then_at_the_files(build: Callable[..., Node]) -> None:
    node = _aged(build, "1GB")
    (node.archive.root / "instances").rename(node.archive.root / "away")
    work = Scrubbing(node)
    work.start()

    def found() -> bool:
        with node.database.read():
            return bool(one("SELECT count(*) = 2 FROM instances WHERE damage = 'missing'")[0])

    wait_until(found, 10, "both files to be missed")
    wait_until(lambda: _cursor(node) == 2, 10, "the end of the batch")
    work.stop()


def test_it_ends_in_the_middle_of_a_file(build: Callable[..., Node]) -> None:
    node = _aged(build, "1KB")
    work = Scrubbing(node)
    work.start()
    before = time.monotonic()
    work.stop()
    assert time.monotonic() - before < patient(0.5)
    assert not work._thread.is_alive()
    assert _cursor(node) == 0  # what was not read to its end is read again


def test_an_index_that_is_locked_makes_it_wait(build: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    node = _aged(build, "1GB")
    tried: list[int] = []

    def locked(*_: object) -> float:
        tried.append(1)
        if len(tried) < 3:
            raise OutOfResources("the index is busy")
        return 1000.0

    monkeypatch.setattr(scrubbing, "_LATER", 0.01)
    monkeypatch.setattr(scrub, "scrub", locked)
    work = Scrubbing(node)
    work.start()
    wait_until(lambda: len(tried) == 3, 10, "another try")
    work.stop()
    assert damaged.reason(node.database.path) == ""
