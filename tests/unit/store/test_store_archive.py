"""store/archive.py: a kept file is on disk with its name and its folder, or it is not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dicomnode.dicom import part10
from dicomnode.dicom.part10 import Origin
from dicomnode.errors import OutOfResources, Unreadable
from dicomnode.store.archive import Archive, Stored, ulid

AT = 1_790_000_000_000_000  # 2026-09-21 14:13:20 UTC
HOUR = "instances/20260921/14"
ORIGIN = Origin("CT1", "harbour", AT, "CT1", "NODE")
HEADER = part10.encode("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1", ORIGIN)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    made = Archive(tmp_path / "data", "worker")
    made.prepare()
    return made


def there(archive: Archive) -> list[str]:
    return sorted(str(p.relative_to(archive.root)) for p in archive.root.rglob("*") if p.is_file())


def test_names_are_new_and_sort_by_time() -> None:
    names = [ulid() for _ in range(1000)]
    assert len(set(names)) == 1000
    assert all(re.fullmatch("[0-9A-HJKMNP-TV-Z]{26}", name) for name in names)
    assert [name[:10] for name in names] == sorted(name[:10] for name in names)


def test_a_file_is_kept_under_the_hour_of_its_arrival(archive: Archive) -> None:
    part = archive.part(HEADER, 100)
    part.write(b"data")
    part.write(memoryview(b"set"))
    part.finish()
    assert there(archive) == [f"incoming/worker/{part.path.name}"]
    stored = archive.keep(part, AT)
    sums = hashlib.sha256(b"dataset").hexdigest(), 7, zlib.crc32(b"dataset")
    assert stored == Stored(f"{HOUR}/{part.path.stem}.dcm", *sums)
    assert there(archive) == [stored.file]
    path = archive.path(stored.file)
    assert path.read_bytes() == HEADER + b"dataset"
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
    assert archive.measure(stored.file, len(HEADER)) == replace(stored, crc32=None)
    assert archive.holds(stored.file, stored)
    assert not archive.holds(stored.file, replace(stored, size=8))
    assert not archive.holds(stored.file, replace(stored, sha256="0" * 64))
    archive.remove(stored.file)
    archive.remove(stored.file)
    assert there(archive) == []
    assert not archive.holds(stored.file, stored)


def test_file_name_and_folder_are_synced_in_this_order(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes before the name, the way to the folder before anybody is told."""
    calls: list[str] = []
    rename, fsync, fdatasync = os.rename, os.fsync, os.fdatasync

    def name(handle: int) -> str:
        return str(Path(os.readlink(f"/proc/self/fd/{handle}")).relative_to(archive.root))

    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(f"sync {name(handle)}"), fsync(handle))[1])
    monkeypatch.setattr(os, "fdatasync", lambda handle: (calls.append(f"sync {name(handle)}"), fdatasync(handle))[1])
    monkeypatch.setattr(os, "rename", lambda *a, **k: (calls.append("rename"), rename(*a, **k))[1])
    for _ in range(2):
        part = archive.part(b"header", 100)
        part.finish()
        archive.keep(part, AT)
    renamed = calls.index("rename")
    assert {f"sync {each}" for each in ("instances/20260921", "instances", ".")} <= set(calls[:renamed])
    for at in (renamed, len(calls) - 2):
        assert calls[at - 1].startswith("sync incoming/worker/")
        assert calls[at : at + 2] == ["rename", f"sync {HOUR}"]
    assert calls.count("rename") == 2


def test_a_folder_that_another_process_has_just_made_is_synced_all_the_same(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    (archive.root / HOUR).mkdir(parents=True)
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))[1]
    )
    part = archive.part(b"", 100)
    part.finish()
    archive.keep(part, AT)
    assert {str(archive.root / "instances"), str(archive.root / "instances/20260921")} <= set(synced)


def test_a_folder_that_was_removed_is_made_again(archive: Archive) -> None:
    """Never is a file given a name in one folder, and another folder synced."""

    def keep() -> Stored:
        part = archive.part(b"header", 100)
        part.finish()
        return archive.keep(part, AT)

    archive.remove(keep().file)
    (archive.root / HOUR).rmdir()
    with pytest.raises(OutOfResources, match="No such file"):
        keep()
    again = keep()
    assert there(archive) == [again.file]


def test_at_the_turn_of_an_hour_files_are_kept_in_both_and_no_folder_stays_open(archive: Archive) -> None:
    def keep(at: int) -> str:
        part = archive.part(b"header", 100)
        part.finish()
        return archive.keep(part, at).file

    keep(AT)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert keep(AT + 3_600_000_000).startswith("instances/20260921/15/")
        assert keep(AT).startswith(f"{HOUR}/")
    assert len(os.listdir("/proc/self/fd")) == before


def full(*_: object, **__: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def nth(n: int, real: Callable[..., object]) -> Callable[..., object]:
    """`real`, that fails for want of space the n-th time and after it."""
    count = iter(range(1, 1000))
    return lambda *a, **k: full() if next(count) >= n else real(*a, **k)


_CALLS = [(call, n) for call in ("open", "write", "fdatasync", "fsync", "rename", "mkdir") for n in (1, 2, 3)]


@pytest.mark.parametrize(("call", "n"), [*_CALLS, ("fsync", 4), ("fsync", 5)])  # the fourth is after the first rename
def test_a_full_disk_leaves_nothing(archive: Archive, call: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def keep() -> Stored:
        part = archive.part(HEADER, 100)
        part.write(b"data")
        part.write(b"set")
        part.finish()
        return archive.keep(part, AT)

    kept: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, call, nth(n, getattr(os, call)))
        with pytest.raises(OutOfResources, match="No space left"):
            kept.extend(keep().file for _ in range(3))  # a later file meets it where the first did not come so far
    assert there(archive) == sorted(kept)
    again = keep()
    assert archive.holds(again.file, again)


def test_a_write_that_takes_less_than_it_was_given_goes_on(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: write(handle, bytes(data)[:3]))
        part = archive.part(b"header", 100)
        part.write(b"dataset")
    part.finish()
    assert part.path.read_bytes() == b"headerdataset"


def test_what_is_over_the_cap_is_refused_and_written_no_further(archive: Archive) -> None:
    part = archive.part(b"header", 5)
    part.write(b"12345")
    for _ in range(3):
        part.write(b"6")
    assert part.path.stat().st_size == 11
    with pytest.raises(Unreadable, match="larger than 5 bytes"):
        part.finish()
    assert there(archive) == []


def test_the_header_does_not_count_for_the_cap(archive: Archive) -> None:
    part = archive.part(b"header", 5)
    part.write(b"12345")
    part.finish()


def test_a_part_can_be_discarded_at_any_time(archive: Archive) -> None:
    for finish in (False, True):
        part = archive.part(b"header", 100)
        if finish:
            part.finish()
        part.discard()
        part.discard()
    assert there(archive) == []
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        archive.part(b"header", 100).discard()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_name_is_never_taken_twice(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomnode.store.archive.ulid", lambda: "0" * 26)
    first = archive.part(b"first", 100)
    with pytest.raises(OutOfResources, match="exists"):
        archive.part(b"second", 100).finish()
    assert not first.path.exists() or first.path.read_bytes() == b"first"


def test_a_dead_worker_s_parts_are_removed(archive: Archive) -> None:
    other = Archive(archive.root, "dead")
    other.prepare()
    for _ in range(3):
        other.part(b"header", 100)
    mine = archive.part(b"header", 100)
    assert archive.clear_incoming("dead") == 3
    assert archive.clear_incoming("dead") == 0
    assert there(archive) == [f"incoming/worker/{mine.path.name}"]
    assert not (archive.root / "incoming/dead").exists()


def test_only_folders_that_changed_are_looked_through(archive: Archive) -> None:
    for hour in ("20260101/01", "20260101/02"):
        folder = archive.root / "instances" / hour
        folder.mkdir(parents=True)
        (folder / "a.dcm").touch()
        (folder / "b.txt").touch()
    os.utime(archive.root / "instances/20260101/01", (1000, 1000))
    assert list(archive.kept_since(0)) == ["instances/20260101/01/a.dcm", "instances/20260101/02/a.dcm"]
    assert list(archive.kept_since(1001)) == ["instances/20260101/02/a.dcm"]
