"""Nodes and partners for a whole module; everything here needs DCMTK or Orthanc, and fails without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.inprocess import Here
from tests.node import Node


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.interop)


@pytest.fixture(scope="module")
def start_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Node]]:
    """A factory of running nodes, each in a folder of its own; they end when the module is over."""
    made: list[Node] = []

    def start(config: Mapping[str, Any] | None = None, **options: Any) -> Node:
        made.append(Here(tmp_path_factory.mktemp("node"), config, **options))
        return made[-1].start()

    yield start
    for it in made:
        it.kill_all()
