"""The node on a disk that becomes small, that fails, or that no node should be on; and what `status` says of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import altered
from tests.disks import fill, mounts, read_only, small_disk
from tests.inprocess import cli
from tests.integration.kit import events, refusals, rows, tree, versions
from tests.node import Node, changed, default_config
from tests.samples import Sample, make_instances
from tests.upper_layer import IMPLICIT_LE, VERIFICATION
from tests.wire import STUDY_ROOT_FIND, Association, Rejected, contexts_for

MB = 10**6
_A700 = 0xA700
_VERIFY = (VERIFICATION, [IMPLICIT_LE])


def _associate(node: Node, samples: list[Sample], **options: Any) -> Association:
    return node.associate("CT1", [_VERIFY, *contexts_for(samples)], called="TO_GENERAL", timeout=20, **options)


def _refused(node: Node, samples: list[Sample]) -> tuple[int, int, int] | None:
    """The A-ASSOCIATE-RJ that one who would store gets; None where it is let in."""
    try:
        with _associate(node, samples):
            return None
    except Rejected as error:
        return error.result, error.source, error.reason


def _kinds(node: Node) -> list[str]:
    return [row["kind"] for row in rows(node, "SELECT kind FROM events WHERE kind LIKE 'disk%' ORDER BY id")]


def _status(node: Node) -> dict[str, Any]:
    """`dicomnode status --json`, whichever its exit code."""
    (found,) = json.loads(cli(node, "status", "--json").out)
    return dict(found)


@mounts
def test_two_watermarks_and_the_way_back(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Low, who would store is rejected as transient; lower, A700H; and it recovers by itself."""
    made = make_instances(6, seed="watermarks")
    with small_disk(tmp_path / "disk", 64 << 20) as disk:
        marks = {"associations": "30MB", "instances": "15MB"}
        node = Node(tmp_path / "node", default_config(data=str(disk / "data"), watermarks=marks)).start()
        try:
            with _associate(node, made) as early:
                assert early.send_sample(made[0]) == 0
                assert _status(node)["room"] == "plenty"

                filler = fill(disk, 22 * MB)
                node.wait_until(lambda: _refused(node, made) == (2, 3, 1), 5, "a rejection")
                assert node.echo() == 0
                with node.associate("RAD_WS", [_VERIFY, (STUDY_ROOT_FIND, [IMPLICIT_LE])]) as light:
                    assert light.echo() == 0
                assert early.send_sample(made[1]) == 0  # what was let in may go on
                turned_away = {"calling_ae_title": "CT1", "why": "disk low"}
                node.wait_until(lambda: refusals(node, turned_away), 5, "the refusal to be recorded")
                node.wait_until(lambda: _kinds(node) == ["disk low"], 15, "it to be told")
                found = _status(node)
                assert found["room"] == "scarce"
                assert any("the disk is low" in need for need in found["needs"])
                assert cli(node, "status").code == 1

                fill(disk, 9 * MB)
                time.sleep(1.1)  # a look lasts for a second
                before = tree(node.data)
                assert [early.send_sample(sample) for sample in made[2:5]] == [_A700] * 3
                assert early.echo() == 0
                assert tree(node.data) == before
                node.wait_until(lambda: _kinds(node) == ["disk low", "disk full"], 15, "it to be told")
                assert "answered A700H" in node.log.read_text()

                filler.unlink()
                node.wait_until(lambda: early.send_sample(made[2]) == 0, 5, "instances to be taken again")
                assert [early.send_sample(sample) for sample in made[3:]] == [0] * 3
                assert _refused(node, made) is None
                node.wait_until(lambda: "disk has room" in _kinds(node), 15, "it to be told")
            assert _kinds(node) == ["disk low", "disk full", "disk has room"]
            assert node.log.read_text().count("CRITICAL") == 2
            for sample in made:
                assert [row["dataset"] for row in versions(node, sample.sop_instance)] == [sample.dataset]
        finally:
            node.kill_all()


@mounts
def test_a_folder_that_becomes_read_only_is_an_alarm_and_recovers(
    request: pytest.FixtureRequest, node: Callable[..., Node]
) -> None:
    it, made = node(), make_instances(3, seed="read-only")
    with _associate(it, made) as association:
        assert association.send_sample(made[0]) == 0
        with read_only(it.data / "incoming"):
            assert [association.send_sample(sample) for sample in made[1:]] == [_A700, _A700]
            assert association.echo() == 0
        assert [association.send_sample(sample) for sample in made[1:]] == [0, 0]
    (event,) = events(it, "disk failed")
    assert "Read-only file system" in event["text"]
    assert event["alarm"]
    assert it.log.read_text().count("nothing can be written to") == 1


def test_a_disk_that_cannot_sync_makes_its_node_suspicious_for_a_while(
    node: Callable[..., Node], tmp_path: Path
) -> None:
    """A700H, and no second try that succeeds; then nobody may begin to store, until some time has passed."""
    bad, made = tmp_path / "bad", make_instances(3, seed="sync")
    env = altered.environment("has-a-bad-disk", DICOMNODE_TESTS_BAD_DISK=str(bad))
    one = {"node": {"acceptors": 1}, "partners": {"CT1": {"may": ["store", "get"]}}}
    config = changed(default_config(), one)  # each process judges the disk for itself
    it = node(config, env=env, module="tests.acceptance.altered")
    with _associate(it, made) as association:
        assert association.send_sample(made[0]) == 0
        before = tree(it.data)
        bad.touch()
        assert association.send_sample(made[1]) == _A700
        bad.unlink()
        assert association.send_sample(made[2]) == _A700  # the disk is well again, and nobody can know
        assert _refused(it, made) == (2, 3, 1)
        with it.associate("CT1", contexts_for(made), roles={made[0].sop_class: (0, 1)}):
            pass  # who would only fetch needs no room
        assert it.echo() == 0
        assert tree(it.data) == before
        turned_away = {"calling_ae_title": "CT1", "why": "the disk failed: Input/output error"}
        it.wait_until(lambda: refusals(it, turned_away), 5, "the refusal to be recorded")
        it.wait_until(lambda: association.send_sample(made[1]) == 0, 15, "instances to be taken again")
        assert _refused(it, made) is None
    (event,) = events(it, "disk failed")
    assert "Input/output error" in event["text"]
    (alarm,) = _status(it)["alarms"]
    assert alarm["event"] == "disk failed"


# -- where no node starts --------------------------------------------------------------------------------------


def _says(node: Node) -> str:
    done = node.cli("serve", timeout=30)
    assert done.code == 1, done
    assert "Traceback" not in done.err
    return str(done.err)


@pytest.mark.parametrize("link", ["incoming", "instances"])
@mounts
def test_no_node_starts_on_two_file_systems(
    request: pytest.FixtureRequest, node: Callable[..., Node], tmp_path: Path, link: str
) -> None:
    """A link to another disk, as somebody makes who is short of room."""
    it = node(start=False)
    it.data.mkdir(parents=True)
    with small_disk(tmp_path / "disk", 8 << 20) as disk:
        (it.data / link).symlink_to(disk)
        assert "not on one file system" in _says(it)
        assert not list(disk.iterdir())


@mounts
def test_no_node_starts_across_two_mounts_of_one_disk(
    request: pytest.FixtureRequest, node: Callable[..., Node], tmp_path: Path
) -> None:
    """They have one device number, and there is no rename between them."""
    it = node(start=False)
    (it.data / "incoming").mkdir(parents=True)
    with read_only(it.data / "incoming"):
        assert "cannot be written to" in _says(it)


def test_no_second_node_starts_on_a_data_folder(node: Callable[..., Node]) -> None:
    it = node()
    other = Node(it.folder / "other", default_config(data=str(it.data)))
    assert "is in use by another node" in _says(other)
    assert it.echo() == 0


# -- status ----------------------------------------------------------------------------------------------------


def test_status_of_a_node_that_is_well_and_of_one_that_has_ended(node: Callable[..., Node]) -> None:
    it, made = node(), make_instances(3, seed="status")
    with _associate(it, made) as association:
        assert {association.send_sample(sample) for sample in made} == {0}
    done = cli(it, "status")
    assert done.code == 0, done
    assert "Nothing needs a person." in done.out
    assert "1 study, 3 instances" in done.out
    assert max(map(len, done.out.splitlines())) <= 200
    found = _status(it)
    assert (found["running"], found["instances"], found["studies"], found["needs"]) == (True, 3, 1, [])
    assert found["bytes"] == sum(len(sample.dataset) for sample in made)
    assert found["intake_per_day"] == found["bytes"]
    assert [lane["queued"] + lane["active"] for lane in found["queue"] if lane["partner"] == "PUBPACS"] == [3]
    cli(it, "queue", "hold", "--partner", "PUBPACS", "--reason", "let me see")
    it.kill_all()
    done = cli(it, "status")
    assert done.code == 1
    assert "the node is not running" in done.out
    assert "held" in done.out
