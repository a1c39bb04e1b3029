"""What demonstrations need to happen: free ports, a node and others that run as long as they are wanted, and patience.

What is started here is ended here, whatever happens; nothing else is touched. Raises DicomnodeError where something
does not start, or does not come.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dicomnode.cli.output import console
from dicomnode.errors import DicomnodeError

LOCAL = "127.0.0.1"
PATIENCE = 120.0
"""Seconds that something may take in which nothing is seen to happen."""
_ENDING = 60.0


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on, and that the kernel gives nobody who calls meanwhile."""
    ports: dict[int, None] = {}
    while len(ports) < count:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server((LOCAL, port)):
            ports[port] = None
    return list(ports)


def progress(text: str) -> Progress:
    """A bar that counts, with its time."""
    columns = TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console())


def wait(done: Callable[[], bool], what: str) -> None:
    """Return once that is so."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise DicomnodeError(f"waited {PATIENCE:g} seconds for {what}")
        time.sleep(0.1)


@contextmanager
def running(command: Sequence[str], what: str, port: int, log: Path, cwd: Path | None = None) -> Iterator[None]:
    """A program that listens on a port of loopback; what it says goes to `log`."""
    with log.open("wb") as output:
        quiet = os.environ | {"TCP_NODELAY": "1"}  # else DCMTK's answers wait for acknowledgements, 40 ms each
        process = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=cwd, env=quiet
        )
    try:
        wait(lambda: _listens(process, what, port, log), f"{what} to start")
        yield
    finally:
        process.terminate()
        try:
            process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(process: subprocess.Popen[bytes], what: str, port: int, log: Path) -> bool:
    if process.poll() is not None:
        raise DicomnodeError(f"{what} did not start:\n{log.read_text(errors='replace')}")
    try:
        with socket.create_connection((LOCAL, port), 1):
            return True
    except OSError:
        return False


@contextmanager
def serving(config: Path, port: int, log: Path) -> Iterator[None]:
    """A node of this configuration."""
    with running(_command(config, "serve"), "the node", port, log):
        yield


def dicomnode(config: Path, *arguments: str, capture: bool = False) -> str:
    """A command on the node of this configuration; what it printed, where that is captured."""
    sys.stdout.flush()
    done = subprocess.run(_command(config, *arguments), stdout=subprocess.PIPE if capture else None, text=True)
    if done.returncode:
        raise DicomnodeError(f"`dicomnode {' '.join(arguments)}` failed: its exit code is {done.returncode}")
    return done.stdout or ""


def _command(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "dicomnode", "-c", str(config), *arguments]
