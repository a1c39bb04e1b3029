"""An association on which instances are sent: implements ports.Link.

Each file is streamed as it is stored, in its own transfer syntax, where the partner takes that, and in another one that
it takes where not. A response counts only if it answers the request that was sent: message, operation and instance (a
stray 0000H must never mark something delivered).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dicomnode.config.model import Partner
from dicomnode.dicom.classes import class_name, syntax_name
from dicomnode.errors import AssociationLost, ContextMissing, InstanceError
from dicomnode.net import commands
from dicomnode.net.channel import Channel
from dicomnode.net.pacing import Pace
from dicomnode.net.reading import Reader
from dicomnode.operations.ports import Originator, Outgoing
from dicomnode.rules import proposals
from dicomnode.rules.contexts import Proposal

_MEDIUM = 0
_MOST_MESSAGES = 65535


class Association:
    """An association with one partner: implements ports.Link.

    It may have lingered, and be over before we could notice: what its first request meets then is that, and no
    failure of the partner, so the request is made again on a new association.
    """

    def __init__(
        self,
        partner: Partner,
        pairs: Sequence[tuple[str, str]],
        dial: Callable[[Partner, Sequence[Proposal]], Channel],
        pace: Pace | None,
    ) -> None:
        self._partner, self._dial, self._pace = partner, dial, pace
        self.pairs = frozenset(pairs)
        self._decompress = partner.transcode == "decompress"
        self._proposals = proposals.propose(pairs, self._decompress)
        self._open()

    def _open(self) -> None:
        self._channel = self._dial(self._partner, self._proposals)
        self._reader = Reader(self._channel.step)
        self._messages = 0
        self._lingered = False
        self._heard = False
        """Whether the partner had said something already when the end of the instance was still to be sent."""
        self._contexts = {
            (proposal.abstract_syntax, self._channel.accepted[proposal.id]): proposal.id
            for proposal in self._proposals
            if proposal.id in self._channel.accepted
        }

    def __repr__(self) -> str:
        return f"Association({self._partner.display}, {self._messages} messages)"

    def covers(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Whether each was proposed: what the partner has refused once, it is not asked again."""
        return self.pairs.issuperset(pairs)

    def linger(self) -> bool:
        """Whether it can go on: nobody has ended it. Its next request is the first since."""
        self._lingered = True
        return not self._channel.is_over

    def release(self) -> None:
        """End it in good order."""
        self._reader.close()
        self._channel.release()

    def abort(self) -> None:
        """End it at once."""
        self._reader.close()
        self._channel.abort()

    # -- ports.Link --------------------------------------------------------------------------------------------

    def send(self, instance: Outgoing, originator: Originator | None = None, following: Outgoing | None = None) -> int:
        """C-STORE one instance from its file; the status of the matching response. See ports.Link."""
        if self._channel.is_closed:  # by us, over a file of ours
            self._open()
        try:
            return self._send(instance, originator, following)
        except AssociationLost:
            if not self._lingered:
                raise
        self.abort()
        self._open()
        return self._send(instance, originator, following)

    def _send(self, instance: Outgoing, originator: Originator | None, following: Outgoing | None) -> int:
        chosen = self._chosen(instance)
        if chosen is None:
            raise ContextMissing(self._refused(instance))
        self._messages = self._messages % _MOST_MESSAGES + 1
        request = commands.store_request(
            self._messages,
            instance.sop_class_uid,
            instance.sop_instance_uid,
            originator.priority if originator else _MEDIUM,
            (originator.ae_title, originator.message_id) if originator else None,
        )
        self._expect(instance, following)
        try:
            self._stream(self._channel.framed(chosen[0], request))
        except ContextMissing as error:  # nor can it be had in what is accepted
            raise ContextMissing(f"{self._refused(instance)}; {error}") from error
        return self._status(instance)

    def _chosen(self, instance: Outgoing) -> tuple[int, str] | None:
        """The context on which an instance goes, and its transfer syntax there."""
        return proposals.choose(self._contexts, instance.context, self._decompress)

    def _refused(self, instance: Outgoing) -> str:
        """Why an instance cannot go: for a person, who is told what could."""
        taken = sorted(syntax_name(syntax) for abstract, syntax in self._contexts if abstract == instance.sop_class_uid)
        what = f"{class_name(instance.sop_class_uid)} in {syntax_name(instance.transfer_syntax_uid)}"
        return f"{self._partner.name} does not accept {what}{', but in ' if taken else ''}{' or '.join(taken)}"

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
        self._reader = Reader(self._channel.step)

    def _stream(self, command: bytes) -> None:
        """Send the command and the dataset that comes from the reader."""
        begun = False
        try:
            for buffer in self._reader.buffers():
                view = buffer.behind(b"" if begun else command)
                begun = True
                self._heard = self._channel.is_over
                for piece in self._pace.pieces(view) if self._pace else (view,):
                    self._channel.send(piece)
        except (InstanceError, ContextMissing):
            self._reread()
            if begun:
                self._channel.abort()  # half a message is on the wire: nothing may follow it
            raise

    def _status(self, instance: Outgoing) -> int:
        answer = commands.response(self._channel.receive_command())
        self._lingered = False
        same = answer.sop_instance_uid in ("", instance.sop_instance_uid)
        if (answer.field, answer.responds_to) != (commands.C_STORE_RSP, self._messages) or not same:
            raise AssociationLost("the partner's response answers another request")
        if self._heard and (answer.status == 0 or answer.status >> 12 == 0xB):
            raise AssociationLost("the partner said that it had stored what it had not received yet")
        return answer.status
