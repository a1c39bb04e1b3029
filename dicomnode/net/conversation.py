"""What we ask a partner on an association of its own: requests on one presentation context, and what comes back.

Everything that comes has a deadline, and all of it together too. A response counts only if it answers the request that
was sent: message and operation. What may fail: AssociationLost.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dicomnode.errors import AssociationLost
from dicomnode.net import commands, pdus
from dicomnode.net.channel import Channel
from dicomnode.net.commands import Response
from dicomnode.rules.contexts import IMPLICIT_LE

_LONGEST = 4 << 20
"""No dataset that answers a question, or is a result, has a reason to be longer (bytes)."""


class Conversation:
    """One accepted presentation context of an open association, for `seconds` at most."""

    def __init__(self, channel: Channel, seconds: float) -> None:
        self._channel = channel
        (self._context, syntax), *_ = channel.accepted.items()
        self.is_implicit = syntax == IMPLICIT_LE
        self._until = time.monotonic() + seconds
        self.message = 0

    def __repr__(self) -> str:
        return f"Conversation({self.message} messages)"

    def request(self, command: Callable[[int], bytes], dataset: bytes) -> None:
        """Send a request; `command` makes its command set with the Message ID."""
        self.message += 1
        self.send(command(self.message), dataset)

    def send(self, command: bytes, dataset: bytes = b"") -> None:
        """Send a message."""
        framed = self._channel.framed(self._context, command)
        self._channel.send(framed + pdus.data(self._context, 0, dataset, self._channel.step))

    def receive(self) -> tuple[bytes, bytes]:
        """Command set and dataset of the next message."""
        if time.monotonic() > self._until:
            raise AssociationLost("the partner takes too long, and comes to no end")
        return self._channel.receive_message(_LONGEST)

    def answer(self, command: bytes, field: int) -> Response:
        """The response in a command set, which must be to the last request."""
        found = commands.response(command)
        if (found.field, found.responds_to) != (field, self.message):
            raise AssociationLost("the partner's response answers another request")
        return found

    def speaks(self, seconds: float) -> bool:
        """Whether the partner says something within so long."""
        return self._channel.speaks(seconds)
