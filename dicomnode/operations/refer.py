"""The story of a referral: a route chooses a study, doubt or a person stops it, and it is sent when all of it is.

`route` runs in the commit that indexes an instance, so that no instance is kept that is not also on its way. Once one
instance of a study matches a route, all of it goes: what came before is queued then, and what comes later follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from dicomnode.config.model import Route
from dicomnode.dicom import rejection
from dicomnode.dicom.classes import class_name
from dicomnode.errors import UsageError
from dicomnode.operations.ports import Node
from dicomnode.rules import outcome, routing
from dicomnode.rules import proof as proof_rules
from dicomnode.rules.conditions import Values
from dicomnode.store import (
    audit,
    completeness,
    doubts,
    gates,
    index,
    lanes,
    proof,
    queue,
    recalls,
    referrals,
    rejections,
)
from dicomnode.store.doubts import Version
from dicomnode.store.referrals import Gate, Opening, Referral

T = TypeVar("T")


def route(instance: int, study: int, values: Values, node: Node) -> None:
    """Queue an instance for every partner that its study goes to and has it not. Inside `Database.write`."""
    at = node.clock()
    under_way = {partner: (referral, names) for referral, partner, names in referrals.of_study(study)}
    for chosen in routing.chosen(node.config, values):
        for partner in _partners(chosen, study, under_way, at, node):
            known = under_way.get(partner)
            if known is None or chosen.name not in known[1]:
                under_way[partner] = _join(study, chosen, partner, known, at, node)
    for partner, (referral, names) in under_way.items():
        ways = [way for way in node.config.routes if way.name in names and routing.carries(way, values)]
        if ways and queue_for(referral, partner, [(instance, values["sop_class_uid"])], at, node):
            _come_late(referral, at, node)
            completeness.grew(referral, at, max(_quiet(way, values) for way in ways))


def _quiet(way: Route, values: Values) -> int:
    """The quiet time (µs) of a route after an instance."""
    return round(way.quiet(values["modality"]) * 1e6)


Known = tuple[int, list[str]]
"""A referral, and the names of the routes that chose it."""


def _partners(chosen: Route, study: int, under_way: Mapping[str, Known], at: int, node: Node) -> Sequence[str]:
    """To whom a route refers a study: of a group that shares its studies, who has this one, else whose turn it is."""
    if chosen.among == "all":
        return chosen.to
    has = [name for name in chosen.to if name in under_way and chosen.name in under_way[name][1]]
    return has or [routing.choice(chosen, study, out(chosen, at, node))]


def out(group: Route, at: int, node: Node) -> set[str]:
    """Who of a group has failed for so long that another takes its place, and is not to be tried again yet."""
    after, most = round(group.after * 1e6), node.config.node.limits.retry_most
    furthest = outcome.furthest(at, most)
    return {name for name in group.to if lanes.paused(name).is_out(at, furthest, after)}


def _join(study: int, chosen: Route, partner: str, known: Known | None, at: int, node: Node) -> Known:
    """Open the study's referral to a partner, or join one that a C-MOVE or another route has opened."""
    kept = [each for each in index.of_study(study) if routing.carries(chosen, each.values)]
    wait = max((_quiet(chosen, each.values) for each in kept), default=round(chosen.wait * 1e6))
    opening = Opening(partner, chosen.name, wait, node.generation, urgent=chosen.priority == "urgent")
    referral = referrals.join(known[0], opening, at) if known else referrals.open_(study, opening, at)
    queue_for(referral, partner, [(each.id, each.values["sop_class_uid"]) for each in kept], at, node)
    text = f"route {chosen.name} refers the study to {partner}"
    record(referral, "referral joined" if known else "referral opened", text, at, node)
    why = _said_next_door(study, partner, node) or ("" if known else rejections.of_study(study))
    if why and gates.hold([referral], why):
        record(referral, "referral held", why, at, node)
    return referral, [*(known[1] if known else ()), chosen.name]


def _said_next_door(study: int, partner: str, node: Node) -> str:
    """What a person has said of the study to another AE of the partner's hospital, '' for nothing: one has to look
    whether that is meant of this one too.
    """
    others = routing.neighbours(node.config, partner) - {partner}
    if over := gates.over(study, others):
        return f"referral {over} of the study to the same site was withdrawn"
    held = gates.held(study, others)
    return f"referral {held} of the study to the same site is held" if held else ""


def queue_for(referral: int, partner: str, instances: Iterable[tuple[int, str]], at: int, node: Node) -> int:
    """Queue instances, each with its SOP class, or list them as skipped; how many were queued."""
    known, queued = node.config.partners.get(partner), 0
    for instance, sop_class_uid in instances:
        if known and sop_class_uid in known.skip_classes:
            queue.skip(referral, partner, instance, skipped(sop_class_uid, partner), at)
        elif sop_class_uid == rejection.SOP_CLASS and rejections.is_one(instance):
            queue.skip(referral, partner, instance, _NOTE, at)
        else:
            queued += queue.enqueue(referral, partner, [instance], at)
    return queued


_NOTE = "a rejection note of its source: no route sends it, whoever wants the partner to have it sends it by hand"


def _come_late(referral: int, at: int, node: Node) -> None:
    """Say of a referral that was withdrawn that more of it has come; that is kept, and not sent."""
    if recalls.is_settled(referral):
        record(referral, "late instances kept", "more of the study has come: it is kept, and not sent", at, node)


def skipped(sop_class_uid: str, partner: str) -> str:
    """Why a partner is not sent instances of a SOP class."""
    return f"{class_name(sop_class_uid)} is one of the SOP classes that {partner} is not sent (skip_classes)"


def record(referral: int, kind: str, text: str, at: int, node: Node, *, alarm: bool = False, who: str = "") -> None:
    """An entry of the audit trail about a referral; `who` had it done. Inside `Database.write`."""
    known = referrals.get(referral)
    study, partner = (known.study_instance_uid, known.partner) if known else ("", "")
    of = {"referral": referral, "generation": node.generation, "alarm": alarm, "who": who}
    audit.record(audit.Event(at, kind, text, partner, study, **of))  # type: ignore[arg-type]


def settle(referral: int, at: int, node: Node) -> None:
    """See whether a referral has been sent; what was delivered of one that is withdrawn is called back. Inside `write`.
    """
    if went := recalls.follow(referral, at):
        text = f"{went} instance(s) were on their way when it was withdrawn, and are called back"
        record(referral, "recall begun", text, at, node)
    if referrals.settle(referral, at):
        known = referrals.get(referral)
        counts = f"{known.delivered} of {known.instances} instances were delivered" if known else ""
        is_lost = known and known.state == "failed" and not known.delivered
        record(referral, "referral failed" if is_lost else "referral sent", counts, at, node)
        if known and known.instances == known.skipped > 0:  # nobody can be asked for a proof of nothing
            proof.look(referral, None, f"nothing to send: each of its {known.skipped} instance(s) is skipped")
        partner = node.config.partners.get(known.partner) if known else None
        if partner and partner.confirm.by == proof_rules.WAIVED:
            waive(referral, at, node)


def waive(referral: int, at: int, node: Node) -> None:
    """Take statuses for a proof, as the admin has said of its partner. Inside `Database.write`."""
    if proof.waive(referral, at):
        record(referral, "referral confirmed", "by statuses alone, as the configuration says (confirm)", at, node)


def quarantine(study: int, reason: str, at: int, node: Node) -> None:
    """Doubt about a study stops all of it that has not been sent. Inside `Database.write`."""
    doubts.quarantine(study, reason)
    weigh(study, reason, at, node)


def correct(study: int, reason: str, at: int, node: Node) -> None:
    """A study was corrected: all of it that has not been sent waits for a person's word. Inside `Database.write`."""
    doubts.correct(study, reason)
    weigh(study, reason, at, node)


def weigh(study: int, why: str, at: int, node: Node) -> None:
    """Open or close the gates of a study's referrals, and write down which. Inside `Database.write`."""
    for referral, gate in gates.weigh_all(study):
        record(referral, f"referral {'released' if gate == Gate.OPEN else gate}", why, at, node)


def end_doubt(study: int, why: str, at: int, node: Node) -> None:
    """A person has decided: a study goes on, unless more of it is undecided. Inside `Database.write`."""
    if doubts.end(study):
        weigh(study, why, at, node)


def replace(chosen: Version, values: Values, why: str, node: Node) -> None:
    """Another version of an instance is current: who has the other, or waits for it, is sent this. Inside `write`.

    So is whoever its own routes name; nobody is sent the other one any more.
    """
    at, held = node.clock(), doubts.held(chosen)
    for referral, partner in doubts.supersede(chosen, why, at):
        queued = queue_for(referral, partner, [(chosen.id, values["sop_class_uid"])], at, node)
        if queued or doubts.lead_again(chosen, partner, at):
            referrals.reopen(referral)  # at once: what a person has decided waits for no quiet time
    route(chosen.id, chosen.study, values, node)
    for partner, reason in held:
        doubts.hold(chosen, partner, reason)


# -- a person's word -------------------------------------------------------------------------------------------


def hold(ids: Sequence[int], reason: str, who: str, node: Node) -> list[Referral]:
    """Hold these referrals, whatever else stops them; those it was done to. Raises UsageError for an unknown id."""
    check_reason(reason)
    at = node.clock()

    def held(referral: int) -> Referral | None:
        if not gates.hold([referral], reason):
            return None
        record(referral, "referral held", f"held by {who}: {reason}", at, node, who=who)
        return referrals.get(referral)

    return each(ids, held, node)


def release(ids: Sequence[int], reason: str, who: str, node: Node) -> list[Referral]:
    """Take a person's hold from these referrals; those it was done to. A doubt about the study is another matter."""
    at = node.clock()

    def released(referral: int) -> Referral | None:
        done, known = bool(gates.release([referral])), referrals.get(referral)
        if done:
            text = f"released by {who}: {reason or 'no reason given'}"
            record(referral, "referral released", text, at, node, who=who)
        elif known and known.gate != Gate.OPEN:
            raise UsageError(_not_by_a_person(known))
        return known if done else None

    return each(ids, released, node)


def _not_by_a_person(referral: Referral) -> str:
    stopped = f"referral {referral.id} is stopped, but not by a hold: {referral.reason}"
    doubt = ". A study in doubt is released with `dicomnode quarantine release`"
    return stopped + (doubt if gates.is_in_doubt(referral.id) else "")


def check_reason(reason: str) -> None:
    """Raise UsageError where a person gives no reason."""
    if not reason.strip():
        raise UsageError("say with --reason why: whoever asks later is told")


def each(ids: Sequence[int], change: Callable[[int], T | None], node: Node, *, over: bool = False) -> list[T]:
    """Do something to each of these referrals, in one commit; what came of it, but None.

    Raises UsageError for an id that there is not, and, unless `over`, for one that was withdrawn: of that nothing is
    ever sent again. Then nothing was done to any.
    """

    def changed() -> list[T]:
        _check(ids)
        if not over:
            _check_goes_on(ids)
        return [done for referral in dict.fromkeys(ids) if (done := change(referral)) is not None]

    return node.database.write(changed)


def _check(ids: Sequence[int]) -> None:
    """Raise UsageError for an id that there is not. Inside `Database.read` or `write`."""
    for missing in [i for i in ids if referrals.get(i) is None]:
        raise UsageError(f"there is no referral {missing}; `dicomnode referrals list` shows those there are")


def _check_goes_on(ids: Sequence[int]) -> None:
    for known in filter(None, map(referrals.get, ids)):
        if recalls.is_withdrawn(known.id):
            raise UsageError(f"referral {known.id} is {known.gate}, and nothing of it is sent any more: {known.reason}")
