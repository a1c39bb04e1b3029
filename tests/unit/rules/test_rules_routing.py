"""rules/routing.py: study or instance → partners, and why not the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config.model import Route
from dicomnode.dicom.instance import ATTRIBUTES, SopInstance
from dicomnode.dicom.part10 import Origin
from dicomnode.rules import routing
from tests import fakes

HEAD = fakes.CONFIG.split("routes:\n")[0]
CT1 = Origin("CT1", "harbour", 0, "CT1", "TO_GENERAL")
PEAK = Origin("PEAK_CT", "peak", 0, "PEAK_CT", "REFERNODE")


def seen(origin: Origin = CT1, **attributes: str) -> routing.Values:
    values = dict.fromkeys((a.column for a in ATTRIBUTES), "") | attributes
    return routing.values(SopInstance(**values, transfer_syntax_uid="", notes=()), origin)


def verdict(folder: Path, route: str, origin: Origin = CT1, **attributes: str) -> routing.Verdict:
    config = fakes.configuration(f"{HEAD}routes:\n  - {{name: r, to: [PUBPACS], {route}}}\n", folder)
    (found,) = routing.explain(config, origin, seen(origin, **attributes))
    assert routing.chosen(config, origin, seen(origin, **attributes)) == ([found.route] if found.chosen else [])
    return found


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


@pytest.mark.parametrize(("when", "modality", "chosen"), WHEN)
def test_when_selects(tmp_path: Path, when: str, modality: str, chosen: bool) -> None:
    assert verdict(tmp_path, f"when: {{{when}}}", modality=modality).chosen is chosen


@pytest.mark.parametrize("column", [a.column for a in ATTRIBUTES])
def test_every_indexed_attribute_can_be_asked_for(tmp_path: Path, column: str) -> None:
    assert verdict(tmp_path, f"when: {{{column}: 'X*Y'}}", **{column: "X1Y"}).chosen
    assert not verdict(tmp_path, f"when: {{{column}: 'X*Y'}}", **{column: "X1"}).chosen


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
    assert verdict(tmp_path, sources).chosen is ct1
    assert verdict(tmp_path, sources, PEAK).chosen is peak


WHY = [
    ("when: {modality: MR}", "modality is CT, not MR"),
    ("when: {modality: [MR, PT]}", "modality is CT, not MR or PT"),
    ("when: {station_name: X}", "station_name is empty, not X"),
    ("from: [peak]", "comes from CT1 of harbour, not from peak"),
    ("when: {modality: CT, called: 'TO_*'}", "matches modality=CT, called=TO_GENERAL"),
    ("wait: 1s", "matches everything"),
]


@pytest.mark.parametrize(("route", "why"), WHY)
def test_a_verdict_says_why(tmp_path: Path, route: str, why: str) -> None:
    assert verdict(tmp_path, route, modality="CT").why == why


def test_every_route_has_a_verdict_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = HEAD + "routes:\n" + "".join(
        f"  - {{name: r{n}, when: {{modality: {m}}}, to: [PUBPACS]}}\n" for n, m in enumerate(("CT", "MR", "C*"))
    )
    found = routing.explain(fakes.configuration(text, tmp_path), CT1, seen(modality="CT"))
    assert [(v.route.name, v.chosen) for v in found] == [("r0", True), ("r1", False), ("r2", True)]


ONLY: list[tuple[dict[str, tuple[str, ...]], bool]] = [
    ({}, True),
    ({"modality": ("CT",)}, True),
    ({"modality": ("MR", "SR")}, False),
    ({"modality": ("C*",), "series_description": ("",)}, True),
    ({"modality": ("CT",), "station_name": ("?*",)}, False),
    ({"called": ("TO_GENERAL",)}, True),
]


@pytest.mark.parametrize(("only", "carried"), ONLY)
def test_only_selects_among_the_instances(only: dict[str, tuple[str, ...]], carried: bool) -> None:
    route = Route.model_construct(name="r", only=only, to=("PUBPACS",))
    assert routing.carries(route, seen(modality="CT")) is carried
