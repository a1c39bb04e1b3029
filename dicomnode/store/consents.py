"""What patients have said of their consent, as operators wrote it down: given for one referral, or withdrawn.

A word that is given is about its referral. One that is withdrawn is about everything of the patient (ID and issuer) at
that site, until a new one is given: what opens after that is free of it, and so is the referral that it was given for.
Nothing is ever changed or removed. Who needs consent is decided in operations/consent.py. Everything that changes
something is called inside `Database.write`; times in µs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from dicomnode.rules import patients
from dicomnode.store import gates
from dicomnode.store import patients as named_in
from dicomnode.store.database import execute, insert, one, rows


@dataclass(frozen=True, slots=True)
class Word:
    """One word: about which referral, when, by whom it was written down, and its evidence, or why it was withdrawn."""

    referral: int
    at: int
    given: bool
    text: str
    who: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose consent it is: a patient of a site, by the keys of its ID and issuer. Without an ID nobody else's words are
    about it.
    """

    patient: str
    issuer: str
    site: str


_WORDS = "SELECT referral, at, given, text, who FROM consents"


def subjects(study: int) -> list[Subject]:
    """Whose study it is: everyone whom an image of it names, its own patient first."""
    (site,) = one("SELECT site FROM studies WHERE id = ?", study)
    named = named_in.of_study(study)
    return list(dict.fromkeys(_subject(each.patient_id, each.issuer_of_patient_id, site) for each in named))


def _subject(patient_id: str, issuer: str, site: str) -> Subject:
    return Subject(patients.id_key(patient_id), patients.issuer_key(issuer), site)


def told_of(patient_id: str, issuer: str, site: str) -> list[Subject]:
    """Of whom something was said who may be this one; an issuer and a site that are '' may be anybody's."""
    found = rows(
        "SELECT DISTINCT patient, issuer, site FROM consents"
        " WHERE patient = ? AND patient != '' AND ? IN ('', issuer) AND ? IN ('', site)",
        *(patients.id_key(patient_id), patients.issuer_key(issuer), site),
    )
    return [Subject(*row) for row in found]


def say(referral: int, about: Subject, word: Word) -> None:
    """Write down a word."""
    insert(
        "INSERT INTO consents (at, referral, patient, issuer, site, given, text, who) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        *(word.at, referral, about.patient, about.issuer, about.site, word.given, word.text, word.who),
    )


def of(referral: int) -> list[Word]:
    """What was said about one referral, the first first."""
    sql = f"{_WORDS} WHERE referral = ? GROUP BY at, given, text, who ORDER BY min(id)"  # a row for each patient
    return [_word(row) for row in rows(sql, referral)]


def last(abouts: Iterable[Subject], referral: int | None = None) -> Word | None:
    """The last word that concerns a referral, or, without one, whatever would be opened now.

    That is one about itself, one about its patient that was withdrawn, or one that was given before it opened. Of
    several patients, each has a say: one who has withdrawn consent stops what all the others allow.
    """
    words = [word for about in abouts if (word := _last(about, referral))]
    return min(words, key=lambda word: (word.given, -word.at), default=None)


def _last(about: Subject, referral: int | None) -> Word | None:
    found = one(
        f"{_WORDS} WHERE referral = ? OR (patient = ? AND patient != '' AND issuer = ? AND site = ?"
        " AND (NOT given OR ? IS NULL OR at <= (SELECT opened_at FROM referrals WHERE id = ?)))"
        " ORDER BY id DESC LIMIT 1",
        *(referral, about.patient, about.issuer, about.site, referral, referral),
    )
    return _word(found) if found else None


def _word(row: tuple[int, int, int, str, str]) -> Word:
    return Word(row[0], row[1], bool(row[2]), row[3], row[4])


def want(referral: int, why: str) -> bool:
    """Stop a referral because no consent allows it ('': no more); whether that is new."""
    changed = execute("UPDATE referrals SET unconsented = ? WHERE id = ? AND unconsented != ?", why, referral, why)
    if changed:
        gates.weigh(referral)
    return bool(changed)


def withdrawn(word: Word) -> str:
    """Why nothing goes of a patient who has withdrawn consent."""
    return f"the patient's consent was withdrawn (by {word.who}, for referral {word.referral}: {word.text})"


def how_to_give(referral: int) -> str:
    """What to do where a referral has no consent."""
    return f"`dicomnode referrals consent {referral} --evidence …` records it"


def block(referral: int, study: int) -> None:
    """A referral opens: it waits for a new consent where its patient has withdrawn the last one."""
    word = last(subjects(study), referral)
    if word and not word.given:
        want(referral, f"{withdrawn(word)}: {how_to_give(referral)}")


def unsent(about: Subject) -> list[int]:
    """The studies of a patient of a site of which something is still to be sent to somebody."""
    found = rows(
        "SELECT DISTINCT s.id FROM referrals r JOIN studies s ON s.id = r.study"
        " WHERE r.progress IN ('receiving', 'complete', 'sending') AND s.site = ?",
        about.site,
    )
    return [study for (study,) in found if about in subjects(study)] if about.patient else []


def stopped(study: int, partners: Iterable[str]) -> tuple[int, str] | None:
    """(id, why) of a referral of the study to one of these partners that no consent allows."""
    return one(  # type: ignore[no-any-return]
        "SELECT id, unconsented FROM referrals WHERE study = ? AND unconsented != ''"
        " AND partner IN (SELECT value FROM json_each(?)) LIMIT 1",
        *(study, json.dumps(list(partners))),
    )
