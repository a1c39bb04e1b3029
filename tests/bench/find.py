"""How fast studies are found: C-FIND at STUDY level on an archive of some thousand instances, one after the other.

Asked for are the keys that a workstation's list shows. Each answer is counted: a query that found more or fewer studies
than there are is no figure.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests import samples, wire
from tests.bench import cpu, peers
from tests.bench.load import LoadFailed
from tests.bench.scenario import Bench, Column, Outcome, Row, Run, in_turns, row
from tests.node import LOCAL
from tests.upper_layer import EXPLICIT_LE, STUDY_ROOT_FIND

COLUMNS = (
    Column("rate", "C-FINDs/s", 1, compared=True),
    Column("answers", "studies/s"),
    Column("cpu", "CPU ms/C-FIND", 2, compared=True),
)
_REST = 0.1
"""Seconds in which a server may still do what it owes to the last answer."""
_PER_STUDY = 20
_ASKED = (
    *("PatientName", "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyDescription"),
    *("ModalitiesInStudy", "NumberOfStudyRelatedInstances"),
)
_NOTE = """Medians (lowest–highest) of {rounds} runs in turns, on {studies} studies of {each} instances."""


@dataclass(frozen=True)
class Query:
    """What is asked, how many studies that is of all, and how often it is asked in a short run."""

    case: str
    patient: str
    finds_all: bool
    count: int


QUERIES = (
    Query("one study, by Patient ID", "B{number:05}", False, 80),
    Query("every study, by Patient ID with a wildcard", "B*", True, 3),
)


@dataclass(frozen=True)
class Archive:
    """A server that has so many studies, and who may ask it."""

    server: peers.Server
    calling: str
    studies: int


class Find:
    """C-FINDs a second and CPU a C-FIND."""

    name = "find"

    def run(self, bench: Bench) -> Outcome:
        rounds, studies = (7, 1000) if bench.full else (3, 100)
        rows: list[Row] = []
        with peers.ThisNode(bench.folder / "node") as node, peers.Orthanc(bench.folder / "orthanc") as orthanc:
            bench.say(f"find: {studies} studies are stored")
            fill((node, orthanc), studies)
            asked = (Archive(node, "RAD_WS", studies), Archive(orthanc, orthanc.calling, studies))
            for query in QUERIES:
                bench.say(f"find: {query.case}")
                rows += _rows(query, asked, rounds)
        return Outcome(COLUMNS, rows, _NOTE.format(rounds=rounds, studies=studies, each=_PER_STUDY))


def _rows(query: Query, asked: Sequence[Archive], rounds: int) -> Iterator[Row]:
    runs = in_turns(asked, rounds, lambda archive, _: measure(archive, query))
    for archive, its in zip(asked, runs, strict=True):
        yield row(query.case, archive.server.name, its)


def fill(servers: Sequence[peers.Server], studies: int) -> None:
    """Store the same studies in each: B00000, B00001, … of small instances."""
    with ThreadPoolExecutor() as pool:
        parts = [pool.submit(_store, server, range(first, studies, 2)) for server in servers for first in range(2)]
        for part in parts:
            part.result()


def _store(server: peers.Server, numbers: range) -> None:
    contexts = [(samples.CT_IMAGE, [EXPLICIT_LE])]
    image: dict[str, Any] = {"Rows": 16, "Columns": 16, "PixelData": bytes(512)}
    with wire.Association(LOCAL, server.port, server.called, server.calling, contexts, timeout=60) as association:
        for number in numbers:
            patient = {"PatientID": f"B{number:05}", "PatientName": f"BENCH^PATIENT {number}"}
            for sample in samples.make_instances(_PER_STUDY, seed=("find", number), **image | patient):
                if association.send_sample(sample):
                    raise LoadFailed(f"{server.name} did not take an instance: {association.last_error_comment}")


def measure(archive: Archive, query: Query) -> Run:
    """Ask on one association, for one study after the other. LoadFailed: not all that there are were found."""
    server, contexts = archive.server, [(STUDY_ROOT_FIND, [EXPLICIT_LE])]
    with wire.Association(LOCAL, server.port, server.called, archive.calling, contexts, timeout=60) as association:
        before, began = cpu.spent(server.pid), time.monotonic()
        for number in range(query.count):
            _ask(association, archive, query, query.patient.format(number=number % archive.studies))
        seconds = time.monotonic() - began
        time.sleep(_REST)
        spent = cpu.spent(server.pid) - before
    rate = query.count / seconds
    return {"rate": rate, "answers": rate * _expected(archive, query), "cpu": spent * 1000 / query.count}


def _expected(archive: Archive, query: Query) -> int:
    return archive.studies if query.finds_all else 1


def _ask(association: wire.Association, archive: Archive, query: Query, patient: str) -> None:
    keys = samples.identifier(QueryRetrieveLevel="STUDY", PatientID=patient, **dict.fromkeys(_ASKED, ""))
    *found, (status, _) = association.find(STUDY_ROOT_FIND, keys)
    if status or len(found) != _expected(archive, query):
        raise LoadFailed(f"{archive.server.name} found {len(found)} studies of {patient}, and ended with {status:04X}H")
