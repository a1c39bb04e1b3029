"""What a scenario is, and what scenarios share: being handed a folder, taking runs in turns, reporting.

A run gives a figure to each of its scenario's columns by name; `rows` gathers the runs of a case as spreads, peer by
peer. Tables, JSON and the aims (aims.py) are made of rows alone, so a scenario has nothing to lay out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tests.bench import figures
from tests.bench.figures import Spread

NODE = "dicomnode"
"""The name of this node among the peers."""
Peer = TypeVar("Peer")
Run = Mapping[str, float]


@dataclass(frozen=True)
class Bench:
    """What a scenario is handed: how thorough to be, an empty folder for its servers' data, a line for who waits."""

    full: bool
    folder: Path
    lasting: Path
    """A folder that the scenarios of a run share, for what is dear to make."""
    say: Callable[[str], None]
    probe: Path | None = None
    """A script that is measured beside our own yardstick."""


@dataclass(frozen=True)
class Column:
    """A figure: its name in runs, rows and JSON, its heading, and the digits after the point."""

    name: str
    title: str
    digits: int = 0
    compared: bool = False
    """Whether the node's ratio to each peer is printed."""


@dataclass(frozen=True)
class Row:
    """What one peer did in one case, run by run."""

    case: str
    peer: str
    figures: Mapping[str, Spread]


@dataclass(frozen=True)
class Outcome:
    """What a scenario found."""

    columns: tuple[Column, ...]
    rows: Sequence[Row]
    note: str

    def row(self, case: str, peer: str) -> Row | None:
        return next((row for row in self.rows if (row.case, row.peer) == (case, peer)), None)

    def text(self) -> str:
        compared = [column for column in self.columns if column.compared]
        titles = [column.title for column in self.columns] + [f"node: {column.title}" for column in compared]
        lines = [[row.case, row.peer, *self._cells(row), *self._ratios(row, compared)] for row in self.rows]
        for line, above in zip(lines[:0:-1], lines[-2::-1], strict=True):
            line[0] = "" if line[0] == above[0] else line[0]
        return f"{figures.table(('', '', *titles), lines, words=2)}\n{self.note}"

    def _cells(self, row: Row) -> Iterator[str]:
        for column in self.columns:
            spread = row.figures.get(column.name)
            yield spread.text(column.digits) if spread else "–"

    def _ratios(self, row: Row, compared: Sequence[Column]) -> Iterator[str]:
        ours = self.row(row.case, NODE)
        for column in compared:
            if ours and ours is not row and column.name in row.figures:
                yield figures.times(figures.ratio(ours.figures[column.name], row.figures[column.name]))
            else:
                yield "–"

    def records(self) -> list[dict[str, Any]]:
        return [
            {"case": row.case, "peer": row.peer, **{name: spread.as_json() for name, spread in row.figures.items()}}
            for row in self.rows
        ]


class Scenario(Protocol):
    """One question about the node that figures can answer."""

    name: str

    def run(self, bench: Bench) -> Outcome:
        """Start what it needs, measure, end it. Any exception: there is no figure to trust."""


def in_turns(peers: Sequence[Peer], rounds: int, measure: Callable[[Peer, int], Run]) -> list[list[Run]]:
    """For each peer its runs: one of each in turn, `rounds` times, so that all meet the same machine.

    What one run left to write is on disk before the next begins. A warm-up is a caller's affair.
    """
    runs: list[list[Run]] = [[] for _ in peers]
    for number in range(rounds):
        for peer, kept in zip(peers, runs, strict=True):
            os.sync()
            kept.append(measure(peer, number))
    return runs


def row(case: str, peer: str, runs: Sequence[Run]) -> Row:
    """The runs of one peer as spreads, by the names of their figures."""
    return Row(case, peer, {name: Spread(tuple(run[name] for run in runs)) for name in runs[0]})
