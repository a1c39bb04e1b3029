"""How fast instances are taken in, and at what cost: C-STORE to this node, to its peers and to the yardstick.

Every instance is new to its server, and each association sends a study of its own. Time runs from the first request to
the last answer on associations that are open; the server's CPU from there until it has come to rest. What a server has
left to the system is synced after each run: `storescp + sync` is its rate with that counted.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests import samples
from tests.bench import cpu, peers
from tests.bench.load import Load, LoadFailed, Senders
from tests.bench.scenario import Bench, Column, Outcome, Row, Run, in_turns, row

_REST = 0.1
"""Seconds after the last release in which a server may still do what it owes to the instances."""
_SHORT, _FULL = (3, 1), (7, 6)
"""Rounds, and how many times a case's instances in each. The full one needs 20 GB of disk."""
COLUMNS = (
    Column("rate", "instances/s", compared=True),
    Column("megabytes", "MB/s", 1),
    Column("cpu", "CPU ms/inst.", 2, compared=True),
)
_NOTE = """Medians (lowest–highest) of {rounds} runs in turns; “node:” is this node’s figure over the
peer’s, round by round. This node and the yardstick sync file, folder and index; Orthanc the file; storescp nothing."""


@dataclass(frozen=True)
class Case:
    """A square image of 16-bit pixels, how many of it in a short run, and over how many associations."""

    size: str
    side: int
    count: int
    associations: int

    def __str__(self) -> str:
        return f"{self.size}, {self.associations} association{'s' * (self.associations > 1)}"

    def times(self, factor: float) -> int:
        """So many times the count, as a multiple of the associations."""
        return max(1, round(self.count * factor / self.associations)) * self.associations


CASES = tuple(
    Case(size, side, count, associations)
    for (size, side, count), associations in itertools.product((("0.5 MB", 512, 48), ("33 kB", 128, 160)), (1, 4))
)


class Ingest:
    """Instances a second and CPU an instance, by size and by associations."""

    name = "ingest"

    def run(self, bench: Bench) -> Outcome:
        rows: list[Row] = []
        rounds, factor = _FULL if bench.full else _SHORT
        with peers.all_of_them(bench.folder, bench.probe) as servers:
            for server in servers:
                measure(server, CASES[-1], 40, -1)  # to warm up
            for case in CASES:
                bench.say(f"ingest: {case}")
                rows += _rows(case, factor, rounds, servers)
        return Outcome(COLUMNS, rows, _NOTE.format(rounds=rounds))


def _rows(case: Case, factor: float, rounds: int, servers: Sequence[peers.Server]) -> Iterator[Row]:
    runs = in_turns(
        servers, rounds, lambda server, number: measure(server, case, case.times(factor * server.share), number)
    )
    for server, theirs in zip(servers, runs, strict=True):
        yield row(str(case), server.name, theirs)
        if server.name == peers.StoreSCP.name:
            yield row(str(case), f"{server.name} + sync", [{"rate": run["synced"]} for run in theirs])


def measure(server: peers.Server, case: Case, count: int, number: int) -> Run:
    """Send `count` new instances. LoadFailed: one was not answered 0000H, or the server does not have it."""
    loads = [
        Load(server.port, server.called, server.calling, _sample(case, (number, which)), count // case.associations)
        for which in range(case.associations)
    ]
    held = server.held()
    try:
        with Senders(loads) as senders:
            before = cpu.spent(server.pid)
            sent = senders.send()
            syncing = _seconds_to_sync()
        time.sleep(_REST)
        spent = cpu.spent(server.pid) - before
    except LoadFailed as error:
        raise LoadFailed(f"{server.name}, {case}: {error}") from error
    if server.held() != held + sent.count:
        raise LoadFailed(f"{server.name} answered {sent.count} with 0000H, and has {server.held() - held} more")
    return {
        "rate": sent.count / sent.seconds,
        "synced": sent.count / (sent.seconds + syncing),
        "megabytes": sent.size / 1e6 / sent.seconds,
        "cpu": spent * 1000 / sent.count,
        "sender_cpu": sent.sender_cpu * 1000 / sent.count,
    }


def _seconds_to_sync() -> float:
    began = time.monotonic()
    os.sync()
    return time.monotonic() - began


def _sample(case: Case, key: object) -> samples.Sample:
    """An instance of a study and series that no other key has."""
    pixels = bytes(range(240)) * (case.side * case.side * 2 // 240 + 1)
    image: dict[str, Any] = {"Rows": case.side, "Columns": case.side, "PixelData": pixels[: case.side * case.side * 2]}
    return samples.make_instances(1, seed=("bench", case, key), **image)[0]
