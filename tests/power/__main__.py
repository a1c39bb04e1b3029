"""The whole of the power cuts: `python -m tests.power [RECORDINGS]`, one by default; a few minutes each.

Every point of a recording with every variant of what was not synced; then the nodes that leave out a sync, each of
which must be found. Exit code 0 when nothing is lost, and everything was found.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.power import order
from tests.power.recording import record
from tests.power.replay import every, replay, synced
from tests.power.test_power import WEAK


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak power", description="Cut the power at every point.")
    parser.add_argument("recordings", nargs="?", type=int, default=1)
    wanted = parser.parse_args(arguments).recordings
    with tempfile.TemporaryDirectory(prefix="power-") as folder:
        sound = [is_sound(Path(folder) / str(number)) for number in range(wanted)]
        caught = [is_caught(Path(folder) / name, name) for name in WEAK]
    return 0 if all([*sound, *caught]) else 1


def is_sound(folder: Path) -> bool:
    """Whether a node as it is loses nothing; what was found is printed."""
    recording = record(folder)
    wrong = order.faults(recording)
    outcome = replay(recording, every)
    print(f"a node as it is: {outcome}, {len(wrong)} answers too early", flush=True)
    for text in (*wrong, *outcome.found):
        print(f"  {text}", flush=True)
    return not wrong and not outcome.found and outcome.promised == len(recording.sent)


def is_caught(folder: Path, weakness: str) -> bool:
    """Whether a node that leaves out a sync is found out."""
    recording = record(folder, weakness)
    wrong, outcome = order.faults(recording), replay(recording, synced)
    print(f"a node that {weakness.replace('-', ' ')}: {outcome}, {len(wrong)} answers too early", flush=True)
    return bool(wrong and outcome.found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
