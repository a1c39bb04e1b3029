"""The story of a referral: a study is chosen by a route, waits until it is complete, and passes a gate.

`route` runs in the commit that indexes an instance, so that no instance is kept that is not also on its way. Once one
instance of a study matches a route, all of it goes: what came before is queued then, and what comes later follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dicomnode.config.model import Route
from dicomnode.dicom.instance import SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.errors import UsageError
from dicomnode.operations.ports import Node
from dicomnode.rules import routing
from dicomnode.store import audit, index, queue, referrals
from dicomnode.store.referrals import Opening, Referral

Changed = Callable[[Sequence[int]], list[int]]


def route(instance: int, study: int, seen: SopInstance, origin: Origin, node: Node) -> None:
    """Queue an instance for every partner that its study goes to and has it not. Inside `Database.write`."""
    values, at = routing.values(seen, origin), node.clock()
    under_way = {partner: (referral, names) for referral, partner, names in referrals.of_study(study)}
    for chosen in routing.chosen(node.config, origin, values):
        for partner in chosen.to:
            known = under_way.get(partner)
            if known is None or chosen.name not in known[1]:
                under_way[partner] = _join(study, chosen, partner, known, at, node)
    for partner, (referral, names) in under_way.items():
        ways = (way for way in node.config.routes if way.name in names)
        if any(routing.carries(way, values) for way in ways) and queue.enqueue(referral, partner, [instance], at):
            referrals.grew(referral, at)


Known = tuple[int, list[str]]
"""A referral, and the names of the routes that chose it."""


def _join(study: int, chosen: Route, partner: str, known: Known | None, at: int, node: Node) -> Known:
    """Open the study's referral to a partner, or join one that a C-MOVE or another route has opened."""
    opening = Opening(partner, chosen.name, round(chosen.wait * 1e6), node.generation)
    referral = referrals.join(known[0], opening, at) if known else referrals.open_(study, opening, at)
    kept = [each.id for each in index.of_study(study) if routing.carries(chosen, each.values)]
    queue.enqueue(referral, partner, kept, at)
    text = f"route {chosen.name} refers the study to {partner}"
    record(referral, "referral joined" if known else "referral opened", text, at, node)
    return referral, [*(known[1] if known else ()), chosen.name]


def record(referral: int, kind: str, text: str, at: int, node: Node) -> None:
    """An entry of the audit trail about a referral. Inside `Database.write`."""
    known = referrals.get(referral)
    study, partner = (known.study_instance_uid, known.partner) if known else ("", "")
    audit.record(audit.Event(at, kind, text, partner, study, referral=referral, generation=node.generation))


def settle(referral: int, at: int, node: Node) -> None:
    """See whether a referral has been sent. Inside `Database.write`."""
    if referrals.settle(referral, at):
        known = referrals.get(referral)
        counts = f"{known.delivered} of {known.instances} instances were delivered" if known else ""
        record(referral, "referral sent", counts, at, node)


def quarantine(study: int, reason: str, at: int, node: Node) -> None:
    """Doubt about a study stops all of it that has not been sent. Inside `Database.write`."""
    index.quarantine(study, reason)
    for referral in referrals.quarantine(study, reason):
        record(referral, "referral quarantined", reason, at, node)


def complete(node: Node) -> int:
    """Referrals whose quiet time has passed become complete; how many."""
    at = node.clock()

    def completed() -> int:
        done = referrals.complete_quiet(at)
        for referral in done:
            record(referral, "referral complete", "nothing new within the quiet time", at, node)
            settle(referral, at, node)
        return len(done)

    with node.database.read():
        due = referrals.next_quiet()
    return node.database.write(completed) if due is not None and due <= at else 0


# -- a person's word -------------------------------------------------------------------------------------------


def hold(ids: Sequence[int], reason: str, who: str, node: Node) -> list[Referral]:
    """Close the gate of these referrals; those it was done to. Raises UsageError for an id that there is not."""
    return _gate(ids, "referral held", f"held by {who}: {reason}", node, lambda known: referrals.hold(known, reason))


def release(ids: Sequence[int], reason: str, who: str, node: Node) -> list[Referral]:
    """Open the gate of these referrals; those it was done to. A quarantine wants a reason."""

    def released(known: Sequence[int]) -> list[int]:
        doubtful = [referral for referral in known if referrals.is_doubtful(referral)]
        if doubtful and not reason:
            raise UsageError(f"referral {doubtful[0]} is quarantined: say with --reason why it may go all the same")
        return referrals.release(known)

    return _gate(ids, "referral released", f"released by {who}: {reason or 'no reason given'}", node, released)


def _gate(ids: Sequence[int], kind: str, text: str, node: Node, change: Changed) -> list[Referral]:
    at = node.clock()

    def changed() -> list[Referral]:
        for missing in [i for i in ids if referrals.get(i) is None]:
            raise UsageError(f"there is no referral {missing}; `dicomnode referrals list` shows those there are")
        done = change(ids)
        for referral in done:
            record(referral, kind, text, at, node)
        return [known for i in done if (known := referrals.get(i))]

    return node.database.write(changed)
