"""store/expected.py: what is expected, until its study has come or a person cancels it; and what is looked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from dicomnode.operations.ports import Node
from dicomnode.store import expected, salvage
from dicomnode.store.database import Database, execute, one, rows
from dicomnode.store.expected import Expected
from tests import fakes
from tests.samples import make_instances

T = TypeVar("T")
R1 = Expected(
    id=0,
    number="R-1",
    issuer="HKHA",
    patient_id="A123456(3)",
    issuer_of_patient_id="HKID",
    patient_name="CHAN^TAI MAN=陳^大文",
    patient_birth_date="19700131",
    patient_sex="M",
    accession_number="ACC1",
    site="harbour",
    destination="PUBPACS",
    recipient="Dr Lee",
    urgent=True,
    procedure="CT brain",
    procedure_code="CTHEAD",
    consent="signed",
    source="f.csv",
    received_at=5,
    instances=None,
)
R2 = replace(R1, number="R-2", accession_number="", patient_id="B2", site="", destination="", instances=3)


@pytest.fixture
def study(here: Node) -> int:
    """One that has come."""
    fakes.receive_all(here, make_instances(2, seed="expected"))
    return 1


@pytest.fixture
def kept(here: Node) -> tuple[int, int]:
    """The ids of two that are expected."""
    return here.database.write(lambda: (expected.put(R1), expected.put(R2)))


def read(node: Node, question: Callable[[], T]) -> T:
    with node.database.read():
        return question()


def test_what_is_kept_is_what_was_said(here: Node, kept: tuple[int, int]) -> None:
    assert read(here, lambda: expected.get(kept[0])) == replace(R1, id=kept[0])
    assert read(here, lambda: expected.numbered(["R-2"])) == {("R-2", "HKHA"): replace(R2, id=kept[1])}
    assert read(here, lambda: expected.numbered(["R-3"])) == {}
    assert [each.number for each in read(here, lambda: expected.listed(10))] == ["R-2", "R-1"]
    assert [each.number for each in read(here, lambda: expected.listed(10, "PUBPACS"))] == ["R-1"]


def test_it_is_found_by_what_a_study_says(here: Node, kept: tuple[int, int]) -> None:
    assert [e.id for e in read(here, lambda: expected.by_numbers({"R-1", "R-9"}))] == [kept[0]]
    assert [e.id for e in read(here, lambda: expected.by_accessions({"ACC1", ""}))] == [kept[0]], "'' is no number"
    assert [e.id for e in read(here, lambda: expected.by_patient("a1234563"))] == [kept[0]]


def test_what_has_come_or_is_cancelled_is_open_no_more(here: Node, kept: tuple[int, int], study: int) -> None:
    here.database.write(lambda: expected.attach(study, kept[0], "number"))
    assert read(here, lambda: expected.by_patient("A1234563")) == []
    assert [each.id for each in read(here, lambda: expected.by_numbers({"R-1"}))] == [kept[0]], "for a second study"
    assert read(here, lambda: expected.of_study(study)) == replace(R1, id=kept[0])
    assert [number for number, _ in read(here, lambda: expected.studies_of(kept[0]))] == [study]
    assert here.database.write(lambda: expected.cancel(kept[1], "no more"))
    assert not here.database.write(lambda: expected.cancel(kept[1], "again"))
    assert read(here, lambda: expected.listed(10)) == []
    assert read(here, lambda: expected.by_numbers({"R-2"})) == []
    assert read(here, lambda: expected.cancelled(kept[1])) == "no more"
    assert len(read(here, lambda: expected.of_number("R-2"))) == 1


def test_what_names_a_site_is_looked_for_there(here: Node, kept: tuple[int, int], study: int) -> None:
    assert read(here, lambda: expected.due("harbour", 9, 999)) == 9
    assert read(here, lambda: expected.due("peak", 9, 999)) is None
    wanted = read(here, lambda: expected.next_look("harbour", 9, 999))
    assert wanted
    assert wanted.number == "R-1"
    here.database.write(lambda: expected.looked(kept[0], "not yet", 100, in_vain=True))
    assert read(here, lambda: expected.next_look("harbour", 99, 999)) is None
    look = read(here, lambda: expected.look(kept[0]))
    assert (look.at, look.times, look.text) == (100, 1, "not yet")
    here.database.write(lambda: expected.change(replace(R1, id=kept[0], recipient="Dr Ho")))
    assert read(here, lambda: expected.due("harbour", 9, 999)) == 9, "what has changed is looked for at once"
    here.database.write(lambda: expected.attach(study, kept[0], "patient"))
    assert read(here, lambda: expected.due("harbour", 9, 999)) is None
    here.database.write(lambda: expected.looked(kept[0], "late", 200, in_vain=False))
    assert read(here, lambda: expected.look(kept[0])).at is None, "it has come meanwhile"


def test_a_pacs_that_cannot_be_asked_is_for_nothing(here: Node) -> None:
    made = here.database.write(lambda: [expected.put(replace(R1, number=f"N{n}")) for n in range(3)])
    here.database.write(lambda: expected.looked(made[2], "later", 500, in_vain=False))
    here.database.write(lambda: expected.postpone("harbour", "it is down", 50, 90))
    assert [read(here, lambda n=n: expected.look(n)).at for n in made] == [90, 90, 500]  # type: ignore[misc]


def test_a_study_tells_of_its_requests_and_codes(here: Node, study: int) -> None:
    here.database.write(
        lambda: (
            execute("UPDATE series SET request_attributes_sequence = '[{\"00401001\": \"R-1\"}, {}]'"),
            execute("UPDATE studies SET procedure_code_sequence = '[{\"00080100\": \"CTHEAD\"}]'"),
        )
    )
    said = read(here, lambda: expected.arrived(study))
    assert (said.requests, said.codes) == (({"00401001": "R-1"}, {}), ("CTHEAD",))
    assert (said.site, said.issuer_of_patient_id, said.expected) == ("harbour", "HARBOUR", None)
    assert read(here, expected.waiting) == [], "it is receiving"
    fakes.complete(here)
    assert [each.study for each in read(here, expected.waiting)] == [study]


def test_it_survives_an_index_that_is_made_anew(tmp_path: Path) -> None:
    node = fakes.make_node(tmp_path)
    fakes.receive_all(node, make_instances(1, seed="expected"))
    node.database.write(lambda: expected.attach(1, expected.put(R1), "person"))
    node.database.close()
    new = Database(node.database.path.with_name("new.sqlite"))
    new.migrate()
    try:
        with new.read():
            execute("PRAGMA foreign_keys = OFF")
            salvage.salvage(node.database.path, 0, lambda _: None)
            assert expected.of_study(1) == replace(R1, id=1)
            assert one("SELECT matched FROM studies")[0] == "person"
    finally:
        new.close()


def test_no_question_of_a_single_study_reads_all(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is expected grows for years."""
    asked: list[tuple[str, tuple[object, ...]]] = []

    def noted(sql: str, *values: object) -> list[object]:
        asked.append((sql, values))
        return rows(sql, *values)

    monkeypatch.setattr(expected, "rows", noted)
    monkeypatch.setattr(expected, "one", lambda sql, *values: noted(sql, *values)[0])
    with here.database.read():
        expected.by_numbers({"R-1"})
        expected.by_accessions({"ACC1"})
        expected.by_patient("A1")
        expected.by_study("1.2.3")
        expected.of_study(1)
        expected.due("harbour", 1, 2)
        expected.next_look("harbour", 1, 2)
        expected.kept("1.2.3")
        plans = {sql: rows(f"EXPLAIN QUERY PLAN {sql}", *values) for sql, values in asked}
    scans = {sql for sql, plan in plans.items() for *_, step in plan if step.startswith("SCAN") and "json" not in step}
    assert len(plans) == 8
    assert scans == set()
