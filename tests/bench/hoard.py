"""The archive of an imaging centre after twelve years, made up: so many studies, in the index of a node or to be sent.

`python -m tests.bench.hoard FOLDER --studies 1000000` makes FOLDER/index.sqlite: patients with about three studies each
(people.py), modalities as they are used, four series of five instances. The same seed makes the same, study by study;
`studies()` tells what there is, so that what a query must find is known without asking any index. Instances have no
files: what there is can be asked for, and not sent. The schema and what is derived from it are the package's own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

from dicomnode.dicom.instance import SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.store import attributes, counts, recover, space
from dicomnode.store.database import Database, execute, execute_all, index_of, one, rows
from tests.bench.people import Patient, patient

SERIES, INSTANCES = 4, 20
"""Of each study."""
FIRST = datetime.date(2014, 1, 1)
_DAYS = 12 * 365 + 3
_BLOCK = 5000
_SITE, _PARTNER = "harbour", "CT1"
_ROOT = "1.2.826.0.1.3680043.10.1185"
UID = re.compile(rb"(%s\.\d+\.\d+)(?![.\d])" % re.escape(_ROOT.encode()))
"""A Study Instance UID of these."""
_MODALITIES = {"CT": 280, "DX": 250, "US": 160, "MR": 150, "CR": 90, "MG": 40, "PT": 14, "NM": 8, "XA": 5, "RF": 3}
_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "MG": "1.2.840.10008.5.1.4.1.1.1.2",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "NM": "1.2.840.10008.5.1.4.1.1.20",
    "XA": "1.2.840.10008.5.1.4.1.1.12.1",
    "RF": "1.2.840.10008.5.1.4.1.1.12.2",
    "SR": "1.2.840.10008.5.1.4.1.1.88.22",
}
_PARTS = ("CHEST", "ABDOMEN", "HEAD", "KNEE", "LSPINE", "PELVIS", "SHOULDER", "NECK", "BREAST", "")
_REFERRERS = ("CHAN^SIU MING^^DR", "LEE^GRACE^^DR", "WONG^WAI KIT^^DR", "SMITH^PETER^^DR", "")


@dataclass(frozen=True, slots=True)
class Study:
    """One study as it was made. `modalities` are those of its series, in their order."""

    number: int
    uid: str
    patient: Patient
    date: str
    time: str
    accession: str
    description: str
    referrer: str
    modalities: tuple[str, ...]

    def series_uid(self, series: int) -> str:
        return f"{self.uid}.{series}"


def studies(count: int, seed: object = 0) -> Iterator[Study]:
    """All of them in the order in which they came in, which is nearly that of their dates."""
    people = cache(lambda number: patient(seed, number))
    for number in range(count):
        chance = random.Random(f"{seed}/study/{number}")
        day = FIRST + datetime.timedelta(min(number * _DAYS // count + chance.choice((0, 0, 0, 1)), _DAYS - 1))
        date, part = f"{day:%Y%m%d}", chance.choice(_PARTS)
        modalities = _modalities(chance)
        yield Study(
            number=number,
            uid=f"{_ROOT}.{date}.{number}",
            patient=people(chance.randrange(max(1, count // 3))),
            date=date,
            time=f"{chance.randrange(8, 20):02}{chance.randrange(60):02}{chance.randrange(60):02}",
            accession=f"A{day:%y}{number:08}",
            description=f"{modalities[0]} {part}".strip(),
            referrer=chance.choice(_REFERRERS),
            modalities=modalities,
        )


def _modalities(chance: random.Random) -> tuple[str, ...]:
    (modality,) = chance.choices(list(_MODALITIES), list(_MODALITIES.values()))
    if modality == "PT":
        return ("PT", "PT", "CT", "CT")
    return (modality,) * 3 + ("SR" if chance.random() < 0.05 else modality,)


# -- into an index -----------------------------------------------------------------------------------------------


def make(data: Path, count: int, seed: object = 0) -> None:
    """Make the index of a node whose data folder this is to be."""
    database = Database(index_of(data))
    try:
        database.migrate()
        fill(database, count, seed)
    finally:
        database.close()


def fill(database: Database, count: int, seed: object = 0) -> None:
    """Put so many studies into an empty index. What the package counts row by row is counted by it once, at the end."""
    made, triggers = studies(count, seed), database.write(_without_triggers)
    while block := list(islice(made, _BLOCK)):
        database.write(lambda block=block: _add(block))  # type: ignore[misc]
        database.checkpoint()
    database.write(lambda: _counted(triggers))
    database.write(_settle)
    database.checkpoint()


def _without_triggers() -> list[str]:
    """Take away those of series and instances, which would be half of the work; the statements that make them."""
    found = rows("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name IN ('series', 'instances')")
    for name, _ in found:
        execute(f"DROP TRIGGER {name}")
    return [sql for _, sql in found]


def _counted(triggers: list[str]) -> None:
    counts.count()
    for sql in triggers:
        execute(sql)


def _settle() -> None:
    """Say that all of it was looked at today: a node that starts on it shall not miss the files."""
    now = time.time_ns() // 1000
    recover.record(recover.Found(0, 0, 0), now)
    space.put("scrubbed", one("SELECT max(id) FROM instances")[0])
    space.put("scrub round", now)


def _add(block: list[Study]) -> None:
    (last,) = one("SELECT coalesce(max(id), 0) FROM series")
    numbers = [(attributes.new_study(_told(study), _origin(study), "HARBOUR"), study) for study in block]
    execute_all(
        _insert("series", study="?", series_instance_uid="?", modality="?", series_number="?", body_part_examined="?"),
        [
            (number, study.series_uid(series), modality, str(series), study.description.partition(" ")[2])
            for number, study in numbers
            for series, modality in enumerate(study.modalities, 1)
        ],
    )
    execute(_instances(), INSTANCES // SERIES, json.dumps(_CLASSES), last)


def _told(study: Study) -> SopInstance:
    """What the instances of a study say of it."""
    nothing = dict.fromkeys(SopInstance._fields, "") | {"notes": ()}
    known = {
        "patient_id": study.patient.patient_id,
        "patient_name": study.patient.name,
        "patient_birth_date": study.patient.birth_date,
        "patient_sex": study.patient.sex,
        "study_instance_uid": study.uid,
        "study_date": study.date,
        "study_time": study.time,
        "accession_number": study.accession,
        "study_id": str(study.number),
        "study_description": study.description,
        "referring_physician_name": study.referrer,
    }
    return SopInstance(**nothing | SopInstance._field_defaults | known)  # type: ignore[arg-type]


def _origin(study: Study) -> Origin:
    at = datetime.datetime.strptime(study.date + study.time, "%Y%m%d%H%M%S").replace(tzinfo=datetime.UTC)
    return Origin(_PARTNER, _SITE, int(at.timestamp()) * 1_000_000, _PARTNER, "REFERNODE")


def _insert(table: str, **expressions: str) -> str:
    """A statement that inserts these; '' or 0 where a column must have a value and none is said."""
    known = rows('SELECT name, type FROM pragma_table_info(?) WHERE "notnull" AND dflt_value IS NULL', table)
    values = {name: "''" if kind == "TEXT" else "0" for name, kind in known} | expressions
    return f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())}"


def _instances() -> str:
    """The instances of every series after one, made by SQLite: twenty million of them are no work for Python."""
    head = _insert(
        "instances",
        series="s.id",
        sop_instance_uid="s.series_instance_uid || '.' || n.i",
        version="1",
        kind="'new'",
        current="1",
        sop_class_uid="json_extract(?, '$.' || s.modality)",
        transfer_syntax_uid="'1.2.840.10008.1.2.1'",
        instance_number="CAST(n.i AS TEXT)",
        rows="'512'",
        columns="'512'",
        content_date="t.study_date",
        content_time="t.study_time",
        file="printf('instances/%s/09/%024d%02d.dcm', t.study_date, s.id, n.i)",
        sha256="printf('%062x%02x', s.id, n.i)",
        size="526336",
        partner=f"'{_PARTNER}'",
        site="t.site",
        calling_ae_title=f"'{_PARTNER}'",
        called_ae_title="'REFERNODE'",
        received_at="t.received_at",
        notes="'[]'",
    )
    return f"""WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) {head} FROM series s
        CROSS JOIN studies t ON t.id = s.study CROSS JOIN n WHERE s.id > ?"""


# -- by hand -----------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hoard", description="Make up an index.")
    parser.add_argument("folder", type=Path, help="where index.sqlite is made")
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--seed", default="0", help="another one makes other studies")
    chosen = parser.parse_args()
    began = time.monotonic()
    path = index_of(chosen.folder)
    if path.exists():
        parser.error(f"there is {path} already")
    make(chosen.folder, chosen.studies, chosen.seed)
    size, seconds = path.stat().st_size, time.monotonic() - began
    print(f"{chosen.studies:,} studies of {INSTANCES} instances, {size / 1e6:,.0f} MB, {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
