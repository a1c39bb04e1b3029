"""The index of what is kept: studies, series, instances and their versions. Constant SQL, called inside `write`.

A SOP Instance UID may arrive more than once. None of its versions is ever overwritten: the same bytes again are a
duplicate; anything else is kept beside the first as what a comparison says it is, and is not current. An instance of
another site's study is kept and not current either: a study belongs to the site that first sent it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from dicomnode.dicom.instance import ATTRIBUTES, SEQUENCES, Level, SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.errors import DicomnodeError
from dicomnode.store import attributes, patients, space
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
    sent_as: int | None
    """The row of the version that goes out for it: itself, or the one that it is another encoding of; None: neither."""
    replaced: str = ""
    """The file that it takes the place of: one that was evicted, or is damaged."""


class AnotherVersion(DicomnodeError):
    """The SOP Instance UID is known with other bytes, in `file`: compare the two, then record again with the kind."""

    def __init__(self, instance: int, file: str) -> None:
        super().__init__(f"another version is kept in {file}")
        self.instance, self.file = instance, file


_FIND = f"""SELECT t.id, t.site, s.id, EXISTS (SELECT 1 FROM instances i WHERE i.series = s.id AND i.current),
    {", ".join(f"t.{column}" for column in patients.COLUMNS)} FROM studies t
    LEFT JOIN series s ON s.study = t.id AND s.series_instance_uid = ? WHERE t.study_instance_uid = ?"""
_VERSIONS = """SELECT i.id, i.sha256, i.file, s.study, i.current, i.site, t.study_instance_uid, i.kind,
    i.evicted_at IS NOT NULL OR i.damage != '', i.version FROM instances i
    LEFT JOIN series s ON s.id = i.series LEFT JOIN studies t ON t.id = s.study
    WHERE i.sop_instance_uid = ? ORDER BY i.current DESC, i.version"""
_INSERT_INSTANCE = attributes.insert_sql(
    "instances",
    (
        *attributes.OF_INSTANCE,
        *("series", "version", "kind", "current", "undecided"),
        *("transfer_syntax_uid", "file", "sha256", "size", "crc32"),
        *("partner", "site", "calling_ae_title", "called_ae_title", "received_at", "notes"),
    ),
)


def record(stored: Stored, instance: SopInstance, origin: Origin, issuer: str, kind: Kind | None = None) -> Recorded:
    """Index one kept file. `issuer` is the site's own, for objects that name none.

    `kind` is what a comparison with the site's own version found; without it, a UID that the site has sent with other
    bytes raises AnotherVersion, and nothing was done. What another site has sent under this UID is no version of it: it
    is a conflict where it is in another study, because a hospital could not tell the two apart.
    """
    versions = rows(_VERSIONS, instance.sop_instance_uid)
    ours = [row for row in versions if row[5] == origin.site]
    current = next((row[0] for row in ours if row[4]), None)
    for row in ours:
        if row[1] == stored.sha256:
            return _again(row, current, stored)
    if ours and kind is None:
        raise AnotherVersion(ours[0][0], ours[0][2])
    if any(row[4] and (row[6] or "") != instance.study_instance_uid for row in versions if row not in ours):
        kind = Kind.CONFLICT
    kind = kind or Kind.NEW
    recorded = _add(stored, instance, origin, issuer, kind, version=1 + max([0, *(row[9] for row in versions)]))
    return replace(recorded, sent_as=current) if recorded.kind is Kind.VARIANT else recorded


def _again(row: Any, current: int | None, stored: Stored) -> Recorded:
    """The same bytes again: counted; kept where the file of the first is not there, or not what it was."""
    row_id, _, file, study, is_current, _, _, kind, spoilt, _ = row
    execute("UPDATE instances SET duplicates = duplicates + 1 WHERE id = ?", row_id)
    if spoilt and not space.restore(row_id, stored.file):
        replace_file(row_id, stored.file)
    sent_as = current if is_current or kind == Kind.VARIANT else None
    return Recorded(row_id, study, Kind.DUPLICATE, stored.file if spoilt else file, sent_as, file if spoilt else "")


def _add(
    stored: Stored, instance: SopInstance, origin: Origin, issuer: str, kind: Kind, *, version: int
) -> Recorded:
    series = study = other = None
    if instance.study_instance_uid:
        patient = patients.told(instance, issuer)
        study, owner, series, told, *own = one(_FIND, instance.series_instance_uid, instance.study_instance_uid) or (
            *(attributes.new_study(instance, origin, issuer), origin.site, None, False),
            *patient,
        )
        if owner != origin.site:
            kind = Kind.FOREIGN
        elif tuple(own) != patient:
            other = patient
        if series is None:
            series = attributes.new_series(study, instance)
        elif kind is Kind.NEW and not told:  # what is said of it is what its first current instance said
            attributes.describe_series(series, instance)
    row = insert(
        _INSERT_INSTANCE,
        *attributes.of_instance(instance),
        *(series, version, kind, kind is Kind.NEW, study is not None and kind in (Kind.CORRECTION, Kind.CONFLICT)),
        *(instance.transfer_syntax_uid, stored.file, stored.sha256, stored.size, stored.crc32),
        *(origin.partner, origin.site, origin.calling_ae_title, origin.called_ae_title, origin.received_at),
        json.dumps(instance.notes) if instance.notes else "[]",
    )
    if study is not None and other:
        patients.deviate(row, study, other)
    return Recorded(row, study, kind, stored.file, row if kind is Kind.NEW else None)


def replace_file(instance: int, file: str) -> None:
    """The file of an instance is lost or damaged, and another with the same dataset has arrived."""
    execute("UPDATE instances SET file = ?, damage = '' WHERE id = ?", file, instance)


@dataclass(frozen=True, slots=True)
class Kept:
    """What routing asks of an instance that is already kept: the row's id, and the values of its indexed columns."""

    id: int
    values: dict[str, str]


_TABLE = {Level.PATIENT: "t", Level.STUDY: "t", Level.SERIES: "s", Level.IMAGE: "i"}
_VALUES = ", ".join(f"{_TABLE[a.level]}.{a.column}" for a in ATTRIBUTES)
SEEN = {"called": "i.called_ae_title", "calling": "i.calling_ae_title", "partner": "i.partner", "site": "i.site"}
SEEN |= {each.column: f"{_TABLE[each.level]}.{each.column}" for each in ATTRIBUTES}
SEEN |= {each.column: f"{_TABLE[each.level]}.{each.column}" for each in SEQUENCES}
"""What routing asks of a kept instance, and where it is."""
_FROM = "FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study"
_KEPT = f"""SELECT i.id, {", ".join(SEEN.values())} {_FROM}
    WHERE s.study = ? AND i.current AND i.evicted_at IS NULL ORDER BY i.id"""


def of_study(study: int) -> list[Kept]:
    """The current instances of a study that are kept, as routing sees them: by column, and how they came."""
    return [Kept(row[0], dict(zip(SEEN, row[1:], strict=True))) for row in rows(_KEPT, study)]


def of_uid(sop_instance_uid: str) -> list[int]:
    """Every kept version of an instance."""
    return [row for (row,) in rows("SELECT id FROM instances WHERE sop_instance_uid = ?", sop_instance_uid)]


def current(study: int, sop_instance_uid: str) -> str:
    """The SHA-256 of the dataset of an instance's current version in a study; '' where it has none."""
    found = one(
        "SELECT i.sha256 FROM instances i JOIN series s ON s.id = i.series"
        " WHERE i.sop_instance_uid = ? AND s.study = ? AND i.current",
        *(sop_instance_uid, study),
    )
    return str(found[0]) if found else ""


def as_indexed(instance: int) -> SopInstance:
    """A kept instance without its file: what is its own, and what was said first of its series and study."""
    (syntax, *values) = one(f"SELECT i.transfer_syntax_uid, {_VALUES} {_FROM} WHERE i.id = ?", instance)
    return SopInstance._make((*values, syntax, (), ()))


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
    correction: str
    remark: str


_CURRENT = "FROM series s JOIN instances i ON i.series = s.id AND i.current WHERE s.study = t.id"
_STUDIES = f"""SELECT t.id, t.study_instance_uid, t.patient_id, t.patient_name, t.study_date,
    (SELECT group_concat(DISTINCT s.modality) {_CURRENT} AND s.modality != ''),
    (SELECT count(DISTINCT s.id) {_CURRENT}), (SELECT count(*) {_CURRENT}),
    t.site, t.received_at, t.quarantine, t.correction, t.remark FROM studies t"""


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
