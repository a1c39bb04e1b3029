"""DCMTK's tools as modality, workstation and hospital."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest

from tests import dcmtk
from tests.interop.transport import Tools, Transport
from tests.node import Node, default_config
from tests.samples import apart, charset_files, dataset_of, make_study, read_sample, real_files
from tests.wire import contexts_for

_COUNTS = ("Completed", "Failed", "Warning")


@pytest.fixture(scope="module")
def workstation(tmp_path_factory: pytest.TempPathFactory, transport: Transport) -> Iterator[dcmtk.StoreSCP]:
    with dcmtk.storescp(tmp_path_factory.mktemp("workstation"), "RAD_WS", papers=transport.peer) as it:
        yield it


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, transport: Transport) -> Iterator[dcmtk.StoreSCP]:
    with dcmtk.storescp(tmp_path_factory.mktemp("hospital"), "PUBPACS", papers=transport.peer) as it:
        yield it


@pytest.fixture(scope="module")
def node(
    start_node: Callable[..., Node], workstation: dcmtk.StoreSCP, hospital: dcmtk.StoreSCP, transport: Transport
) -> Node:
    return start_node(transport.configured(default_config(rad_ws=workstation.port, pubpacs=hospital.port)))


@pytest.fixture(scope="module")
def tools(node: Node, transport: Transport) -> Iterator[Tools]:
    with transport.tools(node) as it:
        yield it


def _sent(paths: list[Path]) -> dict[str, bytes]:
    return {sample.sop_instance: sample.dataset for sample in map(read_sample, paths)}


def _arrived(scp: dcmtk.StoreSCP, wanted: set[str]) -> dict[str, bytes]:
    found = {}
    for path in scp.files():
        uid = str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
        if uid in wanted:
            found[uid] = dataset_of(path)
    return found


# -- verification and storage ----------------------------------------------------------------------------------


def test_echoscu(tools: Tools) -> None:
    assert tools.echoscu(calling="CT1", called="REFERNODE").code == 0
    assert tools.echoscu(calling="RAD_WS", called="TO_GENERAL").code == 0


def test_echoscu_of_a_stranger_is_rejected(tools: Tools) -> None:
    done = tools.echoscu(calling="STRANGER", called="REFERNODE")
    assert done.code != 0
    assert "Calling AE Title Not Recognized" in done.text
    done = tools.echoscu(calling="CT1", called="ANY-SCP")
    assert "Called AE Title Not Recognized" in done.text


def test_storescu(tools: Tools, node: Node, tmp_path: Path) -> None:
    paths = make_study(tmp_path, slices=5, patient_id="STORESCU")
    done = tools.storescu(paths, calling="CT1", called="REFERNODE")
    assert done.code == 0, done.text
    (study,) = node.cli("studies", "show", read_sample(paths[0]).study, "--phi", json=True)
    assert (study["patient_id"], study["instances"]) == ("STORESCU", 5)


def test_storescu_of_a_workstation_gets_no_context(tools: Tools, tmp_path: Path) -> None:
    done = tools.storescu(make_study(tmp_path, slices=1), calling="RAD_WS", called="REFERNODE")
    assert done.code != 0
    assert "No Acceptable Presentation Contexts" in done.text


def test_dcmsend_of_real_objects_in_many_syntaxes(tools: Tools) -> None:
    paths = [
        path for path in real_files(distinct=True) if read_sample(path).transfer_syntax != "1.2.840.10008.1.2.1.99"
    ]
    done, report = tools.dcmsend(paths, calling="CT1", called="REFERNODE")
    assert done.code == 0, done.text[-2000:]
    assert f"with status SUCCESS  : {len(paths)}" in report, report


# -- query and retrieve ----------------------------------------------------------------------------------------


def test_findscu(tools: Tools, node: Node, tmp_path: Path) -> None:
    paths = make_study(tmp_path, slices=3, patient_id="FINDSCU", patient_name="FIND^SCU")
    node.send(paths)
    keys = {
        "PatientName": "find*",
        "StudyInstanceUID": "",
        "NumberOfStudyRelatedInstances": "",
        "ModalitiesInStudy": "",
    }
    found = tools.find("STUDY", keys, calling="RAD_WS", called="REFERNODE")
    assert found.status == 0, found.done.text
    (match,) = found.matches
    assert match.StudyInstanceUID == read_sample(paths[0]).study
    assert (match.NumberOfStudyRelatedInstances, match.ModalitiesInStudy) == (3, "CT")
    below = {"StudyInstanceUID": match.StudyInstanceUID, "SeriesInstanceUID": read_sample(paths[0]).series}
    images = tools.find("IMAGE", below | {"SOPInstanceUID": ""}, calling="RAD_WS", called="REFERNODE")
    assert {image.SOPInstanceUID for image in images.matches} == set(_sent(paths))
    patient = tools.find("PATIENT", {"PatientID": "FINDSCU"}, calling="RAD_WS", called="REFERNODE", model="-P")
    assert [match.PatientID for match in patient.matches] == ["FINDSCU"]


def test_movescu_delivers_to_a_storescp_bit_by_bit(
    tools: Tools, node: Node, workstation: dcmtk.StoreSCP, tmp_path: Path
) -> None:
    paths = make_study(tmp_path, slices=4, patient_id="MOVESCU")
    node.send(paths)
    keys = {"StudyInstanceUID": read_sample(paths[0]).study}
    done = tools.movescu("RAD_WS", "STUDY", keys, calling="RAD_WS", called="REFERNODE")
    assert (done.code, done.status) == (0, 0), done.text
    assert _final(done) == {"Completed": 4, "Failed": 0, "Warning": 0}
    assert _arrived(workstation, set(_sent(paths))) == _sent(paths)


def _final(done: dcmtk.Done) -> dict[str, int]:
    """The counts of the last response that movescu has dumped."""
    last = done.text[done.text.rindex("Completed Suboperations") :]
    return {key: int(last.split(f"{key} Suboperations")[1].split(":")[1].split()[0]) for key in _COUNTS}


@pytest.mark.parametrize("path", charset_files(), ids=lambda path: path.name)
def test_a_name_in_any_alphabet_is_found_and_moved(
    path: Path, tools: Tools, node: Node, workstation: dcmtk.StoreSCP
) -> None:
    sample = apart(read_sample(path))
    with node.associate("CT1", contexts_for([sample])) as association:
        assert association.send_sample(sample) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = str(pydicom.dcmread(path, stop_before_pixels=True).PatientName)
    keys = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": name, "StudyInstanceUID": ""}
    found = tools.find("STUDY", keys, calling="RAD_WS", called="REFERNODE")
    assert {m.StudyInstanceUID: str(m.PatientName) for m in found.matches}[sample.study] == name
    keys = {"StudyInstanceUID": sample.study}
    done = tools.movescu("RAD_WS", "STUDY", keys, calling="RAD_WS", called="REFERNODE")
    assert (done.code, done.status) == (0, 0), done.text
    assert _final(done) == {"Completed": 1, "Failed": 0, "Warning": 0}
    assert _arrived(workstation, {sample.sop_instance}) == {sample.sop_instance: sample.dataset}


# -- forwarding ------------------------------------------------------------------------------------------------


def test_a_referred_study_arrives_at_a_storescp_bit_by_bit(
    node: Node, hospital: dcmtk.StoreSCP, tmp_path: Path
) -> None:
    paths = make_study(tmp_path, slices=10, patient_id="REFERRED")
    assert set(node.send(paths, called="TO_GENERAL").values()) == {0}
    hospital.wait_for(10)

    def sent() -> bool:
        listed = node.cli("referrals", "list", json=True)
        return any(
            row["study_instance_uid"] == read_sample(paths[0]).study and row["state"] == "sent" for row in listed
        )

    node.wait_until(sent, 20, "the referral to be sent")
    assert _arrived(hospital, set(_sent(paths))) == _sent(paths)


def test_a_hospital_that_refuses_a_syntax_leaves_it_held_with_a_reason(
    start_node: Callable[..., Node], transport: Transport, tmp_path: Path
) -> None:
    """storescp without +xa takes no JPEG: what it cannot have is visible, and the rest arrives."""
    plain, jpeg = make_study(tmp_path / "study", slices=2), next(p for p in real_files() if p.name == "JPEG-lossy.dcm")
    with dcmtk.storescp(tmp_path / "plain", "PUBPACS", options=["+x="], papers=transport.peer) as hospital:
        node = start_node(transport.configured(default_config(pubpacs=hospital.port)))
        assert set(node.send([*plain, jpeg], called="TO_GENERAL").values()) == {0}

        def held() -> list[dict[str, object]]:
            return [row for row in node.cli("queue", "list", json=True) if row["state"] == "held"]

        rows = node.wait_until(held, 20, "the transfers that cannot go to be held")
        assert [row["sop_instance_uid"] for row in rows] == [read_sample(jpeg).sop_instance]
        assert "does not accept" in str(rows[0]["reason"])
        hospital.wait_for(2)
        assert _arrived(hospital, set(_sent(plain))) == _sent(plain)
