"""store/lanes.py: when a lane is called."""

from __future__ import annotations

from dicomnode.operations.ports import Node
from dicomnode.store import gates, lanes, queue
from dicomnode.store.lanes import Pause
from tests import fakes
from tests.fakes import SECOND
from tests.samples import make_instances

P = "PUBPACS"


def due(node: Node) -> int | None:
    """In µs from now."""
    at = node.clock()
    with node.database.read():
        found = lanes.due(P, at, at + 3600 * SECOND)
    return None if found is None else found - at


def test_a_lane_without_work_waits_for_nothing(here: Node) -> None:
    assert due(here) is None
    fakes.receive_all(here, make_instances(2))
    assert due(here) is None  # not complete: that is the housekeeper's affair


def test_a_lane_with_work_is_called_now(here: Node) -> None:
    fakes.receive_all(here, make_instances(2))
    fakes.complete(here)
    assert due(here) == 0
    here.database.write(lambda: queue.claim(P, 10, here.worker, here.clock()))
    assert due(here) is None


def test_a_gate_that_is_closed_keeps_a_lane_asleep(here: Node) -> None:
    fakes.receive_all(here, make_instances(2))
    fakes.complete(here)
    here.database.write(lambda: gates.hold([1], "a person's word"))
    assert due(here) is None


def test_a_lane_is_called_when_the_first_is_due(here: Node) -> None:
    fakes.receive_all(here, make_instances(2))
    fakes.complete(here)
    batch = here.database.write(lambda: queue.claim(P, 10, here.worker, here.clock()))
    assert batch
    for claimed, later in zip(batch.transfers, (40, 30), strict=True):
        at = here.clock()
        again = queue.Result(claimed.transfer, queue.State.QUEUED, at, due_at=at + later * SECOND)
        here.database.write(lambda again=again: queue.finish([again]))
    assert due(here) == 30 * SECOND
    assert isinstance(here.clock, fakes.FakeClock)
    here.clock.advance(30)
    assert due(here) == 0


def test_a_lane_that_is_paused_is_called_when_the_pause_ends(here: Node) -> None:
    fakes.receive_all(here, make_instances(1))
    fakes.complete(here)
    at = here.clock()
    here.database.write(lambda: lanes.pause(P, Pause(at + 7 * SECOND, 1, "down", at)))
    assert due(here) == 7 * SECOND
    here.database.write(lambda: lanes.unpause(P, at))
    assert due(here) == 0
