"""rules/exposure.py: who could pose as whom, and what would go to the wrong place."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config.model import Where
from dicomnode.rules.exposure import exposures
from tests import fakes

POSED: list[tuple[str, str, Where | None]] = [
    ("CT1:      {site: harbour", "CT1:      {site: harbour", None),  # as it is
    ("10.1.0.0/24", "10.0.0.0/8", ("partners", "CT1", "address")),
    ("10.1.0.0/24", "10.2.0.30", ("partners", "CT1", "address")),  # where PEAK_WS is
    ("10.1.0.0/24", "[10.1.0.0/24, 10.9.0.6]", ("partners", "CT1", "address")),
    ("10.1.0.0/24", "10.1.0.30", None),  # of its own site
    ("host: 10.9.0.5", "address: 10.2.0.0/28, host: 10.9.0.5", ("partners", "PEAK_CT", "address")),
]


@pytest.mark.parametrize(("old", "new", "path"), POSED)
def test_who_may_call_from_where_another_site_is(tmp_path: Path, old: str, new: str, path: Where | None) -> None:
    assert old in fakes.CONFIG
    found = list(exposures(fakes.configuration(fakes.CONFIG.replace(old, new), tmp_path)))
    assert [each.path for each in found][:1] == ([path] if path else [])


def test_a_certificate_or_a_passcode_is_more_than_a_name(tmp_path: Path) -> None:
    text = fakes.CONFIG.replace("10.1.0.0/24", "10.2.0.30")
    config = fakes.configuration(text, tmp_path)
    found = next(exposures(config))
    assert "at the address of PEAK_CT of peak or PEAK_WS of peak could call as CT1 of harbour, and store" in found.text
    assert found.others == (("partners", "PEAK_CT", "address"), ("partners", "PEAK_WS", "address"))
    proven = config.partners["CT1"].model_copy(update={"certificate": object()})
    config = config.model_copy(update={"partners": {**config.partners, "CT1": proven}})
    assert ("partners", "CT1", "address") not in [each.path for each in exposures(config)]


def test_a_title_of_ones_own_that_is_somebody_elses(tmp_path: Path) -> None:
    """A workstation of harbour cannot be called, and a hospital's AE has its title: a C-MOVE would go there."""
    text = fakes.CONFIG.replace("CT1:      {", "CT1:      {ae_title: PUBPACS, ")
    (found,) = exposures(fakes.configuration(text, tmp_path))
    assert found.path == ("partners", "CT1")
    assert "a C-MOVE by RAD_WS to PUBPACS reaches PUBPACS of general" in found.text
    alone = text.replace("11112, may: [find, move]", "11112, may: [find]")
    assert list(exposures(fakes.configuration(alone, tmp_path))) == []


def test_a_route_that_sends_back_what_it_takes(tmp_path: Path) -> None:
    text = fakes.CONFIG.replace("to: [PUBPACS]", "to: [RAD_WS]")
    assert list(exposures(fakes.configuration(text, tmp_path))) == []
    text = text.replace("11112, may: [find, move]", "11112, may: [store]")
    (found,) = exposures(fakes.configuration(text, tmp_path))
    assert found.path == ("routes", 0, "to")
    assert "sends RAD_WS what it may have stored itself" in found.text
