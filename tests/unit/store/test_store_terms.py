"""store/terms.py: conditions that SQLite evaluates as the standard says, and chooses no index by."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

import pytest

from dicomnode.dicom.instance import ATTRIBUTES, Attribute, Level
from dicomnode.rules.terms import Match, Term
from dicomnode.store import terms
from dicomnode.store.functions import FUNCTIONS

NUMBER, TIME = "instance_number", "study_time"
MEANT = [
    ("a number, however it is written", Match.NUMBER, ("7",), ["7", "007", "+7", " 7"], ["70", "", "-7"]),
    ("nought is not what is unknown", Match.NUMBER, ("0",), ["0", "-0"], [""]),
    ("any of several", Match.EQUAL, ("7", "8"), ["7", "8"], ["78", ""]),
    ("no value", Match.EMPTY, (), [""], ["7"]),
    ("what is special to SQLite alone", Match.WILDCARD, ("[7]*",), ["[7]", "[7]8"], ["7", "78"]),
    ("a range with both its ends", Match.DATES, ("20260105", "20260106"), ["20260105", "20260106"], ["20260107", ""]),
    ("open below, and not unknown", Match.DATES, ("", "20260105"), ["19000101", "20260105"], ["20260106", ""]),
    ("open above", Match.DATES, ("20260105", ""), ["20260105", "20991231"], ["20260104", ""]),
    (
        "times as far as they say",
        Match.TIMES,
        ("093000.000000", "093000.500000"),
        ["0930", "093000", "09:30:00", "093000.5", "093000.500"],
        ["09", "093000.500001", "093001", ""],
    ),
]


@pytest.fixture
def table() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    for name, (function, values) in FUNCTIONS.items():
        connection.create_function(name, values, function)
    connection.execute("CREATE TABLE i (value TEXT)")
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("match", "values", "found", "others"), [it[1:] for it in MEANT], ids=[it[0] for it in MEANT]
)
def test_what_a_term_means(
    table: sqlite3.Connection, match: Match, values: tuple[str, ...], found: list[str], others: list[str]
) -> None:
    table.executemany("INSERT INTO i VALUES (?)", [(each,) for each in (*found, *others)])
    told = terms._compare("value", Term("value", match, values))
    assert [value for (value,) in table.execute(f"SELECT value FROM i WHERE {told.sql}", told.values)] == found


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=lambda it: it.column)
def test_no_condition_lets_an_index_be_chosen(attribute: Attribute) -> None:
    for match, values in (
        *((Match.EQUAL, ("a", "b")), (Match.WILDCARD, ("a*",)), (Match.DATES, ("1", "2")), (Match.TIMES, ("1", "2"))),
        *((Match.NUMBER, ("1",)), (Match.EMPTY, ()), (Match.NAME, ("a",)), (Match.FUZZY, ("a",))),
    ):
        told = terms.where([Term(attribute.column, match, values)], attribute.level, own=True)
        assert told.sql.count("?") == len(told.values)
        compared = re.findall(r"(\S)[tsi]\.\w+ (?:=|IN|GLOB|<|>|!=)", told.sql)
        assert set(compared) <= {"+"}


def test_what_lies_below_is_met_by_one_instance_of_one_series() -> None:
    """And what of it is of series alone, by a series."""
    asked = [Term("laterality", Match.EQUAL, ("L",)), Term("image_type", Match.EQUAL, ("AXIAL",))]
    both = terms.where(asked, Level.STUDY, own=True)
    assert (both.sql.count("FROM series s"), both.sql.count("SEEN(i)"), both.values) == (1, 1, ("L", "AXIAL"))
    series = terms.where(asked[:1], Level.STUDY, own=True)
    assert (series.sql.count("FROM series s"), series.sql.count("PRESENT(s)")) == (1, 1)
    assert "instances" not in series.sql
    assert "EXISTS (SELECT 1 FROM series" not in terms.where(asked[:1], Level.SERIES, own=True).sql


def test_the_groups_of_a_name_that_a_key_may_match() -> None:
    alphabetic, ideographic, phonetic = terms.GROUPS
    assert terms.name_groups("Wong") == [(group, "wong") for group in terms.GROUPS]
    assert terms.name_groups("Wong==x") == [(alphabetic, "wong"), (phonetic, "x")]
    assert terms.name_groups("=王") == [(ideographic, "王")]
    assert terms.name_groups("^^") == terms.name_groups("==") == []
