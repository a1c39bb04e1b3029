"""A command under strace, and the system calls that it wrote down, read back.

A call is two events: it begins, and it ends with its result. What other processes do in between stands in between: so
nothing is taken for synced before its sync has returned, and nothing for unsaid after its sending has begun.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.node import wait_until

CALLS = (
    *("open", "openat", "creat", "write", "pwrite64", "writev", "pwritev", "pwritev2"),
    *("fsync", "fdatasync", "sync_file_range", "msync", "sync", "syncfs"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("truncate", "ftruncate", "fallocate", "copy_file_range", "sendfile", "mkdir", "mkdirat", "rmdir"),
    *("sendto", "sendmsg", "sendmmsg"),
)


class NoTracing(Exception):
    """strace is missing, or may not be used; the text says what to do."""


def check() -> None:
    """Raise NoTracing unless strace works here."""
    if not shutil.which("strace"):
        raise NoTracing("strace is not installed. Run: sudo apt-get install strace")
    done = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        advice = "in a container, start it with --cap-add=SYS_PTRACE; elsewhere, see /proc/sys/kernel/yama/ptrace_scope"
        raise NoTracing(f"strace may not trace here ({done.stderr.strip()}): {advice}")


def tracing(log: Path) -> list[str]:
    """The words before a command that has its calls written to `log`; the command keeps its process id (`-D`)."""
    return [
        *("strace", "-D", "-f", "--seccomp-bpf", "-q", "-y", "-xx", "-s", str(1 << 24), "-o", str(log)),
        *("-e", f"trace={','.join(CALLS)}", "-e", "signal=none"),
    ]


@dataclass(frozen=True)
class Call:
    """One system call: which process made it (and its number among all), its arguments as strace shows them."""

    number: int
    pid: int
    name: str
    text: str

    @cached_property
    def strings(self) -> list[bytes]:
        """Its string arguments, those within structures included, in their order."""
        return [_bytes(found) for found in _STRING.findall(self.text)]

    @cached_property
    def files(self) -> list[str]:
        """The paths of its descriptors, in their order; of a socket, `socket:[…]`."""
        return [_bytes(found).decode() for found in _DESCRIPTOR.findall(self.text)]

    @property
    def last(self) -> int:
        """Its last argument, where that is a number."""
        return int(self.text.rpartition(",")[2])


@dataclass(frozen=True, slots=True)
class Event:
    """A call begins (`result` is None), or ends with a result: a number, and the path of the descriptor it opened."""

    call: Call
    result: int | None = None
    opened: str = ""


_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"(?:AT_FDCWD|\b\d+)<((?:\\x[0-9a-f]{2})*)[^>]*>")
_LINE = re.compile(r"(\d+) +(.*)")
_BEGUN = re.compile(r"(\w+)\((.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
_RESULT = re.compile(r"\)\s+= (-?\d+|\?)(?:<((?:\\x[0-9a-f]{2})*)[^>]*>)?(?: [^\"]*)?$")


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def events(lines: Iterable[str]) -> Iterator[Event]:
    """The events of a log in their order; ValueError for a line that cannot be understood."""
    open_: dict[int, Call] = {}
    for number, line in enumerate(lines):
        found = _LINE.match(line.rstrip("\n"))
        if not found:
            raise ValueError(f"line {number + 1} is no line of strace's: {line[:80]}")
        pid, text = int(found[1]), found[2]
        if text.startswith(("+++", "---")):
            continue
        if resumed := _RESUMED.match(text):
            call = open_.pop(pid)
            yield _end(Call(call.number, pid, call.name, call.text + resumed[2]))
        elif text.endswith("<unfinished ...>") and (begun := _BEGUN.match(text)):
            open_[pid] = Call(number, pid, begun[1], begun[2].removesuffix("<unfinished ...>"))
            yield Event(open_[pid])
        elif begun := _BEGUN.match(text):
            call = Call(number, pid, begun[1], begun[2])
            yield Event(call)
            yield _end(call)
        else:
            raise ValueError(f"line {number + 1} cannot be understood: {line[:80]}")


def _end(call: Call) -> Event:
    found = _RESULT.search(call.text)
    if not found:
        raise ValueError(f"a call without a result: {call.name}({call.text[-80:]}")
    arguments = Call(call.number, call.pid, call.name, call.text[: found.start()])
    return Event(arguments, -1 if found[1] == "?" else int(found[1]), _bytes(found[2] or "").decode())


class Injection:
    """Calls of running processes that fail (strace's `inject=`), in a block; `hits` has those that did."""

    def __init__(self, pids: Sequence[int], fault: str, log: Path, *filters: str) -> None:
        call = fault.partition(":")[0]
        attach = [word for pid in pids for word in ("-p", str(pid))]
        self._command = ["strace", "-f", "-q", "-y", "-o", str(log), *attach, "-e", f"trace={call}", *filters]
        self._command += ["-e", f"inject={fault}", "-e", "signal=none"]
        self._pids, self._log = pids, log

    def __enter__(self) -> Injection:
        check()
        self._strace = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_until(lambda: all(map(_is_traced, self._pids)), 20, "strace to attach")
        return self

    def __exit__(self, *_: object) -> None:
        self._strace.send_signal(signal.SIGINT)  # it lets go of them, and they go on
        self._strace.communicate(timeout=20)

    def hits(self) -> list[str]:
        """The lines of the calls that have failed so far."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line for line in lines if "(INJECTED)" in line]


def _is_traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return "TracerPid:\t0\n" not in status
