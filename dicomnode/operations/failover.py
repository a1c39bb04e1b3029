"""The story of a partner that has failed for too long, where a route names others that may take its place.

What waits for it is dropped there, with a reason, and referred to the next of the group, in one commit: a kill leaves
it all with the one or all with the other. What was delivered stays, and is proven, where it is. Nothing is passed on to
one that fails as long; where all do, everything waits where it is. The first study that comes once the failed one is to
be tried again goes to it: when that is answered, so do all the others.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from dicomnode.config import units
from dicomnode.config.model import Route
from dicomnode.operations import refer
from dicomnode.operations.ports import Node
from dicomnode.rules import routing
from dicomnode.store import lanes, passing, referrals
from dicomnode.store.passing import Waiting
from dicomnode.store.referrals import Opening

log = logging.getLogger(__name__)

_AT_ONCE = 50
"""The most referrals that are passed on in one commit, which nobody else can write during."""


@dataclass(frozen=True, slots=True)
class _Passing:
    """Who of a route's group is out, who takes its place, and why."""

    route: Route
    partner: str
    successor: str
    why: str


def pass_on(node: Node) -> int:
    """Pass on what waits for partners of a group that are out; how many referrals. Costs little where none is."""
    groups = [route for route in node.config.routes if route.among != "all"]
    if not groups:
        return 0
    at = node.clock()
    with node.database.read():
        found = [each for route in groups for each in _passings(route, at, node) if passing.waiting(*_of(each), 1)]
    return sum(_pass_all(each, node) for each in found)


def _of(it: _Passing) -> tuple[str, str]:
    return it.partner, it.route.name


def _passings(route: Route, at: int, node: Node) -> list[_Passing]:
    gone = refer.out(route, at, node)
    found = []
    for name in (name for name in route.to if name in gone):
        successor, lane = routing.successor(route, name, gone), lanes.paused(name)
        if successor:
            failed = units.say_duration(max(60, (at - lane.since) // 60_000_000 * 60))
            found.append(_Passing(route, name, successor, f"{name} has failed for {failed} ({lane.reason})"))
    return found


def _pass_all(it: _Passing, node: Node) -> int:
    """As many as there are now, a commit for every few; those that cannot be passed on are not offered again."""
    total = 0
    while count := node.database.write(lambda: _pass_some(it, node)):
        total += count
    log.warning("passed on referrals=%d route=%s to=%s: %s", total, it.route.name, it.successor, it.why)
    return total


def _pass_some(it: _Passing, node: Node) -> int:
    at = node.clock()
    if it.partner not in refer.out(it.route, at, node):  # it has answered meanwhile
        return 0
    waiting = passing.waiting(*_of(it), _AT_ONCE)
    for each in waiting:
        _pass(each, it, at, node)
    return len(waiting)


def _pass(left: Waiting, it: _Passing, at: int, node: Node) -> None:
    why = f"goes to {it.successor} instead: {it.why}"
    instances = passing.take(left.referral, why, at)
    opening = Opening(it.successor, it.route.name, left.wait, node.generation, urgent=left.urgent)
    known = referrals.find(left.study, it.successor)
    taken = referrals.join(known[0], opening, at) if known else referrals.open_(left.study, opening, at)
    passing.inherit(taken, left)
    refer.queue_for(taken, it.successor, instances, at, node)
    referrals.settle(left.referral, at)
    passing.left(left.referral, why)
    refer.record(left.referral, "referral passed on", f"{len(instances)} instances: {why}", at, node)
    kind = "referral joined" if known else "referral opened"
    refer.record(taken, kind, f"route {it.route.name} refers the study to {it.successor}: {it.why}", at, node)
