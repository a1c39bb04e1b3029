"""operations/complete.py: a study is complete by evidence, by its PACS's answer, or by a person's word."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dicomnode.errors import PartnerError, Rejected, Unreachable, UsageError
from dicomnode.operations import complete as completing
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.store import audit, completeness
from dicomnode.store.database import execute, one
from tests import fakes
from tests.fakes import SECOND, FakeCallers, FakeClock, FakePartner
from tests.samples import make_instances

NOBODY = FakeCallers()
EXPECTING = fakes.CONFIG.replace("wait: 60s}", "wait: 60s, expect: {from: PACS, within: 30m}}").replace(
    "  PEAK_CT:", "  PACS: {site: harbour, host: 10.1.0.40, port: 104}\n  PEAK_CT:"
)


class FakePacs(FakePartner):
    """A PACS that knows which instances a study has; what it was asked is kept."""

    def __init__(self, *uids: str) -> None:
        super().__init__()
        self.known, self.asked = set(uids), list[str]()
        self.error: PartnerError | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    def instances(self, partner: object, study_instance_uid: str) -> frozenset[str]:
        self.asked.append(study_instance_uid)
        self.meanwhile()
        if self.error:
            raise self.error
        return frozenset(self.known)


@pytest.fixture
def node(build: Callable[..., Node]) -> Node:
    """With a PACS that is expected to know every study."""
    return build(EXPECTING)


def advance(node: Node, seconds: float) -> None:
    assert isinstance(node.clock, FakeClock)
    node.clock.advance(seconds)


def ask(node: Node, pacs: FakePacs) -> bool:
    return completing.ask(node.config.partners["PACS"], pacs, node, lambda: False)


def progress(node: Node, referral: int = 1) -> str:
    with node.database.read():
        return str(one("SELECT progress FROM referrals WHERE id = ?", referral)[0])


def events(node: Node) -> list[str]:
    with node.database.read():
        return [event.text for event in audit.events() if event.kind == "referral complete"]


def next_look(node: Node, callers: FakeCallers = NOBODY) -> float | None:
    """Seconds until then."""
    at = completing.next_look(node, callers)
    return None if at is None else (at - node.clock()) / SECOND


# -- quiet time, and who is calling ----------------------------------------------------------------------------


def test_a_quiet_study_is_complete(here: Node) -> None:
    assert next_look(here) is None
    fakes.receive_all(here, make_instances(2))
    advance(here, 59.9)
    assert (completing.complete(here, NOBODY), progress(here)) == (0, "receiving")
    assert next_look(here) == pytest.approx(0.1)
    advance(here, 0.1)
    assert next_look(here) == 0
    assert (completing.complete(here, NOBODY), progress(here)) == (1, "complete")
    assert events(here) == ["nothing new came within the quiet time"]
    assert next_look(here) is None
    assert completing.complete(here, NOBODY) == 0


def test_a_study_waits_for_its_source_to_hang_up(here: Node) -> None:
    fakes.receive_all(here, make_instances(1))
    callers = FakeCallers("CT1")
    advance(here, 60)
    assert completing.complete(here, callers) == 0
    assert next_look(here, callers) == 1  # nothing tells when it hangs up
    advance(here, 40)
    assert completing.complete(here, callers) == 0
    callers.calling.clear()
    assert completing.complete(here, callers) == 1


def test_a_source_that_never_hangs_up_stops_nothing(here: Node) -> None:
    fakes.receive_all(here, make_instances(1))
    callers = FakeCallers("CT1")
    advance(here, 179)
    assert completing.complete(here, callers) == 0
    advance(here, 1)
    assert completing.complete(here, callers) == 1
    assert "brought nothing of it" in events(here)[0]


def test_others_who_call_are_not_waited_for(here: Node) -> None:
    fakes.receive_all(here, make_instances(1))
    advance(here, 60)
    assert completing.complete(here, FakeCallers("PEAK_CT", "RAD_WS", "PUBPACS")) == 1


def test_image_by_image_waits_for_nobody(build: Callable[..., Node]) -> None:
    node = build(fakes.CONFIG.replace("wait: 60s", "wait: 0s"))
    fakes.receive_all(node, make_instances(1))
    assert completing.complete(node, FakeCallers("CT1")) == 1


def test_quiet_times_are_by_modality(build: Callable[..., Node]) -> None:
    node = build(fakes.CONFIG.replace("wait: 60s", "wait: {MR: 10m, default: 60s}"))
    fakes.receive_all(node, make_instances(1, modality="CT"))
    fakes.receive_all(node, make_instances(1, seed="mr", modality="MR"))
    advance(node, 60)
    assert completing.complete(node, NOBODY) == 1
    assert [progress(node, referral) for referral in (1, 2)] == ["complete", "receiving"]
    advance(node, 540)
    assert completing.complete(node, NOBODY) == 1


def test_quiet_time_survives_a_restart(build: Callable[..., Node]) -> None:
    clock = FakeClock()
    fakes.receive_all(build(clock=clock), make_instances(1))
    clock.advance(40)
    again = build(clock=clock)
    assert next_look(again) == 20


def test_a_clock_that_was_set_back_a_day_delays_by_one_quiet_time(here: Node) -> None:
    fakes.receive_all(here, make_instances(1))
    advance(here, -86400)
    assert completing.complete(here, NOBODY) == 0
    assert next_look(here) == 60
    advance(here, 60)
    assert completing.complete(here, NOBODY) == 1


def test_an_instance_that_comes_while_it_is_decided_is_waited_for(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    first, late = make_instances(2)
    fakes.receive(here, first)
    advance(here, 60)
    write = here.database.write

    def after_another(fn: Callable[[], object]) -> object:
        monkeypatch.undo()
        fakes.receive(here, late)
        return write(fn)

    monkeypatch.setattr(here.database, "write", after_another)
    assert completing.complete(here, NOBODY) == 0
    assert progress(here) == "receiving"
    assert events(here) == []


# -- late images -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["sent", "confirmed"])
def test_what_comes_late_reopens_and_sends_the_difference(here: Node, state: str) -> None:
    *first, late = make_instances(4)
    partner = FakePartner()
    fakes.receive_all(here, first)
    fakes.complete(here)
    while forward(here.config.partners["PUBPACS"], partner, here, lambda: False):
        pass
    assert progress(here) == "sent"
    here.database.write(lambda: _put(state, here.clock()))
    fakes.receive_all(here, [first[0], late])  # one was sent twice
    assert progress(here) == "receiving"
    with here.database.read():
        assert one("SELECT confirmed_at FROM referrals") == (None,)
    assert not forward(here.config.partners["PUBPACS"], partner, here, lambda: False)
    assert fakes.complete(here) == 1
    while forward(here.config.partners["PUBPACS"], partner, here, lambda: False):
        pass
    assert partner.uids == [sample.sop_instance for sample in (*first, late)]
    assert progress(here) == "sent"


def _put(state: str, at: int) -> None:
    execute("UPDATE referrals SET progress = ?, confirmed_at = ?", state, at)


# -- asking a PACS ---------------------------------------------------------------------------------------------


def test_a_pacs_that_has_no_more_completes_a_study(node: Node) -> None:
    made = make_instances(2)
    pacs = FakePacs(*(sample.sop_instance for sample in made))
    fakes.receive_all(node, made)
    assert not ask(node, pacs)
    advance(node, 60)
    assert completing.complete(node, NOBODY) == 0  # it is asked now
    assert next_look(node) == 29 * 60
    with node.database.read():
        assert completing.due(node.config.partners["PACS"], node.clock()) == node.clock()
    assert ask(node, pacs)
    assert pacs.asked == [made[0].study]
    assert not ask(node, pacs)
    assert next_look(node) == 0
    assert completing.complete(node, NOBODY) == 1
    assert events(node) == ["nothing new came within the quiet time, and PACS has no more"]


def test_what_a_pacs_has_more_is_waited_for_until_it_comes(node: Node) -> None:
    first, late = make_instances(2)
    pacs = FakePacs(first.sop_instance, late.sop_instance)
    fakes.receive(node, first)
    advance(node, 60)
    completing.complete(node, NOBODY)
    assert ask(node, pacs)
    advance(node, 29)
    assert not ask(node, pacs)  # the second question is 30 s after the first, and the third 60 s after that
    advance(node, 1)
    assert ask(node, pacs)
    advance(node, 59)
    assert not ask(node, pacs)
    assert completing.complete(node, NOBODY) == 0
    fakes.receive(node, late)
    advance(node, 59)
    assert completing.complete(node, NOBODY) == 0
    assert not ask(node, pacs)
    advance(node, 1)
    completing.complete(node, NOBODY)
    assert ask(node, pacs)
    assert completing.complete(node, NOBODY) == 1
    assert len(pacs.asked) == 3


def test_what_never_comes_is_waited_for_as_long_as_the_route_says(node: Node) -> None:
    (first,) = make_instances(1)
    pacs = FakePacs(first.sop_instance, "1.2.3", "1.2.4")
    fakes.receive(node, first)
    advance(node, 60)
    completing.complete(node, NOBODY)
    ask(node, pacs)
    advance(node, 29 * 60 - 1)
    assert completing.complete(node, NOBODY) == 0
    advance(node, 1)
    assert completing.complete(node, NOBODY) == 1
    assert events(node) == ["nothing new came within the quiet time, and PACS has 2 more"]
    with node.database.read():
        assert one(f"SELECT {completeness.REMARK} FROM referrals r") == ("the source (PACS) has 2 more",)
    assert not ask(node, pacs)


@pytest.mark.parametrize("error", [Unreachable("nobody there"), Rejected("not you"), None])
def test_a_pacs_that_does_not_say_delays_and_stops_nothing(node: Node, error: PartnerError | None) -> None:
    pacs = FakePacs()  # of this study it has nothing
    pacs.error = error
    fakes.receive_all(node, make_instances(1))
    advance(node, 60)
    completing.complete(node, NOBODY)
    assert ask(node, pacs)
    assert not ask(node, pacs)
    assert completing.complete(node, NOBODY) == 0
    advance(node, 29 * 60)
    assert completing.complete(node, NOBODY) == 1
    assert "PACS did not say what it has" in events(node)[0]
    with node.database.read():
        assert one(f"SELECT {completeness.REMARK} FROM referrals r") == ("the source (PACS) could not be asked",)


def test_a_pacs_that_cannot_be_reached_is_dialled_once_for_all_its_studies(node: Node) -> None:
    pacs = FakePacs()
    pacs.error = Unreachable("nobody there")
    for seed in range(3):
        fakes.receive_all(node, make_instances(1, seed=seed))
    advance(node, 60)
    completing.complete(node, NOBODY)
    assert ask(node, pacs)
    assert not ask(node, pacs)
    assert len(pacs.asked) == 1


def test_a_pacs_that_nobody_came_to_ask_is_named(node: Node) -> None:
    """The node was down for the time in which it would have been asked."""
    fakes.receive_all(node, make_instances(1))
    advance(node, 3600)
    assert completing.complete(node, NOBODY) == 1
    with node.database.read():
        assert one(f"SELECT {completeness.REMARK} FROM referrals r") == ("the source (PACS) could not be asked",)


def test_an_answer_is_no_answer_where_something_came_meanwhile(node: Node) -> None:
    first, late = make_instances(2)
    pacs = FakePacs(first.sop_instance)
    pacs.meanwhile = lambda: fakes.receive(node, late)
    fakes.receive(node, first)
    advance(node, 60)
    completing.complete(node, NOBODY)
    assert ask(node, pacs)
    advance(node, 60)
    assert completing.complete(node, NOBODY) == 0
    pacs.meanwhile = lambda: None
    assert ask(node, pacs)
    assert completing.complete(node, NOBODY) == 1


def test_a_route_that_expects_nobody_any_more_goes_by_quiet_time(node: Node, build: Callable[..., Node]) -> None:
    clock = FakeClock()
    node = build(EXPECTING, clock=clock)
    fakes.receive_all(node, make_instances(1))
    advance(node, 60)
    assert completing.complete(node, NOBODY) == 0
    assert completing.complete(build(clock=clock), NOBODY) == 1


def test_a_stop_asks_nobody(node: Node) -> None:
    pacs = FakePacs()
    fakes.receive_all(node, make_instances(1))
    advance(node, 60)
    completing.complete(node, NOBODY)
    assert not completing.ask(node.config.partners["PACS"], pacs, node, lambda: True)
    assert pacs.asked == []


def test_only_those_who_are_expected_to_know_have_a_slot(node: Node) -> None:
    slots = completing.slots(node)
    assert {name for name, partner in node.config.partners.items() if slots(partner)} == {"PACS"}
    assert slots(node.config.partners["PACS"]) == 1


# -- a person's word -------------------------------------------------------------------------------------------


def test_a_person_says_that_a_study_is_complete(here: Node) -> None:
    fakes.receive_all(here, make_instances(1))
    (done,) = completing.by_word([1], "anna", here)
    assert (done.id, done.progress) == (1, "complete")
    assert events(here) == ["complete by the word of anna"]
    assert completing.by_word([1], "anna", here) == []
    assert events(here) == ["complete by the word of anna"]
    assert forward(here.config.partners["PUBPACS"], FakePartner(), here, lambda: False)


def test_the_word_for_a_study_of_which_nothing_waits_settles_it(here: Node) -> None:
    fakes.receive_all(here, make_instances(1))
    here.database.write(lambda: execute("UPDATE transfers SET state = 'delivered'"))
    (done,) = completing.by_word([1], "anna", here)
    assert done.progress == "sent"


def test_the_word_for_a_referral_that_there_is_not_changes_nothing(here: Node) -> None:
    fakes.receive_all(here, make_instances(1))
    with pytest.raises(UsageError, match="no referral 99"):
        completing.by_word([1, 99], "anna", here)
    assert progress(here) == "receiving"


def test_nobody_is_asked_about_another_site_s_study(build: Callable[..., Node]) -> None:
    """A route for both sites expects the PACS of one: the other's studies go by quiet time, and it learns of none."""
    node = build(EXPECTING.replace("from: [harbour]", "from: [harbour, peak]"))
    fakes.receive_all(node, make_instances(1, seed="peak"), "PEAK_CT")
    fakes.receive_all(node, make_instances(1, seed="harbour"))
    advance(node, 60)
    completing.complete(node, NOBODY)
    assert [progress(node, referral) for referral in (1, 2)] == ["complete", "receiving"]
    pacs = FakePacs()
    ask(node, pacs)
    advance(node, 60)
    ask(node, pacs)
    assert set(pacs.asked) == {make_instances(1, seed="harbour")[0].study}
