"""What one node has for itself alone: its data folder, with its lock, and its listening sockets.

They are the supervisor's. Raises DicomnodeError, with what to do, where somebody else has them, or where a data folder
is on a disk that cannot keep what it is given.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

from dicomnode.errors import DicomnodeError
from dicomnode.store.volume import Volume

_GLANCE = 0.5
"""Seconds for which the lock may be held by somebody who only looks."""


def lock(data: Path) -> int:
    """The data folder is ours alone: the descriptor of its lock, in which from now on stands who has it."""
    run = data / "run"
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = os.open(run / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _take(lock, data)
        show(lock, 0)
    except OSError as error:
        raise DicomnodeError(f"{data} cannot be used: {error.strerror}") from error
    return lock


def _take(lock: int, data: Path) -> None:
    deadline = time.monotonic() + _GLANCE
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:  # it may be no more than a command that looks whether anybody serves
                time.sleep(0.05)
                continue
            pid = os.pread(lock, 64, 0).decode(errors="replace").partition(" ")[0]
            advice = "stop that one first, or give this one its own folder"
            raise DicomnodeError(f"{data} is in use by another node (process {pid}): {advice}") from None


def inspect(data: Path) -> None:
    """See that the data folder, which is ours, is on a disk on which a node can keep its promise."""
    Volume(data).probe()


def bind(key: str, host: str, port: int) -> socket.socket:
    """The listening socket that a key of the configuration names: bound, not yet listening, non-blocking."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.setblocking(False)  # another process may be quicker to accept
    except OSError as error:
        raise DicomnodeError(f"cannot listen on {host}:{port} ({key}): {error.strerror}") from error
    return listener


def show(lock: int, generation: int) -> None:
    """Write into the lock who holds it, and under which generation it serves (0: it is starting).

    Always of one length, in place: a disk that has become full meanwhile does not matter.
    """
    os.pwrite(lock, f"{os.getpid():<20} {generation:<20}\n".encode(), 0)


def running(data: Path) -> tuple[int, int] | None:
    """(process id, generation in force) of the node that serves a data folder; None where none does. 0: it starts."""
    try:
        lock = os.open(data / "run" / "node.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DicomnodeError(f"{data} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        words = os.pread(lock, 64, 0).decode(errors="replace").split()
        return (int(words[0]), int(words[1])) if len(words) == 2 else (0, 0)
    else:
        return None
    finally:
        os.close(lock)
