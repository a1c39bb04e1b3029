"""Orthanc as the public hospital's PACS, which may be down; and as a private PACS that stores, asks and retrieves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.transport import Transport
from tests.node import LOCAL, Node, changed, default_config
from tests.orthanc import Orthanc
from tests.samples import dataset_of, make_study, read_sample
from tests.wire import ChaosProxy, send_files

_TITLE = "ORTHANC"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, transport: Transport) -> Iterator[Orthanc]:
    """One of our own: it is stopped and started here."""
    with Orthanc(tmp_path_factory.mktemp("hospital"), ae_title=_TITLE, options=transport.orthanc) as it:
        yield it


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node], hospital: Orthanc, transport: Transport) -> Iterator[Node]:
    """Orthanc is the hospital, which is called PUBPACS; and under its own title, by another door, a private PACS."""
    with ChaosProxy(LOCAL, hospital.port) as door:
        pacs = {
            "site": "harbour",
            "ae_title": _TITLE,
            "host": LOCAL,
            "port": door.port,
            "may": ["store", "find", "move"],
        }
        config = changed(default_config(pubpacs=hospital.port), {"partners": {"PACS": pacs}})
        yield start_node(_told_by_its_certificate(transport.configured(config), transport))


def _told_by_its_certificate(config: dict[str, Any], transport: Transport) -> dict[str, Any]:
    """Over TLS, the hospital and the private PACS are known by their key and their name, whoever calls."""
    if transport.peer is None:
        return config
    own = {"tls": {"spki": transport.peer.spki, "names": [LOCAL]}}
    return changed(config, {"partners": {"PUBPACS": own, "PACS": own}})


def _state(node: Node, study: str) -> str:
    (row,) = [row for row in node.cli("referrals", "list", json=True) if row["study_instance_uid"] == study]
    return str(row["state"])


def _datasets(orthanc: Orthanc, study: str) -> dict[str, bytes]:
    """SOP Instance UID → the dataset of the file that Orthanc wrote."""
    found = {}
    for uid, number in orthanc.instances(study).items():
        found[uid] = dataset_of(orthanc.dicom_file(number))
    return found


def _sent(paths: list[Path]) -> dict[str, bytes]:
    return {sample.sop_instance: sample.dataset for sample in map(read_sample, paths)}


def test_a_referred_study_arrives_identical(node: Node, hospital: Orthanc, tmp_path: Path) -> None:
    paths = make_study(tmp_path, slices=20, patient_id="ORTHANC1")
    study = read_sample(paths[0]).study
    assert set(node.send(paths, called="TO_GENERAL").values()) == {0}
    node.wait_until(lambda: _state(node, study) in ("sent", "confirmed"), 30, "the referral to be sent")
    assert _datasets(hospital, study) == _sent(paths)


def test_what_is_sent_while_it_is_down_waits_and_arrives_when_it_is_back(
    node: Node, hospital: Orthanc, tmp_path: Path
) -> None:
    paths = make_study(tmp_path, slices=12, patient_id="ORTHANC2")
    study = read_sample(paths[0]).study
    hospital.stop(hard=True)
    assert set(node.send(paths, called="TO_GENERAL").values()) == {0}

    def waiting() -> dict[str, Any] | None:
        (shape,) = node.cli("queue", "shape", json=True)
        return dict(shape) if shape["reason"] and shape["queued"] == 12 else None

    shape = node.wait_until(waiting, 20, "the transfers to wait for a partner that is down")
    assert (shape["partner"], shape["active"], shape["held"]) == ("PUBPACS", 0, 0)
    assert shape["oldest"]
    assert shape["paused_until"]
    text = node.cli("queue", "shape").out
    assert "PUBPACS" in text
    assert "12" in text
    assert _state(node, study) in ("complete", "sending")
    assert {row["attempts"] for row in node.cli("queue", "list", "--state", "queued", json=True)} == {0}
    hospital.start()
    node.wait_until(lambda: _state(node, study) in ("sent", "confirmed"), 30, "the study to arrive without a hand")
    assert _datasets(hospital, study) == _sent(paths)
    (shape,) = node.cli("queue", "shape", json=True)
    assert (shape["queued"], shape["active"], shape["held"], shape["paused_until"]) == (0, 0, 0, None)


def test_as_a_private_pacs_it_stores_queries_and_retrieves(
    node: Node, hospital: Orthanc, transport: Transport, tmp_path: Path
) -> None:
    hospital.add_modality("node", node.ae_title, LOCAL, transport.port(node), tls=transport.peer is not None)
    paths = make_study(tmp_path, slices=5, patient_id="ORTHANC3", patient_name="PACS^PRIVATE")
    study = read_sample(paths[0]).study
    send_files(LOCAL, hospital.port, _TITLE, "CT1", paths, wrap=transport.wrap)
    hospital.store_to("node", hospital.studies()[study]["ID"])
    (kept,) = node.cli("studies", "show", study, "--phi", json=True)
    assert (kept["instances"], kept["site"], kept["patient_name"]) == (5, "harbour", "PACS^PRIVATE")
    hospital.delete(study)
    query = hospital.post("/modalities/node/query", {"Level": "Study", "Query": {"PatientName": "PACS*"}})
    answers = hospital.get(f"/queries/{query['ID']}/answers?expand&simplify")
    assert [answer["StudyInstanceUID"] for answer in answers] == [study]
    hospital.post(f"/queries/{query['ID']}/answers/0/retrieve", {"TargetAet": _TITLE, "Synchronous": True})
    assert set(_datasets(hospital, study)) == set(_sent(paths))
