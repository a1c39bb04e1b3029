"""The power is cut at every point of ten small stores: nothing that was answered 0000H is lost.

And the same harness finds what a node loses that leaves out any one of the three syncs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.power import order
from tests.power.recording import Recording, record
from tests.power.replay import replay, spread, synced

_STATES = 100


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(tmp_path_factory.mktemp("power") / "sound")


def test_a_power_cut_at_any_point_loses_nothing_that_was_acknowledged(recording: Recording) -> None:
    outcome = replay(recording, spread)
    assert outcome.found == []
    assert outcome.promised == len(recording.sent) == 10
    assert outcome.states > _STATES, outcome


def test_all_is_synced_in_order_before_the_answer(recording: Recording) -> None:
    assert order.faults(recording) == []


WEAK = {
    "syncs-no-file": ("its file was not synced", "lost"),
    "syncs-no-folder": ("its folder was not synced", "lost"),
    "syncs-no-commit": ("the log was not synced", "forgotten"),  # its file is adopted: the second net holds
}


@pytest.mark.parametrize("weakness", WEAK)
def test_a_node_that_leaves_out_a_sync_is_found(weakness: str, tmp_path: Path) -> None:
    weak = record(tmp_path / "weak", weakness, instances=4)
    wrong, loss = WEAK[weakness]
    assert {fault.partition(":")[0] for fault in order.faults(weak)} == {wrong}
    found = replay(weak, synced).found
    assert any(f": {loss} " in text for text in found), found
