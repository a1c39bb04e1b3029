"""Referrals in advance with real parts: DCMTK's wlmscpfs is the hospital's RIS, and Orthanc the private site's PACS."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset

from tests import dcmtk
from tests.node import LOCAL, Node, changed, default_config, free_port, wait_until
from tests.orthanc import Orthanc
from tests.receiver import Receiver
from tests.samples import make_study, read_sample
from tests.wire import send_files

NAME, ID = "CHAN^TAI MAN=陳^大文", "K9876543"  # of nobody else: Orthanc has one patient for an ID
BORN = {"PatientBirthDate": "19700131", "PatientSex": "M"}


class Ris:
    """wlmscpfs: each file in its folder is a step on its worklist. A context manager."""

    def __init__(self, folder: Path) -> None:
        self.port, self._files, self._log = free_port(), folder / "GENERAL_RIS", folder / "ris.log"
        self._files.mkdir()
        (self._files / "lockfile").touch()

    def __enter__(self) -> Ris:
        command = [dcmtk.binary("wlmscpfs"), "-v", "-dfp", str(self._files.parent), str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: dcmtk.echoscu(self.port, called="GENERAL_RIS").code == 0, 20, "wlmscpfs", self._log)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def schedule(self, number: str, station: str) -> None:
        """Put a step on the worklist, for today."""
        item, step = Dataset(), Dataset()
        step.ScheduledStationAETitle, step.Modality = station, "CT"
        step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = today(), "1200"
        step.ScheduledProcedureStepID, step.ScheduledProcedureStepDescription = f"S{number}", "CT brain"
        item.SpecificCharacterSet = "ISO_IR 192"
        for keyword, value in (BORN | {"PatientName": NAME, "PatientID": ID}).items():
            setattr(item, keyword, value)
        item.AccessionNumber, item.RequestedProcedureID = f"GEN{number}", number
        item.RequestedProcedureDescription, item.RequestedProcedurePriority = "CT brain", "STAT"
        item.StudyInstanceUID, item.ScheduledProcedureStepSequence = f"1.2.3.{len(number)}", [step]
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.31", "1.2.3"
        item.file_meta = meta
        item.save_as(self._files / f"{number}.wl", enforce_file_format=True)


def today() -> str:
    return f"{datetime.now(UTC):%Y%m%d}"


@pytest.fixture(scope="module")
def ris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ris]:
    with Ris(tmp_path_factory.mktemp("ris")) as it:
        yield it


@pytest.fixture(scope="module")
def hospital() -> Iterator[Receiver]:
    with Receiver() as it:
        yield it


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node], ris: Ris, orthanc: Orthanc, hospital: Receiver) -> Node:
    """Whatever of harbour's is expected is looked for in Orthanc; what is not expected goes nowhere."""
    asked = {"site": "general", "ae_title": "GENERAL_RIS", "host": LOCAL, "port": ris.port, "worklist": "1s"}
    looked = {"site": "harbour", "ae_title": "ORTHANC", "host": LOCAL, "port": orthanc.port, "may": ["store"]}
    route = {"name": "referred", "from": ["harbour"], "to": ["PUBPACS"], "wait": "1s", "require": "referral"}
    changes = {
        "node": {"limits": {"pull": "1s"}},
        "partners": {"RIS": asked, "PACS": {**looked, "pull": True}},
        "routes": [route],
    }
    it = start_node(changed(default_config(pubpacs=hospital.port), changes))
    orthanc.add_modality("refernode", "REFERNODE", LOCAL, it.port)
    return it


def _listed(node: Node, number: str) -> dict[str, Any] | None:
    found = [row for row in node.cli("referrals", "list", "--phi", json=True) if row["number"] == number]
    return dict(found[0]) if found else None


def test_what_the_ris_schedules_is_found_at_the_sites_pacs_and_carried_to_the_hospital(
    node: Node, ris: Ris, orthanc: Orthanc, hospital: Receiver, tmp_path: Path
) -> None:
    ris.schedule("RP1", "CT1")
    row = node.wait_until(lambda: _listed(node, "RP1"), 30, "the referral to be known")
    assert (row["state"], row["patient_id"], row["site"]) == ("expected", ID, "harbour")
    assert (row["referral"], row["study_instance_uid"]) == (None, None)
    said = BORN | {"IssuerOfPatientID": "HKID", "SpecificCharacterSet": "ISO_IR 192", "StudyDate": today()}
    paths = make_study(tmp_path, slices=3, seed="pulled", patient_id=ID, patient_name=NAME, **said)
    assert set(send_files(LOCAL, orthanc.port, "ORTHANC", "MODALITY", paths).values()) == {0}
    uids = {read_sample(path).sop_instance for path in paths}
    hospital.wait_until(lambda: {each.sop_instance for each in hospital.received} >= uids, 40, "the study")
    row = node.wait_until(lambda: _listed(node, "RP1"), 10, "the referral")
    assert row["study_instance_uid"] == read_sample(paths[0]).study
    (shown,) = node.cli("referrals", "show", "RP1", json=True)
    assert shown["state"] == "matched"
    assert shown["looked"] == "PACS has sent it: 3 instances"
    assert shown["urgent"] is True
    assert shown["patient_name"] == "C*******"


def test_what_nobody_has_referred_waits_until_a_person_says_what_it_is(
    node: Node, hospital: Receiver, tmp_path: Path
) -> None:
    paths = make_study(tmp_path, slices=2, seed="nobody", patient_id="H77", PatientBirthDate="19800101", PatientSex="F")
    study = read_sample(paths[0]).study
    assert set(node.send(paths).values()) == {0}

    def row() -> Any:
        rows = node.cli("referrals", "list", json=True)
        return next((each for each in rows if each["study_instance_uid"] == study and each["gate"] == "held"), None)

    assert "no referral in advance is found for it" in node.wait_until(row, 20, "it to be held")["reason"]
    file = tmp_path / "referrals.csv"
    file.write_text(
        "number,patient_id,issuer_of_patient_id,patient_name,patient_birth_date,patient_sex\n"
        "R-77,H77,HARBOUR,TESTER^ANNA,1980-01-01,F\n"
    )
    assert node.cli("referrals", "import", str(file)).out == "imported: 1 new, 0 changed, 0 unchanged\n"
    uids = {read_sample(path).sop_instance for path in paths}
    hospital.wait_until(lambda: {each.sop_instance for each in hospital.received} >= uids, 20, "the study")
