"""What of a program's work is on the platter: files and folders, and which of their changes were synced.

Pessimistic, as POSIX allows: bytes are on disk once their file was synced, a name once its folder was (a file's sync
says nothing of its name, nor a rename's source of its target). What was not synced may be there all the same, in part
and in any order: a `View` chooses. Changes count when their call has returned; a sync is for what had come before it
began. SQLite's shared memory and the node's pipes are no data, and are left out.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from tests.power.strace import Call, Event

SECTOR = 512
_OUTSIDE = ("-shm", ".bell")


@dataclass(eq=False)
class File:
    """Bytes: each change writes at an offset, or (None for data) cuts the file to a length."""

    changes: list[tuple[int, bytes | None]] = field(default_factory=list)
    synced: int = 0
    """How many of the changes are on disk for sure."""
    length: int = 0

    def change(self, offset: int, data: bytes | None) -> None:
        self.changes.append((offset, data))
        self.length = offset if data is None else max(self.length, offset + len(data))


@dataclass(eq=False)
class Folder:
    """Names: each change gives a name to a file or folder, or takes it away (None)."""

    changes: list[tuple[str, File | Folder | None]] = field(default_factory=list)
    synced: int = 0
    names: dict[str, File | Folder] = field(default_factory=dict)

    def change(self, name: str, node: File | Folder | None) -> None:
        self.changes.append((name, node))
        _rename(self.names, name, node)


def _rename(names: dict[str, File | Folder], name: str, node: File | Folder | None) -> None:
    names.pop(name, None)
    if node is not None:
        names[name] = node


def written(content: bytearray, changes: list[tuple[int, bytes | None]]) -> bytearray:
    """Changes made to a file's bytes."""
    for offset, data in changes:
        if data is None:
            del content[offset:]
            content.extend(bytes(offset - len(content)))
        else:
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(data)] = data
    return content


class Unknown(Exception):
    """The program did what this model does not know."""


class Disk:
    """What is below one folder, event by event."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.top = Folder()
        self._marks: dict[int, int] = {}

    def apply(self, event: Event) -> bool:
        """Take in an event; whether anything may be different now."""
        call = event.call
        if event.result is None:
            if call.name in _SYNCS and (node := self._find(call.files[0])):
                self._marks[call.number] = len(node.changes)
            return False
        if event.result < 0:
            return False
        if call.name in _SYNCS:
            return self._sync(call)
        act = _ACTS.get(call.name)
        if act is None:
            if any(self._parts(path) for path in call.files):
                raise Unknown(f"{call.name}({call.text[:200]}")
            return False
        return act(self, event)

    # -- where --

    def _parts(self, path: str) -> list[str]:
        """The names that lead from the root to a path; none where it is not below it."""
        inside = path.startswith(f"{self._root}/") and not path.endswith(_OUTSIDE)
        return path[len(self._root) + 1 :].split("/") if inside else []

    def _find(self, path: str) -> File | Folder | None:
        node: File | Folder | None = self.top if path == self._root or self._parts(path) else None
        for name in self._parts(path):
            node = node.names.get(name) if isinstance(node, Folder) else None
        return node

    def _place(self, path: str) -> tuple[Folder, str] | None:
        """The folder that a path is in, and its name there."""
        folder, _, name = path.rpartition("/")
        found = self._find(folder)
        return (found, name) if isinstance(found, Folder) and self._parts(path) else None

    def _link(self, path: str, node: File | Folder | None) -> bool:
        place = self._place(path)
        if place:
            place[0].change(place[1], node)
        return bool(place)

    # -- what happens --

    def _sync(self, call: Call) -> bool:
        mark, node = self._marks.pop(call.number, None), self._find(call.files[0])
        if mark is None or node is None or mark <= node.synced:
            return False
        node.synced = mark
        return True

    def _open(self, event: Event) -> bool:
        found, changed = self._find(event.opened), False
        if found is None and "O_CREAT" in event.call.text:
            changed = self._link(event.opened, found := File())
        if isinstance(found, File) and "O_TRUNC" in event.call.text:
            found.change(0, None)
            changed = True
        return changed

    def _write(self, event: Event) -> bool:
        """A write without an offset is taken for an append: nothing of the node's seeks."""
        found = self._find(event.call.files[0])
        if not isinstance(found, File) or not event.result:
            return False
        offset = event.call.last if event.call.name.startswith("pwrite") else found.length
        found.change(offset, b"".join(event.call.strings)[: event.result])
        return True

    def _truncate(self, event: Event) -> bool:
        found = self._find(event.call.files[0])
        if isinstance(found, File):
            found.change(event.call.last, None)
        return isinstance(found, File)

    def _mkdir(self, event: Event) -> bool:
        return self._link(paths(event.call)[0], Folder())

    def _unlink(self, event: Event) -> bool:
        return self._link(paths(event.call)[0], None)

    def _move(self, event: Event) -> bool:
        source, target = paths(event.call)
        node = self._find(source)
        if node is None:
            return False
        self._link(source, None)
        return self._link(target, node)


def paths(call: Call) -> list[str]:
    """The paths in a call's arguments, each from the folder whose descriptor stands before it."""
    folders = call.files if call.name.endswith("at") else [""] * len(call.strings)
    return [os.path.join(folder, os.fsdecode(name)) for folder, name in zip(folders, call.strings, strict=True)]


_SYNCS = ("fsync", "fdatasync")
_ACTS = {
    **dict.fromkeys(("open", "openat", "creat"), Disk._open),
    **dict.fromkeys(("write", "writev", "pwrite64", "pwritev"), Disk._write),
    **dict.fromkeys(("mkdir", "mkdirat"), Disk._mkdir),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), Disk._unlink),
    **dict.fromkeys(("rename", "renameat"), Disk._move),
    **dict.fromkeys(("sendto", "sendmsg"), lambda *_: False),
    "ftruncate": Disk._truncate,
}


# -- what a power cut leaves -----------------------------------------------------------------------------------


class View(Protocol):
    """Which changes are there after the power cut: of a folder's names, and of a file's bytes."""

    def names(self, folder: Folder) -> list[tuple[str, File | Folder | None]]: ...

    def bytes(self, file: File) -> list[tuple[int, bytes | None]]: ...


@dataclass(frozen=True)
class Plain:
    """What was synced, and all or nothing of the rest."""

    all_names: bool
    all_bytes: bool

    def names(self, folder: Folder) -> list[tuple[str, File | Folder | None]]:
        return folder.changes if self.all_names else folder.changes[: folder.synced]

    def bytes(self, file: File) -> list[tuple[int, bytes | None]]:
        return file.changes if self.all_bytes else file.changes[: file.synced]


class Some:
    """What was synced, and of the rest each change of a name, and each sector of a write, by chance."""

    def __init__(self, seed: object) -> None:
        self._chance = random.Random(repr(seed))

    def names(self, folder: Folder) -> list[tuple[str, File | Folder | None]]:
        return folder.changes[: folder.synced] + [it for it in folder.changes[folder.synced :] if self._keeps()]

    def bytes(self, file: File) -> list[tuple[int, bytes | None]]:
        sectors = (sector for change in file.changes[file.synced :] for sector in _sectors(*change))
        return file.changes[: file.synced] + [sector for sector in sectors if self._keeps()]

    def _keeps(self) -> bool:
        return self._chance.random() < 0.5


def _sectors(offset: int, data: bytes | None) -> Iterator[tuple[int, bytes | None]]:
    if data is None:
        yield offset, None
        return
    first = -offset % SECTOR
    for start in (0, *range(first, len(data), SECTOR)) if first else range(0, len(data), SECTOR):
        end = first if start < first else start + SECTOR
        yield offset + start, data[start:end]


def tree(disk: Disk, view: View) -> dict[str, bytes | None]:
    """Path → bytes of every file, or None for a folder, as a power cut leaves them."""
    found: dict[str, bytes | None] = {}

    def walk(folder: Folder, prefix: str) -> None:
        names: dict[str, File | Folder] = {}
        for change in view.names(folder):
            _rename(names, *change)
        for name, node in names.items():
            if isinstance(node, Folder):
                found[prefix + name] = None
                walk(node, f"{prefix}{name}/")
            else:
                found[prefix + name] = bytes(written(bytearray(), view.bytes(node)))

    walk(disk.top, "")
    return found
