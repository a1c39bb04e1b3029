"""store/volume.py: how much is free, which errors are the disk's own, and on which disks no node starts."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import DicomnodeError, OutOfResources
from dicomnode.store import volume as module
from dicomnode.store.archive import Archive, Part
from dicomnode.store.volume import Volume

MB = 10**6


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Disk:
    """What os.statvfs says, and how often it was asked."""

    def __init__(self, free: int) -> None:
        self.free, self.asked, self.error = free, 0, 0

    def __call__(self, _: Path) -> Any:
        self.asked += 1
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        return os.statvfs_result((4096, 1, 0, 0, self.free, 0, 0, 0, 0, 255))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(100 * MB)
    monkeypatch.setattr(os, "statvfs", made)
    return made


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def test_it_is_looked_at_most_once_a_second(tmp_path: Path, clock: Clock, disk: Disk) -> None:
    volume = Volume(tmp_path)
    assert [volume.free() for _ in range(100)] == [100 * MB] * 100
    disk.free = 5
    clock.now += 0.9
    assert (volume.free(), disk.asked) == (100 * MB, 1)
    clock.now += 0.2
    assert (volume.free(), disk.asked) == (5, 2)


def test_what_cannot_be_looked_at_has_no_room(tmp_path: Path, clock: Clock, disk: Disk) -> None:
    volume = Volume(tmp_path, MB)
    disk.error = errno.EIO
    assert volume.free() == 0
    assert volume.suspicion == "Input/output error"


def test_below_its_reserve_nothing_is_taken_and_above_it_again(tmp_path: Path, clock: Clock, disk: Disk) -> None:
    volume = Volume(tmp_path, 50 * MB)
    volume.check()
    disk.free = 50 * MB - 1
    clock.now += 1.1
    with pytest.raises(OutOfResources, match="less than 50 MB free"):
        volume.check()
    disk.free = 50 * MB
    volume.check()  # at once


def test_after_an_error_of_the_disk_nothing_is_taken_for_a_minute(
    tmp_path: Path, clock: Clock, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    volume = Volume(tmp_path)
    for _ in range(3):
        volume.failed(OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OutOfResources, match="Input/output error"):
        volume.check()
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
    assert "nothing is taken for 60 s" in volume.alarm
    clock.now += 59
    assert volume.suspicion
    clock.now += 2
    assert not volume.suspicion
    volume.check()


def test_the_same_alarm_is_raised_once_an_hour(tmp_path: Path, clock: Clock) -> None:
    volume = Volume(tmp_path)
    raised = []
    for _ in range(130):
        volume.failed(OSError(errno.EIO, "Input/output error"))
        raised += [volume.alarm] if volume.alarm else []
        volume.alarm = ""
        clock.now += 60
    assert len(raised) == 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENOMEM, errno.ENOENT])
def test_what_is_not_the_disk_s_fault_is_not_held_against_it(tmp_path: Path, number: int) -> None:
    volume = Volume(tmp_path)
    volume.failed(OSError(number, os.strerror(number)))
    assert (volume.suspicion, volume.alarm) == ("", "")


def test_a_full_disk_is_looked_at_again_at_once(tmp_path: Path, clock: Clock, disk: Disk) -> None:
    volume = Volume(tmp_path)
    volume.free()
    disk.free = 0
    volume.failed(OSError(errno.ENOSPC, "No space left on device"))
    assert volume.free() == 0


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_disk_that_cannot_be_written_to_is_an_alarm_and_recovers_at_once(tmp_path: Path, number: int) -> None:
    volume = Volume(tmp_path)
    volume.failed(OSError(number, os.strerror(number)))
    assert "nothing can be written" in volume.alarm
    volume.check()


# -- with the archive ------------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    made = Archive(tmp_path / "data", "worker", 50 * MB)
    made.prepare()
    return made


def parts(archive: Archive) -> list[Path]:
    return list(archive.root.rglob("*.part"))


def test_no_part_is_begun_without_room(archive: Archive, clock: Clock, disk: Disk) -> None:
    disk.free = 0
    part = archive.part(b"header", 100)
    part.write(b"dataset")
    assert not parts(archive)
    with pytest.raises(OutOfResources, match="less than 50 MB"):
        part.finish()


def test_a_large_dataset_does_not_use_up_the_reserve(archive: Archive, clock: Clock, disk: Disk) -> None:
    """What is over is answered at its end; but its room is free again at once."""
    part = archive.part(b"header", 1 << 40)
    part.write(bytes(1 << 20))
    disk.free = 50 * MB - 1
    clock.now += 2
    for _ in range(17):
        part.write(bytes(1 << 20))
    assert not parts(archive)
    with pytest.raises(OutOfResources, match="less than 50 MB"):
        part.finish()


@pytest.mark.parametrize("call", ["write", "fdatasync", "fsync", "rename"])
def test_an_error_of_the_disk_is_final_for_its_file_and_told(
    archive: Archive, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that failed is not tried again: what the kernel says then may be untrue."""
    tried = []

    def fail(*_: object, **__: object) -> None:
        tried.append(call)
        raise OSError(errno.EIO, "Input/output error")

    def keep(part: Part) -> None:
        part.finish()
        archive.keep(part, 0)

    keep(archive.part(b"", 100))
    part = archive.part(b"", 100)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        part.write(b"dataset")
        with pytest.raises(OutOfResources, match="Input/output error"):
            keep(part)
    assert tried == [call]
    assert not parts(archive)
    assert len(list(archive.root.rglob("*.dcm"))) == 1
    assert archive.volume.suspicion == "Input/output error"
    with pytest.raises(OutOfResources, match="failed a moment ago"):
        archive.part(b"", 100).finish()


# -- at the start ----------------------------------------------------------------------------------------------


def test_a_sound_disk_is_left_as_it_was(tmp_path: Path) -> None:
    Volume(tmp_path / "data").probe()
    Volume(tmp_path / "data").probe()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO, errno.EOPNOTSUPP])
@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_disk_that_cannot_sync_is_refused(
    tmp_path: Path, call: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(DicomnodeError, match=r"cannot be made to keep .*power cut"):
        Volume(tmp_path).probe()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_disk_that_cannot_be_written_to_is_refused(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", failing(number))
    with pytest.raises(DicomnodeError, match="cannot be written to"):
        Volume(tmp_path).probe()


def test_a_full_disk_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", failing(errno.ENOSPC))
    Volume(tmp_path).probe()


@pytest.mark.parametrize("links", [("incoming",), ("instances",), ("incoming", "instances")])
def test_a_spool_on_another_file_system_is_refused(tmp_path: Path, links: tuple[str, ...]) -> None:
    """Also where both are on the other one: the free space of the wrong disk would be looked at."""
    assert Path("/dev/shm").stat().st_dev != tmp_path.stat().st_dev
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        for link in links:
            (tmp_path / link).symlink_to(elsewhere)
        with pytest.raises(DicomnodeError, match="not on one file system"):
            Volume(tmp_path).probe()


def test_a_rename_that_cannot_be_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two mounts of one device have one number, and no rename between them."""
    monkeypatch.setattr(os, "rename", failing(errno.EXDEV))
    with pytest.raises(DicomnodeError, match="not on one file system"):
        Volume(tmp_path).probe()
