"""The sub-operations of a C-MOVE: on as many associations as the destination takes, a thread for each.

No instance is sent twice: what was under way on an association that is lost has failed; what had not begun, the others
carry on with. Raises nothing of the network: whatever happens to an instance is its result.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from dicomnode.errors import PartnerError
from dicomnode.operations.account import Account, SubOperation
from dicomnode.operations.ports import Link, Node, Originator, Peer, Stopped
from dicomnode.operations.retrieve import Plan
from dicomnode.rules import proposals
from dicomnode.store.search import Located

_TICK = 1.0
"""Seconds after which whoever waits for a result may do something else."""


def send(plan: Plan, originator: Originator, peer: Peer, node: Node, stopped: Stopped) -> Iterator[SubOperation | None]:
    """Make the sub-operations until they are done or `stopped` says so.

    None comes every second in which nothing else does; `stopped` is asked by the thread that asks for the next.
    """
    account = Account(plan, node)
    yield from account.withheld()
    try:
        stored = ((i.sop_class_uid, i.transfer_syntax_uid) for i in plan.going)
        for pairs in proposals.groups(stored, plan.destination.decompresses):
            moving = Moving(account, pairs, originator, peer)
            for done in moving.run(stopped):
                if done:
                    account.count(done)
                yield done
            if moving.stopping:
                return
    finally:
        account.close()


class Moving:
    """Sub-operations in flight, of instances for which one association can propose a context each.

    A thread goes on when somebody has taken its last result, so that a cancel is heard between any two. When `account`
    is closed, what is left has failed.
    """

    def __init__(self, account: Account, pairs: Sequence[tuple[str, str]], originator: Originator, peer: Peer) -> None:
        self.account, self.pairs, self.originator, self.peer = account, pairs, originator, peer
        self.destination = account.plan.destination
        self.waiting = deque(i for i in account.plan.going if (i.sop_class_uid, i.transfer_syntax_uid) in pairs)
        self.open = 0 if account.closed else min(self.destination.associations, len(self.waiting))
        self.results: SimpleQueue[SubOperation | Exception | None] = SimpleQueue()
        self.taken = threading.Semaphore(0)
        self.stopping, self.sound, self.failure = False, False, ""

    def __repr__(self) -> str:
        return f"Moving({self.destination.display}, {self.open} associations, {len(self.waiting)} waiting)"

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
                yield from self.account.failed(tuple(self.waiting), self.account.closed or self.failure)
        finally:
            self.stopping |= bool(self.open)  # given up in the middle: the threads may go
            self.taken.release(threads)

    def _start(self, threads: int) -> None:
        self.open = threads
        for number in range(threads):
            threading.Thread(target=self._associate, name=f"move-{number}", daemon=True).start()

    def _again(self) -> bool:
        """Whether a new association sends what a lost one gave back after the others had ended, one of them well."""
        again = self.sound and bool(self.waiting) and not self.stopping and not self.account.closed
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
            with self.peer.associate(self.destination, self.pairs) as link:
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
        while (located := following) and not self.stopping and self.account.may_go(located):
            following = self._next()
            try:
                result = self.account.send(located, following, link, self.originator)
            except PartnerError as error:
                self._fail(located, error)
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

    def _fail(self, located: Located, error: PartnerError) -> None:
        for result in self.account.failed([located], str(error)):
            self.results.put(result)
