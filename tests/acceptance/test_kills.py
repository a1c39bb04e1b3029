"""`kill -9` while instances flow: what was answered 0000H is kept, bit for bit, and reaches the public AE."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.flow import Flow, Kill, losses
from tests.node import Node, default_config
from tests.wire import Receiver

_ROUNDS = 5
_INSTANCES = 500
_SENDERS = 4
_KILLS = ["acceptor"] * 7 + ["forwarder"] * 6 + ["node"] * 5 + ["supervisor"] * 2
_HITS = 15
_SLOWLY = 0.008
_SEED = 20260131


def _config(receiver: Receiver) -> dict[str, object]:
    """Image by image, as they come."""
    config = default_config(pubpacs=receiver.port)
    config["routes"][0]["wait"] = "0s"
    return config


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A public AE that takes a moment for each instance, so that some are always on their way to it."""

    def slowly(_: str) -> int:
        time.sleep(_SLOWLY)
        return 0

    with Receiver(answer=slowly) as it:
        yield it


def _disturb(flow: Flow, roles: list[str], chance: random.Random) -> list[Kill]:
    """Kill once in each of as many equal stretches of the flow, at a random point of it."""
    stretch = _INSTANCES // (len(roles) + 1)
    flow.start()
    kills = []
    for number, role in enumerate(roles):
        flow.wait_for(number * stretch + chance.randrange(10, stretch))
        kills.append(flow.kill(role))
    flow.finish()
    return kills


def test_a_kill_of_any_process_loses_nothing_that_was_acknowledged(
    node: Callable[..., Node], receiver: Receiver, tmp_path: Path
) -> None:
    chance = random.Random(_SEED)
    roles = chance.sample(_KILLS, len(_KILLS))
    it = node(_config(receiver))
    flows, kills = [], []
    for number in range(_ROUNDS):
        flows.append(Flow(it, receiver, tmp_path, _INSTANCES, senders=_SENDERS, seed=("kills", number)))
        kills += _disturb(flows[-1], roles[number::_ROUNDS], chance)
    assert losses(it, receiver, flows, timeout=30) == []
    assert len(kills) == 20
    assert sum(kill.hit for kill in kills) >= _HITS, kills
    unanswered = sum(len(sender.journal.unanswered()) for flow in flows for sender in flow.senders)
    assert unanswered > 0, "no kill ever cost a sender its answer"


def test_the_harness_finds_what_a_node_loses_that_answers_too_early(
    node: Callable[..., Node], receiver: Receiver, tmp_path: Path
) -> None:
    root = str(Path(__file__).parents[2])
    it = node(_config(receiver), module="tests.acceptance.weakened", env={"PYTHONPATH": root})
    flow = Flow(it, receiver, tmp_path, _INSTANCES, senders=_SENDERS, seed="weakened")
    _disturb(flow, ["acceptor", "node"], random.Random(_SEED))
    found = losses(it, receiver, [flow], timeout=5)
    assert any(each.startswith("not in the index") for each in found), found
    assert any(each.startswith("never carried") for each in found), found
