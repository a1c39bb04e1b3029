"""How fast a study that is held goes on to a storescp, and at what cost to its sender.

`forward`: over one association of this machine. `latency`: over a line of 20 and 40 ms round trip; the node has four
associations, and dcmsend the one it can have. Timed at the receiving side, for every sender alike: from the arrival of
the first instance, or of as many as there are associations, to that of the last, by the times of storescp's files.
So neither the start of a program nor the opening of its association counts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import samples
from tests.bench import peers, senders
from tests.bench.line import Line
from tests.bench.load import LoadFailed
from tests.bench.scenario import Bench, Column, Outcome, Row, Run, in_turns, row
from tests.bench.senders import Sender
from tests.node import LOCAL
from tests.samples import Sample

COLUMNS = (Column("rate", "instances/s", 1, compared=True), Column("cpu", "sender’s CPU ms/inst.", 2, compared=True))
_NOTE = """Medians (lowest–highest) of {rounds} runs in turns; timed from the first arrival at storescp to the last.
The CPU is that of all the sender’s processes: of a tool with its start, of a server with what it writes down."""


@dataclass(frozen=True)
class Size:
    """How many rounds of how many instances."""

    rounds: int
    count: int


class Forward:
    """The senders side by side over one association each."""

    name = "forward"

    def run(self, bench: Bench) -> Outcome:
        size = Size(7, 400) if bench.full else Size(3, 80)
        with peers.StoreSCP(bench.folder / "storescp") as receiver, _senders(bench.folder, receiver, size) as them:
            measure(them[0], receiver, 20, -1)  # to warm up
            rows = list(_rows("0.5 MB, 1 association", them, receiver, size, bench))
        return Outcome(COLUMNS, rows, _NOTE.format(rounds=size.rounds))


class Latency:
    """The node with four associations against dcmsend, on a long line."""

    name = "latency"

    def run(self, bench: Bench) -> Outcome:
        size = Size(5, 120) if bench.full else Size(2, 24)
        rows: list[Row] = []
        with peers.StoreSCP(bench.folder / "storescp") as receiver, contextlib.ExitStack() as stack:
            paths = senders.files(bench.folder / "files", _sample("files"), size.count)
            lines = {ms: stack.enter_context(Line(receiver.port, ms / 1000)) for ms in (20, 40)}
            ports = {f"FAR{ms}": line.port for ms, line in lines.items()}
            node = stack.enter_context(senders.forwarding(bench.folder / "node", ports, 4))
            for ms, line in lines.items():
                them: list[Sender] = [
                    senders.FromNode(node, f"FAR{ms}", _sample, 4),
                    senders.dcmsend(line.port, receiver.called, paths),
                ]
                if bench.full:
                    them.append(senders.OneStudy(node, f"FAR{ms}", _sample, 4))
                rows += _rows(f"0.5 MB, {ms} ms round trip", them, receiver, size, bench)
        return Outcome(COLUMNS, rows, _NOTE.format(rounds=size.rounds))


@contextlib.contextmanager
def _senders(folder: Path, receiver: peers.StoreSCP, size: Size) -> Iterator[list[Sender]]:
    there = (receiver.port, receiver.called)
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(senders.forwarding(folder / "node", {"FAR": receiver.port}, 1))
        known = {"far": (receiver.called, LOCAL, receiver.port)}
        orthanc = stack.enter_context(peers.Orthanc(folder / "orthanc", known))
        paths = senders.files(folder / "files", _sample("files"), size.count)
        yield [
            senders.FromNode(node, "FAR", _sample),
            senders.dcmsend(*there, paths),
            senders.storescu(*there, paths),
            senders.FromOrthanc(orthanc, "far", _sample),
            senders.stock(*there, paths),
        ]


def _sample(key: object) -> Sample:
    return samples.make_instances(1, size="large", seed=("forward", key))[0]


def _rows(
    case: str, them: Sequence[Sender], receiver: peers.StoreSCP, size: Size, bench: Bench
) -> Iterator[Row]:
    bench.say(case)
    runs = in_turns(them, size.rounds, lambda sender, number: measure(sender, receiver, size.count, number))
    for sender, its in zip(them, runs, strict=True):
        yield row(case, sender.name, its)


def measure(sender: Sender, receiver: peers.StoreSCP, count: int, number: int) -> Run:
    """Let `count` instances be sent, and see all of them arrive. LoadFailed: not all of them did."""
    count = round(count * sender.share)
    senders.clear(receiver.files)
    spent = sender.send(count, number, lambda: receiver.held() >= count)
    files = [path.stat() for path in receiver.files.iterdir()]
    if len(files) != count or len({file.st_size for file in files}) != 1:
        raise LoadFailed(f"{sender.name}: {len(files)} files arrived of {count}, or not all of them whole")
    arrivals = sorted(file.st_mtime_ns / 1e9 for file in files)
    return {"rate": rate(arrivals, sender.associations), "cpu": spent * 1000 / count}


def rate(arrivals: Sequence[float], associations: int) -> float:
    """Instances a second, the first of each association being the beginning of time."""
    return (len(arrivals) - associations) / (arrivals[-1] - arrivals[0])
