"""Where a referral stands → what a person is told of it: the fact, its cause, what comes next, and whose that is.

One of the facts is what matters now: what stops it before what it waits for, and what it waits for before what is
missing of it. The table `_OF` has them in that order, and the first that has something to say says it. Times in µs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from dicomnode.config.units import say_duration

NOBODY = "nobody"
YOU = "you"


@dataclass(frozen=True, slots=True)
class Lane:
    """The lane of a partner: whether it fails, waits, or is held; and when its window opens, where that is closed."""

    hold: str = ""
    failing_since: int | None = None
    reason: str = ""
    tried_at: int = 0
    """When it is tried next."""
    opens_at: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """All that decides where a referral stands, as of `at`. '' and None: that is not so, or is not known."""

    at: int
    referral: int
    study_instance_uid: str
    site: str
    partner: str
    route: str
    progress: str
    gate: str
    reason: str
    """Why its gate is closed: all there is, in words."""
    quarantine: str = ""
    correction: str = ""
    identity: str = ""
    hold: str = ""
    unreferred: str = ""
    unconsented: str = ""
    withdrawn: str = ""
    recall: str = ""
    stranded: bool = False
    last_instance_at: int = 0
    wait: int = 0
    asked: str = ""
    asks: int = 0
    lacking: int | None = None
    completed_at: int | None = None
    queued: int = 0
    active: int = 0
    delivered: int = 0
    held: int = 0
    dropped: int = 0
    skipped: int = 0
    due_at: int | None = None
    """When the next of what is queued may go."""
    deferred: str = ""
    """Why that one did not, the last time."""
    holds: str = ""
    """What would end it that the first of those held is: `store.queue.Hold`."""
    held_because: str = ""
    dropped_because: str = ""
    proof: str = ""
    unproven: str = ""
    look_at: int | None = None
    sent_at: int | None = None
    confirmed_at: int | None = None
    lane: Lane = Lane()

    @property
    def instances(self) -> int:
        """How many it has."""
        return self.queued + self.active + self.delivered + self.held + self.dropped + self.skipped

    @property
    def has_gone(self) -> bool:
        """Whether all was sent that could be."""
        return self.progress in ("sent", "confirmed")


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a person is told: what is so, why, what comes next, and whose that is."""

    fact: str
    cause: str
    action: str
    whose: str

    def __str__(self) -> str:
        return f"{self.fact} {self.cause} {self.action} It is for {self.whose}."


def moment(at: int) -> str:
    """A time in a sentence."""
    return f"{datetime.fromtimestamp(at / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC"


def conclude(it: Standing) -> Conclusion:
    """What matters now of a referral."""
    return next(found for look in _OF for found in look(it))


Found = Iterator[Conclusion]


def _radiographer(site: str) -> str:
    return f"{site}'s radiographer"


def _administrator(partner: str) -> str:
    return f"the administrator of {partner}"


def _count(number: int, it: Standing) -> str:
    return f"Of {it.instances} instances {number} {'is' if number == 1 else 'are'}"


def _because(reason: str) -> str:
    return f"The reason: {reason}."


# -- what stops it ---------------------------------------------------------------------------------------------


def _recalled(it: Standing) -> Found:
    if it.recall == "recalling":
        action = (
            f"Get their word that they have dealt with it, and write it down: `dicomnode referrals recall {it.referral}"
            " --acknowledged …`. Whether they delete it is up to them: DICOM has no delete."
        )
        fact = f"It was sent to {it.partner}, and is being called back."
        yield Conclusion(fact, _because(it.withdrawn), action, f"{_administrator(it.partner)}, and then you")
    elif it.recall == "recalled":
        fact = f"It was called back from {it.partner}, and somebody there has acknowledged that."
        yield Conclusion(fact, _because(it.withdrawn), "Nothing more of it is ever sent.", NOBODY)


def _withdrawn(it: Standing) -> Found:
    if it.withdrawn:
        action = "Nothing of it is sent there any more, ever."
        yield Conclusion(f"It is withdrawn, and not sent to {it.partner}.", _because(it.withdrawn), action, NOBODY)


def _stopped(it: Standing) -> Found:
    """A gate that is closed: all reasons are named, and the first is to be dealt with first."""
    if it.gate == "open":
        return
    for fact, stops, action, whose in _gates(it):
        if stops:
            yield Conclusion(f"{fact}: nothing more of it goes to {it.partner}.", _because(it.reason), action, whose)


def _gates(it: Standing) -> Iterator[tuple[str, str | bool, str, str]]:
    """What the reason says to do already is not said again."""
    show = f"Look: `dicomnode quarantine show {it.study_instance_uid}` sets it side by side; "
    release = "`dicomnode quarantine release` or `reject` decides."
    decide = release if "dicomnode quarantine show" in it.reason else show + release
    unsent = not it.has_gone
    yield "The study is in quarantine", unsent and it.quarantine, decide, YOU
    lift = f"Whoever held it knows why; `dicomnode referrals release {it.referral}` lets it go on."
    yield "A person holds the referral", it.hold, lift, YOU
    yield "The study was corrected, and waits", unsent and it.correction, decide, YOU
    yield "It is held until one person has looked whose study it is", unsent and it.identity, decide, YOU
    advance = "Then it goes on by itself." if "dicomnode referrals match" in it.reason else (
        "Import the referral (`dicomnode referrals import`), or say which one it is (`dicomnode referrals match"
        f" {it.study_instance_uid} NUMBER`): then it goes on by itself."
    )
    yield "It waits for its referral in advance", unsent and it.unreferred, advance, YOU
    command = f": `dicomnode referrals consent {it.referral} --evidence …`"
    consent = f"Ask for it, and write it down{'' if 'dicomnode referrals consent' in it.reason else command}."
    yield "It waits for consent", unsent and it.unconsented, consent, f"{_radiographer(it.site)}, and then you"
    configure = "Add the partner, or its host and port, to the configuration, and `dicomnode reload`."
    yield "There is nobody to send it to", it.stranded, configure, YOU
    yield "Its gate is closed", True, f"`dicomnode referrals show {it.referral}` tells what happened.", YOU


# -- what it waits for -----------------------------------------------------------------------------------------


def _receiving(it: Standing) -> Found:
    if it.progress != "receiving" or not it.wait:
        return
    quiet = it.last_instance_at + it.wait
    fact = f"It is being received: {it.instances} instances for {it.partner} so far."
    if it.at < quiet:
        last, more = moment(it.last_instance_at), say_duration(it.wait / 1e6)
        cause = f"The last one came at {last}, and more may come for {more}."
        yield Conclusion(fact, cause, f"Unless something comes, it is complete at {moment(quiet)}.", NOBODY)
    elif it.asks and it.lacking:
        cause = f"{it.asked} of {it.site} says that it has {it.lacking} more."
        yield Conclusion(fact, cause, f"Have {it.asked} send the rest of it here.", _radiographer(it.site))
    elif it.asks and it.lacking is None:
        cause = f"It is quiet, and {it.asked} has not said yet what it has of it."
        yield Conclusion(fact, cause, "It is asked again, and not waited for for ever.", NOBODY)
    else:
        cause = "It is quiet, and who sent it may still have an association open."
        yield Conclusion(fact, cause, "When that ends, or has brought nothing for a while, it is complete.", NOBODY)


def _waiting(it: Standing) -> Found:
    if not it.queued + it.active:
        return
    fact = f"{_count(it.queued + it.active, it)} on the way to {it.partner}, and {it.delivered or 'none'} delivered."
    yield from _of_lane(it, fact)
    if it.due_at is not None and it.due_at > it.at and not it.active:
        cause = _because(it.deferred) if it.deferred else "They are not due yet."
        yield Conclusion(fact, cause, f"They are tried again at {moment(it.due_at)}.", NOBODY)
    cause = f"It is complete{_since(it.completed_at)}, and {it.partner} is being sent what waits for it, in its turn."
    yield Conclusion(fact, cause, "It goes by itself.", NOBODY)


def _of_lane(it: Standing, fact: str) -> Found:
    lane, partner = it.lane, it.partner
    if lane.hold:
        action = f"`dicomnode queue release --partner {partner}` when it may run."
        yield Conclusion(fact, f"A person holds the lane of {partner}: {lane.hold}.", action, YOU)
    if lane.opens_at is not None:
        action = f"It goes by itself at {moment(lane.opens_at)}."
        yield Conclusion(fact, f"The window in which {partner} is sent anything is closed.", action, NOBODY)
    if lane.failing_since is not None:
        cause = f"{partner} has failed since {moment(lane.failing_since)}: {lane.reason}."
        action = f"It is tried again{_at(lane.tried_at, it.at)}; `dicomnode partners echo {partner}` looks now."
        yield Conclusion(fact, cause, action, _administrator(partner))


def _at(then: int, now: int) -> str:
    return f" at {moment(then)}" if then > now else " now"


def _since(at: int | None) -> str:
    return f" since {moment(at)}" if at else ""


# -- what is missing of it -------------------------------------------------------------------------------------

_ENDS = {
    "configuration": ("What {0} takes has to be changed there, or here; after that it is tried again by itself.", ""),
    "person": ("Whoever held it knows why; `dicomnode queue release` lets it go on.", YOU),
    "file": ("The file here is not what was received: send the study here once more.", "source"),
    "": ("When that is put right, there or here, `dicomnode queue retry --partner {0}` sends it again.", ""),
}
"""By the kind of hold: what ends it, and whose that is, where it is not the partner's administrator."""


def _held(it: Standing) -> Found:
    if it.held:
        action, whose = _ENDS[it.holds]
        owner = whose or _administrator(it.partner)
        owner = _radiographer(it.site) if whose == "source" else owner
        fact = f"{_count(it.held, it)} held, and {it.delivered} delivered to {it.partner}."
        yield Conclusion(fact, _because(it.held_because), action.format(it.partner), owner)


def _passed_on(it: Standing) -> Found:
    if not it.route and it.dropped:
        fact = f"What was not delivered to {it.partner} is not sent there any more."
        action = "The other referral of the study says how far that is."
        yield Conclusion(fact, f"It {it.dropped_because}.", action, _administrator(it.partner))


def _dropped(it: Standing) -> Found:
    if it.dropped:
        fact = f"{_count(it.dropped, it)} dropped, and {it.delivered} delivered to {it.partner}."
        action = f"If they should go after all: `dicomnode referrals show {it.referral}`, and `dicomnode queue retry`."
        yield Conclusion(fact, _because(it.dropped_because), action, YOU)


def _confirmed(it: Standing) -> Found:
    if it.progress == "confirmed":
        at = _since(it.confirmed_at).replace(" since", " at")
        fact, cause = f"{it.partner} has all of it: {it.delivered} instances.", f"That is proven by {it.proof}{at}."
        yield Conclusion(fact, cause, "Nothing is left to do.", NOBODY)


def _sent(it: Standing) -> Found:
    if it.progress != "sent":
        return
    if not it.delivered:
        fact = f"Nothing of it is to be sent to {it.partner}."
        cause = f"Each of its {it.instances} instances is one that {it.partner} is never sent."
        yield Conclusion(fact, cause, "If that is not meant, change `skip_classes` or `only`.", YOU)
        return
    fact = f"It was sent: {it.partner} has answered for all of its {it.delivered} instances."
    if it.proof == "none":
        action = "Ask there whether the study is whole; `confirm` can name another AE to ask, or take its word."
        yield Conclusion(fact, f"It is not confirmed: {it.unproven}.", action, _administrator(it.partner))
        return
    cause = f"It is not confirmed yet{': ' + it.unproven if it.unproven else ''}."
    asked = f"{it.partner} is asked{_at(it.look_at or 0, it.at)}." if it.look_at else f"{it.partner} is asked."
    yield Conclusion(fact, cause, asked, NOBODY)


def _otherwise(it: Standing) -> Found:
    fact = f"Nothing of it waits for {it.partner}."
    cause = f"None of its instances is one that route {it.route} carries, so far."
    yield Conclusion(fact, cause, "What still comes of it is looked at.", NOBODY)


_OF: tuple[Callable[[Standing], Found], ...] = (
    *(_recalled, _withdrawn, _stopped),
    *(_receiving, _waiting),
    *(_held, _passed_on, _dropped, _confirmed, _sent, _otherwise),
)
