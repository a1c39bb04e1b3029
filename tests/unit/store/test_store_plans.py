"""The statements of the daily stories, as SQLite would run them: whatever grows for years is searched, not scanned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from dicomnode.operations import complete as completing
from dicomnode.operations import differ, housekeep, moving, quarantine, receive, refer, resend, retrieve, vet
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node, Originator
from dicomnode.operations.retrieve import Asked
from dicomnode.rules import matching
from dicomnode.rules.matching import Model
from dicomnode.rules.negotiated import Features
from dicomnode.store import completeness, database, doubts, paths, recover, search
from dicomnode.store.search import Scope
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import make_instances

_SMALL = (
    *("json_each", "SCAN j VIRTUAL", "SCAN v VIRTUAL", "names VIRTUAL TABLE INDEX 0:M", "CONSTANT ROW", "(subquery"),
    *("recoveries", "refusals", "generations", "migrations", "sqlite_"),
)
_PARTIAL = ("INDEX transfers_claimed", "INDEX studies_doubt", "INDEX recalls_waiting")
"""Have what is active, in doubt or waiting alone."""


def stories(node: Node) -> None:
    """A day of a node: received, referred, doubted, forwarded, asked for by UID, moved, and started again."""
    made = make_instances(3, seed="plans")
    fakes.receive_all(node, [*made, made[0]])
    fakes.receive(node, made[1], "PEAK_CT")
    fakes.complete(node)
    vet.vet_all(node)
    forward(node.config.partners["PUBPACS"], FakePartner(), node, lambda: False)
    node.database.write(lambda: refer.quarantine(1, "doubt", node.clock(), node))
    refer.hold([1], "wait", "anna", node)
    refer.release([1], "no more", "anna", node)
    quarantine.release("1", None, "no doubt", "anna", node)
    renamed = make_instances(3, seed="plans", PatientName="CT1^CompressedSamples")[1:]
    fakes.receive_all(node, renamed)
    differ.differences(quarantine.subject("1", node).versions, node)
    quarantine.release(made[2].sop_instance, 2, "a new name", "anna", node)
    quarantine.reject("1", "the old name", "anna", node)
    with node.database.read():
        doubts.listed(9)
    resend.resend([1], "lost", "anna", node)
    housekeep.strand(node)
    caller = node.config.partners["RAD_WS"]
    keys = {"StudyInstanceUID": made[0].study, "SeriesInstanceUID": made[0].series, "SOPInstanceUID": ""}
    assert fakes.found(fakes.asked("IMAGE", **keys), caller, node)
    counts = {"NumberOfStudyRelatedInstances": "", "ModalitiesInStudy": ""}
    asked = fakes.asked("STUDY", StudyInstanceUID=made[0].study, **counts)
    assert fakes.found(asked, caller, node)
    assert fakes.found(asked, node.config.partners["PUB_WS"], node)
    asked = fakes.asked("STUDY", StudyInstanceUID=made[0].study)
    plan = retrieve.plan(Asked(asked, Model.STUDY_ROOT), "ISLPACS", caller, node)
    list(moving.send(plan, Originator("RAD_WS", 1, 0), FakePartner(), node, lambda: False))
    housekeep.tidy(node, fakes.FakeCallers())
    node.database.write(lambda: completeness.put(1, "RAD_WS", node.clock()))
    completing.ask(caller, FakePartner(), node, lambda: False)
    recover.bury("somebody", node.archive, node.database)
    for file in recover.orphans(node.archive, node.database, node.clock()):
        receive.adopt(file, node)
    recover.damaged(node.archive, node.database, node.clock())
    housekeep.recover_all(node)


def test_no_story_scans_a_table_that_grows(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, Any] = {}
    run = database._run

    def noted(sql: str, values: tuple[object, ...]) -> Any:
        said.setdefault(sql, values)
        return run(sql, values)

    with monkeypatch.context() as patch:
        patch.setattr(database, "_run", noted)
        stories(here)
    explained = [sql for sql in said if sql.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))]
    assert len(explained) > 40
    scanned: list[tuple[str, str]] = []
    with here.database.read():
        for sql in explained:
            plan = [row[3] for row in run(f"EXPLAIN QUERY PLAN {sql}", said[sql])]
            scanned += [(step, sql) for step in scans(plan) if not any(partial in step for partial in _PARTIAL)]
    assert not scanned


# -- queries ---------------------------------------------------------------------------------------------------

HARBOUR, GENERAL = Scope(site="harbour"), Scope(partners=("PUBPACS", "PUB_WS"), givers=("harbour", "peak"))
SEARCHED = {  # what is asked, and the index by which it is answered
    "patient": ({"PatientID": "P1"}, "studies_patient (patient_id=?)"),
    "patient by prefix": ({"PatientID": "P1*"}, "studies_patient (patient_id>? AND patient_id<?)"),
    "accession": ({"AccessionNumber": "A1"}, "studies_accession (accession_number=?)"),
    "accession by prefix": ({"AccessionNumber": "A?"}, "studies_accession (accession_number>? AND accession_number<?)"),
    "study": ({"StudyInstanceUID": "1.2"}, "(study_instance_uid=?)"),
    "studies": ({"StudyInstanceUID": "1.2\\1.3"}, "(study_instance_uid=?)"),
    "series": ({"SeriesInstanceUID": "1.2"}, "series_uid (series_instance_uid=?)"),
    "instance": ({"SOPInstanceUID": "1.2\\1.3"}, "(sop_instance_uid=?)"),
    "day": ({"StudyDate": "20260105"}, "studies_date (study_date>? AND study_date<?)"),
    "month and anything": (
        {"StudyDate": "20260101-20260131", "StudyDescription": "*A*", "PatientSex": "F", "ReferringPhysicianName": "X"},
        "studies_date (study_date>? AND study_date<?)",
    ),
    "month and modality": (
        {"StudyDate": "20260101-20260131", "ModalitiesInStudy": "CT"},
        "studies_date (study_date>? AND study_date<?)",
    ),
    "a moment": ({"StudyDate": "20260105-", "StudyTime": "08-"}, "studies_date (study_date>?)"),
    "name by prefix": ({"PatientName": "WONG*"}, "studies_alphabetic (patient_name_alphabetic>? AND"),
    "name": ({"PatientName": "Wong^Siu"}, "studies_ideographic (patient_name_ideographic=?)"),
    "within a name": ({"PatientName": "*WONG*"}, "names VIRTUAL TABLE INDEX 0:M"),
    "one character": ({"PatientName": "*王*"}, "names VIRTUAL TABLE INDEX"),
    "a group": ({"PatientName": "*=王*"}, "names VIRTUAL TABLE INDEX"),
    "modality": ({"ModalitiesInStudy": "MG"}, "series_modality (modality=?)"),
}
FUZZY = {"as it sounds": ({"PatientName": "siu wong"}, "names VIRTUAL TABLE INDEX")}


def plans(
    node: Node, monkeypatch: pytest.MonkeyPatch, keys: dict[str, str], level: str, features: Features
) -> list[str]:
    """How SQLite answers a query, statement by statement."""
    model = Model.PATIENT_ROOT if level == "PATIENT" else Model.STUDY_ROOT
    query, said = matching.query(fakes.asked(level, **keys), model, features), list[tuple[str, Any]]()
    run = database._run

    def noted(sql: str, values: tuple[object, ...]) -> Any:
        said.append((sql, values))
        return run(sql, values)

    with monkeypatch.context() as patch:
        patch.setattr(database, "_run", noted)
        for scope in (HARBOUR, GENERAL):
            list(search.pages(node.database, query, scope, lambda: False))
    with node.database.read():
        return [row[3] for sql, values in said for row in run(f"EXPLAIN QUERY PLAN {sql}", values)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = fakes.make_node(tmp_path_factory.mktemp("plans"))
    fakes.receive_all(node, make_instances(2, seed="kept", PatientID="P1"))
    yield node
    node.database.close()


def scans(plan: Iterable[str]) -> list[str]:
    """The steps that read all of a table that grows."""
    steps = [step for step in plan if step.startswith("SCAN")]
    return [step for step in steps if not any(small in step for small in ("caller", *_SMALL))]


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
@pytest.mark.parametrize("asked", SEARCHED)
def test_what_is_selective_is_searched_for(
    kept: Node, monkeypatch: pytest.MonkeyPatch, asked: str, level: str
) -> None:
    keys, index = SEARCHED[asked]
    found = plans(kept, monkeypatch, keys, level, Features(relational=True, date_time=True))
    assert any(index in step for step in found)
    assert not scans(found)


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
def test_what_sounds_alike_is_searched_for(kept: Node, monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    keys, index = FUZZY["as it sounds"]
    found = plans(kept, monkeypatch, keys, level, Features(relational=True, fuzzy=True))
    assert any(index in step for step in found)
    assert not scans(found)


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
def test_everything_is_read_from_where_the_last_page_ended(
    kept: Node, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    found = plans(kept, monkeypatch, {"PatientSex": "F"}, level, Features(relational=True))
    index = "studies_patient" if level == "PATIENT" else "INTEGER PRIMARY KEY (rowid>?)"
    assert any(index in step for step in found)


def test_of_two_paths_the_short_one_is_taken(kept: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month has fewer studies than a name, until it has more."""
    query = matching.query(fakes.asked("STUDY", StudyDate="20260101-20260131", PatientName="DOE*"), Model.STUDY_ROOT)
    with kept.database.read():
        month = paths.choose(query, ())
        monkeypatch.setattr(paths.Way, "is_shorter", lambda path, _: path.rank is paths.Rank.NAME)
        name = paths.choose(query, ())
        monkeypatch.setattr(paths.Way, "is_shorter", lambda *_: False)
        neither = paths.choose(query, ())
    assert [path and path.rank for path in (month, name, neither)] == [paths.Rank.DATE, paths.Rank.NAME, None]
