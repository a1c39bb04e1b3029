"""The statements of the daily stories, as SQLite would run them: whatever grows for years is searched, not scanned."""

from __future__ import annotations

from typing import Any

import pytest

from dicomnode.operations import complete as completing
from dicomnode.operations import differ, housekeep, quarantine, receive, refer, resend, retrieve
from dicomnode.operations.find import find
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node, Originator
from dicomnode.rules.matching import Model
from dicomnode.store import completeness, database, doubts, recover
from tests import fakes
from tests.fakes import FakePartner
from tests.samples import make_instances

_SMALL = ("json_each", "CONSTANT ROW", "(subquery", "recoveries", "refusals", "generations", "migrations", "sqlite_")
_PARTIAL = ("INDEX transfers_claimed", "INDEX studies_doubt")  # have what is active, or in doubt, alone


def stories(node: Node) -> None:
    """A day of a node: received, referred, doubted, forwarded, asked for by UID, moved, and started again."""
    made = make_instances(3, seed="plans")
    fakes.receive_all(node, [*made, made[0]])
    fakes.receive(node, made[1], "PEAK_CT")
    fakes.complete(node)
    forward(node.config.partners["PUBPACS"], FakePartner(), node, lambda: False)
    node.database.write(lambda: refer.quarantine(1, "doubt", node.clock(), node))
    refer.hold([1], "wait", "anna", node)
    refer.release([1], "no more", "anna", node)
    quarantine.release("1", None, "no doubt", "anna", node)
    renamed = make_instances(3, seed="plans", PatientName="NEW^NAME")[1:]
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
    list(find(fakes.asked("IMAGE", **keys), Model.STUDY_ROOT, caller, node).identifiers)
    counts = {"NumberOfStudyRelatedInstances": "", "ModalitiesInStudy": ""}
    asked = fakes.asked("STUDY", StudyInstanceUID=made[0].study, **counts)
    list(find(asked, Model.STUDY_ROOT, caller, node).identifiers)
    list(find(asked, Model.STUDY_ROOT, node.config.partners["PUB_WS"], node).identifiers)
    asked = fakes.asked("STUDY", StudyInstanceUID=made[0].study)
    plan = retrieve.plan(asked, Model.STUDY_ROOT, "ISLPACS", caller, node)
    list(retrieve.send(plan, Originator("RAD_WS", 1, 0), FakePartner(), node, lambda: False))
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
    scans = []
    with here.database.read():
        for sql in explained:
            plan = [row[3] for row in run(f"EXPLAIN QUERY PLAN {sql}", said[sql])]
            scans += [
                (step, sql)
                for step in plan
                if step.startswith("SCAN") and not any(s in step for s in (*_SMALL, *_PARTIAL))
            ]
    assert not scans
