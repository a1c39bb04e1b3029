"""Properties tried for a stretch of time, in rounds that a number begins again: hypothesis under a clock.

A round is hypothesis with the seed `first + n`, and no database, so that its number is all that is needed to see the
same examples again. `DICOMNODE_FUZZ_SEED` chooses the first number; otherwise it is taken from the clock.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.mutations import tapes

VARIABLE = "DICOMNODE_FUZZ_SEED"


def first_seed() -> int:
    """The seed of the first round."""
    return int(os.environ.get(VARIABLE) or time.time_ns() // 1_000_000)


def for_seconds(
    seconds: float,
    first: int,
    holds: Callable[[bytes], None],
    *,
    examples: int = 200,
    after: Callable[[], None] = lambda: None,
    shrink: bool = True,
) -> int:
    """Try `holds` with tapes, and call `after` once a round, until the time is over; how many were tried.

    What fails is raised with the seed that leads there. `shrink`: look for the smallest example, which takes that the
    same example fails again.
    """
    end, tried = time.monotonic() + seconds, 0
    for number in itertools.count(first):
        try:
            _round(number, holds, examples, shrink)
            after()
        except Exception as error:
            error.add_note(f"seed {number}: {VARIABLE}={number} begins with it")
            raise
        tried += examples
        if time.monotonic() > end:
            return tried
    return tried


def _round(number: int, holds: Callable[[bytes], None], examples: int, shrink: bool) -> None:
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    @given(tapes)
    def one_round(tape: bytes) -> None:
        holds(tape)

    one_round()
