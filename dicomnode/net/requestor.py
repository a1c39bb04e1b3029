"""Partners, as somebody who calls them: implements ports.Peer.

Each file is streamed as it is stored, in its own transfer syntax. A response counts only if it answers the request that
was sent: message, operation and instance (a stray 0000H must never mark something delivered). Associations may stay
open between batches; one that its partner has ended meanwhile is replaced, and nobody is told.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom.classes import class_name, syntax_name
from dicomnode.errors import AssociationLost, ConfigurationError, ContextMissing, PartnerError, Unreachable, Unreadable
from dicomnode.net import commands, commit_scp, commit_scu, questions, tls
from dicomnode.net.channel import Channel
from dicomnode.net.conversation import Conversation
from dicomnode.net.lingering import Lingering
from dicomnode.net.pacing import Pace
from dicomnode.net.reading import Reader
from dicomnode.operations.ports import Originator, Outgoing, Reference, Report
from dicomnode.rules import contexts
from dicomnode.rules.contexts import (
    EXPLICIT_LE,
    IMPLICIT_LE,
    STORAGE_COMMITMENT,
    STUDY_ROOT_FIND,
    VERIFICATION,
    Proposal,
)

_MEDIUM = 0
_MOST_MESSAGES = 65535
_ANSWERS = 20
"""Times the deadline of one response: what a conversation of many takes at most."""


class Requestor:
    """Calls partners under this node's AE title, with the deadlines of its configuration.

    `linger`: seconds that an association stays open when its batch is done; 0 releases it at once.
    """

    def __init__(self, config: NodeConfig, *, linger: float = 0.0) -> None:
        self._config = config
        self._lingering: Lingering[Association] = Lingering(linger)
        self._paces = {each.name: Pace(each.bandwidth) for each in config.partners.values() if each.bandwidth}

    @contextmanager
    def associate(self, partner: Partner, pairs: Sequence[tuple[str, str]]) -> Iterator[Association]:
        """An association that proposed a context for each pair; kept or released at the end, aborted on an error."""
        association = self._lingering.take(partner.name)
        if association and not association.covers(pairs):
            association.release()
            pairs = tuple(dict.fromkeys((*pairs, *association.pairs)))[: contexts.MOST]
            association = None
        association = association or Association(partner, pairs, self._open, self._paces.get(partner.name))
        try:
            yield association
        except BaseException:
            association.abort()
            raise
        self._lingering.keep(partner.name, association)

    def stop(self) -> None:
        """Wait for nobody's bandwidth any more: what would, ends."""
        for pace in self._paces.values():
            pace.stop()

    def close(self) -> None:
        """Release what lingers, and let nothing linger from now on."""
        self._lingering.close()

    def echo(self, partner: Partner) -> None:
        """C-ECHO; raises PartnerError unless it succeeds."""
        channel = self._open(partner, [Proposal(1, VERIFICATION, (EXPLICIT_LE, IMPLICIT_LE))])
        try:
            if not channel.accepted:
                raise ContextMissing("the partner accepts associations from us, and no Verification")
            channel.send_command(1, commands.echo_request(1))
            answer = commands.response(channel.receive_command())
            if (answer.field, answer.responds_to) != (commands.C_ECHO_RSP, 1) or answer.status:
                raise PartnerError(f"the partner answered the C-ECHO with {answer.status:04X}H")
        finally:
            channel.release()

    def instances(self, partner: Partner, study_instance_uid: str) -> frozenset[str]:
        """C-FIND for the SOP Instance UIDs of a study. See ports.Peer."""
        with self._conversation(partner, STUDY_ROOT_FIND) as talk:
            return questions.instances(talk, study_instance_uid)

    def count(self, partner: Partner, study_instance_uid: str) -> int | None:
        """C-FIND for the number of a study's instances. See ports.Peer."""
        with self._conversation(partner, STUDY_ROOT_FIND) as talk:
            return questions.count(talk, study_instance_uid)

    def commit(self, partner: Partner, transaction_uid: str, references: Sequence[Reference]) -> Report | None:
        """N-ACTION, and the result where it comes within a moment. See ports.Peer."""
        with self._conversation(partner, STORAGE_COMMITMENT) as talk:
            return commit_scu.ask(talk, transaction_uid, references)

    def report(self, partner: Partner, report: Report) -> None:
        """N-EVENT-REPORT, as the SCP on an association that we open (PS3.4 J.3.3). See ports.Peer."""
        retrieve_from = self._config.node.ae_title if "move" in partner.may else ""
        with self._conversation(partner, STORAGE_COMMITMENT, (False, True)) as talk:
            commit_scp.tell(talk, report, retrieve_from)

    @contextmanager
    def _conversation(
        self, partner: Partner, abstract_syntax: str, roles: tuple[bool, bool] | None = None
    ) -> Iterator[Conversation]:
        """An association for one purpose: released at the end, aborted where it is of no more use."""
        channel = self._open(partner, [Proposal(1, abstract_syntax, (EXPLICIT_LE, IMPLICIT_LE), roles)])
        try:
            if not channel.accepted:
                raise ContextMissing(f"{partner.name} does not accept {class_name(abstract_syntax)}")
            yield Conversation(channel, _ANSWERS * self._config.node.limits.response)
        except BaseException as error:
            if isinstance(error, AssociationLost) or not isinstance(error, PartnerError):
                channel.abort()
            raise
        finally:
            if not channel.is_closed:
                channel.release()

    def _open(self, partner: Partner, proposals: Sequence[Proposal]) -> Channel:
        if partner.host is None or partner.port is None:
            raise Unreachable(f"{partner.name} has no host and port in the configuration")
        limits = self._config.node.limits
        over = self._tls if partner.tls else None
        channel = Channel((partner.host, partner.port), connect=limits.connect, response=limits.response, over=over)
        try:
            channel.associate(self._config.node.ae_title, partner.ae_title, proposals)
        except PartnerError:
            channel.abort()
            raise
        return channel

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Of all associations over TLS: its files are read once. Unreachable where they cannot be used."""
        assert self._config.node.tls, "a partner with `tls` and a node without is refused when the file is loaded"
        try:
            return tls.client_context(self._config.node.tls)
        except ConfigurationError as error:
            raise Unreachable(f"no connection over TLS: {error}") from error


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
        self._proposals = contexts.propose(pairs)
        self._open()

    def _open(self) -> None:
        self._channel = self._dial(self._partner, self._proposals)
        self._reader = Reader(self._channel.step)
        self._messages = 0
        self._lingered = False
        self._heard = False
        """Whether the partner had said something already when the end of the instance was still to be sent."""
        self._contexts = {
            (proposal.abstract_syntax, proposal.transfer_syntaxes[0]): proposal.id
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
        self._expect(instance, following)
        self._stream(self._channel.framed(context, request))
        return self._status(instance)

    def _expect(self, *instances: Outgoing | None) -> None:
        """Have the reader go on with these, the one that it reads already among them."""
        wanted = [each for each in instances if each and each.context in self._contexts]
        if list(self._reader.expected) != wanted[: len(self._reader.expected)]:
            self._reread()
        for each in wanted[len(self._reader.expected) :]:
            self._reader.expect(each, self._contexts[each.context])

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
        except Unreadable:
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
