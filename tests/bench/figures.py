"""The arithmetic and the layout of what is printed: spreads, ratios of interleaved runs, aligned text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The same figure from several runs."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def as_json(self) -> dict[str, object]:
        """Median, extremes, and every run in its order."""
        runs = [round(value, 4) for value in self.values]
        return {"median": round(self.median, 4), "min": min(runs), "max": max(runs), "runs": runs}

    def text(self, digits: int = 0) -> str:
        """`102 (98–110)`: the median, and the extremes; a single run as it is."""
        if len(self.values) == 1:
            return f"{self.median:.{digits}f}"
        low, high = min(self.values), max(self.values)
        return f"{self.median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def ratio(ours: Spread, theirs: Spread) -> float | None:
    """The median of ours / theirs, run by run, since runs that follow each other met the same machine.

    None where one of theirs is 0, which no clock could tell from a little.
    """
    if not all(theirs.values):
        return None
    return statistics.median(a / b for a, b in zip(ours.values, theirs.values, strict=True))


def times(value: float | None) -> str:
    """A ratio as text."""
    return "–" if value is None else f"{value:.2f}×"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Plain text under a header: so many columns of words to the left, all others, which are figures, to the right."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [columns, ["─" * width for width in widths], *rows]
    return "\n".join(_line(line, widths, words) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int], words: int) -> str:
    padded = list(zip(cells, widths, strict=True))
    left, right = padded[:words], padded[words:]
    return "  ".join([*(c.ljust(width) for c, width in left), *(c.rjust(width) for c, width in right)]).rstrip()
