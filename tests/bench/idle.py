"""What associations cost that are open and say nothing: the CPU of a core, and the rate of another that stores.

The rate is compared with that before they came, in the same round. Stock pynetdicom is asked in the full run alone,
with fewer: opening them takes it ten seconds, and what it then stores, longer.
"""

from __future__ import annotations

import contextlib
import time

from tests import wire
from tests.bench import cpu, ingest, peers
from tests.bench.scenario import Bench, Column, Outcome, Row, Run, in_turns, row
from tests.node import LOCAL

CASE = ingest.Case("33 kB", 128, 400, 1)
COLUMNS = (
    Column("idle", "CPU % of a core", 1),
    Column("rate", f"{CASE}: instances/s"),
    Column("ratio", "over that without", 2),
)
_IDLE = 2.0
"""Seconds over which the CPU of a server at rest is taken."""
_NOTE = """Medians (lowest–highest) of {rounds} runs; the CPU is that of {seconds:.0f} seconds without a word."""


class Idle:
    """CPU and ingest rate beside associations that idle."""

    name = "idle"

    def run(self, bench: Bench) -> Outcome:
        rounds = 7 if bench.full else 3
        node = peers.ThisNode(bench.folder / "node", {"node": {"limits": {"associations": 400}}})
        rows = [_row(node, 300, 1.0, rounds, bench)]
        if bench.full:
            rows.append(_row(peers.Stock(bench.folder / "stock"), 50, 0.1, 1, bench))
        return Outcome(COLUMNS, rows, _NOTE.format(rounds=rounds, seconds=_IDLE))


def _row(server: peers.Server, idle: int, share: float, rounds: int, bench: Bench) -> Row:
    case = f"{idle} idle associations"
    bench.say(f"idle: {server.name}, {case}")
    with server:
        ingest.measure(server, CASE, 20, -1)  # to warm up
        (runs,) = in_turns([server], rounds, lambda it, number: measure(it, idle, round(CASE.count * share), number))
    return row(case, server.name, runs)


def measure(server: peers.Server, idle: int, count: int, number: int) -> Run:
    """`idle` associations come, are left alone, and another one stores `count` instances beside them."""
    without = _rate(server, count, 2 * number)
    with contextlib.ExitStack() as stack:
        for _ in range(idle):
            stack.enter_context(wire.Association(LOCAL, server.port, server.called, server.calling, timeout=30))
        before, began = cpu.spent(server.pid), time.monotonic()
        time.sleep(_IDLE)
        used = (cpu.spent(server.pid) - before) / (time.monotonic() - began)
        rate = _rate(server, count, 2 * number + 1)
    return {"idle": 100 * used, "rate": rate, "ratio": rate / without}


def _rate(server: peers.Server, count: int, number: int) -> float:
    """Instances a second, once the server is warm again: it may just have had nothing to do for seconds."""
    ingest.measure(server, CASE, round(count / 4), -2 - number)
    return ingest.measure(server, CASE, count, number)["rate"]
