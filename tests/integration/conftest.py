"""A node for a whole module: starting one costs more than most of what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.inprocess import Here
from tests.integration.small_archive import fill
from tests.node import Node


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with the studies of tests/integration/small_archive.py."""
    it = Here(tmp_path_factory.mktemp("archive"))
    try:
        fill(it.start())
        yield it
    finally:
        it.kill_all()
