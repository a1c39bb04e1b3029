"""operations/replay.py: what other routes would make of what has been received; and `routes test`, which says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dicomnode.cli import main
from dicomnode.config.model import NodeConfig
from dicomnode.operations import replay
from dicomnode.operations.ports import Node
from dicomnode.store.database import rows
from tests import fakes
from tests.samples import make_instances

HEAD = fakes.CONFIG.split("routes:\n")[0].replace(
    "  PUB_WS:", "  SECOND: {site: general, host: 10.9.0.7, port: 104}\n  PUB_WS:"
)
NOW = "{name: r, from: [harbour], when: {called: TO_GENERAL}, to: [PUBPACS]}"


def routes(*listed: str) -> str:
    return HEAD + "routes:\n" + "".join(f"  - {each}\n" for each in listed)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Three studies, one a second: CT to the hospital, MR to the hospital, CT that stays."""
    (tmp_path / "dicomnode.yaml").write_text(routes(NOW))
    node = fakes.make_node(tmp_path, routes(NOW))
    assert isinstance(node.clock, fakes.FakeClock)
    for seed, modality, called in (("a", "CT", "TO_GENERAL"), ("b", "MR", "TO_GENERAL"), ("c", "CT", "REFERNODE")):
        fakes.receive_all(node, make_instances(2, seed=seed, modality=modality), called=called)
        node.clock.advance(1)
    node.database.close()
    return node


def changes(node: Node, after: NodeConfig, since: int = 0) -> list[tuple[int, str, int | None, int | None]]:
    """(study, partner, before, after) of what would change."""
    found = replay.compare(node.config, after, since, node)
    return [(each.study.study, each.partner, each.before, each.after) for _, them in found for each in them]


CHANGES = [
    (NOW, []),
    (NOW.replace("TO_GENERAL", "REFERNODE"), [(n, "PUBPACS", *(2, None)[:: -1 if n == 3 else 1]) for n in (1, 2, 3)]),
    (NOW.replace("called", "modality: CT, called"), [(2, "PUBPACS", 2, None)]),
    (NOW.replace("to:", "only: {instance_number: '<2'}, to:"), [(1, "PUBPACS", 2, 1), (2, "PUBPACS", 2, 1)]),
    (NOW.replace("[PUBPACS]", "[PUBPACS, SECOND]"), [(1, "SECOND", None, 2), (2, "SECOND", None, 2)]),
    (NOW.replace("[PUBPACS]", "{failover: [SECOND, PUBPACS]}"), None),
    (NOW.replace("[PUBPACS]", "{balance: [PUBPACS, SECOND]}"), [(1, "PUBPACS", 2, None), (1, "SECOND", None, 2)]),
    (NOW.replace("[harbour]", "[CT1]"), []),
    (NOW.replace("[harbour]", "[peak]"), [(1, "PUBPACS", 2, None), (2, "PUBPACS", 2, None)]),
]


@pytest.mark.parametrize(("route", "expected"), CHANGES)
def test_what_would_change(node: Node, tmp_path: Path, route: str, expected: list[object] | None) -> None:
    after = fakes.configuration(routes(route), tmp_path)
    if expected is None:
        expected = [(study, p, *n) for study in (1, 2) for p, n in (("PUBPACS", (2, None)), ("SECOND", (None, 2)))]
    again = fakes.make_node(tmp_path, routes(NOW))
    assert changes(again, after) == expected
    assert changes(again, after, fakes.START + fakes.SECOND) == [each for each in expected if each[0] > 1]  # type: ignore[index]
    again.database.close()


def test_as_many_studies_as_there_are(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few are read at once, none is left out and none comes twice."""
    again = fakes.make_node(tmp_path, routes(NOW))
    after = fakes.configuration(routes(NOW.replace("called: TO_GENERAL", "modality: '*'")), tmp_path)
    monkeypatch.setattr(replay, "_AT_ONCE", 1)
    assert [study.study for study, _ in replay.compare(again.config, after, 0, again)] == [1, 2, 3]
    assert changes(again, after) == [(3, "PUBPACS", None, 2)]
    again.database.close()


# -- as a command ------------------------------------------------------------------------------------------------


def run(folder: Path, text: str, *words: str) -> Result:
    (folder / "other.yaml").write_text(text)
    config = ["-c", str(folder / "dicomnode.yaml")]
    return CliRunner().invoke(main, [*config, "routes", "test", str(folder / "other.yaml"), *words])


def test_the_command_says_what_would_change_and_changes_nothing(node: Node, tmp_path: Path) -> None:
    before = everything(tmp_path)
    done = run(tmp_path, routes(NOW.replace("TO_GENERAL", "REFERNODE")), "--since", "36500d")
    assert done.exit_code == 0
    assert "PUBPACS: 2 studies go no more" in done.stdout
    assert "PUBPACS: 1 study goes" in done.stdout
    assert "Of 3 studies received since 1970-01-01 00:00:00, 3 would go otherwise" in done.stdout
    assert everything(tmp_path) == before


def everything(folder: Path) -> list[object]:
    node = fakes.make_node(folder, routes(NOW))
    with node.database.read():
        found = [rows(f"SELECT * FROM {table}") for table in ("referrals", "transfers", "events", "generations")]
    node.database.close()
    return found


def test_the_command_as_json(node: Node, tmp_path: Path) -> None:
    done = run(tmp_path, routes(NOW.replace("called", "modality: CT, called")), "--since", "36500d", "--json")
    (row,) = json.loads(done.stdout)
    assert (row["change"], row["partner"], row["before"], row["after"]) == ("goes no more", "PUBPACS", 2, None)
    assert row["study_instance_uid"] == make_instances(1, seed="b")[0].study
    assert json.loads(run(tmp_path, routes(NOW), "--since", "2026-01-01", "--json").stdout) == []


def test_the_command_on_a_file_with_faults(node: Node, tmp_path: Path) -> None:
    done = run(tmp_path, routes(NOW.replace("called", "caled")))
    assert done.exit_code == 2
    assert "other.yaml cannot be used, for 1 reason:" in done.stderr
    assert "did you mean 'called'" in done.stderr
    assert run(tmp_path, routes(NOW), "--since", "a while").exit_code == 2
    assert run(tmp_path, routes(NOW.replace("TO_GENERAL", "REFERNODE")), "--since", "2001-02-03T04:05").exit_code == 0
    assert "Nothing changes for 0 studies" in run(tmp_path, routes(NOW), "--since", "1s").stdout
