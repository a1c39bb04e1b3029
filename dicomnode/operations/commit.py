"""The story of a source that asks us to commit to what it has sent (Storage Commitment, PS3.4 J).

The request is taken, each file is looked at, and the source is told.

When `take` returns, the request is on disk. Nothing is committed to that was not read from the disk then and there with
the digest that it was received with, and nothing of another site's is even admitted to exist. What was committed to is
not removed by retention unless the configuration says so. The result is told again and again for a day.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

from dicomnode.config.model import Partner
from dicomnode.errors import DuplicateTransaction, PartnerError, ResourceLimitation
from dicomnode.operations import scrub
from dicomnode.operations.ports import Node, Peer, Reference, Report, Stopped
from dicomnode.rules import outcome
from dicomnode.store import audit, commitments, integrity
from dicomnode.store.commitments import Commitment, State
from dicomnode.store.integrity import Kept

log = logging.getLogger(__name__)

_NO_SUCH_INSTANCE, _CLASS_CONFLICT, _PROCESSING_FAILURE = 0x0112, 0x0119, 0x0110
_AT_ONCE = 1000
"""Transactions of one partner that it does not know the result of."""
_SOON = 10_000_000
"""µs in which whoever took a request may tell the result on the same association; then it is the forwarder's."""
_ANSWER = 30_000_000
"""µs that a source has to answer a result on the same association, before it is told on another."""
_DAY = 24 * 3_600_000_000


class _Interrupted(Exception):
    """There is no time to look at more."""


def take(transaction_uid: str, asked: Sequence[Reference], partner: Partner, node: Node) -> int:
    """Write down a request; its number. The same request again is the same transaction, while it is open.

    Raises DuplicateTransaction where the UID is in use for other instances, ResourceLimitation for one too many.
    """
    at, pairs = node.clock(), {(each.sop_class_uid, each.sop_instance_uid) for each in asked}

    def taken() -> int:
        known = commitments.find(partner.name, transaction_uid)
        if known and known.is_ours:
            raise DuplicateTransaction("the Transaction UID is one of ours")
        if known and known.is_open:
            if pairs != {row[:2] for row in commitments.references(known.id)}:
                raise DuplicateTransaction("the Transaction UID is in use for other instances")
            commitments.retake(known.id, at + _SOON)
            return known.id
        if commitments.count_open(partner.name) >= _AT_ONCE:
            raise ResourceLimitation(f"{_AT_ONCE} transactions wait for their results to be taken")
        return commitments.take(partner.name, transaction_uid, sorted(pairs), at, at + _SOON)

    taken_as = node.database.write(taken)
    log.info("commitment=%d from=%s transaction=%s instances=%d", taken_as, partner.name, transaction_uid, len(pairs))
    return taken_as


# -- what we find --------------------------------------------------------------------------------------------------


def judge(commitment: int, partner: Partner, node: Node, stopped: Stopped) -> Report | None:
    """Look at every file, and write down the result; None where that was stopped, and nothing was written.

    What was found stands until the index says that a file of it is damaged or gone: then all are looked at once more.
    """
    with node.database.read():
        found = commitments.get(commitment)
        asked = commitments.references(commitment)
        kept = {uid: integrity.versions(partner.site, uid) for _, uid, _ in asked}
        stands = found.state == State.JUDGED and commitments.stands(commitment, partner.site)
    if not stands:
        try:
            failures = {uid: _failure(sop_class, kept[uid], node, stopped) for sop_class, uid, _ in asked}
        except _Interrupted:
            return None
        intact = {uid: [each.instance for _, each in kept[uid]] for uid, reason in failures.items() if reason is None}
        failed = {uid: reason for uid, reason in failures.items() if reason is not None}
        asked = node.database.write(lambda: _judged(commitment, failed, intact, node.clock()))
    return _report(found.transaction_uid, asked)


def _failure(sop_class: str, versions: list[tuple[str, Kept]], node: Node, stopped: Stopped) -> int | None:
    """The Failure Reason (PS3.3 C.14.1.1) of an instance, None where we commit to it: to all its versions that we keep,
    for the source does not say which one it means.
    """
    if stopped():
        raise _Interrupted
    if not versions:
        return _NO_SUCH_INSTANCE
    if any(of_class != sop_class for of_class, _ in versions):
        return _CLASS_CONFLICT
    return None if all(_is_intact(each, node, stopped) for _, each in versions) else _PROCESSING_FAILURE


def _is_intact(version: Kept, node: Node, stopped: Stopped) -> bool:
    """Whether a file is what was received, by its digest; an alarm where it is not."""
    if version.damage:
        return False
    wrong = integrity.look(version, node.archive, lambda _: not stopped())
    if wrong is None:
        raise _Interrupted
    if wrong:
        scrub.note(version, wrong, node)
    return not wrong


def _judged(
    commitment: int, failures: dict[str, int], intact: dict[str, list[int]], at: int
) -> list[tuple[str, str, int | None]]:
    """Commit to what is intact, if it still is there; inside `Database.write`."""
    gone = {uid: _NO_SUCH_INSTANCE for uid, rows in intact.items() if not commitments.commit(rows, at)}
    commitments.judged(commitment, failures | gone, at + _ANSWER)
    return commitments.references(commitment)


def _report(transaction_uid: str, asked: list[tuple[str, str, int | None]]) -> Report:
    return Report(
        transaction_uid,
        tuple(Reference(sop_class, uid) for sop_class, uid, failure in asked if failure is None),
        tuple((Reference(sop_class, uid), failure) for sop_class, uid, failure in asked if failure is not None),
    )


# -- who is told ---------------------------------------------------------------------------------------------------


def told(commitment: int, node: Node) -> None:
    """The source has taken the result."""
    node.database.write(lambda: commitments.end(commitment, State.REPORTED, node.clock()))
    log.info("commitment=%d reported", commitment)


def hand_over(commitment: int, node: Node) -> None:
    """The source is to be told on an association of ours, now."""
    node.database.write(lambda: commitments.hasten(commitment, node.clock()))


def set_back(node: Node) -> None:
    """A clock that was ahead must not keep a result until then. Costs little where there is nothing."""
    at, partners = node.clock(), node.config.partners
    furthest = max(at + _ANSWER, outcome.furthest(at, node.config.node.limits.retry_most))
    with node.database.read():
        ahead = [name for name in partners if commitments.is_ahead(name, furthest)]
    if ahead:
        count = node.database.write(lambda: sum(commitments.set_back(name, furthest, at) for name in ahead))
        log.warning("the clock was set back: %d commitment results are told now", count)


def slots(partner: Partner) -> int:
    """How many threads tell a partner results: one, where it may ask."""
    return int("commit" in partner.may and partner.is_destination)


def due(partner: Partner, now: int) -> int | None:
    """When there is a result to tell a partner (µs). Called inside `Database.read`."""
    return commitments.due(partner.name, now)


def report(partner: Partner, peer: Peer, node: Node, stopped: Stopped) -> bool:
    """Tell a partner one result that is due. False where there was none, or we are to stop."""
    at = node.clock()
    with node.database.read():
        found = commitments.next_due(partner.name, at)
    if found is None:
        return False
    result = judge(found.id, partner, node, stopped)
    if result is None:
        return False
    try:
        peer.report(partner, result)
    except PartnerError as error:
        _failed(found, str(error), node)
    else:
        told(found.id, node)
    return True


def _failed(found: Commitment, reason: str, node: Node) -> None:
    """The partner did not take the result: again later, and after a day no more."""
    at, limits = node.clock(), node.config.node.limits
    log.warning("commitment=%d to=%s not reported: %s", found.id, found.partner, reason)
    if at - found.asked_at < _DAY:
        again = outcome.next_attempt_at(at, found.asked_at, limits.retry_first, limits.retry_most, random.random())
        node.database.write(lambda: commitments.postpone(found.id, again, reason))
        return
    text = (
        f"{found.partner} asked for Storage Commitment and could not be told the result for a day ({reason}):"
        f" see that it takes associations from us at its host and port, and let it ask again"
    )
    log.critical("%s", text)
    event = audit.Event(at, "commitment not reported", text, found.partner, generation=node.generation, alarm=True)

    def abandoned() -> None:
        commitments.end(found.id, State.ABANDONED, at, reason)
        audit.record(event)

    node.database.write(abandoned)
