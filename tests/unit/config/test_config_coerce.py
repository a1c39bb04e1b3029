"""What a configuration may ask of the copies that a partner is sent, and what one person cannot mean by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config.load import parse
from dicomnode.errors import ConfigurationError, Fault

BASE = """\
node: {ae_title: REFERNODE}
issuers:
  NHS: {check: nhs}
sites:
  harbour: {sector: private, patient_id_issuer: HARBOUR}
  general: {sector: public, patient_id_issuer: HKID}
partners:
  CT1: {site: harbour, address: 10.1.0.1, may: [store]}
  PUBPACS:
    site: general
    host: 10.9.0.5
    port: 104
    coerce:
      patient_id: HKID
routes:
  - name: referrals
    to: [PUBPACS]
    require: referral
"""


def faults(old: str, new: str) -> tuple[Fault, ...]:
    assert BASE.count(old) == 1, f"{old!r} is not once in BASE"
    with pytest.raises(ConfigurationError) as raised:
        parse(BASE.replace(old, new), Path("/etc/dicomnode/dicomnode.yaml"))
    return raised.value.faults


def taken(old: str, new: str) -> None:
    assert BASE.count(old) == 1, f"{old!r} is not once in BASE"
    parse(BASE.replace(old, new), Path("/etc/dicomnode/dicomnode.yaml"))


def test_what_is_said_is_taken() -> None:
    coerce = parse(BASE, Path("/etc/dicomnode/dicomnode.yaml")).partners["PUBPACS"].coerce
    assert (coerce.patient_id, coerce.issuers, coerce.institution, coerce.request) == ("HKID", False, False, False)


def test_an_issuer_that_nobody_knows_is_a_slip_of_the_hand() -> None:
    (fault,) = faults("patient_id: HKID\n", "patient_id: HKIDS\n")
    assert (fault.path, fault.line) == ("partners.PUBPACS.coerce.patient_id", 14)
    assert "did you mean 'HKID'" in fault.text
    taken("patient_id: HKID\n", "patient_id: NHS\n")


def test_what_only_a_referral_gives_is_sent_with_one_alone() -> None:
    (fault,) = faults("    require: referral\n", "")
    assert fault.path == "routes.0.require"
    assert fault.text.startswith("must be referral: PUBPACS is sent the patient ID of HKID")
    assert fault.text.endswith("(line 14)")


def test_what_is_given_the_patient_id_of_a_referral_is_looked_at_first() -> None:
    (fault,) = faults("    require: referral\n", "    require: referral\n    identity: none\n")
    assert fault.path == "routes.0.identity"
    assert fault.text.startswith("cannot be none: PUBPACS is sent the patient ID that a referral gives")


def test_who_gives_out_that_id_itself_needs_none() -> None:
    text = BASE.replace("    require: referral\n", "").replace("HARBOUR}", "HKID}")
    config = parse(text, Path("/etc/dicomnode/dicomnode.yaml"))
    assert config.partners["PUBPACS"].coerce.patient_id == config.sites["harbour"].patient_id_issuer == "HKID"
    assert config.routes[0].require == "none"


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("      patient_id: HKID\n", "      deidentify: basic\n", "partners.PUBPACS.coerce.deidentify"),
        ("    port: 104\n", "    port: 104\n    deidentify: true\n", "partners.PUBPACS.deidentify"),
    ],
)
def test_it_does_not_de_identify_and_says_so(old: str, new: str, path: str) -> None:
    found = {fault.path: fault.text for fault in faults(old, new)}
    assert "de-identify for research elsewhere (PS3.15 E)" in found[path]
