"""store/paths.py: which way is taken to what is asked for, and that all of it is on that way."""

from __future__ import annotations

import sqlite3

import pytest

from dicomnode.dicom.instance import Level
from dicomnode.rules.matching import Query
from dicomnode.rules.terms import Match, Term
from dicomnode.store import paths
from dicomnode.store.paths import Rank, Way

DAY = Term("study_date", Match.DATES, ("20260105", "20260105"))
PATIENT = Term("patient_id", Match.EQUAL, ("P1",))
STUDY = Term("study_instance_uid", Match.UIDS, ("1.2",))
SERIES = Term("series_instance_uid", Match.UIDS, ("1.3",))
INSTANCE = Term("sop_instance_uid", Match.UIDS, ("1.4",))
NAME = Term("patient_name", Match.NAME, ("*WONG*",))
BY_NOTHING = Term("patient_id", Match.WILDCARD, ("*1",))
SEX = Term("patient_sex", Match.EQUAL, ("F",))

CHOICES: list[tuple[str, tuple[Term, ...], Rank | None]] = [
    ("what is unique, and of that the least", (DAY, STUDY, SERIES, INSTANCE), Rank.INSTANCE),
    ("a series before its study", (STUDY, SERIES), Rank.SERIES),
    ("a number before a day", (DAY, PATIENT), Rank.NUMBER),
    ("a number that is known nowhere in full", (BY_NOTHING,), Rank.SCAN),
    ("what is too much, where there is nothing less", (DAY, NAME), None),
    ("all there is in an index, before all there is", (DAY, BY_NOTHING), Rank.SCAN),
    ("nothing leads there", (SEX,), None),
    ("a name that says nothing", (Term("patient_name", Match.NAME, ("*",)),), None),
]


def asked(*terms: Term) -> Query:
    return Query(Level.STUDY, terms, (), (), True)


@pytest.mark.parametrize(("terms", "rank"), [it[1:] for it in CHOICES], ids=[it[0] for it in CHOICES])
def test_where_every_way_is_long(
    monkeypatch: pytest.MonkeyPatch, terms: tuple[Term, ...], rank: Rank | None
) -> None:
    monkeypatch.setattr(Way, "is_shorter", lambda *_: False)
    way = paths.choose(asked(*terms), ())
    assert (way and way.rank) == rank


def test_what_is_unique_is_not_counted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Way] = []
    monkeypatch.setattr(Way, "is_shorter", lambda way, _: counted.append(way))
    paths.choose(asked(DAY, PATIENT), ("PUBPACS",))
    assert counted == []


def test_what_is_a_little_long_is_taken_where_everything_else_is_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Way, "is_shorter", lambda way, than: way.rank is Rank.NAME and than == paths._STEPS[-1])
    way = paths.choose(asked(DAY, NAME), ())
    assert way
    assert way.rank is Rank.NAME


def test_what_is_found_by_reading_an_index_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Way, "is_shorter", lambda way, _: way.rank is Rank.SCAN and pytest.fail("counted"))
    assert paths.choose(asked(DAY, BY_NOTHING), ())


def test_no_single_way_leads_to_either_of_two_names() -> None:
    assert not list(paths._of_term(Term("patient_name", Match.NAME, ("*WONG*", "*LEE*")), Level.STUDY))


@pytest.mark.parametrize("partners", [(), ("PUBPACS",)])
def test_whoever_sees_what_is_referred_to_it_comes_by_that(
    monkeypatch: pytest.MonkeyPatch, partners: tuple[str, ...]
) -> None:
    monkeypatch.setattr(Way, "is_shorter", lambda *_: True)
    way = paths.choose(asked(SEX), partners)
    assert (way and way.rank) == (Rank.REFERRED if partners else None)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("A*", ["A", "A1", "A\U0010ffff"]),
        ("A1*", ["A1"]),
        ("\ud7ff*", ["\ud7ff", "\ud7ff1"]),  # what comes after it in Unicode is no character
        ("\U0010ffff*", ["\U0010ffff", "\U0010ffff1"]),  # nothing comes after it
        ("*1", ["A1", "\U0010ffff1", "\ud7ff1"]),
    ],
)
def test_whatever_begins_so_is_on_the_way(pattern: str, found: list[str]) -> None:
    there = ["", "A", "A1", "A\U0010ffff", "B", "\ud7ff", "\ud7ff1", "\ue000", "\U0010ffff", "\U0010ffff1"]
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE studies (id INTEGER PRIMARY KEY, patient_id TEXT)")
    connection.execute("CREATE INDEX studies_patient ON studies (patient_id)")
    connection.executemany("INSERT INTO studies (patient_id) VALUES (?)", [(each,) for each in there])
    (way,) = paths._of_term(Term("patient_id", Match.WILDCARD, (pattern,)), Level.STUDY)
    sql = f"SELECT patient_id FROM {way.source} WHERE {way.condition.sql}"
    assert sorted(text for (text,) in connection.execute(sql, way.condition.values)) == sorted(found)
    connection.close()
