"""What patients have said of their consent, as the audit trail tells it: for an index in which it was lost.

Each word stands in the trail too, with the patient of its study; one that was withdrawn is about all whom that names.
Where its study is lost, so that nobody knows of which site it was, it is true of all: rather is somebody asked once too
often. Called inside `Database.write`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dicomnode.rules import patients
from dicomnode.store import consents, gates
from dicomnode.store.completeness import AND
from dicomnode.store.consents import Subject, Word
from dicomnode.store.database import execute, execute_all, one, rows

_TOLD = """SELECT e.referral, e.at, e.kind = 'consent given', e.text, e.who, e.patient_id, e.issuer_of_patient_id,
    coalesce(s.id, r.study) FROM events e LEFT JOIN studies s ON s.study_instance_uid = e.study_instance_uid
    LEFT JOIN referrals r ON r.id = e.referral
    WHERE e.kind IN ('consent given', 'consent withdrawn') AND e.referral IS NOT NULL ORDER BY e.id"""
_KNOWN = "SELECT 1 FROM consents WHERE referral = ? AND at = ? AND given = ? AND (patient, issuer, site) = (?, ?, ?)"
_WORDS = "at, referral, patient, issuer, site, given, text, who"


def restore(sites: Sequence[str]) -> int:
    """Write down again each word that the trail tells of and that is lost; how many rows of it there had been."""
    count = 0
    for referral, at, given, text, who, patient, issuer, study in rows(_TOLD):
        word = Word(referral, at, bool(given), text.removeprefix(f"recorded by {who}: "), who)
        lost = [about for about in _abouts(patient, issuer, study, word, sites) if not _is_known(word, about)]
        for about in lost:
            consents.say(referral, about, word)
        count += len(lost) if study else min(1, len(lost))
    if count:
        _put_in_order()
    return count


def _abouts(patient: str, issuer: str, study: int | None, word: Word, sites: Sequence[str]) -> list[Subject]:
    """Whom a word is about, who was the patient of its study then; all whom its study names, where one withdrew."""
    named = consents.subjects(study) if study else []
    of = {each.site for each in named} or sites
    own = [Subject(patients.id_key(patient), patients.issuer_key(issuer), site) for site in of]
    return own if word.given else list(dict.fromkeys([*own, *named]))


def _is_known(word: Word, about: Subject) -> bool:
    return one(_KNOWN, word.referral, word.at, word.given, about.patient, about.issuer, about.site) is not None


def _put_in_order() -> None:
    """The last word counts, and which that is their numbers tell."""
    words = rows(f"SELECT {_WORDS} FROM consents ORDER BY at, id")
    execute("DELETE FROM consents")
    execute_all(f"INSERT INTO consents ({_WORDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", words)


def hold(concerns: Callable[[int, str, list[str]], bool], why: str) -> list[int]:
    """Hold what is not sent, and is on a way (study, partner, routes) that this concerns; what that was done to."""
    unsent = "progress NOT IN ('sent', 'confirmed') AND withdrawn = ''"
    found = rows(f"SELECT id, study, partner, route FROM referrals WHERE {unsent}")
    held = [referral for referral, study, partner, route in found if concerns(study, partner, route.split(AND))]
    return gates.hold(held, why)
