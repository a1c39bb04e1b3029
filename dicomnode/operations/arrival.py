"""What follows when a partner has said what it has of a referral, whichever way it was asked.

Confirmed, when it has all; looked at again later, where it lacks something, since it may index long after it has
answered; sent again, where it still does; and held for a person, with an alarm, where that did not help twice. What was
sent long ago is neither: a partner may remove old studies, and nobody wants them there a second time. All of it is
written in the commit of the answer, so that a kill leaves both or neither.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from dicomnode.config.model import Partner
from dicomnode.operations import refer
from dicomnode.operations.ports import Node
from dicomnode.rules import proof as rules
from dicomnode.store import proof, queue

log = logging.getLogger(__name__)

_SAID = {
    "commitment": "it has committed to keep them",
    "find": "its answers to a query name them",
    "count": "it counts as many in the study",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a partner has said of a referral: by which means, and which transfers' instances it has and has not."""

    partner: Partner
    referral: int
    means: str
    has: Sequence[int]
    lacks: Sequence[int]
    why: str = ""


def conclude(answer: Answer, at: int, node: Node) -> None:
    """Write down an answer and what follows from it. Inside `Database.write`."""
    partner, referral = answer.partner, answer.referral
    if rules.is_stronger(answer.means, proof.shown(partner.name).proof):
        proof.learn(partner.name, answer.means, at)
    proof.has(answer.has, at)
    if answer.lacks:
        _lacks(answer, at, node)
    elif answer.has and proof.confirm(referral, answer.means, at):
        refer.record(referral, "referral confirmed", f"{partner.name} has all: {_SAID[answer.means]}", at, node)
        log.info("referral=%d to=%s confirmed by=%s", referral, partner.display, answer.means)


def _lacks(answer: Answer, at: int, node: Node) -> None:
    looked, limits = proof.looked(answer.referral), node.config.node.limits
    if looked is None:  # something more of it is being sent: it is asked about after that
        return
    name, referral = answer.partner.name, answer.referral
    said = f"{name} lacks {len(answer.lacks)} of what it took{answer.why and ': '}{answer.why}"
    delay = rules.delay(looked.looks, limits.retry_first, limits.retry_most)
    if at - looked.wanted_at > answer.partner.give_up_after * 1e6:
        said = f"{said}, long after it was sent"
        proof.look(referral, None, f"{said}: `dicomnode referrals resend {referral}` sends it again")
        log.info("referral=%d to=%s %s", referral, answer.partner.display, said)
    elif delay is not None:
        proof.look(referral, at + round(delay * 1e6), said)
        log.info("referral=%d to=%s %s", referral, answer.partner.display, said)
    elif looked.resent < rules.RESENDS:
        _send_again(answer, looked.resent, said, at, node)
    else:
        _hold(answer, looked.resent, said, at, node)


def _goes_back(answer: Answer, resent: int, said: str, at: int, why: str = "") -> bool:
    """What it lacks is queued again, or held. False where none of it is to be sent: then it is not looked for."""
    goes = bool(queue.lacks(answer.lacks, at, why))
    if goes:
        proof.resent(answer.referral, resent)
    else:
        proof.look(answer.referral, None, f"{said}, of which another version is to be sent")
    return goes


def _send_again(answer: Answer, resent: int, said: str, at: int, node: Node) -> None:
    if not _goes_back(answer, resent + 1, said, at):
        return
    refer.record(answer.referral, "lacking instances sent again", said, at, node)
    log.warning("referral=%d to=%s sends again: %s", answer.referral, answer.partner.display, said)


def _hold(answer: Answer, resent: int, said: str, at: int, node: Node) -> None:
    again = f"`dicomnode queue retry --partner {answer.partner.name}`"
    todo = f"sent {rules.RESENDS + 1} times: ask its administrator where it is, then {again}"
    why = f"{answer.partner.name} answered that it took this, and has it not; {todo}"
    if not _goes_back(answer, resent, said, at, why):
        return
    refer.record(answer.referral, "lacking instances held", f"{said}; {todo}", at, node, alarm=True)
    refer.settle(answer.referral, at, node)
    log.critical("referral=%d to=%s held: %s; %s", answer.referral, answer.partner.display, said, todo)
