"""The sub-operations of a C-GET: one after the other, on the association on which it was asked for.

Raises nothing of the network: when the association is lost, everything left has failed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from dicomnode.errors import PartnerError
from dicomnode.operations.account import Account, SubOperation
from dicomnode.operations.ports import Link, Node, Stopped
from dicomnode.operations.retrieve import Plan


def send(plan: Plan, link: Link, node: Node, stopped: Stopped) -> Iterator[SubOperation]:
    """Make the sub-operations until they are done or `stopped` says so, which is asked between any two."""
    account = Account(plan, node)
    yield from account.withheld()
    try:
        for done in _results(account, link, stopped):
            account.count(done)
            yield done
    finally:
        account.close()


def _results(account: Account, link: Link, stopped: Stopped) -> Iterator[SubOperation]:
    left, lost = deque(account.plan.going), ""
    while left and not lost and not stopped() and account.may_go(left[0]):
        located = left.popleft()
        try:
            yield account.send(located, left[0] if left else None, link)
        except PartnerError as error:
            left.appendleft(located)
            lost = str(error)
    if why := account.closed or lost:
        yield from account.failed(tuple(left), why)
