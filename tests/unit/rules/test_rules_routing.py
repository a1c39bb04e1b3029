"""rules/routing.py: study or instance → partners, and to whom of a group."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config.model import Route
from dicomnode.dicom import sequences
from dicomnode.dicom.instance import ATTRIBUTES, SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.rules import routing
from dicomnode.rules.conditions import Values
from tests import fakes

HEAD = fakes.CONFIG.split("routes:\n")[0]
CT1 = Origin("CT1", "harbour", 0, "CT1", "TO_GENERAL")
PEAK = Origin("PEAK_CT", "peak", 0, "PEAK_CT", "REFERNODE")


REQUESTS = "request_attributes_sequence"


def seen(origin: Origin = CT1, **attributes: str) -> Values:
    values = dict.fromkeys((a.column for a in ATTRIBUTES), "") | attributes
    return routing.values(SopInstance(**values, transfer_syntax_uid="", notes=()), origin)


def chosen(folder: Path, route: str, origin: Origin = CT1, **attributes: str) -> bool:
    config = fakes.configuration(f"{HEAD}routes:\n  - {{name: r, to: [PUBPACS], {route}}}\n", folder)
    found = routing.chosen(config, seen(origin, **attributes))
    assert found in ([], list(config.routes))
    return bool(found)


WHEN: list[tuple[str, str, bool]] = [  # when, modality, chosen
    ("modality: CT", "CT", True),
    ("modality: [MR, CT]", "CT", True),
    ("modality: MR", "CT", False),
    ("modality: ct", "CT", False),
    ("modality: C", "CT", False),
    ("modality: C*", "CT", True),
    ("modality: '*'", "CT", True),
    ("modality: '*'", "", True),
    ("modality: '?*'", "", False),
    ("modality: '?T'", "CT", True),
    ("modality: '?T'", "ACT", False),
    ("modality: 'C.'", "CT", False),
    ("modality: '[CM]T'", "CT", False),
    ("modality: MR", "CT\\MR", True),  # a value of several
    ("modality: 'CT*MR'", "CT\\MR", False),
    ("called: TO_GENERAL", "CT", True),
    ("called: REFERNODE", "CT", False),
    ("called: 'TO_*'", "CT", True),
    ("calling: CT1", "CT", True),
    ("calling: PEAK_CT", "CT", False),
    ("called: TO_GENERAL, modality: CT", "CT", True),
    ("called: TO_GENERAL, modality: MR", "CT", False),
    ("called: REFERNODE, modality: CT", "CT", False),
]


@pytest.mark.parametrize(("when", "modality", "selected"), WHEN)
def test_when_selects(tmp_path: Path, when: str, modality: str, selected: bool) -> None:
    assert chosen(tmp_path, f"when: {{{when}}}", modality=modality) is selected


@pytest.mark.parametrize("column", [a.column for a in ATTRIBUTES])
def test_every_indexed_attribute_can_be_asked_for(tmp_path: Path, column: str) -> None:
    assert chosen(tmp_path, f"when: {{{column}: 'X*Y'}}", **{column: "X1Y"})
    assert not chosen(tmp_path, f"when: {{{column}: 'X*Y'}}", **{column: "X1"})


@pytest.mark.parametrize(("asked", "value"), [("site", "harbour"), ("partner", "CT1"), ("calling", "CT1")])
def test_whose_it_is_can_be_asked_for(tmp_path: Path, asked: str, value: str) -> None:
    assert chosen(tmp_path, f"when: {{{asked}: {value}}}")
    assert not chosen(tmp_path, f"when: {{{asked}: {value}}}", PEAK)


SOURCES = [
    ("from: [harbour]", True, False),
    ("from: [peak]", False, True),
    ("from: [CT1]", True, False),
    ("from: [RAD_WS]", False, False),
    ("from: [CT1, peak]", True, True),
    ("wait: 1s", True, True),  # every private site
]


@pytest.mark.parametrize(("sources", "ct1", "peak"), SOURCES)
def test_a_source_is_a_site_or_a_partner(tmp_path: Path, sources: str, ct1: bool, peak: bool) -> None:
    assert chosen(tmp_path, sources) is ct1
    assert chosen(tmp_path, sources, PEAK) is peak


def test_the_routes_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = HEAD + "routes:\n" + "".join(
        f"  - {{name: r{n}, when: {{modality: {m}}}, to: [PUBPACS]}}\n" for n, m in enumerate(("CT", "MR", "C*"))
    )
    found = routing.chosen(fakes.configuration(text, tmp_path), seen(modality="CT"))
    assert [route.name for route in found] == ["r0", "r2"]


ONLY: list[tuple[str, bool]] = [
    ("modality: CT", True),
    ("modality: [MR, SR]", False),
    ("modality: 'C*', station_name: '*'", True),
    ("modality: CT, station_name: '?*'", False),
    ("called: TO_GENERAL", True),
]


@pytest.mark.parametrize(("only", "carried"), ONLY)
def test_only_selects_among_the_instances(tmp_path: Path, only: str, carried: bool) -> None:
    text = f"{HEAD}routes:\n  - {{name: r, to: [PUBPACS], only: {{{only}}}}}\n"
    (route,) = fakes.configuration(text, tmp_path).routes
    assert routing.carries(route, seen(modality="CT")) is carried


def test_a_sequence_is_read_when_a_route_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most routes ask for none, and every instance would pay for it."""
    read: list[SopInstance] = []
    monkeypatch.setattr(sequences, "texts", lambda it: read.append(it) or {REQUESTS: '[{"00401001": "R1"}]'})
    assert chosen(tmp_path, "when: {called: TO_GENERAL, modality: CT}", modality="CT")
    assert not read
    assert chosen(tmp_path, f"when: {{{REQUESTS}.requested_procedure_id: 'R*'}}")
    assert len(read) == 1


# -- a group of partners -----------------------------------------------------------------------------------------


def group(folder: Path, among: str) -> Route:
    text = HEAD.replace("  PUB_WS:", "  B: {site: general, host: 10.9.0.7, port: 104}\n  PUB_WS:")
    text += f"routes:\n  - {{name: r, to: {{{among}: [PUBPACS, B, PUB_WS]}}}}\n"
    return fakes.configuration(text, folder).routes[0]


CHOICE: list[tuple[str, int, set[str], str]] = [  # among, study, who is out, to whom it goes
    ("failover", 1, set(), "PUBPACS"),
    ("failover", 2, set(), "PUBPACS"),
    ("failover", 2, {"PUBPACS"}, "B"),
    ("failover", 2, {"PUBPACS", "B"}, "PUB_WS"),
    ("failover", 2, {"PUBPACS", "B", "PUB_WS"}, "PUBPACS"),
    ("balance", 3, set(), "PUBPACS"),
    ("balance", 4, set(), "B"),
    ("balance", 5, set(), "PUB_WS"),
    ("balance", 5, {"PUB_WS"}, "PUBPACS"),
    ("balance", 5, {"PUB_WS", "PUBPACS", "B"}, "PUB_WS"),
]


@pytest.mark.parametrize(("among", "study", "out", "to"), CHOICE)
def test_one_of_a_group_gets_a_study(tmp_path: Path, among: str, study: int, out: set[str], to: str) -> None:
    assert routing.choice(group(tmp_path, among), study, out) == to


@pytest.mark.parametrize(
    ("partner", "out", "next_"),
    [
        ("PUBPACS", set(), "B"),
        ("PUB_WS", set(), "PUBPACS"),
        ("B", {"PUB_WS"}, "PUBPACS"),
        ("B", {"PUB_WS", "PUBPACS"}, ""),
    ],
)
def test_the_next_of_a_group_goes_on(tmp_path: Path, partner: str, out: set[str], next_: str) -> None:
    assert routing.successor(group(tmp_path, "failover"), partner, {partner, *out}) == next_


def test_those_count_that_chose_a_study_and_else_all_by_which_one_of_its_site_might_go(tmp_path: Path) -> None:
    routes = ["a, from: [harbour]", "b, from: [PEAK_CT]", "c, from: [harbour], when: {called: REFERNODE}"]
    listed = "".join(f"  - {{name: {each}, to: [PUBPACS]}}\n" for each in routes)
    config = fakes.configuration(f"{HEAD}routes:\n{listed}", tmp_path)

    def names(site: str, partner: str = "PUBPACS", *names: str) -> list[str]:
        return [route.name for route in routing.ways(config, site, partner, names)]

    assert names("harbour") == ["a", "c"]
    assert names("peak") == ["b"]
    assert names("harbour", "ISLPACS") == []
    assert names("harbour", "PUB_WS") == ["a", "c"]  # another AE of the same hospital
    assert names("harbour", "GONE") == []
    assert names("harbour", "PUBPACS", "b", "gone") == ["b"]
    assert names("harbour", "PUBPACS", "C-MOVE by RAD_WS") == ["a", "c"]
