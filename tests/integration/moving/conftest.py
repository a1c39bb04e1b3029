"""One node, and a receiver in each of three places: near, far, and on the public side."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.inprocess import Here
from tests.integration.moving.kit import (
    CONTEXTS,
)
from tests.node import LOCAL, Node, changed, default_config, free_port
from tests.receiver import first_proposed
from tests.wire import Association, Receiver


@pytest.fixture(scope="package")
def near() -> Iterator[Receiver]:
    """A workstation of the caller's own site."""
    with Receiver() as it:
        yield it


@pytest.fixture(scope="package")
def far() -> Iterator[Receiver]:
    """A workstation of another private site."""
    with Receiver() as it:
        yield it


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory, near: Receiver, far: Receiver, public: Receiver) -> Iterator[Node]:
    config = default_config(rad_ws=near.port, peak_ws=far.port, pubpacs=public.port)
    more = {
        "DEAD_WS": {"site": "harbour", "host": LOCAL, "port": free_port()},
        "PUB_WS": {"site": "general", "host": LOCAL, "port": public.port, "may": ["find", "move"]},
        "GET_WS": {"site": "harbour", "address": LOCAL, "may": ["get"]},
        "OLD_WS": {"site": "harbour", "address": LOCAL, "may": ["get"], "transcode": "decompress"},
        "ONE_WS": {"site": "harbour", "address": LOCAL, "may": ["get"], "max_associations": 1},
        "BOTH_WS": {"site": "harbour", "address": LOCAL, "may": ["store", "get"]},
        "PUB_GET": {"site": "general", "host": LOCAL, "port": public.port, "may": ["get"]},
    }
    it = Here(tmp_path_factory.mktemp("moving"), changed(config, {"partners": more}))
    try:
        yield it.start()
    finally:
        it.kill_all()


@pytest.fixture(scope="package")
def public() -> Iterator[Receiver]:
    """The public hospital's AE, and its workstation."""
    with Receiver() as it:
        yield it


@pytest.fixture(autouse=True)
def _receivers(near: Receiver, far: Receiver, public: Receiver) -> Iterator[None]:
    """Every test finds them willing, and empty."""
    for it in (near, far, public):
        it.answer, it.reject, it.delay, it.accept, it.abort_after = None, None, None, first_proposed, None
        it.received.clear()
        it.requests.clear()
    yield
    assert near.faults == far.faults == public.faults == []


@pytest.fixture
def caller(node: Node) -> Iterator[Association]:
    """The radiographer's workstation."""
    with node.associate("RAD_WS", CONTEXTS, timeout=30) as it:
        yield it
