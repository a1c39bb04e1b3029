"""run/custodian.py: a worker beside the node that serves, or in its place, and seen by whoever starts it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicomnode.config.model import NodeConfig
from dicomnode.errors import DicomnodeError, UsageError
from dicomnode.run import premises
from dicomnode.run.custodian import take_custody
from tests import fakes


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    """Of a node that has run, and does not."""
    node = fakes.make_node(tmp_path)
    node.database.close()
    return node.config


def workers(data: Path) -> list[Path]:
    return [path for path in (data / "run").glob("*.lock") if path.name != "node.lock"]


def is_held(path: Path) -> bool:
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@contextmanager
def serving(data: Path, generation: int) -> Iterator[None]:
    lock = premises.lock(data)
    premises.show(lock, generation)
    try:
        yield
    finally:
        os.close(lock)


def test_nobody_starts_the_node_meanwhile(config: NodeConfig) -> None:
    data = config.node.data
    with take_custody(config, 1) as custodian:
        assert premises.running(data) == (os.getpid(), 0)
        assert [is_held(path) for path in workers(data)] == [True], "who starts the node sees us"
        assert (custodian.serving, custodian.is_left()) == (0, False)
        with pytest.raises(DicomnodeError, match="in use"):
            premises.lock(data)
    assert premises.running(data) is None
    assert workers(data) == []


def test_beside_a_node_that_serves(config: NodeConfig) -> None:
    data = config.node.data
    with serving(data, 1), take_custody(config, 1) as custodian:
        assert custodian.serving == os.getpid()
        assert custodian.node.generation == 1
        assert not custodian.is_left()
        assert len(workers(data)) == 1
    assert workers(data) == []


def test_it_ends_with_the_node_that_it_is_beside(config: NodeConfig) -> None:
    beside = serving(config.node.data, 1)
    beside.__enter__()
    with take_custody(config, 1) as custodian:
        beside.__exit__(None, None, None)
        assert custodian.is_left()


def test_not_while_the_node_is_on_its_way_up(config: NodeConfig) -> None:
    """Or its index is being rebuilt: what comes in would be missed."""
    with serving(config.node.data, 0), pytest.raises(UsageError, match="being rebuilt"), take_custody(config, 1):
        pass
    assert workers(config.node.data) == []


def test_nothing_half_received_is_left(config: NodeConfig) -> None:
    with take_custody(config, 1) as custodian:
        part = custodian.node.archive.part(b"", 1000)
        part.write(b"half")
        assert part.path.exists()
    assert not part.path.exists()
