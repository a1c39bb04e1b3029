"""What a scenario is, and what scenarios share: being handed a folder, taking runs in turns, reporting."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tests.bench import figures

Peer = TypeVar("Peer")
Run = TypeVar("Run")


@dataclass(frozen=True)
class Bench:
    """What a scenario is handed: how thorough to be, an empty folder for its servers' data, a line for who waits."""

    full: bool
    folder: Path
    say: Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a scenario found: the same figures as cells to print, and as records for JSON."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    records: list[dict[str, Any]]
    note: str

    def text(self) -> str:
        return f"{figures.table(self.columns, self.rows)}\n{self.note}"


class Scenario(Protocol):
    """One question about the node that figures can answer."""

    name: str

    def run(self, bench: Bench) -> Outcome:
        """Start what it needs, measure, end it. Any exception: there is no figure to trust."""


def in_turns(peers: Sequence[Peer], rounds: int, measure: Callable[[Peer, int], Run]) -> list[list[Run]]:
    """For each peer its runs: one of each in turn, `rounds` times, so that all meet the same machine.

    Round 0 goes before them, to warm up, and is dropped. What one run left to write is on disk before the next begins.
    """
    runs: list[list[Run]] = [[] for _ in peers]
    for number in range(rounds + 1):
        for peer, kept in zip(peers, runs, strict=True):
            os.sync()
            kept.append(measure(peer, number))
    return [kept[1:] for kept in runs]
