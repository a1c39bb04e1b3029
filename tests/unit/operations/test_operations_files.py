"""operations/files.py: which files a person means, and what they hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dicomnode.errors import Unreadable
from dicomnode.operations import files
from dicomnode.operations.files import Person, Tally
from tests import fakes, samples
from tests.samples import make_instances

SAMPLE = make_instances(1)[0]


def test_what_is_named_and_what_is_below_it_in_order(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a/1", "b/c/0", "b/DICOMDIR", "b/dicomdir", "0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found = files.named([tmp_path / "b", tmp_path / "0", tmp_path / "gone", tmp_path / "b" / "DICOMDIR"])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["b/1", "b/2", "b/c/0", "0", "gone"]


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(Unreadable, match=f"{tmp_path} cannot be read: Permission denied"):
        files.named([tmp_path])


@pytest.mark.parametrize("count", [0, 1, 200, 201, 450])
def test_batches(count: int) -> None:
    paths = [Path(str(number)) for number in range(count)]
    batches = list(files.batches(paths))
    assert [path for batch in batches for path in batch] == paths
    assert all(0 < len(batch) <= 200 for batch in batches)


def test_what_a_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(samples.part10(SAMPLE))
    assert files.is_dicom(path)
    found = files.look(path)
    assert found.instance.sop_instance_uid == SAMPLE.sop_instance
    assert path.read_bytes()[found.offset :] == SAMPLE.dataset
    assert found.site == ""


def test_what_came_of_files(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    stopped: list[bool] = []
    tally = Tally(Person("somebody", lambda path, why: said.append((path.name, why)), lambda: bool(stopped)))
    tally.total = 6
    tally.do(tmp_path / "1")
    tally.do(tmp_path / "2", "a remark")
    tally.know()
    assert (tally.is_good, tally.untried, tally.ends()) == (True, 3, False)
    tally.skip(tmp_path / "3")
    assert tally.is_good
    tally.fail(tmp_path / "4", "why")
    assert not tally.is_good
    assert (tally.done, tally.known, tally.skipped, tally.failed, tally.untried) == (2, 1, 1, 1, 1)
    assert said == [("2", "a remark"), ("3", "is no DICOM file"), ("4", "why")]
    stopped.append(True)
    assert tally.ends()
    tally.stop("another reason")
    assert tally.stopped == "it was interrupted"


def test_of_which_site_a_file_of_ours_is(tmp_path: Path) -> None:
    node = fakes.make_node(tmp_path)
    try:
        kept = node.archive.path(fakes.receive(node, SAMPLE).file)
    finally:
        node.database.close()
    assert files.look(kept).site == "harbour"


def test_what_is_none_or_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("MCID" * 99)
    assert not files.is_dicom(tmp_path / "text")
    assert not files.is_dicom(tmp_path)
    with pytest.raises(Unreadable, match="cannot be read: No such file"):
        files.is_dicom(tmp_path / "gone")
    with pytest.raises(Unreadable, match="cannot be read: No such file"):
        files.look(tmp_path / "gone")
    (tmp_path / "text").write_bytes(samples.part10(SAMPLE)[:-10])
    with pytest.raises(Unreadable):
        files.look(tmp_path / "text")
