"""The power cut: strace's lines are read back as they were meant, and the disk forgets what nobody synced."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.power import strace
from tests.power.disk import Disk, File, Folder, Plain, Some, Unknown, tree, written
from tests.power.recording import acknowledged
from tests.power.strace import Event, NoTracing
from tests.upper_layer import encode_command

NOTHING_MORE, EVERYTHING = Plain(False, False), Plain(True, True)


def x(text: str | bytes) -> str:
    """As strace shows a string with -xx."""
    return "".join(f"\\x{byte:02x}" for byte in (text.encode() if isinstance(text, str) else text))


def lines(*calls: str) -> list[Event]:
    return list(strace.events(f"7  {call}\n" for call in calls))


def disk(*calls: str) -> Disk:
    it = Disk("/top")
    for event in lines(*calls):
        it.apply(event)
    return it


MADE = f'openat(AT_FDCWD<{x("/cwd")}>, "{x("/top/a.part")}", O_WRONLY|O_CREAT|O_EXCL, 0640) = 3<{x("/top/a.part")}>'
WRITTEN = f'write(3<{x("/top/a.part")}>, "{x(bytes(range(256)))}", 256) = 256'
FILE_SYNC = f"fdatasync(3<{x('/top/a.part')}>) = 0"
FOLDER = f'mkdir("{x("/top/kept")}", 0777) = 0'
RENAMED = f'renameat(AT_FDCWD<{x("/cwd")}>, "{x("/top/a.part")}", 5<{x("/top/kept")}>, "{x("a.dcm")}") = 0'
KEPT_SYNC, TOP_SYNC = f"fsync(5<{x('/top/kept')}>) = 0", f"fsync(6<{x('/top')}>) = 0"


# -- strace ----------------------------------------------------------------------------------------------------


def test_a_call_is_read_with_its_strings_files_and_result() -> None:
    begun, ended = lines(MADE)
    assert (begun.result, ended.result, ended.opened) == (None, 3, "/top/a.part")
    assert (ended.call.name, ended.call.strings, ended.call.files) == ("openat", [b"/top/a.part"], ["/cwd"])
    _, failed = lines(f"fdatasync(3<{x('/top/a')}>) = -1 EIO (Input/output error)")
    assert failed.result == -1
    _, positioned = lines(f'pwrite64(3<{x("/top/a")}>, "{x(") = 0")}", 5, 4096) = 5')
    assert (positioned.call.strings, positioned.call.last, positioned.result) == ([b") = 0"], 4096, 5)


def test_a_call_that_is_interrupted_begins_and_ends_where_it_did() -> None:
    found = list(
        strace.events(
            [
                f'7  write(3<{x("/top/a")}>, "{x("one")}", 3 <unfinished ...>\n',
                f"8  fsync(4<{x('/top')}>) = 0\n",
                "9  +++ exited with 0 +++\n",
                "7  <... write resumed>) = 3\n",
            ]
        )
    )
    assert [(it.call.pid, it.call.name, it.result) for it in found] == [
        (7, "write", None),
        (8, "fsync", None),
        (8, "fsync", 0),
        (7, "write", 3),
    ]
    assert found[0].call.number == found[3].call.number
    assert found[3].call.strings == [b"one"]


@pytest.mark.parametrize("line", ["no process id", "7  neither this", "7  write(3, 4) and then nothing"])
def test_what_cannot_be_read_is_said(line: str) -> None:
    with pytest.raises(ValueError, match=r"line 1|without a result"):
        list(strace.events([line]))


def test_strace_that_may_not_trace_is_a_failure_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoTracing, match="apt-get install strace"):
        strace.check()
    (tmp_path / "strace").write_text("#!/bin/sh\necho 'ptrace: Operation not permitted' >&2\nexit 1\n")
    (tmp_path / "strace").chmod(0o755)
    with pytest.raises(NoTracing, match=r"not permitted.*--cap-add=SYS_PTRACE"):
        strace.check()


# -- the disk --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "left"),
    [
        ([MADE, WRITTEN], {}),
        ([MADE, WRITTEN, FILE_SYNC], {}),
        ([MADE, WRITTEN, TOP_SYNC], {"a.part": b""}),
        ([MADE, WRITTEN, FILE_SYNC, TOP_SYNC], {"a.part": bytes(range(256))}),
        ([FOLDER, TOP_SYNC, MADE, WRITTEN, FILE_SYNC, RENAMED], {"kept": None}),
        (
            [FOLDER, TOP_SYNC, MADE, WRITTEN, FILE_SYNC, RENAMED, KEPT_SYNC],
            {"kept": None, "kept/a.dcm": bytes(range(256))},
        ),
        ([FOLDER, TOP_SYNC, MADE, WRITTEN, RENAMED, KEPT_SYNC], {"kept": None, "kept/a.dcm": b""}),
        ([FOLDER, MADE, WRITTEN, FILE_SYNC, RENAMED, KEPT_SYNC], {}),
    ],
    ids=["nothing", "no name", "no bytes", "both", "no rename", "all of it", "bytes never synced", "no folder"],
)
def test_what_was_not_synced_is_not_there(calls: list[str], left: dict[str, bytes | None]) -> None:
    assert tree(disk(*calls), NOTHING_MORE) == left


def test_a_process_that_is_killed_leaves_everything() -> None:
    assert tree(disk(FOLDER, MADE, WRITTEN, RENAMED), EVERYTHING) == {"kept": None, "kept/a.dcm": bytes(range(256))}


def test_a_sync_is_for_what_came_before_it_began() -> None:
    whole = [f"7  {MADE}", f"7  {TOP_SYNC}", f"8  fdatasync(3<{x('/top/a.part')}> <unfinished ...>", f"7  {WRITTEN}"]
    it = Disk("/top")
    for event in strace.events([*whole, "8  <... fdatasync resumed>) = 0"]):
        it.apply(event)
    assert tree(it, NOTHING_MORE) == {"a.part": b""}


def test_a_failed_call_changes_nothing() -> None:
    failed = FILE_SYNC.replace("= 0", "= -1 EIO (Input/output error)")
    assert tree(disk(MADE, WRITTEN, failed, TOP_SYNC), NOTHING_MORE) == {"a.part": b""}


def test_writes_go_where_they_say_and_truncation_cuts() -> None:
    assert written(bytearray(b"abc"), [(5, b"f"), (1, b"B"), (4, None)]) == b"aBc\0"


def test_some_of_it_is_sectors_and_names_by_chance() -> None:
    file, folder = File(), Folder()
    file.change(100, bytes(3000))
    folder.change("a", file)
    folder.change("b", file)
    kept = [(len(Some(seed).bytes(file)), len(Some(seed).names(folder))) for seed in range(40)]
    assert {names for _, names in kept} == {0, 1, 2}
    assert len({sectors for sectors, _ in kept}) > 3
    assert max(sectors for sectors, _ in kept) <= 7
    (whole,) = {sum(len(data or b"") for _, data in [*_sectors(file)])}
    assert whole == 3000


def _sectors(file: File) -> list[tuple[int, bytes | None]]:
    class All(Some):
        def _keeps(self) -> bool:
            return True

    return All(0).bytes(file)


def test_what_the_model_does_not_know_is_said() -> None:
    with pytest.raises(Unknown):
        disk(f"fallocate(3<{x('/top/a.part')}>, 0, 0, 4096) = 0")
    disk(f"fallocate(3<{x('/elsewhere')}>, 0, 0, 4096) = 0")


# -- answers ---------------------------------------------------------------------------------------------------


def _sent(status: int, field: int = 0x8001) -> bytes:
    command = {"AffectedSOPInstanceUID": "1.2.3", "CommandField": field, "Status": status}
    value = b"\1\3" + encode_command({**command, "MessageIDBeingRespondedTo": 7, "CommandDataSetType": 0x0101})
    item = len(value).to_bytes(4, "big") + value
    return b"\4\0" + len(item).to_bytes(4, "big") + item


def test_an_answer_is_recognised_on_the_wire() -> None:
    assert acknowledged(_sent(0)) == ["1.2.3"]
    assert acknowledged(_sent(0) + _sent(0)) == ["1.2.3", "1.2.3"]
    assert acknowledged(_sent(0xA700)) == []
    assert acknowledged(_sent(0, field=0x8020)) == []
    assert acknowledged(b"\5\0\0\0\0\4\0\0\0\0") == []
    assert acknowledged(b"anything else, however long it may be") == []
