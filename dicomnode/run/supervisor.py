"""The process that the others are children of. It has no threads and no database.

It owns the listening socket and the lock of the data folder, spawns the workers with the frozen configuration, starts
again what dies, takes a new configuration into use on SIGHUP (or keeps the old one), and drains on SIGTERM. If it is
killed itself, its workers see their lifelines close and end; the next start recovers.
"""

from __future__ import annotations

import fcntl
import logging
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dicomnode.config.model import NodeConfig
from dicomnode.errors import ConfigurationError, Fault, OutOfResources
from dicomnode.run import logs
from dicomnode.run.orders import Answer, Orders

log = logging.getLogger(__name__)

_BACKLOG = 128
_QUICK = 2.0
"""Seconds: a worker that dies sooner is started again only after as long."""
_LATE = 5.0
"""Seconds beyond the drain after which a worker is killed; and how long a new node waits for the old one's lock."""


@dataclass
class Worker:
    """One child: its role, its process, the pipe that keeps it alive, and when it was started (monotonic seconds)."""

    role: str
    process: subprocess.Popen[bytes]
    started: float
    answer: int
    leaving: bool = field(default=False)

    def stop(self) -> None:
        """Ask it to drain and end."""
        self.leaving = True
        with suppress(ProcessLookupError):
            self.process.terminate()


class Supervisor:
    """One node, from its start to its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._workers: list[Worker] = []
        self._signals: set[int] = set()
        self._config: NodeConfig | None = None
        self._generation = 0
        self._listener: socket.socket | None = None
        self._lock = -1

    def __repr__(self) -> str:
        return f"Supervisor({self._path}, {len(self._workers)} workers)"

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises ConfigurationError where it cannot begin."""
        logs.configure("supervisor")
        wake = self._catch_signals()
        self._config = self._errand("configure", Orders(self._path, -1)).config
        assert self._config is not None
        self._lock = _lock(self._config.node.data)
        self._listener = _bind(self._config)
        self._generation = self._errand("recover", Orders(self._path, -1, self._config)).generation
        self._listener.listen(_BACKLOG)
        self._staff()
        log.info("serving %s on %s:%d generation=%d", *self._served())
        while not self._signals & {signal.SIGTERM, signal.SIGINT}:
            if signal.SIGHUP in self._signals:
                self._signals.discard(signal.SIGHUP)
                self._reload()
            self._tend()
            _sleep_until_signal(wake)
        self._drain()

    def _served(self) -> tuple[str, str, int, int]:
        assert self._config is not None
        node = self._config.node
        return node.ae_title, node.bind_host, node.bind_port, self._generation

    def _catch_signals(self) -> int:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda seen, _: self._signals.add(seen))
        return reader

    # -- workers -----------------------------------------------------------------------------------------------

    def _roles(self) -> list[str]:
        assert self._config is not None
        return ["acceptor"] * self._config.node.acceptors + ["forwarder", "housekeeper"]

    def _staff(self) -> None:
        for role in self._roles():
            self._hire(role)
        for worker in self._workers:
            _wait_ready(worker)

    def _hire(self, role: str) -> Worker:
        listener = self._listener.fileno() if role == "acceptor" and self._listener else -1
        worker = self._spawn(role, Orders(self._path, -1, self._config, self._generation, listener))
        self._workers.append(worker)
        return worker

    def _spawn(self, role: str, orders: Orders) -> Worker:
        """Start a child with its orders on standard input; the pipe stays open as its lifeline."""
        reader, writer = os.pipe()
        inherited = [writer] + ([orders.listener] if orders.listener >= 0 else [])
        process = subprocess.Popen(
            [sys.executable, "-m", "dicomnode.run.workers", role], stdin=subprocess.PIPE, pass_fds=inherited
        )
        os.close(writer)
        assert process.stdin is not None
        told = Orders(orders.path, writer, orders.config, orders.generation, orders.listener)
        with suppress(BrokenPipeError):
            process.stdin.write(pickle.dumps(told))
            process.stdin.flush()
        return Worker(role, process, time.monotonic(), reader)

    def _errand(self, role: str, orders: Orders) -> Answer:
        """Let a short-lived child find something out. Raises ConfigurationError with the faults it found."""
        worker = self._spawn(role, orders)
        with os.fdopen(worker.answer, "rb") as pipe:
            said = pipe.read()
        _end(worker)
        if not said:
            raise ConfigurationError((Fault("", 0, f"the {role} process died: see the log above"),))
        answer: Answer = pickle.loads(said)
        if answer.faults:
            raise ConfigurationError(answer.faults)
        return answer

    def _tend(self) -> None:
        """Notice who has died, and start again what should be there."""
        for worker in [w for w in self._workers if w.process.poll() is not None]:
            self._workers.remove(worker)
            _end(worker)
            if worker.leaving:
                continue
            log.error("%s pid=%d died status=%s", worker.role, worker.process.pid, worker.process.returncode)
            if time.monotonic() - worker.started < _QUICK:
                time.sleep(_QUICK)
        for role in dict.fromkeys(self._roles()):
            missing = self._roles().count(role) - sum(w.role == role and not w.leaving for w in self._workers)
            waiting = role != "acceptor" and any(w.role == role for w in self._workers)  # the old one drains first
            for _ in range(0 if waiting else missing):
                self._hire(role)

    # -- reload and end ----------------------------------------------------------------------------------------

    def _reload(self) -> None:
        """Take the file into use whole, or keep what is in force. What is open lives on under the old rules."""
        try:
            answer = self._errand("configure", Orders(self._path, -1, self._config))
        except ConfigurationError as error:
            log.error("the configuration in force stays: %s", "; ".join(map(str, error.faults)))
            return
        old = [w for w in self._workers if not w.leaving]
        self._config, self._generation = answer.config, answer.generation
        fresh = [self._hire(role) for role in self._roles() if role == "acceptor"]
        for worker in fresh:
            _wait_ready(worker)
        for worker in old:
            worker.stop()
        log.info("reloaded generation=%d", self._generation)

    def _drain(self) -> None:
        """Stop accepting, let the workers finish, kill what does not."""
        assert self._config is not None
        log.info("draining")
        if self._listener:
            self._listener.close()
        for worker in self._workers:
            worker.stop()
        deadline = time.monotonic() + self._config.node.limits.drain + _LATE
        for worker in self._workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("%s pid=%d did not end and is killed", worker.role, worker.process.pid)
                worker.process.kill()
                worker.process.wait()
            _end(worker)
        log.info("ended")


def _end(worker: Worker) -> None:
    """Give back what a child that is gone had of ours."""
    worker.process.wait()
    if worker.process.stdin:
        with suppress(BrokenPipeError):
            worker.process.stdin.close()
    with suppress(OSError):
        os.close(worker.answer)


def _wait_ready(worker: Worker) -> None:
    """Wait until a worker works, or has died (which `_tend` will notice)."""
    os.read(worker.answer, 1)


def _sleep_until_signal(wake: int) -> None:
    ready, _, _ = select.select([wake], [], [], 1.0)
    if ready:
        with suppress(BlockingIOError):
            os.read(wake, 4096)


def _lock(data: Path) -> int:
    """The data folder is ours alone. Raises ConfigurationError where another node has it."""
    run = data / "run"
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = os.open(run / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError((Fault("node.data", 0, f"{data} cannot be used: {error.strerror}"),)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.read(lock, 32).decode(errors="replace").strip()
        text = f"{data} is in use by another node (process {pid}): stop that one first, or give this one its own folder"
        raise ConfigurationError((Fault("node.data", 0, text),)) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _bind(config: NodeConfig) -> socket.socket:
    """The listening socket, bound and not yet listening. Raises ConfigurationError where that cannot be."""
    host, port = config.node.bind_host, config.node.bind_port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        text = f"cannot listen on {host}:{port}: {error.strerror}"
        raise ConfigurationError((Fault("node.bind", 0, text),)) from error
    return listener


def running(data: Path) -> int | None:
    """The process id of the node that serves a data folder, or None. Raises OutOfResources when it cannot be told."""
    path = data / "run" / "node.lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutOfResources(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.read(lock, 32) or b"0")
    else:
        return None
    finally:
        os.close(lock)
