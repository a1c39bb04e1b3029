"""The story of a study for which there may be a referral in advance: it is found, and what it says is kept to.

A route that requires one holds a study until it is found, and sends it to nobody but whom it names. What was found is
remembered; a number that the study turns out to have is believed before that, a person's word before all. Which fits is
decided in rules/referred.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from dicomnode.config.model import NodeConfig
from dicomnode.operations import refer
from dicomnode.operations.ports import Node
from dicomnode.rules import referred, routing
from dicomnode.rules.completeness import Asked
from dicomnode.rules.referred import Arrived, Expected, Found, Match
from dicomnode.store import audit, expected, referrals

_LOOKS = 6
"""Looks at a site's PACS for which a study that has fewer instances than its referral says is waited for."""


def match(study: int, at: int, node: Node) -> None:
    """Find the referral in advance of a study, and stop what wants one and has none. Inside `Database.write`."""
    said = expected.arrived(study)
    found = _find(said, node)
    if _told(found) != (said.expected, said.matched):
        attach(said, found, at, node)
    if found.expected and found.expected.urgent:
        expected.hasten(study)
    for referral, partner, names in referrals.of_study(study):
        requires = _requires(said.site, partner, names, node.config)
        why = _why_not(found, partner, names, node.config) if requires else ""
        if expected.refer(referral, why):
            refer.record(referral, f"referral {'held' if why else 'released'}", why or _found(found), at, node)


def why_not(study: int, partner: str, node: Node, names: Iterable[str] = ()) -> str:
    """Why a study may not go to a partner for want of a referral in advance; '' where it may. Inside `Database.read`.

    `names` are the routes that chose it; where none did, every route by which it might go there counts, and in any
    case it goes to no other hospital than its referral names.
    """
    said, config = expected.arrived(study), node.config
    found = _find(said, node)
    is_free = found.expected is None or bool(routing.those_named(config, names))
    if is_free and not _requires(said.site, partner, names, config):
        return ""
    return _why_not(found, partner, names, config)


def of_study(study: int, node: Node) -> Expected | None:
    """The referral in advance of a study, as things are now. Inside `Database.read` or `write`."""
    return _find(expected.arrived(study), node).expected


def lacking(study: int, node: Node) -> Asked | None:
    """How many more instances a study has by the word of its referral, and how long those are waited for.

    None: nobody has said how many it has. Inside `Database.read`.
    """
    said = expected.arrived(study)
    known = _find(said, node).expected
    if known is None or known.instances is None:
        return None
    more = max(0, known.instances - expected.kept(said.study_instance_uid))
    within = round(_LOOKS * node.config.node.limits.pull * 1e6)
    return Asked(f"its referral ({known.number})", within, asks=1, lacking=more)


def attach(said: Arrived, found: Found, at: int, node: Node, who: str = "") -> None:
    """Remember which referral a study belongs to; `who` says so, '' where it was found. Inside `Database.write`."""
    expected.attach(said.study, *_told(found))
    text = _found(found) if found.expected else f"to none any more: {found.why}"
    uid = said.study_instance_uid
    audit.record(audit.Event(at, "study matched", text, study_instance_uid=uid, generation=node.generation, who=who))


def _told(found: Found) -> tuple[int | None, str]:
    return (found.expected.id, found.how) if found.expected else (None, "")


def _found(found: Found) -> str:
    return f"to referral {found.expected.number}, by {_BY[Match(found.how)]}" if found.expected else ""


_BY = {
    Match.NUMBER: "its number",
    Match.PULL: "the search for it",
    Match.PATIENT: "its patient",
    Match.PERSON: "a person's word",
}


def _find(said: Arrived, node: Node) -> Found:
    """The referral of a study, as things are now."""
    settled = _settled(said)
    if settled.how == Match.PERSON:
        return settled
    numbers = referred.numbers(said)
    named = {each.id: each for each in (*expected.by_numbers(numbers), *expected.by_accessions(numbers))}
    site = node.config.sites.get(said.site)
    waiting = expected.by_patient(said.patient_id) if said.patient_id else []
    issuers = (site.accession_issuer, site.patient_id_issuer) if site else ("", "")
    return referred.find(said, named.values(), settled, waiting, *issuers)


def _settled(said: Arrived) -> Found:
    """What was found before, or by the search for it; a referral that was cancelled is none."""
    known = expected.get(said.expected) if said.expected is not None else None
    if known and not expected.cancelled(known.id):
        return Found(known, said.matched)
    return Found(expected.by_study(said.study_instance_uid), Match.PULL)


# -- what a referral says --------------------------------------------------------------------------------------


def _requires(site: str, partner: str, names: Iterable[str], config: NodeConfig) -> bool:
    """Whether a study of a site goes to a partner with a referral alone."""
    return any(way.require == "referral" for way in routing.ways(config, site, partner, names))


def _why_not(found: Found, partner: str, names: Iterable[str], config: NodeConfig) -> str:
    """Why a partner is not sent a study of this referral, '' where it is.

    A route sends it to the very AE that is named, a person to any of that hospital.
    """
    if found.expected is None:
        return found.why
    named = _destinations(found.expected, config)
    if not routing.those_named(config, names) and routing.neighbours(config, partner) & {*named}:
        return ""
    groups = [{*way.to} for way in config.routes if way.among != "all"]  # who takes another's place is meant, too
    if not named or partner in named or any(partner in group and group & {*named} for group in groups):
        return ""
    return f"its referral ({found.expected.number}) names {' or '.join(named)}, and not {partner}"


def _destinations(known: Expected, config: NodeConfig) -> tuple[str, ...]:
    """Whom a referral names: a partner, or, where a hospital's worklist told of it, that hospital; none: all."""
    if known.destination:
        return (known.destination,)
    source = config.partners.get(known.source)
    return config.partners_of(source.site) if source else ()
