"""What every test may ask for: a free port, nodes as processes, and the one Orthanc of the run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dicomnode.rules.auditing import MEANINGS
from dicomnode.store import chain
from tests import node as nodes
from tests import orthanc as orthancs
from tests.certificates import Authority
from tests.inprocess import Here

_NODES = pytest.StashKey[list[nodes.Node]]()


def pytest_configure(config: pytest.Config) -> None:
    """Name the slowest tests at the end: the budget of the whole run is ten minutes."""
    if config.option.durations is None:
        config.option.durations = 10
        config.option.durations_min = 1.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of its nodes with a test that failed."""
    report = yield
    if report.failed:
        report.sections += [(str(it.log), nodes.tail(it.log)) for it in item.stash.get(_NODES, [])]
    return report


@pytest.fixture(autouse=True, scope="session")
def _every_kind_of_event_is_known() -> Iterator[None]:
    """What the package writes into the audit trail, in the process of the tests, has its line in rules/auditing.py."""
    append, ours = chain.append, str(Path(chain.__file__).parent.parent)

    def checked(content: chain.Row) -> int:
        caller = sys._getframe(2).f_code.co_filename
        assert not caller.startswith(ours) or content["kind"] in MEANINGS, f"{content['kind']!r} has no meaning"
        return append(content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "append", checked)
        yield


@pytest.fixture
def free_port() -> int:
    return nodes.free_port()


@pytest.fixture
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., nodes.Node]]:
    """A factory: `node()`, `node(config)`, `node(start=False)`. What it made is killed when the test is over."""
    made: list[nodes.Node] = []
    request.node.stash[_NODES] = made

    def make(config: Mapping[str, Any] | None = None, *, start: bool = True, **options: Any) -> nodes.Node:
        it = nodes.Node(tmp_path / f"node{len(made) or ''}", config, **options)
        made.append(it)
        return it.start() if start else it

    yield make
    for it in made:
        it.kill_all()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for everybody over TLS in this run."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[orthancs.Orthanc]:
    """The Orthanc of the run. Tests share its studies: look for your own UIDs, and leave it running."""
    with orthancs.Orthanc(tmp_path_factory.mktemp("orthanc")) as it:
        yield it


@pytest.fixture(scope="module")
def start_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., nodes.Node]]:
    """A factory of running nodes, each in a folder of its own; they are killed when the module is over."""
    made: list[nodes.Node] = []

    def start(config: Mapping[str, Any] | None = None, **options: Any) -> nodes.Node:
        made.append(Here(tmp_path_factory.mktemp("node"), config, **options))
        return made[-1].start()

    yield start
    for it in made:
        it.kill_all()
