"""What has been received, as routing saw it, for whoever asks what other routes would have made of it.

Called inside `Database.read`, a number of studies at a time: nobody who writes waits, however many there are. Of the
instances of a study that are alike in what is asked about, there is one row, and their number. What was evicted counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from dicomnode.store import index
from dicomnode.store.database import one, rows

Alike = tuple[dict[str, str], int]
"""What some instances of a study have in common, and how many they are."""


@dataclass(frozen=True, slots=True)
class Past:
    """One study that was received (µs), and its current instances, by what is asked about them."""

    study: int
    study_instance_uid: str
    site: str
    received_at: int
    alike: list[Alike] = field(repr=False)


def after(study: int, since: int, most: int) -> list[int]:
    """The next studies that were received since then (µs)."""
    sql = "SELECT id FROM studies WHERE id > ? AND received_at >= ? ORDER BY id LIMIT ?"
    return [each for (each,) in rows(sql, study, since, most)]


def count(since: int) -> int:
    """How many studies were received since then (µs)."""
    return int(one("SELECT count(*) FROM studies WHERE received_at >= ?", since)[0])


def studies(ids: list[int], asked: Iterable[str]) -> Iterator[Past]:
    """Some of them, with these attributes (columns, or ORIGIN's) of their instances."""
    columns = {each: index.SEEN[each] for each in sorted(asked)}
    listed = ", ".join(columns.values())
    sql = f"""SELECT t.id, t.study_instance_uid, t.site, t.received_at, {listed}, count(*) FROM studies t
        JOIN series s ON s.study = t.id JOIN instances i ON i.series = s.id AND i.current
        WHERE t.id BETWEEN ? AND ? GROUP BY t.id, {listed} ORDER BY t.id"""
    wanted = set(ids)
    for told, alike in groupby(rows(sql, min(ids), max(ids)), key=lambda row: row[:4]):
        if told[0] in wanted:
            same = [(dict(zip(columns, row[4:], strict=False)), row[-1]) for row in alike]
            yield Past(told[0], told[1], told[2], told[3], same)
