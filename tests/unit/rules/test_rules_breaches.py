"""rules/breaches.py: the lines of a configuration that open a reverse path."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config.model import NodeConfig, Where
from dicomnode.rules.breaches import breaches, holdings
from tests import fakes

HEAD = fakes.CONFIG.split("routes:\n")[0]


def configuration(folder: Path, *routes: str, head: str = HEAD, flows: str = "") -> NodeConfig:
    listed = "".join(f"  - {{name: r{n}, {route}}}\n" for n, route in enumerate(routes))
    return fakes.configuration(head + flows + (f"routes:\n{listed}" if routes else ""), folder)


def found(config: NodeConfig) -> list[Where]:
    return [breach.path for breach in breaches(config)]


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
    every = list(breaches(configuration(tmp_path, *routes)))
    assert [breach.path for breach in every] == paths
    assert all("no flow allows" in breach.text for breach in every)


ENDPOINTS = [
    ("10.9.0.5, port: 104", True),  # PUBPACS of general, as an AE of island
    ("10.1.0.30, port: 11112", True),  # RAD_WS of harbour
    ("10.9.0.5, port: 105", False),
    ("10.8.0.9, port: 104", False),
]


@pytest.mark.parametrize(("endpoint", "breach"), ENDPOINTS)
def test_two_sites_at_one_endpoint_are_a_breach(tmp_path: Path, endpoint: str, breach: bool) -> None:
    text = HEAD.replace("10.8.0.5, port: 104", endpoint)
    wrong: list[Where] = [("partners", "ISLPACS", "host")] if breach else []
    assert found(fakes.configuration(text, tmp_path)) == wrong


def test_one_site_may_have_two_titles_at_one_endpoint(tmp_path: Path) -> None:
    text = HEAD.replace("host: 10.9.0.6", "host: 10.9.0.5")
    assert list(breaches(fakes.configuration(text, tmp_path))) == []


def test_host_names_are_compared_without_case(tmp_path: Path) -> None:
    text = HEAD.replace("host: 10.9.0.5", "host: Pacs.example").replace("host: 10.8.0.5", "host: PACS.EXAMPLE")
    text = text.replace("Pacs.example, port: 104, may: [find, move]", "Pacs.example, port: 104")
    text = text.replace("PACS.EXAMPLE, port: 104, may: [find]", "PACS.EXAMPLE, port: 104")
    assert len(list(breaches(fakes.configuration(text, tmp_path)))) == 1


# -- chains ----------------------------------------------------------------------------------------------------

BOTH = "flows: [private -> public, public -> private]\n"
STORING = HEAD.replace("port: 104, may: [find, move]", "port: 104, may: [store, find, move]")
"""The hospital's AEs may store."""
CHAINS = [
    (["from: [harbour], to: [PUBPACS]", "from: [general], to: [PEAK_WS]"], [1]),
    (["from: [harbour], to: [PUBPACS]", "from: [PUBPACS], to: [PEAK_WS]"], [1]),
    (["from: [general], to: [PEAK_WS]", "from: [harbour], to: [PUBPACS]"], [0]),
    (["from: [harbour], to: [PUBPACS]", "from: [PUB_WS], to: [PEAK_WS]"], [1]),  # which can retrieve it
    (["from: [harbour], to: [PUBPACS]", "from: [general], to: [RAD_WS]"], []),  # back to where it is from
    (["from: [harbour], to: [PUBPACS]", "from: [island], to: [PEAK_WS]"], []),  # who is sent nothing
    (["from: [harbour], to: [ISLPACS]", "from: [general], to: [PEAK_WS]"], []),
    (["from: [harbour, peak], to: [PUBPACS]", "from: [general], to: [PEAK_WS]"], [1]),
]


@pytest.mark.parametrize(("routes", "wrong"), CHAINS)
def test_a_chain_of_routes_is_a_breach_of_its_last(tmp_path: Path, routes: list[str], wrong: list[int]) -> None:
    config = configuration(tmp_path, *routes, head=STORING, flows=BOTH)
    every = list(breaches(config))
    assert [breach.path for breach in every] == [("routes", number, "to") for number in wrong] * len(every[:1])
    for breach in every[:1]:
        assert "studies of harbour on to PEAK_WS" in breach.text
        assert breach.others == (("routes", 1 - wrong[0], "to"),)


def test_who_may_not_store_hands_nothing_on(tmp_path: Path) -> None:
    assert found(configuration(tmp_path, *CHAINS[0][0], flows=BOTH)) == []


def test_a_longer_chain_is_followed_to_its_end(tmp_path: Path) -> None:
    """harbour → general → island, whose flow is another, and from there to peak."""
    flows = "flows: [private -> public, public -> public, public -> private]\n"
    head = STORING.replace("[store, find, move]", "[store]").replace("104, may: [find]", "104, may: [store]")
    routes = ["from: [harbour], to: [PUBPACS]", "from: [general], to: [ISLPACS]", "from: [island], to: [PEAK_WS]"]
    config = configuration(tmp_path, *routes, head=head, flows=flows)
    assert holdings(config)["PEAK_WS"].keys() == {"harbour", "general", "island"}
    (breach,) = breaches(config)
    assert (breach.path, breach.others) == (("routes", 2, "to"), (("routes", 1, "to"),))
    assert "ISLPACS is sent them by route r1" in breach.text


# -- whom we ask, and believe ------------------------------------------------------------------------------------

ASKED = [
    ("confirm: {find: 'Q@10.8.0.5:104'}", ("partners", "ISLPACS", "host")),  # where ISLPACS is, which comes later
    ("confirm: {commit: 'Q@10.1.0.30:11112'}", ("partners", "PUBPACS", "confirm", "commit")),
    ("confirm: {find: 'Q@10.9.0.6:104'}", None),  # PUB_WS of its own site
    ("confirm: {find: 'Q@10.9.0.7:104'}", None),
    ("confirm: {results_from: [PUB_WS]}", None),
    ("confirm: {results_from: [PUB_WS, ISLPACS]}", ("partners", "PUBPACS", "confirm", "results_from", 1)),
    ("confirm: {results_from: [CT1]}", ("partners", "PUBPACS", "confirm", "results_from", 0)),
]


@pytest.mark.parametrize(("keys", "path"), ASKED)
def test_who_is_asked_or_believed_is_of_the_same_site(tmp_path: Path, keys: str, path: Where | None) -> None:
    text = HEAD.replace("10.9.0.5, port: 104", f"10.9.0.5, port: 104, {keys}")
    assert found(fakes.configuration(text, tmp_path)) == ([path] if path else [])


def test_a_pacs_is_asked_about_its_own_site_alone(tmp_path: Path) -> None:
    route = "to: [PUBPACS], expect: {from: RAD_WS}, from: "
    assert found(configuration(tmp_path, f"{route}[harbour]")) == []
    (breach,) = breaches(configuration(tmp_path, f"{route}[harbour, peak]"))
    assert breach.path == ("routes", 0, "expect", "from")
    assert "would be asked about studies of peak" in breach.text
