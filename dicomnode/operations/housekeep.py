"""The story of what nobody asks for: referrals that have become complete, work of the dead, the log of the index.

`tidy` is one round of it, cheap when there is nothing to do; `rest` tells when the next is due. `recover_all` runs
once, before anybody may call, and finds what the last run left: unfinished parts go, files without a row are adopted,
rows without a file are an alarm.
"""

from __future__ import annotations

import logging
import math

from dicomnode.operations import receive, refer
from dicomnode.operations.ports import Node
from dicomnode.store import audit, recover, referrals
from dicomnode.store.recover import Found

_PATIENCE = 10.0
"""Seconds that a start waits for the last workers of a node that was killed."""

log = logging.getLogger(__name__)


def tidy(node: Node) -> None:
    """One round: complete what is quiet, and take back what dead workers had claimed."""
    completed = refer.complete(node)
    if completed:
        log.info("complete referrals=%d", completed)
    _bury_all(node)


def rest(node: Node) -> float:
    """Seconds until the next round has something to do, if nobody commits anything; inf where nothing is waited for."""
    with node.database.read():
        quiet = referrals.next_quiet()
    return math.inf if quiet is None else max(0.0, (quiet - node.clock()) / 1e6)


def _bury_all(node: Node) -> int:
    parts = sum(bury(worker, node) for worker in recover.dead_workers(node.archive))
    return parts + sum(bury(worker, node) for worker in recover.forgotten(node.archive, node.database))


def strand(node: Node) -> None:
    """Hold what is on its way to a partner that this configuration has not, or cannot call: nobody would send it."""
    config, at = node.config, node.clock()
    known = [name for name, partner in config.partners.items() if partner.is_destination]

    def stranded() -> list[int]:
        held = referrals.strand(known)
        for referral in held:
            refer.record(referral, "referral held", "its partner is not in the configuration any more", at, node)
        return held

    held = node.database.write(stranded)
    if held:
        log.warning("held referrals=%d: their partners are not in the configuration", len(held))


def bury(worker: str, node: Node) -> int:
    """Return a dead worker's claims to the queue, and remove what it had not finished receiving: how many parts."""
    claims, parts = recover.bury(worker, node.archive, node.database)
    if claims or parts:
        log.warning("worker=%s is dead: claims=%d returned parts=%d removed", worker, claims, parts)
    return parts


def recover_all(node: Node) -> Found:
    """Put a data folder in order that a kill or a power cut may have left anyhow; what was found."""
    recover.wait_for_workers(node.archive, _PATIENCE)
    parts = _bury_all(node) + recover.clear_parts(node.archive)
    adopted = sum(1 for file in recover.orphans(node.archive, node.database) if receive.adopt(file, node))
    missing = recover.missing(node.archive, node.database)
    for file in missing:
        log.critical("file=%s is in the index and not in the archive", file)
    found = Found(adopted, parts, len(missing))
    at = node.clock()

    def recorded() -> None:
        recover.record(found, at)
        for referral in referrals.unsettled():  # a move that was killed settled nothing
            refer.settle(referral, at, node)
        for file in missing:
            audit.record(audit.Event(at, "file missing", f"{file} is in the index and not in the archive"))

    node.database.write(recorded)
    return found
