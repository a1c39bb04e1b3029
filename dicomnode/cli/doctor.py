"""doctor: everything that can be wrong with a node, looked at once, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from dicomnode.cli import output
from dicomnode.cli.checks import Finding, Patient, State, examine
from dicomnode.cli.opening import Place, pass_place
from dicomnode.store.archive import Archive
from dicomnode.store.database import Database, index_of

_COLORS = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "red"}

_DEEP = """Read the whole index, and a thousand files: minutes, where there is much. An index that is found damaged is
marked as such."""


@click.command()
@output.as_json
@click.option("--no-partners", is_flag=True, help="Call nobody.")
@click.option("--deep", is_flag=True, help=_DEEP)
@pass_place
def doctor(place: Place, as_json: bool, no_partners: bool, deep: bool) -> None:
    """Look at everything that can be wrong, and say what to do.

    The disk, the clock, sockets, certificates, the index, queues, some files of the archive, and whether every partner
    answers. Beside a running node, or without one. The configuration is that of the file.
    The exit code is 1 where there is a problem.
    """
    findings: list[Finding] = []
    with _patient(place, deep=deep, partners=not no_partners) as patient:
        for finding in examine(patient):
            findings.append(finding)
            if not as_json:
                _print(finding)
    if as_json:
        rows = [{"check": f.check, "state": f.state, "text": f.text, "advice": f.advice} for f in findings]
        output.show(rows, as_json=True, empty="")
    if any(finding.state is State.PROBLEM for finding in findings):
        raise SystemExit(1)


@contextmanager
def _patient(place: Place, *, deep: bool, partners: bool) -> Iterator[Patient]:
    config = place.config()
    path = index_of(config.node.data)
    index = Database(path) if path.exists() else None
    try:
        yield Patient(config, Archive(config.node.data, "doctor"), index, deep, partners)
    finally:
        if index:
            index.close()


def _print(finding: Finding) -> None:
    click.echo(f"{click.style(f'{finding.state:8}', fg=_COLORS[finding.state])} {finding.check:9} {finding.text}")
    if finding.advice:
        click.echo(f"{'':18} → {finding.advice}")
