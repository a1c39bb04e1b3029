"""The process that the others are children of. It has no threads and no database.

It owns the listening sockets, the scoreboard and the lock of the data folder, forks the workers with the frozen
configuration, starts again what dies, takes a new configuration into use on SIGHUP (or keeps the old one), and drains
on SIGTERM. It sleeps until a signal or a deadline. If it is killed itself, its workers see their lifelines close and
end; the next start recovers.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dicomnode.config.model import NodeConfig
from dicomnode.errors import ConfigurationError, DicomnodeError
from dicomnode.run import logs, premises, scoreboard, workers
from dicomnode.run.child import Child
from dicomnode.run.orders import Answer, Orders
from dicomnode.run.scoreboard import ROWS, Scoreboard
from dicomnode.store.bell import Bell

log = logging.getLogger(__name__)

_BACKLOG = 128
_QUICK = 2.0
"""Seconds: a worker that dies sooner is started again only after as long."""
_LATE = 5.0
"""Seconds beyond the drain after which a worker is killed."""


@dataclass
class Worker:
    """One child: its role, its process, when that was started (monotonic seconds), and the pipe of its answers."""

    role: str
    process: Child
    started: float
    answer: int
    row: int
    """Its row of the scoreboard; -1: it has none."""
    kill_at: float = 0.0
    """When it is killed (monotonic seconds): it was told to end, and may take until then. 0: it is wanted."""

    def stop(self, patience: float) -> None:
        """Ask it to drain and end, within so many seconds."""
        self.kill_at = self.kill_at or time.monotonic() + patience
        self.process.signal(signal.SIGTERM)


class _Stopped(Exception):
    """SIGTERM or SIGINT: the node is to end."""


class Supervisor:
    """One node, from its start to its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._workers: list[Worker] = []
        self._signals: set[int] = set()
        self._config: NodeConfig | None = None
        self._generation = 0
        self._listeners: list[socket.socket] = []
        self._board_memory = scoreboard.create()
        self._board = Scoreboard(self._board_memory)
        self._lock = self._wake = -1
        self._hire_at = 0.0
        """Not before then (monotonic seconds) is anybody started again: somebody died too quickly. 0: nobody did."""

    def __repr__(self) -> str:
        return f"Supervisor({self._path}, {len(self._workers)} workers)"

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises ConfigurationError or DicomnodeError where it cannot begin."""
        logs.configure("supervisor")
        gc.freeze()  # what is loaded by now stays, and is shared with the workers: nobody's collector need touch it
        self._catch_signals()
        try:
            self._begin()
            while True:
                self._attend()
        except _Stopped:
            self._drain()

    def _begin(self) -> None:
        found = self._errand("configure", Orders(self._path, -1))
        self._config = found.config
        assert self._config is not None
        self._lock = premises.lock(self._config.node.data)
        premises.inspect(self._config.node.data)
        self._listeners = [premises.bind(key, *place) for key, place in self._config.node.binds.items()]
        self._generation = self._errand("recover", Orders(self._path, -1, self._config, found.text)).generation
        for listener in self._listeners:
            listener.listen(_BACKLOG)
        for worker in [self._hire(role) for role in self._roles()]:
            self._is_ready(worker)
        self._show()
        log.info("serving %s generation=%d", self._served(), self._generation)

    def _attend(self) -> None:
        while signal.SIGHUP in self._signals:
            self._signals.discard(signal.SIGHUP)
            self._reload()
        self._tend()
        self._wait(self._wake, self._rest())

    def _show(self) -> None:
        """Write into the lock who serves, and under which generation: `dicomnode reload` looks there."""
        premises.show(self._lock, self._generation)

    def _served(self) -> str:
        assert self._config is not None
        node = self._config.node
        places = [f"{host}:{port}{' (TLS)' * (key != 'node.bind')}" for key, (host, port) in node.binds.items()]
        return f"{node.ae_title} on {' and '.join(places)}"

    def _catch_signals(self) -> None:
        self._wake, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda seen, _: self._signals.add(seen))

    def _wait(self, pipe: int, seconds: float | None = None) -> bytes:
        """What comes through a pipe, or b"" after a signal or so long. Raises _Stopped when the node is to end."""
        ready, _, _ = select.select([pipe, self._wake], [], [], seconds)
        if self._wake in ready:
            with suppress(BlockingIOError):
                os.read(self._wake, 4096)
        if self._signals & {signal.SIGTERM, signal.SIGINT}:
            raise _Stopped
        return os.read(pipe, 65536) if pipe in ready and pipe != self._wake else b""

    # -- workers -----------------------------------------------------------------------------------------------

    def _roles(self) -> list[str]:
        assert self._config is not None
        return ["acceptor"] * self._config.node.acceptors + ["forwarder", "housekeeper"]

    def _hire(self, role: str) -> Worker:
        orders = Orders(self._path, -1, self._config, "", self._generation, scoreboard=self._board_memory)
        if role == "acceptor":
            listeners = tuple(listener.fileno() for listener in self._listeners)
            orders = replace(orders, listeners=listeners, row=self._free_rows()[0])
        worker = self._spawn(role, orders)
        self._workers.append(worker)
        return worker

    def _free_rows(self) -> list[int]:
        """The rows of the scoreboard that no worker has, draining ones included."""
        return sorted(set(range(ROWS)) - {worker.row for worker in self._workers})

    def _spawn(self, role: str, orders: Orders) -> Worker:
        """Start a child that has its orders, and what they name."""
        reader, writer = os.pipe()
        told = replace(orders, answer=writer)
        inherited = {writer, orders.scoreboard, *orders.listeners}
        child = Child(lambda lifeline: workers.main(role, told, lifeline), inherited)
        os.close(writer)
        return Worker(role, child, time.monotonic(), reader, orders.row)

    def _errand(self, role: str, orders: Orders) -> Answer:
        """Let a short-lived child find something out. Raises ConfigurationError with the faults it found."""
        worker, said = self._spawn(role, orders), b""
        try:
            while not worker.process.is_gone:
                said += self._wait(worker.answer)
            while piece := os.read(worker.answer, 65536):
                said += piece
        except _Stopped:
            worker.process.signal(signal.SIGKILL)
            raise
        finally:
            _end(worker)
        if not said:
            raise DicomnodeError(f"the {role} process died: see the log above")
        answer: Answer = pickle.loads(said)
        if answer.faults:
            raise ConfigurationError(answer.faults)
        return answer

    def _is_ready(self, worker: Worker) -> bool:
        """Wait until a worker works; False where it died instead (which `_tend` will notice)."""
        while not worker.process.is_gone:
            if self._wait(worker.answer):
                return True
        return False

    def _tend(self) -> None:
        """Notice who has died, end who was told to and does not, and start again what should be there."""
        now = time.monotonic()
        for worker in [w for w in self._workers if w.process.is_gone]:
            self._workers.remove(worker)
            _end(worker)
            self._forget(worker)
            if worker.kill_at:
                continue
            log.error("%s pid=%d died status=%s", worker.role, worker.process.pid, worker.process.status)
            if now - worker.started < _QUICK:
                self._hire_at = now + _QUICK
        for worker in (w for w in self._workers if w.kill_at and now > w.kill_at):
            log.error("%s pid=%d did not end and is killed", worker.role, worker.process.pid)
            worker.process.signal(signal.SIGKILL)
            worker.kill_at = now + _LATE
        if now >= self._hire_at:
            self._hire_at = 0.0
            self._fill()

    def _forget(self, worker: Worker) -> None:
        """Strike out what a worker that is gone had open, and have its claims taken back."""
        assert self._config is not None
        if worker.row >= 0:
            self._board.clear(worker.row)
        Bell(self._config.node.data / "run").ring()

    def _rest(self) -> float | None:
        """Seconds until something is to be done that no signal tells of; None: until there is one."""
        now = time.monotonic()
        times = [worker.kill_at for worker in self._workers if worker.kill_at]
        times += [self._hire_at] if self._hire_at else []
        return max(0.0, min(times) - now) if times else None

    def _fill(self) -> None:
        for role in dict.fromkeys(self._roles()):
            missing = self._roles().count(role) - sum(w.role == role and not w.kill_at for w in self._workers)
            waiting = role != "acceptor" and any(w.role == role for w in self._workers)  # the old one drains first
            for _ in range(0 if waiting else missing):
                self._hire(role)

    # -- reload and end ----------------------------------------------------------------------------------------

    def _reload(self) -> None:
        """Take the file into use whole, or keep what is in force. What is open lives on under the old rules."""
        try:
            answer = self._errand("configure", Orders(self._path, -1, self._config))
            self._check_room(answer)
        except DicomnodeError as error:
            log.error("the configuration in force stays: %s", "; ".join(str(error).splitlines()))
            return
        old, before = [w for w in self._workers if not w.kill_at], (self._config, self._generation)
        self._config, self._generation = answer.config, answer.generation
        fresh = [self._hire(role) for role in self._roles() if role == "acceptor"]
        if not all(self._is_ready(worker) for worker in fresh):
            log.error("the configuration in force stays: a process of the new one did not start")
            old, (self._config, self._generation) = fresh, before
        for worker in old:
            worker.stop(self._patience)
        self._show()
        log.info("generation=%d is in force", self._generation)

    def _check_room(self, answer: Answer) -> None:
        assert answer.config is not None
        if len(self._free_rows()) < answer.config.node.acceptors:
            raise DicomnodeError("too many processes of earlier ones are still draining")

    @property
    def _patience(self) -> float:
        """Seconds in which a worker that is told to end has to."""
        return (self._config.node.limits.drain if self._config else 0) + _LATE

    def _drain(self) -> None:
        """Stop accepting, let the workers finish, kill what does not."""
        log.info("draining")
        for listener in self._listeners:
            listener.close()
        for worker in self._workers:
            worker.stop(self._patience)
        for worker in self._workers:
            if not worker.process.wait(max(0.1, worker.kill_at - time.monotonic())):
                log.error("%s pid=%d did not end and is killed", worker.role, worker.process.pid)
                worker.process.signal(signal.SIGKILL)
            _end(worker)
        if self._generation:
            self._say_farewell()
        log.info("ended touches=%d", self._board.touches)

    def _say_farewell(self) -> None:
        """Have it written down that the node has ended in order."""
        worker = self._spawn("farewell", Orders(self._path, -1, self._config, generation=self._generation))
        if not worker.process.wait(_LATE):
            worker.process.signal(signal.SIGKILL)
        _end(worker)


def _end(worker: Worker) -> None:
    """Give back what a child that is gone, or about to be, had of ours."""
    worker.process.wait()
    worker.process.release()
    os.close(worker.answer)
