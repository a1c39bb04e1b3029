"""What a letter says by which a partner is told that a referral is called back; and that it was written.

UsageError: nothing of the referral is called back.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicomnode.errors import UsageError
from dicomnode.operations import refer
from dicomnode.operations.ports import Node
from dicomnode.store import expected, index, recalls
from dicomnode.store.recalls import CalledBack, State


@dataclass(frozen=True, slots=True)
class Recalled:
    """A referral that is called back, as its partner knows it; '' for what is not known, `at` in µs."""

    referral: int
    at: int
    site: str
    partner: str
    hospital: str
    recipient: str
    number: str
    accession_number: str
    study_instance_uid: str
    patient_name: str
    patient_id: str
    issuer_of_patient_id: str
    patient_birth_date: str
    patient_sex: str
    code: str
    """A word of rejection.TITLES; '' where the reason has no code."""
    reason: str
    instances: tuple[CalledBack, ...]


def recalled(referral: int, node: Node) -> Recalled:
    """All that is called back of a referral, by whichever means."""
    sites, partners = node.config.sites, node.config.partners
    with node.database.read():
        found = [each for each in recalls.of(referral) if each.state != State.IDLE]
        if not found:
            raise UsageError(f"nothing of referral {referral} is called back: there is nothing to write about")
        source = recalls.source(found[0].id)
        known, like = expected.of_study(source.study), index.as_indexed(source.instance)
        instances = tuple(instance for each in found for instance in recalls.instances(each.id))
    partner = partners.get(found[0].partner)
    return Recalled(
        referral=referral,
        at=node.clock(),
        site=sites[source.site].name if source.site in sites else source.site,
        partner=partner.display if partner else found[0].partner,
        hospital=node.config.site_of(partner).name if partner else "",
        recipient=known.recipient if known else "",
        number=known.number if known else "",
        accession_number=like.accession_number,
        study_instance_uid=source.study_instance_uid,
        patient_name=like.patient_name,
        patient_id=like.patient_id,
        issuer_of_patient_id=like.issuer_of_patient_id,
        patient_birth_date=like.patient_birth_date,
        patient_sex=like.patient_sex,
        code=found[-1].code,
        reason=found[-1].reason,
        instances=instances,
    )


def written(referral: int, who: str, node: Node) -> None:
    """The letter is there, to be printed and sent."""
    at = node.clock()
    text = f"written by {who}"
    node.database.write(lambda: refer.record(referral, "recall letter written", text, at, node, who=who))
