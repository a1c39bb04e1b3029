"""What studies, series and instances say of themselves, as the index has it. Constant SQL, called inside `write`.

A study or a series is told of by one of its instances: by the first, until a person chooses another.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from dicomnode.dicom import names, sequences
from dicomnode.dicom.instance import ATTRIBUTES, SEQUENCES, Level, SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.store import patients
from dicomnode.store.database import execute, insert, rows

_STUDY = tuple(a.column for a in ATTRIBUTES if a.level in (Level.PATIENT, Level.STUDY))
_SERIES = tuple(a.column for a in ATTRIBUTES if a.level is Level.SERIES)
OF_INSTANCE: Final = tuple(a.column for a in ATTRIBUTES if a.level is Level.IMAGE)
"""The columns that are of an instance itself."""
of_instance: Final = attrgetter(*OF_INSTANCE)
"""What an instance has in these."""
_of_series = attrgetter(*_SERIES)
_STUDY_SEQUENCES = tuple(s.column for s in SEQUENCES if s.level is Level.STUDY)
_SERIES_SEQUENCES = tuple(s.column for s in SEQUENCES if s.level is Level.SERIES)
_GROUPS = ("patient_name_alphabetic", "patient_name_ideographic", "patient_name_phonetic")


def insert_sql(table: str, columns: tuple[str, ...]) -> str:
    """A new row with values for these columns."""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _update_sql(table: str, columns: tuple[str, ...]) -> str:
    return f"UPDATE {table} SET {' = ?, '.join(columns)} = ? WHERE id = ?"


def _complete_sql(table: str, columns: tuple[str, ...]) -> str:
    filled = ", ".join(f"{column} = CASE WHEN {column} = '' THEN ? ELSE {column} END" for column in columns)
    return f"UPDATE {table} SET {filled} WHERE id = ?"


_INSERT_STUDY = insert_sql("studies", (*_STUDY, *_GROUPS, *_STUDY_SEQUENCES, "site", "received_at"))
_INSERT_SERIES = insert_sql("series", (*_SERIES, *_SERIES_SEQUENCES, "study"))
_UPDATE_STUDY = _update_sql("studies", (*_STUDY, *_GROUPS, *_STUDY_SEQUENCES))
_UPDATE_SERIES = _update_sql("series", (*_SERIES, *_SERIES_SEQUENCES))
_OF_STUDY_ALONE = tuple(a.column for a in ATTRIBUTES if a.level is Level.STUDY)
_COMPLETE_STUDY = _complete_sql("studies", (*_OF_STUDY_ALONE, *_STUDY_SEQUENCES))
_COMPLETE_SERIES = _complete_sql("series", (*_SERIES, *_SERIES_SEQUENCES))
_COMPLETE_INSTANCE = _complete_sql("instances", OF_INSTANCE)


def new_study(instance: SopInstance, origin: Origin, issuer: str) -> int:
    """A new row for the study of an instance; its id."""
    return insert(_INSERT_STUDY, *_told_of_study(instance, issuer), origin.site, origin.received_at)


def new_series(study: int, instance: SopInstance) -> int:
    """A new row for the series of an instance; its id."""
    return insert(_INSERT_SERIES, *_told_of_series(instance), study)


def describe_study(study: int, instance: SopInstance, issuer: str) -> None:
    """Say of a study what one of its instances says. `issuer` is the site's own, for objects that name none."""
    patients.redescribe(study, patients.told(instance, issuer))
    execute(_UPDATE_STUDY, *_told_of_study(instance, issuer), study)


def describe_series(series: int, instance: SopInstance) -> None:
    """Say of a series what one of its instances says."""
    execute(_UPDATE_SERIES, *_told_of_series(instance), series)


def complete(row: int, instance: SopInstance) -> None:
    """Have the rows of a kept instance say what its file says, where they say nothing: they may be older than some of
    what is indexed. Nothing that is told is told anew, for a file may be damaged since.

    Of its study and its series, a current one tells. Whose they are is told already.
    """
    execute(_COMPLETE_INSTANCE, *of_instance(instance), row)
    sql = "SELECT s.id, s.study FROM instances i JOIN series s ON s.id = i.series WHERE i.id = ? AND i.current"
    for series, study in rows(sql, row):
        packed = sequences.texts(instance)
        told = (getattr(instance, column) for column in _OF_STUDY_ALONE)
        execute(_COMPLETE_SERIES, *_told_of_series(instance), series)
        execute(_COMPLETE_STUDY, *told, *(packed[column] for column in _STUDY_SEQUENCES), study)


def _told_of_study(instance: SopInstance, issuer: str) -> tuple[str, ...]:
    values = {column: getattr(instance, column) for column in _STUDY}
    values["issuer_of_patient_id"] = instance.issuer_of_patient_id or issuer
    packed = sequences.texts(instance)
    return *values.values(), *names.groups(instance.patient_name), *(packed[column] for column in _STUDY_SEQUENCES)


def _told_of_series(instance: SopInstance) -> tuple[str, ...]:
    packed = sequences.texts(instance)
    return *_of_series(instance), *(packed[column] for column in _SERIES_SEQUENCES)
