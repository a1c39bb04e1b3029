"""What a worker process does, by role: `python -m dicomnode.run.workers ROLE`, spawned by the supervisor alone.

Standard input is the worker's orders (one pickled `Orders`) and then its lifeline: when it closes, the supervisor is
gone, and the worker ends at once; what it had acknowledged is durable, and what it had not is nobody's. SIGTERM drains.

    configure    read and check the configuration; answer with it, or with its faults      (ends by itself)
    recover      put the data folder in order and record the generation; answer with it     (ends by itself)
    acceptor, forwarder, housekeeper                                                        (run until told to end)
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from dicomnode.config import load
from dicomnode.config.model import NodeConfig
from dicomnode.errors import ConfigurationError, DicomnodeError, Fault, OutOfResources
from dicomnode.operations import configure, housekeep
from dicomnode.operations.ports import Node, now
from dicomnode.run import logs
from dicomnode.run.orders import Answer, Orders
from dicomnode.store.archive import Archive, ulid
from dicomnode.store.database import Database
from dicomnode.store.recover import show_alive

log = logging.getLogger(__name__)

_ROUND = 0.25
_CHECKPOINT, _OFTEN = 40, 4
_WAL_LARGE = 8 << 20


def index_of(config: NodeConfig) -> Path:
    """Where the SQLite index of a node is."""
    return config.node.data / "index.sqlite"


def build(config: NodeConfig, generation: int, worker: str) -> Node:
    """The node of this process: built once, and passed."""
    archive = Archive(config.node.data, worker)
    archive.prepare()
    return Node(config, generation, archive, Database(index_of(config)))


# -- workers that end by themselves ----------------------------------------------------------------------------


def _configure(orders: Orders) -> None:
    """Read the file. On a reload (there is a configuration in force) the outcome is recorded, faulty or not."""
    config, text, faults, generation = None, "", tuple[Fault, ...](), 0
    try:
        text = load.text_of(orders.path)
        config = configure.parse(text, orders.path)
        if orders.config:
            faults = tuple(_needs_restart(orders.config, config))
    except ConfigurationError as error:
        faults = error.faults
    if orders.config:
        database = Database(index_of(orders.config))
        generation = configure.record(text, faults, now(), database)
        database.close()
    _answer(orders, Answer(None if faults else config, text, generation, faults))


def _needs_restart(old: NodeConfig, new: NodeConfig) -> list[Fault]:
    changed = {
        "node.bind": (old.node.bind_host, old.node.bind_port) != (new.node.bind_host, new.node.bind_port),
        "node.data": old.node.data != new.node.data,
    }
    text = "is changed, which needs a restart: stop the node and `dicomnode serve` it again"
    return [Fault(path, 0, text) for path, differs in changed.items() if differs]


def _recover(orders: Orders) -> None:
    assert orders.config is not None
    name = ulid()
    node = build(orders.config, 0, name)
    try:
        for step in node.database.migrate():
            log.info("schema step=%s applied", step)
        found = housekeep.recover_all(node)
        log.info("recovered adopted=%d parts=%d missing=%d", found.adopted, found.parts, found.missing)
        generation = configure.record(orders.text, (), node.clock(), node.database)
        node.archive.clear_incoming(name)
        _answer(orders, Answer(orders.config, orders.text, generation))
    except DicomnodeError as error:
        _answer(orders, Answer(faults=(Fault("node.data", 0, str(error)),)))


def _answer(orders: Orders, answer: Answer) -> None:
    with os.fdopen(orders.answer, "wb") as pipe:
        pickle.dump(answer, pipe)


# -- workers that run ------------------------------------------------------------------------------------------


class Stop:
    """SIGTERM. It is blocked, and waited for by the main thread: with a handler, any other thread might swallow it.

    (A thread that is just being made can take a process's signal from the main one, and Python's handlers run in the
    main thread alone, which would sleep on in its lock.)
    """

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # threads that are made from here on inherit it

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it has come; waits for ever, or so long."""
        if seconds is None:
            return signal.sigwait({signal.SIGTERM}) == signal.SIGTERM
        return signal.sigtimedwait({signal.SIGTERM}, seconds) is not None


def _acceptor(orders: Orders, node: Node, stop: Stop) -> None:
    from dicomnode.net.acceptor import Acceptor  # only the workers that talk load the network's libraries

    acceptor = Acceptor(socket.socket(fileno=orders.listener), node)
    acceptor.start()
    _ready(orders)
    stop.wait()
    aborted = acceptor.drain(node.config.node.limits.drain)
    if aborted:
        log.warning("aborted associations=%d at the end of the drain", aborted)


def _forwarder(orders: Orders, node: Node, stop: Stop) -> None:
    from dicomnode.net.requestor import Requestor
    from dicomnode.run.lanes import Lanes

    lanes = Lanes(node, Requestor(node.config))
    lanes.start()
    _ready(orders)
    stop.wait()
    lanes.drain(node.config.node.limits.drain)


def _housekeeper(orders: Orders, node: Node, stop: Stop) -> None:
    housekeep.strand(node)
    _ready(orders)
    rounds = 0
    while not stop.wait(_ROUND):
        rounds += 1
        try:
            housekeep.tidy(node)
            large = node.database.version()[1] > _WAL_LARGE
            if rounds % (_OFTEN if large else _CHECKPOINT) == 0:
                node.database.checkpoint()
        except OutOfResources as error:
            log.error("housekeeping waits: %s", error)


def _ready(orders: Orders) -> None:
    os.write(orders.answer, b"\1")
    os.close(orders.answer)


_ERRANDS: dict[str, Callable[[Orders], None]] = {"configure": _configure, "recover": _recover}
_POSTS: dict[str, Callable[[Orders, Node, Stop], None]] = {
    "acceptor": _acceptor,
    "forwarder": _forwarder,
    "housekeeper": _housekeeper,
}


def main(role: str) -> None:
    """Run one worker to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the whole group: the supervisor decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    logs.configure(role)
    orders: Orders = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_lifeline, name="lifeline", daemon=True).start()
    if role in _ERRANDS:
        _ERRANDS[role](orders)
    else:
        _serve(role, orders, stop)
    logging.shutdown()
    os._exit(0)  # a thread that hangs, ours on standard input or a library's, must not keep the process


def _serve(role: str, orders: Orders, stop: Stop) -> None:
    assert orders.config is not None
    name = ulid()
    show_alive(orders.config.node.data / "run", name)
    node = build(orders.config, orders.generation, name)
    log.info("started worker=%s generation=%d", name, orders.generation)
    _POSTS[role](orders, node, stop)
    node.database.close()
    node.archive.clear_incoming(name)
    log.info("ended worker=%s", name)  # its lock is free when it is gone: the housekeeper buries what it left


def _lifeline() -> None:
    while sys.stdin.buffer.read(1):
        pass
    os._exit(69)


if __name__ == "__main__":
    main(sys.argv[1])
