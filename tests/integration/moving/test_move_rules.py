"""C-MOVE by raw wire: what is refused before anybody is contacted, whose studies go where, and what a gate stops."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.kit import STORAGE_CT, events, query, rows
from tests.integration.moving.kit import (
    CONTEXTS,
    PATIENT_ROOT_MOVE,
    arrived,
    counts,
    dials,
    move,
    study,
    whole,
)
from tests.node import Node
from tests.samples import Sample, decode, make_instance
from tests.upper_layer import EXPLICIT_LE
from tests.wire import STUDY_ROOT_FIND, Association, Receiver

# -- where to --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "destination", ["NOBODY", "PEAK_WS", "CT1", "REFERNODE", "rad_ws", "127.0.0.1", "../RAD_WS", "", "RAD_WS" * 3]
)
def test_a_destination_that_may_not_be_reached_is_refused_before_any_contact(
    destination: str, node: Node, caller: Association, near: Receiver, far: Receiver, public: Receiver
) -> None:
    made = study(node, "destinations")
    before = len(events(node, "move destination refused"))
    final = move(caller, "STUDY", destination, StudyInstanceUID=made[0].study)
    assert final["status"] == 0xA801
    assert near.requests == far.requests == dials(public) == []
    assert len(events(node, "move destination refused")) == before + 1
    unknown = move(caller, "STUDY", destination, StudyInstanceUID="1.2.3")
    assert unknown == final, "whether a study exists is not to be learnt from a forbidden destination"


# -- whose studies ---------------------------------------------------------------------------------------------


def test_another_sites_study_answers_as_one_that_does_not_exist(
    node: Node, caller: Association, near: Receiver
) -> None:
    made = study(node, "peak's", calling="PEAK_CT", PatientID="PEAK1")
    theirs = move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made[0].study)
    assert theirs == move(caller, "STUDY", "RAD_WS", StudyInstanceUID="1.2.3")
    assert counts(theirs) == (0, 0, 0, 0)
    assert counts(move(caller, "PATIENT", "RAD_WS", PATIENT_ROOT_MOVE, PatientID="PEAK1")) == (0, 0, 0, 0)
    assert near.requests == []


def test_a_quarantined_study_is_not_moved(node: Node, caller: Association, near: Receiver) -> None:
    (made,) = study(node, "doubtful", 1)
    changed_copy = make_instance(
        SOPInstanceUID=made.sop_instance, StudyInstanceUID=made.study, SeriesInstanceUID=made.series, Rows=1
    )
    with node.associate("CT1", [(STORAGE_CT, [EXPLICIT_LE])]) as association:
        assert association.store(changed_copy, STORAGE_CT, made.sop_instance) == 0
    final = move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made.study)
    assert final["status"] == 0x0124
    assert "quarantine" in final["comment"]
    assert near.requests == []


# -- across a flow ---------------------------------------------------------------------------------------------


def _referral(node: Node, study: str) -> dict[str, Any]:
    (row,) = [row for row in node.cli("referrals", "list", json=True) if row["study_instance_uid"] == study]
    return dict(row)


def test_a_move_across_a_flow_opens_a_referral_and_records_each_result(
    node: Node, caller: Association, public: Receiver
) -> None:
    made = study(node, "by hand")
    assert not rows(
        node, "SELECT 1 FROM referrals r JOIN studies s ON s.id = r.study AND s.study_instance_uid = ?", made[0].study
    )
    final = move(caller, "STUDY", "PUBPACS", StudyInstanceUID=made[0].study)
    assert counts(final) == (0, 3, 0, 0)
    assert arrived(public) == whole(made)
    node.wait_until(lambda: _referral(node, made[0].study)["state"] == "sent", 10, "the referral to be sent")
    referral = _referral(node, made[0].study)
    assert (referral["delivered"], referral["instances"], referral["partner"]) == (3, 3, "PUBPACS")
    assert "RAD_WS" in referral["route"]


def test_a_move_of_what_a_route_refers_joins_its_referral(node: Node, caller: Association, public: Receiver) -> None:
    made = study(node, "joined", called="TO_GENERAL")
    public.wait_for(3)
    node.wait_until(lambda: _referral(node, made[0].study)["state"] == "sent", 10, "the referral to be sent")
    before = _referral(node, made[0].study)
    assert counts(move(caller, "STUDY", "PUBPACS", StudyInstanceUID=made[0].study)) == (0, 3, 0, 0)
    after = _referral(node, made[0].study)
    assert (after["referral"], after["delivered"], after["route"]) == (before["referral"], 3, "referrals")
    attempts = [
        row["attempts"] for row in node.cli("queue", "list", json=True) if row["study_instance_uid"] == made[0].study
    ]
    assert attempts == [2, 2, 2]


def test_a_closed_gate_stops_a_move_and_says_so(
    node: Node, caller: Association, near: Receiver, public: Receiver
) -> None:
    made = study(node, "held")
    assert counts(move(caller, "IMAGE", "PUBPACS", **_image(made[0]))) == (0, 1, 0, 0)
    referral = _referral(node, made[0].study)["referral"]
    assert node.cli("referrals", "hold", str(referral), "--reason", "the patient has asked").code == 0
    public.received.clear()
    public.requests.clear()
    final = move(caller, "STUDY", "PUBPACS", StudyInstanceUID=made[0].study)
    assert final["status"] == 0x0124
    assert f"referral {referral} is held" in final["comment"]
    assert dials(public) == []
    assert counts(move(caller, "STUDY", "RAD_WS", StudyInstanceUID=made[0].study)) == (0, 3, 0, 0)
    assert node.cli("referrals", "release", str(referral)).code == 0
    assert counts(move(caller, "STUDY", "PUBPACS", StudyInstanceUID=made[0].study)) == (0, 3, 0, 0)


def _image(sample: Sample) -> dict[str, str]:
    return {
        "StudyInstanceUID": sample.study,
        "SeriesInstanceUID": sample.series,
        "SOPInstanceUID": sample.sop_instance,
    }


def test_what_fails_across_a_flow_is_told_to_the_caller_and_not_queued(
    node: Node, caller: Association, public: Receiver
) -> None:
    made = study(node, "fails")
    public.answer = lambda _: 0xA700
    assert counts(move(caller, "STUDY", "PUBPACS", StudyInstanceUID=made[0].study)) == (0xA702, 0, 3, 0)
    states = [
        row["state"] for row in node.cli("queue", "list", json=True) if row["study_instance_uid"] == made[0].study
    ]
    assert states == ["dropped"] * 3


def test_the_public_side_may_fetch_what_was_referred_to_it_and_nothing_else(node: Node, public: Receiver) -> None:
    own, referred = study(node, "kept"), study(node, "referred", called="TO_GENERAL")
    public.wait_for(3)
    node.wait_until(lambda: _referral(node, referred[0].study)["state"] == "sent", 10, "the referral to be sent")
    public.received.clear()
    with node.associate("PUB_WS", CONTEXTS, timeout=30) as caller:
        assert counts(move(caller, "STUDY", "PUB_WS", StudyInstanceUID=referred[0].study)) == (0, 3, 0, 0)
        assert arrived(public) == whole(referred)
        missing = move(caller, "STUDY", "PUB_WS", StudyInstanceUID="1.2.3")
        assert move(caller, "STUDY", "PUB_WS", StudyInstanceUID=own[0].study) == missing
        assert move(caller, "STUDY", "RAD_WS", StudyInstanceUID=referred[0].study)["status"] == 0xA801


def test_a_private_key_asks_how_far_a_referral_is(node: Node, public: Receiver) -> None:
    made = study(node, "asked after", called="TO_GENERAL")
    asked = query("STUDY", {"StudyInstanceUID": made[0].study, "00090010": "DICOMNODE", "00091001": ""})
    with node.associate("RAD_WS", [(STUDY_ROOT_FIND, [EXPLICIT_LE])], timeout=30) as caller:

        def is_sent() -> bool:
            (status, raw), (final, _) = caller.find(STUDY_ROOT_FIND, asked)
            assert (status, final) == (0xFF00, 0)
            match = decode(raw)
            assert (match[0x00090010].VR, match[0x00090010].value, match[0x00091001].VR) == ("LO", "DICOMNODE", "LO")
            return str(match[0x00091001].value) == "PUBPACS: sent"

        node.wait_until(is_sent, 20, "the referral to be sent")
    assert arrived(public) == whole(made)


def test_a_workstation_that_may_only_query_may_not_move(node: Node) -> None:
    for without in ("DEAD_WS", "CT1"):
        with node.associate(without, CONTEXTS) as association:
            assert len(association.accepted) == 1
