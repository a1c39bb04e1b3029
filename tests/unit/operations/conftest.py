"""What several stories are told of."""

from __future__ import annotations

import pytest

from dicomnode.operations.ports import Node
from tests import fakes
from tests.samples import Sample, make_instances


@pytest.fixture
def study(here: Node) -> list[Sample]:
    """Three instances of harbour that no route chose."""
    made = make_instances(3, seed="move")
    fakes.receive_all(here, made, called="REFERNODE")
    return made
