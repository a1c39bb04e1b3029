"""The story of referrals in advance as they come to be known: from a file, from a worklist, or by a person's word.

One commit, or nothing: a file with one bad line changes nothing. A number that is known is said again, or is changed
where it says something else of the same patient; it never becomes another patient's. What waits for a referral, or was
found to belong to one that has changed, is looked at again in that commit. What may fail: UsageError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum

from dicomnode.config.model import NodeConfig
from dicomnode.errors import UsageError
from dicomnode.operations import expect, referral_file, vet
from dicomnode.operations.ports import Node
from dicomnode.operations.referral_file import BadLine
from dicomnode.rules import advance, patients, referred
from dicomnode.rules.advance import Wrong
from dicomnode.rules.referred import Found, Match
from dicomnode.store import audit, expected, index
from dicomnode.store.expected import Expected


class What(StrEnum):
    """What becomes of one referral that somebody tells of."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Told:
    """One referral that somebody tells of, as it is to be kept; and which fields change, or why it is refused."""

    what: What
    expected: Expected
    text: str = ""


@dataclass(frozen=True, slots=True)
class Imported:
    """What becomes of the lines of a file; nothing does where any of them is bad."""

    told: tuple[Told, ...]
    bad: tuple[BadLine, ...]

    def count(self, what: What) -> int:
        """How many are new, changed, …"""
        return sum(each.what is what for each in self.told)


# -- a file ----------------------------------------------------------------------------------------------------


def import_file(data: bytes, name: str, who: str, node: Node, *, check: bool) -> Imported:
    """Take the referrals of a file; `check`: only say what would become of each."""
    at = node.clock()
    lines, bad = referral_file.read(data)
    read = [(line.number, advance.read(line.values, node.config, name, at)) for line in lines]
    bad += [BadLine(number, wrong) for number, each in read if isinstance(each, list) for wrong in each]
    good, twice = _once([(number, each) for number, each in read if isinstance(each, Expected)])
    bad += twice
    if check:
        with node.database.read():
            return _planned(good, bad, node.config)
    return node.database.write(lambda: _imported(_planned(good, bad, node.config), name, who, at, node))


Numbered = list[tuple[int, Expected]]
"""Referrals, each with its line."""


def _once(read: Numbered) -> tuple[Numbered, list[BadLine]]:
    """Each number once, where it says the same each time; and the lines that say otherwise."""
    first: dict[tuple[str, str], tuple[int, Expected]] = {}
    bad = []
    for number, each in read:
        line, same = first.setdefault((each.number, each.issuer), (number, each))
        if same != each:
            bad.append(BadLine(number, Wrong("number", f"is that of line {line} too, which says something else")))
    return list(first.values()), bad


def _planned(good: Numbered, bad: Sequence[BadLine], config: NodeConfig) -> Imported:
    known = expected.numbered(each.number for _, each in good)
    told = [(line, _plan(each, known, config)) for line, each in good]
    refused = [BadLine(line, Wrong("number", each.text)) for line, each in told if each.what is What.REFUSED]
    return Imported(tuple(each for _, each in told), tuple(sorted((*bad, *refused), key=lambda each: each.line)))


def _imported(planned: Imported, name: str, who: str, at: int, node: Node) -> Imported:
    if not planned.bad:
        _keep(planned.told, name, who, at, node)
    return planned


# -- what is told of -------------------------------------------------------------------------------------------


def take(told: Iterable[Expected], partner: str, node: Node) -> list[Told]:
    """Take the referrals that a partner's worklist tells of. What it leaves empty stays as it is known."""
    at = node.clock()

    every = list(told)

    def taken() -> list[Told]:
        known = expected.numbered(each.number for each in every)
        plans = [_plan(each, known, node.config, add=True) for each in every]
        _keep(plans, partner, "", at, node)
        return plans

    return node.database.write(taken)


Known = Mapping[tuple[str, str], Expected]
"""By number and issuer."""


def _plan(told: Expected, known_ones: Known, config: NodeConfig, *, add: bool = False) -> Told:
    """What becomes of one; `add`: it only adds to what is known. Inside `Database.read` or `write`."""
    known = known_ones.get((told.number, told.issuer))
    if known is None:
        return Told(What.NEW, told)
    if why := expected.cancelled(known.id):
        if add:
            return Told(What.UNCHANGED, known)
        return Told(What.REFUSED, known, f"was cancelled ({why}): give it another number")
    site = config.sites.get(known.site)
    if not patients.same(told, known, site.patient_id_issuer if site else ""):
        return Told(What.REFUSED, known, "is known as that of another patient: one of them is wrong")
    meant = replace(told, id=known.id, source=known.source if add else told.source, received_at=known.received_at)
    if add:
        meant = replace(meant, **{name: getattr(known, name) for name in _FIELDS if not getattr(told, name)})
    changed = [name for name in _FIELDS if getattr(meant, name) != getattr(known, name)]
    return Told(What.CHANGED, meant, ", ".join(changed)) if changed else Told(What.UNCHANGED, known)


_FIELDS = tuple(each.name for each in fields(Expected) if each.name not in ("id", "source", "received_at"))


def _keep(told: Sequence[Told], source: str, who: str, at: int, node: Node) -> None:
    """Write down what is new or changed, and look again at the studies that it is about. Inside `Database.write`."""
    kept = [each.expected for each in told if each.what in (What.NEW, What.CHANGED)]
    expected.put_all(each.expected for each in told if each.what is What.NEW)
    for each in told:
        if each.what is What.CHANGED:
            expected.change(each.expected)
            _record("expected referral changed", f"{each.expected.number}: {each.text}, by {source}", who, at, node)
    if not kept:
        return
    new = sum(each.what is What.NEW for each in told)
    _record("referrals expected", f"{new} new, {len(kept) - new} changed, by {source}", who, at, node)
    for study in sorted(_concerned(kept)):
        vet.vet(study, at, node)


def _record(kind: str, text: str, who: str, at: int, node: Node) -> None:
    audit.record(audit.Event(at, kind, text, generation=node.generation, who=who))


def _concerned(kept: Sequence[Expected]) -> set[int]:
    """The studies that belong to one of these, or may, and of which something is not sent yet."""
    ids = {each.id for each in kept}
    numbers = {name for each in kept for name in (each.number, each.accession_number)} - {""}
    whose = {patients.id_key(each.patient_id) for each in kept}
    return {
        said.study
        for said in expected.waiting()
        if said.expected in ids or referred.numbers(said) & numbers or patients.id_key(said.patient_id) in whose
    }


# -- a person's word -------------------------------------------------------------------------------------------


def match(study: str, number: str, issuer: str | None, who: str, node: Node) -> None:
    """A person says which referral a study belongs to, whatever it says of itself; `study`: its UID or its number."""
    at = node.clock()

    def matched() -> None:
        found = index.study(study)
        if found is None:
            raise UsageError(f"there is no study {study}; `dicomnode studies list` shows those there are")
        said, known = expected.arrived(found.id), _named(number, issuer)
        if known.site not in ("", said.site):
            raise UsageError(f"referral {number} names the site {known.site}, and the study is of {said.site}")
        expect.attach(said, Found(known, Match.PERSON), at, node, who)
        vet.vet(found.id, at, node)

    node.database.write(matched)


def cancel(number: str, issuer: str | None, reason: str, who: str, node: Node) -> None:
    """A referral in advance is expected no more; what has come for it needs another, where a route requires one."""
    at = node.clock()

    def cancelled() -> None:
        known = _named(number, issuer)
        expected.cancel(known.id, reason)
        _record("expected referral cancelled", f"{number}: {reason}", who, at, node)
        for study in sorted(_concerned([known])):
            vet.vet(study, at, node)

    node.database.write(cancelled)


def _named(number: str, issuer: str | None) -> Expected:
    """The one that a person names. Raises UsageError where there is none, or more than one."""
    found = [each for each in expected.by_numbers([number]) if issuer in (None, each.issuer)]
    if not found:
        raise UsageError(f"no referral {number} is expected; `dicomnode referrals list` shows those that are")
    if len(found) > 1:
        issuers = ", ".join(each.issuer or "nobody" for each in found)
        raise UsageError(f"{len(found)} referrals have the number {number}: say with --issuer whose it is ({issuers})")
    return found[0]
