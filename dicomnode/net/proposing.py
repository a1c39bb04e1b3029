"""The negotiation of an association that we open (PS3.8 9.3.2–9.3.4), by pynetdicom's PDU classes.

An answer is taken at its word, but for a context that is accepted in a syntax that was never proposed. What roles it
gives is not looked at: whether a partner lets us have a role shows when we use it. Unreachable: it cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from dicomnode.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.errors import Rejected, RejectedForGood, Unreachable
from dicomnode.rules.contexts import Proposal

_PERMANENT = 1
"""The result rejected-permanent (PS3.8 9.3.4); 2 is transient."""


def request(calling: str, called: str, proposals: Sequence[Proposal], maximum_length: int) -> bytes:
    """The A-ASSOCIATE-RQ; `maximum_length` is of the PDUs that we take."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID("1.2.840.10008.3.1.1.1")
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    primitive.presentation_context_definition_list = [_context(proposal) for proposal in proposals]
    length, uid, version = (
        MaximumLengthNotification(),
        ImplementationClassUIDNotification(),
        ImplementationVersionNameNotification(),
    )
    length.maximum_length_received = maximum_length
    uid.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    roles = {each.abstract_syntax: each for each in proposals if each.roles}  # one of a class: PS3.7 D.3.3.4
    primitive.user_information = [length, uid, version, *map(_role, roles.values())]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    encoded: bytes = pdu.encode()
    return encoded


def _context(proposal: Proposal) -> PresentationContext:
    context = PresentationContext()
    context.context_id = proposal.id
    context.abstract_syntax = UID(proposal.abstract_syntax)
    context.transfer_syntax = [UID(syntax) for syntax in proposal.transfer_syntaxes]
    return context


def _role(proposal: Proposal) -> SCP_SCU_RoleSelectionNegotiation:
    assert proposal.roles
    item = SCP_SCU_RoleSelectionNegotiation()
    item.sop_class_uid, (item.scu_role, item.scp_role) = UID(proposal.abstract_syntax), proposal.roles
    return item


def accepted(pdu: bytes, proposals: Sequence[Proposal]) -> tuple[dict[int, str], int]:
    """What an A-ASSOCIATE-AC accepts (context id → transfer syntax), and the longest PDU it takes (0: any)."""
    proposed = {proposal.id: proposal.transfer_syntaxes for proposal in proposals}
    answer = A_ASSOCIATE_AC()
    try:
        answer.decode(pdu)
        results = answer.to_primitive().presentation_context_definition_results_list
        chosen = {each.context_id: str(each.transfer_syntax[0]) for each in results if each.result == 0}
        most = answer.user_information.maximum_length or 0
    except Exception as error:  # whatever the library makes of a malformed PDU
        raise Unreachable("the partner's answer to the association request cannot be read") from error
    return {number: syntax for number, syntax in chosen.items() if syntax in proposed.get(number, ())}, most


def rejected(pdu: bytes) -> Rejected:
    """What an A-ASSOCIATE-RJ says, as an error."""
    answer = A_ASSOCIATE_RJ()
    try:
        answer.decode(pdu)
        why = f"{answer.result_str}, {answer.reason_str}"
    except Exception:
        return Rejected("the partner rejected the association for a reason that cannot be read")
    kind = RejectedForGood if answer.result == _PERMANENT else Rejected
    return kind(f"the partner rejected the association: {why}")
