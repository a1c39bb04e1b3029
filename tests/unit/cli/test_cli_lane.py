"""cli/lane.py: what a lane waits for is said in one way, wherever it is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dicomnode.cli import lane, main
from dicomnode.cli.checks import Patient, queues
from dicomnode.operations.ports import Node, now
from dicomnode.store import lanes
from dicomnode.store.database import execute
from dicomnode.store.lanes import Pause
from tests import fakes
from tests.fakes import SECOND, START
from tests.samples import make_instances

P = "PUBPACS"
RELEASE, RETRY = f"`dicomnode queue release --partner {P}`", f"`dicomnode queue retry --partner {P}`"
SOON, LATER = START + 60 * SECOND, START + 90_000 * SECOND
LANES = [  # partner, pause → words, what a person can do
    (P, Pause(0, 0, "", 0), "runs", ""),
    (P, Pause(SOON, 1, "off", START), "paused until", RETRY),
    (P, Pause(START, 1, "off", START), "runs", ""),
    (P, Pause(LATER, 1, "off", START), "runs", ""),  # by a clock that was ahead
    (P, Pause(SOON, 1, "off", START, "for the night"), "held", RELEASE),
    ("CT1", Pause(0, 0, "", 0), "-", ""),
    ("GONE", Pause(0, 0, "", 0), "-", ""),
]


@pytest.mark.parametrize(("partner", "pause", "words", "advice"), LANES)
def test_what_a_lane_waits_for(here: Node, partner: str, pause: Pause, words: str, advice: str) -> None:
    assert lane.words(partner, pause, here).startswith(words)
    assert lane.advice(partner, pause, here).startswith(advice)
    assert bool(lane.advice(partner, pause, here)) is bool(advice)


def test_a_window_is_waited_for(build: Callable[..., Node]) -> None:
    head = "PUBPACS:  {site: general,"
    node = build(fakes.CONFIG.replace(head, f"{head} window: '01:00-01:01',"))
    assert lane.words(P, Pause(0, 0, "", 0), node).startswith("window opens at ")
    assert lane.words(P, Pause(SOON, 1, "off", START), node).startswith("paused until ")


CHANGES: list[tuple[Callable[[], Any], str, str]] = [
    (lambda: lanes.hold(P, "for the night"), "held", RELEASE),
    (lambda: lanes.pause(P, Pause(now() + 600 * SECOND, 1, "it is off", now())), "paused until ", RETRY),
]


@pytest.mark.parametrize(("change", "words", "advice"), CHANGES)
def test_four_commands_say_the_same(tmp_path: Path, change: Callable[[], Any], words: str, advice: str) -> None:
    (tmp_path / "dicomnode.yaml").write_text(fakes.CONFIG)
    node = fakes.make_node(tmp_path)
    fakes.receive_all(node, make_instances(1))
    node.database.write(lambda: execute("UPDATE referrals SET progress = 'complete'"))
    node.database.write(change)
    (said,) = [s for s in queues(Patient(node.config, node.archive, node.database, False, False)) if "lane" in s[1]]
    node.database.close()
    assert f"its lane is {words}" in said[1]
    assert said[2].startswith(advice)
    found = {}
    for command in (["partners", "list"], ["queue", "shape"], ["status"]):
        done = CliRunner().invoke(main, ["-c", str(tmp_path / "dicomnode.yaml"), *command, "--json"])
        rows = json.loads(done.stdout)
        found[command[0]] = next(r for r in (rows[0]["queue"] if command == ["status"] else rows) if r["partner"] == P)
    assert {row["lane"].startswith(words) for row in found.values()} == {True}
    assert len({(row["lane"], row["reason"]) for row in found.values()}) == 1
