"""What the copies of a study for a partner are to have: its site, its referral in advance, and what is configured.

Called inside `Database.read` or `write`. NotCoerced: the copies cannot be made, and why; then nothing of the study goes
to that partner as it is.
"""

from __future__ import annotations

from datetime import UTC, datetime

from dicomnode.config.model import Partner
from dicomnode.config.parts import Coerce
from dicomnode.errors import NotCoerced
from dicomnode.operations import expect
from dicomnode.operations.ports import Node
from dicomnode.rules import coercion
from dicomnode.rules.coercion import Coercion, Impossible, Study
from dicomnode.store import expected, recalls


def of_study(study: int, partner: Partner, node: Node) -> Coercion | None:
    """For a study that is here; None where its copies are what was received."""
    if partner.coerce == Coerce():
        return None
    arrived = expected.arrived(study)
    return _of(Study(arrived.site, arrived.issuer_of_patient_id, expect.of_study(study, node)), partner, node)


def of_referral(referral: int, study: int, partner: Partner, node: Node) -> Coercion | None:
    """As `of_study`, for what goes now: whose the copies say that they are is kept, for a note that calls them back.

    Inside `Database.write`.
    """
    found = of_study(study, partner, node)
    recalls.goes_as(referral, *((found.patient_id, found.issuer) if found else ("", "")))
    return found


def of_file(site: str, issuer: str, partner: Partner, node: Node) -> Coercion | None:
    """For what is not here, and of which nobody expects anything: as `of_study`. `site`: '' where nobody knows."""
    return _of(Study(site, issuer, None), partner, node)


def _of(study: Study, partner: Partner, node: Node) -> Coercion | None:
    found = coercion.of(study, partner, node.config, datetime.fromtimestamp(node.clock() / 1e6, UTC))
    if isinstance(found, Impossible):
        raise NotCoerced(f"the copy that {partner.name} is to have cannot be made: {found.reason}")
    return found
