"""rules/identity.py: what is said of a patient, and what that does to the study. Pure, so told by tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dicomnode.config.model import NodeConfig
from dicomnode.rules import identity
from dicomnode.rules.identity import Patient, Seen, Stop, Verdict
from tests import fakes

CONFIG = fakes.configuration(
    fakes.CONFIG + "issuers:\n  HKID: {check: hkid}\n  HARBOUR: {pattern: 'H[0-9]+'}\n  MACAU: {}\n", Path("/tmp")
)
PATIENT = Patient("H4711", "", "CHAN^TAI MAN", "19800512", "M")
HELD, QUARANTINED = Stop.HELD, Stop.QUARANTINED


def judge(*patients: Patient, referral: Patient | None = None, config: NodeConfig = CONFIG) -> Verdict:
    return identity.judge(Seen("harbour", patients, referral, "R-1" if referral else ""), config)


def found(verdict: Verdict) -> dict[str, Stop]:
    return {each.keyword: each.stop for each in verdict.findings}


ALONE = [  # what an image says besides PATIENT's → what is found
    ({}, {}),
    ({"patient_id": "h 4711"}, {}),
    ({"patient_id": ""}, {"PatientID": HELD}),
    ({"patient_id": " ( ) "}, {"PatientID": HELD}),
    ({"patient_id": "H0815"}, {"PatientID": QUARANTINED}),
    ({"issuer_of_patient_id": "harbour "}, {}),
    ({"issuer_of_patient_id": "MACAU"}, {"PatientID": QUARANTINED}),
    ({"patient_name": "Chan^Peter Tai Man"}, {}),
    ({"patient_name": ""}, {}),
    ({"patient_name": "CHAN^TAI MING"}, {"PatientName": HELD}),
    ({"patient_birth_date": ""}, {}),
    ({"patient_birth_date": "1980"}, {}),
    ({"patient_birth_date": "1980.05.12"}, {}),
    ({"patient_birth_date": "19800513"}, {"PatientBirthDate": QUARANTINED}),
    ({"patient_birth_date": "1981"}, {"PatientBirthDate": QUARANTINED}),
    ({"patient_sex": "O"}, {}),
    ({"patient_sex": ""}, {}),
    ({"patient_sex": "F"}, {"PatientSex": QUARANTINED}),
]


@pytest.mark.parametrize(("said", "wanted"), ALONE)
def test_a_study_is_held_against_itself(said: dict[str, str], wanted: dict[str, Stop]) -> None:
    assert found(judge(PATIENT, replace(PATIENT, **said))) == wanted
    assert found(judge(replace(PATIENT, **said), PATIENT)) == wanted


REFERRED = [  # what the referral says besides PATIENT's → what is found
    ({}, {}),
    ({"patient_id": "Ｈ-4711"}, {}),
    ({"patient_id": "H0815"}, {"PatientID": QUARANTINED}),
    ({"patient_id": ""}, {}),
    ({"patient_id": "A1234563", "issuer_of_patient_id": "HKID"}, {}),
    ({"patient_id": "H4711", "issuer_of_patient_id": "MACAU", "patient_sex": "F"}, {"PatientSex": QUARANTINED}),
    ({"patient_birth_date": "19800513"}, {"PatientBirthDate": QUARANTINED}),
    ({"patient_birth_date": "1979"}, {"PatientBirthDate": QUARANTINED}),
    ({"patient_birth_date": "1980"}, {"PatientBirthDate": HELD}),
    ({"patient_birth_date": "19800500"}, {"PatientBirthDate": HELD}),
    ({"patient_birth_date": ""}, {"PatientBirthDate": HELD}),
    ({"patient_birth_date": "12 May 1980"}, {"PatientBirthDate": HELD}),
    ({"patient_sex": "F"}, {"PatientSex": QUARANTINED}),
    ({"patient_sex": "O"}, {"PatientSex": HELD}),
    ({"patient_sex": ""}, {"PatientSex": HELD}),
    ({"patient_sex": "m"}, {}),
    ({"patient_name": "陳大文"}, {}),
    ({"patient_name": "CHAN^TAI MING"}, {"PatientName": HELD}),
    ({"patient_name": ""}, {"PatientName": HELD}),
    (
        {"patient_name": "LEE^SIU LUNG", "patient_birth_date": "19991231"},
        {"PatientBirthDate": QUARANTINED, "PatientName": HELD},
    ),
]


@pytest.mark.parametrize(("said", "wanted"), REFERRED)
def test_a_study_is_held_against_its_referral(said: dict[str, str], wanted: dict[str, Stop]) -> None:
    other = replace(PATIENT, **said)
    assert found(judge(PATIENT, referral=other)) == wanted
    assert all("R-1" in each.text for each in judge(PATIENT, referral=other).findings)


@pytest.mark.parametrize("column", ["patient_birth_date", "patient_sex", "patient_name"])
def test_what_a_study_does_not_say_cannot_be_compared(column: str) -> None:
    (stop,) = found(judge(replace(PATIENT, **{column: ""}), referral=PATIENT)).values()
    assert stop is HELD


def test_what_one_image_says_is_said_of_the_study() -> None:
    silent = replace(PATIENT, patient_birth_date="", patient_sex="", patient_name="")
    assert judge(silent, PATIENT, referral=PATIENT).stop is None


def test_neither_sex_is_the_other_s_where_both_say_so() -> None:
    other = replace(PATIENT, patient_sex="O")
    assert judge(other, referral=other).stop is None


@pytest.mark.parametrize(
    ("patient_id", "issuer", "stop"),
    [
        ("A123456(3)", "HKID", None),
        ("A123456(4)", "hkid", QUARANTINED),
        ("H4711", "", None),
        ("X4711", "", QUARANTINED),  # the site's own
        ("anything", "MACAU", None),
        ("anything", "ATLANTIS", HELD),
    ],
)
def test_an_id_is_one_that_its_issuer_gives_out(patient_id: str, issuer: str, stop: Stop | None) -> None:
    verdict = judge(replace(PATIENT, patient_id=patient_id, issuer_of_patient_id=issuer))
    assert verdict.stop is stop


def test_a_site_without_an_issuer_knows_its_own_patients() -> None:
    seen = Seen("peak", (replace(PATIENT, issuer_of_patient_id=""),))
    assert identity.judge(seen, CONFIG).stop is None


def test_what_quarantines_outweighs_what_holds() -> None:
    verdict = judge(PATIENT, referral=replace(PATIENT, patient_sex="F", patient_name="WONG^SIU MING"))
    assert verdict.stop is QUARANTINED
    assert verdict.reason == "its sex is not that of referral R-1; its name is not like that of referral R-1"


def test_no_reason_says_who_it_is() -> None:
    other = Patient("X9", "ATLANTIS", "WONG^SIU MING", "19991231", "F")
    verdict = judge(PATIENT, replace(PATIENT, patient_id=""), other, referral=other)
    values = {value for each in (PATIENT, other) for value in (each.patient_id, each.patient_name)}
    assert verdict.findings
    assert not [value for value in values if value in f"{verdict.reason}{PATIENT!r}"]


def test_a_verdict_is_the_same_where_what_was_seen_is() -> None:
    mixed = replace(PATIENT, patient_id="H0815")
    assert judge(PATIENT, mixed).digest == judge(mixed, PATIENT).digest
    digests = [
        judge(PATIENT, mixed),
        judge(PATIENT, replace(mixed, patient_name="WONG")),
        judge(PATIENT, mixed, replace(mixed, patient_id="H0816")),
        judge(PATIENT, mixed, referral=PATIENT),
        judge(PATIENT, mixed, referral=replace(PATIENT, patient_sex="F")),
        judge(PATIENT, mixed, referral=replace(PATIENT, patient_sex="F", patient_birth_date="19800512 ")),
    ]
    assert len({each.digest for each in digests}) == len(digests)


def test_of_two_patients_nothing_else_is_said() -> None:
    verdict = judge(PATIENT, replace(PATIENT, patient_id="H0815"), referral=replace(PATIENT, patient_sex="F"))
    assert (verdict.reason, verdict.is_mixed) == ("its images are of 2 patients", True)


def test_a_name_with_a_backslash_is_two_names() -> None:
    assert found(judge(replace(PATIENT, patient_name="CHAN^TAI MAN\\LEE^KA FAI"))) == {"PatientName": HELD}
