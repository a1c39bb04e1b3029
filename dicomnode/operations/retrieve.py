"""The story of a C-MOVE: who asks, where to, what; decided before anybody is contacted, then sent as it is stored.

A destination comes from the configuration, by name, among those that the caller may reach. Where studies leave their
site, the move passes the gate of their referral, opens or joins it, and writes every result into its ledger; a gate or
a lane that is closed meanwhile ends it. What a person has held or dropped for one AE of a site goes to none of its
others. What fails is told to the caller and is not queued.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import NoReturn

from dicomnode.config.model import Partner
from dicomnode.dicom.identifier import Identifier
from dicomnode.errors import ContextMissing, GateClosed, InstanceError, PartnerError, UnknownDestination
from dicomnode.operations import refer
from dicomnode.operations.find import scope
from dicomnode.operations.ports import Link, Node, Originator, Outgoing, Peer, Stopped
from dicomnode.rules import matching, oneway, outcome, proposals
from dicomnode.rules.matching import Model
from dicomnode.rules.outcome import Delivered
from dicomnode.store import audit, doubts, gates, lanes, queue, referrals, search
from dicomnode.store.queue import Result, State
from dicomnode.store.referrals import Opening, Progress
from dicomnode.store.search import Located

_TICK = 1.0
"""Seconds after which whoever waits for a result may do something else."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A move that may be made: where to, what, the referrals that it joins (study → referral), and what does not go."""

    destination: Partner
    instances: tuple[Located, ...]
    referrals: dict[int, int]
    withheld: dict[int, str]
    """Why, by the ids of those among the instances that the destination is not to have: each of these fails."""

    @property
    def going(self) -> list[Located]:
        """What is sent."""
        return [each for each in self.instances if each.instance not in self.withheld]


@dataclass(frozen=True, slots=True)
class SubOperation:
    """What came of one C-STORE sub-operation (PS3.4 C.4.2.2): done, done with a warning, or failed."""

    sop_instance_uid: str
    completed: bool
    warning: bool = False


def plan(identifier: Identifier, model: Model, title: str, caller: Partner, node: Node) -> Plan:
    """Decide a C-MOVE. Raises UnknownDestination, BadIdentifier, GateClosed; nobody has been contacted by then."""
    destination = _destination(title, caller, node)
    query = matching.retrieve(identifier, model)
    with node.database.read():
        found = search.instances(query, scope(caller, node))
    if any(not oneway.may_flow(node.config, each.site, destination.site) for each in found):
        _refused(caller, title, "no flow allows it", node)
    if any(each.quarantine for each in found):
        raise GateClosed(_QUARANTINED)
    crossing = [each for each in found if each.site != destination.site]
    if not crossing:
        return Plan(destination, tuple(found), {}, {})
    joined, withheld = node.database.write(lambda: _join(crossing, destination, caller, node))
    return Plan(destination, tuple(found), joined, withheld)


def _destination(title: str, caller: Partner, node: Node) -> Partner:
    named = [p for p in node.config.partners.values() if p.ae_title == title and p.is_destination]
    reached = [p for p in named if oneway.may_flow(node.config, caller.site, p.site)]
    if len(reached) != 1:
        _refused(caller, title, "forbidden" if named and not reached else "ambiguous" if reached else "unknown", node)
    return reached[0]


def _refused(caller: Partner, title: str, why: str, node: Node) -> NoReturn:
    text = f"{caller.name} asked to move to {title}: {why}"
    event = audit.Event(node.clock(), "move destination refused", text, caller.name, generation=node.generation)
    node.database.write(lambda: audit.record(event))
    raise UnknownDestination(f"Move Destination {title} unknown")


_QUARANTINED = "a study is quarantined: see `dicomnode quarantine list`"


def _join(
    crossing: Sequence[Located], destination: Partner, caller: Partner, node: Node
) -> tuple[dict[int, int], dict[int, str]]:
    """The referral of each study that crosses, and what of it is withheld. Inside `Database.write`.

    Raises GateClosed where a study may not cross, or nothing of what was asked for.
    """
    withheld = _withheld(crossing, destination, node)
    if len(withheld) == len(crossing):
        raise GateClosed("; ".join(sorted(set(withheld.values()))))
    joined = {}
    for study in {each.study for each in crossing if each.instance not in withheld}:
        if why := _closed(study, destination, node):
            raise GateClosed(why)
        joined[study] = _referral(study, destination, caller, node)
        if some := [each for each in crossing if each.study == study and each.instance in withheld]:
            text = f"{len(some)} instance(s) are not moved to {destination.name}: {withheld[some[0].instance]}"
            refer.record(joined[study], "instances withheld", text, node.clock(), node)
    return joined, withheld


def _withheld(crossing: Sequence[Located], destination: Partner, node: Node) -> dict[int, str]:
    """Why some of the instances do not go, by their ids: a person's word, or the destination's `skip_classes`."""
    skipped = [each for each in crossing if each.sop_class_uid in destination.skip_classes]
    why = {each.instance: refer.skipped(each.sop_class_uid, destination.name) for each in skipped}
    return why | gates.withheld([each.instance for each in crossing], destination.name, _same_site(destination, node))


def _same_site(destination: Partner, node: Node) -> list[str]:
    return [partner.name for partner in node.config.partners.values() if partner.site == destination.site]


def _closed(study: int, destination: Partner, node: Node) -> str:
    """Why a study may not cross to a destination, '' where it may. Inside `Database.read` or `write`.

    What a person holds back from one AE of a site goes to none of its others.
    """
    if doubts.is_quarantined(study):
        return _QUARANTINED
    if doubts.is_corrected(study):
        return "a study was corrected: see `dicomnode quarantine list`"
    same = _same_site(destination, node)
    if held := gates.held(study, same):
        return f"referral {held} is held"
    known = {partner: referral for referral, partner, _ in referrals.of_study(study) if partner in same}
    for partner in {destination.name: 0} | known:
        if hold := lanes.paused(partner).hold:
            return f"the lane of {partner} is {hold}"
    referral = known.get(destination.name)
    if referral and not referrals.is_open(referral):
        return f"the gate of referral {referral} is closed"
    return ""


def _referral(study: int, destination: Partner, caller: Partner, node: Node) -> int:
    """The referral of a study to the destination, opened where there is none."""
    at, found = node.clock(), referrals.find(study, destination.name)
    if found:
        referral = found[0]
    else:
        opening = Opening(destination.name, f"C-MOVE by {caller.name}", 0, node.generation, Progress.SENDING)
        referral = referrals.open_(study, opening, at)
    refer.record(referral, "study moved", f"{caller.name} moves the study to {destination.name}", at, node)
    return referral


def send(plan: Plan, originator: Originator, peer: Peer, node: Node, stopped: Stopped) -> Iterator[SubOperation | None]:
    """Make the sub-operations until they are done or `stopped` says so. Raises nothing of the network.

    None comes every second in which nothing else does; `stopped` is asked by the thread that asks for the next.
    """
    kept_back = [each for each in plan.instances if each.instance in plan.withheld]
    yield from (SubOperation(each.sop_instance_uid, completed=False) for each in kept_back)
    closed = ""
    try:
        for pairs in proposals.groups((i.sop_class_uid, i.transfer_syntax_uid) for i in plan.going):
            moving = Moving(plan, pairs, originator, peer, node, closed)
            yield from moving.run(stopped)
            if moving.stopping:
                return
            closed = moving.closed
    finally:
        if plan.referrals:
            node.database.write(lambda: _settle(plan, node))


def _settle(plan: Plan, node: Node) -> None:
    for referral in plan.referrals.values():
        refer.settle(referral, node.clock(), node)


class Moving:
    """Sub-operations in flight: on as many associations as the destination takes, a thread for each.

    A thread goes on when somebody has taken its last result, so that a cancel is heard between any two. `closed` is why
    what crosses may do so no longer: what is left has failed then.
    """

    def __init__(
        self, plan: Plan, pairs: Sequence[tuple[str, str]], originator: Originator, peer: Peer, node: Node, closed: str
    ) -> None:
        self.plan, self.pairs, self.originator, self.peer, self.node = plan, pairs, originator, peer, node
        self.waiting = deque(i for i in plan.going if (i.sop_class_uid, i.transfer_syntax_uid) in pairs)
        self.closed = closed
        self.open = 0 if closed else min(plan.destination.associations, len(self.waiting))
        self.results: SimpleQueue[SubOperation | Exception | None] = SimpleQueue()
        self.taken = threading.Semaphore(0)
        self.stopping, self.sound, self.failure = False, False, ""

    def __repr__(self) -> str:
        return f"Moving({self.plan.destination.display}, {self.open} associations, {len(self.waiting)} waiting)"

    def run(self, stopped: Stopped) -> Iterator[SubOperation | None]:
        """The results as they come. Where every association has failed, so has what is left."""
        threads = self.open
        self._start(threads)
        try:
            while self.open or self._again():
                result = self._result()
                self.stopping |= stopped()
                if result:
                    self.taken.release()
                yield result
            if not self.stopping:
                yield from (self._written(each, None, self.closed or self.failure) for each in self.waiting)
        finally:
            self.stopping |= bool(self.open)  # given up in the middle: the threads may go
            self.taken.release(threads)

    def _start(self, threads: int) -> None:
        self.open = threads
        for number in range(threads):
            threading.Thread(target=self._associate, name=f"move-{number}", daemon=True).start()

    def _again(self) -> bool:
        """Whether a new association sends what a lost one gave back after the others had ended, one of them well."""
        again = self.sound and bool(self.waiting) and not self.stopping and not self.closed
        if again:
            self.sound = False
            self._start(1)
        return again

    def _result(self) -> SubOperation | None:
        """The next result; None where none comes within a second, or a thread has ended."""
        try:
            result = self.results.get(timeout=_TICK)
        except Empty:
            return None
        if isinstance(result, Exception):
            raise result
        self.open -= result is None
        return result

    # -- each thread -------------------------------------------------------------------------------------------

    def _associate(self) -> None:
        try:
            with self.peer.associate(self.plan.destination, self.pairs) as link:
                self._send_all(link)
        except PartnerError as error:
            self.failure = str(error)
        except Exception as error:  # our own: it is raised where somebody answers for it
            self.results.put(error)
        else:
            self.sound = True
        finally:
            self.results.put(None)

    def _send_all(self, link: Link) -> None:
        following = self._next()
        while (located := following) and not self.stopping and not self.closed:
            following = self._next()
            try:
                result = self._send(located, following, link)
            except PartnerError as error:
                self.results.put(self._written(located, None, str(error)))
                if following:
                    self.waiting.appendleft(following)
                raise
            self.results.put(result)
            self.taken.acquire()
        if following:
            self.waiting.appendleft(following)

    def _next(self) -> Located | None:
        with suppress(IndexError):
            return self.waiting.popleft()
        return None

    def _send(self, located: Located, following: Located | None, link: Link) -> SubOperation:
        after = self._outgoing(following) if following else None
        try:
            return self._written(located, link.send(self._outgoing(located), self.originator, after), "")
        except (ContextMissing, InstanceError) as error:  # this one cannot go; the others can
            return self._written(located, None, str(error))

    def _outgoing(self, located: Located) -> Outgoing:
        return Outgoing(
            *(located.sop_class_uid, located.sop_instance_uid, located.transfer_syntax_uid),
            *(self.node.archive.path(located.file), located.size, located.sha256),
        )

    def _written(self, located: Located, status: int | None, error: str) -> SubOperation:
        """The result of one sub-operation, and its line in the ledger where the study left its site."""
        result = outcome.of_status(status, 0) if status is not None else outcome.Never(error)
        completed = isinstance(result, Delivered)
        referral = self.plan.referrals.get(located.study)
        if referral is not None:
            state = State.DELIVERED if completed else State.DROPPED
            line = Result(0, state, self.node.clock(), status, result.reason)
            self.closed = self.node.database.write(lambda: self._write(referral, located, line)) or self.closed
        return SubOperation(located.sop_instance_uid, completed, warning=completed and status != 0)

    def _write(self, referral: int, located: Located, line: Result) -> str:
        """Write down one result, and see why no more of its study may cross; '' where more may."""
        queue.moved(referral, self.plan.destination.name, located.instance, line)
        return _closed(located.study, self.plan.destination, self.node)
