"""config/conditions.py: what `when` and `only` may say, and every fault of them with its place."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import yaml

from dicomnode.config import conditions
from dicomnode.config.conditions import Condition, Conditions, Group, Where
from dicomnode.errors import ConfigurationError
from tests import fakes

HEAD = fakes.CONFIG.split("routes:\n")[0]


def read(text: str) -> tuple[Conditions, dict[Where, str]]:
    """The conditions of a YAML text, every scalar of which is text, and its faults by place."""
    faults: dict[Where, str] = {}
    return conditions.read(yaml.load(text, yaml.BaseLoader), (), faults.setdefault), faults


def sound(text: str) -> Conditions:
    found, faults = read(text)
    assert not faults
    return found


def test_a_map_in_the_order_of_the_file() -> None:
    groups = "not: {station_name: X}, any: [{rows: '1'}, {columns: '2', rows: '3'}]"
    found = sound(f"{{modality: [CT, MR], called: A, {groups}}}")
    modality = Condition(attribute="modality", values=("CT", "MR"))
    station = Conditions(of=(Condition(attribute="station_name", values=("X",)),))
    one, three = (Condition(attribute="rows", values=(n,)) for n in "13")
    two = Condition(attribute="columns", values=("2",))
    assert found == Conditions(
        of=(
            modality,
            Condition(attribute="called", values=("A",)),
            Group(word="not", of=(station,)),
            Group(word="any", of=(Conditions(of=(one,)), Conditions(of=(two, three)))),
        )
    )
    assert pickle.loads(pickle.dumps(found)) == found


def test_without_conditions_nothing_is_asked_for() -> None:
    assert not Conditions()
    assert sound("{modality: CT}")


SOUND = [
    "study_date: 20260101",
    "study_date: 20260101-",
    "study_date: -20260101",
    "study_date: [20260101-20260131, 20270101]",
    "study_date: '2026*'",
    "study_time: 08-17",
    "study_time: 0830-",
    "acquisition_date_time: 2026-",
    "acquisition_date_time: 202601310830-20260131",
    "number_of_frames: '>=2'",
    "number_of_frames: '> 2 <=10'",
    "series_number: '>-1'",
    "series_number: [1, 2]",
    "patient_id: '>=A'",
    "request_attributes_sequence.requested_procedure_id: 'R*'",
    "procedure_code_sequence.code_value: 45678",
    "site: harbour",
    "partner: CT1",
    "any: [{not: {all: [{modality: CT}, {any: [{modality: MR}]}]}}]",
]


@pytest.mark.parametrize("text", SOUND)
def test_what_can_be_said(text: str) -> None:
    assert sound(f"{{{text}}}")


FAULTS: list[tuple[str, Where, str]] = [
    ("[modality]", (), "is a map of attributes to values"),
    ("{modalty: CT}", ("modalty",), "did you mean 'modality'"),
    ("{StationName: X}", ("StationName",), "did you mean 'station_name'"),
    ("{requested_procedure_id: X}", ("requested_procedure_id",), "request_attributes_sequence.requested_procedure_id"),
    ("{request_attributes_sequence: X}", ("request_attributes_sequence",), "unknown attribute"),
    ("{modality: []}", ("modality",), "is an empty list"),
    ("{modality: {a: b}}", ("modality",), "not a map"),
    ("{modality: [CT, [MR]]}", ("modality", 1), "is one text"),
    ("{modality: [CT, '']}", ("modality", 1), "has no value"),
    ("{study_date: 2026-01-31}", ("study_date", 0), "neither a date (20260131), nor a range"),
    ("{study_date: 20260230}", ("study_date", 0), "neither a date"),
    ("{study_date: 202601-}", ("study_date", 0), "neither a date"),
    ("{study_date: '-'}", ("study_date", 0), "neither a date"),
    ("{study_date: '>=20260101'}", ("study_date", 0), "neither a date"),
    ("{study_date: 20260201-20260131}", ("study_date", 0), "ends before it begins"),
    ("{study_time: 2500-}", ("study_time", 0), "neither a time of day"),
    ("{study_time: 2200-0600}", ("study_time", 0), "ends before it begins"),
    ("{acquisition_date_time: 20261301}", ("acquisition_date_time", 0), "neither a date and time"),
    ("{number_of_frames: '>=two'}", ("number_of_frames", 0), "no comparison"),
    ("{number_of_frames: '>='}", ("number_of_frames", 0), "no comparison"),
    ("{number_of_frames: '>=1<2'}", ("number_of_frames", 0), "no comparison"),
    ("{any: {modality: CT}}", ("any",), "is a list of maps"),
    ("{all: []}", ("all",), "is a list of maps"),
    ("{any: [modality]}", ("any", 0), "is a map of attributes"),
    ("{any: [{}]}", ("any", 0), "is an empty map"),
    ("{not: {}}", ("not",), "is an empty map"),
    ("{}", (), "is an empty map"),
    ("{not: [{modality: CT}]}", ("not",), "is a map of attributes"),
    ("{any: [{modality: CT}, {not: {modalty: MR}}]}", ("any", 1, "not", "modalty"), "did you mean 'modality'"),
]


@pytest.mark.parametrize(("text", "where", "why"), FAULTS)
def test_a_fault_and_its_place(text: str, where: Where, why: str) -> None:
    _, faults = read(text)
    assert list(faults) == [where]
    assert why in faults[where]


def test_all_faults_at_once() -> None:
    _, faults = read("{modalty: CT, not: {study_date: x}, any: [{rows: '>a'}, {}], called: A}")
    assert set(faults) == {("modalty",), ("not", "study_date", 0), ("any", 0, "rows", 0), ("any", 1)}


REQUIRES = [
    ("{called: A}", True),
    ("{modality: CT}", False),
    ("{not: {called: A}}", False),
    ("{any: [{called: A}, {modality: CT}]}", False),
    ("{any: [{called: A}, {called: B, modality: CT}]}", True),
    ("{all: [{modality: CT}, {called: A}]}", True),
]


@pytest.mark.parametrize(("text", "does"), REQUIRES)
def test_whether_an_attribute_is_required(text: str, does: bool) -> None:
    assert conditions.requires(sound(text), "called") is does


# -- in a file -------------------------------------------------------------------------------------------------


def faults(folder: Path, *lines: str) -> list[tuple[str, int, str]]:
    """The faults of a route with these lines: (path, line within it, text)."""
    text = "".join(f"    {line}\n" for line in lines)
    with pytest.raises(ConfigurationError) as caught:
        fakes.configuration(f"{HEAD}routes:\n  - name: r\n{text}", folder)
    first = HEAD.count("\n") + 2
    return [(fault.path.removeprefix("routes.0."), fault.line - first, fault.text) for fault in caught.value.faults]


def test_every_fault_of_a_file_has_its_line(tmp_path: Path) -> None:
    found = faults(
        *(tmp_path, "to: [PUBPACS]", "when:", "  any:", "    - modalty: CT", "    - not:", "        study_date: x"),
        *("  called: NOBODY", "only: {not: {partner: CT9}}"),
    )
    assert [(path, line) for path, line, _ in found] == [
        ("when.any.0.modalty", 4),
        ("when.any.1.not.study_date", 6),
        ("when.called", 7),
        ("only.not.partner", 8),
    ]


NAMES = [
    ("called: TO_GENRAL", "did you mean 'TO_GENERAL'"),
    ("any: [{calling: CT2}]", "did you mean 'CT1'"),
    ("not: {site: harbor}", "did you mean 'harbour'"),
    ("all: [{partner: [CT1, CT9]}]", "did you mean 'CT1'"),
]


@pytest.mark.parametrize(("when", "why"), NAMES)
def test_a_name_that_nobody_has(tmp_path: Path, when: str, why: str) -> None:
    ((_, _, text),) = faults(tmp_path, "to: [PUBPACS]", f"when: {{{when}}}")
    assert why in text


GROUPS = [
    ("to: {failover: [PUBPACS, ISLPACS]}", "to.failover", "ISLPACS belongs to island, and PUBPACS to general"),
    ("to: {failover: [PUBPACS]}", "to.failover", "at least two"),
    ("to: {balance: [PUBPACS, PUBPACS]}", "to.balance", "each named once"),
    ("to: {failover: [PUBPACS, PUB_WX]}", "to.failover.1", "did you mean 'PUB_WS'"),
    ("to: {failover: [PUBPACS, PUB_WS], balance: [PUBPACS, PUB_WS]}", "to", "a map of one such list"),
    ("to: {after: 5m}", "to", "a map of one such list"),
    ("to: {failover: [PUBPACS, PUB_WS], after: 0s}", "to", "more than 0s"),
    ("to: {failovr: [PUBPACS, PUB_WS]}", "to", "a map of one such list"),
    ("to: {failover: [PUBPACS, PUB_WS], afetr: 5m}", "to.afetr", "did you mean 'after'"),
    ("to: {failover: [CT1, PUBPACS]}", "to.failover.0", "CT1 has no host and port"),
]


@pytest.mark.parametrize(("to", "path", "why"), GROUPS)
def test_a_group_that_cannot_be(tmp_path: Path, to: str, path: str, why: str) -> None:
    found = [(p, line) for p, line, text in faults(tmp_path, "wait: 1m", to) if why in text]
    assert found == [(path, 2)]


def test_a_group(tmp_path: Path) -> None:
    to = "{balance: [PUBPACS, PUB_WS], after: 90s}"
    (route,) = fakes.configuration(f"{HEAD}routes:\n  - {{name: r, to: {to}}}\n", tmp_path).routes
    assert (route.to, route.among, route.after) == (("PUBPACS", "PUB_WS"), "balance", 90.0)
    (route,) = fakes.configuration(f"{HEAD}routes:\n  - {{name: r, to: [PUBPACS]}}\n", tmp_path).routes
    assert (route.among, route.after) == ("all", 600.0)
