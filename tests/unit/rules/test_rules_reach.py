"""rules/reach.py: who obtains whose studies, by which service and line; and that nothing else is among it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config.model import NodeConfig
from dicomnode.rules import reach
from dicomnode.rules.reach import OWN, By
from tests import fakes

UP = "private -> public"
PUBLIC = ("PUBPACS", "PUB_WS", "ISLPACS")


def seen(config: NodeConfig, *by: By) -> set[tuple[str, str, str, str]]:
    """Site, partner, service and why of each way, of these services or of all."""
    return {(w.site, w.partner, w.by, w.why) for w in reach.ways(config) if w.by in (by or By)}


def test_every_way_of_a_small_node(tmp_path: Path) -> None:
    config = fakes.configuration(fakes.CONFIG, tmp_path)
    assert seen(config, By.ROUTE) == {("harbour", "PUBPACS", "C-STORE", UP)}
    assert seen(config, By.FIND) == {
        ("harbour", "RAD_WS", "C-FIND", OWN),
        ("peak", "PEAK_WS", "C-FIND", OWN),
        *((site, partner, "C-FIND", UP) for site in ("harbour", "peak") for partner in PUBLIC),
    }  # what peak refers is what its workstation moves
    assert seen(config, By.MOVE) == {
        *(("harbour", partner, "C-MOVE", UP) for partner in PUBLIC),
        *(("peak", partner, "C-MOVE", UP) for partner in PUBLIC),
        ("harbour", "RAD_WS", "C-MOVE", OWN),
        ("peak", "PEAK_WS", "C-MOVE", OWN),
    }
    assert seen(config, By.GET, By.EXPECT, By.PULL, By.COMMIT) == set()
    assert ("harbour", "PEAK_WS", "dicomnode send", OWN) not in seen(config)
    assert seen(config, By.PROOF) == {
        (site, partner, "proof", UP) for site in ("harbour", "peak") for partner in PUBLIC
    }


def test_nothing_goes_where_no_flow_leads(tmp_path: Path) -> None:
    config = fakes.configuration(fakes.CONFIG, tmp_path)
    assert reach.barred(config, reach.ways(config)) == {
        "harbour": ["peak"],
        "peak": ["harbour"],
        "general": ["harbour", "peak", "island"],
        "island": ["harbour", "peak", "general"],
    }


def test_without_flows_everything_stays_at_home(tmp_path: Path) -> None:
    text = fakes.CONFIG.split("routes:")[0] + "flows: []\n"
    assert {w.why for w in reach.ways(fakes.configuration(text, tmp_path))} == {OWN}


def test_a_public_caller_sees_what_a_route_or_a_move_brings(tmp_path: Path) -> None:
    """No workstation may move: then of peak, which no route takes from, nobody public sees anything."""
    text = fakes.CONFIG.replace("11112, may: [find, move]", "11112, may: [find]")
    config = fakes.configuration(text, tmp_path)
    assert {w[:2] for w in seen(config, By.FIND) if w[3] == UP} == {("harbour", "PUBPACS"), ("harbour", "PUB_WS")}
    assert seen(config, By.MOVE) == {
        ("harbour", "PUBPACS", "C-MOVE", UP),
        ("harbour", "PUB_WS", "C-MOVE", UP),
    }, "what is referred to general its AEs move among themselves, and to nobody of island"


def test_public_callers_move_on_what_was_moved_to_them(tmp_path: Path) -> None:
    """Where public sites may give to each other, what a route brings to general goes on to island, and is seen."""
    text = fakes.CONFIG.replace("11112, may: [find, move]", "11112, may: [find]")
    config = fakes.configuration(f"{text}flows: [private -> public, public -> public]\n", tmp_path)
    assert ("harbour", "ISLPACS", "C-MOVE", UP) in seen(config, By.MOVE)
    assert ("harbour", "ISLPACS", "C-FIND", UP) in seen(config, By.FIND)


def test_a_title_that_two_have_reaches_neither(tmp_path: Path) -> None:
    text = fakes.CONFIG.replace("PUB_WS:   {", "PUB_WS:   {ae_title: PUBPACS, ")
    moved = {w[:2] for w in seen(fakes.configuration(text, tmp_path), By.MOVE)}
    assert not moved & {("harbour", "PUBPACS"), ("harbour", "PUB_WS")}
    assert ("harbour", "ISLPACS") in moved


QUESTIONS = [
    ("may: [find, move]}\n  PEAK_CT", "may: [find, get, commit]}\n  PEAK_CT", By.COMMIT, {("harbour", "RAD_WS")}),
    ("may: [find, move]}\n  PEAK_CT", "may: [find, get, commit]}\n  PEAK_CT", By.GET, {("harbour", "RAD_WS")}),
    ("wait: 60s", "wait: 60s, expect: {from: RAD_WS}", By.EXPECT, {("harbour", "RAD_WS")}),
    ("may: [find, move]}\n  PEAK_CT", "may: [store], pull: true}\n  PEAK_CT", By.PULL, {("harbour", "RAD_WS")}),
]


@pytest.mark.parametrize(("old", "new", "by", "pairs"), QUESTIONS)
def test_each_service_is_a_way(tmp_path: Path, old: str, new: str, by: By, pairs: set[tuple[str, str]]) -> None:
    assert old in fakes.CONFIG
    config = fakes.configuration(fakes.CONFIG.replace(old, new), tmp_path)
    assert {w[:2] for w in seen(config, by)} == pairs


def test_who_is_believed_is_asked_for_no_proof(tmp_path: Path) -> None:
    text = fakes.CONFIG.replace("10.9.0.5, port: 104", "10.9.0.5, port: 104, confirm: status")
    assert not {w for w in seen(fakes.configuration(text, tmp_path), By.PROOF) if w[1] == "PUBPACS"}


def test_every_way_has_its_line(tmp_path: Path) -> None:
    found = {w.by: w.where for w in reach.ways(fakes.configuration(fakes.CONFIG, tmp_path)) if w.partner == "PUBPACS"}
    assert found[By.ROUTE] == ("routes", 0, "to")
    assert found[By.FIND] == ("partners", "PUBPACS", "may")
    assert found[By.HAND] == ("partners", "PUBPACS", "host")
