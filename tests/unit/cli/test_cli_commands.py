"""The command line as a person learns it, and what a person's word on transfers leaves in the timelines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from dicomnode.cli import main, output
from dicomnode.store import gates
from dicomnode.store.database import execute
from tests import fakes
from tests.samples import make_instances

RENAMED = make_instances(2, seed=1, PatientName="NEW^NAME")


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{path} {name}".strip(), command
        if isinstance(command, click.Group):
            yield from commands(command, name)


COMMANDS = list(commands(main))

@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_a_summary_is_one_short_sentence(name: str, command: click.Command) -> None:
    first = (command.help or "").partition("\n")[0]
    assert first.endswith(".")
    assert len(first) <= 60
    assert ". " not in first


@pytest.mark.parametrize(("number", "words"), [(0, "0 studies"), (1, "1 study"), (2, "2 studies")])
def test_a_count_has_its_plural(number: int, words: str) -> None:
    assert output.count(number, "study", "studies") == words


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node with two studies on their way: one is in doubt, of two names, and the other fine."""
    (tmp_path / "dicomnode.yaml").write_text(fakes.CONFIG)
    node = fakes.make_node(tmp_path)
    fakes.receive_all(node, [*make_instances(2, seed=1), *RENAMED, *make_instances(2, seed=2)])
    node.database.close()
    return tmp_path


def cli(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(main, ["-c", str(folder / "dicomnode.yaml"), *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout + ("" if "--json" in arguments else done.stderr)


def as_json(folder: Path, *arguments: str) -> Any:
    return json.loads(cli(folder, *arguments, "--json"))


def timeline(folder: Path, referral: int) -> list[str]:
    (shown,) = as_json(folder, "referrals", "show", str(referral))
    return [event["text"].partition(": ")[2] for event in shown["events"] if event["event"] == "queue changed"]


def test_what_a_person_does_to_transfers_is_in_their_referrals(folder: Path) -> None:
    numbers = {
        referral: [str(t["transfer"]) for t in as_json(folder, "referrals", "show", str(referral))[0]["transfers"]]
        for referral in (1, 2)
    }
    (first, second), (third, *_) = numbers[1], numbers[2]
    cli(folder, "queue", "hold", first, second, third, "--reason", "wait")
    cli(folder, "queue", "release", third)
    cli(folder, "queue", "retry", third)
    cli(folder, "queue", "drop", third, "--reason", "not ours")
    assert timeline(folder, 1) == [f"transfers held: wait {first}, {second}"]
    said = ["transfers held: wait", "transfers released", "transfers retried", "transfers dropped: not ours"]
    assert timeline(folder, 2) == [f"{what} {third}" for what in said]


def test_a_lane_s_hold_is_in_the_referrals_that_wait(folder: Path) -> None:
    cli(folder, "queue", "hold", "--partner", "PUBPACS", "--reason", "they are moving")
    cli(folder, "queue", "release", "--partner", "PUBPACS")
    for referral in ("1", "2"):
        (shown,) = as_json(folder, "referrals", "show", referral)
        texts = [event["text"] for event in shown["events"] if event["event"] == "lane changed"]
        assert ["they are moving" in text for text in texts] == [True, False]


def test_of_many_referrals_there_is_one_entry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["dicomnode.cli.queue"], "_FEW", 1)  # its name in the package is the command
    ids = [str(transfer["transfer"]) for transfer in as_json(folder, "queue", "list")]
    cli(folder, "queue", "hold", *ids, "--reason", "wait")
    (event,) = [event for event in as_json(folder, "audit", "list") if event["event"] == "queue changed"]
    assert event["referral"] is None
    assert event["text"].endswith(f"wait {', '.join(ids)}")


def test_a_filter_that_finds_nothing_is_no_empty_queue(folder: Path) -> None:
    assert "No such transfers." in cli(folder, "queue", "list", "--state", "held")
    assert "No such transfers." in cli(folder, "queue", "list", "--partner", "ISLPACS")


def test_a_doubt_names_the_commands_that_end_it(folder: Path) -> None:
    uid = RENAMED[0].study
    assert f"`dicomnode quarantine show {uid}`" in cli(folder, "referrals", "show", "1")
    assert "quarantine" not in cli(folder, "referrals", "show", "2")
    last = cli(folder, "quarantine", "show", "1").splitlines()[-2]  # and that the node does not run
    assert last.startswith("Decide: `dicomnode quarantine release 1 --version N --reason …` says which")
    assert "(1 or 2)" in last
    assert "`dicomnode quarantine reject 1 --reason …`" in last
    instance = RENAMED[0].sop_instance
    assert f"release {instance} --version N" in cli(folder, "quarantine", "show", instance)
    assert "Decide" not in cli(folder, "quarantine", "show", "2")
    node = fakes.make_node(folder)
    node.database.write(lambda: execute("UPDATE studies SET quarantine = 'which?' WHERE id = 2"))
    node.database.close()
    assert "Decide: `dicomnode quarantine release 2 --reason …`" in cli(folder, "quarantine", "show", "2")


def test_what_no_partner_is_there_for_is_not_said_to_be_in_doubt(folder: Path) -> None:
    node = fakes.make_node(folder)
    node.database.write(lambda: gates.strand([]))
    node.database.close()
    said = cli(folder, "referrals", "release", "2")
    assert gates.no_partner("PUBPACS") in said
    assert "quarantine" not in said
    assert "dicomnode quarantine release" in cli(folder, "referrals", "release", "1")
