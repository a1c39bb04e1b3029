"""reindex: the index made anew, from the files and from what can still be read of the old one."""

from __future__ import annotations

import os
import sys

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dicomnode.cli import output
from dicomnode.cli.opening import Place, pass_place, say
from dicomnode.config.model import NodeConfig
from dicomnode.operations.reindex import Report
from dicomnode.operations.reindex import reindex as rebuild_index
from dicomnode.run import premises
from dicomnode.store import recover
from dicomnode.store.archive import Archive

_PATIENCE = 10.0
_MANY = 20
"""Files that are named; of more, how many there are."""


@click.command()
@pass_place
def reindex(place: Place) -> None:
    """Make a damaged or lost index anew.

    Only while the node is stopped. Every kept instance is in it at the end. The queue and the audit trail are copied as
    far as they can be read; what cannot is counted, and instances of which nobody knows any more whether they were sent
    are sent again. The old index stays beside the new one. It may be interrupted at any time, and run again.
    """
    config = place.config()
    lock = premises.lock(config.node.data)
    try:
        recover.wait_for_workers(Archive(config.node.data, "reindex"), _PATIENCE)
        report = _rebuild(config)
    finally:
        os.close(lock)
    _show(report)


def _rebuild(config: NodeConfig) -> Report:
    bar = Progress(
        *(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()),
        disable=not sys.stderr.isatty(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("", total=None)
        return rebuild_index(
            config, lambda what, done, of: bar.update(task, description=what, completed=done, total=of or None)
        )


def _show(report: Report) -> None:
    rows = [{"table": t.table, "rows": t.rows, "partly": t.partly, "lost": t.lost} for t in report.tables]
    output.show(rows, as_json=False, columns=["table", "rows", "partly", "lost"], empty="Nothing was to be salvaged.")
    click.echo(f"{report.files} files are in the index, {report.adopted} of them as if they had just come.")
    if report.dropped:
        click.echo(f"{report.dropped} rows belonged to what is lost, and are lost too.")
    if report.routed:
        click.echo(f"{report.routed} instances are sent again: nobody knows any more whether they had been.")
    _name(report.missing, "are missing, and held: send their studies again from their sources")
    _name(report.unreadable, "cannot be read, and were left where they are")
    if report.kept:
        click.echo(f"The old index is {report.kept}: remove it when all is well.")
    click.echo("The index is sound. Start the node with `dicomnode serve`.")


def _name(files: tuple[str, ...], what: str) -> None:
    if files:
        say(f"warning: {len(files)} files {what}:")
        for file in files[:_MANY]:
            say(f"  {file}")
