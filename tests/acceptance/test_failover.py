"""One of two archives of a hospital is gone: its studies go to the other, and to it again once it answers."""

from __future__ import annotations

from pathlib import Path

from tests.inprocess import Here
from tests.node import LOCAL, default_config
from tests.samples import Sample, make_instances
from tests.wire import Receiver, contexts_for


def _send(node: Here, made: list[Sample]) -> set[str]:
    with node.associate("CT1", contexts_for(made), called="TO_GENERAL") as association:
        assert {association.send_sample(sample) for sample in made} == {0}
    return {sample.sop_instance for sample in made}


def _uids(receiver: Receiver) -> set[str]:
    return {each.sop_instance for each in receiver.received}


def _arrives_at(first: Receiver, second: Receiver, node: Here) -> bool:
    """Whether another study goes to the first of two: it is not tried again at once."""
    sent = _send(node, make_instances(2, seed=len(second.received)))
    node.wait_until(lambda: sent <= _uids(first) | _uids(second), 30, "the study at either archive")
    return sent <= _uids(first)


def test_a_study_goes_to_the_other_and_the_next_to_the_first_again(tmp_path: Path) -> None:
    with Receiver() as first, Receiver() as second:
        first.stop()
        config = default_config(pubpacs=first.port)
        config["partners"]["SPARE"] = {"site": "general", "host": LOCAL, "port": second.port}
        config["routes"][0] |= {"to": {"failover": ["PUBPACS", "SPARE"], "after": "1s"}, "identity": "none"}
        node = Here(tmp_path, config)
        try:
            node.start()
            sent = _send(node, make_instances(3, seed="other"))
            node.wait_until(lambda: _uids(second) == sent, 30, "the study at the other archive")
            ways = {row["partner"]: row for row in node.cli("referrals", "list", json=True)}
            assert (ways["PUBPACS"]["dropped"], ways["PUBPACS"]["route"]) == (3, None)
            assert "goes to SPARE instead: PUBPACS has failed" in ways["PUBPACS"]["reason"]
            said = node.cli("explain", str(ways["PUBPACS"]["referral"])).out
            assert "What was not delivered to PUBPACS is not sent there any more." in said
            first.start()
            node.wait_until(lambda: _arrives_at(first, second, node), 30, "a study at the first archive again")
        finally:
            node.kill_all()
