"""The story of a referral that is taken back: it is stopped for ever, and what was sent of it is called back.

What was not sent stays here, and what comes late is kept and not sent. A partner that understands rejection notes (IHE
IOCM, `iocm: true`) is told of what it has by a note (operations/recall.py), where a person gives that its title; any
other, and of consent that was withdrawn everyone, by a letter, which a person sends. DICOM has no service that deletes:
what a partner was told, and what it has acknowledged, is on the record here; whether it has deleted is on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicomnode.errors import UsageError
from dicomnode.operations import refer
from dicomnode.operations.ports import Node
from dicomnode.store import recalls, referrals
from dicomnode.store.recalls import State, Withdrawal
from dicomnode.store.referrals import Referral

NOTE, LETTER = "note", "letter"
"""By what a partner is told."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A referral as it is now: how many instances its partner had, and by what it is told of them."""

    referral: Referral
    called_back: int
    means: str


def withdraw(ids: Sequence[int], reason: str, who: str, node: Node) -> list[Withdrawn]:
    """Stop these referrals for ever. UsageError: an id that there is not, or one that is stopped so already.

    What was sent of one is called back by a letter, unless `call_back` gives a note its title.
    """
    refer.check_reason(reason)
    at = node.clock()
    return refer.each(ids, lambda each: stop(each, Withdrawal(who, reason, "", LETTER), at, node), node)


def stop(referral: int, how: Withdrawal, at: int, node: Node) -> Withdrawn:
    """Stop a referral, if it is not yet, and call back what was sent of it. Inside `Database.write`."""
    if not recalls.is_withdrawn(referral):
        recalls.withdraw(referral, how, at)
        text = f"withdrawn by {how.who}, for ever: {how.reason}"
        refer.record(referral, "referral withdrawn", text, at, node, who=how.who)
    known = referrals.get(referral)
    assert known, "somebody has just named it"
    return Withdrawn(known, sum(each.instances for each in recalls.of(referral)), how.means)


def call_back(referral: int, code: str, reason: str, who: str, node: Node) -> Withdrawn:
    """Take back what was sent of a referral, by a note where its partner understands that; it is stopped for ever.

    `code` is a word of rejection.TITLES. UsageError: nothing was sent, or its partner was told already.
    """
    refer.check_reason(reason)
    at = node.clock()

    def called_back(each: int) -> Withdrawn:
        how = Withdrawal(who, reason, code, _means(each, node))
        if not recalls.is_withdrawn(each):
            if not recalls.has_gone(each):
                raise UsageError(f"nothing of referral {each} was sent: `dicomnode referrals withdraw {each}` stops it")
            return stop(each, how, at, node)
        if how.means != NOTE or not recalls.tell_by_note(each, how, at):
            raise UsageError(_told_already(each))
        refer.record(each, "recall begun", f"by a note, by the word of {who}: {reason}", at, node, who=who)
        return stop(each, how, at, node)

    return refer.each([referral], called_back, node, over=True)[0]


def _means(referral: int, node: Node) -> str:
    """By what the partner of a referral is told."""
    known = referrals.get(referral)
    partner = node.config.partners.get(known.partner) if known else None
    return NOTE if partner and partner.iocm and partner.is_destination else LETTER


def _told_already(referral: int) -> str:
    every = recalls.of(referral)
    if all(each.state == State.IDLE for each in every):
        return f"referral {referral} was withdrawn before anything of it was sent: there is nothing to call back"
    if any(each.state == State.LETTER for each in every):
        return f"no note can be sent of referral {referral}: `dicomnode referrals recall {referral} --letter FILE`"
    return f"its partner was told, or is being told, that referral {referral} is recalled"


def acknowledge(referral: int, text: str, who: str, node: Node) -> Referral:
    """Record what the partner has acknowledged. UsageError: nothing of the referral is being called back."""
    at = node.clock()

    def acknowledged(each: int) -> Referral | None:
        if not recalls.acknowledge(each, text, who, at):
            raise UsageError(f"nothing of referral {each} is being called back")
        refer.record(each, "recall acknowledged", f"recorded by {who}: {text}", at, node, who=who)
        return referrals.get(each)

    return refer.each([referral], acknowledged, node, over=True)[0]
