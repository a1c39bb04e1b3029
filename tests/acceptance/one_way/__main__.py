"""One way, with fresh worlds: `python -m tests.acceptance.one_way [WORLDS] [--seed N]`, a thousand by default.

Of four worlds one has a reverse path planted, which the check must name, and which a node that has not checked must
refuse. What was wrong is printed with the seed that makes the world again. Exit code 0 where nothing was. Ctrl-C ends
it with its figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from dicomnode.config import load
from dicomnode.errors import ConfigurationError
from dicomnode.operations import configure
from tests.acceptance.one_way import worlds
from tests.acceptance.one_way.live import CARRYING, Live


@dataclass
class Figures:
    """What all worlds came to."""

    driven: int = 0
    planted: int = 0
    studies: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = f"worlds driven: {self.driven}, of which planted: {self.planted}; studies: {self.studies}"
        return "\n".join([counts, f"wrong: {len(self.wrong)}", *self.wrong[:20]])


def sound(seed: int, all_: Figures) -> None:
    """Drive a world without a fault."""
    _drive(worlds.sound(seed), all_, unchecked=False)


def planted(seed: int, all_: Figures) -> None:
    """See that a planted fault is named; drive its world without the check, where something would be carried."""
    kind = list(worlds.PLANTS)[seed % len(worlds.PLANTS)]
    world = worlds.planted(seed, kind)
    all_.planted += 1
    try:
        configure.parse(json.dumps(world.config), Path("dicomnode.yaml"))
        all_.wrong.append(f"{seed} {kind}: was not found")
    except ConfigurationError as error:
        if ".".join(map(str, world.planted)) not in {fault.path for fault in error.faults}:
            all_.wrong.append(f"{seed} {kind}: found elsewhere: {error}")
    if kind in CARRYING:
        _drive(world, all_, unchecked=True)


def _drive(world: worlds.World, all_: Figures, *, unchecked: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="one-way-") as folder, contextlib.ExitStack() as stack:
        if unchecked:
            stack.enter_context(mock.patch.object(load, "contradictions", return_value=()))
        live = Live(world, Path(folder), load.parse if unchecked else configure.parse)
        all_.wrong += live.run()
        all_.driven += 1
        all_.studies += len(live.studies)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak oneway", description="Drive nodes of generated configurations.")
    parser.add_argument("worlds", nargs="?", type=int, default=1000)
    fresh = time.time_ns() % 10**9
    parser.add_argument("--seed", type=int, default=fresh, help="of the first world; default: a new one")
    given = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # of a refusal the node says so, and of these there are thousands
    figures = Figures()
    print(f"from seed {given.seed}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        for number in range(given.worlds):
            (planted if number % 4 == 3 else sound)(given.seed + number, figures)
            if number % 50 == 49:
                print(f"{number + 1} worlds: {len(figures.wrong)} wrong", flush=True)
    print(figures)
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
