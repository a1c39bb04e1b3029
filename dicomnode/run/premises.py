"""What one node has for itself alone: the lock of its data folder, and its listening socket.

Both are the supervisor's. Raises DicomnodeError, with what to do, where somebody else has them.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from dicomnode.config.model import NodeConfig
from dicomnode.errors import DicomnodeError


def lock(data: Path) -> int:
    """The data folder is ours alone. Raises ConfigurationError where another node has it."""
    run = data / "run"
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = os.open(run / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DicomnodeError(f"{data} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.read(lock, 32).decode(errors="replace").partition(" ")[0]
        text = f"{data} is in use by another node (process {pid}): stop that one first, or give this one its own folder"
        raise DicomnodeError(text) from error
    return lock


def bind(config: NodeConfig) -> socket.socket:
    """The listening socket, bound and not yet listening. Raises ConfigurationError where that cannot be."""
    host, port = config.node.bind_host, config.node.bind_port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise DicomnodeError(f"cannot listen on {host}:{port} (node.bind): {error.strerror}") from error
    return listener


def show(lock: int, generation: int) -> None:
    """Write into the lock who holds it, and under which generation it serves."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()} {generation}\n".encode(), 0)


def running(data: Path) -> tuple[int, int] | None:
    """(process id, generation in force) of the node that serves a data folder; None where none does."""
    try:
        lock = os.open(data / "run" / "node.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DicomnodeError(f"{data} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid, _, generation = os.read(lock, 64).decode().partition(" ")
        return (int(pid), int(generation)) if generation else (0, 0)  # (0, 0): it is starting
    else:
        return None
    finally:
        os.close(lock)
