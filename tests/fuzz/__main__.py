"""Fuzz the wire for a while: `python -m tests.fuzz [MINUTES]`. The seed is printed; DICOMNODE_FUZZ_SEED chooses it.

A tenth of the time is the message assembly's alone; the node gets the rest, and is started afresh every five minutes.
Exit code 0 when nothing was found.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import assembly, rounds
from tests.fuzz.live import fuzzed

_LIFE = 300.0
"""Seconds that one node lives."""
_APART = 1_000_000
"""More rounds than a node lives to see."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Fuzz the node's wire.")
    parser.add_argument("minutes", nargs="?", type=float, default=60.0)
    seconds = parser.parse_args(arguments).minutes * 60
    first = rounds.first_seed()
    print(f"{rounds.VARIABLE}={first}", flush=True)
    tried = alone(seconds / 10, first)
    print(f"{tried} conversations and requests were taken apart", flush=True)
    end = time.monotonic() + seconds * 0.9
    while (left := end - time.monotonic()) > 0:
        print(f"a node from {rounds.VARIABLE}={first}", flush=True)
        print(f"{talked_to(min(left, _LIFE), first)} conversations with it", flush=True)
        first += _APART
    return 0


def alone(seconds: float, first: int) -> int:
    """The assembly in this process: how many conversations and requests were tried."""
    tried = rounds.for_seconds(seconds / 2, first, assembly.is_sound)
    return tried + rounds.for_seconds(seconds / 2, first, assembly.is_read_or_refused)


def talked_to(seconds: float, first: int) -> int:
    """A node of its own, over sockets: how many conversations it had."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, fuzzed(Path(folder)) as node:
        return rounds.for_seconds(seconds, first, node.hears, after=node.is_well, shrink=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
