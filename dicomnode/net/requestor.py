"""Partners, as somebody who calls them: implements ports.Peer.

Each file is streamed as it is stored, in its own transfer syntax. A response counts only if it answers the request that
was sent: message, operation and instance (a stray 0000H must never mark something delivered).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom import part10
from dicomnode.dicom.classes import DEFLATED, class_name, syntax_name
from dicomnode.errors import AssociationLost, ContextMissing, PartnerError, Unreachable, Unreadable
from dicomnode.net import commands
from dicomnode.net.channel import Channel
from dicomnode.operations.ports import Originator, Outgoing
from dicomnode.rules import contexts
from dicomnode.rules.contexts import EXPLICIT_LE, IMPLICIT_LE, VERIFICATION, Proposal

_MEDIUM = 0
_MOST_MESSAGES = 65535


class Requestor:
    """Calls partners under this node's AE title, with the deadlines of its configuration."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config

    @contextmanager
    def associate(self, partner: Partner, pairs: Sequence[tuple[str, str]]) -> Iterator[Association]:
        """An association that proposes one context for each pair; released at the end, aborted on an error."""
        proposals = contexts.propose(pairs)
        channel = self._open(partner, proposals)
        try:
            yield Association(channel, partner, proposals)
        except BaseException:
            channel.abort()
            raise
        channel.release()

    def echo(self, partner: Partner) -> None:
        """C-ECHO; raises PartnerError unless it succeeds."""
        channel = self._open(partner, [Proposal(1, VERIFICATION, (EXPLICIT_LE, IMPLICIT_LE))])
        try:
            if not channel.accepted:
                raise ContextMissing("the partner accepts associations from us, and no Verification")
            channel.send(1, [(commands.echo_request(1), True)], command=True)
            answer = commands.response(channel.receive_command())
            if (answer.field, answer.responds_to) != (commands.C_ECHO_RSP, 1) or answer.status:
                raise PartnerError(f"the partner answered the C-ECHO with {answer.status:04X}H")
        finally:
            channel.release()

    def _open(self, partner: Partner, proposals: Sequence[Proposal]) -> Channel:
        if partner.host is None or partner.port is None:
            raise Unreachable(f"{partner.name} has no host and port in the configuration")
        limits = self._config.node.limits
        channel = Channel((partner.host, partner.port), connect=limits.connect, response=limits.response)
        try:
            channel.associate(self._config.node.ae_title, partner.ae_title, proposals)
        except PartnerError:
            channel.abort()
            raise
        return channel


class Association:
    """An association with one partner: implements ports.Link."""

    def __init__(self, channel: Channel, partner: Partner, proposals: Sequence[Proposal]) -> None:
        self._channel = channel
        self._partner = partner
        self._messages = 0
        self._contexts = {
            (proposal.abstract_syntax, proposal.transfer_syntaxes[0]): proposal.id
            for proposal in proposals
            if proposal.id in channel.accepted
        }

    def __repr__(self) -> str:
        return f"Association({self._partner.display}, {self._messages} messages)"

    def send(self, instance: Outgoing, originator: Originator | None = None) -> int:
        """C-STORE one instance from its file; the status of the matching response."""
        context = self._contexts.get(instance.context)
        if context is None:
            what = f"{class_name(instance.sop_class_uid)} in {syntax_name(instance.transfer_syntax_uid)}"
            raise ContextMissing(f"{self._partner.name} does not accept {what}")
        self._messages = self._messages % _MOST_MESSAGES + 1
        request = commands.store_request(
            self._messages,
            instance.sop_class_uid,
            instance.sop_instance_uid,
            originator.priority if originator else _MEDIUM,
            (originator.ae_title, originator.message_id) if originator else None,
        )
        with _dataset(instance) as file:
            self._channel.send(context, _pieces_of(request, self._channel.step), command=True)
            try:
                self._channel.send(context, _pieces(file, instance, self._channel.step), command=False)
            except Unreadable:
                self._channel.abort()  # half a message is on the wire: nothing may follow it
                raise
        return self._status(instance)

    def _status(self, instance: Outgoing) -> int:
        answer = commands.response(self._channel.receive_command())
        same = answer.sop_instance_uid in ("", instance.sop_instance_uid)
        if (answer.field, answer.responds_to) != (commands.C_STORE_RSP, self._messages) or not same:
            raise AssociationLost("the partner's response answers another request")
        return answer.status


def _dataset(instance: Outgoing) -> BinaryIO:
    """The instance's file, at the first byte of its dataset. Unreadable: it is missing, or not as long as it was."""
    try:
        offset = part10.read(instance.path).offset
        file = instance.path.open("rb", buffering=0)
        file.seek(offset)
        length = os.fstat(file.fileno()).st_size - offset
    except OSError as error:
        raise Unreadable(f"our own file {instance.path.name} cannot be read: {error.strerror}") from error
    if length != instance.size:
        file.close()
        raise Unreadable(f"our own file {instance.path.name} has {length} bytes of dataset, and had {instance.size}")
    return file


def _pieces(file: BinaryIO, instance: Outgoing, step: int) -> Iterator[tuple[bytes, bool]]:
    """The dataset in pieces of `step` bytes, each with whether it is the last.

    The last one is withheld until all of it is known to be what was received: Unreadable otherwise. A deflated
    dataset of odd length has a zero byte behind it (PS3.5 A.5).
    """
    left, running = instance.size, hashlib.sha256()
    while left > 0:
        try:
            piece = file.read(min(step, left))
        except OSError as error:
            raise Unreadable(f"our own file {instance.path.name} cannot be read: {error.strerror}") from error
        left -= len(piece)
        running.update(piece)
        if not piece or (not left and running.hexdigest() != instance.sha256):
            raise Unreadable(f"our own file {instance.path.name} is not what was received")
        padding = not left and instance.size % 2 and instance.transfer_syntax_uid in DEFLATED
        yield piece + b"\0" * bool(padding), left == 0


def _pieces_of(data: bytes, step: int) -> Iterator[tuple[bytes, bool]]:
    for start in range(0, len(data), step):
        yield data[start : start + step], start + step >= len(data)
