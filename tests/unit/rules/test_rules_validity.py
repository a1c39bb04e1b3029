"""rules/validity.py: the distances before an end at which a person is told."""

from __future__ import annotations

import pytest

from dicomnode.rules import validity

DAY = 86_400_000_000
END = 1000 * DAY


@pytest.mark.parametrize(
    ("left", "step"),
    [
        (31 * DAY, None),
        (30 * DAY + 1, None),
        (30 * DAY, 30),
        (14 * DAY + 1, 30),
        (14 * DAY, 14),
        (7 * DAY + 1, 14),
        (7 * DAY, 7),
        (DAY + 1, 7),
        (DAY, 1),
        (1, 1),
        (0, 0),
        (-DAY, 0),
    ],
)
def test_the_nearest_distance(left: int, step: int | None) -> None:
    assert validity.step(END, END - left) == step
