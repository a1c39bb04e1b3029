"""The story of what goes out a second time: because its source has sent it again, or because a person says so.

Who has got an instance that comes again is asked whether it has it still, and what it lacks is sent again (that is the
story of proof). Nothing is sent twice for nothing where a partner can be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicomnode.dicom.part10 import Origin
from dicomnode.operations import refer
from dicomnode.operations.ports import Node
from dicomnode.rules import proof as rules
from dicomnode.store import proof, queue, referrals, resends
from dicomnode.store.referrals import Referral
from dicomnode.store.resends import Had

_DELIBERATE = 600_000_000
"""How long (µs) after a delivery its instance comes again because somebody wants it to be delivered again."""
_DAY = 86_400_000_000
"""How long (µs) a partner that cannot be asked is sent nothing of a referral for the third time."""


def came_again(instance: int, origin: Origin, node: Node) -> None:
    """Its source has sent what we have: who has got it is asked whether it has it still. Inside `Database.write`.

    Whoever cannot be asked is sent it again, once a day at most. That somebody sends the study again is told from a
    modality that repeats itself within minutes by the time since the last delivery.
    """
    at = node.clock()
    for had in resends.had(instance):
        if _can_be_asked(had.partner, node):
            if proof.ask_again(had.referral, had.transfer, at):
                text = f"{origin.partner} has sent the study again: {had.partner} is asked whether it has it still"
                refer.record(had.referral, "proof asked again", text, at, node)
        elif _is_wanted(had, at) and queue.lacks([had.transfer], at) and not _has_begun(had, at):
            resends.begin(had.referral, at)
            text = f"{origin.partner} has sent the study again, and {had.partner} cannot be asked for it"
            refer.record(had.referral, "study sent again", text, at, node)


def _has_begun(had: Had, at: int) -> bool:
    return 0 <= at - had.again_at < _DAY


def _is_wanted(had: Had, at: int) -> bool:
    """Whether it comes a while after its delivery, and has not gone again already in the day that has begun."""
    return at - had.finished_at > _DELIBERATE and (not _has_begun(had, at) or had.finished_at < had.again_at)


def _can_be_asked(partner: str, node: Node) -> bool:
    """Whether a partner has a means of proof, as far as is known."""
    known = node.config.partners.get(partner)
    if known is None or not known.is_destination:
        return False
    return known.confirm.by != rules.WAIVED and bool(proof.shown(partner).proof)


@dataclass(frozen=True, slots=True)
class Resent:
    """A referral as it is now: how many of its instances are queued again, and the files of how many are gone."""

    referral: Referral
    queued: int
    gone: int


def resend(ids: Sequence[int], reason: str, who: str, node: Node, *, everything: bool = False) -> list[Resent]:
    """Queue again what was delivered and is not confirmed, or everything. Raises UsageError for an unknown id."""
    at = node.clock()

    def resent(referral: int) -> Resent | None:
        found = resends.delivered(referral)
        queued = queue.lacks([*found.unconfirmed, *(found.confirmed if everything else ())], at)
        if queued:
            text = f"queued again by {who}, {len(queued)} of its instances: {reason or 'no reason given'}"
            refer.record(referral, "referral sent again", text, at, node, who=who)
        known = referrals.get(referral)
        return Resent(known, len(queued), found.gone) if known else None

    return refer.each(ids, resent, node)
