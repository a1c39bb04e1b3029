"""store/audit.py, generations.py and recover.py: what is written down about what happened."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from dicomnode.errors import OutOfResources
from dicomnode.operations.ports import Node
from dicomnode.store import audit, generations, recover
from dicomnode.store.audit import Event, Refused
from dicomnode.store.database import execute, one
from dicomnode.store.recover import Found, show_alive
from tests import fakes
from tests.fakes import START
from tests.samples import make_instances

HOUR = 3600 * fakes.SECOND


def refuse(node: Node, at: int, title: str = "X", why: str = "unknown calling AE title") -> None:
    refused = Refused(title, "REFERNODE", "10.0.0.1", why, 1, at, at)
    node.database.write(lambda: audit.refuse(refused, 7))


def events(node: Node, **options: int) -> list[Event]:
    with node.database.read():
        return audit.events(10_000, **options)


def refusals(node: Node) -> list[Refused]:
    with node.database.read():
        return audit.refusals()


# -- audit -----------------------------------------------------------------------------------------------------


def test_an_event_comes_back_as_it_was_recorded(here: Node) -> None:
    event = Event(START, "kind", "text", "CT1", "1.2", "1.2.3", 4, 5)
    number = here.database.write(lambda: audit.record(event))
    here.database.write(lambda: audit.record(Event(START, "other", "")))
    first, second = events(here)
    assert (first, first.id) == (Event(START, "kind", "text", "CT1", "1.2", "1.2.3", 4, 5, number), number)
    assert (second.partner, second.referral) == ("", None)
    assert events(here, referral=4) == [first]
    with here.database.read():
        assert audit.events(1) == [second]


def test_who_knocks_again_is_counted_and_told_of_once_an_hour(here: Node) -> None:
    begin = START // HOUR * HOUR
    for at in (begin, begin + 1, begin + HOUR - 1, begin + HOUR, begin + HOUR + 1):
        refuse(here, at)
    refuse(here, begin + HOUR + 2, why="address not allowed")
    latest, first = refusals(here)
    assert (first.times, first.first_at, first.last_at) == (5, begin, begin + HOUR + 1)
    assert (latest.why, latest.times) == ("address not allowed", 1)
    told = events(here)
    assert [e.at for e in told] == [begin, begin + HOUR, begin + HOUR + 2]
    assert {(e.kind, e.generation) for e in told} == {("association refused", 7)}
    assert told[0].text == "X@10.0.0.1 calling REFERNODE: unknown calling AE title"


def test_a_flood_of_made_up_titles_fills_no_disk(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_KINDS", 20)
    monkeypatch.setattr(audit, "_NEW", 5)
    begin = START // HOUR * HOUR
    refuse(here, begin, "FIRST")
    for number in range(100):
        refuse(here, begin + number + 1, f"MADE{number}")
    assert len(refusals(here)) == 20
    assert refusals(here)[0].calling_ae_title == "MADE99"
    assert len(events(here)) == 5
    refuse(here, begin + HOUR, "NEW_CT")  # the next hour begins anew
    assert events(here)[-1].text.startswith("NEW_CT@")


# -- generations -----------------------------------------------------------------------------------------------


def test_every_reading_has_its_number(here: Node) -> None:
    with here.database.read():
        assert generations.latest() is None
    first = here.database.write(lambda: generations.record("good", "", START))
    second = here.database.write(lambda: generations.record("bad", "a fault", START + 1))
    assert second > first
    with here.database.read():
        found = generations.latest()
        assert one("SELECT text, accepted FROM generations WHERE id = ?", first) == ("good", 1)
    assert found == generations.Generation(
        second, START + 1, hashlib.sha256(b"bad").hexdigest(), "a fault", accepted=False, text="bad"
    )
    with here.database.read():
        used = generations.in_force()
    assert used
    assert (used.id, used.text) == (first, "good")


# -- recover ---------------------------------------------------------------------------------------------------


def keep(node: Node, seed: int) -> str:
    (sample,) = make_instances(1, seed=seed)
    part = fakes.part_of(node, sample, fakes.origin(node))
    part.finish()
    return node.archive.keep(part, node.clock()).file


def test_orphans_are_files_without_a_row(here: Node) -> None:
    fakes.receive_all(here, make_instances(2))
    file = keep(here, 5)
    assert recover.orphans(here.archive, here.database, here.clock()) == [file]


def test_folders_that_were_recovered_are_not_looked_through_again(here: Node) -> None:
    file = keep(here, 5)
    changed = here.archive.path(file).parent.stat().st_mtime
    for later, found in ((3599, [file]), (3601, [])):
        at = round((changed + later) * 1e6)
        here.database.write(lambda at=at: recover.record(Found(0, 0, 0), at))
        assert recover.orphans(here.archive, here.database, at) == found
    before = round((changed + 3600) * 1e6)
    assert recover.orphans(here.archive, here.database, before) == [file]  # the clock was set back since the last


def test_damaged_files_are_those_of_rows_since_the_last_recovery(here: Node) -> None:
    fakes.receive_all(here, make_instances(1))
    (file,) = fakes.files(here)

    def missing(later: int = 0) -> list[str]:
        found = recover.damaged(here.archive, here.database, here.clock() + later)
        assert {why for _, why in found} <= {"missing"}
        return [kept.file for kept, _ in found]

    assert missing() == []
    here.archive.path(file).unlink()
    assert missing() == [file]
    here.database.write(lambda: recover.record(Found(0, 0, 0), here.clock()))
    assert missing() == [file]  # within the margin: clocks are set
    here.database.write(lambda: recover.record(Found(0, 0, 0), here.clock() + 3 * HOUR))
    assert missing(3 * HOUR) == []
    assert missing() == [file]


def test_a_file_that_was_evicted_is_not_missing(here: Node) -> None:
    fakes.receive_all(here, make_instances(1))
    (file,) = fakes.files(here)
    here.archive.path(file).unlink()
    here.database.write(lambda: execute("UPDATE instances SET evicted_at = 1"))
    assert recover.damaged(here.archive, here.database, here.clock()) == []


def test_only_the_newest_files_are_read_at_a_start_and_all_are_measured(
    here: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recover, "_DIGESTS", 1e-9)
    fakes.receive_all(here, make_instances(3))
    cut, flipped, whole = (here.archive.path(file) for file in sorted(fakes.files(here)))
    os.truncate(cut, whole.stat().st_size // 2)
    flipped.write_bytes(flipped.read_bytes()[:-1] + b"!")

    def damaged() -> dict[Path, str]:
        return {here.archive.path(k.file): why for k, why in recover.damaged(here.archive, here.database, here.clock())}

    assert damaged() == {cut: "cut short"}
    monkeypatch.setattr(recover, "_DIGESTS", 10.0)
    assert damaged() == {cut: "cut short", flipped: "not what was received"}


def test_a_start_waits_for_the_living(here: Node) -> None:
    alive = show_alive(here.archive.root / "run", "other")
    with pytest.raises(OutOfResources, match="other"):
        recover.wait_for_workers(here.archive, 0.0)
    os.close(alive)
    recover.wait_for_workers(here.archive, 0.0)


def test_a_lock_is_held_before_it_is_seen(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks for the dead just then must find no lock, or one that is held."""
    run, seen = here.archive.root / "run", list[list[str]]()
    rename = Path.rename

    def looked(self: Path, target: Path) -> Path:
        seen.append(list(recover.dead_workers(here.archive)))
        renamed = rename(self, target)
        seen.append(list(recover.dead_workers(here.archive)))
        return renamed

    monkeypatch.setattr(Path, "rename", looked)
    alive = show_alive(run, "other")
    assert seen == [[], []]
    os.close(alive)
    assert list(recover.dead_workers(here.archive)) == ["other"]
