"""store/patients.py: whom the instances of a study name, however they came and whichever version is current."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.dicom.instance import SopInstance
from dicomnode.operations import quarantine, receive
from dicomnode.operations.ports import Node
from dicomnode.rules.identity import Patient
from dicomnode.store import migrations, patients
from dicomnode.store.database import Database, execute, insert, one, rows
from tests import fakes
from tests.samples import Sample, make_instances

ANNA = {"PatientID": "H1", "PatientName": "TESTER^ANNA", "PatientBirthDate": "19800512", "PatientSex": "F"}
BERT = {"PatientID": "H2", "PatientName": "OTHER^BERT", "PatientBirthDate": "19791231", "PatientSex": "M"}
OF_ANNA = Patient("H1", "HARBOUR", "TESTER^ANNA", "19800512", "F")
OF_BERT = Patient("H2", "HARBOUR", "OTHER^BERT", "19791231", "M")


def made(*said: dict[str, str]) -> list[Sample]:
    """One study, an instance for each."""
    return [make_instances(at, seed="patients", **each)[-1] for at, each in enumerate(said, 1)]  # type: ignore[arg-type]


def named(node: Node) -> list[tuple[Patient, int]]:
    with node.database.read():
        return [(each.patient, each.instances) for each in patients.named(1)]


def of_study(node: Node) -> tuple[Patient, ...]:
    with node.database.read():
        return patients.of_study(1)


def kept(node: Node) -> int:
    with node.database.read():
        return int(one("SELECT count(*) FROM study_patients")[0])


def test_a_study_of_one_patient_keeps_nothing_besides(here: Node) -> None:
    fakes.receive_all(here, made(ANNA, ANNA, {**ANNA, "IssuerOfPatientID": "HARBOUR"}))
    assert (named(here), kept(here)) == ([(OF_ANNA, 3)], 0)
    assert of_study(here) == (OF_ANNA,)


def test_instances_that_name_others_are_told(here: Node) -> None:
    fakes.receive_all(here, made(ANNA, BERT, ANNA, BERT, {**ANNA, "PatientSex": ""}))
    silent = Patient("H1", "HARBOUR", "TESTER^ANNA", "19800512", "")
    assert named(here) == [(OF_ANNA, 2), (OF_BERT, 2), (silent, 1)]
    assert of_study(here) == (OF_ANNA, OF_BERT, silent)
    assert kept(here) == 3


@pytest.mark.parametrize("column", ["PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"])
def test_each_attribute_counts(here: Node, column: str) -> None:
    fakes.receive_all(here, made(ANNA, {**ANNA, column: "19"}))
    assert len(of_study(here)) == 2


def test_what_another_site_sent_of_it_is_not_asked(here: Node) -> None:
    first, second = made(ANNA, BERT)
    fakes.receive(here, first)
    fakes.receive(here, second, partner="PEAK_CT")
    assert (of_study(here), kept(here)) == ((OF_ANNA,), 0)


def test_a_correction_is_asked_once_it_is_current(here: Node) -> None:
    fakes.receive_all(here, made(ANNA, ANNA, ANNA))
    fakes.receive_all(here, made(BERT, BERT))
    assert named(here) == [(OF_ANNA, 3)]
    quarantine.release("1", 2, "called the ward", "anna", here)
    assert named(here) == [(OF_BERT, 2), (OF_ANNA, 1)]
    quarantine.release("1", 1, "called again", "anna", here)
    assert named(here) == [(OF_ANNA, 3)]


@pytest.mark.parametrize("lost", [False, True])
def test_what_is_kept_is_seen_anew_from_the_files(here: Node, lost: bool) -> None:
    fakes.receive_all(here, made(ANNA, BERT, ANNA))
    sql = "DELETE FROM study_patients" if lost else "UPDATE study_patients SET patient_id = 'X', instance = 3"
    here.database.write(lambda: execute(sql))
    assert named(here) != [(OF_ANNA, 2), (OF_BERT, 1)]

    def compared() -> None:
        for instance in (1, 2, 3):
            file = one("SELECT file FROM instances WHERE id = ?", instance)[0]
            told: SopInstance = receive.as_received(here.archive.path(file), here)
            patients.compare(instance, patients.told(told, "HARBOUR"))

    here.database.write(compared)
    assert named(here) == [(OF_ANNA, 2), (OF_BERT, 1)]




def test_what_an_earlier_version_has_received_was_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, older = migrations.steps(), Database(tmp_path / "index.sqlite")
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "steps", lambda: [step for step in steps if step[0] < "m0007"])
        older.migrate()
    with older.read():
        columns = [row[1] for row in rows("PRAGMA table_info(studies)") if row[1] != "id"]
    old = f"INSERT INTO studies ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    older.write(lambda: insert(old, *(f"their {column}" for column in columns)))
    older.migrate()
    with older.read():
        assert patients.uncompared() == 1
        assert not patients.is_judged(1, 0)
    older.write(lambda: patients.judged(1, 7))
    with older.read():
        assert not patients.is_judged(1, 7)
    older.write(lambda: patients.compared(1))
    with older.read():
        assert patients.uncompared() is None
        assert not patients.is_judged(1, 7), "what was judged before it was compared"
    older.close()
