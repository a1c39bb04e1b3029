"""Whose study is it? A whole study is held against itself, and against the referral that was found for it. Pure.

    quarantined   what is said is there, and is not the same: several patients, another ID, birth date or sex than the
                  referral's, a check digit that is wrong
    held          what is said cannot be compared, or only the name differs: one person has to look
    go            neither; without a referral, where nothing contradicts itself

A patient is an ID and its issuer, always; a missing issuer is the site's. IDs of two issuers cannot be compared: then
the rest has to agree. Values are compared without what differs between ways of writing them. What is found is said
without any of the values: it stands in lists, logs and the audit trail.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import Final

from dicomnode.config.model import NodeConfig
from dicomnode.rules import checkdigits
from dicomnode.rules.patients import id_key, issuer_key
from dicomnode.rules.resemblance import is_close


class Stop(StrEnum):
    """What a finding does to a study."""

    HELD = "held"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Patient:
    """Who somebody says that the patient is; '' where nothing is said."""

    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str

    def __repr__(self) -> str:
        return "Patient(…)"


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to judge by: the site of the study, each patient that an image of it names, the referral's."""

    site: str
    patients: tuple[Patient, ...]
    referral: Patient | None = None
    number: str = ""
    """The referral's."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: in which attribute (its keyword), what that does, and how it is said to a person."""

    keyword: str
    stop: Stop
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that is wrong. `digest` is of what was seen and found: a person who let this go has let nothing else go."""

    findings: tuple[Finding, ...]
    digest: str
    is_mixed: bool = False
    """Its images are of several patients."""

    @property
    def stop(self) -> Stop | None:
        """What is to be done; None: it goes."""
        return max((finding.stop for finding in self.findings), key=list(Stop).index, default=None)

    @property
    def reason(self) -> str:
        """What is wrong, in words."""
        return "; ".join(finding.text for finding in self.findings)


def judge(seen: Seen, config: NodeConfig) -> Verdict:
    """Hold a study against itself and its referral."""
    found = [*_within(seen, config), *_well_formed(seen, config)]
    is_mixed = len(_ids(seen, config)) > 1
    if seen.referral and not is_mixed:  # of two patients one is not the referral's anyway
        found += _against(seen, seen.referral, config)
    findings = tuple({(each.keyword, each.stop): each for each in reversed(found)}.values())[::-1]
    told = [sorted(map(astuple, seen.patients)), seen.referral and astuple(seen.referral), seen.number]
    what = json.dumps([*told, [(finding.keyword, finding.stop) for finding in findings]])
    return Verdict(findings, hashlib.sha256(what.encode()).hexdigest(), is_mixed)


def issuer(patient: Patient, site: str, config: NodeConfig) -> str:
    """Who has given out a patient's ID, as it is compared."""
    known = config.sites.get(site)
    return issuer_key(patient.issuer_of_patient_id, known.patient_id_issuer if known else "")


# -- against itself ----------------------------------------------------------------------------------------------


def _ids(seen: Seen, config: NodeConfig) -> set[tuple[str, str]]:
    """Each patient that has an ID, by that and its issuer."""
    found = {(id_key(each.patient_id), issuer(each, seen.site, config)) for each in seen.patients}
    return {each for each in found if each[0]}


def _within(seen: Seen, config: NodeConfig) -> Iterator[Finding]:
    ids = _ids(seen, config)
    if len(ids) > 1:
        yield _quarantine("PatientID", f"its images are of {len(ids)} patients")
    if not all(id_key(each.patient_id) for each in seen.patients):
        yield _hold("PatientID", "some of its images have no patient ID" if ids else "it has no patient ID")
    if len(ids) > 1:
        return  # of two patients everything else differs too
    if _differ(_dates(seen.patients)):
        yield _quarantine("PatientBirthDate", "its images have different birth dates")
    if len(_sexes(seen.patients)) > 1:
        yield _quarantine("PatientSex", "its images have different sexes")
    named = _names(seen.patients)
    if any("\\" in name for name in named) or not all(is_close(named[0], name) for name in named[1:]):
        yield _hold("PatientName", "its images have names that are not alike")


def _well_formed(seen: Seen, config: NodeConfig) -> Iterator[Finding]:
    declared = {issuer_key(name): found for name, found in config.issuers.items()}
    known = {"", *declared, *(issuer_key(site.patient_id_issuer) for site in config.sites.values())}
    for patient in seen.patients:
        name = issuer(patient, seen.site, config)
        if name in declared and id_key(patient.patient_id):
            wrong = checkdigits.fault(declared[name], patient.patient_id)
            if wrong:
                yield _quarantine("PatientID", f"its patient ID cannot be right: {wrong}")
        if name not in known:
            yield _hold("IssuerOfPatientID", "nobody here knows the issuer of its patient ID")


# -- against the referral ----------------------------------------------------------------------------------------


def _against(seen: Seen, wanted: Patient, config: NodeConfig) -> Iterator[Finding]:
    of = f"of referral {seen.number}"
    same = issuer(wanted, seen.site, config)
    ids = {id_key(each.patient_id) for each in seen.patients if issuer(each, seen.site, config) == same} - {""}
    if id_key(wanted.patient_id) and ids - {id_key(wanted.patient_id)}:
        yield _quarantine("PatientID", f"its patient ID is not that {of}")
    dates = _dates(seen.patients)
    if any(_differ({date, *_dates([wanted])}) for date in dates):
        yield _quarantine("PatientBirthDate", f"its birth date is not that {of}")
    elif not any(len(date) == _DAY for date in dates) or not any(len(date) == _DAY for date in _dates([wanted])):
        yield _hold("PatientBirthDate", f"its birth date cannot be compared with that {of}: one is not known whole")
    sexes = _sexes(seen.patients)
    if len(sexes | _sexes([wanted])) > 1:
        yield _quarantine("PatientSex", f"its sex is not that {of}")
    elif (not sexes or not _sexes([wanted])) and not _both_other(seen.patients, wanted):
        yield _hold("PatientSex", f"its sex cannot be compared with that {of}: one is not known")
    named = _names(seen.patients)
    if not named or not all(is_close(name, wanted.patient_name) for name in named):
        yield _hold("PatientName", f"its name is not like that {of}")


def _both_other(patients: Iterable[Patient], wanted: Patient) -> bool:
    return wanted.patient_sex.strip().upper() == "O" and any(p.patient_sex.strip().upper() == "O" for p in patients)


# -- values ------------------------------------------------------------------------------------------------------

_DAY: Final = 8
_DATE: Final = re.compile(r"(\d{4})(?:[-./]?(\d\d)(?:[-./]?(\d\d))?)?", re.ASCII)


def _dates(patients: Iterable[Patient]) -> set[str]:
    """The digits of birth dates as far as they are known: YYYY, YYYYMM, or YYYYMMDD."""
    return {date for each in patients if (date := _date(each.patient_birth_date))}


def _date(value: str) -> str:
    """What is no date, or is of month 00, is not known; ACR-NEMA wrote dots into it."""
    found = _DATE.fullmatch(value.strip())
    year, month, day = found.groups("00") if found else ("0000", "00", "00")
    return "" if year == "0000" else year if month == "00" else year + month if day == "00" else year + month + day


def _differ(dates: Iterable[str]) -> bool:
    """Whether these cannot be one day, as far as both are known."""
    known = sorted(dates, key=len)
    return any(not longer.startswith(shorter) for at, shorter in enumerate(known) for longer in known[at:])


def _sexes(patients: Iterable[Patient]) -> set[str]:
    """M or F; all else says that it is not known (PS3.3 C.7.1.1)."""
    return {sex for each in patients if (sex := each.patient_sex.strip().upper()) in ("M", "F")}


def _names(patients: Iterable[Patient]) -> list[str]:
    return [each.patient_name for each in patients if each.patient_name.strip("^= ")]


def _quarantine(keyword: str, text: str) -> Finding:
    return Finding(keyword, Stop.QUARANTINED, text)


def _hold(keyword: str, text: str) -> Finding:
    return Finding(keyword, Stop.HELD, text)
