"""One way: fifty generated configurations on a live node, and every reverse path that was planted into one.

What may happen is told by tests/acceptance/one_way/oracle.py, which knows nothing of the package.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dicomnode.config import load
from dicomnode.operations import configure
from dicomnode.rules import reach
from tests.acceptance.altered import environment
from tests.acceptance.one_way import oracle, worlds
from tests.acceptance.one_way.live import CARRYING, Live
from tests.acceptance.one_way.worlds import World, Yaml
from tests.inprocess import Here
from tests.node import Node, changed, default_config
from tests.receiver import Receiver
from tests.samples import make_study

BACK = {"name": "back", "from": ["harbour"], "to": ["PEAK_WS"], "wait": "0s"}
SOUND = 42
"""How many sound worlds are driven; those with a reverse path besides."""


def test_the_oracle_knows_nothing_of_the_package() -> None:
    for module in (oracle, worlds):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        found = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        found |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        assert not [name for name in found if name.startswith("dicomnode")], module


@pytest.mark.parametrize("seed", range(SOUND))
def test_a_live_node_does_what_the_table_of_rights_says(seed: int, tmp_path: Path) -> None:
    world = worlds.sound(seed)
    live = Live(world, tmp_path, configure.parse)
    assert live.run() == []
    assert live.studies, "a world in which nobody stores proves nothing"


def test_the_worlds_are_worth_driving() -> None:
    """Not one of them without a route would do, nor all of them under the same flows."""
    made = [worlds.sound(seed).config for seed in range(SOUND)]
    assert len({str(config.get("flows")) for config in made}) >= 6
    assert sum(bool(config["routes"]) for config in made) > SOUND * 0.7
    assert sum(len({oracle.title(config, p) for p in config["partners"]}) < len(config["partners"]) for config in made)
    assert sum(len(config["sites"]) for config in made) > SOUND * 3.5


def test_the_proof_is_what_the_oracle_allows(tmp_path: Path) -> None:
    """And so is what the live nodes did."""
    for seed in range(0, SOUND, 3):
        config = worlds.sound(seed).config
        told = Here(tmp_path, config).cli("check", "--proof", json=True)
        asked = {(way["site"], way["partner"], way["service"]) for way in told["ways"] if way["service"][:2] == "C-"}
        assert asked == oracle.obtained(config), seed


@pytest.mark.parametrize("kind", worlds.PLANTS)
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_reverse_path_is_named_by_its_line(kind: str, seed: int, tmp_path: Path) -> None:
    world = worlds.planted(seed, kind)
    node = Here(tmp_path, world.config)
    done = node.cli("check", "--proof")
    where = ".".join(map(str, world.planted))
    assert done.code == 2
    assert f"  line {line_of(node.file, world)}: {where}: " in done.err, done.err


def line_of(file: Path, world: World) -> int:
    """The line of a path, as YAML itself counts."""
    node: yaml.Node = yaml.compose(file.read_text())
    line = 0
    for step in world.planted:
        if isinstance(node, yaml.MappingNode):
            key, node = next((key, value) for key, value in node.value if key.value == step)
            line = key.start_mark.line + 1
        else:
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


@pytest.mark.parametrize("kind", CARRYING)
def test_what_the_check_has_missed_the_node_refuses(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same worlds on a node whose configuration nobody has checked: at the door, by query, at move, at dial."""
    monkeypatch.setattr(load, "contradictions", lambda draft: ())
    assert Live(worlds.planted(7, kind), tmp_path, load.parse).run() == []


def test_a_node_that_looked_away_dials_nobody(node: Callable[..., Node], tmp_path: Path) -> None:
    """The whole node, as processes: what a route would carry against the flows is held, with the reason."""
    with Receiver() as peak:
        config = changed(default_config(peak_ws=peak.port), {"routes": [BACK]})
        assert "routes.0.to: would carry studies of harbour to PEAK_WS" in Here(tmp_path, config).cli("check").err
        it = node(config, module="tests.acceptance.altered", env=environment("looks-away"))
        (file,) = make_study(tmp_path / "study", slices=1)
        assert it.send([file]) == {file: 0}
        told = it.wait_until(lambda: it.cli("queue", "list", "--state", "held", json=True), 20, "the verdict")
        assert [each["reason"] for each in told] == ["no flow allows studies of harbour to reach peak"]
        assert peak.requests == []


def test_sound_worlds_stay_sound_when_lines_are_moved(tmp_path: Path) -> None:
    """The order of routes and partners is no matter of what flows."""
    for seed in range(SOUND):
        config: Yaml = worlds.sound(seed).config
        turned = {**config, "routes": config["routes"][::-1], "partners": dict(reversed(config["partners"].items()))}
        assert obtained(turned, tmp_path) == obtained(config, tmp_path), seed


def obtained(config: Yaml, folder: Path) -> set[tuple[str, str, str]]:
    """Who obtains whose studies, by which service, as the proof has it."""
    parsed = configure.parse(yaml.safe_dump(config, sort_keys=False), folder / "dicomnode.yaml")
    return {(way.site, way.partner, way.by.value) for way in reach.ways(parsed)}
