"""A rejection note as real programs meet it: dciodvfy, storescp, and Orthanc; sent by a node, killed or not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest

from dicomnode.dicom.rejection import SOP_CLASS
from tests import dcmtk
from tests.node import LOCAL, Node, changed, default_config
from tests.orthanc import Orthanc
from tests.samples import make_study, read_sample, real_files

_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")


def faults(path: Path) -> list[str]:
    """What dciodvfy calls an error."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=120)
    said = (done.stdout + done.stderr).splitlines()
    assert any("KeyObjectSelectionDocument" in line for line in said), said  # it knows what it reads
    return [line for line in said if line.startswith("Error")]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with dcmtk.storescp(tmp_path_factory.mktemp("storescp"), "PLAIN") as it:
        yield it


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node], orthanc: Orthanc, plain: Any) -> Node:
    """Studies go to Orthanc and, coerced, to a storescp; both are said to understand notes."""
    partners = {
        "PUBPACS": {"ae_title": orthanc.ae_title, "iocm": True},
        "PLAIN": {"site": "general", "host": LOCAL, "port": plain.port, "iocm": True, "coerce": {"issuers": True}},
    }
    config = changed(default_config(pubpacs=orthanc.port), {"partners": partners})
    config["routes"][0] |= {"to": list(partners), "identity": "none"}
    return start_node(config)


def sent(node: Node, paths: Sequence[Path], study: str) -> dict[str, int]:
    """Refer files, and wait until both partners have all of their study; partner → referral."""
    assert set(node.send(paths, called="TO_GENERAL").values() if paths else {0}) == {0}

    def done() -> dict[str, int]:
        rows = [r for r in node.cli("referrals", "list", json=True) if r["study_instance_uid"] == study]
        there = [r for r in rows if r["delivered"] == r["instances"] and r["state"] in ("sent", "confirmed")]
        return {r["partner"]: r["referral"] for r in there} if len(there) == 2 else {}

    return dict(node.wait_until(done, 30, "both partners to have the study"))


def told(node: Node, referral: int) -> dict[str, Any]:
    """Wait until the partner has taken the note."""

    def done() -> dict[str, Any] | None:
        (row,) = node.cli("referrals", "show", str(referral), json=True)
        return row if row["recalls"][0]["state"] == "told" else None

    return dict(node.wait_until(done, 30, "the note to be taken"))


def recall(node: Node, referral: int, code: str, reason: str) -> None:
    done = node.cli("referrals", "recall", str(referral), "--reason-code", code, "--reason", reason)
    assert done.code == 0, done


def test_orthanc_and_storescp_take_a_note_that_dciodvfy_finds_no_fault_with(
    node: Node, orthanc: Orthanc, plain: Any, tmp_path: Path
) -> None:
    paths = make_study(tmp_path / "study", slices=3, patient_id="A1234563")
    study = read_sample(paths[0]).study
    referrals = sent(node, paths, study)
    recall(node, referrals["PUBPACS"], "patient", "falscher Patient: Müller")
    recall(node, referrals["PLAIN"], "quality", "blurred")
    row = told(node, referrals["PUBPACS"])
    assert (row["state"], row["gate"]) == ("recalling", "recalling")
    uid = row["recalls"][0]["sop_instance_uid"]
    file = tmp_path / "note.dcm"
    file.write_bytes(orthanc.dicom_file(orthanc.instances(study)[uid]))
    assert faults(file) == []
    note = pydicom.dcmread(file)
    assert (note.SOPClassUID, note.ConceptNameCodeSequence[0].CodeValue) == (SOP_CLASS, "113037")
    assert (note.PatientID, note.ContentSequence[0].TextValue) == ("A1234563", "falscher Patient: Müller")
    told(node, referrals["PLAIN"])
    (other,) = [path for path in plain.files() if pydicom.dcmread(path).SOPClassUID == SOP_CLASS]
    assert faults(other) == []
    note = pydicom.dcmread(other)
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    assert (note.IssuerOfPatientID, len(note.OriginalAttributesSequence)) == ("HARBOUR", 1)  # as in the images there
    done = node.cli("referrals", "recall", str(referrals["PLAIN"]), "--acknowledged", "deleted", "--by", "Dr Lee")
    assert "is recalled" in done.out


def test_a_note_names_objects_of_every_kind_without_a_fault(node: Node, orthanc: Orthanc, tmp_path: Path) -> None:
    """Real objects, with all that is odd about them: dciodvfy finds no fault in a note that they have not."""
    plain = [each for path in real_files(distinct=True) if (each := read_sample(path)).transfer_syntax in _NATIVE]
    kinds = {each.sop_class: each for each in reversed(plain) if len(each.dataset) < 300_000}
    for each in kinds.values():
        assert each.path
        assert set(node.send([each.path], called="TO_GENERAL").values()) == {0}
    for each in kinds.values():
        assert each.path
        referral = sent(node, [], each.study)["PUBPACS"]
        recall(node, referral, "retention", "kept long enough")
        uid = told(node, referral)["recalls"][0]["sop_instance_uid"]
        file = tmp_path / "note.dcm"
        file.write_bytes(orthanc.dicom_file(orthanc.instances(each.study)[uid]))
        original = subprocess.run(["dciodvfy", str(each.path)], capture_output=True, text=True, timeout=120)
        assert [line for line in faults(file) if line not in original.stdout + original.stderr] == [], each.path
    assert len(kinds) > 5


def test_a_kill_loses_no_note(node: Node, orthanc: Orthanc, tmp_path: Path) -> None:
    paths = make_study(tmp_path / "study", slices=2, patient_id="A1234564")
    study = read_sample(paths[0]).study
    referral = sent(node, paths, study)["PUBPACS"]
    node.kill_all()
    recall(node, referral, "worklist", "another entry")  # nobody is there to send it
    node.start()
    row = told(node, referral)
    assert row["recalls"][0]["sop_instance_uid"] in orthanc.instances(study)
