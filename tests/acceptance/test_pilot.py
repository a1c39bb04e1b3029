"""`dicomnode demo --pilot`, run as a user runs it; then all that it left behind is looked at anew.

What is wrong with a study is told here from its files and from the referrals' file, and what the hospital has from the
files in Orthanc's storage: neither the demonstration nor the node is believed.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pydicom
import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset

from dicomnode.cli import main
from tests.node import wait_until
from tests.patience import patient

pytestmark = pytest.mark.interop
GOLDEN = Path(__file__).parent / "golden" / "pilot"
CLEAN, WRONG, MIXED, NO_CONSENT = "clean", "wrong patient", "two patients", "no consent"
_STATES = {CLEAN: "confirmed", WRONG: "quarantined", MIXED: "quarantined", NO_CONSENT: "held"}


class Study(NamedTuple):
    """A study as it was sent: its referral's row, what is wrong with it, and its images."""

    row: dict[str, str]
    kind: str
    images: list[Dataset]


class Pilot:
    """What a run of it left in its folder, and what it printed."""

    def __init__(self, folder: Path, said: str) -> None:
        self.folder, self.said = folder, said

    def cli(self, *arguments: str) -> str:
        done = CliRunner().invoke(main, ["-c", str(self.folder / "dicomnode.yaml"), *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    @cached_property
    def sent(self) -> dict[str, Study]:
        """By Study Instance UID."""
        with (self.folder / "referrals.csv").open(encoding="utf-8", newline="") as file:
            rows = {row[key]: row for row in csv.DictReader(file) for key in ("number", "accession_number")}
        studies = {}
        for place in (self.folder / "studies").iterdir():
            images = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(place.iterdir())]
            row = rows[_number(images[0])]
            studies[images[0].StudyInstanceUID] = Study(row, _kind(images, row), images)
        return studies

    @cached_property
    def listed(self) -> dict[str, dict[str, Any]]:
        """The node's referrals, by Study Instance UID."""
        return {row["study_instance_uid"]: row for row in json.loads(self.cli("referrals", "list", *_ALL))}


_ALL = ("--limit", "1000", "--json")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dicomnode", *arguments]


def _number(image: Dataset) -> str:
    asked = image.get("RequestAttributesSequence")
    return str(asked[0].RequestedProcedureID if asked else image.AccessionNumber)


def _kind(images: list[Dataset], row: dict[str, str]) -> str:
    """What is wrong with a study, by the files alone."""
    if len({str(image.PatientID) for image in images}) > 1:
        return MIXED
    image = images[0]
    told = (image.PatientBirthDate, image.PatientSex, image.get("IssuerOfPatientID") and image.PatientID)
    if told not in [(row["patient_birth_date"], row["patient_sex"], each) for each in (None, row["patient_id"])]:
        return WRONG
    return CLEAN if row["consent"] else NO_CONSENT


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Pilot:
    folder = tmp_path_factory.mktemp("pilot") / "new"
    command = _command("demo", "--pilot", str(folder))
    done = subprocess.run(command, capture_output=True, timeout=patient(100), cwd=folder.parent)
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, said
    assert "Traceback" not in said
    return Pilot(folder, said)


def test_it_is_the_pilot_that_was_asked_for(pilot: Pilot) -> None:
    kinds = Counter(study.kind for study in pilot.sent.values())
    assert kinds == {CLEAN: 318, WRONG: 5, MIXED: 3, NO_CONSENT: 2}
    assert len({study.row["site"] for study in pilot.sent.values()}) == 31
    assert {image.Modality for study in pilot.sent.values() for image in study.images} == {"CT", "MR", "US", "CR", "MG"}


def test_the_hospital_has_every_clean_study_whole_and_nothing_else(pilot: Pilot) -> None:
    kept: dict[str, set[str]] = defaultdict(set)
    for path in (pilot.folder / "hospital" / "storage").rglob("*"):
        if path.is_file() and (image := _dicom(path)):
            kept[image.StudyInstanceUID].add(image.SOPInstanceUID)
            row = pilot.sent[image.StudyInstanceUID].row
            assert (image.PatientID, image.IssuerOfPatientID) == (row["patient_id"], "HKID")
            assert image.PatientBirthDate == row["patient_birth_date"]
            assert row["number"] in [each.RequestedProcedureID for each in image.RequestAttributesSequence]
    clean = {uid: study for uid, study in pilot.sent.items() if study.kind == CLEAN}
    assert kept == {uid: {image.SOPInstanceUID for image in study.images} for uid, study in clean.items()}


def _dicom(path: Path) -> Dataset | None:
    """An image among the files of Orthanc."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return None
    return pydicom.dcmread(path, stop_before_pixels=True)


def test_the_node_says_the_same_of_each(pilot: Pilot) -> None:
    states = {uid: row["state"] for uid, row in pilot.listed.items()}
    assert states == {uid: _STATES[study.kind] for uid, study in pilot.sent.items()}
    for uid, row in pilot.listed.items():
        study = pilot.sent[uid]
        assert row["instances"] == len(study.images)
        assert row["delivered"] == (len(study.images) if study.kind == CLEAN else 0)
        assert (row["proof"] == "find", bool(row["reason"])) == (study.kind == CLEAN, study.kind != CLEAN)


def test_the_workstation_found_its_own_studies_and_no_others(pilot: Pilot) -> None:
    queries = json.loads((pilot.folder / "pilot.json").read_text())["queries"]
    (asked,) = queries["own"]
    site = pilot.sent[asked].row["site"]
    assert queries["other"] == []
    assert queries["all"] == sorted(uid for uid, study in pilot.sent.items() if study.row["site"] == site)


def test_each_that_is_not_there_is_explained(pilot: Pilot) -> None:
    found = {}
    for uid, study in pilot.sent.items():
        if study.kind != CLEAN:
            found[study.row["number"]] = _plain(pilot.cli("explain", uid))
            (told,) = json.loads(pilot.cli("explain", uid, "--json"))
            (conclusion,) = told["conclusions"]
            assert all(conclusion[key] for key in ("fact", "cause", "action", "whose"))
            assert " ".join(conclusion.values()).split("`")[0] in pilot.said
    if os.environ.get("REWRITE_GOLDEN"):
        for number, text in found.items():
            (GOLDEN / f"{number}.txt").write_text(text)
    assert found == {path.stem: path.read_text() for path in GOLDEN.glob("*.txt")}


_EACH_TIME = {
    r"2\.25\.\d+": "UID",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": "TIME",
    r"(?<=127\.0\.0\.1:)\d+": "PORT",
    r"(?<=^Referral )\d+|(?<=quarantine show )\d+|(?<=referrals consent )\d+": "N",
}


def _plain(text: str) -> str:
    """What is another on each run, by what it is; its last paragraph is not broken into lines."""
    head, _, end = text.rstrip("\n").rpartition("\n\n")
    text = f"{head}\n\n" + end.replace("\n", " ") + "\n"
    for pattern, word in _EACH_TIME.items():
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


def test_the_report_says_so(pilot: Pilot) -> None:
    today = date.today()  # it may have been another when the pilot ran
    period = "--from", str(today - timedelta(2)), "--to", str(today + timedelta(2))
    report = json.loads(pilot.cli("report", *period, "--json"))
    total = report["total"]
    sent = 320  # 318: of a site and modality, those that were stopped are few
    assert (total["referred"], total["electronic"], total["confirmed"]) == (328, sent, 1.0)
    assert report["failures"] == {"in quarantine": 10, "no consent": "<5"}
    per_site = Counter(study.row["site"] for study in pilot.sent.values())
    assert {site: row["referred"] for site, row in report["sites"].items()} == per_site
    page = (pilot.folder / "report.html").read_text()
    assert "328" in page
    assert "318" not in page
    assert not any(uid in page or study.row["patient_id"] in page for uid, study in pilot.sent.items())


# -- how it ends otherwise -------------------------------------------------------------------------------------


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    """Whoever stops it in the middle of its work leaves no process behind."""
    folder = tmp_path / "new"
    with (tmp_path / "said").open("w+b") as said:
        process = subprocess.Popen(_command("demo", "--pilot", str(folder)), stdout=said, stderr=said)
        try:
            wait_until((folder / "data" / "incoming").exists, patient(60), "the node to start")
            process.send_signal(signal.SIGTERM)
            assert process.wait(patient(60)) == 1
        finally:
            process.kill()
            process.wait()
    assert list(_about(folder)) == []


def _about(folder: Path) -> Iterator[str]:
    """The command lines that name a folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            yield line


def test_without_its_programs_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    environment = os.environ | {"PATH": str(tmp_path / "bin")}
    done = subprocess.run(_command("demo", "--pilot", str(tmp_path / "new")), capture_output=True, env=environment)
    assert done.returncode == 2
    assert "apt-get install dcmtk" in done.stderr.decode()


def test_it_fills_no_folder_that_has_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = subprocess.run(_command("demo", "--pilot", str(tmp_path)), capture_output=True)
    assert (done.returncode, str(tmp_path) in done.stderr.decode()) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
