"""operations/forward.py: one batch to one partner; whatever fails, every claim comes back or is written down."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from dicomnode.errors import OutOfResources, Unreadable
from dicomnode.operations import complete as completing
from dicomnode.operations import forward as forward_module
from dicomnode.operations import refer
from dicomnode.operations.confirm import prove
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.store import audit, lanes, ledger, queue, referrals
from dicomnode.store.database import Database, execute, rows
from dicomnode.store.ledger import Transfer
from dicomnode.store.queue import State
from tests import fakes
from tests.fakes import SECOND, FakePartner
from tests.samples import Sample, make_instances

MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"


def going() -> bool:
    """Nobody has said stop."""
    return False


def run(node: Node, fake: FakePartner, partner: str = "PUBPACS", stopped: Callable[[], bool] = going) -> bool:
    return forward(node.config.partners[partner], fake, node, stopped)


def drain(node: Node, fake: FakePartner, partner: str = "PUBPACS") -> int:
    """Forward until there is nothing to do; how many batches that took."""
    batches = 0
    while run(node, fake, partner):
        batches += 1
        assert batches < 100, "the lane never comes to an end"
    return batches


def ready(node: Node, count: int, *, seed: object = 0, **options: object) -> list[Sample]:
    """A complete study that waits for PUBPACS."""
    made = make_instances(count, seed=seed, **options)  # type: ignore[arg-type]
    fakes.receive_all(node, made)
    fakes.complete(node)
    return made


def transfers(node: Node, partner: str = "PUBPACS") -> list[Transfer]:
    with node.database.read():
        return ledger.listed(1000, partner=partner)


def states(node: Node, partner: str = "PUBPACS") -> list[str]:
    return [t.state for t in transfers(node, partner)]


def referral(node: Node) -> referrals.Referral:
    with node.database.read():
        return referrals.listed()[0]


def lane(node: Node, partner: str = "PUBPACS") -> lanes.Pause:
    with node.database.read():
        return lanes.paused(partner)


def advance(node: Node, seconds: float) -> None:
    assert isinstance(node.clock, fakes.FakeClock)
    node.clock.advance(seconds)


# -- what goes -------------------------------------------------------------------------------------------------


def test_a_complete_study_goes_on_one_association_bit_for_bit(here: Node) -> None:
    made, fake = ready(here, 5), FakePartner()
    assert drain(here, fake) == 1
    assert [(s.sop_instance_uid, s.dataset, s.partner) for s in fake.sent] == [
        (m.sop_instance, m.dataset, "PUBPACS") for m in made
    ]
    assert all(s.originator is None for s in fake.sent)
    assert fake.contexts == [((made[0].sop_class, EXPLICIT),)]
    assert (fake.released, fake.aborted) == (1, 0)
    assert [(t.state, t.attempts, t.last_status) for t in transfers(here)] == [(State.DELIVERED, 1, 0)] * 5
    found = referral(here)
    assert (found.progress, found.state, found.delivered, found.sent_at) == ("sent", "sent", 5, here.clock())
    with here.database.read():
        kinds = [event.kind for event in audit.events(referral=found.id)]
    assert kinds == ["referral opened", "referral complete", "sending begins", "instances sent", "referral sent"]


def test_nothing_goes_before_the_quiet_time_has_passed(here: Node) -> None:
    fakes.receive_all(here, make_instances(2))
    fake = FakePartner()
    advance(here, 59)
    assert completing.complete(here, fakes.FakeCallers()) == 0
    assert not run(here, fake)
    advance(here, 2)
    assert completing.complete(here, fakes.FakeCallers()) == 1
    assert drain(here, fake) == 1
    assert len(fake.sent) == 2


def test_image_by_image_goes_at_once_and_is_sent_in_the_end(build: Callable[..., Node]) -> None:
    node, fake = build(fakes.CONFIG.replace("wait: 60s", "wait: 0s")), FakePartner()
    for sample in make_instances(2):
        fakes.receive(node, sample)
        assert drain(node, fake) == 1
    assert len(fake.sent) == 2
    assert fakes.complete(node, 0) == 1
    assert referral(node).state == "sent"
    late = make_instances(3)[2]
    fakes.receive(node, late)
    drain(node, fake)
    fakes.complete(node, 0)
    assert (len(fake.sent), referral(node).state) == (3, "sent")


def test_a_large_study_goes_in_batches(here: Node) -> None:
    ready(here, 201)
    fake = FakePartner()
    assert drain(here, fake) == 2
    assert len(set(fake.uids)) == 201
    assert referral(here).state == "sent"


@pytest.mark.parametrize(
    ("transcode", "syntax", "sizes"),
    [
        ("never", "1.2.840.10008.1.2.1", [64, 64, 2]),  # each in its own syntax, and in another
        ("decompress", "1.2.840.10008.1.2.5", [64, 64, 2]),
    ],
)
def test_more_contexts_than_one_association_has_are_proposed_on_several(
    build: Callable[..., Node], transcode: str, syntax: str, sizes: list[int]
) -> None:
    classes = [f"1.2.826.0.1.3680043.9.9999.{n}" for n in range(1, 131)]
    config = fakes.CONFIG.replace("data: ./data,", f"data: ./data, storage_classes: {json.dumps(classes)},")
    config = config.replace("host: 10.9.0.5, port: 104", f"host: 10.9.0.5, port: 104, transcode: {transcode}")
    node, fake = build(config), FakePartner()
    made = make_instances(130)
    fakes.receive_all(node, made)
    number = iter(classes)
    with node.database.read():
        ids = [i for (i,) in rows("SELECT id FROM instances")]
    node.database.write(
        lambda: [
            execute(
                "UPDATE instances SET sop_class_uid = ?, transfer_syntax_uid = ? WHERE id = ?", next(number), syntax, i
            )
            for i in ids
        ]
    )
    fakes.complete(node)
    assert drain(node, fake) == 1
    assert [len(pairs) for pairs in fake.contexts] == sizes
    assert len(set(fake.uids)) == 130


# -- the partner fails: its lane waits, nobody is charged -------------------------------------------------------


@pytest.mark.parametrize("switch", ["unreachable", "rejected"])
def test_a_partner_that_cannot_be_reached_pauses_its_lane(here: Node, switch: str) -> None:
    ready(here, 3)
    fake = FakePartner(**{switch: True})  # type: ignore[arg-type]
    assert drain(here, fake) == 1
    assert [(t.state, t.attempts) for t in transfers(here)] == [(State.QUEUED, 0)] * 3
    first = lane(here)
    assert 26 * SECOND <= first.until - here.clock() <= 34 * SECOND
    assert first.reason
    with here.database.read():
        assert [e.kind for e in audit.events()][-1] == "lane paused"
    assert not run(here, fake)  # it waits

    advance(here, 35)
    drain(here, fake)
    assert lane(here).failures == 2
    advance(here, 200)
    drain(here, fake)
    assert lane(here).until - here.clock() > 170 * SECOND  # the longer it fails, the longer it waits
    with here.database.read():
        assert [e.kind for e in audit.events()].count("lane paused") == 1
    assert [t.attempts for t in transfers(here)] == [0] * 3


def test_a_paused_lane_half_opens_with_one_instance(here: Node) -> None:
    ready(here, 3)
    fake = FakePartner(unreachable=True)
    drain(here, fake)
    advance(here, 35)
    fake.unreachable = False
    run(here, fake)
    assert len(fake.sent) == 1
    assert lane(here).failures == 0
    assert drain(here, fake) == 1  # then all the rest
    assert (len(fake.sent), referral(here).state) == (3, "sent")


def test_one_partner_s_failure_delays_nobody_else(build: Callable[..., Node]) -> None:
    node = build(fakes.CONFIG.replace("to: [PUBPACS]", "to: [PUBPACS, ISLPACS]"))
    ready(node, 2)
    assert drain(node, FakePartner(unreachable=True)) == 1
    fake = FakePartner()
    assert drain(node, fake, "ISLPACS") == 1
    assert states(node, "ISLPACS") == [State.DELIVERED] * 2
    assert states(node, "PUBPACS") == [State.QUEUED] * 2


# -- the association is lost: only what was not answered goes back ----------------------------------------------


@pytest.mark.parametrize("switch", ["lose_at", "stray_at"])
def test_what_was_not_answered_goes_back(here: Node, switch: str) -> None:
    made, fake = ready(here, 4), FakePartner(**{switch: 3})  # type: ignore[arg-type]
    run(here, fake)
    assert states(here) == [State.DELIVERED, State.DELIVERED, State.QUEUED, State.QUEUED]
    assert fake.aborted == 1
    assert lane(here).until <= here.clock()  # it took something: the lane runs
    drain(here, fake)
    advance(here, 120)
    drain(here, FakePartner())
    assert states(here) == [State.DELIVERED] * 4
    assert fake.uids[:4] == [m.sop_instance for m in (*made[:3], made[3])]


def test_an_instance_at_which_the_partner_aborts_does_not_stop_the_others(here: Node) -> None:
    made = ready(here, 3)
    other = ready(here, 2, seed="other")
    fake = FakePartner(lose={made[0].sop_instance})
    for _ in range(20):
        drain(here, fake)
        advance(here, 20)
    delivered = {t.sop_instance_uid for t in transfers(here) if t.state == State.DELIVERED}
    assert delivered == {s.sop_instance for s in (*made[1:], *other)}
    poisoned = next(t for t in transfers(here) if t.sop_instance_uid == made[0].sop_instance)
    assert poisoned.state == State.QUEUED
    assert poisoned.attempts > 1
    assert poisoned.reason


# -- the instance fails: it follows its own status --------------------------------------------------------------

STATUSES = [  # status, state after one attempt, state after five
    (0x0000, State.DELIVERED, State.DELIVERED),
    (0xB000, State.DELIVERED, State.DELIVERED),
    (0xB006, State.DELIVERED, State.DELIVERED),
    (0xB007, State.DELIVERED, State.DELIVERED),
    (0xA700, State.QUEUED, State.QUEUED),
    (0xA900, State.QUEUED, State.HELD),
    (0xC000, State.QUEUED, State.HELD),
    (0x0117, State.QUEUED, State.HELD),
    (0x0122, State.HELD, State.HELD),
    (0x0124, State.HELD, State.HELD),
    (0x0111, State.DELIVERED, State.DELIVERED),
    (0x0110, State.QUEUED, State.QUEUED),
    (0x0211, State.QUEUED, State.HELD),
    (0x1234, State.QUEUED, State.QUEUED),
]


@pytest.mark.parametrize(("status", "once", "often"), STATUSES)
def test_an_instance_follows_its_own_status(here: Node, status: int, once: State, often: State) -> None:
    bad, good = ready(here, 2)
    fake = FakePartner(statuses={bad.sop_instance: status})
    drain(here, fake)
    found = {t.sop_instance_uid: t for t in transfers(here)}
    assert (found[bad.sop_instance].state, found[bad.sop_instance].last_status) == (once, status)
    assert found[good.sop_instance].state == State.DELIVERED
    assert lane(here).until <= here.clock()
    for _ in range(4):
        advance(here, 7300)
        drain(here, fake)
    (after,) = (t for t in transfers(here) if t.sop_instance_uid == bad.sop_instance)
    assert after.state == often
    assert referral(here).state == {"delivered": "sent", "held": "failed", "queued": "sending"}[often]
    assert after.attempts == fake.uids.count(bad.sop_instance)
    if often is State.HELD:
        assert f"{status:04X}H" in after.reason


def test_what_the_partner_accepts_no_context_for_is_held_and_the_rest_goes(here: Node) -> None:
    ct = make_instances(2, seed="mixed")
    mr = make_instances(1, seed="mixed", modality="MR", study_uid=ct[0].study, series=2)
    fakes.receive_all(here, [*ct, *mr])
    fakes.complete(here)
    drain(here, FakePartner(refused={(MR, EXPLICIT)}))
    assert states(here) == [State.DELIVERED, State.DELIVERED, State.HELD]
    assert "does not accept" in transfers(here)[2].reason
    assert referral(here).state == "failed"
    here.database.write(lambda: queue.release([transfers(here)[2].transfer], here.clock()))
    drain(here, FakePartner())
    assert referral(here).state == "sent"


def test_a_file_that_is_gone_is_held_and_the_rest_goes(here: Node) -> None:
    ready(here, 3)
    with here.database.read():
        ((file,),) = rows("SELECT file FROM instances ORDER BY id LIMIT 1")
    here.archive.path(file).unlink()
    fake = FakePartner()
    drain(here, fake)
    assert states(here) == [State.HELD, State.DELIVERED, State.DELIVERED]
    assert "missing" in transfers(here)[0].reason


def test_what_is_held_keeps_no_other_from_being_proven_and_is_not_looked_at_by_each_claim(here: Node) -> None:
    bad, *_ = ready(here, 3)
    fake = FakePartner(statuses={bad.sop_instance: 0x0122})
    drain(here, fake)
    found = referral(here)
    assert (found.progress, found.state, found.delivered, found.held) == ("sent", "failed", 2, 1)
    with here.database.read():
        assert rows("SELECT id FROM referrals WHERE partner = 'PUBPACS' AND " + queue.READY) == []
    assert prove(here.config.partners["PUBPACS"], fake, here, going)
    found = referral(here)
    assert (found.progress, found.state, found.confirmed) == ("sent", "failed", 2)
    fake.statuses.clear()
    here.database.write(lambda: queue.release([transfers(here)[0].transfer], here.clock()))
    assert referral(here).state == "sending"
    drain(here, fake)
    assert prove(here.config.partners["PUBPACS"], fake, here, going)
    assert referral(here).state == "confirmed"


def test_a_file_that_cannot_be_read_just_now_is_tried_again(here: Node) -> None:
    ready(here, 2)

    def fails(_: object) -> None:
        fake.on_send = lambda _: None
        raise Unreadable("our own file cannot be read: Too many open files")

    fake = FakePartner(on_send=fails)
    drain(here, fake)
    assert states(here) == [State.QUEUED, State.DELIVERED]
    assert "Too many open files" in transfers(here)[0].reason
    advance(here, 60)
    drain(here, fake)
    assert states(here) == [State.DELIVERED] * 2


def test_what_is_held_for_a_file_that_is_sound_goes_when_it_is_sent_again(here: Node) -> None:
    (made,) = ready(here, 1)
    here.database.write(lambda: execute("UPDATE transfers SET state = 'held', hold = 'file', reason = 'unreadable'"))
    fakes.receive(here, made)
    assert states(here) == [State.QUEUED]
    fakes.complete(here)
    drain(here, FakePartner())
    assert states(here) == [State.DELIVERED]


def test_three_studies_that_find_no_room_pause_the_lane(here: Node) -> None:
    for seed in range(4):
        ready(here, 1, seed=("short", seed))
    fake = FakePartner(status=0xA700)
    for running in (True, True, False):
        run(here, fake)
        assert (lane(here).until <= here.clock()) is running
    assert not run(here, fake)
    assert len(fake.sent) == 3
    assert "out of resources" in lane(here).reason
    fake.status = 0
    for _ in range(4):
        advance(here, 400)
        drain(here, fake)
    assert states(here) == [State.DELIVERED] * 4


def test_studies_that_find_no_room_now_and_then_pause_nothing(here: Node) -> None:
    for seed in range(5):
        made = ready(here, 1, seed=("now and then", seed))
        run(here, FakePartner(statuses={made[0].sop_instance: 0xA700 if seed % 2 else 0}))
        assert lane(here).until <= here.clock()


# -- direction, gates and stops ---------------------------------------------------------------------------------


def test_the_direction_is_checked_again_at_the_dial(build: Callable[..., Node]) -> None:
    ready(build(), 2)
    node, fake = build(fakes.CONFIG.replace("routes:", "flows: []\nroutes:").split("routes:")[0]), FakePartner()
    drain(node, fake)
    assert not fake.contexts  # nobody was called
    assert states(node) == [State.HELD, State.HELD]
    assert "no flow allows" in transfers(node)[0].reason


def test_a_site_that_is_no_longer_configured_sends_nothing_and_kills_nothing(build: Callable[..., Node]) -> None:
    ready(build(), 1)
    node, fake = build(fakes.CONFIG.replace("harbour", "haven")), FakePartner()
    drain(node, fake)
    assert not fake.contexts
    assert states(node) == [State.HELD]


def test_a_stop_in_the_middle_gives_back_what_was_not_begun(here: Node) -> None:
    ready(here, 5)
    fake = FakePartner()
    run(here, fake, stopped=lambda: len(fake.sent) == 2)
    assert len(fake.sent) == 2
    assert states(here) == [State.DELIVERED] * 2 + [State.QUEUED] * 3
    assert [t.attempts for t in transfers(here)] == [1, 1, 0, 0, 0]
    assert (fake.released, lane(here).failures) == (1, 0)


@pytest.mark.parametrize("close", ["hold", "quarantine"])
def test_a_gate_that_closes_stops_a_batch_that_is_under_way(here: Node, close: str) -> None:
    ready(here, 150)
    found = referral(here)

    def shut(_: object) -> None:
        if len(fake.sent) != 9:
            return
        if close == "hold":
            refer.hold([found.id], "wait", "anna", here)
        else:
            here.database.write(lambda: refer.quarantine(1, "doubt", here.clock(), here))

    fake = FakePartner(on_send=shut)
    assert drain(here, fake) == 1
    assert len(fake.sent) < 50
    assert set(states(here)) == {State.DELIVERED, State.QUEUED}
    if close == "hold":
        refer.release([found.id], "it is she", "anna", here)
    else:
        here.database.write(lambda: refer.end_doubt(1, "it is she", here.clock(), here))
    drain(here, fake)
    assert sorted(set(fake.uids)) == sorted(fake.uids)
    assert referral(here).state == "sent"


# -- the index fails ---------------------------------------------------------------------------------------------


def test_results_that_could_not_be_written_at_once_are_not_lost(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle of a batch: no claim may stay active for ever."""
    ready(here, 30)
    fake, write, refused = FakePartner(), Database.write, [0]

    def sometimes(self: Database, fn: Callable[[], object]) -> object:
        if len(fake.sent) >= 20 and refused[0] < 2:
            refused[0] += 1
            raise OutOfResources("the index cannot be written: disk full")
        return write(self, fn)

    monkeypatch.setattr(Database, "write", sometimes)
    monkeypatch.setattr(forward_module, "_AGAIN", 0.0)
    with pytest.raises(OutOfResources):  # the lane hears of it …
        run(here, fake)
    assert refused == [2]  # … once the end of the batch is written
    assert State.ACTIVE not in states(here)
    drain(here, fake)
    assert states(here) == [State.DELIVERED] * 30


def test_our_own_bug_gives_the_claims_back_and_is_not_hidden(here: Node) -> None:
    ready(here, 3)

    def bug(_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(here, FakePartner(on_send=bug))
    assert states(here) == [State.QUEUED] * 3
