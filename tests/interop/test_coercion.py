"""Coerced copies at a hospital: DCMTK and Orthanc take them, and dciodvfy finds no fault that was not in the original.

Objects of many kinds go through a whole node: each has a referral in advance, which is found by its accession number.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests import dcmtk
from tests.node import LOCAL, Node, default_config
from tests.orthanc import Orthanc
from tests.samples import real_files

NAMES = [
    *("CT_small.dcm", "MR_small_expb.dcm", "JPEG2000.dcm", "rtplan.dcm", "reportsi.dcm", "waveform_ecg.dcm"),
    *("examples_ybr_color.dcm", "emri_small.dcm", "SC_rgb_rle.dcm", "chrH32.dcm", "chrX2.dcm"),
]
COERCE = {"patient_id": "HKID", "issuers": True, "institution": True, "request": True}
HARBOUR = "海港影像码头"
"""No Japanese character set has all of it."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """SOP Instance UID → the file that is sent, with an accession number of its own."""
    folder, found = tmp_path_factory.mktemp("originals"), dict[str, Path]()
    files = {path.name: path for path in real_files(more=True)}
    for number, name in enumerate(NAMES):
        dataset = pydicom.dcmread(files[name])
        dataset.AccessionNumber = f"ACC-{number}"
        dataset.PatientBirthDate, dataset.PatientSex = "19700101", "F"  # as the referral has them
        dataset.PatientID = dataset.get("PatientID") or "NONE"
        dataset.PatientName = dataset.get("PatientName") or "NOBODY"
        dataset.save_as(folder / name)
        found[str(dataset.SOPInstanceUID)] = folder / name
    assert len(found) == len(NAMES)
    return found


@pytest.fixture(scope="module")
def referrals(tmp_path_factory: pytest.TempPathFactory, originals: dict[str, Path]) -> Path:
    path = tmp_path_factory.mktemp("referrals") / "referrals.jsonl"
    lines = [
        {
            "number": f"REF-{number}",
            "issuer": "HA",
            "patient_id": f"A{number:07}",
            "issuer_of_patient_id": "HKID",
            "patient_name": str(_read(of).PatientName),
            "patient_birth_date": "1970-01-01",
            "patient_sex": "F",
            "accession_number": f"ACC-{number}",
            "site": "harbour",
            "procedure": "Thorax 胸部",
            "procedure_code": "TH",
        }
        for number, of in enumerate(originals.values())
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dcmtk.StoreSCP | Orthanc]]:
    folder = tmp_path_factory.mktemp("hospitals")
    (folder / "orthanc").mkdir()
    with (
        dcmtk.storescp(folder / "dcmtk", "DCMTK", options=["+xa"]) as storescp,
        Orthanc(folder / "orthanc", ae_title="ORTHANC") as orthanc,
    ):
        yield {"DCMTK": storescp, "ORTHANC": orthanc}


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node], hospitals: dict[str, Any]) -> Node:
    config = default_config()
    config["sites"]["harbour"] |= {"name": HARBOUR, "accession_issuer": "HARBOUR-RIS", "patient_id_issuer": "HARBOUR"}
    config["sites"]["general"]["patient_id_issuer"] = "HKID"
    for name, hospital in hospitals.items():
        partner = {"site": "general", "host": LOCAL, "port": hospital.port, "coerce": dict(COERCE), "confirm": "status"}
        config["partners"][name] = partner
    config["routes"][0] |= {"to": list(hospitals), "require": "referral"}
    return start_node(config)


@pytest.fixture(scope="module")
def arrived(
    node: Node, originals: dict[str, Path], referrals: Path, hospitals: dict[str, Any]
) -> dict[str, dict[str, Path]]:
    """By hospital, SOP Instance UID → the file that it wrote."""
    node.cli("referrals", "import", str(referrals))
    assert set(node.send(originals.values(), called="TO_GENERAL").values()) == {0}

    def sent() -> bool:
        states = [row["state"] for row in node.cli("queue", "list", json=True)]
        assert "held" not in states, node.cli("queue", "list", json=True)
        return states == ["delivered"] * 2 * len(originals)

    node.wait_until(sent, 120, "everything to be sent")
    files = {"DCMTK": hospitals["DCMTK"].files(), "ORTHANC": _written(hospitals["ORTHANC"])}
    return {name: {str(_read(path).SOPInstanceUID): path for path in paths} for name, paths in files.items()}


def _written(orthanc: Orthanc) -> list[Path]:
    paths = []
    for number in orthanc.instances().values():
        paths.append(orthanc.folder / f"{number}.dcm")
        paths[-1].write_bytes(orthanc.dicom_file(number))
    return paths


def _read(path: Path) -> Dataset:
    return pydicom.dcmread(path)


@pytest.mark.parametrize("hospital", ["DCMTK", "ORTHANC"])
@pytest.mark.parametrize("name", NAMES)
def test_a_hospital_has_the_copy_that_it_is_to_have(
    name: str, hospital: str, arrived: dict[str, dict[str, Path]], originals: dict[str, Path]
) -> None:
    (uid,) = [uid for uid, path in originals.items() if path.name == name]
    before, after, number = _read(originals[uid]), _read(arrived[hospital][uid]), NAMES.index(name)
    assert (after.PatientID, after.IssuerOfPatientID) == (f"A{number:07}", "HKID")
    assert after.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "HARBOUR-RIS"
    assert after.RequestAttributesSequence[-1].RequestedProcedureID == f"REF-{number}"
    assert after.RequestAttributesSequence[-1].RequestedProcedureDescription == "Thorax 胸部"
    assert after.InstitutionName == (before.get("InstitutionName") or HARBOUR)
    assert str(after.get("PatientName")) == str(before.get("PatientName"))
    previous = after.OriginalAttributesSequence[-1].ModifiedAttributesSequence[0]
    assert (previous.PatientID or "") == (before.get("PatientID") or "")
    assert after.ContributingEquipmentSequence[-1].PurposeOfReferenceCodeSequence[0].CodeValue == "109103"
    assert after.get("PixelData") == before.get("PixelData") or name == "MR_small_expb.dcm"


@pytest.mark.parametrize("name", NAMES)
def test_dciodvfy_finds_no_error_that_was_not_there(
    name: str, arrived: dict[str, dict[str, Path]], originals: dict[str, Path]
) -> None:
    (uid,) = [uid for uid, path in originals.items() if path.name == name]
    assert not errors(arrived["DCMTK"][uid]) - errors(originals[uid])


def test_dciodvfy_does_find_what_is_wrong(originals: dict[str, Path], tmp_path: Path) -> None:
    path = next(path for path in originals.values() if path.name == "CT_small.dcm")
    dataset = _read(path)
    dataset.OtherPatientIDsSequence = [Dataset()]
    dataset.save_as(tmp_path / "wrong.dcm")
    assert errors(tmp_path / "wrong.dcm") - errors(path)


def errors(path: Path) -> Counter[str]:
    """What the validator says; what is required and was missing is the same error when it is there and empty."""
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, timeout=60, check=False)
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    found = (re.sub(r"(Missing|Empty) attribute( \(no value\))?", "No value", line) for line in lines)
    return Counter(line for line in found if line.startswith("Error"))
