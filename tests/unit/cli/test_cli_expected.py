"""cli/expected.py: referrals in advance are imported, listed, shown, matched and cancelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dicomnode.cli import main
from tests import fakes
from tests.samples import make_instances

CONFIG = fakes.CONFIG.replace("wait: 60s}", "wait: 60s, require: referral}")
HEADER = "number,patient_id,issuer_of_patient_id,patient_name,patient_birth_date,patient_sex,site,recipient\n"
GOOD = HEADER + "R-1,A1,HARBOUR,CHAN^TAI MAN,1970-01-31,M,harbour,=cmd()\nR-2,B2,HKID,WONG^SIU MING,,,,\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node with a study that waits for its referral, and a file of two referrals; tests go on from each other."""
    folder = tmp_path_factory.mktemp("expected")
    (folder / "dicomnode.yaml").write_text(CONFIG)
    node = fakes.make_node(folder, CONFIG)
    whose = {"PatientID": "C3", "PatientName": "LEE^ANNA", "PatientBirthDate": "19800101", "PatientSex": "F"}
    fakes.receive_all(node, make_instances(2, seed="cli", **whose))
    fakes.complete(node)
    node.database.close()
    (folder / "good.csv").write_text(GOOD)
    assert cli(folder, "import", str(folder / "good.csv")).exit_code == 0
    return folder


def cli(folder: Path, *arguments: str) -> Result:
    done = CliRunner().invoke(main, ["-c", str(folder / "dicomnode.yaml"), "referrals", *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def as_json(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    return list(json.loads(cli(folder, *arguments, "--json").stdout))


def test_what_is_imported_again_is_unchanged(folder: Path) -> None:
    assert cli(folder, "import", str(folder / "good.csv")).stdout == "imported: 0 new, 0 changed, 2 unchanged\n"


def test_a_dry_run_says_what_would_be_done(folder: Path) -> None:
    file = folder / "changed.csv"
    file.write_text(GOOD.replace("=cmd()", "Dr Lee") + "R-3,D4,HKID,,,,,\n")
    done = cli(folder, "import", str(file), "--check")
    assert done.stdout.splitlines() == [
        "R-1: changed (recipient)",
        "R-3: new",
        "would be imported: 1 new, 1 changed, 1 unchanged",
    ]
    assert len([row for row in as_json(folder, "list") if row["state"] == "expected"]) == 2


def test_every_bad_line_is_said_and_nothing_is_imported(folder: Path) -> None:
    file = folder / "bad.csv"
    file.write_text(HEADER + "R-4,D4,HKID,,31/01/1970,,,\nR-5,D5,HKID,,,X,harbor,\nR-6,D6,HKID,,,,,\n")
    done = cli(folder, "import", str(file))
    assert done.exit_code == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("line")] == [
        "line 2: patient_birth_date: is not written YYYY-MM-DD or YYYYMMDD, and of any other form nobody knows what is"
        " the month",
        "line 3: patient_sex: is none of M, F and O, nor empty",
        "line 3: site: there is no private site 'harbor'; did you mean 'harbour'?",
    ]
    assert "nothing was imported: 3 faults" in done.stderr
    assert not [row for row in as_json(folder, "list") if row["number"] == "R-6"]


def test_what_is_expected_is_listed_without_a_study(folder: Path) -> None:
    rows = {row["number"]: row for row in as_json(folder, "list")}
    assert rows["R-1"].keys() == rows[None].keys(), "a list has the same keys in every row"
    expected = rows["R-1"]
    assert (expected["state"], expected["referral"], expected["study_instance_uid"]) == ("expected", None, None)
    assert (expected["patient_id"], expected["site"], expected["partner"]) == ("A*", "harbour", None)
    assert "R-1" in cli(folder, "list").stdout
    assert {row["number"] for row in as_json(folder, "list", "--phi") if row["patient_id"] == "A1"} == {"R-1"}


def test_what_is_expected_is_shown_masked(folder: Path) -> None:
    said = cli(folder, "show", "R-1").stdout
    assert said.startswith("Referral in advance R-1: expected\n")
    assert not [each for each in ("CHAN", "1970", "cmd", "sex: M") if each in said]
    clear = cli(folder, "show", "R-1", "--phi").stdout
    assert not [each for each in ("CHAN^TAI MAN", "1970", "recipient: =cmd()", "sex: M") if each not in clear]
    (row,) = as_json(folder, "show", "--number", "R-1")
    assert (row["patient_name"], row["patient_birth_date"], row["studies"]) == ("C*******", "1*******", [])
    assert cli(folder, "show", "R-9").exit_code == 2


def test_a_person_says_which_it_is(folder: Path) -> None:
    uid = make_instances(1, seed="cli")[0].study
    assert "no referral in advance is found for it" in as_json(folder, "show", "1")[0]["reason"]
    assert cli(folder, "match", uid, "R-2").exit_code == 0
    (row,) = as_json(folder, "show", "1")
    assert row["number"] == "R-2"
    assert "no referral in advance" not in (row["reason"] or "")
    (shown,) = as_json(folder, "show", "R-2")
    assert (shown["state"], shown["studies"]) == ("matched", [uid])
    assert "its number is R-2" in cli(folder, "show", "1").stdout


def test_what_is_cancelled_is_expected_no_more(folder: Path) -> None:
    assert cli(folder, "cancel", "R-1", "--reason", " ").exit_code == 2
    assert cli(folder, "cancel", "R-1", "--reason", "went elsewhere").exit_code == 0
    assert "R-1" not in {row["number"] for row in as_json(folder, "list")}
    said = cli(folder, "show", "R-1").stdout
    assert "cancelled" in said
    assert "went elsewhere" in said
