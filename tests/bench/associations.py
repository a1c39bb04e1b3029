"""What an association costs: one after the other, each with a C-ECHO and a release."""

from __future__ import annotations

import contextlib
import time

from tests import wire
from tests.bench import cpu, peers
from tests.bench.load import LoadFailed
from tests.bench.scenario import Bench, Column, Outcome, Run, in_turns, row
from tests.node import LOCAL

CASE = "C-ECHO, one after the other"
COLUMNS = (Column("rate", "associations/s", 1, compared=True), Column("cpu", "CPU ms/assoc.", 2, compared=True))
_REST = 0.1
"""Seconds in which a server may still do what it owes to the last of them."""
_NOTE = """Medians (lowest–highest) of {rounds} runs in turns, from one caller who proposes Verification alone."""


class Associations:
    """Associations a second and CPU an association."""

    name = "associations"

    def run(self, bench: Bench) -> Outcome:
        rounds, count = (7, 500) if bench.full else (3, 100)
        with contextlib.ExitStack() as stack:
            servers: list[peers.Server] = [peers.ThisNode(bench.folder / "node"), peers.StoreSCP(bench.folder / "scp")]
            servers += [peers.Orthanc(bench.folder / "orthanc"), peers.Stock(bench.folder / "stock")]
            for server in servers:
                stack.enter_context(server)
                measure(server, 10)
            # what is slow with instances is slower still here
            runs = in_turns(servers, rounds, lambda server, _: measure(server, round(count * server.share**2)))
        rows = [row(CASE, server.name, its) for server, its in zip(servers, runs, strict=True)]
        return Outcome(COLUMNS, rows, _NOTE.format(rounds=rounds))


def measure(server: peers.Server, count: int) -> Run:
    """So many associations. LoadFailed: one was not answered 0000H."""
    before, began = cpu.spent(server.pid), time.monotonic()
    for _ in range(count):
        status = wire.echo(LOCAL, server.port, server.called, server.calling, timeout=30)
        if status:
            raise LoadFailed(f"{server.name} answered a C-ECHO {status:04X}H")
    seconds = time.monotonic() - began
    time.sleep(_REST)
    return {"rate": count / seconds, "cpu": (cpu.spent(server.pid) - before) * 1000 / count}
