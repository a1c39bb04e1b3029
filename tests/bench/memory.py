"""What memory the node takes: at rest, and while large objects come in over several associations at once.

The objects are made while they are sent, a PDU at a time. A peak is the kernel's own, process by process; at rest is
after some small instances, so that what is loaded with the first of them is no growth.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from tests import samples, wire
from tests.bench import ingest, peers, processes
from tests.bench.load import LoadFailed
from tests.bench.scenario import Bench, Column, Outcome, Run, row
from tests.node import LOCAL
from tests.samples import Sample
from tests.upper_layer import C_STORE, P_DATA, Command, encode_command, pdu

CASE = "large objects at once"
COLUMNS = (
    Column("pss", "PSS at rest, MB", 1),
    Column("rss", "RSS at rest, MB", 1),
    Column("growth", "at most above it, MB", 1),
    Column("associations", "assoc."),
    Column("beyond", "beyond 4 MB an assoc.", 1),
)
WORST, ALL = "worst acceptor", "all processes"
_AN_ASSOCIATION = 4.0
"""MB that one may take."""
_NOTE = """{count} objects of {megabytes} MB, each over an association of its own; one run. MB are of 10⁶ bytes."""
_PDU = 1 << 18
"""The longest that is sent, whatever more the node takes."""


class Memory:
    """PSS and RSS of every process of the node."""

    name = "memory"

    def run(self, bench: Bench) -> Outcome:
        count, megabytes = (10, 1000) if bench.full else (4, 200)
        with peers.ThisNode(bench.folder / "node") as node:
            ingest.measure(node, ingest.CASES[-1], 40, -1)
            bench.say(f"memory: {count} × {megabytes} MB")
            runs = measure(node, count, megabytes * 1_000_000)
        rows = [row(CASE, name, [run]) for name, run in runs.items()]
        return Outcome(COLUMNS, rows, _NOTE.format(count=count, megabytes=megabytes))


@dataclass(frozen=True)
class Process:
    """One process of the node, and what it held at rest."""

    name: str
    pid: int
    pss: float
    rss: float

    def run(self, associations: int) -> Run:
        """What it has held since, at the most."""
        growth = processes.peak(self.pid) - self.rss
        beyond = growth - _AN_ASSOCIATION * associations
        held = {"pss": self.pss, "rss": self.rss, "growth": growth}
        return held | ({"associations": associations, "beyond": beyond} if associations else {})


def measure(node: peers.ThisNode, count: int, size: int) -> dict[str, Run]:
    """By process, and for the worst acceptor and all of them. LoadFailed: the node has not taken every object."""
    before, resting = node.held(), list(_resting(node))
    with ExitStack() as stack:
        made = [samples.make_instances(1, seed=("memory", number))[0] for number in range(count)]
        open_ = [stack.enter_context(_associated(node, sample)) for sample in made]
        carried = {process.pid: processes.connections(process.pid, node.port) for process in resting}
        with ThreadPoolExecutor(count) as pool:
            statuses = list(pool.map(send, open_, made, itertools.repeat(size)))
        runs = {process.name: process.run(carried[process.pid]) for process in resting}
    if any(statuses) or node.held() != before + count:
        raise LoadFailed(f"{node.held() - before} of {count} large objects are held, answered {statuses}")
    return {**runs, **_summed(list(runs.values()))}


def _resting(node: peers.ThisNode) -> Iterator[Process]:
    for role, pids in node.node.pids().items():
        for number, pid in enumerate(pids, 1):
            processes.forget_peak(pid)
            name = f"{role} {number}" if len(pids) > 1 else role
            yield Process(name, pid, processes.pss(pid), processes.rss(pid))


def _summed(runs: Sequence[Run]) -> dict[str, Run]:
    worst = max((run for run in runs if "beyond" in run), key=lambda run: run["beyond"])
    return {WORST: worst, ALL: {"pss": sum(run["pss"] for run in runs)}}


def _associated(node: peers.ThisNode, sample: Sample) -> wire.Association:
    return wire.Association(LOCAL, node.port, node.called, node.calling, wire.contexts_for([sample]), timeout=300)


def send(association: wire.Association, sample: Sample, size: int) -> int:
    """Store a sample with `size` bytes of pixels in place of its own; the status."""
    channel, context = association.channel, association.context_of(sample.sop_class)
    command: Command = {"CommandField": C_STORE, "MessageID": 1, "Priority": 0, "CommandDataSetType": 0}
    command |= {"AffectedSOPClassUID": sample.sop_class, "AffectedSOPInstanceUID": sample.sop_instance}
    for part in channel.fragments(context, encode_command(command), command=True):
        channel.send_raw(part)
    for part in _dataset(context, sample, size, min(association.max_pdu or _PDU, _PDU) - 6):
        channel.send_raw(part)
    return association.read_response().status


def _dataset(context: int, sample: Sample, size: int, most: int) -> Iterator[bytes]:
    """PDUs of one PDV each: the elements before the pixels, then the pixels."""
    pixels = sample.dataset.index(b"\xe0\x7f\x10\x00OW\0\0")
    yield _value(context, sample.dataset[: pixels + 8] + struct.pack("<L", size), last=False)
    whole = _value(context, bytes(most), last=False)
    count = (size - 1) // most
    for _ in range(count):
        yield whole
    yield _value(context, bytes(size - count * most), last=True)


def _value(context: int, part: bytes, *, last: bool) -> bytes:
    return pdu(P_DATA, struct.pack(">LBB", len(part) + 2, context, 2 if last else 0) + part)
