"""The C-GET SCP (PS3.4 C.4.3.3): instances go back on the association on which they were asked for.

Only on contexts where the requestor took the role of SCP for storage; a class without one fails, and not the rest. The
C-STORE-RSPs and a C-CANCEL come in on the same association while the request is served. A response counts only if it
answers the request that was sent, and after all of that was sent; what is not answered in time, or wrongly, ends the
association, and everything left has failed.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import closing

from pynetdicom.dimse_primitives import C_GET
from pynetdicom.presentation import PresentationContext

from dicomnode.errors import AssociationLost
from dicomnode.net import pdus, suboperations
from dicomnode.net.answering import Served
from dicomnode.net.commands import Response
from dicomnode.net.storing import Storing
from dicomnode.net.suboperations import Responses
from dicomnode.operations import getting, retrieve
from dicomnode.operations.ports import Originator, Outgoing

_MOST = 262144
"""The longest PDUs that we fill, where a peer takes any."""
_TICK = 1.0
"""Seconds of waiting after which the peer is told how far it is."""


def serve(assoc: Served, request: C_GET, context: PresentationContext) -> None:
    """Answer one C-GET-RQ, to its final response."""
    suboperations.serve(assoc, request, context, _get)


def _get(assoc: Served, request: C_GET, context: PresentationContext) -> None:
    assert assoc.partner is not None
    plan = retrieve.plan_get(suboperations.asked(assoc, request, context), assoc.partner, assoc.node)
    responses = Responses(assoc, request, context, plan)

    def stopped() -> bool:
        assoc.reactor.attend()
        return responses.is_cancelled

    with closing(WayBack(assoc, request.Priority, responses)) as link:
        responses.follow(getting.send(plan, link, assoc.node, stopped))


class WayBack:
    """Instances to the requestor of an association, on that association: implements ports.Link, and storing.Line."""

    def __init__(self, assoc: Served, priority: int, responses: Responses) -> None:
        assert assoc.partner is not None
        self._assoc, self._priority, self._responses = assoc, priority, responses
        self._patience = assoc.node.config.node.limits.response
        self._answers: deque[Response] = deque()
        self._storing = Storing(
            {
                (str(context.abstract_syntax), str(context.transfer_syntax[0])): context.context_id
                for context in reversed(assoc.accepted_contexts)  # of two that are the same, the first
                if context.as_scu
            },
            pdus.longest_fragment(min(assoc.dimse.maximum_pdu_size or _MOST, _MOST - pdus.HEADER.size)),
            decompress=assoc.partner.decompresses,
            refusal="no context on which the caller is SCP is for",
        )

    def __repr__(self) -> str:
        return f"WayBack({self._assoc.caller.calling_ae_title}, {self._storing.messages} messages)"

    def close(self) -> None:
        """Read no more."""
        self._storing.close()

    # -- ports.Link --------------------------------------------------------------------------------------------

    def send(self, instance: Outgoing, originator: Originator | None = None, following: Outgoing | None = None) -> int:
        """C-STORE one instance; the status of the matching response. See ports.Link."""
        try:
            with self._assoc.dimse.awaiting() as self._answers:
                return self._storing.send(self, instance, following, self._priority, None)
        except AssociationLost as error:
            self.end(str(error))  # what was sent is of unknown outcome, and nobody can ask
            raise

    # -- storing.Line ------------------------------------------------------------------------------------------

    def speaks(self) -> bool:
        """See storing.Line. A C-CANCEL is no answer, and is heard too."""
        self._check(self._assoc.reactor.attend())
        return bool(self._answers)

    def put(self, data: memoryview) -> None:
        """See storing.Line."""
        self._assoc.reactor.send(data)

    def response(self) -> Response:
        """See storing.Line. How far it is may be said meanwhile."""
        reactor, left = self._assoc.reactor, self._assoc.reactor.untaken
        until = time.monotonic() + self._patience
        while not self._answers:
            if not reactor.is_silent(_TICK):
                self._check(reactor.attend())
            self._responses.pending()
            before, left = left, reactor.untaken
            if left < before:  # as long as it takes what was sent, it need not answer
                until = time.monotonic() + self._patience
            if time.monotonic() > until:
                raise AssociationLost("the caller did not answer a C-STORE in time")
        return self._answers.popleft()

    def end(self, why: str) -> None:
        """See storing.Line."""
        self._assoc.reactor.abort(f"aborted: {why}", pdus.abort())

    def _check(self, is_open: bool) -> None:
        if not is_open:
            raise AssociationLost(f"the caller's association is over: {self._assoc.reactor.end}")
