"""One association that somebody opened with us: who it is, what it may use, and the message it is served with.

pynetdicom's Association, with four rooms of ours: the reactor (PDUs), the door (`Door`: admission and negotiation by
rules/, failing closed), the inbox (messages, datasets to files) and the desk (handlers.serve). All of it runs in one
thread. It lives and dies under the configuration that it was negotiated under.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.acse import ACSE, APPLICATION_CONTEXT_NAME
from pynetdicom.association import MODE_ACCEPTOR, Association
from pynetdicom.pdu_primitives import (
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext

from dicomnode.config.model import Partner
from dicomnode.config.passcodes import passcode
from dicomnode.dicom import part10
from dicomnode.dicom.classes import class_name, is_valid_uid
from dicomnode.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Origin
from dicomnode.errors import DicomnodeError, MalformedUID
from dicomnode.net import clerk, handlers, pdus, tls
from dicomnode.net import request as requests
from dicomnode.net.answering import printable
from dicomnode.net.commands import StoreRequest
from dicomnode.net.inbox import Inbox, Incoming
from dicomnode.net.porch import Visitor
from dicomnode.net.reactor import MAXIMUM_LENGTH, Broken, Reactor
from dicomnode.net.request import Request
from dicomnode.operations import papers
from dicomnode.operations.ports import Node, Slots
from dicomnode.operations.trail import Received
from dicomnode.rules import admission, contexts, space
from dicomnode.rules.admission import Caller, Claim, Refusal
from dicomnode.rules.contexts import Answer, Proposal
from dicomnode.rules.negotiated import Features

log = logging.getLogger(__name__)

OLD = Refusal(1, 2, 2, "unknown protocol version")
STRANGE = Refusal(1, 1, 2, "unknown application context name")
CLOSED = Refusal(2, 3, 1, "the door could not decide")


class Reception(Association):
    """An association as its acceptor. `partner` is who it turned out to be, None until it is admitted.

    `over` is called once, from its own thread, when nothing of it is left but the closing of its connection.
    """

    def __init__(self, ae: AE, visitor: Visitor, node: Node, slots: Slots, over: Callable[[Reception], None]) -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        limits = node.config.node.limits
        self.name = f"association-{visitor.address}"
        self.node = node
        self.slots = slots
        self.partner: Partner | None = None
        self.caller = Caller("", "", visitor.address)
        self.told: dict[int, int] = {}
        self.received: Received | None = None
        self.features: dict[str, Features] = {}
        self._over = over
        self._request = bytes(visitor.request)
        self.dimse = Inbox(self, self._open_part, limits.object_size)
        self.dul = self.reactor = Reactor(visitor.socket, self.dimse.receive, idle=limits.idle, pdu=limits.pdu)
        self.acse = self._door = Door(self)
        self.acceptor.maximum_length = MAXIMUM_LENGTH
        self.acceptor.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self.acceptor.implementation_version_name = IMPLEMENTATION_VERSION_NAME

    def __repr__(self) -> str:
        return f"Reception({self.caller.calling_ae_title}@{self.caller.address}, {self.reactor})"

    def run_reactor(self) -> None:
        """The association's life, from its request to its end; nothing half-received is left behind."""
        try:
            with self._counted():
                self._live()
        except Exception:
            log.exception("an association failed by our own fault")
            self.reactor.abort("aborted: our own fault", pdus.abort(2))
        finally:
            self.dimse.discard()
            self._over(self)
            self.reactor.close()
            self.slots.gone()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """A block in which it may have a slot, which it gives back."""
        try:
            yield
        finally:
            if self.received:
                self.received.tell()
            if self.partner:
                log.info("association from=%s %s", self.partner.name, self.reactor.end)
                self.slots.leave(self.partner, self.caller.address)

    def _live(self) -> None:
        if not self._door.opens(self._request):
            return
        self.is_established = True
        while self.reactor.is_open:
            self.reactor.step()
            while self.dimse.requests and self.reactor.is_open:
                context, request = self.dimse.requests.popleft()
                handlers.serve(self, request, self._accepted_cx[context])

    def _abort_blocking(self, block: bool = False) -> None:
        """What pynetdicom's `abort` does, from any thread: end it with an A-ABORT."""
        self.reactor.interrupt()

    def _open_part(self, request: StoreRequest, context_id: int) -> Incoming:
        """Where the dataset of a C-STORE-RQ goes. Runs in the thread that reads the network."""
        context = self._accepted_cx[context_id]
        partner, caller = self.partner, self.caller
        sop_class, sop_instance = request.sop_class_uid, request.sop_instance_uid
        assert partner is not None  # nothing is received before somebody was admitted
        try:
            if not is_valid_uid(sop_class) or not is_valid_uid(sop_instance):
                raise MalformedUID("the command's Affected SOP Class or Instance UID is no UID")
            handlers.check_storage(context, self.node)
            titles = caller.calling_ae_title, caller.called_ae_title
            origin = Origin(partner.name, partner.site, self.node.clock(), *titles)
            header = part10.encode(sop_class, sop_instance, str(context.transfer_syntax[0]), origin)
        except DicomnodeError as error:
            return Incoming(request, error=error)
        part = self.node.archive.part(header, self.node.config.node.limits.object_size)
        return Incoming(request, origin, part)


class Door(ACSE):
    """Who may come in, and with which presentation contexts. An error of our own is a refusal."""

    assoc: Reception

    def opens(self, pdu: bytes) -> bool:
        """Decide on a request (whole PDU), and answer it. Whether the association is open then."""
        try:
            decided = self._decide(pdu)
        except Broken as broken:
            log.warning("refused a request from=%s: %s", self.assoc.caller.address, broken)
            self.assoc.reactor.abort(f"aborted: {broken}", pdus.abort(2, broken.reason))
            return False
        except Exception:
            log.exception("admission failed")
            decided = CLOSED
        if isinstance(decided, Refusal):
            self._refuse(decided)
            return False
        self._accept(decided)
        self.send_accept()
        return self.assoc.reactor.is_open

    def _decide(self, pdu: bytes) -> list[Answer] | Refusal:
        assoc, config = self.assoc, self.assoc.node.config
        request = requests.examine(pdu)
        titles = request.calling_ae_title, request.called_ae_title
        assoc.caller = Caller(*titles, assoc.caller.address, tls.shown(assoc.reactor.socket))
        if refusal := _malformed(request):
            return refusal
        admitted = admission.admit(config, assoc.caller)
        if isinstance(admitted, Refusal):
            return admitted
        if refusal := self._identify(admitted, request.claim):
            return refusal
        self.requestor.primitive = requests.decode(request, assoc.caller)
        self.requestor.ae_title = assoc.caller.calling_ae_title
        proposals = self._proposals()
        light = contexts.storage_classes(config).isdisjoint(p.abstract_syntax for p in proposals)
        stores = "store" in admitted.may and contexts.would_store(config, proposals)
        if stores and (refusal := self._has_no_room()):
            return refusal
        if refusal := assoc.slots.take(admitted, assoc.caller.address, light):
            return refusal
        assoc.partner, assoc.received = admitted, Received(admitted, assoc.caller.address, assoc.node)
        log.info("association from=%s@%s called=%s", admitted.name, assoc.caller.address, assoc.caller.called_ae_title)
        if assoc.caller.shown:
            papers.seen(admitted.name, assoc.caller.shown, assoc.node)
        return self._negotiate(proposals, admitted)

    def _identify(self, partner: Partner, claim: Claim | None) -> Refusal | None:
        """Why this is not the partner's user; where it is, and asks to be told, it is answered (PS3.7 D.3.3.7.2)."""
        if partner.user is None:
            return None
        refusal = admission.identify(partner.user, passcode(partner.user.passcode), claim)
        if claim and claim.wants_answer:
            item = UserIdentityNegotiation()
            item.server_response = b""
            self.acceptor.add_negotiation_item(item)
        return refusal

    def _has_no_room(self) -> Refusal | None:
        volume = self.assoc.node.archive.volume
        return space.refusal(self.assoc.node.config.node.watermarks, volume.free(), volume.suspicion)

    def _negotiate(self, proposals: list[Proposal], admitted: Partner) -> list[Answer]:
        config = self.assoc.node.config
        answers = contexts.accept(proposals, contexts.offer(config, admitted), contexts.storable(config))
        refused = sorted({class_name(a.abstract_syntax) for a in answers if a.result == contexts.NO_ABSTRACT_SYNTAX})
        if refused:
            log.warning("refused contexts from=%s: %s", admitted.name, ", ".join(map(printable, refused)))
        if contexts.refused_storage(answers):
            clerk.storage_refused(admitted, self.assoc.node)
        for uid, (features, given) in contexts.agree(self.requestor.sop_class_extended, answers).items():
            self.assoc.features[uid] = features
            self._extend(uid, given)
        return answers

    def _extend(self, abstract_syntax: str, given: bytes) -> None:
        """Answer what was offered by SOP Class Extended Negotiation (PS3.7 D.3.3.5)."""
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = UID(abstract_syntax), given
        self.acceptor.add_negotiation_item(item)

    def _proposals(self) -> list[Proposal]:
        roles = {str(uid): (item.scu_role, item.scp_role) for uid, item in self.requestor.role_selection.items()}
        return [
            Proposal(
                context.context_id,
                str(context.abstract_syntax),
                tuple(map(str, context.transfer_syntax)),
                roles.get(str(context.abstract_syntax)),
            )
            for context in self.requestor.primitive.presentation_context_definition_list
        ]

    def _accept(self, answers: list[Answer]) -> None:
        """Write the answers where `send_accept` and the DIMSE side look for them."""
        made = [_context(answer) for answer in answers]
        self.assoc._accepted_cx = {context.context_id: context for context in made if context.result == 0}
        self.assoc._rejected_cx = [context for context in made if context.result != 0]
        for abstract, roles in {a.abstract_syntax: a.roles for a in answers if a.roles is not None}.items():
            item = SCP_SCU_RoleSelectionNegotiation()
            item.sop_class_uid, (item.scu_role, item.scp_role) = UID(abstract), roles
            self.acceptor.add_negotiation_item(item)

    def _refuse(self, refusal: Refusal) -> None:
        """A-ASSOCIATE-RJ, and then the end."""
        reactor = self.assoc.reactor
        reactor.send(pdus.reject(refusal.result, refusal.source, refusal.reason))
        reactor.end = reactor.end or "rejected"
        clerk.refused(self.assoc.caller, refusal, self.assoc.node)


def _malformed(request: Request) -> Refusal | None:
    """What is refused whoever asks (PS3.8 9.3.4); of the protocol version, only bit 0 counts (9.3.2)."""
    if not request.version & 1:
        return OLD
    return STRANGE if request.application_context != APPLICATION_CONTEXT_NAME else None


def _context(answer: Answer) -> PresentationContext:
    context = PresentationContext()
    context.context_id, context.result = answer.id, answer.result
    context.abstract_syntax, context.transfer_syntax = UID(answer.abstract_syntax), [UID(answer.transfer_syntax)]
    context._as_scp, context._as_scu = answer.acts  # the requestor's roles are the opposite of ours
    return context
