"""store/index.py: rows for what is kept; a study belongs to the site that first sent it."""

from __future__ import annotations

import pytest

from dicomnode.dicom import names, walk
from dicomnode.dicom.instance import ATTRIBUTES, Level, SopInstance
from dicomnode.operations.ports import Node
from dicomnode.store import index
from dicomnode.store.archive import Stored
from dicomnode.store.database import execute, one, rows
from dicomnode.store.index import AnotherVersion, Kind, Recorded
from tests import fakes
from tests.samples import make_instances

NAME = "Yamada^Tarou=山田^太郎=やまだ^たろう"


@pytest.fixture
def seen(here: Node) -> SopInstance:
    (sample,) = make_instances(1, PatientName=NAME, SpecificCharacterSet="ISO_IR 192")
    part = fakes.part_of(here, sample, fakes.origin(here))
    part.finish()
    found = walk.header(part.path)
    part.discard()
    return found


def record(
    node: Node, seen: SopInstance, file: str, sha: str = "", *, partner: str = "CT1", kind: Kind | None = None
) -> Recorded:
    stored = Stored(f"instances/{file}", sha or file, 9)
    return node.database.write(lambda: index.record(stored, seen, fakes.origin(node, partner), "ISSUER", kind))


def test_every_attribute_lands_in_its_column(here: Node, seen: SopInstance) -> None:
    record(here, seen, "a")
    table = {Level.PATIENT: "studies", Level.STUDY: "studies", Level.SERIES: "series", Level.IMAGE: "instances"}
    with here.database.read():
        for a in ATTRIBUTES:
            expected = getattr(seen, a.column) or ("ISSUER" if a.column == "issuer_of_patient_id" else "")
            assert one(f"SELECT {a.column} FROM {table[a.level]}") == (expected,), a.column
        groups = one("SELECT patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic FROM studies")
        (kept,) = index.of_study(1)
    assert groups == names.groups(NAME)
    assert kept.values["called"] == "TO_GENERAL"
    assert kept.values["calling"] == "CT1"
    assert {k: v for k, v in kept.values.items() if hasattr(seen, k) and k != "issuer_of_patient_id"} == {
        a.column: getattr(seen, a.column) for a in ATTRIBUTES if a.column != "issuer_of_patient_id"
    }


def test_an_issuer_that_is_named_is_kept(here: Node, seen: SopInstance) -> None:
    record(here, seen._replace(issuer_of_patient_id="THEIRS"), "a")
    with here.database.read():
        assert one("SELECT issuer_of_patient_id FROM studies") == ("THEIRS",)


def test_a_second_version_wants_to_be_compared_first(here: Node, seen: SopInstance) -> None:
    record(here, seen, "a")
    with pytest.raises(AnotherVersion) as caught:
        record(here, seen, "b")
    assert (caught.value.instance, caught.value.file) == (1, "instances/a")
    with here.database.read():
        assert one("SELECT count(*) FROM instances") == (1,)


@pytest.mark.parametrize("kind", [Kind.VARIANT, Kind.CORRECTION, Kind.CONFLICT])
def test_a_second_version_is_numbered_and_not_current(here: Node, seen: SopInstance, kind: Kind) -> None:
    first = record(here, seen, "a")
    assert record(here, seen, "b", kind=kind).kind is kind
    with here.database.read():
        found = [(v.version, v.kind, v.current, v.file) for v in index.versions(1)]
        assert [kept.id for kept in index.of_study(1)] == [first.instance]
    assert found == [(1, "new", True, "instances/a"), (2, kind, False, "instances/b")]
    again = record(here, seen, "c", sha="b")
    assert (again.kind, again.file) == (Kind.DUPLICATE, "instances/b")
    assert again.sent_as == (first.instance if kind is Kind.VARIANT else None)


def test_a_version_has_a_number_that_none_has(here: Node, seen: SopInstance) -> None:
    """Of three versions an earlier one may be lost for good, with its page of the index."""
    for file in "abc":
        record(here, seen, file, kind=Kind.CORRECTION)
    here.database.write(lambda: execute("DELETE FROM instances WHERE version = 2"))
    record(here, seen, "d", kind=Kind.CORRECTION)
    with here.database.read():
        assert [(v.version, v.file) for v in index.versions(1)][1:] == [(3, "instances/c"), (4, "instances/d")]


def test_another_site_is_foreign_and_counts_for_itself(here: Node, seen: SopInstance) -> None:
    other = seen._replace(sop_instance_uid=f"{seen.sop_instance_uid[:40]}.9")
    record(here, seen, "a")
    assert record(here, other, "b", partner="PEAK_CT").kind is Kind.FOREIGN
    assert record(here, other, "c", "b", partner="PEAK_CT").kind is Kind.DUPLICATE
    assert record(here, other, "d", "b").kind is Kind.NEW  # the same bytes, from the owner
    assert record(here, other, "e", "b").file == "instances/d"
    with here.database.read():
        found = {(v.kind, v.current) for v in index.versions(1)}
    assert found == {("new", True), ("foreign", False)}


def test_another_site_does_not_describe_the_owner_s_series(here: Node, seen: SopInstance) -> None:
    uids = {"series_instance_uid": f"{seen.series_instance_uid[:40]}.7", "modality": "MR"}
    theirs = seen._replace(sop_instance_uid="1.2.8", series_description="SECRET", **uids)
    record(here, seen, "a")
    record(here, theirs, "b", partner="PEAK_CT")
    for number, text in enumerate(("mine", "later")):
        record(here, theirs._replace(sop_instance_uid=f"1.2.9.{number}", series_description=text), f"c{number}")
    with here.database.read():
        assert one("SELECT series_description FROM series WHERE modality = 'MR'") == ("mine",)


def test_a_site_in_whose_study_nobody_else_is_owns_it(here: Node, seen: SopInstance) -> None:
    assert record(here, seen, "a", partner="PEAK_CT").kind is Kind.NEW
    with here.database.read():
        assert index.studies(1)[0].site == "peak"


def test_a_file_that_was_lost_is_replaced(here: Node, seen: SopInstance) -> None:
    first = record(here, seen, "a")
    here.database.write(lambda: index.replace_file(first.instance, "instances/b"))
    with here.database.read():
        assert [v.file for v in index.versions(1)] == ["instances/b"]


def spoil(node: Node, column: str, value: object) -> None:
    node.database.write(lambda: execute(f"UPDATE instances SET {column} = ? WHERE file = 'instances/a'", value))


@pytest.mark.parametrize(("column", "value"), [("damage", "its digest differs"), ("evicted_at", 7)])
def test_a_file_that_is_gone_or_damaged_is_taken_in_again(
    here: Node, seen: SopInstance, column: str, value: object
) -> None:
    first = record(here, seen, "a")
    spoil(here, column, value)
    again = record(here, seen, "b", "a")
    assert (again.kind, again.instance, again.sent_as) == (Kind.DUPLICATE, first.instance, first.instance)
    assert (again.file, again.replaced) == ("instances/b", "instances/a")
    with here.database.read():
        assert one("SELECT damage, evicted_at, current, file FROM instances") == ("", None, 1, "instances/b")
    assert record(here, seen, "c", "a").file == "instances/b"


def test_what_was_evicted_is_not_offered_to_anybody(here: Node, seen: SopInstance) -> None:
    record(here, seen, "a")
    spoil(here, "evicted_at", 7)
    with here.database.read():
        assert index.of_study(1) == []


def test_an_instance_is_known_without_its_file(here: Node, seen: SopInstance) -> None:
    first = record(here, seen, "a")
    with here.database.read():
        known = index.as_indexed(first.instance)
    assert known == seen._replace(issuer_of_patient_id="ISSUER", notes=())


def test_studies_are_listed_the_newest_first(here: Node) -> None:
    made = [make_instances(2, seed=n, modality=m)[0] for n, m in enumerate(("CT", "MR"))]
    fakes.receive_all(here, made)
    fakes.receive(here, make_instances(1, seed=0, modality="OT", study_uid=made[0].study, series=2)[0])
    with here.database.read():
        newest, first = index.studies(10)
        assert index.study(made[0].study) == first
        assert index.study("1.2.3") is None
        assert index.studies(1) == [newest]
    assert (first.modalities, first.series, first.instances, first.site) == (("CT", "OT"), 2, 2, "harbour")


# -- the schema and the code -----------------------------------------------------------------------------------


def test_the_models_have_the_columns_of_the_schema(here: Node) -> None:
    from dicomnode.store import tables

    models = [m for m in vars(tables).values() if isinstance(m, type) and issubclass(m, tables.Table)]
    with here.database.read():
        for model in models:
            if model is tables.Table:
                continue
            columns = {row[1] for row in rows(f"PRAGMA table_info({model._meta.table_name})")}
            assert columns == set(model._meta.columns), model


def test_no_time_or_text_is_left_to_chance(here: Node) -> None:
    """Text is '' where unknown, so that matching never meets NULL."""
    with here.database.read():
        for table in ("studies", "series", "instances"):
            assert all(row[3] for row in rows(f"PRAGMA table_info({table})") if row[2] == "TEXT"), table
            (sql,) = one("SELECT sql FROM sqlite_master WHERE name = ?", table)
            assert "AUTOINCREMENT" in sql
