"""What a command works on: the configuration file, and the node's data folder, opened beside the running node."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from dicomnode.config.model import NodeConfig
from dicomnode.errors import UsageError
from dicomnode.operations import configure
from dicomnode.operations.ports import Node
from dicomnode.store.archive import Archive
from dicomnode.store.database import Database


@dataclass(frozen=True, slots=True)
class Place:
    """The configuration that the command line named."""

    path: Path

    def config(self) -> NodeConfig:
        """Read and check it. Raises ConfigurationError."""
        return configure.read(self.path)

    @contextmanager
    def node(self) -> Iterator[Node]:
        """The node's index and archive. Raises UsageError where it has never run."""
        config = self.config()
        index = config.node.data / "index.sqlite"
        if not index.exists():
            raise UsageError(f"there is no index in {config.node.data} yet: start the node with `dicomnode serve`")
        database = Database(index)
        try:
            yield Node(config, 0, Archive(config.node.data, "cli"), database)
        finally:
            database.close()


pass_place = click.make_pass_decorator(Place)


def who() -> str:
    """Who gives the command, for the audit trail."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def say(text: str) -> None:
    """A remark for the person, kept out of what a program reads."""
    print(text, file=sys.stderr)
