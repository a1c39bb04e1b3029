"""config/contradictions.py: watermarks and retention that could not be meant together."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config import load
from dicomnode.errors import ConfigurationError
from tests import fakes


@pytest.mark.parametrize(
    ("keys", "path", "words"),
    [
        ("watermarks: {associations: 1GB, instances: 1GB}", "", ""),
        ("watermarks: {associations: 1GB, instances: 1.1GB}", "node.watermarks.associations", "less than instances"),
        ("watermarks: {instances: 3GB}", "node.watermarks.associations", "less than instances"),
        ("retention: {free: 2.1GB}", "", ""),
        ("retention: {free: 2GB}", "node.retention.free", "before any room is made"),
        ("retention: {free: 9GB}, watermarks: {associations: 10GB}", "node.retention.free", "before any room is made"),
        ("retention: {after: 1h}, watermarks: {associations: 10GB}", "", ""),
    ],
)
def test_less_room_stops_more(keys: str, path: str, words: str) -> None:
    text = fakes.CONFIG.replace("data: ./data,", f"data: ./data, {keys},")
    if not path:
        load.parse(text, Path("dicomnode.yaml"))
        return
    with pytest.raises(ConfigurationError) as caught:
        load.parse(text, Path("dicomnode.yaml"))
    (fault,) = caught.value.faults
    assert (fault.path, fault.line) == (path, 2)
    assert words in fault.text
