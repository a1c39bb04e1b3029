"""What a worker process does, by role. The supervisor forks it (run/child.py) with its orders.

When its lifeline closes, the supervisor is gone, and the worker ends at once; what it had acknowledged is durable, and
what it had not is nobody's. SIGTERM drains. `ps -o pid,comm` shows the role.

    configure    read and check the configuration; answer with it, or with its faults      (ends by itself)
    recover      put the data folder in order and record the generation; answer with it     (ends by itself)
    farewell     write down that the node has ended in order                                (ends by itself)
    acceptor, forwarder, housekeeper                                                        (run until told to end)
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import resource
import select
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dicomnode.config import load
from dicomnode.config.model import NodeConfig
from dicomnode.errors import ConfigurationError, DicomnodeError, Fault
from dicomnode.net.acceptor import Acceptor
from dicomnode.net.requestor import Requestor
from dicomnode.net.syslog import Collector
from dicomnode.net.tls import Papers, server_context
from dicomnode.operations import configure, housekeep, trail
from dicomnode.operations.ports import Node, now
from dicomnode.run import logs
from dicomnode.run.lanes import Lanes
from dicomnode.run.orders import Answer, Orders
from dicomnode.run.post import Post
from dicomnode.run.rounds import Rounds
from dicomnode.run.scoreboard import Row, Scoreboard
from dicomnode.run.scrubbing import Scrubbing
from dicomnode.store import damaged
from dicomnode.store.archive import Archive, ulid
from dicomnode.store.database import Database, index_of
from dicomnode.store.recover import show_alive

log = logging.getLogger(__name__)


def build(config: NodeConfig, generation: int, worker: str) -> Node:
    """The node of this process: built once, and passed."""
    archive = Archive(config.node.data, worker, config.node.watermarks.instances)
    archive.prepare()
    return Node(config, generation, archive, Database(index_of(config.node.data), volume=archive.volume))


# -- workers that end by themselves ----------------------------------------------------------------------------


def _configure(orders: Orders) -> None:
    """Read the file. On a reload (there is a configuration in force) the outcome is recorded, faulty or not."""
    config, text, faults, generation = None, "", tuple[Fault, ...](), 0
    try:
        text = load.text_of(orders.path)
        config = configure.check(text, orders.path)
        if orders.config:
            faults = tuple(_needs_restart(orders.config, config))
    except ConfigurationError as error:
        faults = error.faults
    if orders.config:
        database = Database(index_of(orders.config.node.data))
        generation = configure.record(text, faults, now(), database)
        database.close()
    _answer(orders, Answer(None if faults else config, text, generation, faults))


def _needs_restart(old: NodeConfig, new: NodeConfig) -> list[Fault]:
    binds = [(key, old.node.binds.get(key) != new.node.binds.get(key)) for key in old.node.binds | new.node.binds]
    changed = {**dict(binds), "node.data": old.node.data != new.node.data}
    text = "is changed, which needs a restart: stop the node and `dicomnode serve` it again"
    return [Fault(path, 0, text) for path, differs in changed.items() if differs]


def _recover(orders: Orders) -> None:
    assert orders.config is not None
    name = ulid()
    try:
        damaged.check_start(index_of(orders.config.node.data))
        node = build(orders.config, 0, name)
        for step in node.database.migrate():
            log.info("schema step=%s applied", step)
        found = housekeep.recover_all(node)
        log.info("recovered adopted=%d parts=%d missing=%d", found.adopted, found.parts, found.missing)
        generation = configure.record(orders.text, (), node.clock(), node.database)
        node.database.write(lambda: trail.started(generation, node.clock()))
        node.archive.clear_incoming(name)
        _answer(orders, Answer(orders.config, orders.text, generation))
    except DicomnodeError as error:
        _answer(orders, Answer(faults=(Fault("node.data", 0, str(error)),)))


def _farewell(orders: Orders) -> None:
    """All others have ended."""
    assert orders.config is not None
    try:
        database = Database(index_of(orders.config.node.data))
        database.write(lambda: trail.stopped(orders.generation, now()))
        database.close()
    except DicomnodeError as error:
        log.error("that the node has ended could not be written down: %s", error)


def _answer(orders: Orders, answer: Answer) -> None:
    with os.fdopen(orders.answer, "wb") as pipe:
        pickle.dump(answer, pipe)


# -- workers that run ------------------------------------------------------------------------------------------


class Stop:
    """SIGTERM, as a descriptor that can be read when it has come.

    Any thread may be the one that the kernel gives the signal to; Python's handlers run in the main thread alone, which
    may sleep in a lock. The interpreter's wake-up descriptor is written by whichever thread it was.
    """

    def __init__(self) -> None:
        self.signal, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)

    @property
    def has_come(self) -> bool:
        """Whether the worker is to end."""
        return bool(select.select([self.signal], [], [], 0)[0])

    def wait(self) -> None:
        """Sleep until the worker is to end."""
        select.select([self.signal], [], [])


def _acceptor(orders: Orders, node: Node, stop: Stop) -> None:
    tls = node.config.node.tls
    contexts = (None, Papers(server_context, tls).context) if tls else (None,)
    sockets = [socket.socket(fileno=listener) for listener in orders.listeners]
    slots = Row(Scoreboard(orders.scoreboard), orders.row, node.config.node.limits)
    acceptor = Acceptor(list(zip(sockets, contexts, strict=True)), node, slots)
    acceptor.start()
    _ready(orders)
    stop.wait()
    aborted = acceptor.drain(node.config.node.limits.drain)
    if aborted:
        log.warning("aborted associations=%d at the end of the drain", aborted)


def _forwarder(orders: Orders, node: Node, stop: Stop) -> None:
    requestor = Requestor(node.config, linger=node.config.node.limits.linger)
    lanes = Lanes(node, requestor)
    lanes.start()
    _ready(orders)
    stop.wait()
    lanes.stop()
    requestor.stop()
    lanes.drain(node.config.node.limits.drain)
    requestor.close()


def _housekeeper(orders: Orders, node: Node, stop: Stop) -> None:
    rounds = Rounds(node, Scoreboard(orders.scoreboard))
    scrubbing = Scrubbing(node)
    scrubbing.start()
    post = Post(node, Collector(node.config) if node.config.node.audit else None)
    post.start()
    _ready(orders)
    while not stop.has_come:
        rounds.go(stop.signal)
    scrubbing.stop()
    post.stop()


def _ready(orders: Orders) -> None:
    """Say so. What there is by now lives as long as the process does: whoever collects garbage need not look at it."""
    gc.freeze()
    os.write(orders.answer, b"\1")
    os.close(orders.answer)


_ERRANDS: dict[str, Callable[[Orders], None]] = {
    "configure": _configure,
    "recover": _recover,
    "farewell": _farewell,
}
_POSTS: dict[str, Callable[[Orders, Node, Stop], None]] = {
    "acceptor": _acceptor,
    "forwarder": _forwarder,
    "housekeeper": _housekeeper,
}


def main(role: str, orders: Orders, lifeline: int) -> None:
    """Live as one worker, to its end: this never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the whole group: the supervisor decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    logs.configure(role)
    with suppress(OSError):  # its name is a courtesy
        Path("/proc/self/comm").write_text(role)
    threading.Thread(target=_hold_on_to, args=(lifeline,), name="lifeline", daemon=True).start()
    if role in _ERRANDS:
        _ERRANDS[role](orders)
    else:
        _serve(role, orders, stop)
    logging.shutdown()
    os._exit(0)  # a thread that hangs must not keep the process


def _serve(role: str, orders: Orders, stop: Stop) -> None:
    assert orders.config is not None
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a caller costs descriptors, and many may call
    name = ulid()
    show_alive(orders.config.node.data / "run", name)
    node = build(orders.config, orders.generation, name)
    log.info("started worker=%s generation=%d", name, orders.generation)
    _POSTS[role](orders, node, stop)
    node.database.close()
    node.archive.clear_incoming(name)
    log.info("ended worker=%s", name)  # its lock is free when it is gone: the housekeeper buries what it left


def _hold_on_to(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os._exit(69)
