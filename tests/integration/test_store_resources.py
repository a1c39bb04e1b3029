"""No room, or an index that somebody else has locked: A700H, an association that lives on, and nothing half-stored."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.disks import fill, mounts, small_disk
from tests.integration.kit import kept, rows, versions
from tests.node import Node, default_config
from tests.samples import Sample, make_instances
from tests.upper_layer import IMPLICIT_LE, VERIFICATION
from tests.wire import Association, contexts_for

_SHORT = 0xA700
_DISK = 24 << 20


def _associate(node: Node, samples: list[Sample]) -> Association:
    contexts = [(VERIFICATION, [IMPLICIT_LE]), *contexts_for(samples)]
    return node.associate("CT1", contexts, called="TO_GENERAL", timeout=40)


def _send(association: Association, samples: list[Sample]) -> dict[str, int]:
    """SOP Instance UID → status; every one is answered, and the association still works."""
    answers = {sample.sop_instance: association.send_sample(sample) for sample in samples}
    assert association.echo() == 0
    return answers


def _check(node: Node, samples: list[Sample], answers: dict[str, int]) -> None:
    """What was answered 0000H is kept whole; of what was answered A700H there is nothing at all."""
    assert set(answers.values()) <= {0, _SHORT}
    for sample in samples:
        found = [row["dataset"] for row in versions(node, sample.sop_instance)]
        assert found == ([sample.dataset] if answers[sample.sop_instance] == 0 else [])
    on_disk = {str(path.relative_to(node.data)) for path in (node.data / "instances").rglob("*.dcm")}
    assert {row["file"] for row in rows(node, "SELECT file FROM instances")} == on_disk
    assert not list(node.data.rglob("*.part"))


# -- no room for a file ----------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_written_is_answered_out_of_resources(start_node: Callable[..., Node]) -> None:
    """By a limit on the acceptors' files, which needs no rights and can be lifted again."""
    node = start_node()
    small, large = make_instances(2, seed="limit"), make_instances(2, seed="limits", size="large")
    workers = node.pids()["acceptor"]
    with _associate(node, small) as association:
        for pid in workers:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
        answers = _send(association, [small[0], *large, small[1]])
        assert list(answers.values()) == [0, _SHORT, _SHORT, 0]
        _check(node, [*small, *large], answers)
        for pid in workers:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        again = _send(association, large)
    assert set(again.values()) == {0}
    _check(node, [*small, *large], answers | again)
    assert node.pids()["acceptor"] == workers


# -- a full disk -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [0, 100_000], ids=["no byte left", "room for two files"])
@mounts
def test_a_full_disk_is_answered_out_of_resources(
    request: pytest.FixtureRequest, leave: int, tmp_path: Path
) -> None:
    """One that fills up before any watermark is looked at: of a byte, they come too late."""
    samples = make_instances(12, seed=("full", leave))
    before, during = samples[:2], samples[2:]
    with small_disk(tmp_path / "disk", _DISK) as disk:
        marks = {"associations": "0.001KB", "instances": "0.001KB"}
        node = Node(tmp_path / "node", default_config(data=str(disk / "data"), watermarks=marks)).start()
        try:
            workers = node.pids()
            with _associate(node, samples) as association:
                answers = _send(association, before)
                assert set(answers.values()) == {0}
                filler = fill(disk, leave)
                answers |= _send(association, during)
                assert answers[during[-1].sop_instance] == _SHORT
                _check(node, samples, answers)
                filler.unlink()
                refused = [sample for sample in during if answers[sample.sop_instance] == _SHORT]
                again = _send(association, refused)
            assert set(again.values()) == {0}
            _check(node, samples, answers | again)
            assert node.pids() == workers
        finally:
            node.kill_all()


# -- a locked index --------------------------------------------------------------------------------------------


def test_an_index_that_a_stranger_has_locked_is_answered_out_of_resources(start_node: Callable[..., Node]) -> None:
    node = start_node()
    samples = make_instances(3, seed="locked")
    workers = node.pids()
    with _associate(node, samples) as association:
        answers = _send(association, samples[:1])
        stranger = sqlite3.connect(node.data / "index.sqlite", isolation_level=None)
        with contextlib.closing(stranger):
            stranger.execute("BEGIN IMMEDIATE")
            before = kept(node)
            answers |= _send(association, samples[1:2])
            assert answers[samples[1].sop_instance] == _SHORT
            assert kept(node) == before
            _check(node, samples[:2], answers)
            stranger.execute("ROLLBACK")
        answers |= _send(association, samples[1:])
    assert set(answers.values()) == {0}
    _check(node, samples, answers)
    assert node.pids() == workers
