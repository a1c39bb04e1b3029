"""cli/recall.py and cli/letter.py: withdraw, consent and recall, as a person at a terminal meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dicomnode.cli import main
from dicomnode.cli.opening import who
from dicomnode.operations import recall
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node, now
from dicomnode.store.database import execute
from tests import fakes
from tests.fakes import FakePartner
from tests.node import Result
from tests.samples import make_instances

CONFIG = fakes.CONFIG.replace("wait: 60s}", "wait: 60s, consent: required, identity: none}").replace(
    "host: 10.9.0.5,", "host: 10.9.0.5, iocm: true,"
)
MADE = make_instances(3, seed="cli recall", PatientID="H4711", PatientName="CHAN^TAI MAN", PatientBirthDate="19700101")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node whose one study waits for consent."""
    (tmp_path / "dicomnode.yaml").write_text(CONFIG)

    def filled(node: Node) -> None:
        fakes.receive_all(node, MADE)
        fakes.complete(node)

    beside(tmp_path, filled)
    return tmp_path


def beside(folder: Path, act: Callable[[Node], Any], clock: Callable[[], int] | None = None) -> Any:
    """Do something with the node while no command has its index open."""
    node = fakes.make_node(folder, CONFIG, clock=clock)
    try:
        return act(node)
    finally:
        node.database.close()


def send(folder: Path, fake: FakePartner | None = None) -> int:
    """Send what may go, notes too; how much that was."""

    def sent(node: Node) -> int:
        partner, it = node.config.partners["PUBPACS"], fake or FakePartner()
        while forward(partner, it, node, lambda: False) or recall.tell(partner, it, node, lambda: False):
            pass
        return len(it.sent)

    return int(beside(folder, sent, now))  # the commands' own clock


def cli(folder: Path, *arguments: str) -> Result:
    done = CliRunner().invoke(main, ["-c", str(folder / "dicomnode.yaml"), *arguments], prog_name="dicomnode")
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Result(done.exit_code, done.stdout, done.stderr)


def shown(folder: Path) -> dict[str, Any]:
    return dict(json.loads(cli(folder, "referrals", "show", "1", "--json").out)[0])


def fails(done: Result, code: int, *words: str) -> None:
    assert done.code == code, done
    assert all(word in done.err for word in words), done


def test_consent_lets_it_go_and_its_withdrawal_calls_it_back(folder: Path) -> None:
    fails(cli(folder, "referrals", "consent", "1"), 2, "--evidence", "--withdraw")
    fails(cli(folder, "referrals", "consent", "1", "--evidence", "x", "--withdraw"), 2, "--evidence")
    assert send(folder) == 0
    done = cli(folder, "referrals", "consent", "1", "--evidence", "form 17", "--by", "nurse Wong")
    assert (done.code, done.out) == (0, "referral 1 to PUBPACS has consent; nothing stops it\n")
    assert send(folder) == 3
    fails(cli(folder, "referrals", "consent", "1", "--withdraw"), 2, "--reason")
    done = cli(folder, "referrals", "consent", "1", "--withdraw", "--reason", "by telephone")
    assert done.code == 0
    assert "is recalling" in done.out
    row = shown(folder)
    texts = [(True, "form 17 (said by nurse Wong)"), (False, "by telephone")]
    assert [(each["given"], each["text"]) for each in row["consents"]] == texts
    assert {each["by"] for each in row["consents"]} == {who()}
    assert (row["state"], row["recalls"][0]["state"], row["recalls"][0]["instances"]) == ("recalling", "letter", 3)
    assert send(folder) == 0  # no note says of images that consent was withdrawn


def test_a_note_is_sent_shown_and_acknowledged(folder: Path) -> None:
    cli(folder, "referrals", "consent", "1", "--evidence", "form 17")
    send(folder)
    fails(cli(folder, "referrals", "recall", "1"), 2, "--reason-code", "--letter", "--acknowledged")
    fails(cli(folder, "referrals", "recall", "1", "--reason-code", "patient"), 2, "--reason")
    fails(cli(folder, "referrals", "recall", "1", "--acknowledged", "yes"), 2, "nothing of referral 1")
    done = cli(folder, "referrals", "recall", "1", "--reason-code", "patient", "--reason", "the wrong patient")
    assert (done.code, "3 instances that PUBPACS has" in done.out, "rejection note" in done.out) == (0, True, True)
    assert send(folder, FakePartner(unreachable=True)) == 0
    text = cli(folder, "referrals", "show", "1").out
    assert "Recall of 3 instances: a rejection note waits to be sent, tried 1 time" in text
    beside(folder, lambda node: node.database.write(lambda: execute("UPDATE recalls SET due_at = 0")))
    assert send(folder) == 1
    (row,) = shown(folder)["recalls"]
    assert (row["state"], row["reason_code"], row["last_status"], row["attempts"]) == ("told", "113037", "0000", 2)
    assert "not acknowledged yet" in cli(folder, "referrals", "show", "1").out
    done = cli(folder, "referrals", "recall", "1", "--acknowledged", "deleted on Monday", "--by", "Dr Lee")
    assert (done.code, done.out) == (0, "referral 1 to PUBPACS is recalled\n")
    (row,) = shown(folder)["recalls"]
    assert (row["acknowledged"], row["acknowledged_by"]) == ("deleted on Monday (said by Dr Lee)", who())
    events = shown(folder)["events"]
    assert events[-1]["text"] == f"recorded by {who()}: deleted on Monday (said by Dr Lee)"
    by = json.loads(cli(folder, "audit", "list", "--referral", "1", "--who", who(), "--json").out)
    assert [event["event"] for event in by] == ["consent given", "referral withdrawn", "recall acknowledged"]
    kinds = [event["event"] for event in events]
    assert kinds[-3:] == ["referral withdrawn", "recall note sent", "recall acknowledged"]


def test_a_letter_names_what_is_called_back_and_the_patient_only_where_asked(folder: Path) -> None:
    paper = folder / "letter.txt"
    fails(cli(folder, "referrals", "recall", "1", "--letter", str(paper)), 2, "nothing of referral 1")
    assert not paper.exists()
    cli(folder, "referrals", "consent", "1", "--evidence", "form 17")
    send(folder)
    done = cli(folder, "referrals", "withdraw", "1", "--reason", "the wrong hospital")
    assert "PUBPACS has 3 instances" in done.out
    done = cli(folder, "referrals", "recall", "1", "--letter", str(paper))
    assert done.code == 0
    assert "DICOM has no service that deletes" in done.out
    text = paper.read_text()
    words = ["Harbour Imaging Centre", "General Hospital", "PUBPACS@10.9.0.5:104", MADE[0].study, "3 instances"]
    words += ["the wrong hospital", *(sample.sop_instance for sample in MADE)]
    for word in words:
        assert word in " ".join(text.split())
    assert "H4711" not in text
    assert "CHAN" not in text
    assert paper.stat().st_mode & 0o077 == 0
    fails(cli(folder, "referrals", "recall", "1", "--letter", str(paper)), 2, "cannot write")
    cli(folder, "referrals", "recall", "1", "--letter", str(folder / "named.txt"), "--phi")
    named = (folder / "named.txt").read_text()
    assert "CHAN^TAI MAN" in named
    assert "H4711" in named
    assert [e["event"] for e in shown(folder)["events"]].count("recall letter written") == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("consent", "1", "--evidence", "form 17", "--reason", "x"), "--reason goes with --withdraw"),
        (("consent", "1", "--evidence", " ", "--by", "nurse Wong"), "--evidence"),
        (("recall", "1", "--letter", "letter.txt", "--reason", "x"), "--reason goes with --reason-code"),
        (("recall", "1", "--acknowledged", "yes", "--reason", "x"), "--reason goes with --reason-code"),
        (("recall", "1", "--reason-code", "patient", "--reason", "x", "--by", "Dr Lee"), "--by goes with --ack"),
        (("recall", "1", "--letter", "letter.txt", "--by", "Dr Lee"), "--by goes with --acknowledged"),
    ],
)
def test_what_would_mean_nothing_is_refused(folder: Path, words: tuple[str, ...], why: str) -> None:
    cli(folder, "referrals", "consent", "1", "--evidence", "form 17")
    send(folder)
    before = shown(folder)
    fails(cli(folder, "referrals", *words), 2, why)
    assert shown(folder) == before, "and nothing was done"


def test_what_was_not_sent_is_stopped(folder: Path) -> None:
    done = cli(folder, "referrals", "withdraw", "1", "--reason", "not wanted")
    assert (done.code, done.out) == (
        0,
        "referral 1 to PUBPACS is withdrawn: nothing of it was sent, and nothing will be\n",
    )
    fails(cli(folder, "referrals", "release", "1"), 2, "withdrawn", "not wanted")
    fails(cli(folder, "referrals", "withdraw", "9", "--reason", "x"), 2, "no referral 9")


@pytest.mark.parametrize("command", ["withdraw", "consent", "recall"])
def test_the_help_says_what_follows(folder: Path, command: str) -> None:
    words = " ".join(cli(folder, "referrals", command, "--help").out.split())
    assert ("DICOM has no service that deletes" in words) is (command == "recall")
    assert command == "recall" or "stopped for ever" in words or "Stop referrals for ever" in words
