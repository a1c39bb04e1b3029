"""A thousand kills: `python -m tests.acceptance.marathon [KILLS] [--kept INSTANCES]`, half an hour or so.

Twenty associations receive, the forwarder carries and proves, and processes are killed at random points: acceptors, the
forwarder, the supervisor, or all at once. The public AE loses one instance in a hundred after it has answered 0000H.
After each round of kills the reckoning of what its senders were promised, and at the end the figures. `--kept`: so many
instances are in the archive before it begins. Ctrl-C ends it with its figures. Exit code 0 where nothing is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.altered import environment
from tests.acceptance.archive import Archive
from tests.acceptance.flow import Flow, Kill, at_once, losses
from tests.acceptance.hoard import hoard
from tests.integration.kit import rows
from tests.node import Node, changed

_SENDERS, _INSTANCES, _KILLS = 20, 500, 10
_ROLES = ["acceptor"] * 7 + ["forwarder"] * 6 + ["supervisor"] * 4 + ["node"] * 3
_PATIENCE = 90.0
_LONGEST = 5.0
"""Seconds that a recovery may take."""


@dataclass
class Reckoning:
    """What all rounds came to."""

    kills: list[Kill] = field(default_factory=list)
    acknowledged: int = 0
    repeated: int = 0
    """Instances that came to the partner more than once."""
    resent: int = 0
    """Instances that the partner had lost, and has."""
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        hits = sum(kill.hit for kill in self.kills)
        lost, lacking = self._count("not in the index", "not as it was sent", "never carried"), self._count("confirmed")
        return "\n".join(
            [
                f"kills: {len(self.kills)}, of which {hits} hit instances in receipt and in delivery",
                f"acknowledged: {self.acknowledged}; came more than once: {self.repeated}; sent again: {self.resent}",
                f"acknowledged and missing: {lost}",
                f"reported confirmed and not at the partner: {lacking}",
                f"other faults: {len(self.faults) - lost - lacking}",
                f"longest recovery: {self.longest:.1f} s",
                *self.faults[:20],
            ]
        )

    def _count(self, *kinds: str) -> int:
        return sum(fault.startswith(kinds) for fault in self.faults)

    @property
    def longest(self) -> float:
        """Seconds from the kill of a node or its supervisor until it answered again."""
        return max((kill.seconds for kill in self.kills if kill.role in ("node", "supervisor")), default=0.0)


def run(folder: Path, wanted: int, kept: int, seed: int, all_: Reckoning) -> None:
    """So many kills in rounds, on one node; `all_` is right after each round."""
    chance = random.Random(seed)
    with Archive(chance) as partner, _node(folder, partner, kept) as node:
        while len(all_.kills) < wanted:
            count = min(_KILLS, wanted - len(all_.kills))
            number = len(all_.kills) // _KILLS
            flow = Flow(node, partner, folder, _INSTANCES, senders=_SENDERS, seed=(seed, number))
            kills = list(_round(flow, chance.choices(_ROLES, k=count), chance))
            found = losses(node, partner, [flow], timeout=_PATIENCE) + unconfirmed(node, flow)
            found += [f"confirmed: {uid}" for uid in confirmed(node) - partner.has]
            all_.kills += kills
            all_.faults += found
            all_.acknowledged += sum(len(sender.journal.acknowledged()) for sender in flow.senders)
            all_.repeated, all_.resent = partner.repeated, partner.lost - len(partner.lacks)
            print(f"{len(all_.kills)} kills: {found or 'nothing missing'}", flush=True)


def _round(flow: Flow, roles: list[str], chance: random.Random) -> Iterator[Kill]:
    """Kill once in each of as many equal stretches of the flow."""
    stretch = _INSTANCES // (len(roles) + 1)
    flow.start()
    for number, role in enumerate(roles):
        flow.wait_for(number * stretch + chance.randrange(stretch))
        yield flow.kill(role)
    flow.finish()


def confirmed(node: Node) -> set[str]:
    """What the node reports as confirmed by the partner."""
    sql = "SELECT i.sop_instance_uid AS uid FROM transfers t JOIN instances i ON i.id = t.instance"
    whole = "t.referral IN (SELECT id FROM referrals WHERE progress = 'confirmed')"
    return {row["uid"] for row in rows(node, f"{sql} WHERE t.confirmed_at IS NOT NULL OR {whole}")}


def unconfirmed(node: Node, flow: Flow) -> list[str]:
    """The study, where the partner's word for it is not known in time."""
    sql = "SELECT r.progress FROM referrals r JOIN studies s ON s.id = r.study WHERE s.study_instance_uid = ?"
    end = time.monotonic() + _PATIENCE
    while (progress := [row["progress"] for row in rows(node, sql, flow.study)]) != ["confirmed"]:
        if time.monotonic() > end:
            return [f"never proven: {flow.study} is {progress}"]
        time.sleep(0.1)
    return []


@contextmanager
def _node(folder: Path, partner: Archive, kept: int) -> Iterator[Node]:
    config = changed(at_once(partner), {"node": {"acceptors": 2}, "partners": {"PUBPACS": {"associations": 4}}})
    node = Node(folder / "node", config, module="tests.acceptance.altered", env=environment("hurries"))
    if kept:
        hoard(node.file, kept)
    try:
        yield node.start(60)
    finally:
        node.kill_all()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak kills", description="Kill the node at random points.")
    parser.add_argument("kills", nargs="?", type=int, default=1000)
    parser.add_argument("--kept", type=int, default=0, help="instances in the archive before it begins")
    parser.add_argument("--seed", type=int, default=20260131)
    given = parser.parse_args(arguments)
    reckoning = Reckoning()
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="kills-") as folder:
        run(Path(folder), given.kills, given.kept, given.seed, reckoning)
    print(reckoning)
    return 1 if reckoning.faults or reckoning.longest > _LONGEST else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
