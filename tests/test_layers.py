"""The house has nine rungs and one direction (dicomnode/__init__.py); every import is held against them, by ast.

Imports inside functions and under `if TYPE_CHECKING` count as well.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dicomnode"
RUNGS = ("errors", "dicom", "config", "rules", "store", "operations", "net", "run", "cli")
FRONTIERS = {  # outside package → the only modules that import it, and what is within them
    "yaml": "config",
    "pydantic": "config",
    "peewee": "store",
    "pynetdicom": "net",
    "click": "cli",
    "rich": "cli",
    "prometheus_client": "run.metrics",
    "anyascii": "dicom.transliteration",
    "cryptography": "config net",
}
LOG_SETTINGS = {"basicConfig", "dictConfig", "addHandler", "setLevel"}  # only run/logs calls these


def violations(package: Path) -> list[str]:
    """Every line of the package that reaches up, or over a frontier: `rules/x.py:3: …`."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        tree = ast.parse(path.read_text())
        checks = (_off_the_ladder, _reaching_up, _frontiers, _settings)
        faults = itertools.chain(*(check(tree, parts) for check in checks))
        found += [f"{path.relative_to(package)}:{line}: {text}" for line, text in sorted(faults)]
    return found


Faults = Iterator[tuple[int, str]]


def _rung(name: str) -> int:
    """Where a dotted name of the package stands; the package itself is below all, its __main__ beside cli."""
    part = f"{name}..".split(".")[1]
    return RUNGS.index({"__main__": "cli"}.get(part, part)) if part in (*RUNGS, "__main__") else -1


def _module(parts: tuple[str, ...]) -> str:
    return ".".join(part for part in parts if part != "__init__")


def _off_the_ladder(_: ast.AST, parts: tuple[str, ...]) -> Faults:
    if _rung(_module(parts)) < 0 and parts[1] != "__init__":
        yield 1, f"{_module(parts)} is on no rung"


def _imported(tree: ast.AST, parts: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all that is imported; relative imports resolved, `from a import b` as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (*parts[: -node.level], node.module) if node.level else (node.module,)
            origin = ".".join(part for part in base if part)
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def _reaching_up(tree: ast.AST, parts: tuple[str, ...]) -> Faults:
    for line, name in _imported(tree, parts):
        if name.split(".")[0] == parts[0] and _rung(name) > _rung(_module(parts)):
            yield line, f"{_module(parts)} imports {name}, from a higher rung"


def _frontiers(tree: ast.AST, parts: tuple[str, ...]) -> Faults:
    for line, name in _imported(tree, parts):
        home = FRONTIERS.get(name.split(".")[0])
        if home and not any(_within(parts, each) for each in home.split()):
            yield line, f"{_module(parts)} imports {name}: only {home} does"


def _settings(tree: ast.AST, parts: tuple[str, ...]) -> Faults:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not _within(parts, "run.logs"):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in LOG_SETTINGS:
                yield node.lineno, f"{_module(parts)} calls {called}: only run.logs configures logging"


def _within(parts: tuple[str, ...], home: str) -> bool:
    place = ".".join(("cli",) if parts[1] == "__main__" else parts[1:])
    return f"{place}.".startswith(f"{home}.")


def test_the_house() -> None:
    assert list(PACKAGE.rglob("*.py")), "there is no package to look at"
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("rules/x.py", "import dicomnode.store.queue"),
        ("rules/x.py", "from dicomnode import store"),
        ("rules/x.py", "from dicomnode.net.requestor import Peer"),
        ("rules/x.py", "from ..store import queue"),
        ("rules/deep/x.py", "from ...store.queue import claim"),
        ("rules/__init__.py", "from .. import store"),
        ("rules/x.py", "def f():\n    import dicomnode.net"),
        ("rules/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from dicomnode.run import logs"),
        ("operations/x.py", "from dicomnode.net import requestor"),
        ("errors.py", "from dicomnode import dicom"),
        ("__init__.py", "from dicomnode import errors"),
        ("run/x.py", "from dicomnode.cli import main"),
        ("run/x.py", "import dicomnode.__main__"),
        ("utils.py", ""),
        ("store/x.py", "import yaml"),
        ("rules/x.py", "from pydantic import BaseModel"),
        ("operations/x.py", "import peewee"),
        ("operations/x.py", "def f():\n    from cryptography import x509"),
        ("dicom/x.py", "from pynetdicom.pdu import A_ASSOCIATE_RQ"),
        ("run/x.py", "import click"),
        ("run/x.py", "from rich import print"),
        ("run/supervisor.py", "import prometheus_client"),
        ("run/metrics_too.py", "import prometheus_client"),
        ("cli/x.py", "import logging\nlogging.basicConfig()"),
        ("net/x.py", "from logging.config import dictConfig\ndictConfig({})"),
        ("net/x.py", "import logging\nlogging.getLogger().addHandler(None)"),
        ("run/x.py", "import logging\nlogging.getLogger().setLevel(0)"),
    ],
)
def test_a_violation_is_reported(tmp_path: Path, path: str, text: str) -> None:
    found = violations(_planted(tmp_path, path, text))
    assert len(found) == 1, found
    assert found[0].startswith(f"{path}:")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("rules/x.py", "from dicomnode import __version__, errors\nfrom . import y\nfrom ..config.model import Node"),
        ("config/load.py", "import yaml\nfrom pydantic import BaseModel"),
        ("run/metrics.py", "import prometheus_client"),
        ("net/tls.py", "from cryptography import x509"),
        ("run/logs.py", "import logging\nlogging.basicConfig()"),
        ("__main__.py", "import click\nfrom dicomnode.cli import main\nmain()"),
        ("cli/__init__.py", "import click\nfrom dicomnode import errors, run, store"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path: Path, path: str, text: str) -> None:
    assert violations(_planted(tmp_path, path, text)) == []


def _planted(tmp_path: Path, path: str, text: str) -> Path:
    file = tmp_path / "dicomnode" / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return tmp_path / "dicomnode"
