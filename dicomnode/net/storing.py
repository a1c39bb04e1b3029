"""The C-STOREs that we make on one association (PS3.4 B.2.1), whoever has opened it.

What goes on which context, the next instance read ahead, the Message IDs; what carries the bytes is the association's.
A response counts only if it answers the request that was sent, by message, operation and instance, and came after all
of that was sent: a stray 0000H must never mark something delivered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from dicomnode.dicom.classes import class_name, syntax_name
from dicomnode.errors import AssociationLost, ContextMissing, NotCoerced
from dicomnode.net import commands, pdus
from dicomnode.net.commands import Response
from dicomnode.net.reading import Reader
from dicomnode.operations.ports import Originator, Outgoing
from dicomnode.rules import proposals, statuses
from dicomnode.rules.proposals import Pair

_MOST_MESSAGES = 65535


class Line(Protocol):
    """An association, as what carries messages. AssociationLost: it is over, or nothing comes in time."""

    def speaks(self) -> bool:
        """Whether the peer has said something that nobody has taken yet."""

    def put(self, data: memoryview) -> None:
        """Send whole PDUs."""

    def response(self) -> Response:
        """Wait for the next response."""

    def end(self, why: str) -> None:
        """End it at once."""


class Storing:
    """The C-STOREs of one association. `contexts`: those that were accepted, by (SOP class, transfer syntax).

    `step`: bytes of the longest fragment that the peer takes. `refusal`: what is said of what it does not.
    """

    def __init__(self, contexts: Mapping[Pair, int], step: int, *, decompress: bool, refusal: str) -> None:
        self._contexts, self._step = contexts, step
        self._decompress, self._refusal = decompress, refusal
        self._reader = Reader(step)
        self.messages = 0

    def __repr__(self) -> str:
        return f"Storing({self.messages} messages)"

    def close(self) -> None:
        """Read no more."""
        self._reader.close()

    def send(
        self, line: Line, instance: Outgoing, following: Outgoing | None, priority: int, originator: Originator | None
    ) -> int:
        """C-STORE one instance; the status of the matching response. Raises as ports.Link.send."""
        chosen = self._chosen(instance)
        if chosen is None:
            raise ContextMissing(self._refused(instance))
        self.messages = self.messages % _MOST_MESSAGES + 1
        request = commands.store_request(
            self.messages,
            instance.sop_class_uid,
            instance.sop_instance_uid,
            priority,
            (originator.ae_title, originator.message_id) if originator else None,
        )
        self._expect(instance, following)
        try:
            early = self._stream(pdus.data(chosen[0], pdus.COMMAND, request, self._step), line)
        except NotCoerced:  # which has nothing to do with what is accepted
            raise
        except ContextMissing as error:  # nor can it be had in what is accepted
            raise ContextMissing(f"{self._refused(instance)}; {error}") from error
        return self._status(instance, early, line)

    def _chosen(self, instance: Outgoing) -> tuple[int, str] | None:
        """The context on which an instance goes, and its transfer syntax there."""
        return proposals.choose(self._contexts, instance.context, self._decompress)

    def _refused(self, instance: Outgoing) -> str:
        """Why an instance cannot go: for a person, who is told what could."""
        taken = sorted(syntax_name(syntax) for abstract, syntax in self._contexts if abstract == instance.sop_class_uid)
        what = f"{class_name(instance.sop_class_uid)} in {syntax_name(instance.transfer_syntax_uid)}"
        return f"{self._refusal} {what}{', but in ' if taken else ''}{' or '.join(taken)}"

    def _expect(self, *instances: Outgoing | None) -> None:
        """Have the reader go on with these, the one that it reads already among them."""
        wanted = [(each, chosen) for each in instances if each and (chosen := self._chosen(each))]
        begun = list(self._reader.expected)
        if begun != [each for each, _ in wanted[: len(begun)]]:
            self._reread()
        for each, (context, syntax) in wanted[len(self._reader.expected) :]:
            self._reader.expect(each, context, syntax)

    def _reread(self) -> None:
        self._reader.close()
        self._reader = Reader(self._step)

    def _stream(self, command: bytes, line: Line) -> bool:
        """Send the command and the dataset from the reader; whether the peer spoke before the end of it was sent."""
        begun = early = False
        try:
            for buffer in self._reader.buffers():
                view = buffer.behind(b"" if begun else command)
                early = line.speaks()
                begun = True
                line.put(view)
        except BaseException as error:
            self._reread()
            if begun:  # half a message is on the wire: nothing may follow it
                line.end(str(error))
            raise
        return early

    def _status(self, instance: Outgoing, early: bool, line: Line) -> int:
        answer = line.response()
        same = answer.sop_instance_uid in ("", instance.sop_instance_uid)
        if (answer.field, answer.responds_to) != (commands.C_STORE_RSP, self.messages) or not same:
            raise AssociationLost("the response answers another request")
        if early and (answer.status == 0 or statuses.is_warning(answer.status)):
            raise AssociationLost("the peer said that it had stored what it had not received yet")
        return answer.status
