"""`kill -9` while instances flow: what was answered 0000H is kept, bit for bit, and reaches the public AE."""

from __future__ import annotations

import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.altered import environment
from tests.acceptance.archive import Archive
from tests.acceptance.failpoints import NODE, WORKER, Failpoints
from tests.acceptance.flow import Flow, Kill, at_once, losses, strays
from tests.acceptance.marathon import confirmed, unconfirmed
from tests.integration.kit import events, rows
from tests.node import Node, changed
from tests.samples import Sample, dataset_of, make_instances
from tests.wire import Receiver, contexts_for

_INSTANCES = 400
_FEW = 80
_SENDERS = 4
_KILLS = ["acceptor", "forwarder", "acceptor", "node", "forwarder", "supervisor"]
_HITS = 4
_SLOWLY = 0.008
_SEED = 20260131
_ALTERED = "tests.acceptance.altered"

_POINTS = [
    ("acceptor before file sync", WORKER),
    ("acceptor before rename", NODE),
    ("acceptor after rename", WORKER),
    ("acceptor after folder sync", NODE),
    ("acceptor in commit", WORKER),
    ("acceptor after commit", NODE),
    ("acceptor before answer", WORKER),
    ("forwarder after response", WORKER),
    ("forwarder in commit", NODE),
    ("forwarder after commit", WORKER),
    ("forwarder before response", WORKER),
    ("housekeeper in checkpoint", WORKER),
    ("configure before commit", WORKER),
    ("supervisor after hiring", WORKER),
]
_AT_STARTS = ["recover in migration", "recover before commit", "recover after adoption"]


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
    it = node(at_once(receiver))
    flow = Flow(it, receiver, tmp_path, _INSTANCES, senders=_SENDERS, seed="kills")
    kills = _disturb(flow, _KILLS, random.Random(_SEED))
    assert losses(it, receiver, [flow], timeout=30) == []
    assert sum(kill.hit for kill in kills) >= _HITS, kills
    unanswered = sum(len(sender.journal.unanswered()) for sender in flow.senders)
    assert unanswered > 0, "no kill ever cost a sender its answer"


def test_a_kill_at_any_step_loses_nothing_that_was_acknowledged(
    node: Callable[..., Node], receiver: Receiver, tmp_path: Path
) -> None:
    """Between any two steps of custody, of delivery, of a checkpoint, of a reload: once exactly there."""
    points, chance = Failpoints(tmp_path / "points"), random.Random(_SEED)
    env = environment("hurries", "fails", **points.environment)
    it = node(at_once(receiver), module=_ALTERED, env=env)
    flows = []
    for point, who in _POINTS:
        flows.append(Flow(it, receiver, tmp_path, _FEW, senders=_SENDERS, seed=point))
        flows[-1].start().wait_for(chance.randrange(1, _FEW // 2))
        flows[-1].fail(points, point, who)
        flows[-1].finish()
    flows.append(Flow(it, receiver, tmp_path, _FEW, senders=_SENDERS, seed="starts"))
    _start_in_vain(flows[-1], points, chance)
    assert losses(it, receiver, flows, timeout=30) == []
    assert strays(it) == []


def _start_in_vain(flow: Flow, points: Failpoints, chance: random.Random) -> None:
    """Kill the node where a file has no row yet, and then each of its starts."""
    flow.start().wait_for(chance.randrange(1, _FEW // 2))
    points.arm("acceptor after folder sync", NODE)
    flow.node.wait_until(lambda: points.has_killed("acceptor after folder sync"), 10, "the kill")
    flow.node.bury()
    for point in _AT_STARTS:
        points.arm(point)
        assert flow.node.cli("serve", timeout=20).code == 1
        assert points.has_killed(point), point
    flow.node.start()
    flow.finish()


def test_the_harness_finds_what_a_node_loses_that_answers_too_early(
    node: Callable[..., Node], receiver: Receiver, tmp_path: Path
) -> None:
    it = node(at_once(receiver), module=_ALTERED, env=environment("answers-early"))
    flow = Flow(it, receiver, tmp_path, _INSTANCES, senders=_SENDERS, seed="weakened")
    _disturb(flow, ["acceptor", "node"], random.Random(_SEED))
    found = losses(it, receiver, [flow], timeout=2)
    assert any(each.startswith("not in the index") for each in found), found
    assert any(each.startswith("never carried") for each in found), found


def test_the_harness_finds_what_a_node_says_was_delivered_that_was_not(
    node: Callable[..., Node], receiver: Receiver, tmp_path: Path
) -> None:
    """A kill may hit it when nothing is on its way: then it is killed again."""
    it = node(at_once(receiver), module=_ALTERED, env=environment("forwards-early"))
    flows, found, chance = list[Flow](), list[str](), random.Random(_SEED)
    while len(flows) < 5 and not any(each.startswith("said to be delivered") for each in found):
        seed = f"forwards early {len(flows)}"
        flows.append(Flow(it, receiver, tmp_path, _INSTANCES, senders=_SENDERS, seed=seed))
        _disturb(flows[-1], ["forwarder"] * 3, chance)
        found = losses(it, receiver, flows, timeout=2)
    assert any(each.startswith("said to be delivered") for each in found), found


@pytest.mark.parametrize("by", ["find", "status"])
def test_what_is_confirmed_is_there_unless_an_admin_takes_statuses_for_proof(
    by: str, node: Callable[..., Node], tmp_path: Path
) -> None:
    """A public AE that loses what it has answered 0000H for: by a query that is found, and by nothing else."""
    with Archive(random.Random(_SEED), loses=0.1) as partner:
        it = node(changed(at_once(partner), {"partners": {"PUBPACS": {"confirm": {"by": by}}}}))
        flow = Flow(it, partner, tmp_path, _FEW, senders=_SENDERS, seed=by)
        flow.start().finish()
        assert unconfirmed(it, flow) == []
        assert partner.lost > 0
        lacking = confirmed(it) - partner.has
        assert lacking == (partner.lacks if by == "status" else set())
        assert len(lacking) == (partner.lost if by == "status" else 0)


# -- eviction --------------------------------------------------------------------------------------------------

_EVICTIONS = ["housekeeper in eviction", "housekeeper before removal", "housekeeper after removal"]


def test_a_kill_in_an_eviction_takes_nothing_that_was_not_confirmed(node: Callable[..., Node], tmp_path: Path) -> None:
    """What is confirmed goes in the end, wherever the housekeeper died; what is not stays, bit for bit."""
    points = Failpoints(tmp_path / "points")
    with Receiver() as receiver:
        config = changed(at_once(receiver), {"partners": {"PUBPACS": {"confirm": {"by": "status"}}}})
        config["node"]["retention"] = {"after": "1s"}
        it = node(config, module=_ALTERED, env=environment("hurries", "fails", **points.environment))
        stays = make_instances(5, seed="stays")
        _store(it, stays, it.ae_title)  # nobody is to have it, so nobody has confirmed it
        for point in _EVICTIONS:
            points.arm(point)
            _store(it, make_instances(5, seed=point), "TO_GENERAL")
            it.wait_until(lambda point=point: points.has_killed(point), 30, f"the housekeeper to die {point}")
        it.wait_until(lambda: len(_on_disk(it)) == len(stays), 30, "what was confirmed to go")
    assert sorted(_on_disk(it)) == sorted(sample.sha256 for sample in stays)
    assert len(events(it, "study evicted")) == len(_EVICTIONS)
    evicted = rows(it, "SELECT count(*) AS n FROM instances WHERE evicted_at IS NOT NULL")[0]["n"]
    assert evicted == 5 * len(_EVICTIONS)


def _store(node: Node, made: list[Sample], called: str) -> None:
    with node.associate("CT1", contexts_for(made), called=called) as association:
        assert {association.send_sample(sample) for sample in made} == {0}


def _on_disk(node: Node) -> list[str]:
    """The digests of the datasets that are kept; some may go while they are read."""
    found = []
    for file in (node.data / "instances").rglob("*.dcm"):
        with contextlib.suppress(FileNotFoundError):
            found.append(hashlib.sha256(dataset_of(file)).hexdigest())
    return found
