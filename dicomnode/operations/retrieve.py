"""What a C-MOVE or C-GET may retrieve: who asks, where to, what; decided before anybody is contacted.

A destination comes from the configuration, by name, among those that the caller may reach; that of a C-GET is the
caller. Where studies leave their site, they pass the gate of their referral: a C-MOVE opens or joins it, a C-GET joins
it where there is one. What a person has held or dropped for one AE of a site goes to none of its others.

How it is sent is in moving.py and getting.py, and what came of it in account.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from dicomnode.config.model import Partner
from dicomnode.dicom.identifier import Identifier
from dicomnode.errors import GateClosed, UnknownDestination
from dicomnode.operations import consent, refer, trail, vet
from dicomnode.operations.find import scope
from dicomnode.operations.ports import Node
from dicomnode.rules import matching, oneway
from dicomnode.rules.matching import Model
from dicomnode.rules.negotiated import Features
from dicomnode.store import audit, consents, doubts, gates, lanes, referrals, search
from dicomnode.store.referrals import Opening, Progress
from dicomnode.store.search import Located


@dataclass(frozen=True, slots=True)
class Plan:
    """What may be retrieved: where to, what, the referrals that it joins (study → referral), and what does not go."""

    destination: Partner
    instances: tuple[Located, ...]
    referrals: dict[int, int]
    withheld: dict[int, str]
    """Why, by the ids of those among the instances that the destination is not to have: each of these fails."""
    caller: str = ""
    """Who asked for it, by name."""

    @property
    def going(self) -> list[Located]:
        """What is sent."""
        return [each for each in self.instances if each.instance not in self.withheld]

    def crosses(self, located: Located) -> bool:
        """Whether an instance leaves the site that its study belongs to."""
        return located.site != self.destination.site


@dataclass(frozen=True, slots=True)
class Asked:
    """What a C-MOVE or C-GET asks for, and by the rules of which model."""

    identifier: Identifier
    model: Model
    features: Features = field(default_factory=Features)


def plan(asked: Asked, title: str, caller: Partner, node: Node) -> Plan:
    """Decide a C-MOVE. Raises UnknownDestination, BadIdentifier, GateClosed; nobody has been contacted by then."""
    destination = _destination(title, caller, node)
    found = _found(asked, caller, node)
    if any(not oneway.may_reach(node.config, site, destination) for site in {each.site for each in found}):
        _refused(caller, title, "no flow allows it", node)
    return _decided(found, destination, caller, node)


def plan_get(asked: Asked, caller: Partner, node: Node) -> Plan:
    """Decide a C-GET: as a C-MOVE to the caller, of what it may see. Raises BadIdentifier, GateClosed."""
    found = _found(asked, caller, node)
    if any(not oneway.may_flow(node.config, each.site, caller.site) for each in found):
        raise GateClosed("no flow allows it")
    return _decided(found, caller, None, node)


def _found(asked: Asked, caller: Partner, node: Node) -> list[Located]:
    query = matching.retrieve(asked.identifier, asked.model, asked.features)
    with node.database.read():
        return search.instances(query, scope(caller, node))


def _decided(found: Sequence[Located], destination: Partner, mover: Partner | None, node: Node) -> Plan:
    """What of it goes. `mover` is who asks for a C-MOVE; None for a C-GET, which opens no referral."""
    if any(each.quarantine for each in found):
        raise GateClosed(QUARANTINED)
    crossing = [each for each in found if each.site != destination.site]
    caller = mover.name if mover else destination.name
    if not crossing:
        trail.retrieval(found, destination, caller, node, begins=True)
        return Plan(destination, tuple(found), {}, {}, caller)
    try:
        joined, withheld = node.database.write(lambda: _join(crossing, destination, mover, node))
    except GateClosed:
        node.database.write(lambda: _note_doubts(crossing, destination, node))  # which that commit has undone
        raise
    return Plan(destination, tuple(found), joined, withheld, caller)


def _note_doubts(crossing: Sequence[Located], destination: Partner, node: Node) -> None:
    for study in {each.study for each in crossing}:
        vet.note(study, destination.name, node.clock(), node)


def _destination(title: str, caller: Partner, node: Node) -> Partner:
    named = [p for p in node.config.partners.values() if p.ae_title == title and p.is_destination]
    reached = [p for p in named if oneway.may_reach(node.config, caller.site, p)]
    if len(reached) != 1:
        _refused(caller, title, "forbidden" if named and not reached else "ambiguous" if reached else "unknown", node)
    return reached[0]


def _refused(caller: Partner, title: str, why: str, node: Node) -> NoReturn:
    text = f"{caller.name} asked to move to {title}: {why}"
    at, name = node.clock(), caller.name
    event = audit.Event(at, "move destination refused", text, name, generation=node.generation, who=name)
    node.database.write(lambda: audit.record(event))
    raise UnknownDestination(f"Move Destination {title} unknown")


QUARANTINED = "a study is quarantined: see `dicomnode quarantine list`"
"""Why nothing of such a study goes anywhere."""


def _join(
    crossing: Sequence[Located], destination: Partner, mover: Partner | None, node: Node
) -> tuple[dict[int, int], dict[int, str]]:
    """The referral of each study that crosses, and what of it is withheld. Inside `Database.write`.

    Raises GateClosed where a study may not cross, or nothing of what was asked for.
    """
    withheld = _withheld(crossing, destination, node)
    if len(withheld) == len(crossing):
        raise GateClosed("; ".join(sorted(set(withheld.values()))))
    studies = _by_study(each for each in crossing if each.instance not in withheld)
    if why := next(filter(None, (closed(study, destination, node) for study in studies)), ""):
        raise GateClosed(why)
    if mover:
        joined = {study: _referral(study, destination, mover, node) for study in studies}
    else:
        joined = _fetched(studies, destination, node)
    for study, kept in _by_study(each for each in crossing if each.instance in withheld).items():
        text = f"{len(kept)} instance(s) do not go to {destination.name}: {withheld[kept[0].instance]}"
        asked = mover or destination
        _note(kept[0], (destination, joined.get(study)), "instances withheld", text, asked, node)
    return joined, withheld


def _by_study(instances: Iterable[Located]) -> dict[int, list[Located]]:
    found: dict[int, list[Located]] = {}
    for each in instances:
        found.setdefault(each.study, []).append(each)
    return found


def _fetched(studies: dict[int, list[Located]], caller: Partner, node: Node) -> dict[int, int]:
    """The referrals, to the caller, of the studies that it fetches; that it does is written down of every one."""
    joined = dict[int, int]()
    for study, going in studies.items():
        if known := referrals.find(study, caller.name):
            joined[study] = known[0]
        text = f"{caller.name} fetches {len(going)} instance(s) of the study"
        _note(going[0], (caller, joined.get(study)), "study fetched", text, caller, node)
    return joined


def _note(of: Located, to: tuple[Partner, int | None], kind: str, text: str, asked: Partner, node: Node) -> None:
    """An entry of the audit trail about a study on its way to a partner, by a referral where it has one."""
    at, study, (partner, referral) = node.clock(), of.study_instance_uid, to
    of_it = {"referral": referral, "generation": node.generation, "who": asked.name}
    audit.record(audit.Event(at, kind, text, partner.name, study, **of_it))  # type: ignore[arg-type]


def _withheld(crossing: Sequence[Located], destination: Partner, node: Node) -> dict[int, str]:
    """Why some of the instances do not go, by their ids: a person's word, or the destination's `skip_classes`."""
    skipped = [each for each in crossing if each.sop_class_uid in destination.skip_classes]
    why = {each.instance: refer.skipped(each.sop_class_uid, destination.name) for each in skipped}
    same = node.config.partners_of(destination.site)
    return why | gates.withheld([each.instance for each in crossing], destination.name, same)


def closed(study: int, destination: Partner, node: Node) -> str:
    """Why a study may not cross to a destination, '' where it may. Inside `Database.read` or `write`.

    What a person holds back from one AE of a site goes to none of its others.
    """
    if doubts.is_quarantined(study):
        return QUARANTINED
    if doubts.is_corrected(study):
        return "a study was corrected: see `dicomnode quarantine list`"
    if why := vet.why_not(study, destination.name, node):
        return why
    same = node.config.partners_of(destination.site)
    if over := gates.over(study, same):
        return f"referral {over} was withdrawn"
    if held := gates.held(study, same):
        return f"referral {held} is held"
    if wants := consents.stopped(study, same):
        return f"referral {wants} has no consent"
    known = {partner: referral for referral, partner, _ in referrals.of_study(study) if partner in same}
    for partner in {destination.name: 0} | known:
        if hold := lanes.paused(partner).hold:
            return f"the lane of {partner} is {hold}"
    referral = known.get(destination.name)
    if referral and not referrals.is_open(referral):
        return f"the gate of referral {referral} is closed"
    return consent.lacking(study, destination.name, node, referrals.find(study, destination.name))


def _referral(study: int, destination: Partner, caller: Partner, node: Node) -> int:
    """The referral of a study to the destination, opened where there is none."""
    at, found = node.clock(), referrals.find(study, destination.name)
    if found:
        referral = found[0]
    else:
        opening = Opening(destination.name, f"C-MOVE by {caller.name}", 0, node.generation, Progress.SENDING)
        referral = referrals.open_(study, opening, at)
    text = f"{caller.name} moves the study to {destination.name}"
    refer.record(referral, "study moved", text, at, node, who=caller.name)
    return referral
