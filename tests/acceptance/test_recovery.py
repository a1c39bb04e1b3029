"""What a start finds: a queue that goes on, files without a row, parts that nobody finished, files that are gone."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from dicomnode.store.functions import FUNCTIONS
from tests.integration.kit import rows
from tests.node import Node, default_config, free_port
from tests.samples import Sample, dataset_of, make_instances
from tests.wire import Receiver, contexts_for

_ULID = "01M7ZZZZZZZZZZZZZZZZZZZZZ"


def _send(node: Node, made: list[Sample], called: str = "TO_GENERAL") -> None:
    with node.associate("CT1", contexts_for(made), called=called) as association:
        assert {association.send_sample(sample) for sample in made} == {0}


def _versions(node: Node, study: str) -> dict[str, Path]:
    (found,) = node.cli("studies", "show", study, json=True)
    return {version["sop_instance_uid"]: node.data / version["file"] for version in found["versions"]}


def test_a_queue_goes_on_after_a_restart(node: Callable[..., Node]) -> None:
    port = free_port()
    it = node(default_config(pubpacs=port))
    made = make_instances(8, seed="restart")
    _send(it, made)
    it.wait_until(lambda: "paused" in it.log.read_text(), 15, "the lane to find nobody there")
    it.restart()
    (shape,) = it.cli("queue", "shape", json=True)
    assert (shape["queued"], shape["active"], shape["delivered"]) == (8, 0, 0)
    with Receiver(port=port) as receiver:
        receiver.wait_for(8, timeout=15)
        it.wait_until(lambda: rows(it, "SELECT 1 FROM referrals WHERE progress = 'sent'"), 10, "the end of it")
        assert {each.sop_instance: each.sha256 for each in receiver.received} == {
            sample.sop_instance: sample.sha256 for sample in made
        }


def _forget(node: Node, study: str) -> None:
    """Take a study out of the index, so that its files are as a kill leaves them between rename and commit."""
    chosen = "(SELECT id FROM studies WHERE study_instance_uid = :uid)"
    series = f"(SELECT id FROM series WHERE study IN {chosen})"
    with contextlib.closing(sqlite3.connect(node.data / "index.sqlite")) as index, index:
        for name, (function, values) in FUNCTIONS.items():  # what its triggers ask for
            index.create_function(name, values, function, deterministic=True)
        index.execute(
            f"DELETE FROM transfers WHERE referral IN (SELECT id FROM referrals WHERE study IN {chosen})", [study]
        )
        index.execute(f"DELETE FROM referrals WHERE study IN {chosen}", [study])
        index.execute(f"DELETE FROM instances WHERE series IN {series}", [study])
        index.execute(f"DELETE FROM series WHERE study IN {chosen}", [study])
        index.execute("DELETE FROM studies WHERE study_instance_uid = :uid", [study])


def test_a_start_puts_in_order_what_it_finds(node: Callable[..., Node]) -> None:
    port = free_port()
    it = node(default_config(pubpacs=port))
    orphans, holed = make_instances(3, seed="orphans"), make_instances(3, seed="holed")
    _send(it, orphans + holed)
    files = _versions(it, orphans[0].study)
    gone = _versions(it, holed[0].study)[holed[1].sop_instance]
    it.stop()
    _forget(it, orphans[0].study)
    gone.unlink()
    strange = {gone.with_name(f"{_ULID}A.dcm"): b"no DICOM at all", gone.with_name(f"{_ULID}B.dcm"): b""}
    strange[gone.with_name("notes.txt")] = b"not ours"
    parts = [it.data / "incoming" / f"{_ULID}W" / f"{_ULID}{n}.part" for n in range(3)]
    parts[0].parent.mkdir(parents=True)
    for path, content in {**strange, **dict.fromkeys(parts, b"half of something")}.items():
        path.write_bytes(content)
    it.start()

    # files without a row are adopted, under the site that they came from, and go their way
    assert {uid: dataset_of(file) for uid, file in _versions(it, orphans[0].study).items()} == {
        sample.sop_instance: sample.dataset for sample in orphans
    }
    assert set(_versions(it, orphans[0].study).values()) == set(files.values())
    assert {(row["instances"], row["site"]) for row in it.cli("studies", "list", json=True)} == {(3, "harbour")}
    # parts are removed; what is no file of ours stays where it is
    assert not list(it.data.rglob("*.part"))
    assert {path: path.read_bytes() for path in strange} == strange
    log = it.log.read_text()
    assert "adopted=3 parts=3 missing=1" in log
    assert "cannot adopt" in log
    # a row without its file is an alarm, is held with a reason, and stops nothing else
    assert "CRITICAL" in log
    (event,) = [row for row in it.cli("audit", "list", json=True) if row["event"] == "file damaged"]
    assert gone.name in event["text"]
    with Receiver(port=port) as receiver:
        receiver.wait_for(5, timeout=20)
        wanted = [sample for sample in orphans + holed if sample is not holed[1]]
        assert {each.sop_instance: each.sha256 for each in receiver.received} == {
            sample.sop_instance: sample.sha256 for sample in wanted
        }

        it.wait_until(lambda: rows(it, "SELECT 1 FROM transfers WHERE state = 'held'"), 10, "the one that is gone")
        (held,) = it.cli("queue", "list", "--state", "held", json=True)
        assert held["sop_instance_uid"] == holed[1].sop_instance
        assert held["reason"]


def test_a_data_folder_that_cannot_be_used_is_said_to_be(node: Callable[..., Node], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    it = node(default_config(data=str(tmp_path / "file")), start=False)
    done = it.cli("serve", timeout=20)
    assert done.code == 1, done
    assert str(tmp_path / "file") in done.err
    assert "Traceback" not in done.err
