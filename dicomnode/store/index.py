"""The index of what is kept: studies, series, instances and their versions. Constant SQL, called inside `write`.

A SOP Instance UID may arrive more than once. None of its versions is ever overwritten: the same bytes again are a
duplicate; anything else is kept beside the first as what a comparison says it is, and is not current. An instance of
another site's study is kept and not current either: a study belongs to the site that first sent it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any

from dicomnode.dicom import names
from dicomnode.dicom.instance import ATTRIBUTES, Level, SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.errors import DicomnodeError
from dicomnode.store.archive import Stored
from dicomnode.store.database import execute, insert, one, rows


class Kind(StrEnum):
    """What a received instance is to what was there before."""

    NEW = "new"
    DUPLICATE = "duplicate"
    VARIANT = "variant"
    CORRECTION = "correction"
    CONFLICT = "conflict"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of an instance: its row, its study's row (None for an object of no study), its kind, its file."""

    instance: int
    study: int | None
    kind: Kind
    file: str
    current: bool


class AnotherVersion(DicomnodeError):
    """The SOP Instance UID is known with other bytes, in `file`: compare the two, then record again with the kind."""

    def __init__(self, file: str) -> None:
        super().__init__(f"another version is kept in {file}")
        self.file = file


_STUDY = tuple(a.column for a in ATTRIBUTES if a.level in (Level.PATIENT, Level.STUDY))
_SERIES = tuple(a.column for a in ATTRIBUTES if a.level is Level.SERIES)
_IMAGE = tuple(a.column for a in ATTRIBUTES if a.level is Level.IMAGE)
_of_series, _of_image = attrgetter(*_SERIES), attrgetter(*_IMAGE)
_GROUPS = ("patient_name_alphabetic", "patient_name_ideographic", "patient_name_phonetic")


def _insert_sql(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


_INSERT_STUDY = _insert_sql("studies", (*_STUDY, *_GROUPS, "site", "received_at"))
_INSERT_SERIES = _insert_sql("series", (*_SERIES, "study"))
_UPDATE_SERIES = f"UPDATE series SET {', '.join(f'{column} = ?' for column in _SERIES)} WHERE id = ?"
_FIND = """SELECT t.id, t.site, s.id, EXISTS (SELECT 1 FROM instances i WHERE i.series = s.id AND i.current)
    FROM studies t LEFT JOIN series s ON s.study = t.id AND s.series_instance_uid = ? WHERE t.study_instance_uid = ?"""
_INSERT_INSTANCE = _insert_sql(
    "instances",
    (
        *_IMAGE,
        *("series", "version", "kind", "current", "transfer_syntax_uid", "file", "sha256", "size"),
        *("partner", "site", "calling_ae_title", "called_ae_title", "received_at", "notes"),
    ),
)


def record(stored: Stored, instance: SopInstance, origin: Origin, issuer: str, kind: Kind | None = None) -> Recorded:
    """Index one kept file. `issuer` is the site's own, for objects that name none.

    `kind` is what a comparison with the site's own version found; without it, a UID that the site has sent with other
    bytes raises AnotherVersion, and nothing was done. What another site has sent under this UID is no version of it: it
    is a conflict where it is in another study, because a hospital could not tell the two apart.
    """
    versions = rows(
        "SELECT i.id, i.sha256, i.file, s.study, i.current, i.site, t.study_instance_uid FROM instances i"
        " LEFT JOIN series s ON s.id = i.series LEFT JOIN studies t ON t.id = s.study"
        " WHERE i.sop_instance_uid = ? ORDER BY i.current DESC, i.version",
        instance.sop_instance_uid,
    )
    ours = [row for row in versions if row[5] == origin.site]
    for row_id, sha256, file, study, current, *_ in ours:
        if sha256 == stored.sha256:
            execute("UPDATE instances SET duplicates = duplicates + 1 WHERE id = ?", row_id)
            return Recorded(row_id, study, Kind.DUPLICATE, file, bool(current))
    if ours and kind is None:
        raise AnotherVersion(ours[0][2])
    if any(row[4] and (row[6] or "") != instance.study_instance_uid for row in versions if row not in ours):
        kind = Kind.CONFLICT
    return _add(stored, instance, origin, issuer, kind or Kind.NEW, version=len(versions) + 1)


def _add(
    stored: Stored, instance: SopInstance, origin: Origin, issuer: str, kind: Kind, *, version: int
) -> Recorded:
    series = study = None
    if instance.study_instance_uid:
        found = one(_FIND, instance.series_instance_uid, instance.study_instance_uid)
        study, owner, series, told = found or (_new_study(instance, origin, issuer), origin.site, None, False)
        if owner != origin.site:
            kind = Kind.FOREIGN
        if series is None:
            series = insert(_INSERT_SERIES, *_of_series(instance), study)
        elif kind is Kind.NEW and not told:  # what is said of it is what its first current instance said
            execute(_UPDATE_SERIES, *_of_series(instance), series)
    row = insert(
        _INSERT_INSTANCE,
        *_of_image(instance),
        *(series, version, kind, kind is Kind.NEW),
        *(instance.transfer_syntax_uid, stored.file, stored.sha256, stored.size),
        *(origin.partner, origin.site, origin.calling_ae_title, origin.called_ae_title, origin.received_at),
        json.dumps(instance.notes) if instance.notes else "[]",
    )
    return Recorded(row, study, kind, stored.file, kind is Kind.NEW)


def replace_file(instance: int, file: str) -> None:
    """The file of an instance was lost, and another with the same dataset has arrived."""
    execute("UPDATE instances SET file = ? WHERE id = ?", file, instance)


def _new_study(instance: SopInstance, origin: Origin, issuer: str) -> int:
    values = {column: getattr(instance, column) for column in _STUDY}
    values["issuer_of_patient_id"] = instance.issuer_of_patient_id or issuer
    groups = names.groups(instance.patient_name)
    return insert(_INSERT_STUDY, *values.values(), *groups, origin.site, origin.received_at)


def studies_of(sop_instance_uid: str, study: int | None) -> dict[int, str]:
    """The studies that a doubt about an instance concerns, and whose they are: the one given, and its versions'."""
    found = rows(
        "SELECT id, site FROM studies WHERE id = ? OR id IN (SELECT s.study FROM instances i"
        " JOIN series s ON s.id = i.series WHERE i.sop_instance_uid = ?)",
        *(study, sop_instance_uid),
    )
    return dict(found)


def quarantine(study: int, reason: str) -> None:
    """Mark a study as one that nothing may leave of, with what a person has to decide."""
    execute("UPDATE studies SET quarantine = ? WHERE id = ? AND quarantine = ''", reason, study)


def remark(study: int, text: str) -> None:
    """Flag a study that goes on all the same."""
    execute("UPDATE studies SET remark = ? WHERE id = ?", text, study)


@dataclass(frozen=True, slots=True)
class Kept:
    """What routing asks of an instance that is already kept: the row's id, and the values of its indexed columns."""

    id: int
    values: dict[str, str]


_TABLE = {Level.PATIENT: "t", Level.STUDY: "t", Level.SERIES: "s", Level.IMAGE: "i"}
_KEPT = f"""SELECT i.id, i.called_ae_title, i.calling_ae_title,
    {", ".join(f"{_TABLE[a.level]}.{a.column}" for a in ATTRIBUTES)}
    FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study
    WHERE s.study = ? AND i.current ORDER BY i.id"""


def of_study(study: int) -> list[Kept]:
    """The current instances of a study, as routing sees them: by column, with `called` and `calling`."""
    columns = ("called", "calling", *(a.column for a in ATTRIBUTES))
    return [Kept(row[0], dict(zip(columns, row[1:], strict=True))) for row in rows(_KEPT, study)]


@dataclass(frozen=True, slots=True)
class Study:
    """One study as a person sees it; times in µs, text as stored, '' where unknown."""

    id: int
    study_instance_uid: str
    patient_id: str
    patient_name: str
    study_date: str
    modalities: tuple[str, ...]
    series: int
    instances: int
    site: str
    received_at: int
    quarantine: str
    remark: str


_CURRENT = "FROM series s JOIN instances i ON i.series = s.id AND i.current WHERE s.study = t.id"
_STUDIES = f"""SELECT t.id, t.study_instance_uid, t.patient_id, t.patient_name, t.study_date,
    (SELECT group_concat(DISTINCT s.modality) {_CURRENT} AND s.modality != ''),
    (SELECT count(DISTINCT s.id) {_CURRENT}), (SELECT count(*) {_CURRENT}),
    t.site, t.received_at, t.quarantine, t.remark FROM studies t"""


def studies(limit: int) -> list[Study]:
    """The studies received last, the newest first."""
    return [_as_study(row) for row in rows(f"{_STUDIES} ORDER BY t.id DESC LIMIT ?", limit)]


def study(uid: str) -> Study | None:
    """One study by its UID, or by its number as text; None where there is none."""
    found = one(f"{_STUDIES} WHERE t.study_instance_uid = ? OR t.id = ?", uid, int(uid) if uid.isdecimal() else -1)
    return _as_study(found) if found else None


def _as_study(row: tuple[object, ...]) -> Study:
    values = list(row)
    values[5] = tuple(sorted(str(row[5] or "").split(","))) if row[5] else ()
    return Study(*values)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Version:
    """One kept version of one SOP instance, as `studies show` lists it."""

    sop_instance_uid: str
    version: int
    kind: str
    current: bool
    modality: str
    series_instance_uid: str
    instance_number: str
    transfer_syntax_uid: str
    size: int
    sha256: str
    file: str
    partner: str
    received_at: int
    duplicates: int
    notes: tuple[str, ...]


def versions(study: int) -> list[Version]:
    """Every kept version of every instance of a study, in the order of arrival."""
    found = rows(
        "SELECT i.sop_instance_uid, i.version, i.kind, i.current, s.modality, s.series_instance_uid, i.instance_number,"
        " i.transfer_syntax_uid, i.size, i.sha256, i.file, i.partner, i.received_at, i.duplicates, i.notes"
        " FROM instances i JOIN series s ON s.id = i.series WHERE s.study = ? ORDER BY i.id",
        study,
    )
    return [_as_version(row) for row in found]


def _as_version(row: tuple[Any, ...]) -> Version:
    values = list(row)
    values[3], values[14] = bool(row[3]), tuple(json.loads(row[14]))
    return Version(*values)
