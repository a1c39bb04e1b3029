"""Which referral in advance a study belongs to: what both say is held against each other. Pure.

A number counts wherever the study has it: in its Request Attributes, or as its Accession Number; where it is known who
gave out either, and that is not the same, equal numbers mean nothing. Without a number the patient decides: an ID of
its issuer, always, and only where one referral that is still open fits. Where two fit, a person decides. What names
another site, or another procedure by its code, fits nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dicomnode.rules import patients


@dataclass(frozen=True, slots=True)
class Expected:
    """One referral in advance. What is not known is '' or None; `id` is 0 until it is kept."""

    id: int
    number: str
    issuer: str
    """Who has given out the number."""
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    """YYYYMMDD."""
    patient_sex: str
    accession_number: str
    site: str
    """The private site that examines."""
    destination: str
    """The partner that the study is for; '': as the route says."""
    recipient: str
    """The person who is to have it."""
    urgent: bool
    procedure: str
    procedure_code: str
    consent: str
    """Evidence of the patient's consent; '' where there is none yet."""
    source: str
    """The file or the partner that told of it."""
    received_at: int
    """In µs."""
    instances: int | None
    """How many the study has."""

    def __repr__(self) -> str:
        return f"Expected({self.number!r}, {self.site or 'any site'} to {self.destination or 'any partner'})"


@dataclass(frozen=True, slots=True)
class Arrived:
    """What a study says of its referral, and which it was found to be (`expected`, None: none), and how (`matched`)."""

    study: int
    study_instance_uid: str
    site: str
    patient_id: str
    issuer_of_patient_id: str
    accession_number: str
    requests: tuple[dict[str, str], ...]
    """The items of its Request Attributes: tag (eight hexadecimal digits) → text."""
    codes: tuple[str, ...]
    """The values of its Procedure Code Sequence."""
    expected: int | None
    matched: str


class Match(StrEnum):
    """By what a study was found to be the one that is expected."""

    NUMBER = "number"
    PULL = "pull"
    PATIENT = "patient"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Found:
    """The referral of a study and how it was found; or none, and why."""

    expected: Expected | None
    how: str = ""
    why: str = ""


NOBODY = (
    "no referral in advance is found for it: import it (`dicomnode referrals import`), or say which it is"
    " (`dicomnode referrals match`)"
)
_PROCEDURE_ID, _ACCESSION, _PLACER = "00401001", "00080050", "00402016"


def numbers(study: Arrived) -> set[str]:
    """Whatever a study has that may be the number of its referral."""
    said = {item.get(tag, "") for item in study.requests for tag in (_PROCEDURE_ID, _ACCESSION, _PLACER)}
    return (said | {study.accession_number}) - {""}


def find(
    study: Arrived,
    named: Iterable[Expected],
    settled: Found,
    waiting: Iterable[Expected],
    accession_issuer: str,
    patient_id_issuer: str,
) -> Found:
    """Which it is: of those that have one of its numbers (`named`), else what was `settled` before, else of those still
    open for its patient (`waiting`).

    `accession_issuer`, `patient_id_issuer`: who gives out those of its site, '' where that is not known.
    """
    by_number = [each for each in named if _is_here(each, study) and _names(each, study, accession_issuer)]
    if len(by_number) > 1:  # numbers of two issuers
        by_number = [each for each in by_number if patients.same(each, study, patient_id_issuer)] or by_number
    if len(by_number) == 1:
        return Found(by_number[0], Match.NUMBER)
    if settled.expected and (not by_number or settled.expected in by_number):
        return settled
    of_patient = (each for each in waiting if patients.same(each, study, patient_id_issuer))
    fitting = by_number or [each for each in of_patient if _fits(each, study)]
    if len(fitting) > 1:
        return Found(None, why=_several(fitting))
    return Found(fitting[0], Match.PATIENT) if fitting else Found(None, why=NOBODY)


def _several(fitting: Sequence[Expected]) -> str:
    listed = ", ".join(each.number for each in fitting[:5])
    return f"{len(fitting)} referrals in advance fit it ({listed}): say which with `dicomnode referrals match`"


def _is_here(expected: Expected, study: Arrived) -> bool:
    return expected.site in ("", study.site)


def _fits(expected: Expected, study: Arrived) -> bool:
    """Whether nothing that both say of the examination differs."""
    other = expected.procedure_code and study.codes and expected.procedure_code not in study.codes
    return _is_here(expected, study) and not other


def _names(expected: Expected, study: Arrived, accession_issuer: str) -> bool:
    """Whether a study has the number of a referral, or its accession number."""
    requested = {item.get(tag, "") for item in study.requests for tag in (_PROCEDURE_ID, _PLACER)}
    accessions = {item.get(_ACCESSION, "") for item in study.requests} | {study.accession_number}
    is_its = not (expected.issuer and accession_issuer) or expected.issuer == accession_issuer
    if expected.number in requested or (expected.number in accessions and is_its):
        return True
    return bool(expected.accession_number) and expected.accession_number in accessions
