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



def test_givers_are_those_whose_studies_may_come(tmp_path: Path) -> None:
    config = configuration(tmp_path, "[private -> public]")
    assert oneway.givers(config, "general") == {"harbour", "peak", "general"}
    assert oneway.givers(config, "harbour") == {"harbour"}


@pytest.mark.parametrize(
    ("written", "same"),
    [("PACS.example.", "pacs.EXAMPLE"), ("localhost", "127.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"),
     ("2001:DB8::1", "2001:db8:0::1"), ("::1", "localhost"), ("::ffff:127.0.0.1", "localhost"),
     ("LocalHost.LocalDomain.", "localhost"), ("pacs.localhost", "localhost")],
)  # fmt: skip
def test_a_host_has_one_form(written: str, same: str) -> None:
    assert oneway.host(written) == oneway.host(same)


NEIGHBOURS = [
    ("host: 10.8.0.5, port: 104, may: [find]", True),
    ("host: 10.9.0.5, port: 104, address: 10.8.0.5, may: [find]", False),  # where PUBPACS is
    ("host: 10.8.0.5, port: 104, may: [find], confirm: {find: 'PUBPACS@10.9.0.5:104'}", False),
    ("host: 10.8.0.5, port: 104, may: [find], confirm: {commit: 'PUBPACS@10.9.0.5:104'}", False),
    ("host: 10.8.0.5, port: 104, may: [find], confirm: {find: 'OWN@10.8.0.6:104'}", True),
]


@pytest.mark.parametrize(("island", "alone"), NEIGHBOURS)
def test_what_is_sent_to_one_reaches_whoever_is_at_its_place(tmp_path: Path, island: str, alone: bool) -> None:
    """A study of island may not come to general: nor to an AE of its own that is where one of general is."""
    text = HEAD.replace("host: 10.8.0.5, port: 104, may: [find]", island)
    config = fakes.configuration(text, tmp_path)
    partner = config.partners["ISLPACS"]
    assert oneway.may_flow(config, "island", partner.site)
    assert oneway.may_reach(config, "island", partner) is alone
    assert oneway.may_reach(config, "harbour", partner)
