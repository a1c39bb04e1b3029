"""What is around a running node fails: system calls, by strace, and the line to its partner, by a proxy.

Nothing acknowledged is lost, and nothing is kept whose sync has failed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.acceptance.altered import environment
from tests.acceptance.faults import FAULTS, trial
from tests.acceptance.flow import Flow, at_once, losses
from tests.node import LOCAL, Node, changed
from tests.wire import ChaosProxy, Receiver

_ALTERED = "tests.acceptance.altered"
_SYNC = FAULTS[0]
_FEW = [_SYNC, *(fault for fault in FAULTS if "ENOSPC" in fault.inject and fault.role == "acceptor")]


def test_an_error_of_the_disk_is_answered_and_nothing_is_lost(node: Callable[..., Node], tmp_path: Path) -> None:
    with Receiver() as receiver:
        it = node(at_once(receiver), module=_ALTERED, env=environment("hurries"))
        for fault in _FEW:
            assert trial(it, receiver, tmp_path, fault) == [], fault


def test_a_partner_that_vanishes_in_the_middle_gets_everything(node: Callable[..., Node], tmp_path: Path) -> None:
    """From our side: its connections are dead, and nobody says so."""
    with Receiver() as receiver, ChaosProxy(LOCAL, receiver.port) as proxy:
        limits = {"limits": {"response": "1s"}}
        it = node(changed(at_once(receiver), {"node": limits, "partners": {"PUBPACS": {"port": proxy.port}}}))
        flow = Flow(it, receiver, tmp_path, 200, senders=2, seed="vanishes").start()
        for carried in (5, 50):
            receiver.wait_for(carried, 20)
            proxy.vanish()
        flow.finish()
        assert losses(it, receiver, [flow], timeout=30) == []
        assert proxy.connections > 2


def test_the_harness_finds_a_node_that_shrugs_at_a_failed_sync(node: Callable[..., Node], tmp_path: Path) -> None:
    with Receiver() as receiver:
        it = node(at_once(receiver), module=_ALTERED, env=environment("hurries", "shrugs"))
        found = trial(it, receiver, tmp_path, _SYNC)
    assert any(each.startswith("kept although it had failed") for each in found), found
