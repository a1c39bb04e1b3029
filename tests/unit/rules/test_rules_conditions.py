"""rules/conditions.py: what an instance is asked, and what is said of its answers."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.config import conditions as config
from dicomnode.config.conditions import ATTRIBUTES, Conditions
from dicomnode.rules import conditions

NOTHING = dict.fromkeys((each.partition(".")[0] for each in ATTRIBUTES), "")


def read(text: str) -> Conditions:
    faults: dict[config.Where, str] = {}
    found = config.read(yaml.load(f"{{{text}}}", yaml.BaseLoader), (), faults.setdefault)
    assert not faults
    return found


def holds(text: str, **values: str) -> bool:
    return conditions.hold(read(text), NOTHING | values)


DATES = [  # asked, study_date, whether it is
    ("20260101", "20260101", True),
    ("20260101", "20260102", False),
    ("20260101-", "20260101", True),
    ("20260101-", "20251231", False),
    ("-20260131", "20260131", True),
    ("-20260131", "20260201", False),
    ("20260101-20260131", "20260115", True),
    ("[20260101, 20260301-]", "20260401", True),
    ("[20260101, '2025*']", "20250401", True),
    ("20260101-", "", False),
    ("-20260131", "", False),
    ("-20260131", "garbage", False),
    ("20260101-", "2026.01.02", True),
]


@pytest.mark.parametrize(("asked", "value", "does"), DATES)
def test_ranges_of_dates(asked: str, value: str, does: bool) -> None:
    assert holds(f"study_date: {asked}", study_date=value) is does


TIMES = [
    ("0830", "083059.999", True),
    ("0830", "0831", False),
    ("0830-0930", "093059", True),
    ("0830-0930", "093100", False),
    ("08-17", "175959", True),
    ("0830-", "08:30:01", True),
    ("-17", "18", False),
]


@pytest.mark.parametrize(("asked", "value", "does"), TIMES)
def test_ranges_of_times(asked: str, value: str, does: bool) -> None:
    assert holds(f"study_time: {asked}", study_time=value) is does


NUMBERS = [
    ("'>=2'", "2", True),
    ("'>=2'", "1", False),
    ("'>2'", "10", True),
    ("'<10'", "9", True),
    ("'<=-1'", "-1", True),
    ("'>=2 <10'", "10", False),
    ("['>=100', 7]", "7", True),
    ("['>=100', 7]", "8", False),
    ("'>=2'", "+3", True),
    ("'>=2'", " 3 ", True),
    ("'<10'", "", False),
    ("'<10'", "four", False),
    ("'<10'", "9" * 5000, False),
    ("'<10'", "4\\\\x", True),
]


@pytest.mark.parametrize(("asked", "value", "does"), NUMBERS)
def test_comparisons_of_numbers(asked: str, value: str, does: bool) -> None:
    assert holds(f"series_number: {asked}", series_number=value.replace("\\\\", "\\")) is does


TREES = [  # asked, modality, station, whether it holds
    ("not: {modality: SR}", "CT", "", True),
    ("not: {modality: SR}", "SR", "", False),
    ("not: {modality: SR}", "CT\\SR", "", False),
    ("not: {modality: SR}", "", "", True),
    ("not: {modality: '?*'}", "", "", True),
    ("not: {modality: CT, station_name: A}", "CT", "B", True),
    ("not: {modality: CT, station_name: A}", "CT", "A", False),
    ("any: [{modality: CT}, {station_name: A}]", "MR", "A", True),
    ("any: [{modality: CT}, {station_name: A}]", "MR", "B", False),
    ("all: [{modality: CT}, {station_name: A}]", "CT", "A", True),
    ("all: [{modality: CT}, {station_name: A}]", "CT", "B", False),
    ("modality: CT, any: [{station_name: A}, {station_name: B}]", "CT", "B", True),
    ("modality: CT, any: [{station_name: A}, {station_name: B}]", "MR", "B", False),
    ("not: {any: [{modality: CT}, {modality: MR}]}", "MR", "", False),
    ("any: [{modality: CT, not: {station_name: A}}, {modality: MR}]", "CT", "A", False),
]


@pytest.mark.parametrize(("asked", "modality", "station", "does"), TREES)
def test_groups(asked: str, modality: str, station: str, does: bool) -> None:
    assert holds(asked, modality=modality, station_name=station) is does


_ITEMS = json.dumps([{"00401001": "R1"}, {"00400009": "S1"}, {"00401001": "X2"}])
ITEMS = [
    ("requested_procedure_id: R1", _ITEMS, True),
    ("requested_procedure_id: X*", _ITEMS, True),
    ("requested_procedure_id: S1", _ITEMS, False),
    ("scheduled_procedure_step_id: S1", _ITEMS, True),
    ("requested_procedure_id: '?*'", "", False),
]


@pytest.mark.parametrize(("asked", "kept", "does"), ITEMS)
def test_items_of_a_sequence(asked: str, kept: str, does: bool) -> None:
    assert holds(f"request_attributes_sequence.{asked}", request_attributes_sequence=kept) is does


_LEAF = st.sampled_from(["CT", "MR", "C*", "?R"]).map(lambda value: {"modality": value})
_TREE = st.recursive(
    _LEAF,
    lambda inner: st.one_of(
        inner.map(lambda it: {"not": it}),
        st.lists(inner, min_size=1, max_size=3).map(lambda them: {"any": them}),
        st.lists(inner, min_size=1, max_size=3).map(lambda them: {"all": them}),
    ),
    max_leaves=8,
)


def meant(tree: dict[str, object], modality: str) -> bool:
    """What a tree means, told otherwise."""
    ((key, of),) = tree.items()
    if key == "modality":
        return modality in {"CT": ("CT",), "MR": ("MR",), "C*": ("CT", "CR"), "?R": ("MR", "CR")}[str(of)]
    if key == "not":
        return not meant(of, modality)  # type: ignore[arg-type]
    found = [meant(each, modality) for each in of]  # type: ignore[attr-defined]
    return True in found if key == "any" else False not in found


@given(_TREE, st.sampled_from(["CT", "MR", "CR", "US", ""]))
def test_any_tree_means_what_it_says(tree: dict[str, object], modality: str) -> None:
    def none(*_: object) -> None:
        raise AssertionError

    found, seen = config.read(tree, (), none), NOTHING | {"modality": modality}
    assert conditions.hold(found, seen) is meant(tree, modality)
    explained = [each for each in conditions.findings(found, seen) if each.depth == 0]
    assert all(each.met for each in explained) is meant(tree, modality)


# -- in words --------------------------------------------------------------------------------------------------


def test_findings_name_every_condition_with_its_value() -> None:
    asked = read("modality: [CT, MR], not: {station_name: TEST*}, any: [{called: A}, {called: B}]")
    found = conditions.findings(asked, NOTHING | {"modality": "PT", "station_name": "CT1", "called": "B"})
    assert [(each.depth, each.attribute, each.wanted, each.value, each.met) for each in found] == [
        (0, "modality", "CT or MR", "PT", False),
        (0, "", "not", "", True),
        (1, "station_name", "TEST*", "CT1", False),
        (0, "", "any of", "", True),
        (1, "called", "A", "B", False),
        (1, "called", "B", "B", True),
    ]


def test_in_words() -> None:
    asked = read("called: A, modality: [CT, MR], not: {site: peak}, any: [{rows: '>5'}, {calling: X, columns: '2'}]")
    assert conditions.words(asked) == (
        "sent to A and made with modality CT or MR and not (sent from peak)"
        " and (made with rows >5 or sent by X and made with columns 2)"
    )
