"""Measure and print: `python -m tests.bench`, with the options that `--help` tells.

Exit code 0, or 1 with the reason where a figure could not be trusted; 2 for usage.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import aims, machine
from tests.bench.associations import Associations
from tests.bench.find import Find
from tests.bench.forward import Forward, Latency
from tests.bench.idle import Idle
from tests.bench.ingest import Ingest
from tests.bench.load import LoadFailed
from tests.bench.memory import Memory
from tests.bench.move import Move
from tests.bench.queue import Queue
from tests.bench.scenario import Bench, Outcome, Scenario
from tests.bench.workstations import Workstations

_ALL: tuple[Scenario, ...] = (
    *(Ingest(), Forward(), Latency(), Associations(), Find(), Workstations(), Move(), Idle(), Memory(), Queue()),
)
SCENARIOS = {scenario.name: scenario for scenario in _ALL}


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended as for Ctrl-C
    with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.folder) as folder:
        machine.spread(Path(folder))
        facts = machine.facts(Path(folder))
        print("   ".join(f"{name}: {value}" for name, value in facts.items()))
        bench = Bench(chosen.full, Path(folder), Path(folder), lambda line: print(line, file=sys.stderr), chosen.probe)
        try:
            outcomes = {name: _run(name, bench) for name in chosen.only or SCENARIOS}
        except (LoadFailed, AssertionError, FileNotFoundError) as error:
            print(f"no figures: {error}", file=sys.stderr)
            return 1
    judged = aims.verdicts(outcomes)
    print(f"\nthe node’s aims\n\n{aims.text(judged)}")
    if chosen.json:
        chosen.json.write_text(json.dumps(_report(facts, chosen.full, outcomes, judged), indent=1) + "\n")
    return 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure the node against DCMTK and Orthanc.")
    parser.add_argument("--full", action="store_true", help="more and longer runs")
    parser.add_argument("--only", action="append", choices=SCENARIOS, metavar="SCENARIO", help="%(choices)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--folder", type=Path, help="keep the servers' data below it: choose the disk to measure")
    parser.add_argument("--probe", type=Path, metavar="FILE", help="a script to ingest beside our yardstick")
    chosen = parser.parse_args(arguments)
    for folder in (chosen.json and chosen.json.parent, chosen.folder):  # known now, not after two minutes
        if folder and not folder.is_dir():
            parser.error(f"there is no folder {folder}")
    return chosen


def _run(name: str, bench: Bench) -> Outcome:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        outcome = SCENARIOS[name].run(replace(bench, folder=Path(folder)))
    print(f"\n{name} ({time.monotonic() - began:.0f} s)\n\n{outcome.text()}")
    return outcome


def _report(
    facts: dict[str, str], full: bool, outcomes: dict[str, Outcome], judged: list[aims.Verdict]
) -> dict[str, object]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "full": full,
        "machine": facts,
        "scenarios": {name: outcome.records() for name, outcome in outcomes.items()},
        "aims": [verdict.record() for verdict in judged],
    }


if __name__ == "__main__":
    sys.exit(main())
