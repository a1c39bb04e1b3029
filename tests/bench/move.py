"""How fast a study is fetched: a C-MOVE of 400 images of 0.5 MB to a storescp, from this node and from Orthanc.

Both have the study in their archives, and send it to the same storescp. Timed by who asked, from the C-MOVE-RQ to the
final response, which has to count every image as completed; and every image has to be there, whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests import samples, wire
from tests.bench import cpu, peers, senders
from tests.bench.load import LoadFailed
from tests.bench.scenario import Bench, Column, Outcome, Run, in_turns, row
from tests.node import LOCAL
from tests.samples import Sample
from tests.upper_layer import EXPLICIT_LE, STUDY_ROOT_MOVE

COUNT = 400
CASE = f"{COUNT} × 0.5 MB to storescp"
COLUMNS = (
    Column("rate", "instances/s", 1, compared=True),
    Column("megabytes", "MB/s", 1),
    Column("cpu", "CPU ms/inst.", 2, compared=True),
)
_REST = 0.1
"""Seconds in which a server may still write down what it did."""
_NOTE = """Medians (lowest–highest) of {rounds} runs in turns."""


@dataclass(frozen=True)
class Archive:
    """A server that has the study, and who asks it."""

    server: peers.Server
    calling: str
    study: Sample


class Move:
    """Instances a second and the server's CPU an instance."""

    name = "move"

    def run(self, bench: Bench) -> Outcome:
        rounds = 7 if bench.full else 3
        with peers.StoreSCP(bench.folder / "storescp") as receiver, _archives(bench, receiver) as archives:
            runs = in_turns(archives, rounds, lambda archive, _: measure(archive, receiver))
        rows = [row(CASE, archive.server.name, its) for archive, its in zip(archives, runs, strict=True)]
        return Outcome(COLUMNS, rows, _NOTE.format(rounds=rounds))


@contextmanager
def _archives(bench: Bench, receiver: peers.StoreSCP) -> Iterator[list[Archive]]:
    study = samples.make_instances(1, size="large", seed="move")[0]
    workstation = {"RAD_WS": {"port": receiver.port, "ae_title": receiver.called}}
    known = {"ws": (receiver.called, LOCAL, receiver.port)}
    with ExitStack() as stack:
        node = stack.enter_context(peers.ThisNode(bench.folder / "node", {"partners": workstation}))
        orthanc = stack.enter_context(peers.Orthanc(bench.folder / "orthanc", known))
        bench.say(f"move: {COUNT} instances are stored")
        for server in (node, orthanc):
            senders.ingest(server, server.called, [study], COUNT)
        bench.say("move: they are fetched")
        yield [Archive(node, receiver.called, study), Archive(orthanc, orthanc.calling, study)]


def measure(archive: Archive, receiver: peers.StoreSCP) -> Run:
    """Fetch the study once. LoadFailed: not all of it arrived, or the counts of the answer are wrong."""
    senders.clear(receiver.files)
    server, contexts = archive.server, [(STUDY_ROOT_MOVE, [EXPLICIT_LE])]
    keys = samples.identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=archive.study.study)
    with wire.Association(LOCAL, server.port, server.called, archive.calling, contexts, timeout=120) as association:
        before, began = cpu.spent(server.pid), time.monotonic()
        final = association.move(STUDY_ROOT_MOVE, keys, receiver.called)[-1]
        seconds = time.monotonic() - began
        time.sleep(_REST)
        spent = cpu.spent(server.pid) - before
    sizes = {path.stat().st_size for path in receiver.files.iterdir()}
    if (final["status"], final["completed"], receiver.held(), len(sizes)) != (0, COUNT, COUNT, 1):
        raise LoadFailed(f"{server.name} answered {final}, and {receiver.held()} arrived in {len(sizes)} sizes")
    return {
        "rate": COUNT / seconds,
        "megabytes": COUNT * len(archive.study.dataset) / 1e6 / seconds,
        "cpu": spent * 1000 / COUNT,
    }
