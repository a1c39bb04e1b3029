"""One node with the archive of the cases, and a receiver that it calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance import archive
from tests.conformance.kit import CALLER, CONTEXTS, configuration
from tests.inprocess import Here
from tests.node import Node
from tests.receiver import first_proposed
from tests.wire import Association, Receiver


@pytest.fixture(scope="package")
def receiver() -> Iterator[Receiver]:
    with Receiver() as it:
        yield it


@pytest.fixture(scope="package")
def peak() -> Iterator[Receiver]:
    """The workstation of another site."""
    with Receiver() as it:
        yield it


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver, peak: Receiver) -> Iterator[Node]:
    """A node with the archive; a test that stores more has a node of its own, or stores at the other site."""
    config = configuration(destination=receiver.port, peak=peak.port, deflated=True)
    it = Here(tmp_path_factory.mktemp("conformance"), config)
    try:
        archive.fill(it.start(), CALLER)
        yield it
    finally:
        it.kill_all()


def _willing(receiver: Receiver) -> Receiver:
    receiver.answer, receiver.reject, receiver.delay, receiver.accept = None, None, None, first_proposed
    receiver.received.clear()
    receiver.requests.clear()
    return receiver


@pytest.fixture
def destination(receiver: Receiver) -> Receiver:
    """The move destination: willing, and empty."""
    return _willing(receiver)


@pytest.fixture
def elsewhere(peak: Receiver) -> Receiver:
    """That of the other site, likewise."""
    return _willing(peak)


@pytest.fixture(scope="module")
def association(node: Node) -> Iterator[Association]:
    """One for all cases of a module: each shows that the one before has left it usable."""
    with node.associate(CALLER, CONTEXTS, timeout=30) as it:
        yield it
