"""What people who look for studies cost those who send them: ingest beside 20 workstations, over that without them.

They ask for lists with what is counted: a month of 10,000 studies, a day of 1,000,000. `lists`: each every two seconds,
as workstations do that keep their list fresh. `no rest`: each as soon as it has its answer.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection

from tests.bench import find, hoard, ingest
from tests.bench.asking import Archive, Workstation
from tests.bench.find import LARGE, MILLION, SMALL
from tests.bench.load import LoadFailed
from tests.bench.scenario import NODE, Bench, Column, Outcome, Row, Run, in_turns, row

LISTS, NO_REST = "20 workstations, lists", "20 workstations, no rest"
CASE = ingest.Case("33 kB", 128, 1600, 4)
COLUMNS = (
    Column("rate", f"{CASE}: instances/s"),
    Column("ratio", "over that without", 2),
    Column("answers", "answers/s meanwhile"),
)
_COUNT = 20
_PAUSE = {LISTS: 2.0, NO_REST: 0.0}
"""Seconds between an answer and the next question."""
_SHARE = {LISTS: 1.0, NO_REST: 0.25}
"""Of the instances that are sent."""
_NOTE = """Medians (lowest–highest) of {rounds} runs; what is sent without workstations comes first in each."""


class Workstations:
    """Instances a second, and what is left of the rate without anybody who asks."""

    name = "workstations"

    def run(self, bench: Bench) -> Outcome:
        rounds = 5 if bench.full else 3
        rows: list[Row] = []
        for name, count in {NODE: SMALL, MILLION: LARGE}.items() if bench.full else [(NODE, SMALL)]:
            with find.hoarding(bench, count) as node:
                rows += _rows(Archive(name, node, "RAD_WS", count), rounds, bench)
        return Outcome(COLUMNS, rows, _NOTE.format(rounds=rounds))


def _rows(archive: Archive, rounds: int, bench: Bench) -> Iterator[Row]:
    ingest.measure(archive.server, CASE, 40, -1)  # to warm up
    for number, (case, pause) in enumerate(_PAUSE.items()):
        bench.say(f"workstations: {case}")
        asked = questions(archive.studies, pause)
        count = CASE.times(_SHARE[case])
        (runs,) = in_turns([archive], rounds, partial(measure, asked, count, number * rounds))
        yield row(case, archive.name, runs)


@dataclass(frozen=True)
class Asked:
    """What one workstation asks, how many answers that has, and the seconds that it rests after them, and at first."""

    identifier: bytes
    answers: int
    pause: float
    first: float


def questions(count: int, pause: float) -> list[Asked]:
    """One for each workstation; they do not begin together."""
    spans = Counter(study.date[:6] if count == SMALL else study.date for study in hoard.studies(count))
    some = sorted(spans)[:: len(spans) // _COUNT][:_COUNT]
    return [
        Asked(
            find.listing(StudyDate=find.month(span) if count == SMALL else span),
            *(spans[span], pause, pause * number / _COUNT),
        )
        for number, span in enumerate(some)
    ]


def measure(asked: Sequence[Asked], count: int, earlier: int, archive: Archive, number: int) -> Run:
    """Ingest without them, and with them, after `earlier` runs. LoadFailed: somebody's answers were not all there."""
    first = 4 * (earlier + number)
    without = _rate(archive, count, first)
    with asking(archive, asked) as told:
        began = time.monotonic()
        rate = _rate(archive, count, first + 2)
        told.send("enough")
        answers = told.recv() / (time.monotonic() - began)
    return {"rate": rate, "ratio": rate / without, "answers": answers}


def _rate(archive: Archive, count: int, number: int) -> float:
    """Instances a second, once the server is warm."""
    ingest.measure(archive.server, CASE, CASE.times(count / CASE.count / 8), number)
    return ingest.measure(archive.server, CASE, count, number + 1)["rate"]


@contextmanager
def asking(archive: Archive, asked: Sequence[Asked]) -> Iterator[Connection]:
    """In a process of their own, each over an association that is open on entry: who is told, and says how many."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(archive, asked, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        assert ours.recv() == "asking"
        yield ours
        process.join(60)
        if process.exitcode:
            raise LoadFailed("a workstation did not get all its answers")
    finally:
        process.terminate()
        process.join()


def _child(archive: Archive, asked: Sequence[Asked], pipe: Connection) -> None:
    """Ask until a word comes, and say how many answers there were."""
    enough = threading.Event()
    with ExitStack() as stack, ThreadPoolExecutor(len(asked)) as pool:
        workstations = [stack.enter_context(Workstation(archive)) for _ in asked]
        busy = [pool.submit(_ask, *each, enough) for each in zip(workstations, asked, strict=True)]
        pipe.send("asking")
        pipe.recv()
        enough.set()
        pipe.send(sum(each.result() for each in busy))


def _ask(workstation: Workstation, asked: Asked, enough: threading.Event) -> int:
    answers = 0
    enough.wait(asked.first)
    while not enough.is_set():
        got, _ = workstation.ask(asked.identifier)
        if got != asked.answers:
            raise LoadFailed(f"{got} answers came, and there are {asked.answers}")
        answers += got
        enough.wait(asked.pause)
    return answers
