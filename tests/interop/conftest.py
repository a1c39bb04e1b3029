"""Nodes and partners for a whole module; everything here needs DCMTK or Orthanc, and fails without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.interop.transport import Transport


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.interop)


@pytest.fixture(scope="module", params=["clear", "tls"])
def transport(request: pytest.FixtureRequest, authority: Authority) -> Transport:
    """Each test that has it runs twice."""
    if request.param == "clear":
        return Transport()
    return Transport(authority.issue("interop-node"), authority.issue("interop-peer"))
