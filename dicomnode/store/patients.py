"""The patients of a study: its own, and those that instances of it name instead. Called inside `read` or `write`.

A study is told of by one of its instances (store/attributes.py). Of any other, who its patient is is kept where that is
not the same, letter by letter; whether it is another person is decided in rules/identity.py. Whether a study was judged
by the rules in force, and its instances were ever compared with it, is kept too: before that nothing of it leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from dicomnode.dicom.instance import SopInstance
from dicomnode.rules.identity import Patient
from dicomnode.store.database import execute, one, rows

COLUMNS: Final = ("patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex")
_NAMES: Final = ", ".join(COLUMNS)
_told = attrgetter(*COLUMNS)


def told(instance: SopInstance, issuer: str) -> tuple[str, ...]:
    """Who an instance says that its patient is. `issuer` is the site's own, for objects that name none."""
    patient_id, named, *others = _told(instance)
    return patient_id, named or issuer, *others


def deviate(instance: int, study: int, patient: tuple[str, ...]) -> None:
    """An instance names another patient than its study does: that is to be judged before more of it goes."""
    execute(
        f"INSERT OR REPLACE INTO study_patients (instance, study, {_NAMES}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        *(instance, study, *patient),
    )
    judge_again(study)


def compare(instance: int, patient: tuple[str, ...]) -> None:
    """See anew whether a kept instance, which says that it is of this patient, deviates from its study."""
    execute("DELETE FROM study_patients WHERE instance = ?", instance)
    sql = f"""SELECT t.id, {_NAMES} FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study
        WHERE i.id = ? AND i.kind != 'foreign'"""
    for study, *own in rows(sql, instance):
        if tuple(own) != patient:
            deviate(instance, study, patient)


def redescribe(study: int, patient: tuple[str, ...]) -> None:
    """A study is about to be told of by another instance, which names this patient: the others keep theirs."""
    if one(f"SELECT {_NAMES} FROM studies WHERE id = ?", study) == patient:
        return
    execute(
        f"INSERT OR IGNORE INTO study_patients (instance, study, {_NAMES}) SELECT i.id, t.id, {_NAMES}"
        " FROM studies t JOIN series s ON s.study = t.id JOIN instances i ON i.series = s.id"
        " WHERE t.id = ? AND i.kind != 'foreign'",
        study,
    )
    execute(f"DELETE FROM study_patients WHERE study = ? AND ({_NAMES}) = (?, ?, ?, ?, ?)", study, *patient)


@dataclass(frozen=True, slots=True)
class Named:
    """A patient that instances of a study name: how many current ones do, and the first of them."""

    patient: Patient
    instances: int
    sop_instance_uid: str


_OTHERS = f"""SELECT {_NAMES}, count(*), min(i.sop_instance_uid) FROM study_patients p
    JOIN instances i ON i.id = p.instance WHERE p.study = ? AND i.current GROUP BY {_NAMES} ORDER BY min(i.id)"""
_OWN = f"""SELECT {_NAMES}, count(*), min(i.sop_instance_uid) FROM studies t JOIN series s ON s.study = t.id
    JOIN instances i ON i.series = s.id AND i.current WHERE t.id = ?
    AND NOT EXISTS (SELECT 1 FROM study_patients p WHERE p.instance = i.id) GROUP BY t.id"""


def named(study: int) -> list[Named]:
    """Whom the current instances of a study name: its own patient first, where any does, then the others."""
    found = [*rows(_OWN, study), *rows(_OTHERS, study)]
    return [Named(Patient(*row[: len(COLUMNS)]), *row[len(COLUMNS) :]) for row in found]


def of_study(study: int) -> tuple[Patient, ...]:
    """Each patient that a current instance of a study names; where there is none, that of the study's row."""
    if one("SELECT 1 FROM study_patients WHERE study = ? LIMIT 1", study):
        return tuple(each.patient for each in named(study)) or (_own(study),)
    return (_own(study),)


def _own(study: int) -> Patient:
    return Patient(*one(f"SELECT {_NAMES} FROM studies WHERE id = ?", study))


# -- whether it was looked at --------------------------------------------------------------------------------------


def judged(study: int, generation: int) -> None:
    """A study was judged by the rules of this generation."""
    execute("UPDATE studies SET vetted = ? WHERE id = ? AND vetted != ?", generation, study, generation)


def judge_again(study: int) -> None:
    """A study may not be what was judged: nothing of it is claimed to be sent before it is judged again."""
    execute("UPDATE studies SET vetted = 0 WHERE id = ? AND vetted", study)


def is_judged(study: int, generation: int) -> bool:
    """Whether a study was judged by the rules of this generation, and no others since, and was compared before."""
    return bool(one("SELECT vetted = ? AND compared FROM studies WHERE id = ?", generation, study)[0])


def is_compared(study: int) -> bool:
    """Whether it was looked at whom the instances of a study name, when they came or since."""
    return bool(one("SELECT compared FROM studies WHERE id = ?", study)[0])


def compared(study: int) -> None:
    """Each instance of a study was looked at; if it was judged before that, it is to be again."""
    execute("UPDATE studies SET compared = 1, vetted = 0 WHERE id = ? AND NOT compared", study)


def uncompared() -> int | None:
    """The newest study whose instances were not looked at; None: there is none."""
    found = one("SELECT id FROM studies WHERE NOT compared ORDER BY id DESC LIMIT 1")
    return int(found[0]) if found else None


def files(study: int) -> list[tuple[int, str, str]]:
    """(instance, file, site) of what is kept of a study."""
    return rows(
        "SELECT i.id, i.file, i.site FROM series s JOIN instances i ON i.series = s.id WHERE s.study = ?"
        " AND i.kind != 'foreign' AND i.evicted_at IS NULL ORDER BY i.id",
        study,
    )
