"""store/folder.py: instances in a folder for a person; nothing that is there is ever replaced."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.dicom import part10
from dicomnode.dicom.part10 import Origin
from dicomnode.errors import OutOfResources
from dicomnode.store import folder as folders
from dicomnode.store.archive import Part
from dicomnode.store.folder import Folder

UID, DATASET = "1.2.3", b"\x08\x00\x16\x00UI\x04\x001.2\x00"
HEADER = part10.encode("1.2.840.10008.5.1.4.1.1.2", UID, "1.2.840.10008.1.2.1", Origin("P", "s", 0, "A", "B"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    it = Folder(tmp_path / "new" / "study")
    yield it
    it.close()


def part(folder: Folder, dataset: bytes = DATASET) -> Part:
    it = folder.part(HEADER, 1 << 20)
    it.write(dataset)
    it.finish()
    return it


def names(folder: Folder) -> list[str]:
    return sorted(os.listdir(folder.path))


def test_a_part_has_its_name_when_it_is_whole(folder: Folder) -> None:
    it = part(folder)
    assert [name.endswith(".part") for name in names(folder)] == [True]
    folder.keep(it, UID)
    assert names(folder) == ["1.2.3.dcm"]
    assert (folder.path / "1.2.3.dcm").read_bytes() == HEADER + DATASET


def test_the_same_may_come_again(folder: Folder) -> None:
    folder.keep(part(folder), UID)
    before = (folder.path / "1.2.3.dcm").stat()
    folder.keep(part(folder), UID)
    after = (folder.path / "1.2.3.dcm").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert names(folder) == ["1.2.3.dcm"]


@pytest.mark.parametrize("content", [b"a letter", HEADER + DATASET + b"more"])
def test_other_content_under_its_name_stays(folder: Folder, content: bytes) -> None:
    (folder.path / "1.2.3.dcm").write_bytes(content)
    with pytest.raises(OutOfResources, match="other content"):
        folder.keep(part(folder), UID)
    assert (folder.path / "1.2.3.dcm").read_bytes() == content
    assert names(folder) == ["1.2.3.dcm"]


def test_a_link_is_not_written_through(folder: Folder, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    (folder.path / "1.2.3.dcm").symlink_to(victim)
    with pytest.raises(OutOfResources):
        folder.keep(part(folder), UID)
    assert victim.read_bytes() == b""


def test_a_name_that_was_reserved_before_a_kill_is_filled(folder: Folder) -> None:
    (folder.path / "1.2.3.dcm").write_bytes(b"")
    folder.keep(part(folder), UID)
    assert (folder.path / "1.2.3.dcm").read_bytes() == HEADER + DATASET


def test_what_cannot_be_made_durable_is_not_there(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(file: int) -> None:
        raise OSError(5, "Input/output error")

    it = part(folder)
    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(OutOfResources, match="Input/output"):
        folder.keep(it, UID)
    assert names(folder) == []


def test_its_name_is_durable_before_it_is_kept(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def sync(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            seen.append(names(folder))

    it = part(folder)
    monkeypatch.setattr(os, "fsync", sync)
    folder.keep(it, UID)
    assert seen == [["1.2.3.dcm"]], "the folder, once its name stands in it"


def test_a_folder_that_is_made_is_there_after_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(folders, "sync", synced.append)
    Folder(tmp_path / "new" / "below").close()
    assert synced == [tmp_path / "new", tmp_path]
    Folder(tmp_path / "new" / "below").close()
    assert len(synced) == 2, "what was there is there"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutOfResources, match="cannot be used"):
        Folder(tmp_path / "file" / "below")
