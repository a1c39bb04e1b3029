"""operations/scrub.py: a file that is not what was received is never sent, is told of once, and heals."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dicomnode.operations import forward, scrub
from dicomnode.operations.ports import Node
from dicomnode.operations.scrub import Pace
from dicomnode.store import audit, damaged, integrity, ledger, queue
from dicomnode.store.database import one, rows
from tests import fakes
from tests.fakes import FakeClock, FakePartner
from tests.patience import patient
from tests.samples import Sample, make_instances

_DAY = 86400.0


def flip(path: Path) -> None:
    """Change one bit in the middle of the dataset."""
    content = bytearray(path.read_bytes())
    content[-len(content) // 4] ^= 0x10
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def blank(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


_HARM: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "not what was received": flip,
    "cut short": lambda path: os.truncate(path, 100),
    "not as long as what was received": lengthen,
    "unreadable": blank,
}


def pace(rate: int = 10**12) -> Pace:
    return Pace(rate, threading.Event())


def sweep(node: Node) -> float:
    """Look at all files that are due; seconds until there may be more."""
    at_once = pace()
    while not (rest := scrub.scrub(node, at_once)):
        pass
    return rest


def age(node: Node, seconds: float = _DAY) -> None:
    assert isinstance(node.clock, FakeClock)
    node.clock.advance(seconds)


def kept(node: Node, samples: list[Sample]) -> list[Path]:
    """The files of these instances, once they have come and are a day old."""
    found = [node.archive.path(fakes.receive(node, sample).file) for sample in samples]
    fakes.complete(node)
    age(node)
    sweep(node)  # a round begins
    return found


def alarms(node: Node) -> list[str]:
    with node.database.read():
        return [event.text for event in audit.events() if event.kind == "file damaged" and event.alarm]


def transfers(node: Node) -> dict[str, tuple[str, str]]:
    with node.database.read():
        return {t.sop_instance_uid: (t.state, t.reason) for t in ledger.listed(100)}


@pytest.mark.parametrize("wrong", _HARM)
def test_what_is_damaged_is_held_not_sent_and_told_of_once(
    here: Node, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    samples = make_instances(3)
    _, harmed, _ = kept(here, samples)
    _HARM[wrong](harmed)
    age(here)
    sweep(here)

    state, reason = transfers(here)[samples[1].sop_instance]
    assert state == "held"
    assert reason.startswith(f"file damaged: {wrong}")
    assert "send the study again from its source" in reason
    peer = FakePartner()
    assert forward.forward(here.config.partners["PUBPACS"], peer, here, lambda: False)
    assert peer.uids == [samples[0].sop_instance, samples[2].sop_instance]

    assert len(alarms(here)) == 1
    assert harmed.name in alarms(here)[0]
    assert [r.levelno for r in caplog.records if harmed.name in r.message] == [logging.CRITICAL]
    age(here)
    sweep(here)
    assert len(alarms(here)) == 1


@pytest.mark.parametrize("wrong", _HARM)
@pytest.mark.parametrize("found", [True, False])
def test_sent_again_it_is_whole_and_goes(here: Node, wrong: str, found: bool) -> None:
    """Whether the scrubber has found it, or nobody has looked yet."""
    samples = make_instances(3)
    files = kept(here, samples)
    _HARM[wrong](files[1])
    if found:
        age(here)
        sweep(here)
    fakes.receive(here, samples[1])
    fakes.complete(here)
    with here.database.read():
        file, damage = one("SELECT file, damage FROM instances WHERE sop_instance_uid = ?", samples[1].sop_instance)
    assert damage == ""
    assert integrity.look(_row(here, file), here.archive, lambda _: True) == ""
    assert fakes.files(here) == {file, *(str(f.relative_to(here.archive.root)) for f in (files[0], files[2]))}
    peer = FakePartner()
    forward.forward(here.config.partners["PUBPACS"], peer, here, lambda: False)
    assert sorted(peer.uids) == sorted(sample.sop_instance for sample in samples)
    assert {each.dataset for each in peer.sent} == {sample.dataset for sample in samples}


def _row(node: Node, file: str) -> integrity.Kept:
    with node.database.read():
        found = integrity.named(file)
    assert found
    return found


@pytest.mark.parametrize("wrong", ["missing", "not what was received"])
def test_what_the_sender_could_not_use_is_an_alarm_and_heals(here: Node, wrong: str) -> None:
    samples = make_instances(2)
    file = here.archive.path(fakes.receive(here, samples[0]).file)
    fakes.receive(here, samples[1])
    fakes.complete(here)
    _HARM[wrong](file)
    peer = Checking()
    forward.forward(here.config.partners["PUBPACS"], peer, here, lambda: False)
    assert transfers(here)[samples[0].sop_instance][1].startswith(f"file damaged: {wrong}")
    assert len(alarms(here)) == 1
    fakes.receive(here, samples[0])
    fakes.complete(here)
    forward.forward(here.config.partners["PUBPACS"], peer, here, lambda: False)
    assert transfers(here)[samples[0].sop_instance][0] == "delivered"


class Checking(FakePartner):
    """A sender that looks at what it sends, as the real one does."""

    def __init__(self) -> None:
        super().__init__()
        self.on_send = self._check

    @staticmethod
    def _check(instance: fakes.Outgoing) -> None:
        import hashlib

        from dicomnode.errors import Unreadable

        if hashlib.sha256(instance.path.read_bytes()[-instance.size :]).hexdigest() != instance.sha256:
            raise Unreadable("our own file is not what was received")


def test_one_that_a_person_holds_stays_held(here: Node) -> None:
    (sample,) = make_instances(1)
    (file,) = kept(here, [sample])
    with here.database.read():
        ids = [t.transfer for t in ledger.listed(1)]
    here.database.write(lambda: queue.hold(ids, "ask first"))
    file.unlink()
    age(here)
    sweep(here)
    fakes.receive(here, sample)
    assert transfers(here)[sample.sop_instance] == ("held", "ask first")


def test_a_file_that_came_back_is_sound_again(here: Node) -> None:
    """Somebody has restored it from a backup."""
    (sample,) = make_instances(1)
    (file,) = kept(here, [sample])
    away = file.rename(file.with_suffix(".away"))
    age(here)
    sweep(here)
    assert transfers(here)[sample.sop_instance][0] == "held"
    away.rename(file)
    age(here)
    sweep(here)
    assert transfers(here)[sample.sop_instance][0] == "queued"


def test_each_file_is_read_once_in_a_round_from_the_oldest_on(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    monkeypatch.setattr(integrity, "look", lambda kept, *_: read.append(kept.instance) or "")
    monkeypatch.setattr(scrub, "_BATCH", 2)
    ids = [fakes.receive(here, sample).instance for sample in make_instances(5)]
    sweep(here)
    assert read == []  # they have come today
    age(here)
    sweep(here)
    assert read == ids
    ids.append(fakes.receive(here, make_instances(1, seed="later")[0]).instance)
    age(here, _DAY / 2)
    assert sweep(here) == scrub._REST
    assert read == ids[:5]  # the round is over, and the next begins a day after it began
    age(here, _DAY / 2)
    sweep(here)
    assert read == [*ids[:5], ids[5], *ids]


def test_where_it_has_come_is_kept(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    monkeypatch.setattr(integrity, "look", lambda kept, *_: read.append(kept.instance) or "")
    monkeypatch.setattr(scrub, "_BATCH", 2)
    fakes.receive_all(here, make_instances(4))
    age(here)
    scrub.scrub(here, pace())
    scrub.scrub(here, pace())
    scrub.scrub(here, pace())  # by whichever process: all is in the index
    assert read == [1, 2, 3, 4]


def test_what_was_evicted_is_not_missed(here: Node) -> None:
    (file,) = kept(here, make_instances(1))
    here.database.write(lambda: rows("UPDATE instances SET evicted_at = 1"))
    file.unlink()
    age(here)
    with here.database.read():
        assert integrity.after(0, here.clock(), 10) == []
    sweep(here)
    assert alarms(here) == []


def test_two_that_find_it_at_once_tell_of_it_once(here: Node) -> None:
    (file,) = kept(here, make_instances(1))
    row = _row(here, str(file.relative_to(here.archive.root)))
    for _ in range(2):  # the scrubber, and the sender, each with what it had read before
        scrub.note(row, "missing", here)
    assert len(alarms(here)) == 1


def test_it_reads_as_fast_as_it_may(here: Node) -> None:
    (file,) = kept(here, make_instances(1))
    size = file.stat().st_size
    (row,) = [_row(here, str(file.relative_to(here.archive.root)))]
    slow = pace(size * 4)  # a quarter of a second
    before = time.monotonic()
    assert integrity.look(row, here.archive, slow.spend) == ""
    assert 0.2 < time.monotonic() - before < patient(2)


def test_it_ends_at_once(here: Node) -> None:
    (file,) = kept(here, make_instances(1))
    slow = pace(1)
    threading.Timer(0.05, slow.stopped.set).start()
    before = time.monotonic()
    assert integrity.look(_row(here, str(file.relative_to(here.archive.root))), here.archive, slow.spend) is None
    assert time.monotonic() - before < patient(2)


# -- the index -------------------------------------------------------------------------------------------------


def test_a_sound_index_is_found_to_be_sound(here: Node, caplog: pytest.LogCaptureFixture) -> None:
    fakes.receive_all(here, make_instances(3))
    with caplog.at_level(logging.INFO):
        scrub.check_index(here, pace())
    assert "index checked" in caplog.text
    assert damaged.reason(here.database.path) == ""


def test_a_check_that_was_stopped_has_found_nothing(here: Node, caplog: pytest.LogCaptureFixture) -> None:
    stopped = pace()
    stopped.stopped.set()
    with caplog.at_level(logging.INFO):
        scrub.check_index(here, stopped)
    assert "index checked" not in caplog.text


def test_the_first_fault_is_told(here: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    looked = list[str]()
    monkeypatch.setattr(integrity, "check", lambda table: looked.append(table) or f"{table}: a page was lost")
    with caplog.at_level(logging.INFO):
        scrub.check_index(here, pace())
    assert damaged.reason(here.database.path) == f"{looked[0]}: a page was lost"
    assert len(looked) == 1
    assert "index checked" not in caplog.text


@pytest.mark.parametrize("name", ["instances", "transfers_partner", "sqlite_autoindex_studies_1", "marks"])
def test_a_damaged_index_is_marked(build: Callable[..., Node], name: str) -> None:
    node = build()
    fakes.receive_all(node, make_instances(3))
    with node.database.read():
        (root,) = one("SELECT rootpage FROM sqlite_schema WHERE name = ?", name)
    node.database.checkpoint()
    with node.database.path.open("r+b") as index:
        index.seek((root - 1) * 4096)
        index.write(os.urandom(4096))
    node = build()  # with what is in no cache
    assert damaged.reason(node.database.path) == ""
    scrub.check_index(node, pace())
    assert damaged.reason(node.database.path)
