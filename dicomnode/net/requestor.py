"""Partners, as somebody who calls them: implements ports.Peer.

Associations may stay open between batches; one that its partner has ended meanwhile is replaced, and nobody is told.
How instances are sent on one is in sending.py; what is asked on one is in find_scu.py, move_scu.py, get_scu.py,
worklist_scu.py, questions.py and commit_scu.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom.classes import class_name
from dicomnode.dicom.identifier import Identifier
from dicomnode.errors import AssociationLost, ConfigurationError, ContextMissing, PartnerError, Unreachable
from dicomnode.net import commands, commit_scp, commit_scu, find_scu, get_scu, move_scu, questions, tls, worklist_scu
from dicomnode.net.channel import Channel
from dicomnode.net.conversation import CONTEXT, Conversation
from dicomnode.net.lingering import Lingering
from dicomnode.net.pacing import Pace
from dicomnode.net.sending import Association
from dicomnode.operations.ports import Opener, Reference, Report, Retrieved, Stopped, Waiting, ignored
from dicomnode.rules import proposals
from dicomnode.rules.contexts import (
    EXPLICIT_LE,
    IMPLICIT_LE,
    MODALITY_WORKLIST_FIND,
    PATIENT_ROOT_FIND,
    STORAGE_COMMITMENT,
    STUDY_ROOT_FIND,
    STUDY_ROOT_MOVE,
    VERIFICATION,
    Proposal,
)

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
            pairs = proposals.extended(pairs, association.pairs, partner.decompresses)
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
        with self._conversation(partner, [_proposal(STUDY_ROOT_FIND)], self._bound) as talk:
            return questions.instances(talk, study_instance_uid)

    def count(self, partner: Partner, study_instance_uid: str) -> int | None:
        """C-FIND for the number of a study's instances. See ports.Peer."""
        with self._conversation(partner, [_proposal(STUDY_ROOT_FIND)], self._bound) as talk:
            return questions.count(talk, study_instance_uid)

    def commit(
        self, partner: Partner, transaction_uid: str, references: Sequence[Reference], over: Stopped
    ) -> Report | None:
        """N-ACTION, and the result where it comes within a moment. See ports.Peer."""
        with self._conversation(partner, [_proposal(STORAGE_COMMITMENT)], self._bound) as talk:
            return commit_scu.ask(talk, transaction_uid, references, over)

    def report(self, partner: Partner, report: Report) -> None:
        """N-EVENT-REPORT, as the SCP on an association that we open (PS3.4 J.3.3). See ports.Peer."""
        retrieve_from = self._config.node.ae_title if partner.may & {"move", "get"} else ""
        proposal = _proposal(STORAGE_COMMITMENT, (False, True))
        with self._conversation(partner, [proposal], self._bound) as talk:
            commit_scp.tell(talk, report, retrieve_from)

    def find(
        self, partner: Partner, question: Identifier, stopped: Stopped, unsupported: Callable[[], None] = ignored
    ) -> Iterator[Identifier]:
        """C-FIND. See ports.Peer."""
        model = PATIENT_ROOT_FIND if question.level == "PATIENT" else STUDY_ROOT_FIND
        with self._conversation(partner, [_proposal(model)]) as talk:
            yield from find_scu.ask(talk, model, question, stopped, unsupported)

    def worklist(self, partner: Partner, since: str, stopped: Stopped) -> Iterator[Identifier]:
        """C-FIND of the Modality Worklist. See ports.Peer."""
        with self._conversation(partner, [_proposal(MODALITY_WORKLIST_FIND)], self._bound) as talk:
            yield from worklist_scu.ask(talk, since, stopped)

    def move(self, partner: Partner, wanted: Identifier, destination: str, waiting: Waiting) -> Retrieved:
        """C-MOVE. See ports.Peer."""
        with self._conversation(partner, [_proposal(STUDY_ROOT_MOVE)]) as talk:
            return move_scu.move(talk, STUDY_ROOT_MOVE, wanted, destination, waiting)

    def get(
        self, partner: Partner, wanted: Identifier, pairs: Sequence[tuple[str, str]], opener: Opener, waiting: Waiting
    ) -> Retrieved:
        """C-GET. See ports.Peer."""
        contexts = proposals.for_get(pairs)
        classes = {each.id: each.abstract_syntax for each in contexts}
        with self._conversation(partner, contexts) as talk:
            return get_scu.get(talk, wanted, classes, opener, waiting)

    @property
    def _bound(self) -> float:
        """Seconds that what is asked may take in all, where nobody waits for it who could tell it to end."""
        return _ANSWERS * self._config.node.limits.response

    @contextmanager
    def _conversation(
        self, partner: Partner, proposals: Sequence[Proposal], most: float = math.inf
    ) -> Iterator[Conversation]:
        """An association for one purpose: released at the end, aborted where it is of no more use."""
        channel = self._open(partner, proposals)
        try:
            if CONTEXT not in channel.accepted:
                service, title = class_name(proposals[0].abstract_syntax), self._config.node.ae_title
                raise ContextMissing(f"{partner.name} does not accept {service}: give {title} the right to it there")
            yield Conversation(channel, self._config.node.limits.response, most, partner.charset)
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
        channel = Channel(
            (partner.host, partner.port),
            connect=limits.connect,
            response=limits.response,
            over=self._papers.context() if partner.tls else None,
            expected=partner.certificate,
        )
        try:
            channel.associate(self._config.node.ae_title, partner.ae_title, proposals)
        except PartnerError:
            channel.abort()
            raise
        return channel

    @cached_property
    def _papers(self) -> tls.Papers:
        """Of all associations over TLS. Unreachable where the files cannot be used."""
        assert self._config.node.tls, "a partner with `tls` and a node without is refused when the file is loaded"
        try:
            return tls.Papers(tls.client_context, self._config.node.tls)
        except ConfigurationError as error:
            raise Unreachable(f"no connection over TLS: {error}") from error


def _proposal(abstract_syntax: str, roles: tuple[bool, bool] | None = None) -> Proposal:
    return Proposal(CONTEXT, abstract_syntax, (EXPLICIT_LE, IMPLICIT_LE), roles)
