"""An index that is made anew from the files, beside the old one; and how it takes the old one's place.

    index.sqlite.new        being made: worth nothing until it is whole
    index.sqlite.rebuilt    whole, and about to take the place of the index: after a kill only that is left to do
    index.sqlite.damaged-*  what it replaced, with its log

A kill at any moment leaves the old index, or one that no node starts with until this was done to its end. What the
files say is taken from them; what only the index knew was salvaged. Functions on rows work on the caller's connection.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from dicomnode.dicom.instance import ATTRIBUTES, Level, SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.store import attributes, counts, damaged, integrity
from dicomnode.store.database import execute, one, rows
from dicomnode.store.index import Recorded
from dicomnode.store.salvage import UNKNOWN
from dicomnode.store.volume import sync

Row = dict[str, Any]


# -- the files of the index ------------------------------------------------------------------------------------


def fresh(old: Path) -> Path:
    """Where the new index is made; nothing is there."""
    new = old.with_name(f"{old.name}.new")
    for path in (new, *_logs(new)):
        path.unlink(missing_ok=True)
    return new


def is_rebuilt(old: Path) -> bool:
    """Whether a rebuild was killed when all that was left to do is to `replace`."""
    return _rebuilt(old).exists()


def rebuilt(old: Path, new: Path) -> None:
    """The new index is whole. From now on no node starts with the old one."""
    file = os.open(new, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
    with suppress(FileExistsError):
        damaged.mark(old, "it was being replaced by one made anew, which was not done to its end")
    new.rename(_rebuilt(old))
    sync(old.parent)


def replace(old: Path, moment: str) -> Path | None:
    """Let the rebuilt index take the place of the old one, which is kept; where. Can be done again after a kill."""
    kept = old.with_name(f"{old.name}.damaged-{moment}")
    for path, name in ((old, kept), *zip(_logs(old), _logs(kept), strict=True)):
        with suppress(FileNotFoundError):
            path.rename(name)  # the log first or last: without either no node can start
    _rebuilt(old).rename(old)
    sync(old.parent)
    damaged.unmark(old)
    return kept if kept.exists() else None


def _rebuilt(old: Path) -> Path:
    return old.with_name(f"{old.name}.rebuilt")


def _logs(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm")]


# -- its rows --------------------------------------------------------------------------------------------------

_NAMED = """SELECT i.*, coalesce(s.series_instance_uid, ''), coalesce(t.study_instance_uid, '')
    FROM instances i LEFT JOIN series s ON s.id = i.series LEFT JOIN studies t ON t.id = s.study WHERE i.file = ?"""
_OF_THE_FILE = frozenset(
    (
        *(attribute.column for attribute in ATTRIBUTES if attribute.level is Level.IMAGE),
        *("series", "file", "transfer_syntax_uid", "sha256", "size", "crc32", "notes"),
        *("partner", "site", "calling_ae_title", "called_ae_title", "received_at"),
    )
)
"""The columns of an instance that its file tells."""


def loosen() -> None:
    """Rows may come in any order, and nothing need be durable before the end. Before the first BEGIN."""
    execute("PRAGMA foreign_keys = OFF")
    execute("PRAGMA synchronous = OFF")
    execute("BEGIN")


def finish() -> None:
    """Everything is in: into the file with it."""
    execute("DELETE FROM marks WHERE name LIKE 'counted %'")  # what was summed up is counted again
    execute("UPDATE instances SET current = 1 WHERE current = ?", UNKNOWN)  # its file cannot be read either
    counts.count()
    execute("COMMIT")
    execute("PRAGMA wal_checkpoint(TRUNCATE)")


def row_of(file: str) -> Row | None:
    """The salvaged row of a file, with the UIDs of its series and study; '' where those are lost."""
    found = one(_NAMED, file)
    names = [name for _, name, *_ in rows("PRAGMA table_info(instances)")]
    return dict(zip((*names, "series_uid", "study_uid"), found, strict=True)) if found else None


def fits(row: Row, instance: SopInstance, size: int) -> bool:
    """Whether a salvaged row is whole, and that of this file."""
    known = (row["sop_instance_uid"], row["series_uid"], row["study_uid"], row["size"])
    of_study = bool(instance.study_instance_uid)
    series, study = (instance.series_instance_uid, instance.study_instance_uid) if of_study else ("", "")
    return bool(row["sha256"]) and known == (instance.sop_instance_uid, series, study, size)


def take_out(row: Row) -> None:
    """Remove a row that does not fit, to be recorded again from its file."""
    execute("DELETE FROM instances WHERE id = ?", row["id"])


def restore_study(row: Row, instance: SopInstance, origin: Origin, issuer: str) -> int | None:
    """Record the study of an instance anew under the number that its series knows; None where it is there."""
    if not instance.study_instance_uid or one(
        "SELECT 1 FROM studies WHERE study_instance_uid = ?", instance.study_instance_uid
    ):
        return None
    study = attributes.new_study(instance, origin, issuer)
    told = one("SELECT study FROM series WHERE id = ?", row["series"])
    return _renumber("studies", study, told[0]) if told else study


def put_back(row: Row, recorded: Recorded) -> None:
    """Give a row that was recorded from its file again the number it had, and what was known of it besides."""
    series = one("SELECT series FROM instances WHERE id = ?", recorded.instance)[0]
    if series is not None and row["series"] is not None:
        number = _renumber("series", series, row["series"]) if _is_alone(series) else series
        execute("UPDATE instances SET series = ? WHERE series = ?", number, series)
    known = [name for name in _known() if row["sha256"] or name in ("id", "version", "current")]
    known = [name for name in known if row[name] != UNKNOWN]
    changes = ", ".join(f"{name} = ?" for name in known)
    execute(f"UPDATE instances SET {changes} WHERE id = ?", *(row[name] for name in known), recorded.instance)
    execute("DELETE FROM study_patients WHERE instance = ?", recorded.instance)  # the number was lent to it


def _known() -> list[str]:
    """The columns that no file tells."""
    return [name for _, name, *_ in rows("PRAGMA table_info(instances)") if name not in _OF_THE_FILE]


def _is_alone(series: int) -> bool:
    """Whether a series was recorded just now, for one instance."""
    return bool(one("SELECT count(*) = 1 FROM instances WHERE series = ?", series)[0])


def _renumber(table: str, number: int, wanted: int) -> int:
    """Give a row another number, if it is free; the number that it has then."""
    if one(f"SELECT 1 FROM {table} WHERE id = ?", wanted):
        return number
    execute(f"UPDATE {table} SET id = ? WHERE id = ?", wanted, number)
    return wanted


def transfers_of(instance: int) -> int:
    """How many partners an instance goes to."""
    return int(one("SELECT count(*) FROM transfers WHERE instance = ?", instance)[0])


def lacking() -> list[tuple[int, int, Origin]]:
    """(study, instance, origin) of what may not go where it should: it has no transfer, or fewer than its study has
    referrals, or one of these has forgotten its route.
    """
    found = rows(
        "SELECT s.study, i.id, i.partner, i.site, i.received_at, i.calling_ae_title, i.called_ae_title FROM instances i"
        " JOIN series s ON s.id = i.series WHERE i.current AND i.evicted_at IS NULL AND"
        " ((SELECT count(*) FROM transfers t WHERE t.instance = i.id)"
        "    < max(1, (SELECT count(*) FROM referrals r WHERE r.study = s.study))"
        "  OR EXISTS (SELECT 1 FROM referrals r WHERE r.study = s.study AND r.route = '')) ORDER BY s.study, i.id"
    )
    return [(study, instance, Origin(*origin)) for study, instance, *origin in found]


def studies() -> list[int]:
    """All studies."""
    return [study for (study,) in rows("SELECT id FROM studies")]


def undecided() -> set[int]:
    """The studies between whose versions a person had to decide, or may have."""
    found = rows(
        "SELECT DISTINCT s.study FROM instances i JOIN series s ON s.id = i.series"
        " WHERE i.undecided OR i.kind IN ('correction', 'conflict')"
    )
    return {study for (study,) in found}


def stopped(has_lost: bool) -> set[int]:
    """The studies with a referral that was stopped, or of which that is not known, which may be lost itself."""
    unknown = "OR NOT EXISTS (SELECT 1 FROM referrals r WHERE r.study = s.id)" if has_lost else ""
    gates = "SELECT 1 FROM referrals r WHERE r.study = s.id AND r.gate != 'open'"
    return {study for (study,) in rows(f"SELECT s.id FROM studies s WHERE EXISTS ({gates}) {unknown}")}


def keep_word() -> None:
    """Remember what a person, or the configuration, has said is not to be sent: see `keep_to_it`."""
    execute("CREATE TEMP TABLE said AS SELECT * FROM transfers WHERE state IN ('dropped', 'skipped')")


def keep_to_it() -> None:
    """What was not to be sent is not, whatever was queued since `keep_word`."""
    execute(
        "UPDATE transfers SET state = said.state, reason = said.reason, finished_at = said.finished_at FROM temp.said"
        " WHERE said.instance = transfers.instance AND said.partner = transfers.partner"
    )


def return_claims() -> None:
    """Whoever had claimed anything is gone."""
    execute("UPDATE transfers SET state = 'queued', claimed_by = '' WHERE state = 'active'")


def drop_dangling() -> int:
    """Remove rows whose owner is lost, and theirs; how many. A transfer finds the referral again that it has lost."""
    execute(
        "UPDATE transfers SET referral = coalesce((SELECT r.id FROM referrals r JOIN series s ON s.study = r.study"
        " JOIN instances i ON i.series = s.id WHERE i.id = transfers.instance AND r.partner = transfers.partner),"
        " referral) WHERE referral NOT IN (SELECT id FROM referrals)"
    )
    dropped = 0
    links = [
        (table, column, parent)
        for table in integrity.tables()
        for _, _, parent, column, *_ in rows(f"PRAGMA foreign_key_list({table})")
    ]
    changed = True
    while changed:
        changed = False
        for table, column, parent in links:
            gone = f"{column} IS NOT NULL AND {column} NOT IN (SELECT id FROM {parent})"
            if count := execute(f"DELETE FROM {table} WHERE {gone}"):
                dropped, changed = dropped + count, True
    return dropped
