"""No room, or an index that somebody else has locked: A700H, an association that lives on, and nothing half-stored."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
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


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 24 MB at `folder`; a skip where this user may not mount one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path, leave: int) -> Path:
    """A file that leaves so many bytes free. The node goes on writing meanwhile, so the end may come sooner."""
    filler = folder / "filler"
    space = os.statvfs(folder)
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(max(0, space.f_bavail * space.f_frsize - leave) // 4096):
            file.write(bytes(4096))
    return filler


@pytest.mark.parametrize("leave", [0, 100_000], ids=["no byte left", "room for two files"])
def test_a_full_disk_is_answered_out_of_resources(leave: int, tmp_path: Path) -> None:
    samples = make_instances(12, seed=("full", leave))
    before, during = samples[:2], samples[2:]
    with _small_disk(tmp_path / "disk") as disk:
        node = Node(tmp_path / "node", default_config(data=str(disk / "data"))).start()
        try:
            workers = node.pids()
            with _associate(node, samples) as association:
                answers = _send(association, before)
                assert set(answers.values()) == {0}
                filler = _fill(disk, leave)
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
