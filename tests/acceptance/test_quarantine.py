"""`dicomnode quarantine` and `referrals resend`, as a person at a terminal meets them; the node itself does not run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dicomnode.cli import main
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from tests import fakes
from tests.fakes import FakePartner
from tests.node import Result
from tests.samples import make_instances

MADE = make_instances(3, seed="cli", PatientName="OLD^NAME", PatientID="H4711")
RENAMED = make_instances(3, seed="cli", PatientName="NEW^NAME", PatientID="H4711")
OTHER = make_instances(1, seed="fine")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node that has a study that was sent again with another name, and another that is fine."""
    (tmp_path / "dicomnode.yaml").write_text(fakes.CONFIG)

    def filled(node: Node) -> None:
        fakes.receive_all(node, [*MADE, *RENAMED, *OTHER])
        fakes.complete(node)

    beside(tmp_path, filled)
    return tmp_path


def beside(folder: Path, act: Callable[[Node], Any]) -> Any:
    """Do something with the node while no command has its index open."""
    node = fakes.make_node(folder)
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


def cli(folder: Path, *arguments: str) -> Result:
    done = CliRunner().invoke(main, ["-c", str(folder / "dicomnode.yaml"), *arguments], prog_name="dicomnode")
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Result(done.exit_code, done.stdout, done.stderr)


def as_json(folder: Path, *arguments: str) -> Any:
    return json.loads(cli(folder, *arguments, "--json").out)


def fails(done: Result, code: int, *words: str) -> None:
    assert done.code == code, done
    assert all(word in done.err for word in words), done


def test_a_person_finds_compares_and_decides(folder: Path) -> None:
    listed = cli(folder, "quarantine", "list")
    assert listed.code == 0
    for word in ("held", "PatientName"):
        assert word in listed.out
    (row,) = as_json(folder, "quarantine", "list")
    assert (row["study_instance_uid"], row["state"], row["undecided"]) == (MADE[0].study, "held", 3)
    assert (row["versions"], row["referrals"]) == ([2], 1)
    shown = cli(folder, "quarantine", "show", str(row["study"]))
    assert shown.code == 0
    for word in ("version 1", "version 2", "correction", "PatientName", "2 more that differ in the same way"):
        assert word in shown.out
    assert send(folder) == 1  # the study that is fine
    done = cli(folder, "quarantine", "release", str(row["study"]), "--version", "2", "--reason", "called the ward")
    assert (done.code, done.out.strip()) == (0, "study 1: another version of 3 instances is current")
    assert cli(folder, "quarantine", "list").out.strip() == "No study is in doubt."
    assert send(folder) == 3
    events = [event for event in as_json(folder, "audit", "list") if event["event"] == "quarantine released"]
    assert [("called the ward" in event["text"], event["study_instance_uid"]) for event in events] == [
        (True, MADE[0].study)
    ]


def test_what_is_rejected_goes_on_as_it_was(folder: Path) -> None:
    done = cli(folder, "quarantine", "reject", MADE[0].study, "--reason", "sent by mistake")
    assert (done.code, done.out.strip()) == (0, "study 1: kept as before: 3 instances")
    assert send(folder) == 4
    fails(cli(folder, "quarantine", "reject", "1", "--reason", "again"), 1, "study 1 is not in doubt")


def test_one_instance_is_decided_on_and_the_rest_waits(folder: Path) -> None:
    done = cli(folder, "quarantine", "release", MADE[0].sop_instance, "--version", "1", "--reason", "x")
    assert done.out.strip().endswith("undecided still: 2, so the study goes on waiting")
    assert send(folder) == 1


def test_patients_are_masked_unless_they_are_asked_for(folder: Path) -> None:
    for command in ("list", "show"):
        for options in ([], ["--json"]):
            arguments = ["quarantine", command, *(["1"] if command == "show" else []), *options]
            masked, clear = cli(folder, *arguments).out, cli(folder, *arguments, "--phi").out
            assert not any(text in masked for text in ("OLD^NAME", "NEW^NAME", "H4711"))
            assert ("NEW^NAME" if command == "show" else "H4711") in clear
    (difference,) = as_json(folder, "quarantine", "show", "1", "--phi")
    assert difference["differences"] == {"PatientName": ["OLD^NAME", "NEW^NAME"]}
    assert [version["current"] for version in difference["versions"]] == [True, False]
    assert len(difference["instances"]) == 3


WRONG = [
    (["release", "1", "--reason", "x"], 2, ["--version", "1, 2"]),
    (["release", "1", "--version", "7", "--reason", "x"], 2, ["no version 7", "1, 2"]),
    (["release", "1", "--version", "2"], 2, ["--reason"]),
    (["release", "1", "--version", "0", "--reason", "x"], 2, ["--version"]),
    (["release", "1", "--version", "2", "--reason", " "], 2, ["--reason"]),
    (["release", "99", "--version", "2", "--reason", "x"], 2, ["no study or instance 99", "quarantine list"]),
    (["release", "2", "--reason", "x"], 1, ["study 2 is not in doubt"]),
    (["reject", "2", "--reason", "x"], 1, ["study 2 is not in doubt"]),
    (["reject", "1.2.3", "--reason", "x"], 2, ["no study or instance 1.2.3"]),
    (["reject", "1"], 2, ["--reason"]),
    (["show", "1.2.3"], 2, ["no study or instance 1.2.3"]),
]


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG, ids=[" ".join(each[0]) for each in WRONG])
def test_what_is_wrong_is_said_and_changes_nothing(
    folder: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    fails(cli(folder, "quarantine", *arguments), code, *words)
    assert [row["undecided"] for row in as_json(folder, "quarantine", "list")] == [3]


def test_a_study_without_a_doubt_is_shown_as_such(folder: Path) -> None:
    shown = cli(folder, "quarantine", "show", "2")
    assert "Study 2 of harbour is not in doubt." in shown.out
    assert "There is one version of each of its instances." in shown.out
    assert as_json(folder, "quarantine", "show", "2") == []


def test_what_was_delivered_is_sent_again(folder: Path) -> None:
    assert send(folder) == 1
    done = cli(folder, "referrals", "resend", "2", "--reason", "they lost it")
    assert (done.code, done.out.strip()) == (0, "referral 2 to PUBPACS: queued again: 1 instance")
    assert send(folder) == 1
    assert cli(folder, "referrals", "hold", "2", "--reason", "wait").code == 0
    done = cli(folder, "referrals", "resend", "--all", "2")
    assert done.out.strip() == "referral 2 to PUBPACS: queued again: 1 instance; they wait, because it is held"
    assert send(folder) == 0


def test_there_is_nothing_to_send_again(folder: Path) -> None:
    done = cli(folder, "referrals", "resend", "1", "2")
    assert done.code == 1
    assert "nothing was delivered that is not confirmed" in done.out
    fails(cli(folder, "referrals", "resend", "99"), 2, "no referral 99")
    fails(cli(folder, "referrals", "resend"), 2, "REFERRAL")
