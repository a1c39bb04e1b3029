"""operations/refer.py: which study goes to whom, when it is complete, and what stops it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dicomnode.errors import UsageError
from dicomnode.operations import refer, withdraw
from dicomnode.operations.confirm import prove
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.store import audit, ledger, referrals
from dicomnode.store.referrals import Referral
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import Sample, make_instances

HEAD, TAIL = fakes.CONFIG.split("routes:\n")


def with_routes(*routes: str) -> str:
    """The usual configuration with these routes."""
    return HEAD + "routes:\n" + "".join(f"  - {{{route}}}\n" for route in routes)


def study(ct: int = 2, mr: int = 0, sr: int = 0, seed: object = "refer") -> list[list[Sample]]:
    """Instances of one study by modality."""
    uid = make_instances(1, seed=seed)[0].study
    parts = [("CT", ct), ("MR", mr), ("OT", sr)]
    return [
        make_instances(n, seed=seed, modality=m, study_uid=uid, series=s) if n else []
        for s, (m, n) in enumerate(parts, 1)
    ]


def referred(node: Node) -> list[Referral]:
    with node.database.read():
        return referrals.listed()


def only(node: Node) -> Referral:
    (one,) = referred(node)
    return one


def queued(node: Node, partner: str = "PUBPACS") -> set[str]:
    with node.database.read():
        return {t.sop_instance_uid for t in ledger.listed(1000, partner=partner)}


def uids(*groups: list[Sample]) -> set[str]:
    return {sample.sop_instance for group in groups for sample in group}


def drain(node: Node, fake: FakePartner | None = None) -> FakePartner:
    fake = fake or FakePartner()
    while forward(node.config.partners["PUBPACS"], fake, node, lambda: False):
        pass
    return fake


# -- who goes where --------------------------------------------------------------------------------------------


def test_what_no_route_chooses_stays(here: Node) -> None:
    fakes.receive_all(here, study()[0], called="REFERNODE")
    assert not referred(here)


def test_two_routes_that_choose_at_once_share_a_referral(build: Callable[..., Node]) -> None:
    node = build(with_routes("name: one, to: [PUBPACS], wait: 10s", "name: two, to: [PUBPACS, ISLPACS], wait: 60s"))
    ct, *_ = study(ct=2)
    fakes.receive_all(node, ct)
    assert {(r.partner, r.route, r.instances) for r in referred(node)} == {
        ("PUBPACS", "one, two", 2),
        ("ISLPACS", "two", 2),
    }


def test_a_late_match_takes_what_came_before(build: Callable[..., Node]) -> None:
    node = build(with_routes("name: scans, when: {modality: MR}, to: [PUBPACS], wait: 60s"))
    ct, mr, _ = study(ct=2, mr=1)
    fakes.receive_all(node, ct)
    assert not referred(node)
    fakes.receive_all(node, mr)
    assert queued(node) == uids(ct, mr)
    late = study(ct=3)[0][2:]
    fakes.receive_all(node, late)  # does not match by itself; its study does
    assert queued(node) == uids(ct, mr, late)


def test_only_selects_within_the_study(build: Callable[..., Node]) -> None:
    route = "name: scans, when: {called: TO_GENERAL}, only: {modality: MR}, to: [PUBPACS], wait: 60s"
    node = build(with_routes(route))
    ct, mr, _ = study(ct=2, mr=2)
    fakes.receive_all(node, [ct[0], mr[0], ct[1], mr[1]])
    assert queued(node) == uids(mr)


def test_a_referral_that_carries_nothing_comes_to_an_end(build: Callable[..., Node]) -> None:
    route = "name: scans, when: {called: TO_GENERAL}, only: {modality: MR}, to: [PUBPACS], wait: 60s"
    node = build(with_routes(route))
    ct, mr, _ = study(ct=1, mr=1)
    fakes.receive_all(node, ct)
    fakes.complete(node)
    assert (only(node).state, only(node).instances) == ("sent", 0)
    fakes.receive_all(node, mr, called="REFERNODE")
    fakes.complete(node)
    assert uids(mr) == set(drain(node).uids)


def test_two_routes_to_one_partner_send_what_either_carries(build: Callable[..., Node]) -> None:
    """MR came before the route that carries it chose the study, and again after it: neither is lost."""
    node = build(
        with_routes(
            "name: ct, when: {called: TO_GENERAL}, only: {modality: CT}, to: [PUBPACS], wait: 60s",
            "name: all, when: {modality: OT}, to: [PUBPACS], wait: 120s",
        )
    )
    ct, mr, other = study(ct=1, mr=2, sr=1)
    fakes.receive_all(node, [*ct, mr[0]])
    assert queued(node) == uids(ct)
    fakes.receive_all(node, [*other, mr[1]])
    assert queued(node) == uids(ct, mr, other)
    assert only(node).route == "ct, all"
    assert fakes.complete(node) == 0  # the longer of the two quiet times
    assert fakes.complete(node) == 1


def test_a_route_that_was_renamed_goes_on_with_the_study(build: Callable[..., Node]) -> None:
    first, second = study(ct=2)[0]
    fakes.receive(build(), first)
    node = build(fakes.CONFIG.replace("name: referrals", "name: to the hospital"))
    fakes.receive(node, second)
    assert queued(node) == uids([first, second])
    assert len(referred(node)) == 1


def test_each_partner_has_its_own_referral(build: Callable[..., Node]) -> None:
    node = build(with_routes("name: both, when: {called: TO_GENERAL}, to: [PUBPACS, ISLPACS], wait: 60s"))
    ct = study()[0]
    fakes.receive_all(node, ct)
    assert {r.partner for r in referred(node)} == {"PUBPACS", "ISLPACS"}
    assert queued(node) == queued(node, "ISLPACS") == uids(ct)


# -- late images -----------------------------------------------------------------------------------------------


def test_a_late_image_sends_the_difference(here: Node) -> None:
    ct = study(ct=3)[0]
    fakes.receive_all(here, ct[:2])
    fakes.complete(here)
    fake = drain(here)
    assert only(here).state == "sent"
    fakes.receive(here, ct[2])
    assert only(here).state == "receiving"
    assert drain(here, fake).uids == [s.sop_instance for s in ct[:2]]
    fakes.complete(here)
    assert drain(here, fake).uids == [s.sop_instance for s in ct]
    assert only(here).state == "sent"


@pytest.mark.parametrize("answer", [0x0000, 0xA700])
def test_an_image_that_comes_while_its_study_is_being_sent(here: Node, answer: int) -> None:
    ct = study(ct=4)[0]
    fakes.receive_all(here, ct[:3])
    fakes.complete(here)
    fake = FakePartner(statuses={ct[1].sop_instance: answer})
    fake.on_send = lambda _: fakes.receive(here, ct[3]) and None if len(fake.sent) == 1 else None
    drain(here, fake)
    assert only(here).state == "receiving"
    assert len(fake.sent) == 3
    fake.statuses = {}
    fakes.complete(here)
    drain(here, fake)
    fakes.complete(here, 3600)
    drain(here, fake)
    assert only(here).state == "sent"
    assert set(fake.uids) == uids(ct)


def test_an_image_of_a_study_that_was_sent_and_then_doubted_does_not_go(here: Node) -> None:
    first, late = study(ct=2)[0]
    fakes.receive(here, first)
    fakes.complete(here)
    fake = drain(here)
    here.database.write(lambda: refer.quarantine(1, "two patients", here.clock(), here))
    assert only(here).state == "sent"
    fakes.receive(here, late)
    fakes.complete(here)
    assert drain(here, fake).uids == [first.sop_instance]
    assert (only(here).state, only(here).reason) == ("quarantined", "two patients")
    here.database.write(lambda: refer.end_doubt(1, "one patient after all", here.clock(), here))
    assert drain(here, fake).uids == [first.sop_instance, late.sop_instance]


# -- gates -----------------------------------------------------------------------------------------------------


def test_a_hold_lasts_until_a_release(here: Node) -> None:
    fakes.receive_all(here, study()[0])
    number = only(here).id
    (held,) = refer.hold([number], "the patient asked", "anna", here)
    assert (held.state, held.reason) == ("held", "the patient asked")
    assert refer.hold([number], "again", "anna", here) == []
    fakes.complete(here)
    assert only(here).progress == "complete"
    assert not drain(here).sent
    (released,) = refer.release([number], "", "anna", here)
    assert (released.state, released.reason) == ("complete", "")
    assert refer.release([number], "", "anna", here) == []
    assert len(drain(here).sent) == 2
    with here.database.read():
        texts = [event.text for event in audit.events(referral=number) if "anna" in event.text]
    assert texts == ["held by anna: the patient asked", "released by anna: no reason given"]


@pytest.mark.parametrize(("word", "why"), [("hold", "is held"), ("withdraw", "was withdrawn")])
def test_what_a_person_says_at_one_ae_of_a_hospital_holds_what_a_route_opens_at_the_next(
    build: Callable[..., Node], word: str, why: str
) -> None:
    late = "{name: two, from: [harbour], when: {series_description: LATE}, to: [PUB_WS, ISLPACS], wait: 60s}"
    node = build(fakes.CONFIG + f"  - {late}\n")
    first = make_instances(1, seed="two AEs")
    fakes.receive_all(node, first)
    do = {"hold": refer.hold, "withdraw": withdraw.withdraw}[word]
    do([1], "wrong patient", "anna", node)
    fakes.receive_all(node, make_instances(2, seed="two AEs", SeriesDescription="LATE")[1:])
    fakes.complete(node)
    gates = {each.partner: (each.gate, each.reason) for each in referred(node)}
    assert gates["PUB_WS"] == ("held", f"referral 1 of the study to the same site {why}")
    assert gates["ISLPACS"] == ("open", "")


def test_a_hold_and_a_doubt_are_two_things(here: Node) -> None:
    """Whichever goes first leaves the other in force."""
    fakes.receive_all(here, study()[0])
    number = only(here).id
    fakes.complete(here)
    for first, second in (("hold", "doubt"), ("doubt", "hold")):
        for what in (first, second):
            if what == "hold":
                assert refer.hold([number], "the patient asked", "anna", here)
            else:
                here.database.write(lambda: refer.quarantine(1, "two patients", here.clock(), here))
        assert (only(here).state, only(here).reason) == ("quarantined", "two patients; the patient asked")
        for what in (first, second):
            if what == "hold":
                assert refer.release([number], "", "anna", here)
            else:
                here.database.write(lambda: refer.end_doubt(1, "one patient", here.clock(), here))
            left = {first: second, second: ""}[what]
            assert only(here).state == {"hold": "held", "doubt": "quarantined", "": "complete"}[left]
    assert len(drain(here).sent) == 2


def test_who_takes_a_hold_away_that_there_is_not_learns_what_stops_it(here: Node) -> None:
    fakes.receive_all(here, study()[0])
    here.database.write(lambda: refer.quarantine(1, "two patients", here.clock(), here))
    with pytest.raises(UsageError, match=r"two patients.*dicomnode quarantine release"):
        refer.release([only(here).id], "all is well", "anna", here)
    assert only(here).state == "quarantined"


def test_a_hold_wants_a_reason(here: Node) -> None:
    fakes.receive_all(here, study()[0])
    with pytest.raises(UsageError, match="--reason"):
        refer.hold([only(here).id], " ", "anna", here)
    assert only(here).state == "receiving"


@pytest.mark.parametrize(("doubt", "state"), [(refer.quarantine, "quarantined"), (refer.correct, "held")])
def test_a_doubt_stops_what_is_not_sent_at_all_partners(
    build: Callable[..., Node], doubt: Callable[..., None], state: str
) -> None:
    node = build(with_routes("name: both, when: {called: TO_GENERAL}, to: [PUBPACS, ISLPACS], wait: 60s"))
    fakes.receive_all(node, study()[0])
    fakes.complete(node)
    drain(node)
    node.database.write(lambda: doubt(1, "which?", node.clock(), node))
    assert {r.partner: r.state for r in referred(node)} == {"PUBPACS": "sent", "ISLPACS": state}
    with node.database.read():
        events = [(event.kind, event.text) for event in audit.events()]
    assert events[-1] == (f"referral {state}", "which?")
    node.database.write(lambda: refer.end_doubt(1, "that one", node.clock(), node))
    assert {r.state for r in referred(node)} == {"sent", "complete"}


# -- quiet time by modality ------------------------------------------------------------------------------------

WAITS = "name: scans, when: {called: TO_GENERAL}, to: [PUBPACS], wait: {CT: 60s, MR: 300s, default: 30s}"


CAME = [((0,), 60), ((2,), 30), ((0, 1), 300), ((1, 0), 300), ((1, 0, 1), 300)]
"""Which groups instances came of, and how long (s) the study waits after the last."""


@pytest.mark.parametrize(("groups", "seconds"), CAME)
def test_a_study_waits_as_long_as_its_slowest_modality(
    build: Callable[..., Node], groups: tuple[int, ...], seconds: int
) -> None:
    node = build(with_routes(WAITS))
    made = study(ct=1, mr=2, sr=1)
    taken = [iter(group) for group in made]
    fakes.receive_all(node, [next(taken[group]) for group in groups])
    fakes.complete(node, seconds - 1)
    assert only(node).progress == "receiving"
    fakes.complete(node, 1)
    assert only(node).progress == "complete"


def test_what_came_before_its_route_was_chosen_counts_for_the_quiet_time(build: Callable[..., Node]) -> None:
    node = build(with_routes(WAITS))
    ct, mr, _ = study(ct=1, mr=1)
    fakes.receive_all(node, mr, called="REFERNODE")
    fakes.receive_all(node, ct)
    fakes.complete(node, 299)
    assert only(node).progress == "receiving"


def test_a_study_in_quarantine_opens_its_referrals_closed(here: Node) -> None:
    first, second = study()[0]
    fakes.receive(here, first, called="REFERNODE")
    here.database.write(lambda: refer.quarantine(1, "doubt", here.clock(), here))
    fakes.receive(here, second)
    assert (only(here).state, only(here).reason) == ("quarantined", "doubt")


@pytest.mark.parametrize("change", [refer.hold, refer.release])
def test_a_referral_that_there_is_not_changes_nothing(here: Node, change: Callable[..., list[Referral]]) -> None:
    fakes.receive_all(here, study()[0])
    with pytest.raises(UsageError, match="no referral 99"):
        change([only(here).id, 99], "why", "anna", here)
    assert only(here).state == "receiving"


def test_a_study_of_which_everything_is_skipped_says_so(build: Callable[..., Node]) -> None:
    """There is nothing to prove and nothing to wait for: nobody has to wonder why it is not confirmed."""
    (made,) = make_instances(1)
    node = build(fakes.CONFIG.replace("PUBPACS:  {", f"PUBPACS:  {{skip_classes: [{made.sop_class}], "))
    fakes.receive(node, made)
    fakes.complete(node)
    prove(node.config.partners["PUBPACS"], FakePartner(), node, lambda: False)
    with node.database.read():
        (found,) = referrals.listed()
    assert (found.state, found.reason) == ("sent", "nothing to send: each of its 1 instance(s) is skipped")
