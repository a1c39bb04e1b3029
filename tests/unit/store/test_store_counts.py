"""What the index knows to be there of a study, whatever became of its instances; and what its names are found by."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.operations.ports import Node
from dicomnode.store import counts, doubts, index, migrations, space, tokens
from dicomnode.store.database import Database, execute, insert, one, rows
from tests import fakes
from tests.samples import Sample, make_instances


def told(node: Node) -> dict[str, tuple[int, str, int]]:
    """Of each study: its series, its modalities and its instances."""
    with node.database.read():
        found = rows(
            "SELECT study_instance_uid, series, modalities,"
            " (SELECT coalesce(sum(s.instances), 0) FROM series s WHERE s.study = t.id) FROM studies t"
        )
        assert not rows(
            "SELECT 1 FROM series s WHERE instances !="
            " (SELECT count(*) FROM instances i WHERE i.series = s.id AND i.current AND i.evicted_at IS NULL)"
        )
    return {uid: tuple(values) for uid, *values in found}


@pytest.fixture
def study(here: Node) -> list[Sample]:
    """Two series, of three CT and of one OT."""
    made = make_instances(3, seed="counted", modality="CT")
    more = make_instances(1, seed="counted", modality="OT", study_uid=made[0].study, series=2)
    fakes.receive_all(here, [*made, *more], called="REFERNODE")
    return [*made, *more]


def test_what_arrives_is_counted_once(here: Node, study: list[Sample]) -> None:
    fakes.receive_all(here, study)
    assert told(here) == {study[0].study: (2, "CT\\OT", 4)}


def test_what_is_kept_apart_is_not_counted_until_it_is_chosen(here: Node, study: list[Sample]) -> None:
    (renamed,) = make_instances(1, seed="counted", modality="CT", PatientName="NEW^NAME")
    fakes.receive(here, renamed)
    assert told(here) == {study[0].study: (2, "CT\\OT", 4)}
    with here.database.read():
        first, second = doubts.of_instance(renamed.sop_instance)
    here.database.write(lambda: doubts.choose(second))
    assert told(here) == {study[0].study: (2, "CT\\OT", 4)}
    assert first.current


def test_a_series_of_another_site_is_not_counted(here: Node, study: list[Sample]) -> None:
    uid = study[0].study
    fakes.receive_all(here, make_instances(1, seed="counted", modality="MR", study_uid=uid, series=3), "PEAK_CT")
    assert told(here) == {uid: (2, "CT\\OT", 4)}


def test_what_is_evicted_is_gone_until_it_comes_again(here: Node, study: list[Sample]) -> None:
    here.database.write(lambda: execute("UPDATE instances SET evicted_at = 1 WHERE id != 1"))
    assert told(here) == {study[0].study: (1, "CT", 1)}
    here.database.write(lambda: execute("UPDATE instances SET evicted_at = 1"))
    assert told(here) == {study[0].study: (0, "", 0)}
    fakes.receive(here, study[3])
    assert told(here) == {study[0].study: (1, "OT", 1)}
    here.database.write(lambda: [space.restore(n, f"instances/{n}") for n in (1, 2)])
    assert told(here) == {study[0].study: (2, "CT\\OT", 3)}


def test_what_is_removed_or_moved_is_counted_where_it_is(here: Node, study: list[Sample]) -> None:
    here.database.write(lambda: execute("DELETE FROM instances WHERE id = 4"))
    assert told(here) == {study[0].study: (1, "CT", 3)}
    here.database.write(lambda: execute("UPDATE instances SET series = 2 WHERE id = 3"))
    assert told(here) == {study[0].study: (2, "CT\\OT", 3)}
    here.database.write(lambda: execute("UPDATE series SET modality = 'MR' WHERE id = 2"))
    assert told(here) == {study[0].study: (2, "CT\\MR", 3)}


def test_counting_anew_finds_the_same(here: Node, study: list[Sample]) -> None:
    def spoil() -> None:
        execute("UPDATE series SET instances = 99")
        execute("UPDATE studies SET series = 99, modalities = 'ZZ'")
        counts.count()

    here.database.write(spoil)
    assert told(here) == {study[0].study: (2, "CT\\OT", 4)}


# -- names -----------------------------------------------------------------------------------------------------


def named(pattern: str) -> list[int]:
    found = rows("SELECT rowid FROM names WHERE names MATCH ? ORDER BY 1", tokens.of_pattern(pattern))
    return [row for (row,) in found]


def test_names_are_found_by_what_they_are_now(here: Node) -> None:
    (first,) = make_instances(1, seed=1, PatientName="WONG^SIU")
    (second,) = make_instances(1, seed=2, PatientName="CHAN^TAI")
    fakes.receive_all(here, [first, second], called="REFERNODE")
    with here.database.read():
        assert (named("*ong*"), named("*han*")) == ([1], [2])

    def change() -> None:
        execute("PRAGMA defer_foreign_keys = 1")
        execute("UPDATE studies SET patient_name_alphabetic = 'lee^ka' WHERE id = 1")
        execute("UPDATE studies SET id = 9 WHERE id = 1")
        execute("UPDATE series SET study = 9 WHERE study = 1")
        execute("UPDATE studies SET study_id = 'x' WHERE id = 2")

    here.database.write(change)
    with here.database.read():
        assert (named("*ong*"), named("lee*"), named("*han*")) == ([], [9], [2])


def test_a_name_that_was_not_committed_is_not_found(here: Node) -> None:
    """Functions share a commit: what one of them did is undone without the others'."""
    (sample,) = make_instances(1, seed=1, PatientName="WONG^SIU")
    fakes.receive(here, sample)

    def wrong() -> None:
        execute("UPDATE studies SET patient_name_alphabetic = 'chan'")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        here.database.write(wrong)
    with here.database.read():
        assert (named("*ong*"), named("*han*")) == ([1], [])


# -- the step of the schema ------------------------------------------------------------------------------------


def test_what_was_there_before_is_counted_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, database = migrations.steps(), Database(tmp_path / "index.sqlite")
    before = [step for step in steps if step[0] < "m0004"]
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "steps", lambda: before)
        database.migrate()

    def fill() -> None:
        study = _row("studies", patient_name_alphabetic="wong^siu", study_date="20260105")
        for number, modality in enumerate(("OT", "CT", "MR")):
            series = _row("series", study=study, modality=modality, series_instance_uid=f"1.{number}")
            for copy in range(number):
                text = f"{number}.{copy}"
                _row("instances", series=series, sop_instance_uid=text, file=text, current=1, evicted_at=None)

    database.write(fill)
    database.migrate()
    with database.read():
        assert one("SELECT series, modalities FROM studies") == (2, "CT\\MR")
        assert rows("SELECT instances FROM series ORDER BY id") == [(0,), (1,), (2,)]
        assert named("*ong*") == [1]
        assert index.studies(1)[0].series == 2
    database.close()


def _row(table: str, **values: object) -> int:
    """A row of which everything else is empty."""
    columns = {row[1]: "" for row in rows(f"PRAGMA table_info({table})") if row[1] != "id"} | values
    places = ", ".join("?" * len(columns))
    return insert(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", *columns.values())
