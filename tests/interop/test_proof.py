"""Proof of arrival from partners that are not ours: Orthanc commits and answers queries, storescp does neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import dcmtk
from tests.node import LOCAL, Node, changed, default_config
from tests.orthanc import Orthanc
from tests.proxy import ChaosProxy
from tests.samples import make_study, read_sample

_MEANS = {"PUBPACS": "commitment", "FINDPACS": "find", "COUNTPACS": "count"}
"""One Orthanc, called by three titles, and what each is to prove by."""


@pytest.fixture(scope="module")
def door(orthanc: Orthanc) -> Iterator[ChaosProxy]:
    """The way by which Orthanc is asked for commitment."""
    with ChaosProxy(LOCAL, orthanc.port) as it:
        yield it


@pytest.fixture(scope="module")
def node(
    start_node: Callable[..., Node],
    tmp_path_factory: pytest.TempPathFactory,
    orthanc: Orthanc,
    door: ChaosProxy,
) -> Iterator[Node]:
    """Every study goes to Orthanc under its three titles, and to a storescp."""
    commit = {"by": "auto", "commit": f"{orthanc.ae_title}@{LOCAL}:{door.port}"}
    called = {"site": "general", "host": LOCAL, "port": orthanc.port}
    with dcmtk.storescp(tmp_path_factory.mktemp("storescp"), "PLAIN") as plain:
        partners = {
            "PUBPACS": {"ae_title": orthanc.ae_title, "confirm": commit},
            "FINDPACS": {**called, "confirm": {"by": "find"}},
            "COUNTPACS": {**called, "confirm": {"by": "count"}},
            "PLAIN": {**called, "port": plain.port},
        }
        config = changed(default_config(pubpacs=orthanc.port), {"partners": partners})
        config["routes"][0]["to"] = list(partners)
        it = start_node(config)
        orthanc.add_modality("prover", it.ae_title, LOCAL, it.port)
        yield it


def _referral(node: Node, study: str, partner: str) -> dict[str, Any]:
    rows = node.cli("referrals", "list", "--partner", partner, json=True)
    return dict(next(row for row in rows if row["study_instance_uid"] == study))


def _reaches(node: Node, study: str, partner: str, state: str, proof: str | None) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        row = _referral(node, study, partner)
        return row if (row["state"], row["proof"]) == (state, proof) else None

    return dict(node.wait_until(reached, 30, f"the referral to {partner} to be {state} by {proof}"))


def test_orthanc_confirms_by_every_means_and_storescp_cannot(node: Node, tmp_path: Path) -> None:
    paths = make_study(tmp_path, slices=4, patient_id="PROOF1")
    study = read_sample(paths[0]).study
    assert set(node.send(paths, called="TO_GENERAL").values()) == {0}
    for partner, means in _MEANS.items():
        row = _reaches(node, study, partner, "confirmed", means)
        assert (row["confirmed"], row["delivered"]) == (4, 4)
        assert row["confirmed_at"]
    plain = _reaches(node, study, "PLAIN", "sent", "none")
    assert (plain["confirmed"], plain["delivered"], plain["confirmed_at"]) == (0, 4, None)
    assert "sent, partner cannot confirm" in node.cli("referrals", "list", "--partner", "PLAIN").out
    assert "sent, partner cannot confirm" in node.cli("referrals", "show", str(plain["referral"])).out


def test_what_orthanc_has_lost_is_found_sent_again_and_confirmed(
    node: Node, orthanc: Orthanc, door: ChaosProxy, tmp_path: Path
) -> None:
    paths = make_study(tmp_path, slices=4, patient_id="PROOF2")
    samples = [read_sample(path) for path in paths]
    study, lost = samples[0].study, samples[2].sop_instance
    door.refuse()  # nothing is asked before it is lost
    assert set(node.send(paths, called="TO_GENERAL").values()) == {0}
    for partner in ("FINDPACS", "COUNTPACS"):  # who send it to the same Orthanc
        _reaches(node, study, partner, "confirmed", _MEANS[partner])
    _reaches(node, study, "PUBPACS", "sent", None)
    orthanc.delete_instance(study, lost)
    door.resume()
    row = _reaches(node, study, "PUBPACS", "confirmed", "commitment")
    assert set(orthanc.instances(study)) == {sample.sop_instance for sample in samples}
    (shown,) = node.cli("referrals", "show", str(row["referral"]), json=True)
    attempts = {each["sop_instance_uid"]: each["attempts"] for each in shown["transfers"]}
    assert attempts == {sample.sop_instance: 1 + (sample.sop_instance == lost) for sample in samples}
    assert "lacking instances sent again" in [event["event"] for event in shown["events"]]
    assert len(shown["commitments"]) >= 3
    assert [attempt["delivered"] for attempt in shown["attempts"]] == [4, 1]
    assert set(shown["delays"]) == {"receiving", "waiting", "sending", "proving"}
    assert all(seconds is not None for seconds in shown["delays"].values())
