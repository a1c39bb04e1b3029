"""What this node is measured against: aims, each a bound on one figure, or on its ratio to a peer's in the same run.

A must holds whatever the machine does that day, since the yardstick met the same. What is missed wants a profile.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench import figures, ingest, move, peers, queue, workstations
from tests.bench.find import MILLION
from tests.bench.scenario import NODE, Outcome


@dataclass(frozen=True)
class Aim:
    """The `figure` of a case, over `peer`'s if one is named, is at least `bound`, or at the `most`."""

    scenario: str
    case: str
    figure: str
    bound: float
    peer: str = ""
    most: bool = False
    must: bool = False
    ours: str = NODE
    unit: str = ""

    @property
    def text(self) -> str:
        return f"{'≤' if self.most else '≥'} {self.bound:g}{'×' if self.peer else f' {self.unit}'}"


@dataclass(frozen=True)
class Verdict:
    """An aim, and what was measured."""

    aim: Aim
    value: float

    @property
    def met(self) -> bool:
        return self.value <= self.aim.bound if self.aim.most else self.value >= self.aim.bound

    def cells(self) -> tuple[str, ...]:
        aim, word = self.aim, "must" if self.aim.must else "aim"
        ours = aim.figure if aim.ours == NODE else f"{aim.figure} ({aim.ours})"
        value = figures.times(self.value) if aim.peer else f"{self.value:.2f} {aim.unit}"
        return (aim.scenario, aim.case, ours, aim.peer, f"{word} {aim.text}", value, "met" if self.met else "MISSED")

    def record(self) -> dict[str, Any]:
        return {**vars(self.aim), "value": round(self.value, 4), "met": self.met}


def _musts() -> Iterator[Aim]:
    for case, peer in itertools.product(ingest.CASES, (peers.Probe.name, peers.Yardstick.name)):
        yield Aim("ingest", str(case), "rate", 0.8, peer, must=True)
        yield Aim("ingest", str(case), "cpu", 1.3, peer, most=True, must=True)
    for figure in ("enqueue", "enqueue_commit", "claim", "claim_commit", "due"):
        yield Aim("queue", queue.CASE, figure, 2.0, queue.EMPTY, most=True, must=True)


_LARGE, _SMALL, _LARGE_ALONE, _SMALL_ALONE = (
    *("0.5 MB, 4 associations", "33 kB, 4 associations"),
    *("0.5 MB, 1 association", "33 kB, 1 association"),
)
AIMS = (
    *_musts(),
    Aim("ingest", _LARGE, "rate", 0.85, "storescp + sync"),
    Aim("ingest", _LARGE, "rate", 1.5, "Orthanc"),
    Aim("ingest", _LARGE, "cpu", 0.65, "Orthanc", most=True),
    Aim("ingest", _LARGE_ALONE, "rate", 0.5, "storescp"),
    Aim("ingest", _LARGE_ALONE, "rate", 1.8, "Orthanc"),
    Aim("ingest", _SMALL, "rate", 1.5, "Orthanc"),
    Aim("ingest", _SMALL_ALONE, "rate", 1.5, "Orthanc"),
    Aim("forward", "0.5 MB, 1 association", "rate", 1.0, "dcmsend"),
    Aim("forward", "0.5 MB, 1 association", "rate", 1.5, "Orthanc"),
    Aim("latency", "0.5 MB, 40 ms round trip", "rate", 3.5, "dcmsend"),
    Aim("latency", "0.5 MB, 40 ms round trip", "rate", 3.5, "dcmsend", ours="dicomnode, one study"),
    Aim("associations", "C-ECHO, one after the other", "cpu", 4, unit="ms", most=True),
    Aim("find", "by Patient ID, 3 matches", "p50", 0.167, "Orthanc", most=True),
    Aim("find", "*MAN* and one month, 6 matches", "p50", 0.2, "Orthanc", most=True),
    Aim("find", "one month of a modality, 20 matches", "p50", 0.167, "Orthanc", most=True),
    Aim("find", "by name prefix, 117 matches", "p50", 0.333, "Orthanc", most=True),
    Aim("find", "everything", "answers", 0.6, "Orthanc", must=True),
    Aim("find", "everything", "answers", 1.0, "Orthanc"),
    Aim("find", "everything", "growth", 8, unit="MB", most=True),
    Aim("find", "by Patient ID, 3 matches", "p50", 2.0, NODE, most=True, ours=MILLION),
    Aim("find", "*MAN* and one month, 6 matches", "p50", 20, unit="ms", most=True, ours=MILLION),
    Aim("find", "*MAN* and one month, 6 matches", "p99", 60, unit="ms", most=True, ours=MILLION),
    Aim("find", "one month of a modality, 20 matches", "p50", 20, unit="ms", most=True, ours=MILLION),
    Aim("find", "everything", "answers", 0.6, "Orthanc", must=True, ours=MILLION),
    Aim("find", "everything", "growth", 8, unit="MB", most=True, ours=MILLION),
    Aim("workstations", workstations.LISTS, "ratio", 0.8, unit="of the rate without"),
    Aim("workstations", workstations.LISTS, "ratio", 0.7, unit="of the rate without", ours=MILLION),
    Aim("move", move.CASE, "rate", 1.5, "Orthanc"),
    Aim("idle", "300 idle associations", "idle", 5, unit="% of a core", most=True),
    Aim("idle", "300 idle associations", "ratio", 0.9, unit="of the rate without"),
    Aim("memory", "large objects at once", "beyond", 16, unit="MB", most=True, ours="worst acceptor"),
    Aim("memory", "large objects at once", "pss", 350, unit="MB", most=True, ours="all processes"),
)


def verdicts(outcomes: Mapping[str, Outcome]) -> list[Verdict]:
    """One for each aim whose scenario, case and peer were measured."""
    judged = [(aim, _value(aim, outcomes[aim.scenario])) for aim in AIMS if aim.scenario in outcomes]
    return [Verdict(aim, value) for aim, value in judged if value is not None]


def _value(aim: Aim, outcome: Outcome) -> float | None:
    ours, theirs = outcome.row(aim.case, aim.ours), outcome.row(aim.case, aim.peer)
    if ours and theirs:
        return figures.ratio(ours.figures[aim.figure], theirs.figures[aim.figure])
    return ours.figures[aim.figure].median if ours and not aim.peer else None


def text(judged: list[Verdict]) -> str:
    """A table, and how many were met."""
    columns = ("scenario", "case", "figure", "over", "wanted", "node", "")
    rows = [verdict.cells() for verdict in judged]
    return f"{figures.table(columns, rows, words=5)}\n{sum(verdict.met for verdict in judged)} of {len(judged)} met"
