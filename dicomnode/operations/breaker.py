"""The story of a lane: when it may run, when it pauses, and when what it carries is given up.

A partner that fails is left alone for a while that grows with how long it has failed, and is tried then with one
instance, of the study that was tried longest ago: what cannot go holds up no other. One that says that trying again
will not help is tried as seldom as can be, and a person is told. What could not go for `give_up_after` is held: only
time in which it might have gone counts, not that of a closed gate, a window, a hold, or a node that was off. Except for
`opens_at`, `furthest` and `given_up`, called inside `Database.write`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
from dataclasses import dataclass

from dicomnode.config import units
from dicomnode.config.model import Partner
from dicomnode.operations import refer
from dicomnode.operations.ports import Node
from dicomnode.rules import outcome, windows
from dicomnode.rules.outcome import Later, Scope
from dicomnode.store import audit, lanes, queue
from dicomnode.store.lanes import Pause
from dicomnode.store.queue import Batch

log = logging.getLogger(__name__)

_SHORT = 3
"""Studies in a row that a partner answers A7xxH before its lane pauses."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a batch ended: by a failure of the partner or its association, or well."""

    partner: Partner
    batch: Batch
    failure: Later | None
    answered: bool
    """Whether there was any response,"""
    took: bool
    """any that said delivered,"""
    short: bool
    """any that said out of resources."""


def opens_at(partner: Partner, node: Node, at: int) -> int:
    """When the window of a partner is open next (µs): `at` where it is, or where there is none."""
    if partner.window is None:
        return at
    return windows.opens_at(at, partner.window, node.config.site_of(partner).timezone)


def furthest(node: Node, now: int) -> int:
    """The latest time (µs) until which anything may have to wait for another attempt."""
    return outcome.furthest(now, node.config.node.limits.retry_most)


def given_up(partner: Partner, since: int, at: int, reason: str) -> str:
    """Why something that has failed since then (µs) is given up; '' where it is not yet."""
    if at - since < partner.give_up_after * 1e6:
        return ""
    return f"given up after {units.say_duration(partner.give_up_after)} in which it could not be delivered: {reason}"


def ended(ending: Ending, at: int, node: Node) -> list[str]:
    """Pause the lane of a partner that failed and took nothing, or let it run again; what a person must know."""
    failure = ending.failure if not ending.took else None
    reason = failure.reason if failure else ""
    if ending.short and not ending.took and not ending.failure:
        studies = lanes.short(ending.partner.name, ending.batch.study)
        if studies >= _SHORT or lanes.paused(ending.partner.name).failures:
            reason = f"out of resources ({studies} studies in a row)"
    elif ending.answered and not reason:
        lanes.resume(ending.partner.name, at)
    if not reason:
        return []
    known = lanes.paused(ending.partner.name)
    if failure and failure.scope is Scope.ASSOCIATION and not known.failures:
        lanes.pause(ending.partner.name, Pause(at, 1, reason, at))  # one instance may have done it: try another
        return []
    return _pause(ending, known, reason, at, node)


def _pause(ending: Ending, known: Pause, reason: str, at: int, node: Node) -> list[str]:
    partner, limits = ending.partner, node.config.node.limits
    claimed_at = ending.batch.transfers[0].claimed_at
    idle = max(0, claimed_at - known.until) if known.failures else 0
    since = known.since if known.failures else at
    slow = ending.failure is not None and ending.failure.slow
    first = limits.retry_most if slow else limits.retry_first
    until = outcome.next_attempt_at(at, since, first, limits.retry_most, random.random())
    lanes.pause(partner.name, Pause(until, known.failures + 1, reason, since))
    lost = ending.failure is not None and ending.failure.scope is Scope.ASSOCIATION
    only = ending.batch.referral if lost else None  # another study may do better
    lanes.failed(partner.name, at, idle, only)
    log.warning("lane=%s paused: %s", partner.display, reason)
    alarms = _give_up(partner, reason, only, at, node)
    if slow and known.reason != reason:
        text = f"{reason}; somebody must put that right, here or there: then `dicomnode queue retry --partner"
        alarms.append(f"{text} {partner.name}`")
        _record("partner rejects us", alarms[-1], partner, at, node, alarm=True)
    elif known.until <= known.since:  # it ran until now
        _record("lane paused", f"the lane of {partner.name} waits: {reason}", partner, at, node)
    return alarms


def _give_up(partner: Partner, reason: str, only: int | None, at: int, node: Node) -> list[str]:
    before = at - round(partner.give_up_after * 1e6)
    held = lanes.give_up(partner.name, before, given_up(partner, before, at, reason), only)
    for referral, count in held.items():
        refer.record(referral, "transfers given up", f"{count} instances are held: {reason}", at, node, alarm=True)
        refer.settle(referral, at, node)
    if not held:
        return []
    what = f"given up {held.total()} instances of {len(held)} studies: {reason}"
    return [f"{what}; `dicomnode queue retry --partner {partner.name}` sends them again"]


def _record(kind: str, text: str, partner: Partner, at: int, node: Node, *, alarm: bool = False) -> None:
    audit.record(audit.Event(at, kind, text, partner.name, generation=node.generation, alarm=alarm))


# -- another configuration -------------------------------------------------------------------------------------


def reconsider(node: Node) -> int:
    """What a partner's configuration kept from going is tried again where that has changed; how many. Writes itself."""
    at = node.clock()

    def reconsidered() -> int:
        partners = [partner for partner in node.config.partners.values() if partner.is_destination]
        changed = [each for each in partners if lanes.configured(each.name, _digest(each, node), at)]
        return sum(queue.reconsider(partner.name, at) for partner in changed)

    return node.database.write(reconsidered)


def _digest(partner: Partner, node: Node) -> str:
    """Of all that a partner may like or dislike about our configuration."""
    known = partner.model_dump(mode="json") | {"may": sorted(partner.may), "calling": node.config.node.ae_title}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
