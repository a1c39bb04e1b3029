"""dcmqrscp, Orthanc and this node are asked the same: where they differ, the standard says why (differential.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.interop import differential
from tests.interop.differential import Trial
from tests.interop.explained import RULES
from tests.node import Node

EXAMPLES = 400


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory, start_node: Callable[..., Node]) -> Iterator[Trial]:
    with differential.trial(tmp_path_factory.mktemp("differential"), start_node()) as it:
        yield it


def test_every_difference_is_explained_and_every_rule_explains_one(trial: Trial) -> None:
    assert differential.run(trial, EXAMPLES) == []
    assert trial.asked >= EXAMPLES
    assert set(trial.used) == {str(rule) for rule in RULES}
