"""When a whole node takes a study for complete: its source still calls, its PACS has more, a person has said so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.kit import events, rows
from tests.node import LOCAL, Node, changed, default_config
from tests.orthanc import Orthanc
from tests.samples import Sample, make_instances
from tests.wire import Association, Receiver, contexts_for

SECOND = 1_000_000
STILL_OPEN = "still has open brought nothing of it"


@pytest.fixture
def receiver() -> Any:
    """The hospital."""
    with Receiver() as it:
        yield it


def config(receiver: Receiver, partners: dict[str, Any] | None = None, **route: Any) -> dict[str, Any]:
    """CT1 and CT2 of harbour, and one route with these keys."""
    made = changed(default_config(pubpacs=receiver.port), {"partners": {"CT2": {"site": "harbour", "may": ["store"]}}})
    made["partners"] |= partners or {}
    made["routes"][0] |= route
    return made


def opened(node: Node, made: list[Sample], calling: str = "CT1") -> Association:
    """An association on which all of it was stored; it is open still."""
    association = node.associate(calling, contexts_for(made), called="TO_GENERAL")
    assert {association.send_sample(sample) for sample in made} == {0}
    return association


def referral(node: Node, study: str) -> dict[str, Any]:
    sql = "SELECT r.* FROM referrals r JOIN studies s ON s.id = r.study WHERE s.study_instance_uid = ?"
    (row,) = rows(node, sql, study)
    return row


def completed(node: Node, study: str, timeout: float = 15) -> float:
    """Wait until a study is complete; how many seconds after its last instance that was."""
    node.wait_until(lambda: referral(node, study)["completed_at"], timeout, "the study to be complete")
    row = referral(node, study)
    return float((row["completed_at"] - row["last_instance_at"]) / SECOND)


def test_a_study_waits_for_its_source_to_hang_up_but_not_for_ever(
    node: Callable[..., Node], receiver: Receiver
) -> None:
    it = node(config(receiver, wait="2s"))
    one, other, never = (make_instances(2, seed=seed) for seed in ("one", "other", "never"))
    calling = opened(it, one)
    opened(it, other, "CT2").release()
    completed(it, other[0].study)
    assert referral(it, one[0].study)["progress"] == "receiving"  # older, and its source has not hung up
    calling.release()
    completed(it, one[0].study)
    with opened(it, never):
        assert completed(it, never[0].study) >= 6
    said = [event["text"] for event in events(it, "referral complete")]
    assert [STILL_OPEN in text for text in said] == [False, False, True]
    receiver.wait_for(6, timeout=10)


def test_an_acceptor_that_is_killed_calls_for_nobody(node: Callable[..., Node], receiver: Receiver) -> None:
    it = node(changed(config(receiver, wait="3s"), {"node": {"acceptors": 1}}))
    made = make_instances(1)
    calling = opened(it, made)
    it.kill("acceptor")
    completed(it, made[0].study)
    (event,) = events(it, "referral complete")
    assert STILL_OPEN not in event["text"]
    calling.abort()


def test_what_its_pacs_has_more_is_waited_for(node: Callable[..., Node], receiver: Receiver, orthanc: Orthanc) -> None:
    pacs = {"site": "harbour", "ae_title": orthanc.ae_title, "host": LOCAL, "port": orthanc.port, "may": ["store"]}
    expect = {"from": "PACS", "within": "60s"}
    it = node(config(receiver, {"PACS": pacs}, wait="1s", expect=expect))
    made = make_instances(3, seed=it.port, patient_id="COMPLETENESS")
    orthanc.add_modality("node", "TO_GENERAL", LOCAL, it.port)
    with Association(LOCAL, orthanc.port, orthanc.ae_title, "CT1", contexts_for(made)) as association:
        assert {association.send_sample(sample) for sample in made} == {0}

    study, late = made[0].study, made[2]
    opened(it, made[:2]).release()
    it.wait_until(lambda: referral(it, study)["lacking"], 15, "the answer of the PACS")
    row = referral(it, study)
    assert (row["asked"], row["lacking"], row["progress"]) == ("PACS", 1, "receiving")
    assert receiver.received == []
    orthanc.store_to("node", orthanc.instances(study)[late.sop_instance])
    completed(it, study)
    (event,) = events(it, "referral complete")
    assert event["text"].endswith("PACS has no more")
    receiver.wait_for(3, timeout=10)


def test_what_never_comes_is_remarked_and_stops_nothing(
    node: Callable[..., Node], receiver: Receiver, orthanc: Orthanc
) -> None:
    pacs = {"site": "harbour", "ae_title": orthanc.ae_title, "host": LOCAL, "port": orthanc.port}
    gone = {"site": "peak", "host": LOCAL, "port": 1}
    setup = config(receiver, {"PACS": pacs, "GONE": gone}, wait="1s", expect={"from": "PACS", "within": "3s"})
    peak = {"name": "peak", "from": ["peak"], "expect": {"from": "GONE", "within": "3s"}}
    setup["routes"].append(changed(setup["routes"][0], peak))
    it = node(setup)
    made, other = make_instances(3, seed=it.port), make_instances(1, seed=f"{it.port}, of peak")
    with Association(LOCAL, orthanc.port, orthanc.ae_title, "CT1", contexts_for(made)) as association:
        assert {association.send_sample(sample) for sample in made} == {0}
    opened(it, made[:1]).release()
    opened(it, other, "PEAK_CT").release()
    assert completed(it, made[0].study) >= 3
    assert completed(it, other[0].study) >= 3
    receiver.wait_for(2, timeout=10)
    said = {row["study_instance_uid"]: row["reason"] for row in it.cli("referrals", "list", json=True)}
    assert "the source (PACS) has 2 more" in said[made[0].study]
    assert "the source (GONE) could not be asked" in said[other[0].study]


def test_a_person_s_word_completes_a_study(node: Callable[..., Node], receiver: Receiver) -> None:
    it = node(config(receiver, wait="1h"))
    made = make_instances(2)
    calling = opened(it, made)
    number = str(referral(it, made[0].study)["id"])
    done = it.cli("referrals", "complete", number)
    assert (done.code, done.err) == (0, "")
    assert "complete" in done.out
    receiver.wait_for(2, timeout=10)
    (event,) = events(it, "referral complete")
    assert event["text"].startswith("complete by the word of ")
    again = it.cli("referrals", "complete", number)
    assert again.code == 1
    assert "not receiving" in again.err
    assert it.cli("referrals", "complete", "99").code == 2
    calling.release()
