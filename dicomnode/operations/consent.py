"""The story of a patient's consent: what waits for it, who writes it down, and what its withdrawal stops.

A referral whose route wants consent is held until somebody has recorded it for that referral, or the referral in
advance brings it. Once a patient has withdrawn consent, nothing more of that patient leaves that site, whatever its
route says, until there is a new one: neither by a route, nor by a C-MOVE, nor by hand. The referral that it was
withdrawn for is stopped for ever, and what its partner has is called back (operations/withdraw.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from dicomnode.dicom.instance import SopInstance
from dicomnode.errors import UsageError
from dicomnode.operations import expect, refer
from dicomnode.operations import withdraw as withdrawing
from dicomnode.operations.ports import Node
from dicomnode.operations.withdraw import Withdrawn
from dicomnode.rules import routing
from dicomnode.store import consents, referrals
from dicomnode.store.consents import Subject, Word
from dicomnode.store.recalls import Withdrawal
from dicomnode.store.referrals import Referral


def check(study: int, at: int, node: Node) -> None:
    """Stop those referrals of a study that no consent allows, and no others. Inside `Database.write`."""
    for referral, partner, routes in referrals.of_study(study):
        why = lacking(study, partner, node, (referral, routes))
        if consents.want(referral, why):
            kind, text = ("consent wanted", why) if why else ("consent known", "nothing waits for consent any more")
            refer.record(referral, kind, text, at, node)


def lacking(study: int, partner: str, node: Node, known: tuple[int, list[str]] | None = None) -> str:
    """Why no consent allows a study to go to a partner, '' where nothing is lacking. Inside `Database.read` or `write`.

    `known` is its referral to the partner with the names of its routes, where it has one. Where a person chose, what
    was said of any AE of that hospital counts.
    """
    abouts, (referral, routes) = consents.subjects(study), known or (None, [])
    is_chosen = routing.those_named(node.config, routes)
    same = {partner} if is_chosen else routing.neighbours(node.config, partner)
    word = consents.last(abouts, referral)
    is_withdrawn = word is not None and not word.given
    if not is_withdrawn and not _is_wanted(abouts[0], partner, routes, node):
        return ""
    if word and word.given and word.referral in {number for number, to, _ in referrals.of_study(study) if to in same}:
        return ""
    if _has_evidence(study, same, node, since=word.at if word and is_withdrawn else 0):
        return ""
    why = consents.withdrawn(word) if word and is_withdrawn else "the patient's consent is wanted, and not recorded"
    return f"{why}: {consents.how_to_give(referral) if referral else _NO_REFERRAL}"


_NO_REFERRAL = "have a route refer it, or import its referral with the evidence"


def _has_evidence(study: int, partners: set[str], node: Node, since: int) -> bool:
    """Whether the referral in advance of a study brings evidence for these partners that is newer than that (µs)."""
    found = expect.of_study(study, node)
    return bool(found and found.consent and found.destination in {"", *partners} and found.received_at > since)


def _is_wanted(about: Subject, partner: str, names: list[str], node: Node) -> bool:
    """Whether a route wants consent."""
    return any(route.consent == "required" for route in routing.ways(node.config, about.site, partner, names))


def withdrawn(instance: SopInstance, site: str, node: Node) -> str:
    """Why nothing may leave that is not here, of a patient who has withdrawn consent; '' where nobody has.

    `site`: whose it is, '' where nobody knows. What is not known of it counts against it.
    """
    known = node.config.sites.get(site)
    issuer = instance.issuer_of_patient_id or (known.patient_id_issuer if known else "")
    found = [consents.last([about]) for about in consents.told_of(instance.patient_id, issuer, site)]
    return next((consents.withdrawn(word) for word in found if word and not word.given), "")


# -- what a person writes down -------------------------------------------------------------------------------------


def give(ids: Sequence[int], evidence: str, who: str, node: Node) -> list[Referral]:
    """Record the patient's consent for these referrals. UsageError: an id that there is not, or that was withdrawn."""
    if not evidence.strip():
        raise UsageError("say with --evidence what shows it: a form, its number and date, who witnessed it")
    at = node.clock()

    def given(referral: int) -> Referral | None:
        study = referrals.study(referral)
        consents.say(referral, consents.subjects(study)[0], Word(referral, at, True, evidence, who))
        refer.record(referral, "consent given", f"recorded by {who}: {evidence}", at, node, who=who)
        check(study, at, node)
        return referrals.get(referral)

    return refer.each(ids, given, node)


def withdraw(ids: Sequence[int], reason: str, who: str, node: Node) -> list[Withdrawn]:
    """Record that the patient has withdrawn consent: these are stopped for ever, and what else waits is held.

    UsageError: an id that there is not. What a partner has is called back by a letter: no note says this of images.
    """
    refer.check_reason(reason)
    at = node.clock()

    def withdrawn(referral: int) -> Withdrawn:
        study = referrals.study(referral)
        abouts = consents.subjects(study)
        for about in abouts:
            consents.say(referral, about, Word(referral, at, False, reason, who))
        refer.record(referral, "consent withdrawn", f"recorded by {who}: {reason}", at, node, who=who)
        how = Withdrawal(who, f"consent withdrawn: {reason}", "", withdrawing.LETTER)
        done = withdrawing.stop(referral, how, at, node)
        for waiting in sorted({study for about in abouts for study in consents.unsent(about)}):
            check(waiting, at, node)
        return done

    return refer.each(ids, withdrawn, node, over=True)
