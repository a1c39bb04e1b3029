"""The story of a study that has come whole: its evidence is weighed, its PACS is asked, or a person says so.

The housekeeper alone concludes (`complete`), from what is in the index and who has associations open. Where a route
expects a PACS to know the study, the forwarder puts the question (`ask`) and writes down the answer, which is evidence
and no conclusion. A PACS that cannot be asked delays the studies that it is asked about, each for as long as its route
allows, and stops none. Neither ever undoes anything: what comes later reopens the referral by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.config.parts import Expect
from dicomnode.errors import PartnerError
from dicomnode.operations import expect as expecting
from dicomnode.operations import refer, vet
from dicomnode.operations.ports import Callers, Node, Peer, Stopped
from dicomnode.rules import completeness as rules
from dicomnode.rules.completeness import Asked, Complete, Decision, Evidence, Wait
from dicomnode.store import completeness, referrals
from dicomnode.store.completeness import Pending, Question
from dicomnode.store.referrals import Referral

log = logging.getLogger(__name__)


def complete(node: Node, callers: Callers) -> int:
    """Conclude what can be concluded now, and have asked who is to be asked; how many referrals became complete."""
    at = node.clock()
    _set_back(at, node)
    with node.database.read():
        decided = [(p, d) for p, d in _decisions(node, callers, at) if not isinstance(d, Wait)]
    return node.database.write(lambda: sum(_conclude(p, d, at, node) for p, d in decided)) if decided else 0


def next_look(node: Node, callers: Callers) -> int | None:
    """When there may be something to conclude (µs), if nothing comes until then; None: nothing is being received."""
    at = node.clock()
    with node.database.read():
        waits = [d.until if isinstance(d, Wait) else at for _, d in _decisions(node, callers, at)]
        quiet = completeness.next_quiet(at)
    return min([*waits, *([] if quiet is None else [quiet])], default=None)


def _set_back(at: int, node: Node) -> None:
    """A clock that was set back a day must not keep for a day what came before."""
    with node.database.read():
        if not completeness.is_ahead(at):
            return
    count = node.database.write(lambda: completeness.set_back(at))
    log.warning("the clock was set back: the quiet time of %d referrals begins anew", count)


def _decisions(node: Node, callers: Callers, at: int) -> Iterator[tuple[Pending, Decision]]:
    calling: list[str] | None = None
    for pending in completeness.pending(at):
        evidence = _evidence(pending, node)
        decision = rules.decide(evidence, at)
        if isinstance(decision, Complete) and pending.wait:  # only then does it matter who calls
            calling = _calling(node.config, callers) if calling is None else calling
            is_calling = bool(calling) and completeness.is_from(pending.study, calling)
            decision = rules.decide(replace(evidence, is_calling=is_calling), at)
        yield pending, decision


def _calling(config: NodeConfig, callers: Callers) -> list[str]:
    return [p.name for p in config.partners.values() if "store" in p.may and callers.is_calling(p.name)]


def _evidence(pending: Pending, node: Node) -> Evidence:
    expect, idle = _expected(pending, node.config), round(node.config.node.limits.idle * 1e6)
    if expect:
        asked = Asked(expect.partner, round(expect.within * 1e6), pending.asks, pending.lacking)
        return Evidence(pending.last_instance_at, pending.wait, idle, asked=asked)
    told = expecting.lacking(pending.study, node) if pending.wait else None
    return Evidence(pending.last_instance_at, pending.wait, idle, asked=told)


def _expected(pending: Pending, config: NodeConfig) -> Expect | None:
    """Who is expected to know a study: the first of its own site that a route names which chose it.

    Nobody else is told of it by being asked; where there is none, quiet time alone decides.
    """
    named = [route.expect for route in config.routes if route.expect and route.name in pending.routes]
    return next((each for each in named if config.partners[each.partner].site == pending.site), None)


def _conclude(pending: Pending, decision: Decision, at: int, node: Node) -> int:
    expect = _expected(pending, node.config)
    if expect and not pending.asks:  # also where it was too late to ask: then it is to be seen that nobody was
        completeness.put(pending.referral, expect.partner, at)
    if not isinstance(decision, Complete):
        return 0
    if not completeness.complete(pending.referral, at, pending.last_instance_at):
        return 0
    refer.record(pending.referral, "referral complete", decision.why, at, node)
    vet.vet(pending.study, at, node)
    refer.settle(pending.referral, at, node)
    return 1


# -- asking a PACS ---------------------------------------------------------------------------------------------


def ask(partner: Partner, peer: Peer, node: Node, stopped: Stopped) -> bool:
    """Ask one partner which instances it has of one study. False where nothing is to be asked."""
    at = node.clock()
    with node.database.read():
        question = completeness.question(partner.name, at)
    if question is None or stopped():
        return False
    limits = node.config.node.limits
    again = rules.next_question_at(at, question.asks, limits.retry_first, limits.retry_most)
    try:
        known = peer.instances(partner, question.study_instance_uid)
    except PartnerError as error:
        log.warning("study=%s asked=%s: no answer: %s", question.study_instance_uid, partner.display, error)
        node.database.write(lambda: completeness.unanswered(partner.name, at, again))
    else:
        node.database.write(lambda: _answered(question, partner, known, at, again))
        log.info("study=%s asked=%s: it has %d", question.study_instance_uid, partner.display, len(known))
    return True


def _answered(question: Question, partner: Partner, known: frozenset[str], at: int, again: int) -> None:
    if not known:  # it has not got the study yet, or never does: that tells nothing of what is still to come
        completeness.unanswered(partner.name, at, again, question.study)
        return
    lacking = completeness.lacking(question.study, known)
    completeness.answered(question.study, partner.name, at, lacking, again)


def due(partner: Partner, now: int) -> int | None:
    """When a partner is to be asked something (µs). Inside `Database.read`."""
    return completeness.due(partner.name)


def slots(node: Node) -> Callable[[Partner], int]:
    """One question at a time to each partner that a route expects to know its studies."""
    expected = {route.expect.partner for route in node.config.routes if route.expect}
    return lambda partner: int(partner.name in expected and partner.is_destination)


# -- a person's word -------------------------------------------------------------------------------------------


def by_word(ids: Sequence[int], who: str, node: Node) -> list[Referral]:
    """A person says that these are complete; those it was done to. Raises UsageError for an id that there is not."""
    at = node.clock()

    def completed(referral: int) -> Referral | None:
        if not completeness.complete(referral, at):
            return None
        refer.record(referral, "referral complete", f"complete by the word of {who}", at, node, who=who)
        vet.vet(referrals.study(referral), at, node)
        refer.settle(referral, at, node)
        return referrals.get(referral)

    return refer.each(ids, completed, node)
