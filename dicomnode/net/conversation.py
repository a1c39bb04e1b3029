"""What we ask a partner on an association of its own: requests on one presentation context, and what comes back.

Everything that comes has a deadline, and all of it together too. A response counts only if it answers the request that
was sent: message and operation. What may fail: AssociationLost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from dicomnode.errors import AssociationLost
from dicomnode.net import commands, pdus
from dicomnode.net.channel import Channel
from dicomnode.net.commands import Response
from dicomnode.operations.ports import Stopped
from dicomnode.rules.contexts import IMPLICIT_LE

CONTEXT = 1
"""The presentation context of the requests; others are for what a C-GET brings."""
_LONGEST = 4 << 20
"""No dataset that answers a question, or is a result, has a reason to be longer (bytes)."""
_GLANCE = 0.2
"""Seconds between two looks whether it is to be cancelled."""


class Conversation:
    """An open association whose context 1 was accepted. `response`: seconds that one answer may take; `most`: all.

    `assumed`: the character set of a partner who declares none, or a wrong one; '' where nothing is assumed.
    """

    def __init__(self, channel: Channel, response: float, most: float, assumed: str = "") -> None:
        self._channel = channel
        self.assumed = assumed
        self.is_implicit = channel.accepted[CONTEXT] == IMPLICIT_LE
        self.response = response
        self._until = time.monotonic() + most
        self.message = 0
        self.is_cancelled = False

    def __repr__(self) -> str:
        return f"Conversation({self.message} messages)"

    def request(self, command: Callable[[int], bytes], dataset: bytes) -> None:
        """Send a request; `command` makes its command set with the Message ID."""
        self.message += 1
        self.send(command(self.message), dataset)

    def send(self, command: bytes, dataset: bytes = b"", context: int = CONTEXT) -> None:
        """Send a message."""
        framed = self._channel.framed(context, command)
        self._channel.send(framed + pdus.data(context, 0, dataset, self._channel.step))

    def wait(self, stopped: Stopped, patience: float, lives: Callable[[], bool] = lambda: False) -> None:
        """Wait until the partner says something: so many seconds from now, or from when `lives` last said that it does.

        Once `stopped`, the request is cancelled, which the partner has as long to answer as any other.
        """
        until = time.monotonic() + patience
        while not self._cancel_if(stopped) and not self._channel.speaks(_GLANCE):
            if lives():
                until = time.monotonic() + patience
            elif time.monotonic() > until:
                raise AssociationLost("the partner did not answer in time")

    def _cancel_if(self, stopped: Stopped) -> bool:
        """C-CANCEL, once (PS3.7 9.3.2.3); whether it was now."""
        if self.is_cancelled or not stopped():
            return False
        self.is_cancelled = True
        self._until = min(self._until, time.monotonic() + self.response)
        self.send(commands.cancel_request(self.message))
        return True

    def receive(self) -> tuple[bytes, bytes]:
        """Command set and dataset of the next message."""
        self._check_time()
        return self._channel.receive_message(_LONGEST)

    def receive_on(self) -> tuple[int, str, bytes]:
        """Presentation context, its transfer syntax, and command set of the next message; its dataset is to come."""
        self._check_time()
        context, command = self._channel.receive_request()
        if context not in self._channel.accepted:
            raise AssociationLost("the partner sent something on a presentation context that it has not accepted")
        return context, self._channel.accepted[context], command

    def fragments(self) -> Iterator[bytes]:
        """The dataset of the last message, as it comes."""
        return self._channel.dataset()

    def dataset(self) -> bytes:
        """The dataset of the last message, which is an answer."""
        whole = bytearray()
        for fragment in self.fragments():
            whole += fragment
            if len(whole) > _LONGEST:
                raise AssociationLost("the partner sent a response without end")
        return bytes(whole)

    def _check_time(self) -> None:
        if time.monotonic() > self._until:
            raise AssociationLost("the partner takes too long, and comes to no end")

    def answer(self, command: bytes, field: int) -> Response:
        """The response in a command set, which must be to the last request."""
        found = commands.response(command)
        if (found.field, found.responds_to) != (field, self.message):
            raise AssociationLost("the partner's response answers another request")
        return found

    def speaks(self, seconds: float) -> bool:
        """Whether the partner says something within so long."""
        return self._channel.speaks(seconds)
