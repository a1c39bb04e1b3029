"""Whether a long queue slows the node down: to queue an instance, to claim a batch, to look for work.

A hospital is unreachable for a week, and 1,000,000 transfers wait for it. Each operation is a commit of its own, as the
node makes it; its statements are timed inside of that too, since the disk takes most of a commit's time. The same is
done beside it in an index in which one study waits.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicomnode.store import lanes, queue
from dicomnode.store.database import Database, execute, one, rows
from tests.bench.scenario import NODE, Bench, Column, Outcome, Run, in_turns, row

CASE, EMPTY = "1,000,000 transfers wait", "one study waits"
PARTNER = "PUBPACS"
COLUMNS = (
    *(Column("enqueue", "enqueue µs", 1, compared=True), Column("claim", "claim µs", 0, compared=True)),
    *(Column("due", "look µs", 1, compared=True),),
    *(Column("enqueue_commit", "enqueue, commit ms", 2), Column("claim_commit", "claim, commit ms", 2)),
)
_TRANSFERS, _STUDY = 1_000_000, 400
_BATCH = 200
_SECOND = 1_000_000
_NOW = 1_790_000_000 * _SECOND
_FURTHEST = _NOW + 4000 * _SECOND
_NOTE = """Medians of {times} operations, of {rounds} runs in turns; a claim takes {batch} of a study of {study}."""
_COUNTED = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"


@dataclass(frozen=True)
class Index:
    """An index that has a queue, and its name in the table."""

    name: str
    path: Path


class Queue:
    """Microseconds for the statements of each operation, and milliseconds with its commit."""

    name = "queue"

    def run(self, bench: Bench) -> Outcome:
        rounds, times = (7, 400) if bench.full else (3, 200)
        indexes = Index(NODE, bench.folder / "full"), Index(EMPTY, bench.folder / "empty")
        for index, count in zip(indexes, (_TRANSFERS, _STUDY), strict=True):
            bench.say(f"queue: {count:,} transfers are queued")
            with _open(index) as database:
                fill(database, count)
        bench.say("queue: enqueue, claim, look")
        runs = in_turns(indexes, rounds, lambda index, number: measure(index, number, times))
        found = [row(CASE, index.name, its) for index, its in zip(indexes, runs, strict=True)]
        return Outcome(COLUMNS, found, _NOTE.format(times=times, rounds=rounds, batch=_BATCH, study=_STUDY))


@contextmanager
def _open(index: Index) -> Iterator[Database]:
    database = Database(index.path / "index.sqlite")
    try:
        database.migrate()
        yield database
    finally:
        database.checkpoint()
        database.close()


def fill(database: Database, count: int) -> None:
    """Queue so many transfers in studies of `_STUDY`, by one statement for each table."""

    def filled() -> None:
        studies = count // _STUDY
        _insert("studies", studies, id="i", study_instance_uid="'2.25.' || i")
        _insert("series", studies, id="i", study="i", series_instance_uid="'2.26.' || i")
        study = f"(i - 1) / {_STUDY} + 1"
        instance = {"sop_instance_uid": "'2.27.' || i", "file": "'20260920/' || i", "current": "1", "version": "1"}
        _insert("instances", count, id="i", series=study, **instance)
        progress = {"progress": "'complete'", "gate": "'open'", "opened_at": f"{_NOW} - {count} + i"}
        _insert("referrals", studies, id="i", study="i", partner=f"'{PARTNER}'", **progress)
        times = {"queued_at": f"{_NOW} - {count} + i", "due_at": f"{_NOW} - {count} + i"}
        _insert("transfers", count, referral=study, instance="i", partner=f"'{PARTNER}'", state="'queued'", **times)

    database.write(filled)


def _insert(table: str, count: int, **expressions: str) -> None:
    """Rows 1 to `count`, with these expressions of `i`; '' or 0 where a column must have a value."""
    known = rows("SELECT name, type FROM pragma_table_info(?) WHERE \"notnull\" AND dflt_value IS NULL", table)
    needed = {name: "''" if kind == "TEXT" else "0" for name, kind in known}
    values = needed | expressions
    execute(f"INSERT INTO {table} ({', '.join(values)}) {_COUNTED} SELECT {', '.join(values.values())} FROM n", count)


def measure(index: Index, number: int, times: int) -> Run:
    """The medians of one run. The first of each operation do not count: no page was read yet."""
    with _open(index) as database:
        first = _newcomers(database, number, times)
        enqueues = [_enqueue(database, instance) for instance in range(first, first + times)]
        claims = [_claim(database) for _ in range(times // 4)]
        with database.read():
            looks = [_seconds(lambda: lanes.due(PARTNER, _NOW, _FURTHEST)) for _ in range(times)]
    return {
        "enqueue": _median([inside for inside, _ in enqueues]) * 1e6,
        "enqueue_commit": _median([whole for _, whole in enqueues]) * 1e3,
        "claim": _median([inside for inside, _ in claims]) * 1e6,
        "claim_commit": _median([whole for _, whole in claims]) * 1e3,
        "due": _median(looks) * 1e6,
    }


def _newcomers(database: Database, number: int, count: int) -> int:
    """Instances that are not queued yet; the id of the first."""

    def arrived() -> int:
        (last,) = one("SELECT max(id) FROM instances")
        new = {"sop_instance_uid": f"'2.28.{number}.' || i", "file": f"'20260921/{number}/' || i"}
        _insert("instances", count, id=f"{last} + i", series="1", current="1", version="1", **new)
        return int(last) + 1

    return database.write(arrived)


def _enqueue(database: Database, instance: int) -> tuple[float, float]:
    return _timed(database, lambda: queue.enqueue(1, PARTNER, [instance], _NOW))


def _claim(database: Database) -> tuple[float, float]:
    """Claim a batch, and give it back: what took how long (s), inside the commit and with it."""
    taken: list[queue.Batch | None] = []
    took = _timed(database, lambda: taken.append(queue.claim(PARTNER, _BATCH, "bench", _NOW)))
    (batch,) = taken
    assert batch, "there is a study to claim"
    assert len(batch.transfers) == _BATCH
    database.write(lambda: queue.give_back(each.transfer for each in batch.transfers))
    return took


def _timed(database: Database, what: Callable[[], object]) -> tuple[float, float]:
    inside: list[float] = []
    return (_seconds(lambda: database.write(lambda: inside.append(_seconds(what)))), inside[0])[::-1]


def _seconds(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def _median(figures: list[float]) -> float:
    return statistics.median(figures[len(figures) // 5 :])
