"""The story of a question: where is this study, and why?

`explain` answers for a study, one of its instances, a referral, or a referral in advance: what each route made of it,
how each of its referrals stands, and in the end what matters now, with the next step and whose that is. It only reads.
What was never heard of has an answer too: who was turned away lately.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dicomnode.config.model import Partner, Route
from dicomnode.operations import breaker
from dicomnode.operations.ports import Node
from dicomnode.rules import conditions, routing
from dicomnode.rules import standing as rules
from dicomnode.rules.conditions import Values
from dicomnode.rules.referred import Expected
from dicomnode.rules.standing import NOBODY, YOU, Conclusion, Lane, Standing
from dicomnode.store import consents, expected, index, lanes, referrals, standing
from dicomnode.store.consents import Word
from dicomnode.store.index import Kind, Study
from dicomnode.store.standing import Copy

_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Met:
    """One condition of a route: what it wants, what there is, and how many of a study's instances meet it.

    Without an attribute it is a group, and those that are deeper are in it.
    """

    depth: int
    attribute: str
    wanted: str
    values: tuple[str, ...]
    met: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What one route made of a study: of how many of its instances it takes it, and how many it carries.

    `why` says where it does not because of whose the study is; else the conditions do.
    """

    route: Route
    chosen: int
    carried: int
    why: str
    conditions: tuple[Met, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """One referral: where it stands, what that means, and what was said about it."""

    standing: Standing
    display: str
    routes: tuple[Route, ...]
    """Those of the configuration that made it."""
    words: tuple[Word, ...]
    """Of consent."""
    conclusion: Conclusion


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. `study` is None where there is none; `conclusions`: one for each referral, else one."""

    asked: str
    study: Study | None = None
    instances: int = 0
    copies: tuple[Copy, ...] = ()
    """The versions of the instance that was asked about."""
    expected: Expected | None = None
    choices: tuple[Choice, ...] = ()
    ways: tuple[Way, ...] = ()
    conclusions: tuple[Conclusion, ...] = ()


def explain(asked: str, node: Node) -> Explanation:
    """Where something is, and why. `asked` is the UID of a study or an instance, a referral's number, or the number of
    a referral in advance.
    """
    with node.database.read():
        if asked.isdecimal() and referrals.get(int(asked)):
            return _of_study(Explanation(asked), referrals.study(int(asked)), [int(asked)], node)
        if not asked.isdecimal() and (found := index.study(asked)):
            return _of_study(Explanation(asked), found.id, standing.of_study(found.id), node)
        if copies := standing.copies(asked):
            return _of_instance(Explanation(asked, copies=tuple(copies)), node)
        if advance := expected.by_numbers([asked]) or expected.of_number(asked):  # those cancelled last
            return _of_expected(Explanation(asked, expected=advance[0]), advance[0], node)
        return Explanation(asked, conclusions=(_unknown(asked, node),))


def _of_study(it: Explanation, study: int, referrals: Sequence[int], node: Node) -> Explanation:
    found = index.study(str(study))
    assert found
    kept = [each.values for each in index.of_study(study)]
    choices = tuple(_choice(route, kept) for route in node.config.routes)
    ways = tuple(_way(referral, node) for referral in referrals)
    return replace(
        it,
        study=found,
        instances=len(kept),
        expected=expected.of_study(study),
        choices=choices,
        ways=ways,
        conclusions=tuple(way.conclusion for way in ways) or (_unrouted(found, choices),),
    )


def _of_instance(it: Explanation, node: Node) -> Explanation:
    copy = it.copies[0]
    whole = _of_study(it, copy.study, standing.of_study(copy.study), node)
    return whole if copy.current else replace(whole, conclusions=(_apart(copy),))


def _of_expected(it: Explanation, advance: Expected, node: Node) -> Explanation:
    """Its study, where that has come; of several, the first."""
    for study, _ in expected.studies_of(advance.id):
        return _of_study(it, study, standing.of_study(study), node)
    return replace(it, conclusions=(_awaited(advance),))


# -- the routes ------------------------------------------------------------------------------------------------


def _choice(route: Route, kept: Sequence[Values]) -> Choice:
    theirs = [seen for seen in kept if routing.takes_from(route, seen)]
    why = "" if theirs or not kept else _elsewhere(route, kept[0])
    chosen = sum(routing.selects(route, seen) for seen in kept)
    carried = sum(routing.carries(route, seen) for seen in kept)
    return Choice(route, chosen, carried, why, tuple(_met(route, theirs)))


def _elsewhere(route: Route, seen: Values) -> str:
    came = f"{seen['partner']} of {seen['site']}"
    return f"it takes what comes from {' or '.join(route.sources)}, and this came from {came}"


def _met(route: Route, kept: Sequence[Values]) -> Iterator[Met]:
    """Each condition over all instances: they are the same ones, in the same order, of every instance."""
    for found in zip(*(conditions.findings(route.when, seen) for seen in kept), strict=True):
        values = tuple(dict.fromkeys(each.value for each in found if each.attribute))
        yield Met(found[0].depth, found[0].attribute, found[0].wanted, values, sum(each.met for each in found))


# -- the referrals ---------------------------------------------------------------------------------------------


def _way(referral: int, node: Node) -> Way:
    found = standing.of(referral, node.clock())
    partner = node.config.partners.get(found.partner)
    if partner and partner.is_destination:
        found = replace(found, lane=_lane(partner, found.at, node))
    routes = tuple(route for route in node.config.routes if route.name in found.route.split(", "))
    display = partner.display if partner else found.partner
    return Way(found, display, routes, tuple(consents.of(referral)), rules.conclude(found))


def _lane(partner: Partner, at: int, node: Node) -> Lane:
    pause, opens = lanes.paused(partner.name), breaker.opens_at(partner, node, at)
    tried = pause.until if pause.until <= breaker.furthest(node, at) else at
    return Lane(
        hold=pause.hold,
        failing_since=pause.since if pause.failures else None,
        reason=pause.reason,
        tried_at=tried,
        opens_at=opens if opens > at else None,
    )


# -- where there is no referral --------------------------------------------------------------------------------


def _unrouted(study: Study, choices: Sequence[Choice]) -> Conclusion:
    """No route has chosen a study: it may be meant so, or sent to a title that says so."""
    if any(choice.chosen for choice in choices):
        fact = f"The study is here ({study.instances} instances), and nobody was sent it."
        cause = "A route chooses it now, and did not when it came: the configuration has changed since."
        return Conclusion(fact, cause, "Have it sent here once more: then it is referred.", _radiographer(study.site))
    fact = f"The study is here ({study.instances} instances), and goes nowhere."
    reasons = [f"{choice.route.name}, because {_reason(choice)}" for choice in choices]
    cause = f"No route chooses it: not {'; not '.join(reasons)}." if reasons else "There are no routes."
    called = [m.wanted for each in choices for m in _outer(each) if m.attribute == "called" and not m.met]
    if called:
        action = f"If it should go, send it again, to {' or '.join(dict.fromkeys(called))}."
        return Conclusion(fact, cause, action, _radiographer(study.site))
    action = "If it should go, change a route; `dicomnode routes test FILE` shows what else that changes."
    return Conclusion(fact, cause, action, YOU)


def _radiographer(site: str) -> str:
    return f"{site}'s radiographer"


def _reason(choice: Choice) -> str:
    if choice.why:
        return choice.why
    for each, found in zip(choice.route.when.of, _outer(choice), strict=True):
        if not found.met:
            return conditions.unmet(each)
    return "no instance meets all that it asks"


def _outer(choice: Choice) -> list[Met]:
    """The conditions that are in no group, and the groups that are in none."""
    return [each for each in choice.conditions if not each.depth]


def _apart(copy: Copy) -> Conclusion:
    """A version that is not current goes to nobody."""
    if copy.kind == Kind.FOREIGN:
        fact = "The instance is kept apart, and sent to nobody."
        cause = f"It came from {copy.partner} of {copy.site}, and its study belongs to {copy.owner}, who sent it first."
        action = "If it is theirs, have them send it; if it is another study, it needs its own Study Instance UID."
        return Conclusion(fact, cause, action, _radiographer(copy.site))
    fact = "This instance has no version that is sent."
    cause = f"What is kept of it is a {copy.kind}, and no person has said that it is right."
    return Conclusion(fact, cause, "`dicomnode quarantine show` sets its versions side by side.", YOU)


def _awaited(it: Expected) -> Conclusion:
    if reason := expected.cancelled(it.id):
        fact = "The referral was cancelled before anything came."
        action = "What comes in its place needs a referral of another number."
        return Conclusion(fact, f"The reason: {reason}.", action, NOBODY)
    look = expected.look(it.id)
    fact = f"The referral is known since {rules.moment(it.received_at)}, and nothing of its study has come."
    cause = f"It was looked for: {look.text}." if look.text else "No study that came fits it by number or patient."
    action = "Send the study here; if it has come, `dicomnode referrals match` says which it is."
    return Conclusion(fact, cause, action, _radiographer(it.site) if it.site else "whoever examines the patient")


def _unknown(asked: str, node: Node) -> Conclusion:
    """It may have been refused at the door."""
    fact = f"Nothing here is known as {asked}: no study, instance or referral."
    found = standing.turned_away(node.clock() - _DAY)
    if not found:
        cause = "It was not received, or the node has turned its sender away longer than a day ago."
        return Conclusion(fact, cause, "Look at the sender's own log, and send it again.", "whoever sent it")
    said = [f"{calling}@{at} calling {called} ({times} times: {why})" for calling, called, at, why, times in found]
    cause = f"In the last day these were turned away: {'; '.join(said)}."
    action = "`dicomnode partners refused` shows the lines that would admit a caller, if it is one of yours."
    return Conclusion(fact, cause, action, YOU)
