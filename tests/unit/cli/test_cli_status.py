"""cli/status.py: what is so now needs a person; what was so, and is over, is shown and no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from dicomnode.cli import main
from dicomnode.cli.status import _look, _needs
from dicomnode.errors import DicomnodeError
from dicomnode.operations import outbox, refer
from dicomnode.operations.ports import Node
from dicomnode.store import audit, commitments, lanes, queue, space
from dicomnode.store.audit import Event
from dicomnode.store.commitments import State
from dicomnode.store.database import execute
from dicomnode.store.lanes import Pause
from tests import fakes
from tests.fakes import SECOND, START
from tests.samples import make_instances

P = "PUBPACS"
HELD = "UPDATE transfers SET state = 'held', reason = 'because', hold = '' WHERE id = 1"


@pytest.fixture
def node(here: Node) -> Node:
    """A study of two instances that waits for PUBPACS, and a clock that has gone on a little."""
    fakes.receive_all(here, make_instances(2))
    fakes.complete(here)
    return here


def needs(node: Node) -> list[str]:
    """What needs a person, but that the node does not run."""
    return [each for each in _needs(_look(node), node) if "not running" not in each]


def alarm(node: Node, kind: str, referral: int | None = None) -> None:
    audit.record(Event(node.clock(), kind, "it happened", P, referral=referral, alarm=True))


def held(node: Node) -> None:
    alarm(node, "transfers held", 1)
    execute(HELD)


def retried(node: Node) -> None:
    queue.retry([1], node.clock())


def rejected(node: Node) -> None:
    at = node.clock()
    alarm(node, "partner rejects us")
    lanes.pause(P, Pause(at + 3600 * SECOND, 1, "rejected", at))


def answered(node: Node) -> None:
    lanes.resume(P, node.clock())


def owed(node: Node) -> None:
    alarm(node, "commitment overdue", 1)
    execute("UPDATE referrals SET progress = 'sent'")


def proven(_: Node) -> None:
    execute("UPDATE referrals SET progress = 'confirmed'")


def untold(node: Node) -> None:
    alarm(node, "commitment not reported")
    commitments.end(commitments.take("RAD_WS", "2.25.1", [], START, START), State.ABANDONED, START + 1)


def told(_: Node) -> None:
    commitments.end(commitments.take("RAD_WS", "2.25.2", [], START, START), State.REPORTED, START + 2)


def damaged(node: Node) -> None:
    alarm(node, "file damaged")
    execute("UPDATE instances SET damage = 'missing' WHERE id = 1")


def healed(_: Node) -> None:
    execute("UPDATE instances SET damage = ''")


Step = Callable[[Node], None]
STORIES: list[tuple[Step, Step, str]] = [
    (held, retried, "1 instance for PUBPACS held"),
    (rejected, answered, "(rejected): `dicomnode partners echo PUBPACS`"),
    (owed, proven, "1 referral sent, and the result of the commitment has not come"),
    (untold, told, "RAD_WS could not be told a commitment result"),
    (damaged, healed, "1 file damaged"),
]


@pytest.mark.parametrize(("happens", "ends", "words"), STORIES, ids=[story[0].__name__ for story in STORIES])
def test_an_alarm_needs_a_person_until_it_was_dealt_with(
    build: Callable[..., Node], happens: Step, ends: Step, words: str
) -> None:
    node = build(fakes.CONFIG.replace("may: [find, move]", "may: [find, move, commit]", 1))
    fakes.receive_all(node, make_instances(2))
    fakes.complete(node)
    assert needs(node) == []
    node.database.write(lambda: happens(node))
    (need,) = needs(node)
    assert words in need
    node.database.write(lambda: ends(node))
    assert needs(node) == []
    assert len(_look(node).alarms) == 1


def test_a_disk_that_has_failed_is_tried_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise DicomnodeError("it cannot be made to keep what it is given")

    monkeypatch.setattr(node.archive.volume, "probe", fails)
    assert needs(node) == []  # nothing has said that it fails: it is not tried
    node.database.write(lambda: alarm(node, "disk failed"))
    assert needs(node) == ["the disk fails: it cannot be made to keep what it is given"]
    monkeypatch.undo()
    assert needs(node) == []


def test_a_partner_that_is_off_is_left_an_hour(node: Node) -> None:
    at = node.clock()
    node.database.write(lambda: rejected(node))
    node.database.write(lambda: lanes.resume(P, at))
    assert isinstance(node.clock, fakes.FakeClock)
    node.clock.advance(60)
    since = node.clock()
    node.database.write(lambda: lanes.pause(P, Pause(since + 60 * SECOND, 1, "it is off", since)))
    assert needs(node) == []
    node.clock.advance(3700)
    assert "it is off" in needs(node)[0]


def test_a_collector_that_takes_nothing_needs_a_person(build: Callable[..., Node]) -> None:
    tls = "tls: {bind: 127.0.0.1:2762, certificate: a.pem, key: a.key, ca: ca.pem}, audit: {collector: 'syslog:6514'}"
    node = build(fakes.CONFIG.replace("node: {", f"node: {{{tls}, "))
    assert _look(node).unsent == outbox.Backlog(0, 0, 0)
    node.database.write(lambda: audit.record(Event(node.clock(), "lane changed", "")))
    assert not any("audit message" in each for each in needs(node)), "what is to be sent needs nobody"
    node.database.write(lambda: space.put("audit failing since", node.clock()))
    assert isinstance(node.clock, fakes.FakeClock)
    node.clock.advance(7200)
    (said,) = (each for each in needs(node) if "audit message" in each)
    assert said.startswith("1 audit message not at the collector, which has taken none for 2 hours")


@pytest.mark.parametrize("as_json", [True, False])
def test_that_the_node_does_not_run_is_said_once(tmp_path: Path, as_json: bool) -> None:
    (tmp_path / "dicomnode.yaml").write_text(fakes.CONFIG)
    fakes.make_node(tmp_path).database.close()
    arguments = ["-c", str(tmp_path / "dicomnode.yaml"), "status", *(["--json"] if as_json else [])]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert (done.stdout + done.stderr).count("not running") == 1
    assert not as_json or json.loads(done.stdout)[0]["running"] is False


def test_alarms_are_found(tmp_path: Path) -> None:
    (tmp_path / "dicomnode.yaml").write_text(fakes.CONFIG)
    node = fakes.make_node(tmp_path)
    fakes.receive_all(node, make_instances(1))
    node.database.write(lambda: refer.record(1, "transfers held", "because", node.clock(), node, alarm=True))
    node.database.close()

    def cli(*arguments: str) -> str:
        return CliRunner().invoke(main, ["-c", str(tmp_path / "dicomnode.yaml"), *arguments]).stdout

    assert {event["event"]: event["alarm"] for event in json.loads(cli("audit", "list", "--json"))} == {
        "referral opened": False,
        "transfers held": True,
    }
    assert [event["event"] for event in json.loads(cli("audit", "list", "--alarms", "--json"))] == ["transfers held"]
    (shown,) = json.loads(cli("referrals", "show", "1", "--json"))
    assert [event["alarm"] for event in shown["events"]] == [False, True]
