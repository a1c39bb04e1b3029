"""What the processes of a server hold: memory and connections, from /proc (proc(5)). Sizes in MB of 10⁶ bytes."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

_ESTABLISHED = "01"


def pss(pid: int) -> float:
    """The memory of a process, what it shares with others counted in part, so that a sum over processes is true."""
    return _kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") / 1000


def rss(pid: int) -> float:
    return _kilobytes(Path(f"/proc/{pid}/status"), "VmRSS") / 1000


def peak(pid: int) -> float:
    """The most RSS since the start, or since `forget_peak`: kept by the kernel, so no moment is missed."""
    return _kilobytes(Path(f"/proc/{pid}/status"), "VmHWM") / 1000


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _kilobytes(file: Path, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", file.read_text(), re.MULTILINE)
    assert found, f"{file} has no {name}"
    return int(found[1]) * 1.024


def connections(pid: int, port: int) -> int:
    """How many connections to `port` of this machine a process has taken."""
    return len(_sockets(pid) & established(Path("/proc/net/tcp").read_text(), port))


def _sockets(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(entry.readlink().name.removeprefix("socket:[").removesuffix("]"))
    return found


def established(table: str, port: int) -> set[str]:
    """The inodes of the established sockets in /proc/net/tcp whose local port this is."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return {row[9] for row in rows if row[3] == _ESTABLISHED and row[1].endswith(f":{port:04X}")}
