"""A flow of instances through a node that is being killed, and the reckoning at its end.

Several raw senders store in parallel, each with a journal of its own; what was not answered they send again when the
node is back, and nothing else. A `Kill` knows what was in flight at its moment. `losses` compares three truths: the
journals, the node (index and files), and the public AE.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.failpoints import NODE, WORKER, Failpoints
from tests.inprocess import cli
from tests.integration.kit import rows
from tests.node import Node, default_config, wait_until
from tests.samples import Sample, dataset_of, make_instances, uid
from tests.wire import Association, Journal, Receiver, WireError

_LATER = 0xA700
_PATIENCE = 30.0
"""Seconds within which a node that was killed must answer something again."""
_START = 60.0
"""Seconds that a start may take, on a machine that does much else."""


def at_once(receiver: Receiver) -> dict[str, Any]:
    """The configuration of a node that carries image by image, as they come."""
    config = default_config(pubpacs=receiver.port)
    config["routes"][0]["wait"] = "0s"
    return config


@dataclass
class Sent:
    """One C-STORE as its sender lived it: when it left, and when it ended, by an answer (`status`) or by a broken
    association (None); in monotonic seconds.
    """

    uid: str
    left: float
    ended: float = math.inf
    status: int | None = None


@dataclass(frozen=True)
class Kill:
    """Who was killed, and how many instances were on their way: not answered yet, and answered but not yet carried."""

    role: str
    unanswered: int
    undelivered: int
    seconds: float
    """Until the node answered again, or the process had been replaced."""

    @property
    def hit(self) -> bool:
        return self.unanswered > 0 and self.undelivered > 0


class Sender(threading.Thread):
    """Sends its instances one by one until each was answered 0000H, over as many associations as that takes."""

    def __init__(self, node: Node, journal: Journal, instances: Sequence[Sample]) -> None:
        super().__init__(daemon=True)
        self.node, self.journal, self.waiting = node, journal, list(instances)
        self.sent: list[Sent] = []
        self.fault: BaseException | None = None

    def run(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        try:
            while self.waiting:
                before = len(self.waiting)
                self._associate()
                if len(self.waiting) < before:
                    deadline = time.monotonic() + _PATIENCE
                assert time.monotonic() < deadline, f"nothing was answered within {_PATIENCE} s"
        except BaseException as error:  # raised again where somebody waits for this sender
            self.fault = error

    def _associate(self) -> None:
        contexts = [(self.waiting[0].sop_class, [self.waiting[0].transfer_syntax])]
        try:
            with self.node.associate("CT1", contexts, called="TO_GENERAL", journal=self.journal) as association:
                while self.waiting:
                    self._send(association)
        except (WireError, OSError):
            time.sleep(0.02)  # the node is down: nobody tells a modality when it is back

    def _send(self, association: Association) -> None:
        sent = Sent(self.waiting[0].sop_instance, time.monotonic())
        self.sent.append(sent)
        try:
            sent.status = association.send_sample(self.waiting[0])
        finally:
            sent.ended = time.monotonic()
        assert sent.status in (0, _LATER), f"{sent.uid} was answered {sent.status:04X}H"
        if sent.status == 0:
            self.waiting.pop(0)
        else:
            time.sleep(0.05)  # it was told to come later


class Flow:
    """`count` new instances of one study, a series to each sender: `start`, then `kill` at will, then `finish`."""

    def __init__(self, node: Node, receiver: Receiver, folder: Path, count: int, *, senders: int, seed: object) -> None:
        self.node, self.receiver = node, receiver
        self.study = uid("flow", seed)
        self.senders = [
            Sender(
                node,
                Journal(folder / f"{seed}-{number}.journal"),
                make_instances(count // senders, seed=seed, study_uid=self.study, series=number),
            )
            for number in range(1, senders + 1)
        ]

    def start(self) -> Flow:
        for sender in self.senders:
            sender.start()
        return self

    def finish(self) -> None:
        """Until every instance was answered."""
        for sender in self.senders:
            sender.join(3 * _PATIENCE)
            assert not sender.is_alive(), "a sender hangs"
        self._faults()

    def wait_for(self, answers: int) -> None:
        """Until so many instances were taken into custody; a sender's fault is raised here."""

        def enough() -> bool:
            self._faults()
            return sum(sent.status == 0 for sent in self._sent()) >= answers

        wait_until(enough, 2 * _PATIENCE, f"{answers} answers", self.node.log)

    def kill(self, role: str) -> Kill:
        """SIGKILL all processes of a role, or the whole `node`, and see that it works again; what it hit."""
        before = self.node.pids()
        if role == "node":
            self.node.kill_all()
        else:
            self.node.kill(role)
        carried = {each.sop_instance for each in tuple(self.receiver.received)}
        sent, moment = list(self._sent()), self.node.killed_at
        if role in ("node", "supervisor"):
            self.node.start(_START)
        else:
            self._replaced(role, before[role])
        in_flight = [it for it in sent if it.left <= moment < it.ended]
        promised = {it.uid for it in sent if it.status == 0 and it.ended <= moment}
        return Kill(role, len(in_flight), len(promised - carried), time.monotonic() - moment)

    def fail(self, points: Failpoints, point: str, who: str = WORKER) -> None:
        """Have a process die at a point, or the node with it, and see that it works again."""
        role, before = point.partition(" ")[0], self.node.pids()
        points.arm(point, who)
        if role in ("configure", "supervisor"):
            self.node.tell(signal.SIGHUP)
        self.node.wait_until(lambda: points.has_killed(point), _PATIENCE, f"somebody to die {point}")
        if who == NODE or role == "supervisor":
            self.node.bury()
            self.node.start(_START)
        elif role in before:
            self._replaced(role, before[role])

    def _replaced(self, role: str, before: Sequence[int]) -> None:
        """Until as many processes of a role are there as were, and one at least is another."""

        def whole() -> bool:
            now = self.node.pids().get(role, [])
            return len(now) == len(before) and set(now) != set(before)

        self.node.wait_until(whole, _PATIENCE, f"another {role}")

    def _sent(self) -> Iterator[Sent]:
        return itertools.chain.from_iterable(tuple(sender.sent) for sender in self.senders)

    def _faults(self) -> None:
        for sender in self.senders:
            if sender.fault:
                raise sender.fault


# -- the reckoning ---------------------------------------------------------------------------------------------


def losses(node: Node, receiver: Receiver, flows: Iterable[Flow], timeout: float) -> list[str]:
    """What was answered 0000H and is not in the index, not in the archive as it was sent, or not at the public AE;
    what is said to be there and is not; and what should not be there: parts, transfers that are stuck, an index that is
    damaged. `timeout` is for what is still on its way.
    """
    flows = list(flows)
    entries = [entry for flow in flows for sender in flow.senders for entry in sender.journal.acknowledged()]
    promised = {entry.uid: entry.sha256 for entry in entries}
    found = _carried(receiver, promised, timeout)
    kept = {uid: file for flow in flows for uid, file in _kept(node, flow.study).items()}
    for instance, digest in promised.items():
        if instance not in kept:
            found.append(f"not in the index: {instance}")
        elif not kept[instance].is_file() or hashlib.sha256(dataset_of(kept[instance])).hexdigest() != digest:
            found.append(f"not as it was sent: {instance}")
    found += [f"left over: {part}" for part in node.data.rglob("*.part")]
    found += _disproved(node, receiver)
    return found + _stuck(node, timeout)


def _stuck(node: Node, timeout: float) -> list[str]:
    """Transfers that are not at their end in the end: the last results may be written a moment after their answers."""
    stuck, deadline = list[str](), time.monotonic() + timeout
    while stuck := [
        f"stuck: {it}"
        for it in cli(node, "queue", "shape", json=True)
        if any(it[state] for state in ("queued", "active", "held"))
    ]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return stuck


def _disproved(node: Node, receiver: Receiver) -> list[str]:
    """What the node says was delivered, and the public AE never took; and what SQLite finds wrong with the index."""
    taken = {each.sop_instance for each in receiver.received if each.status == 0}
    said = rows(
        node,
        """SELECT i.sop_instance_uid AS uid, count(*) AS times FROM transfers t JOIN instances i ON i.id = t.instance
           WHERE t.state = 'delivered' GROUP BY 1""",
    )
    found = [f"said to be delivered: {row['uid']}" for row in said if row["uid"] not in taken]
    found += [f"routed {row['times']} times: {row['uid']}" for row in said if row["times"] > 1]
    checks = [row["quick_check"] for row in rows(node, "PRAGMA quick_check")]
    return found + [f"index: {text}" for text in checks if text != "ok"]


def strays(node: Node) -> list[str]:
    """Kept files without a row: what a start has to adopt."""
    known = {node.data / row["file"] for row in rows(node, "SELECT file FROM instances")}
    return [f"not in the index: {file.name}" for file in (node.data / "instances").rglob("*.dcm") if file not in known]


def _carried(receiver: Receiver, promised: dict[str, str], timeout: float) -> list[str]:
    """What the public AE has not got in the end, or got otherwise than it was sent."""

    def missing() -> set[str]:
        return promised.keys() - {each.sop_instance for each in receiver.received}

    try:
        receiver.wait_until(lambda: not missing(), timeout, "what was promised")
    except AssertionError:
        return [f"never carried: {uid}" for uid in missing()]
    wrong = [it.sop_instance for it in receiver.received if promised.get(it.sop_instance, it.sha256) != it.sha256]
    return [f"carried otherwise: {uid}" for uid in wrong]


def _kept(node: Node, study: str) -> dict[str, Path]:
    """SOP Instance UID → its file, as the index has them."""
    found = cli(node, "studies", "show", study, json=True)
    return {it["sop_instance_uid"]: node.data / it["file"] for it in found[0]["versions"] if it["current"]}
