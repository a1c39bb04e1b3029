"""The node stands every abuse of T24–T34, T40–T42, T44, T62, T63 and T74: tests/abuse/siege.py says what that means.

`python -m tests.abuse` shows what the same abuses do to pynetdicom as it ships. The statuses that hostile content is
answered with are tested in test_store_refused.py (T41, T42) and test_door.py (T40, T44).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.abuse import ABUSES, Abuse, gauge
from tests.abuse.ending import ended_by_sigterm
from tests.abuse.gauge import Reading
from tests.abuse.siege import SLACK, laid, warm_up
from tests.abuse.targets import NodeTarget
from tests.certificates import Authority
from tests.node import tail


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[NodeTarget]:
    """One node for all abuses: what one of them leaves behind is there for the next."""
    with NodeTarget(tmp_path_factory.mktemp("abused"), authority) as it:
        yield it


@pytest.fixture(scope="module", autouse=True)
def begin(target: NodeTarget) -> Reading:
    """What the node holds before the first abuse."""
    warm_up(target)
    return gauge.settled(target.process.pid)


@pytest.mark.parametrize("abuse", ABUSES, ids=str)
def test_the_node_stands(abuse: Abuse, target: NodeTarget) -> None:
    faults = laid(abuse, target.secured() if abuse.tls else target)
    assert not faults, "; ".join(faults) + tail(target.log)


def test_nothing_adds_up(target: NodeTarget, begin: Reading) -> None:
    """After all of them: what a single abuse may leave unnoticed, they do not leave together."""
    over = gauge.settled(target.process.pid).over(begin, memory=2 * SLACK)
    assert not over, "; ".join(over)


def test_an_end_in_the_middle_of_everything(tmp_path: Path, authority: Authority) -> None:
    """T35: what had begun when SIGTERM came is finished and answered; silent connections do not hold the node up."""
    with NodeTarget(tmp_path / "ended", authority) as target:
        faults = ended_by_sigterm(target)
        assert not faults, "; ".join(faults) + tail(target.log)
