"""Three partners, one of which takes connections and says nothing: the others notice nothing, and it catches up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from tests.integration.moving.kit import store
from tests.node import LOCAL, Node, changed, default_config
from tests.proxy import ChaosProxy
from tests.samples import Sample, make_instances
from tests.wire import Receiver

_SILENCE = 14.0
"""Seconds that an attempt waits for an answer: nobody else's delivery may wait for its end."""


def _config(ports: dict[str, int]) -> dict[str, Any]:
    config = changed(default_config(), {"node": {"limits": {"response": f"{_SILENCE}s", "linger": "0s"}}})
    config["partners"] |= {name: {"site": "general", "host": LOCAL, "port": port} for name, port in ports.items()}
    config["routes"][0]["to"] = list(ports)
    return config


def _shape(node: Node, partner: str) -> dict[str, Any]:
    (found,) = [row for row in node.cli("queue", "shape", json=True) if row["partner"] == partner]
    return dict(found)


def _arrived(receiver: Receiver) -> set[tuple[str, str]]:
    return {(each.sop_instance, each.sha256) for each in receiver.received}


def _whole(made: list[Sample]) -> set[tuple[str, str]]:
    return {(sample.sop_instance, sample.sha256) for sample in made}


def test_a_black_hole_delays_nobody_else_and_is_caught_up_with(node: Callable[..., Node]) -> None:
    with ExitStack() as stack:
        dark, one, two = (stack.enter_context(Receiver()) for _ in range(3))
        proxy = stack.enter_context(ChaosProxy(LOCAL, dark.port))
        it = node(_config({"PUBPACS": proxy.port, "CITY": one.port, "ISLAND": two.port}))
        first = make_instances(5, seed="before")
        store(it, first, called="TO_GENERAL")
        for receiver in (dark, one, two):
            receiver.wait_for(5, 20)

        proxy.blackhole()
        made = list(first)
        for number in range(3):
            study = make_instances(5, seed=("meanwhile", number))
            store(it, study, called="TO_GENERAL")
            made += study
            for receiver in (one, two):
                receiver.wait_for(len(made), 20)
        # all of that is over, and the first attempt that gets no answer is not
        shape = _shape(it, "PUBPACS")
        assert (shape["lane"], shape["active"]) == ("runs", 5)
        assert _arrived(one) == _arrived(two) == _whole(made)
        assert len(dark.received) == 5

        it.wait_until(lambda: _shape(it, "PUBPACS")["lane"].startswith("paused until 2"), 60, "the pause to be shown")
        waiting = [row for row in it.cli("referrals", "list", json=True) if row["partner"] == "PUBPACS"]
        assert {row["reason"] for row in waiting if row["delivered"] == 0} == {_shape(it, "PUBPACS")["reason"]}
        study = make_instances(5, seed="while it is paused")
        store(it, study, called="TO_GENERAL")
        made += study
        for receiver in (one, two):
            receiver.wait_for(len(made), 20)
        paused = [row["partner"] for row in it.cli("audit", "list", json=True) if row["event"] == "lane paused"]
        assert paused == ["PUBPACS"]

        proxy.resume()
        # some of it twice, perhaps: what had gone into the hole comes out of it, and was not answered
        dark.wait_until(lambda: _arrived(dark) >= _whole(made), 60, "what waited")
        assert _arrived(dark) == _whole(made)
        it.wait_until(lambda: _shape(it, "PUBPACS")["lane"] == "runs", 20, "the lane to run again")
        assert (_shape(it, "PUBPACS")["queued"], _shape(it, "PUBPACS")["held"]) == (0, 0)
