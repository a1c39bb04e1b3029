"""How fast instances are taken in, and at what cost: C-STORE to this node, to storescp and to Orthanc.

Every instance is new to its server, and each association sends a study of its own. Time runs from the first request to
the last answer on associations that are open; the server's CPU from there until it has come to rest.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests import samples
from tests.bench import cpu, figures, peers
from tests.bench.figures import Spread
from tests.bench.load import Load, LoadFailed, Senders
from tests.bench.scenario import Bench, Outcome, in_turns

_REST = 0.25
"""Seconds after the last release in which a server may still do what it owes to the instances."""
_SHORT, _FULL = (3, 1), (7, 3)
"""Rounds, and how many times a case's instances in each. The full one needs 8 GB of disk."""


@dataclass(frozen=True)
class Case:
    """A square image of 16-bit pixels, how many of it in a short run, and over how many associations."""

    size: str
    side: int
    count: int
    associations: int


CASES = tuple(
    Case(size, side, count, associations)
    for (size, side, count), associations in itertools.product((("0.5 MB", 512, 100), ("30 kB", 120, 400)), (1, 4))
)


@dataclass(frozen=True)
class Run:
    """One peer taking in all instances of one round."""

    rate: float
    """Instances a second."""
    megabytes: float
    """A second; of datasets, in 10⁶ bytes."""
    cpu: float
    """Milliseconds an instance, of all the server's processes."""
    sender_cpu: float
    """Milliseconds an instance, of the load generator."""


class Ingest:
    """Instances a second and CPU an instance, by size and by associations."""

    name = "ingest"

    def run(self, bench: Bench) -> Outcome:
        rows, records = [], []
        rounds, factor = _FULL if bench.full else _SHORT
        with peers.all_of_them(bench.folder) as servers:
            for case in CASES:
                bench.say(f"ingest: {case.size} over {case.associations}")
                for name, runs, ratios in _compared(case, case.count * factor, rounds, servers):
                    rows.append(_cells(name, case, runs, ratios))
                    records.append(_record(name, case, runs, ratios) | {"instances": case.count * factor})
        columns = ("peer", "assoc.", "size", "instances/s", "MB/s", "CPU ms/inst.", "node: inst./s", "node: CPU")
        note = (
            f"Medians (lowest–highest) of {rounds} runs in turns, after a warm-up; “node:” is this node’s figure over\n"
            "the peer’s, round by round. This node syncs file, folder and index; Orthanc the file; storescp nothing."
        )
        return Outcome(columns, rows, records, note)


Ratios = tuple[float | None, float | None]


def _compared(
    case: Case, count: int, rounds: int, servers: Sequence[peers.Server]
) -> Iterator[tuple[str, list[Run], Ratios]]:
    """By name, each peer, and the first one's rate and CPU over its own."""
    runs = in_turns(servers, rounds, lambda server, number: measure(server, case, count, number))
    for server, theirs in zip(servers, runs, strict=True):
        yield server.name, theirs, (_ratio("rate", runs[0], theirs), _ratio("cpu", runs[0], theirs))


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
        time.sleep(_REST)
        spent = cpu.spent(server.pid) - before
    except LoadFailed as error:
        raise LoadFailed(f"{server.name}, {case.size} over {case.associations}: {error}") from error
    if server.held() != held + sent.count:
        raise LoadFailed(f"{server.name} answered {sent.count} with 0000H, and has {server.held() - held} more")
    per_instance = 1000 / sent.count
    return Run(
        sent.count / sent.seconds,
        sent.size / 1e6 / sent.seconds,
        spent * per_instance,
        sent.sender_cpu * per_instance,
    )


def _sample(case: Case, key: object) -> samples.Sample:
    """An instance of a study and series that no other key has."""
    pixels = bytes(range(240)) * (case.side * case.side * 2 // 240 + 1)
    image: dict[str, Any] = {"Rows": case.side, "Columns": case.side, "PixelData": pixels[: case.side * case.side * 2]}
    return samples.make_instances(1, seed=("bench", case, key), **image)[0]


def _spread(figure: str, runs: list[Run]) -> Spread:
    return Spread(tuple(getattr(run, figure) for run in runs))


def _ratio(figure: str, ours: list[Run], theirs: list[Run]) -> float | None:
    return None if ours is theirs else figures.ratio(_spread(figure, ours), _spread(figure, theirs))


def _cells(name: str, case: Case, runs: list[Run], ratios: Ratios) -> tuple[str, ...]:
    return (
        *(name, str(case.associations), case.size),
        _spread("rate", runs).text(),
        f"{_spread('megabytes', runs).median:.1f}",
        _spread("cpu", runs).text(2),
        *map(figures.times, ratios),
    )


def _record(name: str, case: Case, runs: list[Run], ratios: Ratios) -> dict[str, Any]:
    return {
        "peer": name,
        "associations": case.associations,
        "size": case.size,
        "instances_per_second": _spread("rate", runs).as_json(),
        "megabytes_per_second": _spread("megabytes", runs).as_json(),
        "server_cpu_ms_per_instance": _spread("cpu", runs).as_json(),
        "sender_cpu_ms_per_instance": _spread("sender_cpu", runs).as_json(),
        "node_rate_over_peer": ratios[0],
        "node_cpu_over_peer": ratios[1],
    }
