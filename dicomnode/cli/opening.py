"""What a command works on: the configuration file, and the node's data folder, opened beside the running node."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from dicomnode.config import load
from dicomnode.config.model import NodeConfig
from dicomnode.errors import UsageError
from dicomnode.operations import configure
from dicomnode.operations.ports import Node
from dicomnode.store import generations
from dicomnode.store.archive import Archive
from dicomnode.store.database import Database


@dataclass(frozen=True, slots=True)
class Place:
    """The configuration that the command line named."""

    path: Path

    def config(self) -> NodeConfig:
        """The configuration in the file. Raises ConfigurationError."""
        return configure.read(self.path)

    def data(self) -> Path:
        """The data folder that the file names, whatever else may be wrong with it."""
        found = load.data_of(load.text_of(self.path), self.path)
        return found or self.config().node.data

    def current(self) -> NodeConfig:
        """What is in force, where the node has run; else what is in the file."""
        return self._in_force()[0] if self._index().exists() else self.config()

    @contextmanager
    def node(self) -> Iterator[Node]:
        """The node as it runs: its index and archive, under the configuration in force. UsageError: it has never run.

        A file that is being edited stops nobody: what is in force is what the node recorded.
        """
        if not self._index().exists():
            raise UsageError(f"there is no index in {self.data()} yet: start the node with `dicomnode serve`")
        config, generation = self._in_force()
        database = Database(self._index())
        try:
            yield Node(config, generation, Archive(config.node.data, "cli"), database)
        finally:
            database.close()

    def _index(self) -> Path:
        return self.data() / "index.sqlite"

    def _in_force(self) -> tuple[NodeConfig, int]:
        database = Database(self._index())
        try:
            with database.read():
                found = generations.in_force()
        finally:
            database.close()
        return (configure.parse(found.text, self.path), found.id) if found else (self.config(), 0)


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
