"""operations/breaker.py, and what forward.py makes of it: lanes that pause, half-open, wait for a window or give up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from dicomnode.operations import breaker
from dicomnode.operations.forward import _claim, due, forward
from dicomnode.operations.ports import Node, Outgoing
from dicomnode.rules.outcome import Later, Scope
from dicomnode.store import attempts, audit, gates, lanes, ledger, queue, referrals
from dicomnode.store.database import execute, one, rows
from dicomnode.store.ledger import Transfer
from dicomnode.store.queue import State
from tests import fakes
from tests.fakes import SECOND, FakePartner
from tests.samples import Sample, make_instances

P = "PUBPACS"
HOUR, DAY = 3600, 86400
PARTNER = "PUBPACS:  {site: general, host: 10.9.0.5, port: 104,"


def with_keys(keys: str) -> str:
    """fakes.CONFIG, with more keys of PUBPACS."""
    return fakes.CONFIG.replace(PARTNER, f"{PARTNER} {keys},")


def run(node: Node, fake: FakePartner, stopped: Callable[[], bool] = lambda: False) -> bool:
    return forward(node.config.partners[P], fake, node, stopped)


def drain(node: Node, fake: FakePartner) -> int:
    batches = 0
    while run(node, fake):
        batches += 1
        assert batches < 100, "the lane never comes to an end"
    return batches


def ready(node: Node, count: int, *, seed: object = 0) -> list[Sample]:
    """A complete study that waits for PUBPACS."""
    made = make_instances(count, seed=seed)
    fakes.receive_all(node, made)
    fakes.complete(node)
    return made


def transfers(node: Node) -> list[Transfer]:
    with node.database.read():
        return ledger.listed(1000, partner=P)


def states(node: Node) -> list[str]:
    return [t.state for t in transfers(node)]


def lane(node: Node) -> lanes.Pause:
    with node.database.read():
        return lanes.paused(P)


def kinds(node: Node) -> list[str]:
    with node.database.read():
        return [event.kind for event in audit.events()]


def clock(node: Node) -> fakes.FakeClock:
    assert isinstance(node.clock, fakes.FakeClock)
    return node.clock


def until_due(node: Node) -> int | None:
    """Seconds until the lane has something to do; 0: now."""
    with node.database.read():
        found = due(node)(node.config.partners[P], node.clock())
    return None if found is None else max(0, found - node.clock()) // SECOND


def on(node: Node, what: Callable[[], object]) -> None:
    node.database.write(what)


def fail_for(node: Node, fake: FakePartner, seconds: float) -> None:
    """Let time pass, and try whenever it is due."""
    end = node.clock() + round(seconds * SECOND)
    while (left := (end - node.clock()) / SECOND) > 0:
        next_ = until_due(node)
        clock(node).advance(left if next_ is None else min(left, next_ + 1))
        drain(node, fake)


# -- the breaker -----------------------------------------------------------------------------------------------


def test_of_several_slots_one_tries_a_partner_that_failed(build: Callable[..., Node]) -> None:
    node = build(with_keys("associations: 4"))
    ready(node, 30)
    drain(node, FakePartner(unreachable=True))
    clock(node).advance(60)
    inside, leave = threading.Event(), threading.Event()

    def wait(_: Outgoing) -> None:
        inside.set()
        assert leave.wait(10)

    slow, other = FakePartner(on_send=wait), FakePartner()
    first = threading.Thread(target=run, args=(node, slow))
    first.start()
    assert inside.wait(10)
    assert not run(node, other)
    leave.set()
    first.join(10)
    assert (len(slow.sent), other.contexts) == (1, [])
    drain(node, other)
    assert states(node) == [State.DELIVERED] * 30


def test_one_instance_that_kills_every_association_starves_no_other_study(here: Node) -> None:
    """It is tried again and again, and so are the others: what was tried longest ago half-opens the lane."""
    (poison,) = ready(here, 1, seed="poison")
    fake = FakePartner(lose={poison.sop_instance})
    fail_for(here, fake, 6 * HOUR)
    for number in range(3):
        (sound,) = ready(here, 1, seed=("sound", number))
        fail_for(here, fake, 2 * HOUR)
        assert sound.sop_instance in fake.uids
    assert fake.uids.count(poison.sop_instance) > 5


def test_a_study_of_which_every_instance_kills_the_association_starves_no_other(build: Callable[..., Node]) -> None:
    """The half-open goes from study to study, not from instance to instance; who was never tried fails nobody."""
    node = build(with_keys("give_up_after: 1d"))
    poison = ready(node, 40, seed="poison")
    fake = FakePartner(lose={each.sop_instance for each in poison})
    fail_for(node, fake, 6 * HOUR)
    (sound,) = ready(node, 1, seed="sound")
    fail_for(node, fake, 2 * HOUR)
    assert sound.sop_instance in fake.kept


def test_a_failure_with_one_study_is_not_counted_against_the_others(here: Node) -> None:
    (poison,) = ready(here, 1, seed="poison")
    fake = FakePartner(lose={poison.sop_instance})
    drain(here, fake)
    fail_for(here, fake, 2 * HOUR)
    ready(here, 1, seed="sound")
    with here.database.read():
        batch = queue.Batch(1, 1, P, (queue.Claimed(1, 1, "", "", "", "", 0, "", None, 0, 0, 0, None, here.clock()),))
    for scope, since in ((Scope.ASSOCIATION, None), (Scope.PARTNER, here.clock())):
        ending = breaker.Ending(here.config.partners[P], batch, Later(scope, "why"), False, False, False)
        on(here, lambda ending=ending: breaker.ended(ending, here.clock(), here))
        with here.database.read():
            assert one("SELECT failing_since FROM referrals WHERE id = 2") == (since,)
            assert one("SELECT failing_since FROM referrals WHERE id = 1")[0] is not None


def test_a_lane_that_fails_and_finds_no_room_pauses_again(here: Node) -> None:
    """Nor is it tried with everything that waits, once each and at once."""
    ready(here, 60)
    drain(here, FakePartner(unreachable=True))
    clock(here).advance(60)
    fake = FakePartner(status=0xA700)
    assert drain(here, fake) == 1
    assert (len(fake.sent), lane(here).failures) == (1, 2)
    assert "out of resources" in lane(here).reason
    assert lane(here).until > here.clock()
    fake.status = 0
    fail_for(here, fake, HOUR)
    assert states(here) == [State.DELIVERED] * 60


def test_a_partner_that_rejects_for_good_is_asked_seldom_and_a_person_is_told(
    here: Node, caplog: pytest.LogCaptureFixture
) -> None:
    ready(here, 3)
    fake = FakePartner(barred=True)
    drain(here, fake)
    assert lane(here).until - here.clock() >= 0.87 * HOUR * SECOND
    assert [(t.state, t.attempts) for t in transfers(here)] == [(State.QUEUED, 0)] * 3
    with here.database.read():
        (event,) = audit.events(alarms=True)
    assert (event.kind, event.alarm) == ("partner rejects us", True)
    (alarm,) = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "rejected-permanent" in alarm
    assert f"dicomnode queue retry --partner {P}" in alarm
    fail_for(here, fake, 5 * HOUR)
    assert kinds(here).count("partner rejects us") == 1
    fake.barred = False
    fail_for(here, fake, 2 * HOUR)
    assert states(here) == [State.DELIVERED] * 3


def test_two_that_look_at_the_same_time_claim_one_between_them(here: Node) -> None:
    ready(here, 3)
    drain(here, FakePartner(unreachable=True))
    clock(here).advance(60)
    partner, at = here.config.partners[P], here.clock()
    found = [here.database.write(lambda: _claim(partner, here, at)) for _ in range(2)]
    assert [batch and len(batch.transfers) for batch in found] == [1, None]


@pytest.mark.parametrize("number", [1, 2])
def test_a_stop_is_nobody_s_failure(here: Node, number: int) -> None:
    ready(here, 3)
    fake = FakePartner(lose_at=number)
    run(here, fake, lambda: len(fake.sent) == number)
    assert [t.attempts for t in transfers(here)] == [int(number == 2), 0, 0]
    assert lane(here).failures == 0
    assert until_due(here) == 0


# -- back-off and counting -------------------------------------------------------------------------------------


def test_what_waited_long_and_fails_for_the_first_time_is_tried_again_soon(here: Node) -> None:
    """Its age as a failure is what counts: it may have waited for a gate, a window or another's repair."""
    made = ready(here, 2)
    clock(here).advance(3 * DAY)
    fake = FakePartner(statuses={made[0].sop_instance: 0x0110})
    drain(here, fake)
    assert until_due(here) in range(26, 35)


def test_associations_that_were_lost_are_no_tries_of_what_cannot_be_understood(here: Node) -> None:
    made = ready(here, 2)
    fake = FakePartner(lose={made[0].sop_instance})
    fail_for(here, fake, 2 * HOUR)
    assert transfers(here)[0].attempts >= 3
    fake.lose.clear()
    fake.statuses[made[0].sop_instance] = 0xA900
    offered = []
    while states(here)[0] != State.HELD:
        offered.append(fake.uids.count(made[0].sop_instance))
        fail_for(here, fake, HOUR)
    assert len(set(offered)) >= 2
    assert fake.uids.count(made[0].sop_instance) - offered[0] >= 2


def test_who_cannot_follow_is_talked_to_anew_once(here: Node) -> None:
    made = ready(here, 3)
    fake = FakePartner(statuses={made[1].sop_instance: 0x0211})
    drain(here, fake)
    assert len(fake.contexts) == 2  # the association ended with that answer
    assert fake.aborted == 1
    assert states(here) == [State.DELIVERED, State.QUEUED, State.DELIVERED]
    fail_for(here, fake, HOUR)
    assert states(here)[1] == State.HELD
    assert fake.uids.count(made[1].sop_instance) == 2


def test_a_partner_that_keeps_an_old_version_is_not_said_to_have_the_new_one(here: Node) -> None:
    ready(here, 1)
    drain(here, FakePartner(status=0x0111))
    assert states(here) == [State.DELIVERED]  # sent twice, perhaps: whether it has it is for the proof to say

    def corrected() -> None:
        columns = [c for (c,) in rows("SELECT name FROM pragma_table_info('instances') WHERE name != 'id'")]
        chosen = ", ".join({"version": "2", "file": "'other'"}.get(c, c) for c in columns)
        execute(f"INSERT INTO instances ({', '.join(columns)}) SELECT {chosen} FROM instances")
        execute("UPDATE instances SET current = id = 2")
        queue.enqueue(1, P, [2], here.clock())
        execute("UPDATE referrals SET progress = 'sending'")

    on(here, corrected)
    with here.database.read():
        (old,) = one("SELECT file FROM instances WHERE id = 1")
    target = here.archive.path("other")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(here.archive.path(old).read_bytes())
    drain(here, FakePartner(status=0x0111))
    assert states(here) == [State.DELIVERED, State.HELD]
    assert "another version" in transfers(here)[1].reason


# -- giving up -------------------------------------------------------------------------------------------------


def test_an_instance_that_fails_for_too_long_is_held_with_an_alarm(
    build: Callable[..., Node], caplog: pytest.LogCaptureFixture
) -> None:
    node = build(with_keys("give_up_after: 2d"))
    made = ready(node, 2)
    fake = FakePartner(statuses={made[0].sop_instance: 0x1234})
    drain(node, fake)
    fail_for(node, fake, 1.9 * DAY)
    assert states(node) == [State.QUEUED, State.DELIVERED]
    fail_for(node, fake, 0.3 * DAY)
    assert states(node) == [State.HELD, State.DELIVERED]
    assert transfers(node)[0].reason.startswith("given up after 2 days")
    assert "1234H" in transfers(node)[0].reason
    assert any("given up" in r.getMessage() for r in caplog.records if r.levelno == logging.CRITICAL)
    assert "transfers held" in kinds(node)


def test_what_a_dead_partner_could_not_be_offered_for_too_long_is_held_with_an_alarm(
    build: Callable[..., Node], caplog: pytest.LogCaptureFixture
) -> None:
    node, fake = build(with_keys("give_up_after: 2d")), FakePartner(unreachable=True)
    ready(node, 3)
    drain(node, fake)
    fail_for(node, fake, 1 * DAY)
    ready(node, 2, seed="later")
    fail_for(node, fake, 0.9 * DAY)
    assert states(node) == [State.QUEUED] * 5
    fail_for(node, fake, 0.2 * DAY)
    assert states(node) == [State.HELD] * 3 + [State.QUEUED] * 2
    assert transfers(node)[0].reason.startswith("given up after 2 days")
    assert [t.attempts for t in transfers(node)] == [0] * 5
    assert any("given up 3 instances of 1 studies" in r.getMessage() for r in caplog.records)
    assert any(f"`dicomnode queue retry --partner {P}`" in r.getMessage() for r in caplog.records)
    assert "transfers given up" in kinds(node)
    fail_for(node, fake, 1.1 * DAY)
    assert states(node) == [State.HELD] * 5
    fake.unreachable = False
    on(node, lambda: queue.release([t.transfer for t in transfers(node)], node.clock()))
    fail_for(node, fake, 2 * HOUR)
    assert states(node) == [State.DELIVERED] * 5


def closed(node: Node) -> Callable[[], None]:
    on(node, lambda: gates.hold([2], "why"))
    return lambda: on(node, lambda: gates.release([2]))


def held(node: Node) -> Callable[[], None]:
    on(node, lambda: lanes.hold(P, "why"))
    return lambda: on(node, lambda: lanes.release(P, node.clock()))


@pytest.mark.parametrize("stop", [closed, held])
def test_while_it_might_not_go_nothing_is_given_up(
    build: Callable[..., Node], stop: Callable[[Node], Callable[[], None]]
) -> None:
    """Another study fails all the time; this one fails, stands still for longer than is allowed, and fails again."""
    node, fake = build(with_keys("give_up_after: 2d")), FakePartner(unreachable=True)
    ready(node, 1, seed="other")
    ready(node, 1)
    drain(node, fake)
    fail_for(node, fake, 0.5 * DAY)
    go_on = stop(node)
    fail_for(node, fake, 3 * DAY)
    go_on()
    fail_for(node, fake, 1 * DAY)
    assert states(node)[1] == State.QUEUED
    fail_for(node, fake, 1.1 * DAY)
    assert states(node)[1] == State.HELD


def test_an_instance_whose_gate_was_closed_is_not_given_up_for_that(build: Callable[..., Node]) -> None:
    node = build(with_keys("give_up_after: 2d"))
    ready(node, 1)
    fake = FakePartner(status=0x0110)
    fail_for(node, fake, 0.5 * DAY)
    on(node, lambda: gates.hold([1], "why"))
    fail_for(node, fake, 3 * DAY)
    on(node, lambda: gates.release([1]))
    fail_for(node, fake, 1 * DAY)
    assert states(node) == [State.QUEUED]


# -- windows and holds -----------------------------------------------------------------------------------------

NIGHT = "window: '22:00-06:00'"


def test_nothing_goes_before_the_window_opens(build: Callable[..., Node]) -> None:
    """A FakeClock begins at 14:13:20 UTC."""
    node = build(with_keys(NIGHT).replace("name: General Hospital,", "name: General Hospital, timezone: UTC,"))
    ready(node, 2)
    fake = FakePartner()
    assert not run(node, fake)
    seconds = until_due(node)
    assert seconds is not None
    assert (node.clock() // SECOND + seconds) % DAY in (22 * HOUR - 1, 22 * HOUR)
    clock(node).advance(seconds + 1)
    assert until_due(node) == 0
    assert drain(node, fake) == 1
    assert states(node) == [State.DELIVERED] * 2
    assert until_due(node) is None


def test_a_batch_ends_with_the_window(build: Callable[..., Node]) -> None:
    node = build(with_keys(NIGHT).replace("name: General Hospital,", "name: General Hospital, timezone: UTC,"))
    ready(node, 4)
    clock(node).advance((until_due(node) or 0) + 8 * HOUR - 5)
    fake = FakePartner(on_send=lambda _: clock(node).advance(3) and None)
    drain(node, fake)
    assert states(node) == [State.DELIVERED, State.DELIVERED, State.QUEUED, State.QUEUED]
    assert lane(node).failures == 0
    assert (until_due(node) or 0) > 15 * HOUR


def test_a_lane_that_is_held_stops_at_once_and_waits_for_a_person(here: Node) -> None:
    ready(here, 150)

    def hold(_: object) -> None:
        if len(fake.sent) == 9:
            on(here, lambda: lanes.hold(P, "held by anna: maintenance"))

    fake = FakePartner(on_send=hold)
    drain(here, fake)
    assert len(fake.sent) < 50
    assert until_due(here) is None
    ready(here, 2, seed="later")
    assert not run(here, fake)
    with here.database.read():
        assert referrals.listed()[0].reason == "held by anna: maintenance"
    assert not here.database.write(lambda: lanes.hold(P, "again"))
    assert here.database.write(lambda: lanes.release(P, here.clock()))
    assert not here.database.write(lambda: lanes.release(P, here.clock()))
    drain(here, fake)
    assert states(here) == [State.DELIVERED] * 152


# -- a clock that is set back ----------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_delays_nothing_for_as_long(here: Node) -> None:
    made = ready(here, 3)
    fake = FakePartner(statuses={made[1].sop_instance: 0x0110})
    drain(here, fake)
    ready(here, 1, seed="later")
    drain(here, FakePartner(unreachable=True))
    clock(here).advance(-DAY)
    assert until_due(here) == 0
    assert drain(here, FakePartner()) >= 1
    assert states(here) == [State.DELIVERED] * 4


# -- order -----------------------------------------------------------------------------------------------------


def order(build: Callable[..., Node], seconds: float) -> list[str]:
    """In which order a routine study and one that is urgent go, which came so much later."""
    urgent = "{name: now, from: [harbour], when: {called: REFERNODE}, to: [PUBPACS], wait: 60s, priority: urgent}"
    node, fake = build(f"{fakes.CONFIG}  - {urgent}\n"), FakePartner()
    routine, soon = make_instances(1, seed="routine"), make_instances(1, seed="urgent")
    fakes.receive_all(node, routine)
    fakes.complete(node, seconds)
    fakes.receive_all(node, soon, called="REFERNODE")
    fakes.complete(node)
    drain(node, fake)
    names = {routine[0].sop_instance: "routine", soon[0].sop_instance: "urgent"}
    return [names[uid] for uid in fake.uids]


def test_urgent_goes_before_routine_which_ages(build: Callable[..., Node]) -> None:
    assert order(build, 23 * HOUR) == ["urgent", "routine"]


def test_routine_that_waits_for_a_day_longer_goes_before_urgent(build: Callable[..., Node]) -> None:
    assert order(build, 25 * HOUR) == ["routine", "urgent"]


def test_the_order_within_a_study_is_kept(here: Node) -> None:
    made, fake = ready(here, 201), FakePartner()
    drain(here, fake)
    assert fake.uids == [m.sop_instance for m in made]


# -- what is configured ----------------------------------------------------------------------------------------


def test_what_needs_configuration_is_tried_again_when_that_changes(build: Callable[..., Node]) -> None:
    node = build()
    made = ready(node, 2)
    breaker.reconsider(node)
    fake = FakePartner(statuses={made[0].sop_instance: 0x0122, made[1].sop_instance: 0xC001})
    fail_for(node, fake, 3 * HOUR)
    assert states(node) == [State.HELD] * 2
    at = clock(node)
    node = build(clock=at)
    assert breaker.reconsider(node) == 0  # a restart changes nothing
    node = build(with_keys("associations: 2"), clock=at)
    assert breaker.reconsider(node) == 1
    assert states(node) == [State.QUEUED, State.HELD]
    drain(node, FakePartner())
    assert states(node) == [State.DELIVERED, State.HELD]


def test_a_lane_whose_partner_is_configured_anew_is_tried_at_once(build: Callable[..., Node]) -> None:
    node = build()
    ready(node, 1)
    breaker.reconsider(node)
    drain(node, FakePartner(barred=True))
    assert until_due(node) != 0
    node = build(with_keys("associations: 2"), clock=node.clock)
    breaker.reconsider(node)
    assert until_due(node) == 0


def test_classes_that_a_partner_is_not_sent_are_listed_and_stop_nothing(build: Callable[..., Node]) -> None:
    node = build(with_keys("skip_classes: [1.2.840.10008.5.1.4.1.1.4]"))
    ct = make_instances(2, seed="mixed")
    mr = make_instances(1, seed="mixed", modality="MR", study_uid=ct[0].study, series=2)
    fakes.receive_all(node, [*ct, *mr])
    fakes.complete(node)
    fake = FakePartner()
    drain(node, fake)
    assert fake.uids == [m.sop_instance for m in ct]
    assert states(node) == [State.DELIVERED, State.DELIVERED, State.SKIPPED]
    assert "skip_classes" in transfers(node)[2].reason
    with node.database.read():
        (found,) = referrals.listed()
    assert (found.state, found.delivered, found.skipped) == ("sent", 2, 1)


# -- what is written down --------------------------------------------------------------------------------------


def test_each_batch_is_an_attempt(here: Node) -> None:
    made = ready(here, 3)
    fake = FakePartner(unreachable=True)
    began = here.clock()
    drain(here, fake)
    clock(here).advance(60)
    fake = FakePartner(statuses={made[1].sop_instance: 0xB007}, on_send=lambda _: clock(here).advance(2) and None)
    drain(here, fake)
    with here.database.read():
        first, probe, rest = attempts.of(1)
        (begun,) = one("SELECT begun_at FROM referrals")
    assert begun == began
    assert (first.began_at, first.connected, first.offered, first.delivered, first.status) == (began, None, 0, 0, None)
    assert first.reason.startswith("no connection")
    assert (probe.connected, probe.offered, probe.delivered, probe.status, probe.reason) == (0, 1, 1, None, "")
    assert (rest.offered, rest.delivered, rest.status) == (2, 2, 0xB007)
    assert "B007H" in rest.reason
    assert rest.ended_at - rest.began_at == 4 * SECOND


def test_a_line_for_each_instance_tells_where_time_went(here: Node, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (made,) = ready(here, 1)
    drain(here, FakePartner(on_send=lambda _: clock(here).advance(2) and None))
    (line,) = [r.getMessage() for r in caplog.records if r.getMessage().startswith("transfer=")]
    assert f"sop={made.sop_instance} to=PUBPACS@10.9.0.5:104 status=delivered(0000H) delays=61.000/0.000/2.000" in line


def test_what_is_held_is_told_to_a_person_once_a_batch(here: Node, caplog: pytest.LogCaptureFixture) -> None:
    ready(here, 3)
    drain(here, FakePartner(status=0x0124))
    (alarm,) = [r.getMessage() for r in caplog.records if r.levelno == logging.CRITICAL]
    assert "3 instances are held: not authorised (0124H)" in alarm
    assert kinds(here).count("transfers held") == 1
