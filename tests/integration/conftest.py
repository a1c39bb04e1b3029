"""A node for a whole module: starting one costs more than most of what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.inprocess import Here
from tests.integration.small_archive import fill
from tests.node import Node


@pytest.fixture(scope="module")
def start_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Node]]:
    """A factory of running nodes, each in a folder of its own; they are stopped when the module is over."""
    made: list[Node] = []

    def start(config: Mapping[str, Any] | None = None, **options: Any) -> Node:
        made.append(Here(tmp_path_factory.mktemp("node"), config, **options))
        return made[-1].start()

    yield start
    for it in made:
        it.kill_all()


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with the studies of tests/integration/small_archive.py."""
    it = Here(tmp_path_factory.mktemp("archive"))
    try:
        fill(it.start())
        yield it
    finally:
        it.kill_all()
