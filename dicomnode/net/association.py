"""One association that somebody opened with us: who it is, what it may use, and the message it is served with.

pynetdicom's Association, with three rooms of ours: the door (`Door`: admission and negotiation by rules/, failing
closed), the inbox (messages, datasets to files) and the desk (handlers.serve). It lives and dies under the
configuration that it was negotiated under.
"""

from __future__ import annotations

import logging
from typing import Any

from pydicom.uid import UID
from pynetdicom.acse import ACSE, APPLICATION_CONTEXT_NAME
from pynetdicom.association import MODE_ACCEPTOR, Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from dicomnode.config.model import Partner
from dicomnode.dicom import part10
from dicomnode.dicom.classes import class_name, is_valid_uid
from dicomnode.dicom.part10 import Origin
from dicomnode.errors import DicomnodeError, MalformedUID
from dicomnode.net import handlers
from dicomnode.net.answering import printable
from dicomnode.net.commands import StoreRequest
from dicomnode.net.inbox import Inbox, Incoming
from dicomnode.operations.ports import Node
from dicomnode.rules import admission, contexts
from dicomnode.rules.admission import Caller, Refusal
from dicomnode.rules.contexts import Answer, Proposal
from dicomnode.store import audit

log = logging.getLogger(__name__)

STRANGE = Refusal(1, 1, 2, "unknown application context name")
FULL = Refusal(2, 3, 2, "too many associations")
CLOSED = Refusal(2, 3, 1, "the door could not decide")


class Reception(Association):
    """An association as its acceptor. `partner` is who it turned out to be, None until it is admitted."""

    def __init__(self, server: Any, node: Node) -> None:
        super().__init__(server.ae, MODE_ACCEPTOR)
        self._server = server
        self.node = node
        self.partner: Partner | None = None
        self.acse = Door(self)
        self.dimse = Inbox(self, self._open_part)

    @property
    def caller(self) -> Caller:
        """The AE titles of the request, without padding, and the address it came from."""
        request = self.requestor.primitive
        address = self.requestor.address_info.address.removeprefix("::ffff:")
        return Caller(request.calling_ae_title.strip(), request.called_ae_title.strip(), address)

    def run_reactor(self) -> None:
        """The association's life, from the first byte to the last; nothing half-received is left behind."""
        try:
            super().run_reactor()
        finally:
            self.dul.kill_dul()
            self.dul.socket.close()
            self.dul.join(self.network_timeout)
            if self.partner:
                end = "released" if self.is_released else "aborted or lost"
                log.info("association from=%s %s", self.partner.name, end)
            self.dimse.discard()
            self._server.left(self)

    def _open_part(self, request: StoreRequest, context_id: int) -> Incoming:
        """Where the dataset of a C-STORE-RQ goes. Runs in the thread that reads the network."""
        context = self._accepted_cx[context_id]
        partner, caller = self.partner, self.caller
        sop_class, sop_instance = request.sop_class_uid, request.sop_instance_uid
        assert partner is not None  # nothing is received before somebody was admitted
        try:
            if not is_valid_uid(sop_class) or not is_valid_uid(sop_instance):
                raise MalformedUID("the command's Affected SOP Class or Instance UID is no UID")
            handlers.check_storage(context.abstract_syntax, self.node)
            titles = caller.calling_ae_title, caller.called_ae_title
            origin = Origin(partner.name, partner.site, self.node.clock(), *titles)
            header = part10.encode(sop_class, sop_instance, str(context.transfer_syntax[0]), origin)
        except DicomnodeError as error:
            return Incoming(request, error=error)
        part = self.node.archive.part(header, self.node.config.node.limits.object_size)
        return Incoming(request, origin, part)

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """pynetdicom's reactor hands every message here."""
        self._is_paused = True
        handlers.serve(self, msg, self._accepted_cx[context_id])
        self._is_paused = False
        self.dul._idle_timer.restart()  # the peer was not idle: it waited for us


class Door(ACSE):
    """Who may come in, and with which presentation contexts. An error of our own is a refusal."""

    assoc: Reception

    def _negotiate_as_acceptor(self) -> None:
        try:
            decided = self._decide()
        except Exception:
            log.exception("admission failed")
            decided = CLOSED
        if isinstance(decided, Refusal):
            self._refuse(decided)
            return
        self._accept(decided)
        self.send_accept()
        self.assoc.is_established = True

    def _decide(self) -> list[Answer] | Refusal:
        assoc, config = self.assoc, self.assoc.node.config
        if assoc.requestor.primitive.application_context_name != APPLICATION_CONTEXT_NAME:
            return STRANGE
        if assoc._server.is_full:
            return FULL
        admitted = admission.admit(config, assoc.caller)
        if isinstance(admitted, Refusal):
            return admitted
        assoc.partner = admitted
        self.requestor.ae_title = assoc.caller.calling_ae_title
        log.info("association from=%s@%s called=%s", admitted.name, assoc.caller.address, assoc.caller.called_ae_title)
        answers = contexts.accept(self._proposals(), contexts.offer(config, admitted), contexts.storable(config))
        refused = sorted({class_name(a.abstract_syntax) for a in answers if a.result == contexts.NO_ABSTRACT_SYNTAX})
        if refused:
            log.warning("refused contexts from=%s: %s", admitted.name, ", ".join(map(printable, refused)))
        if contexts.refused_storage(answers):
            self._alert(admitted)
        return answers

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
        """A-ASSOCIATE-RJ, and only then the end: without `kill` the peer would see a bare close."""
        self.send_reject(refusal.result, refusal.source, refusal.reason)
        self.assoc.is_rejected = True
        self.assoc.kill()
        self._note(refusal)

    def _note(self, refusal: Refusal) -> None:
        caller, node = self.assoc.caller, self.assoc.node
        at = node.clock()
        titles = _shown(caller.calling_ae_title), _shown(caller.called_ae_title)
        refused = audit.Refused(*titles, caller.address, refusal.why, 1, at, at)
        log.warning("refused from=%s@%s called=%s: %s", titles[0], caller.address, titles[1], refusal.why)
        try:
            node.database.write(lambda: audit.refuse(refused, node.generation))
        except DicomnodeError as error:  # the refusal stands, whether or not it could be written down
            log.error("a refusal could not be recorded: %s", error)

    def _alert(self, partner: Partner) -> None:
        """A partner without the right proposed to store: a security event (the contexts are refused)."""
        node = self.assoc.node
        text = f"{partner.name} of {partner.site} proposed to store, and may not"
        event = audit.Event(node.clock(), "storage refused", text, partner.name, generation=node.generation)
        node.database.write(lambda: audit.record(event))


def _context(answer: Answer) -> PresentationContext:
    context = PresentationContext()
    context.context_id, context.result = answer.id, answer.result
    context.abstract_syntax, context.transfer_syntax = UID(answer.abstract_syntax), [UID(answer.transfer_syntax)]
    context._as_scu, context._as_scp = False, answer.result == contexts.ACCEPTED
    return context


def _shown(title: str) -> str:
    """An AE title of a stranger, safe to print."""
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in title)[:16]
