"""The frozen configuration: its defaults, its views, and that it travels between processes."""

from __future__ import annotations

import os
import pickle
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from dicomnode.config.conditions import Conditions
from dicomnode.config.load import load, parse
from dicomnode.config.model import Flow, Node, NodeConfig, Partner, Route, Site
from dicomnode.config.parts import Limits

SHIPPED = Path(__file__).parents[3] / "config" / "dicomnode.yaml"


def test_every_default() -> None:
    config = parse("node: {ae_title: A}", Path("/somewhere/dicomnode.yaml"))
    assert config == NodeConfig(node=Node(ae_title="A", data=Path("/somewhere/data")))
    assert config.model_dump() == {
        "node": {
            "ae_title": "A",
            "aliases": (),
            "bind_host": "127.0.0.1",
            "bind_port": 11112,
            "data": Path("/somewhere/data"),
            "database": "sqlite",
            "acceptors": min(4, os.cpu_count() or 1),
            "storage_classes": (),
            "deflated": False,
            "tls": None,
            "limits": {
                "drain": 30.0,
                "connect": 10.0,
                "response": 60.0,
                "idle": 300.0,
                "linger": 5.0,
                "retry_first": 30.0,
                "retry_most": 3600.0,
                "object_size": 4_000_000_000,
                "first": 15.0,
                "pdu": 60.0,
                "associations": 100,
                "address_associations": None,
                "silent": 20,
                "scrub": 10_000_000,
                "pull": 300.0,
                "answers": None,
            },
            "watermarks": {"associations": 2_000_000_000, "instances": 500_000_000},
            "retention": {"after": None, "free": None, "committed": False},
            "audit": None,
            "operators": 1,
        },
        "issuers": {},
        "sites": {},
        "flows": ({"source": "private", "destination": "public"},),
        "partners": {},
        "routes": (),
    }


def test_the_defaults_of_the_parts() -> None:
    partner = Partner(name="CT1", site="harbour")
    assert (partner.ae_title, partner.address, partner.may, partner.associations) == ("CT1", (), frozenset(), 1)
    assert partner.max_associations is None
    assert partner.tls is False
    assert Site(key="harbour", sector="private").name == "harbour"
    route = Route(name="a", to=("B",))
    assert (route.when, route.only, route.wait, route.sources) == (Conditions(), Conditions(), 300.0, ())


def test_the_shipped_file_shows_the_defaults_of_limits() -> None:
    assert load(SHIPPED).node.limits == Limits()


def test_the_address_of_a_partner_is_its_host_where_that_is_an_ip() -> None:
    assert Partner(name="A", site="s", host="10.0.0.5").address == (ip_network("10.0.0.5/32"),)
    assert Partner(name="A", site="s", host="::1").address == (ip_network("::1/128"),)
    assert Partner(name="A", site="s", host="pacs.example").address == ()
    given = Partner.model_validate({"name": "A", "site": "s", "host": "10.0.0.5", "address": "10.0.0.0/8"})
    assert given.address == (ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("host", "port", "display", "destination"),
    [
        ("10.0.0.5", 104, "PUBPACS@10.0.0.5:104", True),
        ("::1", 104, "PUBPACS@[::1]:104", True),
        ("10.0.0.5", None, "PUBPACS", False),
        (None, None, "PUBPACS", False),
    ],
)
def test_how_a_partner_is_written(host: str | None, port: int | None, display: str, destination: bool) -> None:
    partner = Partner(name="P", site="general", ae_title="PUBPACS", host=host, port=port)
    assert (partner.display, partner.is_destination) == (display, destination)


def test_the_titles_of_a_node_are_its_own_and_its_aliases() -> None:
    assert Node(ae_title="A", aliases=("B", "C")).titles == {"A", "B", "C"}


def test_site_and_sector_of_a_partner() -> None:
    config = load(SHIPPED)
    assert config.site_of(config.partners["PUBPACS"]) == config.sites["general"]
    assert config.sector_of(config.partners["PUBPACS"]) == "public"
    assert config.sector_of(config.partners["CT1"]) == "private"


def test_a_flow_is_written_as_an_arrow() -> None:
    flow = Flow.model_validate("public->private")
    assert (flow.source, flow.destination, str(flow)) == ("public", "private", "public -> private")


def test_a_configuration_travels_between_processes() -> None:
    config = load(SHIPPED)
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_configuration_cannot_be_changed_or_added_to() -> None:
    config = load(SHIPPED)
    with pytest.raises(ValidationError):
        config.node.ae_title = "OTHER"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Limits.model_validate({"drian": 1})
    assert hash(config.partners["CT1"]) == hash(load(SHIPPED).partners["CT1"])
