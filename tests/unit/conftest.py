"""What the tests of rules, store and operations share: a real node in the test's own folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicomnode.operations.ports import Node
from tests import fakes


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """A factory: `build()`, `build(config)`. A second node is the first one started again, on the same folder."""
    made: list[Node] = []

    def make(config: str = fakes.CONFIG, **options: object) -> Node:
        for old in made:
            old.database.close()
        made[:] = [fakes.make_node(tmp_path, config, **options)]  # type: ignore[arg-type]
        return made[0]

    yield make
    for old in made:
        old.database.close()


@pytest.fixture
def here(build: Callable[..., Node]) -> Node:
    """The node of fakes.CONFIG."""
    return build()
