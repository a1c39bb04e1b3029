"""operations/retrieve.py: a C-MOVE is decided before anybody is contacted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dicomnode.errors import BadIdentifier, GateClosed, UnknownDestination
from dicomnode.operations import quarantine, refer
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.store import audit, lanes, queue
from dicomnode.store.database import one
from tests import fakes
from tests.fakes import FakePartner
from tests.moves import plan, referred, send, transfers
from tests.samples import Sample, make_instances

# -- within the site -------------------------------------------------------------------------------------------


def test_one_series_or_image_can_be_chosen(here: Node, study: list[Sample]) -> None:
    keys = {"SeriesInstanceUID": study[0].series, "SOPInstanceUID": study[1].sop_instance}
    found = plan(here, "RAD_WS", study=study[0].study, level="IMAGE", **keys).instances
    assert [i.sop_instance_uid for i in found] == [study[1].sop_instance]


def test_nothing_found_is_nothing_to_do(here: Node) -> None:
    fake = FakePartner()
    assert send(here, plan(here, "PUBPACS", study="1.2.3"), fake) == []
    assert not fake.contexts
    assert not referred(here)


# -- refusals, before any contact ------------------------------------------------------------------------------


REFUSED = [
    ("RAD_WS", "NOWHERE", "unknown"),
    ("RAD_WS", "CT1", "unknown"),  # known, and nobody can call it
    ("RAD_WS", "PEAK_WS", "forbidden"),
    ("PUBPACS", "RAD_WS", "forbidden"),
    ("PUBPACS", "ISLPACS", "forbidden"),
    ("RAD_WS", "", "unknown"),
    ("RAD_WS", "pubpacs", "unknown"),
]


@pytest.mark.parametrize(("caller", "to", "why"), REFUSED)
def test_a_destination_comes_from_the_configuration_alone(
    here: Node, study: list[Sample], caller: str, to: str, why: str
) -> None:
    with pytest.raises(UnknownDestination) as caught:
        plan(here, to, caller, study[0].study)
    assert str(caught.value) == f"Move Destination {to} unknown"  # the caller does not learn which
    with here.database.read():
        event = audit.events()[-1]
    assert (event.kind, event.partner) == ("move destination refused", caller)
    assert event.text.endswith(why)


def test_one_title_at_two_sites_is_the_one_that_may_be_reached(build: Callable[..., Node]) -> None:
    node = build(fakes.CONFIG.replace("PEAK_WS:  {site: peak,", "PEAK_WS:  {site: peak, ae_title: RAD_WS,"))
    made = make_instances(1)
    fakes.receive_all(node, made, called="REFERNODE")
    assert plan(node, "RAD_WS", study=made[0].study).destination.name == "RAD_WS"
    assert plan(node, "RAD_WS", "PEAK_WS", study=made[0].study).destination.name == "PEAK_WS"


def test_a_bad_identifier_is_refused(here: Node, study: list[Sample]) -> None:
    with pytest.raises(BadIdentifier):
        plan(here, "RAD_WS")


def test_another_site_s_study_does_not_exist(here: Node, study: list[Sample]) -> None:
    assert plan(here, "PEAK_WS", "PEAK_WS", study[0].study).instances == ()
    assert plan(here, "PUBPACS", "PUBPACS", study[0].study).instances == ()


@pytest.mark.parametrize("to", ["RAD_WS", "PUBPACS"])
def test_a_quarantined_study_goes_nowhere(here: Node, study: list[Sample], to: str) -> None:
    here.database.write(lambda: refer.quarantine(1, "doubt", here.clock(), here))
    with pytest.raises(GateClosed):
        plan(here, to, study=study[0].study)
    assert not referred(here)


# -- across a flow ---------------------------------------------------------------------------------------------


def test_a_closed_gate_stops_a_move(here: Node) -> None:
    made = make_instances(1, seed="gate")
    fakes.receive_all(here, made)
    number = referred(here)[0].id
    refer.hold([number], "wait", "anna", here)
    for title in ("PUBPACS", "PUB_WS"):  # another AE of the same hospital, too
        with pytest.raises(GateClosed, match=f"referral {number} is held"):
            plan(here, title, study=made[0].study)
    assert plan(here, "ISLPACS", study=made[0].study).referrals  # another hospital's own
    assert plan(here, "RAD_WS", study=made[0].study).instances  # within the site it may


@pytest.mark.parametrize("sent", [False, True])
def test_a_study_that_was_corrected_crosses_no_flow(here: Node, sent: bool) -> None:
    """Neither what was sent before, nor what nobody refers; its own site goes on seeing what is current."""
    made = make_instances(1, seed="corrected")
    fakes.receive_all(here, made, called="TO_GENERAL" if sent else "REFERNODE")
    fakes.complete(here)
    forward(here.config.partners["PUBPACS"], FakePartner(), here, lambda: False)
    fakes.receive_all(here, make_instances(1, seed="corrected", PatientName="NEW^NAME"), called="REFERNODE")
    for title in ("PUBPACS", "ISLPACS"):
        with pytest.raises(GateClosed, match="corrected"):
            plan(here, title, study=made[0].study)
    assert len(referred(here)) == sent
    assert len(plan(here, "RAD_WS", study=made[0].study).instances) == 1
    quarantine.release(made[0].study, 2, "called the ward", "anna", here)
    assert plan(here, "ISLPACS", study=made[0].study).referrals


# -- a person's word -------------------------------------------------------------------------------------------


def say(node: Node, word: Callable[[list[int]], object], instance: int = 1) -> None:
    """Do something to the transfer of an instance to PUBPACS."""
    node.database.write(lambda: word([one("SELECT id FROM transfers WHERE instance = ?", instance)[0]]))


WORDS = [
    lambda ids: queue.drop(ids, "dropped by anna: wrong patient", 1),
    lambda ids: queue.hold(ids, "held by anna: wrong patient"),
]


@pytest.mark.parametrize("word", WORDS, ids=["drop", "hold"])
def test_what_a_person_has_held_or_dropped_is_not_moved(here: Node, word: Callable[[list[int]], object]) -> None:
    made = make_instances(2, seed="word")
    fakes.receive_all(here, made)
    fakes.complete(here)
    say(here, word)
    before = transfers(here)
    for title in ("PUBPACS", "PUB_WS"):
        for caller in ("PUBPACS", "PUB_WS"):  # the hospital does not even see it
            seen = plan(here, title, caller, made[0].study).instances
            assert [each.sop_instance_uid for each in seen] == [made[1].sop_instance]
        fake = FakePartner()
        done = send(here, plan(here, title, study=made[0].study), fake)
        assert [(d.sop_instance_uid, d.completed) for d in done] == [(m.sop_instance, m is made[1]) for m in made]
        assert fake.uids == [made[1].sop_instance]
    assert transfers(here)[0] == before[0]
    with here.database.read():
        told = [event for event in audit.events() if event.kind == "instances withheld"]
    assert len(told) == 2
    assert "wrong patient" in told[0].text
    keys = {"SeriesInstanceUID": made[0].series, "SOPInstanceUID": made[0].sop_instance}
    with pytest.raises(GateClosed, match="wrong patient"):
        plan(here, "PUB_WS", study=made[0].study, level="IMAGE", **keys)
    assert plan(here, "ISLPACS", study=made[0].study).withheld == {}  # another hospital's own
    assert plan(here, "RAD_WS", study=made[0].study).withheld == {}


def test_what_a_partner_is_not_sent_is_not_moved_to_it(build: Callable[..., Node]) -> None:
    made = make_instances(2, seed="skip")
    ct = made[0].sop_class
    node = build(fakes.CONFIG.replace("PUBPACS:  {", f"PUBPACS:  {{skip_classes: [{ct}], "))
    fakes.receive_all(node, made)
    for caller in ("PUBPACS", "PUB_WS"):
        assert plan(node, "PUBPACS", caller, made[0].study).instances == ()
    fakes.receive_all(node, other := make_instances(2, seed="unreferred"), called="REFERNODE")
    for study in (made[0].study, other[0].study):
        with pytest.raises(GateClosed, match="skip_classes"):
            plan(node, "PUBPACS", study=study)
        assert len(send(node, plan(node, "PUB_WS", study=study), FakePartner())) == 2


def test_a_lane_that_a_person_holds_is_not_moved_along(here: Node) -> None:
    made = make_instances(1, seed="lane")
    fakes.receive_all(here, made)
    fakes.complete(here)
    here.database.write(lambda: lanes.hold("PUBPACS", "held by anna: wrong cable"))
    for title, caller in (("PUBPACS", "RAD_WS"), ("PUB_WS", "RAD_WS"), ("PUB_WS", "PUB_WS"), ("PUBPACS", "PUBPACS")):
        with pytest.raises(GateClosed, match="the lane of PUBPACS is held by anna: wrong cable"):
            plan(here, title, caller, made[0].study)
    other = make_instances(1, seed="not for PUBPACS")
    fakes.receive_all(here, other, called="REFERNODE")
    with pytest.raises(GateClosed, match="wrong cable"):
        plan(here, "PUBPACS", study=other[0].study)
    assert len(referred(here)) == 1
    assert plan(here, "PUB_WS", study=other[0].study).referrals
    assert plan(here, "ISLPACS", study=made[0].study).referrals
