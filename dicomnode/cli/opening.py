"""What a command works on: the configuration file, and the node's data folder, opened beside the running node."""

from __future__ import annotations

import difflib
import os
import pwd
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from dicomnode.config import load, units
from dicomnode.config.model import NodeConfig
from dicomnode.errors import DicomnodeError, UsageError
from dicomnode.operations import configure
from dicomnode.operations.ports import Node
from dicomnode.run import premises
from dicomnode.store import audit, generations, ledger
from dicomnode.store.archive import Archive
from dicomnode.store.audit import Event
from dicomnode.store.database import Database, index_of


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
    def node(self, *, remark: bool = True) -> Iterator[Node]:
        """The node as it runs: its index and archive, under the configuration in force. UsageError: it has never run.

        A file that is being edited stops nobody: what is in force is what the node recorded. `remark`: say so where
        the node does not run.
        """
        if not self._index().exists():
            raise UsageError(f"there is no index in {self.data()} yet: start the node with `dicomnode serve`")
        config, generation = self._in_force()
        if remark and premises.running(config.node.data) is None:
            say("the node is not running: this is how it was left, and what is changed takes effect when it starts")
        database = Database(self._index())
        try:
            yield Node(config, generation, Archive(config.node.data, "cli"), database)
        finally:
            database.close()

    def note(self, kind: str, text: str, partner: str, study: str = "") -> None:
        """Have it in the audit trail what a person does by hand; a node that has never run has none."""
        if self._index().exists():
            with self.node(remark=False) as node:
                of = {"generation": node.generation, "who": who()}
                note(Event(node.clock(), kind, text, partner, study, **of), node)  # type: ignore[arg-type]

    def _index(self) -> Path:
        return index_of(self.data())

    def _in_force(self) -> tuple[NodeConfig, int]:
        database = Database(self._index())
        try:
            with database.read():
                found = generations.in_force()
        finally:
            database.close()
        return (configure.parse(found.text, self.path), found.id) if found else (self.config(), 0)


pass_place = click.make_pass_decorator(Place)


def no_partner(name: str, config: NodeConfig) -> str:
    """That there is no such partner, and which may be meant."""
    near = difflib.get_close_matches(name.upper(), config.partners, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"there is no partner {name}; {meant}`dicomnode partners list` shows those there are"


def check_partner(name: str, node: Node) -> None:
    """Raise UsageError unless a partner is configured, or anything was ever queued for it; '' is nobody."""
    if name and name not in node.config.partners and not ledger.is_known(name):
        raise UsageError(no_partner(name, node.config))


def who() -> str:
    """Who gives the command, for the audit trail: the account that runs it, whatever the environment says.

    Of root, the account that has become root by sudo; only root could have made that up.
    """
    uid, behind = os.getuid(), os.environ.get("SUDO_UID", "")
    return _account(int(behind) if uid == 0 and behind.isdecimal() else uid)


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"uid {uid}"


def when(value: str) -> int:
    """A time in µs, from how long ago it was, or from its date, or date and time, in UTC where it names no other."""
    try:
        return max(0, time.time_ns() // 1000 - round(units.duration(value) * 1e6))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        text = f"{value!r} is neither how long ago (90m, 30d) nor a date (2026-03-01, 2026-03-01T14:30)"
        raise click.BadParameter(text) from None
    return max(0, round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6))


def note(event: Event, node: Node) -> None:
    """Write down what a person does. That this cannot be done keeps nobody from finding out why."""
    try:
        node.database.write(lambda: audit.record(event))
    except DicomnodeError as error:
        say(f"this could not be written into the audit trail: {error}")


def say(text: str) -> None:
    """A remark for the person, kept out of what a program reads."""
    print(text, file=sys.stderr)
