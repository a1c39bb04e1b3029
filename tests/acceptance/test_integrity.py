"""What a disk does to a running node: an index that lies, files that are not what was received; and the way back.

Whatever was answered 0000H is there afterwards as it was sent, and reaches the hospital.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.inprocess import cli
from tests.integration.kit import rows
from tests.node import Node, default_config, free_port
from tests.samples import Sample, dataset_of, make_instances
from tests.wire import Receiver, contexts_for

_LATER = 0xA700
_SENTENCE = "the index is damaged: stop the node and run `dicomnode reindex`"
_KEY = "sqlite_autoindex_instances_2"
"""The b-tree in which every instance that arrives is looked up."""


def _send(node: Node, made: Sequence[Sample], status: int = 0) -> None:
    with node.associate("CT1", contexts_for(made), called="TO_GENERAL") as association:
        assert {association.send_sample(sample) for sample in made} == {status}


@contextlib.contextmanager
def _index(node: Node) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(node.data / "index.sqlite")) as index, index:
        yield index


def _flip(node: Node, name: str) -> None:
    """Spoil the root page of a table or an index."""
    with _index(node) as index:
        (root,) = index.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [name]).fetchone()
    with (node.data / "index.sqlite").open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(os.urandom(4096))


def _is_condemned(node: Node) -> bool:
    return (node.data / "index.damaged").exists()


def _whole(node: Node, receiver: Receiver, made: Sequence[Sample]) -> None:
    """Everything that was answered 0000H is here and at the hospital, byte for byte."""
    wanted = {sample.sop_instance: sample.sha256 for sample in made}
    receiver.wait_until(
        lambda: wanted.items() <= {(each.sop_instance, each.sha256) for each in receiver.received}, 30, "all of it"
    )
    found = rows(node, "SELECT sop_instance_uid, sha256, file FROM instances WHERE current")
    assert {row["sop_instance_uid"]: row["sha256"] for row in found} == wanted
    datasets = {sample.sop_instance: sample.dataset for sample in made}
    assert all(dataset_of(node.data / row["file"]) == datasets[row["sop_instance_uid"]] for row in found)


def _rebuild(node: Node) -> None:
    refused = node.cli("serve", timeout=20)
    assert refused.code != 0
    assert "dicomnode reindex" in refused.err
    done = cli(node, "reindex")
    assert done.code == 0, done
    node.start()


def test_a_page_that_was_flipped_is_found_at_the_start_and_nothing_is_lost(node: Callable[..., Node]) -> None:
    with Receiver() as receiver:
        it = node(default_config(pubpacs=receiver.port))
        made, more = make_instances(6, seed="flipped"), make_instances(3, seed="afterwards")
        _send(it, made)
        receiver.wait_for(6, timeout=15)
        it.wait_until(lambda: rows(it, "SELECT 1 FROM referrals WHERE progress = 'sent'"), 10, "the end of it")
        it.stop()
        _flip(it, _KEY)
        it.start()
        it.wait_until(lambda: _is_condemned(it), 10, "the check of the index")
        with it.associate("CT1", contexts_for(more), called="TO_GENERAL") as association:
            assert (association.send_sample(more[0]), association.last_error_comment) == (_LATER, _SENTENCE)
        assert not list(it.data.rglob("*.part"))
        told = cli(it, "doctor", "--no-partners")
        assert told.code == 1
        assert "the index is damaged" in told.out
        assert "dicomnode reindex" in told.out
        it.stop()
        _rebuild(it)
        _send(it, more)
        _whole(it, receiver, made + more)
        assert len(receiver.received) == 9  # what had been delivered was known to have been
        assert cli(it, "doctor", "--no-partners", "--deep").code == 0


def test_a_page_that_is_flipped_while_it_runs_is_found_by_the_first_who_needs_it(node: Callable[..., Node]) -> None:
    with Receiver() as receiver:
        it = node(default_config(pubpacs=receiver.port))
        made, more = make_instances(4, seed="before"), make_instances(2, seed="after")
        _send(it, made)
        receiver.wait_for(4, timeout=15)
        it.restart()
        it.wait_until(lambda: it.log.read_text().count("index checked") == 2, 10, "the check of the index")
        _flip(it, _KEY)
        _send(it, more, _LATER)
        assert _is_condemned(it)
        assert "CRITICAL" in it.log.read_text()
        it.stop()
        _rebuild(it)
        _send(it, more)
        _whole(it, receiver, made + more)


def test_without_its_index_everything_is_there_and_goes_again(node: Callable[..., Node]) -> None:
    with Receiver() as receiver:
        it = node(default_config(pubpacs=receiver.port))
        made = make_instances(5, seed="deleted")
        _send(it, made)
        receiver.wait_for(5, timeout=15)
        it.stop()
        (it.data / "index.sqlite").unlink()
        _rebuild(it)
        receiver.wait_for(10, timeout=15)  # nobody knows any more that it went
        _whole(it, receiver, made)


def test_a_log_that_was_cut_short_costs_nothing(node: Callable[..., Node]) -> None:
    """The rows of what had been acknowledged are lost with it; the files are not."""
    port = free_port()
    it = node(default_config(pubpacs=port))
    made = make_instances(8, seed="cut log")
    _send(it, made)
    it.kill_all()
    log = it.data / "index.sqlite-wal"
    os.truncate(log, log.stat().st_size // 3)
    it.start()
    assert "adopted=0" not in it.log.read_text().rpartition("recovered")[2]
    with Receiver(port=port) as receiver:
        _whole(it, receiver, made)


@pytest.mark.parametrize("known", ["to the scrubber", "to the start"])
def test_damaged_files_are_held_told_of_and_heal(node: Callable[..., Node], known: str) -> None:
    port = free_port()
    it = node(default_config(pubpacs=port))
    made = make_instances(5, seed="files")
    _send(it, made)
    it.stop()
    if known == "to the scrubber":
        _grow_old(it)
    files = {row["sop_instance_uid"]: it.data / row["file"] for row in rows(it, "SELECT * FROM instances")}
    flipped, removed = made[1], made[3]
    _flip_bit(files[flipped.sop_instance])
    files[removed.sop_instance].unlink()
    it.start()

    def damaged() -> dict[str, str]:
        found = rows(it, "SELECT sop_instance_uid, damage FROM instances WHERE damage != ''")
        return {row["sop_instance_uid"]: row["damage"] for row in found}

    it.wait_until(lambda: len(damaged()) == 2, 10, "both to be found")
    assert damaged() == {flipped.sop_instance: "not what was received", removed.sop_instance: "missing"}
    with Receiver(port=port) as receiver:
        receiver.wait_for(3, timeout=20)
        held = cli(it, "queue", "list", "--state", "held", json=True)
        assert {row["sop_instance_uid"] for row in held} == {flipped.sop_instance, removed.sop_instance}
        assert all("send the study again from its source" in row["reason"] for row in held)
        alarms = [row for row in cli(it, "audit", "list", json=True) if row["event"] == "file damaged"]
        assert len(alarms) == 2
        assert cli(it, "doctor", "--no-partners").code == 1
        assert not {each.sop_instance for each in receiver.received} & {flipped.sop_instance, removed.sop_instance}
        _send(it, made)  # the whole study, as a radiographer does
        _whole(it, receiver, made)
        assert damaged() == {}
        assert cli(it, "queue", "list", "--state", "held", json=True) == []


def _grow_old(node: Node) -> None:
    """As if it had been received years ago: then a start looks at none of it."""
    folder = node.data / "instances/20200101/00"
    folder.mkdir(parents=True)
    with _index(node) as index:
        for (file,) in index.execute("SELECT file FROM instances").fetchall():
            (node.data / file).rename(folder / Path(file).name)
        index.execute("UPDATE instances SET file = 'instances/20200101/00/' || substr(file, -30), received_at = 1")


def _flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
