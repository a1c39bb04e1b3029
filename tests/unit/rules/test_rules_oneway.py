"""rules/oneway.py: the one rule of direction."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config.model import NodeConfig
from dicomnode.operations import configure
from dicomnode.rules import oneway
from dicomnode.rules.admission import Service, services
from tests import fakes

HEAD = fakes.CONFIG.split("routes:\n")[0]
SITES = ("harbour", "peak", "general", "island")  # private, private, public, public
PAIRS = {(a, b) for a in SITES for b in SITES}
OWN = {(a, a) for a in SITES}
UP = {(a, b) for a in SITES[:2] for b in SITES[2:]}
DOWN = {(b, a) for a, b in UP}
BESIDE = {("harbour", "peak"), ("peak", "harbour")}
FLOWS = [
    ("[]", OWN, {"harbour", "peak"}),
    ("[private -> public]", OWN | UP, {"harbour", "peak"}),
    ("[public -> private]", OWN | DOWN, set(SITES)),
    ("[private -> private]", OWN | BESIDE, {"harbour", "peak"}),
    ("[private -> public, public -> private]", OWN | UP | DOWN, set(SITES)),
]


def configuration(folder: Path, flows: str = "[private -> public]", *routes: str) -> NodeConfig:
    listed = "".join(f"  - {{name: r{n}, {route}}}\n" for n, route in enumerate(routes))
    return fakes.configuration(f"{HEAD}flows: {flows}\n" + (f"routes:\n{listed}" if routes else ""), folder)


@pytest.mark.parametrize(("flows", "allowed", "givers"), FLOWS)
def test_the_matrix_is_what_the_flows_say(
    tmp_path: Path, flows: str, allowed: set[tuple[str, str]], givers: set[str]
) -> None:
    config = fakes.configuration(HEAD.replace("may: [store]", "may: [find]") + f"flows: {flows}\n", tmp_path)
    assert {pair for pair in PAIRS if oneway.may_flow(config, *pair)} == allowed
    assert {site for site in SITES if oneway.may_give(config, site)} == givers


def test_a_private_site_stores_for_itself_where_nothing_may_flow() -> None:
    """As the shipped example of an archive alone has it; and nothing crosses all the same."""
    config = configure.read(Path(__file__).parents[3] / "config/examples/store-only.yaml")
    assert Service.STORE in services(config, config.partners["CT1"])
    assert not oneway.may_flow(config, "harbour", "elsewhere")
    never = dict(configure.sentences(config))["What can never happen"]
    assert not any("can store nothing" in each for each in never)


def test_by_default_nothing_flows_back(tmp_path: Path) -> None:
    config = fakes.configuration(fakes.CONFIG, tmp_path)
    assert {pair for pair in PAIRS if oneway.may_flow(config, *pair)} == OWN | UP


@pytest.mark.parametrize("pair", [("gone", "general"), ("harbour", "gone"), ("gone", "lost")])
def test_a_site_that_is_not_configured_gives_and_gets_nothing(tmp_path: Path, pair: tuple[str, str]) -> None:
    assert not oneway.may_flow(configuration(tmp_path), *pair)


def test_destinations_are_those_that_can_be_called_and_reached(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    assert {p.name for p in oneway.destinations(config, "harbour")} == {"RAD_WS", "PUBPACS", "PUB_WS", "ISLPACS"}
    assert {p.name for p in oneway.destinations(config, "general")} == {"PUBPACS", "PUB_WS"}


BREACHES = [
    (["from: [harbour], to: [PUBPACS]"], []),
    (["from: [harbour, peak], to: [PUBPACS, ISLPACS]"], []),
    (["from: [harbour], to: [RAD_WS]"], []),  # within the site
    (["to: [PUBPACS]"], []),  # every private site
    (["from: [general], to: [RAD_WS]"], [("routes", 0, "to")]),
    (["from: [PUBPACS], to: [RAD_WS]"], [("routes", 0, "to")]),
    (["from: [peak], to: [RAD_WS]"], [("routes", 0, "to")]),
    (["to: [RAD_WS]"], [("routes", 0, "to")]),  # by default from peak as well
    (["from: [harbour], to: [PUBPACS]", "from: [general, island], to: [RAD_WS]"], [("routes", 1, "to")] * 2),
    (["from: [general], to: [ISLPACS]"], [("routes", 0, "to")]),
]


@pytest.mark.parametrize(("routes", "paths"), BREACHES)
def test_a_route_against_the_flows_is_a_breach(
    tmp_path: Path, routes: list[str], paths: list[tuple[str | int, ...]]
) -> None:
    found = list(oneway.breaches(configuration(tmp_path, "[private -> public]", *routes)))
    assert [breach.path for breach in found] == paths
    assert all("no flow allows" in breach.text for breach in found)


ENDPOINTS = [
    ("10.9.0.5, port: 104", True),  # PUBPACS of general, as an AE of island
    ("10.1.0.30, port: 11112", True),  # RAD_WS of harbour
    ("10.9.0.5, port: 105", False),
    ("10.8.0.9, port: 104", False),
]


@pytest.mark.parametrize(("endpoint", "breach"), ENDPOINTS)
def test_two_sites_at_one_endpoint_are_a_breach(tmp_path: Path, endpoint: str, breach: bool) -> None:
    text = HEAD.replace("10.8.0.5, port: 104", endpoint)
    found = list(oneway.breaches(fakes.configuration(text, tmp_path)))
    assert [b.path for b in found] == ([("partners", "ISLPACS", "host")] if breach else [])


def test_one_site_may_have_two_titles_at_one_endpoint(tmp_path: Path) -> None:
    text = HEAD.replace("host: 10.9.0.6", "host: 10.9.0.5")
    assert list(oneway.breaches(fakes.configuration(text, tmp_path))) == []


def test_host_names_are_compared_without_case(tmp_path: Path) -> None:
    text = HEAD.replace("host: 10.9.0.5", "host: Pacs.example").replace("host: 10.8.0.5", "host: PACS.EXAMPLE")
    text = text.replace("Pacs.example, port: 104, may: [find, move]", "Pacs.example, port: 104")
    text = text.replace("PACS.EXAMPLE, port: 104, may: [find]", "PACS.EXAMPLE, port: 104")
    assert len(list(oneway.breaches(fakes.configuration(text, tmp_path)))) == 1
