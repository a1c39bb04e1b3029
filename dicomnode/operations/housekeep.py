"""The story of what nobody asks for: what has come whole goes on, and what the dead have left is put in order.

`tidy` is one round of it, cheap when there is nothing to do; `rest` tells when the next is due. `look_back` compares
the files since the last time with the index: files without a row are adopted, damaged or missing ones are an alarm.
`recover_all` does that too, once, before anybody may call, and removes the parts that the last run left.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from contextlib import suppress

from dicomnode.operations import commit, complete, confirm, failover, recall, receive, refer, scrub
from dicomnode.operations.ports import Callers, Node
from dicomnode.store import gates, recover, referrals
from dicomnode.store.recover import Found

_PATIENCE = 10.0
"""Seconds that a start waits for the last workers of a node that was killed."""
SETTLED = 600.0
"""Seconds after which a kept file that has no row is in nobody's hands any more: far beyond any patience."""

log = logging.getLogger(__name__)


def tidy(node: Node, callers: Callers) -> int:
    """One round: what has come whole is complete, what waits for somebody who fails too long is passed on, what dead
    workers had claimed is taken back; how many were buried.
    """
    completed = complete.complete(node, callers)
    if completed:
        log.info("complete referrals=%d", completed)
    failover.pass_on(node)
    confirm.set_back(node)
    commit.set_back(node)
    recall.set_back(node)
    return len(_bury_all(node))


def rest(node: Node, callers: Callers) -> float:
    """Seconds until the next round has something to do, if nobody commits anything; inf where nothing is waited for."""
    look = complete.next_look(node, callers)
    return math.inf if look is None else max(0.0, (look - node.clock()) / 1e6)


def _bury_all(node: Node) -> list[int]:
    """For each dead worker how many parts it left."""
    parts = [_bury(worker, node) for worker in recover.dead_workers(node.archive)]
    return parts + [_bury(worker, node) for worker in recover.forgotten(node.archive, node.database)]


def strand(node: Node) -> None:
    """Hold what is on its way to a partner that this configuration has not, or cannot call: nobody would send it."""
    config, at = node.config, node.clock()
    known = [name for name, partner in config.partners.items() if partner.is_destination]

    def stranded() -> list[str]:
        held = [each for each in map(referrals.get, gates.strand(known)) if each]
        for each in held:
            refer.record(each.id, "referral held", gates.no_partner(each.partner), at, node)
        return [each.partner for each in held]

    for partner, count in Counter(node.database.write(stranded)).items():
        log.warning("held referrals=%d: %s", count, gates.no_partner(partner))
    recall.strand(node)


def _bury(worker: str, node: Node) -> int:
    """Return a dead worker's claims to the queue, and remove what it had not finished receiving: how many parts.

    A move that it was making has ended: nobody else settles its referral.
    """
    claims, parts = recover.bury(worker, node.archive, node.database)
    _settle_all(node)
    if claims or parts:
        log.warning("worker=%s is dead: claims=%d returned parts=%d removed", worker, claims, parts)
    return parts


def recover_all(node: Node) -> Found:
    """Put a data folder in order that a kill or a power cut may have left anyhow; what was found."""
    recover.wait_for_workers(node.archive, _PATIENCE)
    parts = sum(_bury_all(node)) + recover.clear_parts(node.archive)
    found = look_back(node, parts)
    _settle_all(node)
    return found


def _settle_all(node: Node) -> None:
    """See which referrals have been sent: a move that was killed settled nothing."""
    at = node.clock()

    def settled() -> None:
        for referral in referrals.unsettled():
            refer.settle(referral, at, node)

    node.database.write(settled)


def look_back(node: Node, parts: int = 0, age: float = 0.0) -> Found:
    """Adopt the files of at least that age (seconds) that have no row, and look whether the others are as received.

    All since the last time are looked at, and the next time, at a start too, it is those since this one.
    """
    at = node.clock()
    orphans = [file for file in recover.orphans(node.archive, node.database, at) if _is_old(file, age, node)]
    adopted = sum(1 for file in orphans if receive.adopt(file, node))
    damaged = recover.damaged(node.archive, node.database, at)
    for kept, wrong in damaged:
        scrub.note(kept, wrong, node)
    found = Found(adopted, parts, len(damaged))
    node.database.write(lambda: recover.record(found, at))
    return found


def _is_old(file: str, age: float, node: Node) -> bool:
    """Whether a file was given its name so long ago; a living worker may be about to index one that is younger."""
    with suppress(FileNotFoundError):
        return not age or node.archive.path(file).stat().st_ctime <= node.clock() / 1e6 - age
    return False
