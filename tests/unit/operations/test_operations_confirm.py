"""operations/confirm.py: sent is not confirmed, until the partner itself says that it has every instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from dicomnode.errors import RejectedForGood, UnknownTransaction
from dicomnode.operations import confirm, housekeep
from dicomnode.operations.confirm import hear, prove
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node, Reference, Report
from dicomnode.store import audit, ledger, proof, queue, referrals
from dicomnode.store.audit import Event
from dicomnode.store.database import one, rows
from dicomnode.store.referrals import Referral
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import Sample, make_instances

FIRST = 30
"""Seconds: fakes.CONFIG's retry_first."""
DAY = 86_400


def going() -> bool:
    return False


def by(confirm: str) -> str:
    """fakes.CONFIG, with what PUBPACS has under `confirm`."""
    return fakes.CONFIG.replace("PUBPACS:  {site: general,", f"PUBPACS:  {{confirm: {confirm}, site: general,")


def deliver(node: Node, fake: FakePartner, count: int = 3, *, seed: object = 0) -> list[Sample]:
    """A study that has been sent."""
    made = make_instances(count, seed=seed)
    fakes.receive_all(node, made)
    fakes.complete(node)
    send(node, fake)
    return made


def send(node: Node, fake: FakePartner) -> None:
    while forward(node.config.partners["PUBPACS"], fake, node, going):
        pass


def look(node: Node, fake: FakePartner, most: int = 10) -> int:
    """Prove what is due; how many looks that were."""
    for number in range(most):
        if not prove(node.config.partners["PUBPACS"], fake, node, going):
            return number
    raise AssertionError("the looks never come to an end")


def after(node: Node, seconds: float, fake: FakePartner) -> int:
    advance(node, seconds)
    return look(node, fake)


def advance(node: Node, seconds: float) -> None:
    assert isinstance(node.clock, fakes.FakeClock)
    node.clock.advance(seconds)


def only(node: Node) -> Referral:
    with node.database.read():
        return referrals.listed()[0]


def shown(node: Node) -> tuple[str, str, int]:
    it = only(node)
    return it.state, it.proof, it.confirmed


def events(node: Node, kind: str) -> list[Event]:
    with node.database.read():
        return [event for event in audit.events(1000) if event.kind == kind]


def alarms(node: Node) -> list[Event]:
    with node.database.read():
        return [event for event in audit.events(1000) if event.alarm]


def states(node: Node) -> list[str]:
    with node.database.read():
        return [each.state for each in ledger.listed(1000)]


def transfers(node: Node, state: str) -> list[int]:
    with node.database.read():
        return [each.transfer for each in ledger.listed(1000, state=state)]


def ask(node: Node, sql: str) -> Any:
    with node.database.read():
        return one(sql)[0]


# -- the ladder ------------------------------------------------------------------------------------------------

LADDER = [
    (set(), ["commitment"], "commitment"),
    ({"commitment"}, ["commitment", "find"], "find"),
    ({"commitment", "find"}, ["commitment", "find", "count"], "count"),
]


@pytest.mark.parametrize(("has_not", "questions", "means"), LADDER)
def test_a_study_is_confirmed_by_the_strongest_means_that_there_is(
    here: Node, has_not: set[str], questions: list[str], means: str
) -> None:
    fake = FakePartner(has_not=has_not)
    deliver(here, fake)
    assert shown(here) == ("sent", "", 0)
    assert look(here, fake) == 1
    assert fake.questions == questions
    assert shown(here) == ("confirmed", means, 3)
    assert only(here).confirmed_at == here.clock()
    assert [event.text for event in events(here, "referral confirmed")]
    deliver(here, fake, seed=1)  # what it has not is not asked for again
    look(here, fake)
    assert fake.questions == [*questions, means]
    assert shown(here)[:2] == ("confirmed", means)


@pytest.mark.parametrize("means", ["commitment", "find", "count"])
def test_a_fixed_means_is_the_only_one_asked(build: Callable[..., Node], means: str) -> None:
    node = build(by(f"{{by: {means}}}"))
    fake = FakePartner(has_not={means})
    deliver(node, fake)
    look(node, fake)
    assert fake.questions == [means]
    assert shown(node) == ("sent", "none", 0)
    fake.has_not.clear()
    after(node, DAY, fake)
    assert fake.questions == [means, means]
    assert shown(node) == ("confirmed", means, 3)


def test_statuses_are_a_proof_where_the_admin_says_so(build: Callable[..., Node]) -> None:
    node, fake = build(by("{by: status}")), FakePartner()
    deliver(node, fake)
    assert shown(node) == ("confirmed", "status", 3)
    assert look(node, fake) == 0
    assert fake.questions == []


def test_what_was_sent_before_the_admin_said_so_is_confirmed_at_the_next_start(build: Callable[..., Node]) -> None:
    node, fake = build(), FakePartner(has_not={"commitment", "find", "count"})
    deliver(node, fake)
    look(node, fake)
    node = build(by("{by: status}"), clock=node.clock)
    confirm.revive(node)
    look(node, fake)
    assert shown(node) == ("confirmed", "status", 3)


def test_it_is_asked_where_the_configuration_says(build: Callable[..., Node]) -> None:
    node = build(by('{find: "QUERY@10.9.0.7:105", commit: "KEEPER@10.9.0.8:106"}'))
    fake = FakePartner(has_not={"commitment", "find"})
    deliver(node, fake)
    look(node, fake)
    assert [(name, there.display) for name, there, _ in fake.asked] == [
        ("commitment", "KEEPER@10.9.0.8:106"),
        ("find", "QUERY@10.9.0.7:105"),
        ("count", "QUERY@10.9.0.7:105"),
    ]
    assert shown(node) == ("confirmed", "count", 3)


def test_a_means_that_fails_is_no_means_that_is_missing(here: Node) -> None:
    fake = FakePartner(declines={"commitment"}, has_not={"find", "count"})
    deliver(here, fake)
    look(here, fake)
    assert shown(here) == ("sent", "", 0)
    assert "0110H" in only(here).reason
    fake.declines.clear()
    after(here, 40, fake)
    assert shown(here) == ("confirmed", "commitment", 3)


# -- a partner that cannot, or cannot be reached ---------------------------------------------------------------


def test_a_partner_without_means_is_asked_once_a_day(here: Node) -> None:
    fake = FakePartner(has_not={"commitment", "find", "count"})
    for seed in range(3):
        deliver(here, fake, seed=seed)
        look(here, fake)
    assert fake.questions == ["commitment", "find", "count"]
    with here.database.read():
        found = referrals.listed()
    assert [(it.state, it.proof, it.reason) for it in found] == [("sent", "none", "PUBPACS cannot confirm")] * 3
    after(here, DAY, fake)
    assert fake.questions == 2 * ["commitment", "find", "count"]
    assert look(here, fake) == 0


def test_what_a_partner_has_got_meanwhile_proves_all_that_it_was_sent(here: Node) -> None:
    fake = FakePartner(has_not={"commitment", "find", "count"})
    for seed in range(3):
        deliver(here, fake, seed=seed)
        look(here, fake)
    fake.has_not.remove("find")
    confirm.revive(here)  # as a reload does
    look(here, fake)
    with here.database.read():
        assert {(it.state, it.proof) for it in referrals.listed()} == {("confirmed", "find")}
    assert fake.questions == ["commitment", "find", "count", "commitment", "find", "find", "find"]


def test_a_partner_that_gets_a_stronger_means_is_found_out_within_a_day(here: Node) -> None:
    fake = FakePartner(has_not={"commitment"})
    for seed in range(4):  # every eight hours
        deliver(here, fake, seed=seed)
        look(here, fake)
        advance(here, DAY / 3)
        fake.has_not.clear()
    assert fake.questions == ["commitment", "find", "find", "find", "commitment"]


def test_a_query_without_a_number_is_no_proof(here: Node) -> None:
    fake = FakePartner(has_not={"commitment", "find"}, counts=False)
    deliver(here, fake)
    look(here, fake)
    assert shown(here) == ("sent", "none", 0)


def test_not_to_reach_a_partner_is_no_answer(here: Node) -> None:
    fake = FakePartner()
    deliver(here, fake)
    deliver(here, fake, seed=1)
    fake.unreachable = True
    assert look(here, fake) == 1  # nor is it dialled for the other
    assert fake.questions == ["commitment"]
    assert shown(here) == ("sent", "", 0)
    assert "Connection refused" in only(here).reason
    assert ask(here, "SELECT max(looks) FROM referrals") == 0
    fake.unreachable = False
    after(here, 200, fake)
    assert shown(here) == ("confirmed", "commitment", 3)


def test_a_partner_that_rejects_us_for_good_at_one_title_is_asked_at_the_other(build: Callable[..., Node]) -> None:
    node, fake = build(by('{commit: "KEEPER@10.9.0.8:106"}')), FakePartner()
    deliver(node, fake)
    deliver(node, fake, seed=1)

    def reject(name: str) -> None:
        if name == "commitment":
            raise RejectedForGood("rejected: calling AE title not recognized")

    fake.on_ask = reject
    look(node, fake)
    assert fake.questions == ["commitment", "find", "find"]
    assert shown(node) == ("confirmed", "find", 3)


def test_it_waits_longer_the_longer_a_partner_is_away(here: Node) -> None:
    fake = FakePartner(has_not={"commitment"})
    deliver(here, fake)
    fake.unreachable = True
    for _ in range(12 * 6):
        after(here, 600, fake)
    assert 8 < len(fake.questions) < 30


# -- what it lacks ---------------------------------------------------------------------------------------------


def test_what_it_has_not_indexed_yet_is_looked_for_later(here: Node) -> None:
    fake = FakePartner(has_not={"commitment"})
    made = make_instances(3)
    fake.lacks = {made[1].sop_instance}
    deliver(here, fake)
    look(here, fake)
    assert shown(here) == ("sent", "", 2)
    assert "lacks 1" in only(here).reason
    assert after(here, 2 * FIRST - 1, fake) == 0
    fake.lacks.clear()
    assert after(here, 1, fake) == 1
    assert shown(here) == ("confirmed", "find", 3)
    assert len(fake.sent) == 3


def lacking(node: Node, fake: FakePartner) -> None:
    """A first look, and two delayed ones."""
    assert look(node, fake) == 1
    assert after(node, 2 * FIRST, fake) == 1
    assert after(node, 20 * FIRST, fake) == 1


@pytest.mark.parametrize("has_not", [set(), {"commitment"}])
def test_what_it_lacks_at_two_delayed_looks_is_sent_again(here: Node, has_not: set[str]) -> None:
    fake = FakePartner(has_not=has_not)
    made = make_instances(3)
    fake.lacks = {made[1].sop_instance}
    deliver(here, fake)
    lacking(here, fake)
    assert states(here) == ["delivered", "queued", "delivered"]
    assert only(here).state == "sending"
    fake.lacks.clear()
    send(here, fake)
    assert fake.uids[3:] == [made[1].sop_instance]
    look(here, fake)
    assert shown(here)[0] == "confirmed"
    (event,) = events(here, "lacking instances sent again")
    assert not event.alarm


def test_what_it_lacks_after_two_resends_is_held_with_an_alarm(here: Node, caplog: pytest.LogCaptureFixture) -> None:
    fake = FakePartner(has_not={"commitment"})
    made = make_instances(3)
    fake.lacks = {made[1].sop_instance}
    deliver(here, fake)
    for sendings in (4, 5):
        lacking(here, fake)
        send(here, fake)
        assert len(fake.sent) == sendings
    lacking(here, fake)
    assert states(here) == ["delivered", "held", "delivered"]
    assert only(here).state == "failed"
    assert "dicomnode queue retry --partner PUBPACS" in only(here).reason
    (alarm,) = events(here, "lacking instances held")
    assert alarm.alarm
    assert [record.levelname for record in caplog.records if "held" in record.message] == ["CRITICAL"]
    fake.lacks.clear()  # a person has seen to it
    here.database.write(lambda: queue.release(transfers(here, "held"), here.clock()))
    send(here, fake)
    look(here, fake)
    assert shown(here) == ("confirmed", "find", 3)


@pytest.mark.parametrize("means", ["commitment", "find", "count"])
def test_what_was_sent_long_ago_is_never_sent_again(here: Node, means: str) -> None:
    fake = FakePartner(has_not={"commitment", "find", "count"} - {means})
    for seed in range(3):
        fake.lacks |= {each.sop_instance for each in deliver(here, fake, 2, seed=seed)}
    here.database.write(lambda: rows("UPDATE referrals SET look_at = NULL"))  # as another version has left it
    advance(here, 400 * DAY)
    for _ in range(2):
        confirm.revive(here)
        for _ in range(10):
            after(here, 3600, fake)
            send(here, fake)
    assert len(fake.sent) == 6
    with here.database.read():
        found = referrals.listed()
    assert [it.progress for it in found] == ["sent"] * 3
    assert all("long after it was sent" in it.reason and "referrals resend" in it.reason for it in found)
    assert alarms(here) == []


def test_what_was_sent_long_ago_and_comes_again_is_sent_again(here: Node) -> None:
    fake = FakePartner(has_not={"commitment"})
    made = deliver(here, fake)
    look(here, fake)
    advance(here, 400 * DAY)
    fake.lacks = {made[1].sop_instance}
    fakes.receive_all(here, made)
    assert after(here, 61, fake) == 1
    assert after(here, 2 * FIRST, fake) == 1
    assert after(here, 20 * FIRST, fake) == 1
    send(here, fake)
    assert fake.uids[3:] == [made[1].sop_instance]


def test_what_cannot_be_held_is_no_alarm_and_is_looked_at_no_more(here: Node) -> None:
    fake = FakePartner(has_not={"commitment"})
    made = make_instances(3)
    fake.lacks = {made[1].sop_instance}
    deliver(here, fake)
    here.database.write(lambda: rows("UPDATE referrals SET resent = 2"))
    sql = "UPDATE instances SET current = 0 WHERE sop_instance_uid = ?"
    here.database.write(lambda: rows(sql, made[1].sop_instance))
    lacking(here, fake)
    assert look(here, fake) == 0
    assert alarms(here) == []
    assert "another version" in only(here).reason


def test_a_late_image_has_resends_of_its_own(here: Node) -> None:
    fake = FakePartner(has_not={"commitment"})
    made = make_instances(4)
    fake.lacks = {made[1].sop_instance}
    deliver(here, fake)
    for _ in range(2):
        lacking(here, fake)
        send(here, fake)
    assert ask(here, "SELECT resent FROM referrals") == 2
    fakes.receive(here, made[3])
    assert ask(here, "SELECT resent FROM referrals") == 0
    fakes.complete(here)
    send(here, fake)
    fake.lacks = {made[3].sop_instance}
    lacking(here, fake)
    assert states(here).count("held") == 0
    send(here, fake)
    assert fake.uids[-1] == made[3].sop_instance


def test_a_clock_that_was_ahead_delays_no_proof(here: Node) -> None:
    fake = FakePartner(commits="late")
    advance(here, 400 * DAY)
    deliver(here, fake)
    look(here, fake)
    advance(here, -400 * DAY)
    assert look(here, fake) == 0
    housekeep.tidy(here, fakes.FakeCallers())
    fake.commits = "at once"
    assert look(here, fake) == 1
    assert shown(here) == ("confirmed", "commitment", 3)


def test_no_time_that_can_be_is_taken_for_that_of_a_clock_that_was_ahead(build: Callable[..., Node]) -> None:
    node, fake = build(by("{within: 3d}")), FakePartner(commits="late")
    deliver(node, fake)
    look(node, fake)
    waits = ask(node, "SELECT look_at FROM referrals")
    housekeep.tidy(node, fakes.FakeCallers())
    assert ask(node, "SELECT look_at FROM referrals") == waits == node.clock() + 3 * DAY * fakes.SECOND


def test_a_count_that_is_smaller_proves_nothing_of_the_study(here: Node) -> None:
    fake = FakePartner(has_not={"commitment", "find"})
    fake.lacks = {make_instances(3)[1].sop_instance}
    deliver(here, fake)
    look(here, fake)
    assert shown(here) == ("sent", "", 0)
    assert "counts 2 of 3" in only(here).reason
    after(here, 2 * FIRST, fake)
    after(here, 20 * FIRST, fake)
    assert states(here) == ["queued"] * 3


def test_a_count_that_is_greater_will_do(here: Node) -> None:
    fake = FakePartner(has_not={"commitment", "find"})
    deliver(here, fake, 2, seed="other")
    look(here, fake)
    deliver(here, fake)
    look(here, fake)
    assert shown(here) == ("confirmed", "count", 3)


def test_what_was_not_accepted_leaves_the_study_sent(here: Node) -> None:
    made = make_instances(3)
    fake = FakePartner(statuses={made[0].sop_instance: 0x0122})
    deliver(here, fake)
    here.database.write(lambda: queue.drop(transfers(here, "held"), "not wanted", here.clock()))
    here.database.write(lambda: referrals.settle(1, here.clock()))
    look(here, fake)
    found = only(here)
    assert (found.progress, found.proof, found.confirmed, found.dropped) == ("sent", "commitment", 2, 1)
    assert after(here, 2 * DAY, fake) == 0
    assert len(fake.questions) == 1


def test_what_is_skipped_is_no_obstacle(build: Callable[..., Node]) -> None:
    made = make_instances(3)
    node = build(fakes.CONFIG.replace("PUBPACS:  {", f'PUBPACS:  {{skip_classes: ["{made[0].sop_class}"], '))
    fakes.receive_all(node, [made[0], *make_instances(1, modality="MR", study_uid=made[0].study, series=2)])
    fakes.complete(node)
    fake = FakePartner()
    send(node, fake)
    look(node, fake)
    assert sorted(states(node)) == ["delivered", "skipped"]
    assert shown(node) == ("confirmed", "commitment", 1)


def test_a_late_image_reopens_what_was_confirmed(here: Node) -> None:
    fake = FakePartner()
    made = make_instances(4)
    deliver(here, fake)
    look(here, fake)
    fakes.receive(here, made[3])
    found = only(here)
    assert (found.state, found.proof, found.confirmed_at) == ("receiving", "", None)
    fakes.complete(here)
    send(here, fake)
    assert shown(here) == ("sent", "", 3)
    look(here, fake)
    assert shown(here) == ("confirmed", "commitment", 4)
    assert fake.asked[-1][2] == (made[3].sop_instance,)  # the others are proven


def test_what_is_receiving_again_does_not_say_what_was_waited_for(here: Node) -> None:
    fake = FakePartner(commits="never")
    deliver(here, fake)
    look(here, fake)
    assert only(here).reason
    fakes.receive(here, make_instances(4)[3])
    assert not only(here).reason


def test_an_image_that_comes_while_the_partner_is_asked_is_not_confirmed_with_the_others(here: Node) -> None:
    made = make_instances(4)
    fake = FakePartner(has_not={"commitment"})
    deliver(here, fake)
    fake.on_ask = lambda name: fakes.receive(here, made[3]) and None if name == "find" else None
    look(here, fake)
    assert shown(here) == ("receiving", "", 3)


# -- Storage Commitment ----------------------------------------------------------------------------------------


def pubpacs(node: Node) -> Any:
    return node.config.partners["PUBPACS"]


def test_a_result_that_comes_later_confirms(here: Node) -> None:
    fake = FakePartner(commits="late")
    deliver(here, fake)
    look(here, fake)
    assert shown(here) == ("sent", "", 0)
    assert only(here).reason == "a commitment result is awaited"
    assert after(here, 3500, fake) == 0
    hear(fake.late[0], pubpacs(here), here)
    assert shown(here) == ("confirmed", "commitment", 3)
    hear(fake.late[0], pubpacs(here), here)  # a duplicate
    assert after(here, 200, fake) == 0
    assert shown(here) == ("confirmed", "commitment", 3)


def test_a_transaction_is_durable_before_it_is_asked_for(here: Node) -> None:
    fake = FakePartner(commits="late")
    deliver(here, fake)
    fake.on_ask = lambda _: seen.append(ask(here, "SELECT count(*) FROM commitments WHERE state = 'asked'"))
    seen: list[int] = []
    look(here, fake)
    assert seen == [1]


def test_a_result_may_come_before_the_answer_to_the_request(here: Node) -> None:
    fake = FakePartner(commits="never")
    made = deliver(here, fake)
    references = tuple(Reference(each.sop_class, each.sop_instance) for each in made)

    def quick(_: str) -> None:
        uid = ask(here, "SELECT transaction_uid FROM commitments")
        hear(Report(uid, references), pubpacs(here), here)

    fake.on_ask = quick
    look(here, fake)
    assert shown(here) == ("confirmed", "commitment", 3)


def test_a_result_that_does_not_come_is_an_alarm_once_and_the_next_means_is_tried(here: Node) -> None:
    fake = FakePartner(commits="never")
    deliver(here, fake)
    deliver(here, fake, seed=1)
    look(here, fake)
    after(here, 3601, fake)
    assert fake.questions == ["commitment", "commitment", "find", "find"]
    with here.database.read():
        assert [(it.state, it.proof) for it in referrals.listed()] == [("confirmed", "find")] * 2
    assert [event.alarm for event in events(here, "commitment overdue")] == [True, False]
    deliver(here, fake, seed=2)
    look(here, fake)
    assert fake.questions[4:] == ["find"]


def test_a_partner_that_has_nothing_but_silence_is_asked_again_the_next_day(here: Node) -> None:
    fake = FakePartner(commits="never", has_not={"find", "count"})
    deliver(here, fake)
    look(here, fake)
    after(here, 3601, fake)
    assert shown(here) == ("sent", "none", 0)
    fake.commits = "at once"
    assert after(here, DAY - 10, fake) == 0
    after(here, 10, fake)
    assert shown(here) == ("confirmed", "commitment", 3)


def test_a_late_result_still_proves_what_it_commits_to(build: Callable[..., Node]) -> None:
    node, fake = build(by("{by: commitment}")), FakePartner(commits="late")
    deliver(node, fake)
    look(node, fake)
    after(node, 3601, fake)
    assert shown(node)[0] == "sent"
    hear(fake.late[0], pubpacs(node), node)
    assert shown(node) == ("confirmed", "commitment", 3)


def test_a_late_result_says_nothing_of_what_was_sent_again_since(here: Node) -> None:
    fake = FakePartner(commits="late")
    deliver(here, fake)
    look(here, fake)
    fake.commits, fake.has_not = "never", {"find", "count"}
    after(here, 3601, fake)  # expired
    here.database.write(lambda: queue.lacks(transfers(here, "delivered"), here.clock()))
    advance(here, 5)
    send(here, fake)
    hear(fake.late[0], pubpacs(here), here)
    assert shown(here) == ("sent", "", 0)


def test_a_failure_is_a_look_that_found_it_lacking(here: Node) -> None:
    made = make_instances(3)
    fake = FakePartner(commits="late", lacks={made[2].sop_instance})
    deliver(here, fake)
    look(here, fake)
    hear(fake.late[0], pubpacs(here), here)
    assert shown(here) == ("sent", "", 2)
    assert "no such object instance (0112H)" in only(here).reason
    assert ask(here, "SELECT looks FROM referrals") == 1
    with here.database.read():
        assert rows("SELECT failure FROM commitment_instances WHERE failure IS NOT NULL") == [(0x0112,)]
    after(here, 2 * FIRST, fake)
    assert fake.asked[-1][2] == (made[2].sop_instance,)
    hear(fake.late[1], pubpacs(here), here)
    after(here, 20 * FIRST, fake)
    hear(fake.late[2], pubpacs(here), here)
    assert states(here) == ["delivered", "delivered", "queued"]


def test_a_late_failure_is_no_look(build: Callable[..., Node]) -> None:
    node, fake = build(by("{by: commitment}")), FakePartner(commits="late", lacks={make_instances(3)[2].sop_instance})
    deliver(node, fake)
    look(node, fake)
    after(node, 3601, fake)
    hear(fake.late[0], pubpacs(node), node)
    assert ask(node, "SELECT looks FROM referrals") == 0
    assert shown(node) == ("sent", "", 2)


def test_a_result_that_comes_again_proves_nothing_that_is_asked_again(here: Node) -> None:
    fake = FakePartner(commits="late", lacks={make_instances(3)[2].sop_instance})
    made = deliver(here, fake)
    look(here, fake)
    hear(fake.late[0], pubpacs(here), here)
    assert shown(here) == ("sent", "", 2)
    fakes.receive(here, made[0])  # the radiographer has sent it again
    assert shown(here) == ("sent", "", 1)
    hear(fake.late[0], pubpacs(here), here)
    assert shown(here) == ("sent", "", 1)


def test_a_failure_that_comes_twice_is_one_look(here: Node) -> None:
    fake = FakePartner(commits="late", lacks={make_instances(3)[2].sop_instance})
    deliver(here, fake)
    look(here, fake)
    for _ in range(4):
        hear(fake.late[0], pubpacs(here), here)
    assert ask(here, "SELECT looks FROM referrals") == 1
    assert states(here) == ["delivered"] * 3


def test_a_failure_that_comes_before_the_answer_to_the_request_is_not_waited_for(here: Node) -> None:
    fake = FakePartner(commits="never")
    made = deliver(here, fake)
    references = tuple(Reference(each.sop_class, each.sop_instance) for each in made)

    def quick(_: str) -> None:
        uid = ask(here, "SELECT transaction_uid FROM commitments ORDER BY id DESC LIMIT 1")
        hear(Report(uid, references[1:], ((references[0], 0x0110),)), pubpacs(here), here)

    fake.on_ask = quick
    look(here, fake)
    assert shown(here) == ("sent", "", 2)
    fake.on_ask, fake.commits = lambda _: None, "at once"
    assert after(here, 2 * FIRST, fake) == 1
    assert shown(here) == ("confirmed", "commitment", 3)


def test_a_result_tells_that_others_can_be_proven_too(here: Node) -> None:
    fake = FakePartner(commits="never", has_not={"find", "count"})
    deliver(here, fake)
    look(here, fake)
    after(here, 3601, fake)
    assert shown(here) == ("sent", "none", 0)
    fake.commits = "at once"
    deliver(here, fake, seed=1)
    assert look(here, fake) == 2
    with here.database.read():
        assert [(it.state, it.proof) for it in referrals.listed()] == [("confirmed", "commitment")] * 2


def test_a_partner_that_falls_silent_is_asked_by_the_next_means_after_the_second_time(here: Node) -> None:
    fake = FakePartner()
    deliver(here, fake)
    look(here, fake)
    fake.commits = "never"
    for seed in (1, 2):
        deliver(here, fake, seed=seed)
        look(here, fake)
        after(here, 3601, fake)
    deliver(here, fake, seed=3)
    look(here, fake)
    assert fake.questions == ["commitment", "commitment", "find", "commitment", "find", "find"]


STRANGE = {
    "of another transaction": lambda r: Report("1.2.3", r.committed),
    "that leaves one out": lambda r: Report(r.transaction_uid, r.committed[1:]),
    "with one too many": lambda r: Report(r.transaction_uid, (*r.committed, Reference("1.2", "1.2.3"))),
    "with one twice": lambda r: Report(r.transaction_uid, r.committed, ((r.committed[0], 0x0112),)),
    "of another SOP class": lambda r: Report(
        r.transaction_uid, (*r.committed[1:], Reference("1.2", r.committed[0].sop_instance_uid))
    ),
    "of nothing": lambda r: Report(r.transaction_uid, ()),
}


@pytest.mark.parametrize("change", STRANGE.values(), ids=STRANGE.keys())
def test_a_result_that_is_not_what_was_asked_for_is_refused(here: Node, change: Callable[[Report], Report]) -> None:
    fake = FakePartner(commits="late")
    deliver(here, fake)
    look(here, fake)
    with pytest.raises(UnknownTransaction) as refused:
        hear(change(fake.late[0]), pubpacs(here), here)
    assert refused.value.status == 0x0115
    assert shown(here) == ("sent", "", 0)
    assert ask(here, "SELECT proof FROM partners WHERE name = 'PUBPACS'") == ""
    assert len(events(here, "commitment result refused")) == 1
    hear(fake.late[0], pubpacs(here), here)
    assert shown(here)[0] == "confirmed"


def test_a_result_on_the_same_association_that_is_another_leaves_ours_open(here: Node) -> None:
    fake = FakePartner(other_transaction=True)
    deliver(here, fake)
    look(here, fake)
    assert shown(here) == ("sent", "", 0)
    assert len(events(here, "commitment result refused")) == 1
    uid, made = ask(here, "SELECT transaction_uid FROM commitments"), make_instances(3)
    hear(Report(uid, tuple(Reference(m.sop_class, m.sop_instance) for m in made)), pubpacs(here), here)
    assert shown(here) == ("confirmed", "commitment", 3)


def test_results_that_nobody_asked_for_fill_no_trail(here: Node) -> None:
    for minute in range(121):
        for name in ("PUBPACS", "ISLPACS"):
            with pytest.raises(UnknownTransaction):
                hear(Report(f"1.2.{minute}", ()), here.config.partners[name], here)
        advance(here, 60)
    assert len(events(here, "commitment result refused")) == 2 * 2


@pytest.mark.parametrize("sop_class", ["", "1.2.840.10008.5.1.4.1.1.4"])
def test_of_two_versions_that_were_delivered_the_current_one_is_named(here: Node, sop_class: str) -> None:
    """As a correction that a person chose leaves it; a second version may be of another SOP class."""
    fake = FakePartner()
    made = deliver(here, fake, 2)

    def corrected() -> None:
        columns = [name for _, name, *_ in rows("PRAGMA table_info(instances)")]
        same = ", ".join(name for name in columns if name not in ("id", "version", "file", "current", "sop_class_uid"))
        rows(
            f"INSERT INTO instances ({same}, version, file, current, sop_class_uid)"
            f" SELECT {same}, 2, 'other', 1, coalesce(nullif(?, ''), sop_class_uid) FROM instances WHERE id = 1",
            sop_class,
        )
        rows("UPDATE instances SET current = 0 WHERE id = 1")
        rows(
            "INSERT INTO transfers (referral, instance, partner, state, queued_at, due_at, finished_at)"
            " SELECT referral, 3, partner, state, queued_at, due_at, finished_at FROM transfers WHERE instance = 1"
        )

    here.database.write(corrected)
    references: list[Sequence[Reference]] = []
    commit = fake.commit
    fake.commit = lambda at, uid, named, over: references.append(named) or commit(at, uid, named, over)  # type: ignore[func-returns-value,method-assign]
    look(here, fake)
    (named,) = references
    assert {each.sop_instance_uid: each.sop_class_uid for each in named} == {
        made[0].sop_instance: sop_class or made[0].sop_class,
        made[1].sop_instance: made[1].sop_class,
    }
    assert len(named) == 2
    assert shown(here) == ("confirmed", "commitment", 3)


def test_a_result_counts_only_from_the_partner_or_whom_it_names(build: Callable[..., Node]) -> None:
    node, fake = build(), FakePartner(commits="late")
    deliver(node, fake)
    look(node, fake)
    with pytest.raises(UnknownTransaction):
        hear(fake.late[0], node.config.partners["PUB_WS"], node)
    assert shown(node)[0] == "sent"
    node = build(by("{results_from: [PUB_WS]}"), clock=node.clock)
    with pytest.raises(UnknownTransaction):
        hear(fake.late[0], node.config.partners["ISLPACS"], node)
    hear(fake.late[0], node.config.partners["PUB_WS"], node)
    assert shown(node)[0] == "confirmed"


def test_a_request_that_a_kill_cut_off_is_made_anew_and_is_no_alarm(here: Node) -> None:
    class Killed(BaseException):
        pass

    def kill(_: str) -> None:
        raise Killed

    fake = FakePartner()
    deliver(here, fake)
    fake.on_ask = kill
    with pytest.raises(Killed):
        look(here, fake)
    fake.on_ask = lambda _: None
    assert after(here, FIRST, fake) == 1
    assert shown(here) == ("confirmed", "commitment", 3)
    assert events(here, "commitment overdue") == []


def test_nothing_is_asked_of_a_referral_without_instances(here: Node) -> None:
    fake = FakePartner()
    deliver(here, fake)
    here.database.write(lambda: proof.look(1, here.clock()))
    with here.database.read():
        assert confirm.due(pubpacs(here), here.clock()) == here.clock()
    here.database.write(lambda: rows("DELETE FROM transfers"))
    assert look(here, fake) == 1
    assert fake.questions == []
    with here.database.read():
        assert confirm.due(pubpacs(here), here.clock()) is None


def test_a_stop_asks_nobody(here: Node) -> None:
    fake = FakePartner()
    deliver(here, fake)
    assert prove(pubpacs(here), fake, here, lambda: True)
    assert fake.questions == []
    look(here, fake)
    assert shown(here)[0] == "confirmed"


def test_what_an_older_version_has_sent_is_proven_too(here: Node) -> None:
    fake = FakePartner()
    deliver(here, fake)
    here.database.write(lambda: rows("UPDATE referrals SET look_at = NULL"))
    assert look(here, fake) == 0
    confirm.revive(here)
    look(here, fake)
    assert shown(here)[0] == "confirmed"


def test_a_clock_that_is_set_back_loses_no_result(here: Node) -> None:
    fake = FakePartner(commits="late")
    deliver(here, fake)
    advance(here, -DAY)
    here.database.write(lambda: proof.look(1, here.clock()))
    look(here, fake)
    hear(fake.late[0], pubpacs(here), here)
    assert shown(here) == ("confirmed", "commitment", 3)
