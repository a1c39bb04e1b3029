"""explain: where something is, and why; and in the end what matters now, what comes next, and whose that is."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import click

from dicomnode.cli import output
from dicomnode.cli.opening import Place, pass_place
from dicomnode.config.units import say_duration
from dicomnode.operations import explain as story
from dicomnode.operations.explain import Choice, Explanation, Met, Way
from dicomnode.rules.referred import Expected
from dicomnode.rules.standing import Conclusion, Standing, moment

_COLUMN, _LINE = 20, 100
_MOST = 5
"""Different values of an attribute that are shown."""


@click.command()
@click.argument("what", metavar="STUDY")
@output.with_phi
@output.as_json
@pass_place
def explain(place: Place, what: str, phi: bool, as_json: bool) -> None:
    """Say where a study is, and why.

    STUDY is the UID of a study or an instance, the number of a referral (as `referrals list` shows it), or that of a
    referral in advance. The exit code is 2 where nothing is known of it.
    """
    with place.node() as node:
        found = story.explain(what, node)
    if as_json:
        output.show([_row(found, phi)], as_json=True, empty="")
    else:
        for line in lines(found, phi=phi):
            click.echo(line)
    if found.study is None and found.expected is None:
        raise SystemExit(2)


def lines(it: Explanation, *, phi: bool = False) -> Iterator[str]:
    """The answer as it is printed."""
    yield from _head(it)
    if it.choices and it.study:
        yield "Routes"
        for choice in it.choices:
            yield from _choice(choice, it.instances, phi)
        yield ""
    for way in it.ways:
        yield f"Referral {way.standing.referral} to {way.display}"
        yield from (f"  {name:<{_COLUMN}}  {text}" for name, text in _facts(way, it.expected))
        yield ""
    for number, conclusion in enumerate(it.conclusions):
        if number:
            yield ""
        yield from textwrap.wrap(str(conclusion), _LINE, break_long_words=False, break_on_hyphens=False)


def _head(it: Explanation) -> Iterator[str]:
    if it.study:
        kept = f"{output.count(it.instances, 'instance')}, {', '.join(it.study.modalities) or 'no modality'}"
        yield f"Study {it.study.study_instance_uid} of {it.study.site}: {kept}"
        yield f"  received since {moment(it.study.received_at)}"
    for copy in it.copies:
        state = "current" if copy.current else f"{copy.kind}, not current"
        yield f"Instance {it.asked}: {state}, from {copy.partner} of {copy.site} at {moment(copy.received_at)}"
        yield from (f"  {each}" for each in copy.transfers)
    if it.expected and not it.study:
        yield f"Referral in advance: {_advance(it.expected)}"
    if it.study or it.copies or it.expected:
        yield ""


# -- routes ----------------------------------------------------------------------------------------------------


def _choice(it: Choice, instances: int, phi: bool) -> Iterator[str]:
    to = {"all": " and ", "failover": ", else ", "balance": " or "}[it.route.among].join(it.route.to)
    if it.chosen:
        carried = "" if it.carried == instances else f", and carries {it.carried}"
        yield f"  {it.route.name} chooses it for {it.chosen} of {output.count(instances, 'instance')}{carried}: to {to}"
    else:
        yield f"  {it.route.name} does not choose it{f': {it.why}' if it.why else ''}"
    for each in it.conditions:
        yield f"    {'  ' * each.depth}{_met(each, instances, phi)}"


def _met(it: Met, instances: int, phi: bool) -> str:
    verdict = "yes" if it.met == instances else f"{it.met} of {instances}" if it.met else "no"
    if not it.attribute:
        return f"{it.wanted}: {verdict}"
    wanted, values = _shown(it, phi)
    return f"{it.attribute} {wanted}: {verdict}, is {' and '.join(values)}"


def _shown(it: Met, phi: bool) -> tuple[str, list[str]]:
    """What is wanted, and what there is; patients masked."""
    few = [value or "empty" for value in it.values[:_MOST]]
    few += [f"{len(it.values) - _MOST} others"] if len(it.values) > _MOST else []
    if phi or it.attribute.rpartition(".")[2] not in output.PATIENT:
        return it.wanted, few
    return output.mask(it.wanted), [output.mask(value) for value in few]


# -- referrals -------------------------------------------------------------------------------------------------


def _facts(way: Way, advance: Expected | None) -> Iterator[tuple[str, str]]:
    it = way.standing
    yield "route", it.route or "none: what waited was passed on"
    required = any(route.require == "referral" for route in way.routes)
    none = it.unreferred or ("none, and one is wanted" if required else "none, and none is wanted")
    yield "referral in advance", _advance(advance) if advance and not it.unreferred else none
    checked = any(route.checks for route in way.routes)
    doubt = it.quarantine or it.correction or it.identity
    yield "identity", doubt or ("no doubt" if checked or not way.routes else "not checked (identity: none)")
    yield "consent", _consent(way)
    yield "gate", it.gate + (f": {it.reason}" if it.reason else "")
    yield "completeness", _completeness(it)
    yield "window", f"closed until {moment(it.lane.opens_at)}" if it.lane.opens_at else "open"
    yield "partner", _lane(it)
    yield "transfers", _transfers(it)
    yield "proof", _proof(it)


def _advance(it: Expected) -> str:
    of = f" of {it.issuer}" if it.issuer else ""
    to = f", to {it.destination}" if it.destination else ""
    return f"{it.number}{of}{to}{', urgent' if it.urgent else ''}{f' ({it.procedure})' if it.procedure else ''}"


def _consent(way: Way) -> str:
    if way.standing.unconsented:
        return way.standing.unconsented
    if way.words:
        word = way.words[-1]
        return f"{'given' if word.given else 'withdrawn'} at {moment(word.at)}, written down by {word.who}"
    return "nothing stands against it" if any(route.consent == "required" for route in way.routes) else "none is wanted"


def _completeness(it: Standing) -> str:
    if it.progress != "receiving":
        return f"complete since {moment(it.completed_at)}" if it.completed_at else "not waited for"
    quiet = moment(it.last_instance_at + it.wait)
    until = f"quiet until {quiet}, {say_duration(it.wait / 1e6)} after the last instance"
    if not it.asks:
        return until if it.wait else "not waited for (wait: 0s)"
    said = "has not answered" if it.lacking is None else f"has {it.lacking or 'no'} more"
    return f"{until}; {it.asked} {said}"


def _lane(it: Standing) -> str:
    lane = it.lane
    if lane.hold:
        return f"its lane is held: {lane.hold}"
    if lane.failing_since is None:
        return "its lane runs"
    return f"fails since {moment(lane.failing_since)} ({lane.reason}); tried at {moment(max(it.at, lane.tried_at))}"


def _transfers(it: Standing) -> str:
    counts = {each: getattr(it, each) for each in ("queued", "active", "delivered", "held", "dropped", "skipped")}
    why = it.held_because or it.deferred or it.dropped_because
    return (", ".join(f"{n} {word}" for word, n in counts.items() if n) or "none") + (f" ({why})" if why else "")


def _proof(it: Standing) -> str:
    if it.progress == "confirmed":
        return f"{it.proof}, at {moment(it.confirmed_at or it.at)}"
    if it.progress != "sent" or not it.delivered:
        return "nothing is sent that could be proven"
    return it.unproven or "asked for"


# -- JSON ------------------------------------------------------------------------------------------------------


def _row(it: Explanation, phi: bool) -> output.Row:
    return {
        "asked": it.asked,
        "study_instance_uid": it.study.study_instance_uid if it.study else "",
        "site": it.study.site if it.study else "",
        "instances": it.instances,
        "routes": [_route_row(each, phi) for each in it.choices],
        "referrals": [_way_row(each, it.expected) for each in it.ways],
        "conclusions": [_conclusion_row(each) for each in it.conclusions],
    }


def _route_row(it: Choice, phi: bool) -> output.Row:
    return {
        "route": it.route.name,
        "chosen": it.chosen > 0,
        "instances": it.carried if it.chosen else 0,
        "to": it.route.to,
        "why": it.why,
        "conditions": [_met_row(each, phi) for each in it.conditions],
    }


def _met_row(it: Met, phi: bool) -> output.Row:
    wanted, values = _shown(it, phi)
    return {"depth": it.depth, "attribute": it.attribute, "wanted": wanted, "values": values, "met": it.met}


def _way_row(way: Way, advance: Expected | None) -> output.Row:
    it = way.standing
    told = {"referral": it.referral, "partner": it.partner, "progress": it.progress, "gate": it.gate}
    facts = {name.replace(" ", "_"): text for name, text in _facts(way, advance) if name != "gate"}
    return told | {"reason": it.reason} | facts


def _conclusion_row(it: Conclusion) -> output.Row:
    return {"fact": it.fact, "cause": it.cause, "action": it.action, "whose": it.whose}
