"""Was everything synced in the right order before each 0000H? Told from the calls alone, without a disk.

For each answer: the file's bytes, then its sync, its new name, the sync of the folder, its row in SQLite's log, the
log's sync, and only then the answer; each begun when the one before it had returned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePath

from tests.power.disk import paths
from tests.power.recording import Recording, acknowledged
from tests.power.strace import Event

_LOG = "index.sqlite-wal"


def faults(recording: Recording) -> list[str]:
    """What is missing before an answer, or comes too late; and whose answer that is."""
    found: list[str] = []
    for number, event in enumerate(recording.events):
        if event.result is None and event.call.name.startswith("send"):
            before = recording.events[:number]
            answered = acknowledged(b"".join(event.call.strings))
            found += [f"{fault}: {uid}" for uid in answered if (fault := _fault(before, uid))]
    return found


def _fault(events: Sequence[Event], uid: str) -> str:
    """What is missing in all that had happened before the answer for an instance; '' where nothing is."""
    part = next((it.call.files[0] for it in events if _wrote(it, ".part", uid)), "")
    name = next((paths(it.call)[1] for it in events if _renamed(it, part)), "")
    folder = str(PurePath(name).parent)
    steps: list[tuple[str, Callable[[Event], bool]]] = [
        ("its file was not synced", lambda it: _synced(it, part)),
        ("its file had no name", lambda it: _renamed(it, part)),
        ("its folder was not synced", lambda it: _synced(it, folder)),
        ("its row was not in the log", lambda it: _wrote(it, _LOG, uid)),
        ("the log was not synced", lambda it: _synced(it, _LOG)),
    ]
    at = max((number for number, it in enumerate(events) if _wrote(it, part)), default=0)
    for fault, holds in steps:
        found = _next(events, at, holds)
        if found is None:
            return fault
        at = found
    return ""


def _next(events: Sequence[Event], after: int, holds: Callable[[Event], bool]) -> int | None:
    """Where the first call of a kind has returned that began after another had."""
    begun = set[int]()
    for number in range(after + 1, len(events)):
        event = events[number]
        if event.result is None:
            begun.add(event.call.number)
        elif event.call.number in begun and holds(event):
            return number
    return None


def _is(event: Event, *names: str) -> bool:
    """Whether a call of such a name has returned, and not failed."""
    return event.call.name in names and event.result is not None and event.result >= 0


def _wrote(event: Event, file: str, text: str = "") -> bool:
    if not _is(event, "write", "pwrite64") or not event.call.files[0].endswith(file):
        return False
    return not text or text.encode() in event.call.strings[0]


def _synced(event: Event, file: str) -> bool:
    return _is(event, "fsync", "fdatasync") and event.call.files[0].endswith(file)


def _renamed(event: Event, path: str) -> bool:
    return _is(event, "rename", "renameat") and paths(event.call)[0] == path
