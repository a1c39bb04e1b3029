"""What may go to make room, what has gone, and how much is kept and comes in. Called inside `Database.write` or `read`.

A study goes whole, and only where nothing of it is anybody's concern any more: it was referred, all its referrals are
confirmed with their gates open, and each of its instances was delivered. Nothing goes of a study that is in doubt or
damaged, or that has an instance that no partner was given, that waits or is held, or that a person has not decided
about; nor of one that we committed to its source, unless that is asked for.

An evicted instance keeps its row, and stays the current version of its SOP Instance UID; `evicted_at` says that its
file is gone, and whoever offers files (store/search, routing) leaves it out. Its file is named in `discarded` in the
same commit, until it is off the disk: a kill in between leaves a file that the next round finds there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dicomnode.store.database import execute, one, rows

_EVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Age:
    """Which studies are old enough: confirmed, and the last of them received, not after these times (µs)."""

    confirmed: int = _EVER
    received: int = _EVER
    committed: bool = False
    """Whether what we committed to its source may go too."""


@dataclass(frozen=True, slots=True)
class Evicted:
    """What has gone of one study; its last confirmation in µs."""

    study_instance_uid: str
    instances: int
    bytes: int
    confirmed_at: int


# An instance of study t that keeps it: damaged, not decided about, too young, promised, or given to nobody yet. Of a
# version that is not the current one it is asked whether the current one was given.
_KEEPS = """SELECT 1 FROM series s JOIN instances i ON i.series = s.id WHERE s.study = t.id AND i.evicted_at IS NULL
    AND (i.damage != '' OR i.undecided OR i.received_at > ? OR (i.committed_at IS NOT NULL AND NOT ?)
      OR EXISTS (SELECT 1 FROM transfers w WHERE w.instance = i.id AND w.state IN ('queued', 'active', 'held'))
      OR NOT EXISTS (SELECT 1 FROM instances c JOIN transfers d ON d.instance = c.id
        JOIN referrals q ON q.id = d.referral AND q.study = t.id
        WHERE c.sop_instance_uid = i.sop_instance_uid AND c.site = i.site AND c.current AND d.state = 'delivered'))"""
# The referral r of study t that was confirmed last, where all of them are.
_MAY_GO = f"""r.progress = 'confirmed' AND r.evicted_at IS NULL AND r.confirmed_at <= ?
    AND t.quarantine = '' AND t.correction = ''
    AND NOT EXISTS (SELECT 1 FROM referrals o WHERE o.study = t.id
      AND (o.progress != 'confirmed' OR o.gate != 'open' OR o.confirmed_at > r.confirmed_at))
    AND NOT EXISTS ({_KEEPS})"""


def evictable(age: Age, limit: int) -> list[int]:
    """Studies that may go, those first that were confirmed longest ago.

    What we committed to is not looked at one by one where it stays anyway: that may be nearly everything there is.
    """
    among = "INDEXED BY referrals_confirmed" if age.committed else "INDEXED BY referrals_free"
    found = rows(
        f"SELECT t.id FROM referrals r {among} CROSS JOIN studies t ON t.id = r.study"
        f" WHERE {_MAY_GO} {'' if age.committed else 'AND NOT r.promised'}"
        " ORDER BY r.confirmed_at LIMIT ?",
        *(age.confirmed, age.received, age.committed, limit),
    )
    return list(dict.fromkeys(study for (study,) in found))


def evict(study: int, age: Age, now: int) -> Evicted | None:
    """Let a study go, if it may go still; its files are then to be removed."""
    found = one(
        f"SELECT t.study_instance_uid, r.confirmed_at FROM studies t JOIN referrals r ON r.study = t.id"
        f" WHERE t.id = ? AND {_MAY_GO}",
        *(study, age.confirmed, age.received, age.committed),
    )
    if not found:
        return None
    gone = rows(
        "UPDATE instances SET evicted_at = ? WHERE series IN (SELECT id FROM series WHERE study = ?)"
        " AND evicted_at IS NULL RETURNING id, file, size",
        *(now, study),
    )
    execute("UPDATE referrals SET evicted_at = ?, promised = 0 WHERE study = ?", now, study)
    for _, file, _ in gone:
        execute("INSERT OR IGNORE INTO discarded VALUES (?)", file)
    _tally(-1, [(row, size) for row, _, size in gone])
    return Evicted(found[0], len(gone), sum(size for _, _, size in gone), found[1])


def restore(instance: int, file: str) -> bool:
    """An evicted instance has come again, in `file`; its study may be evicted again one day. False: it was not evicted.
    """
    found = rows(
        "UPDATE instances SET file = ?, evicted_at = NULL, damage = '' WHERE id = ? AND evicted_at IS NOT NULL"
        " RETURNING id, size",
        *(file, instance),
    )
    if found:
        _tally(1, found)
        execute(
            "UPDATE referrals SET evicted_at = NULL WHERE study ="
            " (SELECT s.study FROM instances i JOIN series s ON s.id = i.series WHERE i.id = ?)",
            instance,
        )
    return bool(found)


def discarded(limit: int) -> list[str]:
    """Files that are of no use any more, and may be on the disk still."""
    return [file for (file,) in rows("SELECT file FROM discarded ORDER BY file LIMIT ?", limit)]


def removed(files: Sequence[str]) -> None:
    """Discarded files are off the disk, for good."""
    execute("DELETE FROM discarded WHERE file IN (SELECT value FROM json_each(?))", json.dumps(files))


# -- how much there is -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """What there is on the disk: studies ever received, instances, and the bytes of their datasets."""

    studies: int
    instances: int
    bytes: int


_COUNTED, _INSTANCES, _BYTES = "counted to", "counted instances", "counted bytes"
_SINCE = "SELECT coalesce(max(id), 0), count(*), coalesce(sum(size), 0) FROM instances WHERE id > ?"


def count() -> None:
    """Add up what has come since this was done last, so that nobody ever has to count everything at once."""
    upto, instances, size = one(f"{_SINCE} AND evicted_at IS NULL", mark(_COUNTED))
    if instances:
        put(_INSTANCES, mark(_INSTANCES) + instances)
        put(_BYTES, mark(_BYTES) + size)
        put(_COUNTED, upto)


def _tally(by: int, instances: Sequence[tuple[int, int]]) -> None:
    """Of these (row, size), those that were counted have gone (-1), or are back (1)."""
    upto = mark(_COUNTED)
    sizes = [size for row, size in instances if row <= upto]
    if sizes:
        put(_INSTANCES, mark(_INSTANCES) + by * len(sizes))
        put(_BYTES, mark(_BYTES) + by * sum(sizes))


def kept() -> Kept:
    """What is kept."""
    _, instances, size = one(f"{_SINCE} AND evicted_at IS NULL", mark(_COUNTED))
    (studies,) = one("SELECT count(*) FROM studies")
    return Kept(studies, mark(_INSTANCES) + instances, mark(_BYTES) + size)


def intake(now: int, seconds: float) -> float:
    """Bytes that came in a second, over so many last seconds."""
    since = datetime.fromtimestamp(now / 1e6 - seconds, UTC)
    (size,) = one("SELECT coalesce(sum(size), 0) FROM instances WHERE file >= ?", f"instances/{since:%Y%m%d/%H}")
    return float(size) / seconds


def mark(name: str, default: int = 0) -> int:
    """A number that is remembered under a name."""
    found = one("SELECT value FROM marks WHERE name = ?", name)
    return int(found[0]) if found else default


def put(name: str, value: int) -> None:
    """Remember a number under a name."""
    execute("INSERT INTO marks VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", name, value)
