"""import: files of any program, into custody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from dicomnode.cli import calling
from dicomnode.cli.opening import Place, no_partner, pass_place, say, who
from dicomnode.cli.send import Paths, finish, tell
from dicomnode.errors import UsageError
from dicomnode.operations import files
from dicomnode.operations.import_files import Import
from dicomnode.operations.ports import Node, Stopped
from dicomnode.run import premises
from dicomnode.store.archive import Archive, ulid
from dicomnode.store.database import Database, index_of
from dicomnode.store.recover import show_alive


@click.command("import")
@click.argument("paths", nargs=-1, required=True, type=Paths, metavar="PATH...")
@click.option("--from", "partner", required=True, metavar="PARTNER", help="As if this one had sent them.")
@pass_place
def import_(place: Place, paths: tuple[Path, ...], partner: str) -> None:
    """Take files into custody, as if a partner had sent them.

    Folders with all that is in them; the node may run or not. By that partner's rights, and on the routes of what it
    sends. The files are left as they are.

    \b
    Example: dicomnode import /media/cdrom --from CT1
    """
    found = files.named(paths)
    with custodian(place) as (node, ends), calling.interruptible() as stopped, calling.bar() as bar:
        if partner not in node.config.partners:
            raise UsageError(no_partner(partner, node.config))
        taking = Import(node.config.partners[partner], node, tell, lambda: stopped() or ends(), who())
        task = bar.add_task(partner, total=len(found))
        for number in taking.take(found):
            bar.advance(task, number)
    finish(taking.tally, "in custody")


@contextmanager
def custodian(place: Place) -> Iterator[tuple[Node, Stopped]]:
    """The node with a worker of our own, who may take instances: beside the node that runs, or in its place.

    And whether that has ended meanwhile: it is not started again before we have.
    """
    with place.node(remark=False) as known:
        config, generation = known.config, known.generation
    data, name = config.node.data, ulid()
    alive = show_alive(data / "run", name)  # before it is looked who else is there: who comes later sees us
    archive = Archive(data, name, config.node.watermarks.instances)
    try:
        with _premises(data) as serving:
            archive.prepare()
            database = Database(index_of(data), volume=archive.volume)
            try:
                if not serving:
                    database.migrate()
                yield Node(config, generation, archive, database), lambda: _serves(data) != serving
            finally:
                database.close()
    finally:
        archive.clear_incoming(name)
        (data / "run" / f"{name}.lock").unlink(missing_ok=True)
        os.close(alive)


@contextmanager
def _premises(data: Path) -> Iterator[int]:
    """The process of the node that serves; 0 where none does, and then nobody starts it meanwhile."""
    serving = premises.running(data)
    if serving and not serving[1]:
        raise UsageError("the node is starting, or its index is being rebuilt: try again when that is done")
    if serving:
        yield serving[0]
        return
    lock = premises.lock(data)
    say("the node is not running: what is imported goes on its way when it starts")
    try:
        yield 0
    finally:
        os.close(lock)


def _serves(data: Path) -> int:
    """The process that serves now; 0 where none does."""
    found = premises.running(data)
    return found[0] if found and found[1] else 0
