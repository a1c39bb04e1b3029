"""rules/referred.py: by a number where it is one, else by a patient whose only open referral fits; else a person."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicomnode.rules import referred
from dicomnode.rules.referred import Arrived, Expected, Found, Match

R1 = Expected(
    id=1,
    number="R-1",
    issuer="HKHA",
    patient_id="A123456(3)",
    issuer_of_patient_id="HKID",
    patient_name="CHAN^TAI MAN",
    patient_birth_date="19700131",
    patient_sex="M",
    accession_number="",
    site="",
    destination="",
    recipient="",
    urgent=False,
    procedure="CT brain",
    procedure_code="",
    consent="",
    source="referrals.csv",
    received_at=0,
    instances=None,
)
R2 = replace(R1, id=2, number="R-2")
STUDY = Arrived(7, "1.2.3", "harbour", "A1234563", "HKID", "", (), (), None, "")
NOBODY = Found(None)


def find(study: Arrived, *known: Expected, settled: Found = NOBODY, issuer: str = "", site: str = "") -> Found:
    return referred.find(study, known, settled, known, issuer, site)


def requested(**items: str) -> tuple[dict[str, str], ...]:
    tags = {"number": "00401001", "accession": "00080050", "placer": "00402016"}
    return ({tags[key]: value for key, value in items.items()},)


@pytest.mark.parametrize(
    "study",
    [
        replace(STUDY, patient_id="", requests=requested(number="R-1")),
        replace(STUDY, patient_id="", requests=({}, *requested(placer="R-1"))),
        replace(STUDY, patient_id="", requests=requested(accession="R-1")),
        replace(STUDY, patient_id="X", accession_number="R-1"),
    ],
)
def test_a_number_counts_wherever_the_study_has_it(study: Arrived) -> None:
    assert find(study, R1, R2) == Found(R1, Match.NUMBER)


def test_a_number_of_another_issuer_means_nothing() -> None:
    study = replace(STUDY, patient_id="X", accession_number="R-1")
    assert find(study, R1, issuer="HKHA").expected == R1
    assert find(study, R1, issuer="HARBOUR_RIS").expected is None
    assert find(study, replace(R1, issuer=""), issuer="HARBOUR_RIS").expected is not None, "nobody knows whose it is"


def test_the_accession_number_of_the_referral_counts_at_its_site_alone() -> None:
    known = replace(R1, accession_number="ACC9", site="harbour")
    assert find(replace(STUDY, patient_id="X", accession_number="ACC9"), known).how == Match.NUMBER
    elsewhere = replace(STUDY, patient_id="X", accession_number="ACC9", site="peak")
    assert find(elsewhere, known).expected is None


def test_one_number_of_two_issuers_is_told_by_the_patient() -> None:
    other = replace(R1, id=2, issuer="OTHER", patient_id="B")
    study = replace(STUDY, requests=requested(number="R-1"))
    assert find(study, R1, other).expected == R1
    doubtful = find(replace(study, patient_id="C"), R1, other)
    assert doubtful.expected is None
    assert "2 referrals in advance fit it (R-1, R-1)" in doubtful.why
    assert "dicomnode referrals match" in doubtful.why


def test_without_a_number_the_patient_decides() -> None:
    assert find(STUDY, R1) == Found(R1, Match.PATIENT)


@pytest.mark.parametrize(
    "study",
    [
        replace(STUDY, patient_id="A1234564"),
        replace(STUDY, patient_id=""),
        replace(STUDY, issuer_of_patient_id="HARBOUR"),
        replace(STUDY, issuer_of_patient_id=""),
    ],
)
def test_a_patient_is_an_id_of_its_issuer(study: Arrived) -> None:
    assert find(study, R1) == Found(None, why=referred.NOBODY)


def test_an_issuer_is_one_however_it_is_written_and_the_sites_where_nobody_says() -> None:
    assert find(replace(STUDY, issuer_of_patient_id="hkid "), R1).how == Match.PATIENT
    assert find(replace(STUDY, issuer_of_patient_id=""), R1, site="HKID").how == Match.PATIENT
    assert find(STUDY, replace(R1, issuer_of_patient_id=""), site="HKID").how == Match.PATIENT
    assert find(STUDY, replace(R1, issuer_of_patient_id=""), site="HARBOUR").expected is None
    other = replace(R1, id=2, issuer="OTHER", patient_id="B")
    study = replace(STUDY, requests=requested(number="R-1"), issuer_of_patient_id="hkid")
    assert find(study, R1, other).expected == R1, "told by the patient"


def test_an_empty_patient_id_is_nobodys() -> None:
    assert find(replace(STUDY, patient_id="--"), replace(R1, patient_id="..")).expected is None


def test_what_names_another_site_or_procedure_does_not_fit() -> None:
    assert find(STUDY, replace(R1, site="peak")).expected is None
    assert find(replace(STUDY, codes=("CTHEAD",)), replace(R1, procedure_code="MRKNEE")).expected is None
    assert find(replace(STUDY, codes=("CTHEAD",)), replace(R1, procedure_code="CTHEAD")).expected is not None
    assert find(STUDY, replace(R1, procedure_code="MRKNEE")).expected is not None, "the study does not say"


def test_two_of_one_patient_are_for_a_person_to_tell_apart() -> None:
    assert find(STUDY, R1, R2).why.startswith("2 referrals in advance fit it (R-1, R-2)")
    assert find(STUDY, R1, replace(R2, site="peak")).expected == R1


def test_what_was_found_stays_unless_a_number_says_otherwise() -> None:
    settled = Found(R2, Match.PATIENT)
    assert find(STUDY, R1, settled=settled) == settled
    numbered = replace(STUDY, requests=requested(number="R-1"))
    assert find(numbered, R1, settled=settled) == Found(R1, Match.NUMBER)
    twin = replace(R1, id=3, issuer="OTHER")
    assert find(numbered, R1, twin, settled=Found(R1, Match.NUMBER)).expected == R1
