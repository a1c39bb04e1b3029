"""config/contradictions.py: who is asked for referrals or for what is expected, and what a hasty route cannot check."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config import load
from dicomnode.config.model import NodeConfig
from dicomnode.errors import ConfigurationError
from tests import fakes

PACS = "  PACS: {site: harbour, host: 10.1.0.40, port: 104, may: [store], pull: true}\n"
RIS = "  RIS: {site: general, host: 10.9.0.7, port: 104, worklist: 15m}\n"


def parse(partners: str = "", route: str = "wait: 60s") -> NodeConfig:
    text = fakes.CONFIG.replace("  CT1:", f"{partners}  CT1:").replace("wait: 60s", route)
    return load.parse(text, Path("dicomnode.yaml"))


def faults(partners: str = "", route: str = "wait: 60s") -> list[tuple[str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        parse(partners, route)
    return [(fault.path, fault.text) for fault in caught.value.faults]


def test_a_ris_and_a_pacs_are_asked() -> None:
    found = parse(RIS + PACS, "wait: 60s, require: referral, consent: required, identity: check")
    assert found.partners["RIS"].worklist == 900
    assert found.partners["PACS"].pull


@pytest.mark.parametrize(
    ("partner", "path", "words"),
    [
        (RIS.replace("host: 10.9.0.7, port: 104, ", ""), "partners.RIS.worklist", "is of no use without host and port"),
        (PACS.replace("host: 10.1.0.40, port: 104, ", ""), "partners.PACS.pull", "is of no use without host and port"),
        (PACS.replace("may: [store], ", ""), "partners.PACS.pull", "add store to may"),
        (
            PACS.replace("harbour", "general").replace("may: [store], ", ""),
            "partners.PACS.pull",
            "is for a private site's PACS",
        ),
        (PACS + PACS.replace("PACS:", "OLD:"), "partners.OLD.pull", "PACS of the same site has it"),
    ],
)
def test_who_could_not_be_asked_is_a_fault(partner: str, path: str, words: str) -> None:
    ((found, text),) = faults(partner)
    assert found == path
    assert words in text


@pytest.mark.parametrize("key", ["require: referral", "consent: required", "identity: check"])
def test_image_by_image_nothing_is_seen_of_a_whole_study(key: str) -> None:
    ((path, text),) = faults(route=f"wait: 0s, {key}")
    assert path == f"routes.0.{key.partition(':')[0]}"
    assert text == "cannot be together with wait: 0s, which sends each image before the study is whole"


def test_a_hasty_route_that_checks_nothing_is_none() -> None:
    for nothing in ("", ", require: none, consent: none, identity: none"):
        (route,) = parse(route=f"wait: 0s{nothing}").routes
        assert (route.is_hasty, route.checks, route.require, route.consent) == (True, False, "none", "none")
