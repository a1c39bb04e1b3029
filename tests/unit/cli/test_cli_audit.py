"""cli/audit.py: who did what to which study is found, a patient is masked, and a trail that was touched is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dicomnode.cli import main, opening
from dicomnode.store import audit, chain
from dicomnode.store.audit import Event
from dicomnode.store.database import execute
from tests import fakes
from tests.fakes import SECOND, START
from tests.samples import make_instances

STUDY = make_instances(2, PatientID="A1234563")[0].study
DAY = 86400 * SECOND

Cli = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study that came, and what two persons and a workstation did."""
    (tmp_path / "dicomnode.yaml").write_text(fakes.CONFIG)
    node = fakes.make_node(tmp_path)
    fakes.receive_all(node, make_instances(2, PatientID="A1234563"))
    entries = (
        Event(START + 10, "referral held", "", "PUBPACS", STUDY, referral=1, who="anna"),
        Event(START + DAY, "referral released", "", "PUBPACS", STUDY, referral=1, who="bert", alarm=True),
        Event(START + 2 * DAY, "query answered", "", "RAD_WS", who="RAD_WS", address="10.1.0.30"),
    )
    for event in entries:
        node.database.write(lambda event=event: audit.record(event))
    node.database.close()
    return tmp_path


@pytest.fixture
def cli(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setattr(opening, "_account", lambda uid: "chris")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["-c", str(folder / "dicomnode.yaml"), "audit", *arguments])

    return run


def listed(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    done = cli("list", "--json", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def day(number: int) -> str:
    return f"{datetime.fromtimestamp((START + number * DAY) / 1e6, UTC):%Y-%m-%dT%H:%M:%S}"


FOUND = {
    ("--who", "anna"): ["referral held"],
    ("--who", "*"): ["referral opened", "referral held", "referral released", "query answered"],
    ("--who", "?ert"): ["referral released"],
    ("--partner", "RAD_WS"): ["query answered"],
    ("--kind", "referral released"): ["referral released"],
    ("--kind", "referral *"): ["referral opened", "referral held", "referral released"],
    ("--study", STUDY): ["referral opened", "referral held", "referral released"],
    ("--study", "1.2.3"): [],
    ("--patient", "A1234563"): ["referral opened", "referral held", "referral released"],
    ("--referral", "1"): ["referral opened", "referral held", "referral released"],
    ("--alarms",): ["referral released"],
    ("--since", day(1)): ["referral released", "query answered"],
    ("--until", day(1)): ["referral opened", "referral held"],
    ("--since", day(1), "--until", day(2)): ["referral released"],
    ("--who", "bert", "--study", STUDY, "--since", day(1)): ["referral released"],
    ("--limit", "1"): ["query answered"],
    ("--since", "30d"): [],
}


@pytest.mark.parametrize("arguments", FOUND, ids=" ".join)
def test_what_is_looked_for_is_found_and_nothing_else(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert [each["event"] for each in listed(cli, *arguments)] == FOUND[arguments]


def test_to_read_the_trail_is_an_entry_of_it(cli: Cli) -> None:
    listed(cli)
    last = listed(cli)[-1]
    assert (last["event"], last["who"], last["text"]) == ("audit trail read", "chris", "4 entries shown")
    listed(cli, "--phi")
    assert listed(cli)[-1]["text"] == "6 entries shown with patients"


def test_a_patient_is_masked(cli: Cli) -> None:
    assert {each["patient_id"] for each in listed(cli, "--study", STUDY)} == {"A*******"}
    assert {each["patient_id"] for each in listed(cli, "--study", STUDY, "--phi")} == {"A1234563"}
    assert "A1234563" not in cli("list").output


def test_the_table_shows_who(cli: Cli) -> None:
    done = cli("list")
    assert "anna" in done.stdout
    assert "referral held" in done.stdout


@pytest.mark.parametrize("when", ["yesterday", "2026-13-01", "5"])
def test_what_is_no_time_is_said(cli: Cli, when: str) -> None:
    done = cli("list", "--since", when)
    assert done.exit_code == 2
    assert "neither how long ago" in done.output


def test_a_trail_that_is_as_it_was_written(cli: Cli) -> None:
    done = cli("verify")
    assert done.exit_code == 0
    assert "The trail of 4 entries is as it was written." in done.stdout
    head = done.stdout.split("head ")[1].strip()
    assert cli("verify", "--head", head).exit_code == 0, "what was printed can be held against it"
    (row,) = json.loads(cli("verify", "--json").stdout)
    assert (row["entries"], row["unchained"], row["breaks"]) == (6, 0, [])


def test_a_trail_that_was_touched(cli: Cli, folder: Path) -> None:
    node = fakes.make_node(folder)
    node.database.write(lambda: execute("UPDATE events SET who = 'nobody' WHERE id = 2"))
    node.database.close()
    done = cli("verify")
    assert done.exit_code == 1
    assert done.stdout.startswith("entry 2 is not what was written")
    assert "The trail of 4 entries is broken." in done.stdout


def test_a_trail_that_was_made_anew(cli: Cli, folder: Path) -> None:
    other = f"2:{'ab' * 32}"
    done = cli("verify", "--head", other)
    assert done.exit_code == 1
    assert "entry 2 is not the entry whose digest was noted" in done.stdout
    assert cli("verify", "--head", "2:short").exit_code == 2


def test_what_nothing_vouches_for_is_said(cli: Cli, folder: Path) -> None:
    node = fakes.make_node(folder)

    def older() -> None:
        execute("UPDATE events SET digest = ''")
        chain.begin()
        audit.record(Event(START, "lane changed", ""))

    node.database.write(older)
    with node.database.read():
        assert chain.unchained() == 4
    node.database.close()
    done = cli("verify")
    assert done.exit_code == 0
    assert "4 entries were written before there was a chain: nothing vouches for them" in done.stdout
