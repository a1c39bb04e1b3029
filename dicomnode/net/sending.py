"""An association on which instances are sent: implements ports.Link.

Each file is streamed as it is stored, in its own transfer syntax, where the partner takes that, and in another one that
it takes where not. What is sent, and which response counts, is in storing.py; how, here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dicomnode.config.model import Partner
from dicomnode.errors import AssociationLost
from dicomnode.net import commands
from dicomnode.net.channel import Channel
from dicomnode.net.commands import Response
from dicomnode.net.pacing import Pace
from dicomnode.net.storing import Storing
from dicomnode.operations.ports import Originator, Outgoing
from dicomnode.rules import proposals
from dicomnode.rules.contexts import Proposal

_MEDIUM = 0


class Association:
    """An association with one partner: implements ports.Link, and storing.Line.

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
        self._proposals = proposals.propose(pairs, partner.decompresses)
        self._open()

    def _open(self) -> None:
        self._channel = self._dial(self._partner, self._proposals)
        self._lingered = False
        accepted = self._channel.accepted
        self._storing = Storing(
            {(each.abstract_syntax, accepted[each.id]): each.id for each in self._proposals if each.id in accepted},
            self._channel.step,
            decompress=self._partner.decompresses,
            refusal=f"{self._partner.name} does not accept",
        )

    def __repr__(self) -> str:
        return f"Association({self._partner.display}, {self._storing.messages} messages)"

    def covers(self, pairs: Sequence[tuple[str, str]]) -> bool:
        """Whether each was proposed: what the partner has refused once, it is not asked again."""
        return self.pairs.issuperset(pairs)

    def linger(self) -> bool:
        """Whether it can go on: nobody has ended it. Its next request is the first since."""
        self._lingered = True
        return not self._channel.is_over

    def release(self) -> None:
        """End it in good order."""
        self._storing.close()
        self._channel.release()

    def abort(self) -> None:
        """End it at once."""
        self._storing.close()
        self._channel.abort()

    # -- ports.Link --------------------------------------------------------------------------------------------

    def send(self, instance: Outgoing, originator: Originator | None = None, following: Outgoing | None = None) -> int:
        """C-STORE one instance from its file; the status of the matching response. See ports.Link."""
        priority = originator.priority if originator else _MEDIUM
        if self._channel.is_closed:  # by us, over a file of ours
            self._open()
        try:
            return self._storing.send(self, instance, following, priority, originator)
        except AssociationLost:
            if not self._lingered:
                raise
        self.abort()
        self._open()
        return self._storing.send(self, instance, following, priority, originator)

    # -- storing.Line ------------------------------------------------------------------------------------------

    def speaks(self) -> bool:
        """See storing.Line: whatever the partner says now is the end, or a lie."""
        return self._channel.is_over

    def put(self, data: memoryview) -> None:
        """See storing.Line. In the partner's bandwidth."""
        for piece in self._pace.pieces(data) if self._pace else (data,):
            self._channel.send(piece)

    def response(self) -> Response:
        """See storing.Line."""
        answer = commands.response(self._channel.receive_command())
        self._lingered = False
        return answer

    def end(self, why: str) -> None:
        """See storing.Line."""
        self._channel.abort()
