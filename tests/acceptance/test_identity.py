"""`dicomnode quarantine` where it is in doubt whose study it is, as persons at a terminal meet it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner

from dicomnode.cli import main, opening
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from tests import fakes
from tests.fakes import FakePartner
from tests.node import Result
from tests.samples import Sample, make_instances

ANNA = {"PatientID": "H4711", "PatientName": "TESTER^ANNA", "PatientBirthDate": "19800512", "PatientSex": "F"}
BERT = {"PatientID": "H0815", "PatientName": "OTHER^BERT", "PatientBirthDate": "19791231", "PatientSex": "M"}
SECRET = ("4711", "0815", "TESTER", "BERT", "19800512", "19791231")


def study(seed: str, *said: dict[str, str]) -> list[Sample]:
    """One study, an instance for each."""
    return [make_instances(at, seed=seed, **each)[-1] for at, each in enumerate(said, 1)]  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node that wants two persons, with a clean study, one of two patients, and one without a patient ID."""
    config = fakes.CONFIG.replace("data: ./data,", "data: ./data, operators: 2,")
    (tmp_path / "dicomnode.yaml").write_text(config)

    def filled(node: Node) -> None:
        fakes.receive_all(node, study("clean", ANNA, ANNA))
        fakes.receive_all(node, study("mixed", ANNA, ANNA, BERT))
        fakes.receive_all(node, study("nameless", {**ANNA, "PatientID": ""}))
        fakes.complete(node)

    beside(tmp_path, filled)
    return tmp_path


def beside(folder: Path, act: Callable[[Node], Any]) -> Any:
    """Do something with the node while no command has its index open."""
    node = fakes.make_node(folder, (folder / "dicomnode.yaml").read_text())
    try:
        return act(node)
    finally:
        node.database.close()


def send(folder: Path) -> int:
    """Send what may go; how many instances that was."""

    def sent(node: Node) -> int:
        fake = FakePartner()
        while forward(node.config.partners["PUBPACS"], fake, node, lambda: False):
            pass
        return len(fake.sent)

    return int(beside(folder, sent))


def cli(folder: Path, *arguments: str, who: str = "anna") -> Result:
    given = ["-c", str(folder / "dicomnode.yaml"), *arguments]
    with patch.object(opening, "_account", return_value=who):
        done = CliRunner().invoke(main, given, prog_name="dicomnode")
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Result(done.exit_code, done.stdout, done.stderr)


def as_json(folder: Path, *arguments: str) -> Any:
    return json.loads(cli(folder, *arguments, "--json").out)


def test_persons_find_compare_and_decide(folder: Path) -> None:
    assert send(folder) == 2  # the clean one
    nameless, mixed = as_json(folder, "quarantine", "list")
    assert (mixed["state"], mixed["kind"], nameless["state"], nameless["kind"]) == (
        *("quarantined", ["identity"]),
        *("held", ["identity"]),
    )
    assert "2 patients" in mixed["reason"]
    assert "no patient ID" in nameless["reason"]

    shown = cli(folder, "quarantine", "show", "2").out
    assert not [value for value in SECRET if value in shown]
    for word in ("patient 1 (2 instances)", "patient 2 (1 instance)", "PatientBirthDate", "2 patients", "keeps it"):
        assert word in shown
    clear = cli(folder, "quarantine", "show", "2", "--phi").out
    assert all(value in clear for value in SECRET)

    release = ("quarantine", "release", "2", "--reason", "one and the same")
    first = cli(folder, *release)
    assert "anna proposes" in first.out
    assert "anna proposes" in cli(folder, "quarantine", "show", "2").out
    again = cli(folder, *release)
    assert (again.code, "another person" in again.err) == (1, True)
    assert send(folder) == 0
    assert cli(folder, *release, who="bert").out == "study 2: it goes on\n"
    assert send(folder) == 3
    assert [each["study"] for each in as_json(folder, "quarantine", "list")] == [3]


def test_a_study_is_kept_here(folder: Path) -> None:
    done = cli(folder, "quarantine", "reject", "3", "--reason", "nobody knows whose it is")
    assert "rejected by anna: nobody knows whose it is" in done.out
    assert send(folder) == 2
    assert as_json(folder, "quarantine", "list")[0]["state"] == "quarantined"


def test_the_sides_as_json(folder: Path) -> None:
    (row,) = as_json(folder, "quarantine", "show", "2", "--phi")
    whose = row["identity"]
    assert (whose["state"], [each["attribute"] for each in whose["findings"]]) == ("quarantined", ["PatientID"])
    assert [(each["patient_id"], each["instances"]) for each in whose["patients"]] == [("H4711", 2), ("H0815", 1)]
    (masked,) = as_json(folder, "quarantine", "show", "2")
    assert not [value for value in SECRET if value in json.dumps(masked)]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("release", "1", "--reason", "why not"), "not in doubt"),
        (("release", "2", "--reason", " "), "--reason"),
        (("reject", "1", "--reason", "why not"), "not in doubt"),
    ],
)
def test_what_cannot_be_decided_is_said(folder: Path, arguments: tuple[str, ...], word: str) -> None:
    done = cli(folder, "quarantine", *arguments)
    assert done.code
    assert word in done.err
