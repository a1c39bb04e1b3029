"""operations/housekeep.py: what a start puts in order, and what a round takes back."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dicomnode.operations import housekeep, moving, receive, retrieve
from dicomnode.operations.ports import Node, Originator, now
from dicomnode.operations.retrieve import Asked
from dicomnode.rules.matching import Model
from dicomnode.store import audit, database, ledger, queue, recover, referrals
from dicomnode.store.database import one
from dicomnode.store.recover import Found, show_alive
from tests import fakes
from tests.samples import Sample, make_instances

NOBODY = fakes.FakeCallers()


def states(node: Node) -> list[str]:
    with node.database.read():
        return [t.state for t in ledger.listed(100)]


def claimed(node: Node, worker: str) -> None:
    """Two transfers that `worker` claimed, and never finished."""
    fakes.receive_all(node, make_instances(2))
    fakes.complete(node)
    assert node.database.write(lambda: queue.claim("PUBPACS", 10, worker, node.clock()))
    assert states(node) == ["active", "active"]


def die(node: Node, worker: str) -> None:
    """What a killed worker leaves: a lock that nobody holds, and parts."""
    (node.archive.root / "run" / f"{worker}.lock").touch()
    incoming = node.archive.root / "incoming" / worker
    incoming.mkdir(parents=True)
    (incoming / "01.part").write_bytes(b"half")


def test_a_round_completes_what_is_quiet(here: Node) -> None:
    fakes.receive_all(here, make_instances(1))
    housekeep.tidy(here, NOBODY)
    assert isinstance(here.clock, fakes.FakeClock)
    here.clock.advance(61)
    housekeep.tidy(here, NOBODY)
    with here.database.read():
        assert referrals.listed()[0].progress == "complete"


def test_the_next_round_is_when_the_first_quiet_time_ends(here: Node) -> None:
    assert housekeep.rest(here, NOBODY) == math.inf
    first, second = make_instances(1), make_instances(1, seed="other")
    fakes.receive_all(here, first)
    assert isinstance(here.clock, fakes.FakeClock)
    here.clock.advance(20)
    fakes.receive_all(here, second)
    assert housekeep.rest(here, NOBODY) == 40
    here.clock.advance(50)
    assert housekeep.rest(here, NOBODY) == 0
    housekeep.tidy(here, NOBODY)
    assert housekeep.rest(here, NOBODY) == 10


def test_a_round_takes_back_what_a_dead_worker_had(here: Node) -> None:
    claimed(here, "dead")
    die(here, "dead")
    housekeep.tidy(here, NOBODY)
    assert states(here) == ["queued", "queued"]
    assert not (here.archive.root / "incoming" / "dead").exists()
    assert not (here.archive.root / "run" / "dead.lock").exists()


def test_a_round_counts_whom_it_buried(here: Node) -> None:
    assert housekeep.tidy(here, NOBODY) == 0
    die(here, "dead")
    die(here, "another")
    assert housekeep.tidy(here, NOBODY) == 2


def test_a_round_leaves_the_living_alone(here: Node) -> None:
    claimed(here, "living")
    alive = show_alive(here.archive.root / "run", "living")
    housekeep.tidy(here, NOBODY)
    assert states(here) == ["active", "active"]
    os.close(alive)  # what the kernel does when the process dies
    housekeep.tidy(here, NOBODY)
    assert states(here) == ["queued", "queued"]
    assert not (here.archive.root / "run" / "living.lock").exists()


@pytest.mark.parametrize("story", [lambda node: housekeep.tidy(node, NOBODY), housekeep.recover_all])
def test_claims_whose_worker_left_no_lock_are_taken_back(here: Node, story: Callable[[Node], object]) -> None:
    claimed(here, "forgotten")
    story(here)
    assert states(here) == ["queued", "queued"]


def test_a_worker_s_own_claims_are_its_own_affair(here: Node) -> None:
    claimed(here, here.worker)
    housekeep.tidy(here, NOBODY)
    assert states(here) == ["active", "active"]


def test_a_start_finds_nothing_where_all_is_well(here: Node) -> None:
    fakes.receive_all(here, make_instances(2))
    before = fakes.files(here)
    assert housekeep.recover_all(here) == Found(0, 0, 0)
    assert fakes.files(here) == before


def test_a_start_removes_parts_adopts_orphans_and_misses_files(here: Node) -> None:
    received, orphan = make_instances(2)
    fakes.receive(here, received)
    die(here, "dead")
    (here.archive.root / "incoming" / "older").mkdir()
    (here.archive.root / "incoming" / "older" / "02.part").write_bytes(b"half")
    came = fakes.origin(here)
    part = fakes.part_of(here, orphan, came)
    part.finish()
    stored = here.archive.keep(part, came.received_at)
    (gone,) = fakes.files(here) - {stored.file} - {"incoming/dead/01.part", "incoming/older/02.part"}
    here.archive.path(gone).unlink()

    assert housekeep.recover_all(here) == Found(adopted=1, parts=2, missing=1)
    assert fakes.files(here) == {stored.file}
    with here.database.read():
        events = [(e.kind, e.text) for e in audit.events()]
        assert one("SELECT adopted, parts, missing FROM recoveries") == (1, 2, 1)
    assert events[-1][0] == "file damaged"
    assert gone in events[-1][1]
    assert len(states(here)) == 2  # the orphan is on its way too


def test_an_orphan_that_was_sent_again_is_a_duplicate(here: Node) -> None:
    """Killed before the commit, the sender sent it once more: both files were kept, one is enough."""
    (made,) = make_instances(1)
    came = fakes.origin(here)
    part = fakes.part_of(here, made, came)
    part.finish()
    here.archive.keep(part, came.received_at)
    fakes.receive(here, made)
    assert len(fakes.files(here)) == 2
    housekeep.recover_all(here)
    assert len(fakes.files(here)) == 1
    assert housekeep.recover_all(here) == Found(0, 0, 0)


def kept(node: Node, made: Sample) -> str:
    """A file as a worker leaves it that is killed before it has indexed it."""
    came = fakes.origin(node)
    part = fakes.part_of(node, made, came)
    part.finish()
    return node.archive.keep(part, came.received_at).file


def test_a_look_back_adopts_what_is_in_nobody_s_hands(build: Callable[..., Node]) -> None:
    clock = fakes.FakeClock(now())
    node = build(clock=clock)
    (made,) = make_instances(1)
    kept(node, made)
    clock.advance(housekeep.SETTLED - 1)
    assert housekeep.look_back(node, age=housekeep.SETTLED) == Found(0, 0, 0)
    assert states(node) == []
    clock.advance(2)
    assert housekeep.look_back(node, age=housekeep.SETTLED) == Found(1, 0, 0)
    assert states(node) == ["queued"]
    assert housekeep.look_back(node, age=housekeep.SETTLED) == Found(0, 0, 0)


def test_a_start_looks_at_what_came_since_the_last_look_back(build: Callable[..., Node]) -> None:
    clock = fakes.FakeClock(now())
    node = build(clock=clock)
    (made,) = make_instances(1)
    file = node.archive.path(kept(node, made))
    clock.advance(2 * 3600)
    node.database.write(lambda: recover.record(Found(0, 0, 0), clock()))
    assert housekeep.recover_all(node).adopted == 0
    os.utime(file.parent, (clock() / 1e6,) * 2)
    assert housekeep.recover_all(node).adopted == 1


def test_a_recovery_asks_the_index_once_for_a_folder_not_once_for_a_file(
    here: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100,000 instances that no recovery has seen cost a second or two; a statement for each, five."""
    asked, run = list[str](), database._run
    monkeypatch.setattr(database, "_run", lambda sql, values: asked.append(sql) or run(sql, values))
    counts = []
    for seed in range(2):
        fakes.receive_all(here, make_instances(5, seed=seed))
        asked.clear()
        assert housekeep.look_back(here) == Found(0, 0, 0)
        counts.append(len(asked))
    assert counts[0] == counts[1]


def test_what_is_adopted_while_its_receiver_indexes_it_is_kept(here: Node) -> None:
    """Were the margin ever too short, both come to the same file: neither may take it for a second one."""
    (made,) = make_instances(1)
    fakes.receive(here, made)
    (file,) = fakes.files(here)
    receive.adopt(file, here)
    assert fakes.files(here) == {file}
    with here.database.read():
        assert one("SELECT count(*), file FROM instances") == (1, file)


def test_a_file_that_cannot_be_read_does_not_stop_a_start(
    build: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = build()
    folder = node.archive.root / "instances" / "20260101" / "00"
    folder.mkdir(parents=True)
    (folder / "01.dcm").write_bytes(b"rubbish")
    (folder / "02.dcm").mkdir()  # to read it is an OSError
    assert housekeep.recover_all(node).adopted == 0
    assert (folder / "01.dcm").exists()


def test_a_lock_is_given_up_by_death_alone(tmp_path: Path, here: Node) -> None:
    ours = show_alive(here.archive.root / "run", "other")
    assert list(recover.dead_workers(here.archive)) == []
    os.close(ours)  # what the kernel does when the process dies
    assert list(recover.dead_workers(here.archive)) == ["other"]
    assert list(recover.dead_workers(here.archive)) == []


@pytest.mark.parametrize("is_gone", [True, False])
def test_who_cannot_be_called_any_more_is_named_with_what_to_do(
    here: Node, is_gone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether the partner is gone, or has lost its host and port; in the referral, the audit trail and the log."""
    fakes.receive_all(here, make_instances(2))
    partners = dict(here.config.partners)
    lost = partners.pop("PUBPACS").model_copy(update={"host": None, "port": None})
    partners |= {} if is_gone else {"PUBPACS": lost}
    changed = here.config.model_copy(update={"partners": partners})
    housekeep.strand(Node(changed, 2, here.archive, here.database, here.clock))
    words = "no partner PUBPACS that can be called: add it, or its host and port, and reload"
    with here.database.read():
        assert words in referrals.listed()[0].reason
        assert words in audit.events(referral=1)[-1].text
    assert [words in record.getMessage() for record in caplog.records if "held" in record.getMessage()] == [True]
    housekeep.strand(here)
    with here.database.read():
        assert referrals.listed()[0].state == "receiving"


def test_a_round_settles_a_move_whose_worker_died(here: Node) -> None:
    """Nobody else would, until the next start."""
    fakes.receive_all(here, make_instances(2), called="REFERNODE")
    asked = fakes.asked("STUDY", StudyInstanceUID=make_instances(1)[0].study)
    plan = retrieve.plan(Asked(asked, Model.STUDY_ROOT), "PUBPACS", here.config.partners["RAD_WS"], here)
    sending = moving.send(plan, Originator("RAD_WS", 7, 1), fakes.FakePartner(), here, lambda: False)
    next(sending)
    die(here, "dead")
    housekeep.tidy(here, NOBODY)
    with here.database.read():
        assert referrals.listed()[0].state == "sent"
