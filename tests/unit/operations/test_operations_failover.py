"""operations/failover.py: who of a group gets a study, and what becomes of it where that one fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dicomnode.operations import failover, housekeep, refer
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.store import audit, lanes, ledger, passing, referrals
from dicomnode.store.lanes import Pause
from dicomnode.store.referrals import Referral
from tests import fakes
from tests.fakes import FakeCallers, FakePartner
from tests.samples import Sample, make_instances

HEAD = fakes.CONFIG.split("routes:\n")[0].replace(
    "  PUB_WS:", "  SECOND: {site: general, host: 10.9.0.7, port: 104}\n  PUB_WS:"
)
ROUTE = "name: r, to: {failover: [PUBPACS, SECOND], after: 10m}, wait: 60s, identity: none"


def config(*routes: str) -> str:
    return HEAD + "routes:\n" + "".join(f"  - {{{route}}}\n" for route in routes)


@pytest.fixture
def node(build: Callable[..., Node]) -> Node:
    return build(config(ROUTE))


def send(node: Node, partner: str, fake: FakePartner) -> FakePartner:
    """Let a partner's lane run as long as it finds something."""
    while forward(node.config.partners[partner], fake, node, lambda: False):
        pass
    return fake


def fail(node: Node, partner: str = "PUBPACS", minutes: float = 20) -> None:
    """Let a partner that has something to be sent fail for so long, tried as often as its lane does."""
    assert isinstance(node.clock, fakes.FakeClock)
    end = node.clock() + minutes * 60 * fakes.SECOND
    while node.clock() < end:
        send(node, partner, FakePartner(unreachable=True))
        node.clock.advance(30)
    send(node, partner, FakePartner(unreachable=True))  # so that it has just failed, whatever the jitter was


def tidy(node: Node) -> None:
    housekeep.tidy(node, FakeCallers())


def by_partner(node: Node) -> dict[str, Referral]:
    with node.database.read():
        return {each.partner: each for each in referrals.listed()}


def states(node: Node, partner: str) -> dict[str, str]:
    with node.database.read():
        return {each.sop_instance_uid: each.state for each in ledger.listed(1000, partner=partner)}


def study(number: int, count: int = 2) -> list[Sample]:
    return make_instances(count, seed=f"failover {number}")


def arrive(node: Node, number: int, count: int = 2) -> list[Sample]:
    """A study that has come whole."""
    made = study(number, count)
    fakes.receive_all(node, made)
    fakes.complete(node)
    return made


def test_a_study_goes_to_the_first_alone(node: Node) -> None:
    made = arrive(node, 1)
    assert set(by_partner(node)) == {"PUBPACS"}
    assert set(send(node, "PUBPACS", FakePartner()).uids) == {each.sop_instance for each in made}


def test_what_waits_for_one_that_fails_too_long_goes_to_the_next(node: Node) -> None:
    made = arrive(node, 1)
    fail(node, minutes=8)
    assert failover.pass_on(node) == 0
    fail(node, minutes=20)
    assert failover.pass_on(node) == 1
    tidy(node)
    left, taken = by_partner(node)["PUBPACS"], by_partner(node)["SECOND"]
    assert (left.route, left.dropped, left.state) == ("", 2, "failed")
    assert "goes to SECOND instead: PUBPACS has failed for" in left.reason
    assert (taken.route, taken.progress, taken.instances) == ("r", "complete", 2)
    assert set(send(node, "SECOND", FakePartner()).uids) == {each.sop_instance for each in made}
    assert not send(node, "PUBPACS", FakePartner()).uids
    with node.database.read():
        told = {(event.kind, event.referral) for event in audit.events()}
    assert {("referral passed on", left.id), ("referral opened", taken.id)} <= told


def test_what_was_delivered_stays_and_late_images_follow_the_study(node: Node) -> None:
    first, second, late = study(1, 3)
    fakes.receive_all(node, [first, second])
    fakes.complete(node)
    send(node, "PUBPACS", FakePartner(lose={second.sop_instance}))
    fail(node)
    assert failover.pass_on(node) == 1
    fakes.receive(node, late)
    fakes.complete(node)
    assert states(node, "PUBPACS") == {first.sop_instance: "delivered", second.sop_instance: "dropped"}
    assert set(send(node, "SECOND", FakePartner()).uids) == {second.sop_instance, late.sop_instance}
    assert by_partner(node)["PUBPACS"].state == "sent"


def test_late_images_follow_the_study_though_the_first_answers_again(node: Node) -> None:
    first, late = study(1, 2)
    fakes.receive(node, first)
    fakes.complete(node)
    fail(node)
    tidy(node)
    node.database.write(lambda: lanes.resume("PUBPACS", node.clock()))
    fakes.receive(node, late)
    assert set(states(node, "SECOND")) == {first.sop_instance, late.sop_instance}
    assert late.sop_instance not in states(node, "PUBPACS")


def test_new_studies_go_to_the_next_until_the_first_is_to_be_tried_again(node: Node) -> None:
    assert isinstance(node.clock, fakes.FakeClock)
    arrive(node, 1)
    fail(node)
    tidy(node)
    fakes.receive_all(node, study(2))
    assert set(states(node, "SECOND")) == {each.sop_instance for each in study(1) + study(2)}
    node.clock.advance(4000)
    back = arrive(node, 3)
    tidy(node)
    assert {each.sop_instance for each in back} <= set(states(node, "PUBPACS"))
    assert set(send(node, "PUBPACS", FakePartner()).uids) == {each.sop_instance for each in back}
    again = arrive(node, 4)
    assert set(send(node, "PUBPACS", FakePartner()).uids) == {each.sop_instance for each in again}


def test_the_study_that_tries_the_first_again_is_not_stuck_there(node: Node) -> None:
    assert isinstance(node.clock, fakes.FakeClock)
    arrive(node, 1)
    fail(node)
    tidy(node)
    node.clock.advance(4000)
    probe = arrive(node, 2)
    send(node, "PUBPACS", FakePartner(unreachable=True))
    tidy(node)
    assert {each.sop_instance for each in probe} <= set(states(node, "SECOND"))


def test_where_all_fail_everything_waits_where_it_is(node: Node) -> None:
    arrive(node, 1)
    fail(node)
    at = node.clock()
    gone = Pause(at + 60 * fakes.SECOND, 9, "no connection", at - 3600 * fakes.SECOND)
    node.database.write(lambda: lanes.pause("SECOND", gone))
    assert failover.pass_on(node) == 0
    assert set(by_partner(node)) == {"PUBPACS"}
    assert set(states(node, "PUBPACS").values()) == {"queued"}


def test_it_can_come_back_to_whom_it_left(node: Node) -> None:
    assert isinstance(node.clock, fakes.FakeClock)
    made = arrive(node, 1)
    fail(node)
    tidy(node)
    fakes.complete(node)
    fail(node, "SECOND", 90)
    assert by_partner(node)["PUBPACS"].route == ""
    tidy(node)
    tidy(node)
    assert (by_partner(node)["PUBPACS"].route, by_partner(node)["SECOND"].route) == ("r", "")
    assert isinstance(node.clock, fakes.FakeClock)
    node.clock.advance(4000)
    assert set(send(node, "PUBPACS", FakePartner()).uids) == {each.sop_instance for each in made}


STAYS = [
    ("held by a person", lambda node, it: refer.hold([it], "wait", "anna", node)),
    ("in doubt", lambda node, it: node.database.write(lambda: refer.quarantine(1, "whose?", node.clock(), node))),
]


@pytest.mark.parametrize("stop", [stop for _, stop in STAYS], ids=[name for name, _ in STAYS])
def test_what_may_not_go_is_not_passed_on(node: Node, stop: Callable[[Node, int], object]) -> None:
    """Else a hold would be lost on the way: the next partner's referral has none."""
    arrive(node, 1)
    arrive(node, 2)
    fail(node)
    with node.database.read():
        (held,) = [it.id for it in referrals.listed(study_instance_uid=study(1)[0].study)]
    stop(node, held)
    assert failover.pass_on(node) == 1
    assert set(states(node, "SECOND")) == {each.sop_instance for each in study(2)}


def test_what_another_route_wants_there_stays(build: Callable[..., Node]) -> None:
    node = build(config(ROUTE, "name: also, to: [PUBPACS], wait: 60s, identity: none"))
    arrive(node, 1)
    fail(node)
    assert failover.pass_on(node) == 0


def test_a_kill_while_passing_on_leaves_it_all_where_it_was(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transfers are dropped here and queued there in one commit, or not at all."""
    arrive(node, 1)
    fail(node)
    monkeypatch.setattr(passing, "left", _die)
    with pytest.raises(KeyboardInterrupt):
        failover.pass_on(node)
    assert set(by_partner(node)) == {"PUBPACS"}
    assert set(states(node, "PUBPACS").values()) == {"queued"}
    monkeypatch.undo()
    assert failover.pass_on(node) == 1


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_balance_takes_turns_and_a_study_keeps_its_partner(build: Callable[..., Node]) -> None:
    node = build(config(ROUTE.replace("failover", "balance")))
    for number in range(6):
        fakes.receive(node, study(number)[0])
    for number in range(6):
        fakes.receive(node, study(number)[1])
    with node.database.read():
        counts = {name: len(ledger.listed(100, partner=name)) for name in ("PUBPACS", "SECOND")}
        whole = {each.instances for each in referrals.listed()}
    assert counts == {"PUBPACS": 6, "SECOND": 6}
    assert whole == {2}


def test_balance_skips_one_that_is_out(build: Callable[..., Node]) -> None:
    node = build(config(ROUTE.replace("failover", "balance")))
    arrive(node, 1)  # of two, the second in its turn
    assert set(by_partner(node)) == {"SECOND"}
    fail(node, "SECOND")
    for number in range(2, 6):
        fakes.receive(node, study(number)[0])
    assert len(states(node, "PUBPACS")) == 4
