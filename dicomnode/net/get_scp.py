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
from typing import NoReturn

from pynetdicom.dimse_primitives import C_GET
from pynetdicom.presentation import PresentationContext

from dicomnode.dicom.classes import class_name, syntax_name
from dicomnode.errors import AssociationLost, ContextMissing
from dicomnode.net import commands, pdus, suboperations
from dicomnode.net.answering import Served
from dicomnode.net.commands import Response
from dicomnode.net.reading import Reader
from dicomnode.net.suboperations import Responses
from dicomnode.operations import getting, retrieve
from dicomnode.operations.ports import Originator, Outgoing
from dicomnode.rules import proposals

_MOST = 262144
"""The longest PDUs that we fill, where a peer takes any."""
_MOST_MESSAGES = 65535
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
    """Instances to the requestor of an association, on that association: implements ports.Link."""

    def __init__(self, assoc: Served, priority: int, responses: Responses) -> None:
        assert assoc.partner is not None
        self._assoc, self._priority, self._responses = assoc, priority, responses
        self._patience = assoc.node.config.node.limits.response
        self._decompress = assoc.partner.transcode == "decompress"
        self._contexts = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0])): context.context_id
            for context in reversed(assoc.accepted_contexts)  # of two that are the same, the first
            if context.as_scu
        }
        self._step = pdus.longest_fragment(min(assoc.dimse.maximum_pdu_size or _MOST, _MOST - pdus.HEADER.size))
        self._reader = Reader(self._step)
        self._messages = 0

    def __repr__(self) -> str:
        return f"WayBack({self._assoc.caller.calling_ae_title}, {self._messages} messages)"

    def close(self) -> None:
        """Read no more."""
        self._reader.close()

    def send(self, instance: Outgoing, originator: Originator | None = None, following: Outgoing | None = None) -> int:
        """C-STORE one instance; the status of the matching response. See ports.Link."""
        chosen = self._chosen(instance)
        if chosen is None:
            what = f"{class_name(instance.sop_class_uid)} in {syntax_name(instance.transfer_syntax_uid)}"
            raise ContextMissing(f"no context for {what} on which the caller is SCP")
        self._messages = self._messages % _MOST_MESSAGES + 1
        command = commands.store_request(
            self._messages, instance.sop_class_uid, instance.sop_instance_uid, self._priority, None
        )
        self._expect(instance, following)
        with self._assoc.dimse.awaiting() as answers:
            early = self._stream(pdus.data(chosen[0], pdus.COMMAND, command, self._step), answers)
            return self._status(self._answer(answers), instance, early)

    def _chosen(self, instance: Outgoing) -> tuple[int, str] | None:
        return proposals.choose(self._contexts, instance.context, self._decompress)

    def _expect(self, *instances: Outgoing | None) -> None:
        """Have the reader go on with these, the one that it reads already among them."""
        wanted = [(each, chosen) for each in instances if each and (chosen := self._chosen(each))]
        for each, (context, syntax) in wanted[len(self._reader.expected) :]:
            self._reader.expect(each, context, syntax)

    def _stream(self, command: bytes, answers: deque[Response]) -> bool:
        """Send the command and the dataset from the reader; whether the peer spoke before the end of it was sent."""
        begun = early = False
        try:
            for buffer in self._reader.buffers():
                self._check(self._assoc.reactor.attend())
                early = bool(answers)
                self._assoc.reactor.send(buffer.behind(b"" if begun else command))
                begun = True
        except BaseException as error:
            self._reader.close()
            self._reader = Reader(self._step)
            if begun:  # half a message is on the wire: nothing may follow it
                self._assoc.reactor.abort(f"aborted: {error}", pdus.abort())
            raise
        return early

    def _answer(self, answers: deque[Response]) -> Response:
        """Wait for the response; how far it is may be said meanwhile."""
        reactor, left = self._assoc.reactor, self._assoc.reactor.untaken
        until = time.monotonic() + self._patience
        while not answers:
            if not reactor.is_silent(_TICK):
                self._check(reactor.attend())
            self._responses.pending()
            before, left = left, reactor.untaken
            if left < before:  # as long as it takes what was sent, it need not answer
                until = time.monotonic() + self._patience
            if time.monotonic() > until:
                self._lose("the caller did not answer a C-STORE in time")
        return answers.popleft()

    def _status(self, answer: Response, instance: Outgoing, early: bool) -> int:
        same = answer.sop_instance_uid in ("", instance.sop_instance_uid)
        if answer.responds_to != self._messages or not same:
            self._lose("the caller's response answers another request")
        if early and (answer.status == 0 or answer.status >> 12 == 0xB):
            self._lose("the caller said that it had stored what it had not received yet")
        return answer.status

    def _check(self, is_open: bool) -> None:
        if not is_open:
            raise AssociationLost(f"the caller's association is over: {self._assoc.reactor.end}")

    def _lose(self, why: str) -> NoReturn:
        """End the association: what was sent is of unknown outcome, and nobody can ask."""
        self._assoc.reactor.abort(f"aborted: {why}", pdus.abort())
        raise AssociationLost(why)
