"""routes: what another configuration would make of what has been received."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from dicomnode.cli import output
from dicomnode.cli.opening import Place, pass_place, say, when
from dicomnode.cli.output import count
from dicomnode.config import load
from dicomnode.config.model import NodeConfig
from dicomnode.errors import ConfigurationError
from dicomnode.operations import configure, replay
from dicomnode.operations.replay import Change
from dicomnode.store.replay import Past

_SHOWN = 100


@click.group()
def routes() -> None:
    """Which studies go where."""


@routes.command("test")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--since", type=when, default="30d", show_default=True, metavar="WHEN", help="How long ago (30d) or a date, in UTC."
)
@output.as_json
@pass_place
def test_(place: Place, file: Path, since: int, as_json: bool) -> None:
    """Say what would change if FILE were in force.

    What was received since then is routed again, by the configuration in force and by FILE. Nothing is sent or changed.
    """
    after = _configuration(file)
    with place.node(remark=False) as node:
        trial = _Trial()
        found = (_row(each) for each in trial.run(replay.compare(node.config, after, since, node)))
        if as_json:
            _stream(found)
        else:
            _print([row for number, row in enumerate(found) if number < _SHOWN], trial, file, since)


def _configuration(file: Path) -> NodeConfig:
    try:
        return configure.parse(load.text_of(file), file)
    except ConfigurationError as error:
        say(f"{file} cannot be used, for {count(len(error.faults), 'reason')}:")
        for fault in error.faults:
            say(f"  {fault}")
        raise SystemExit(2) from None


@dataclass(slots=True)
class _Trial:
    """What is counted while changes go by: studies, those for which anything changes, and changes by partner."""

    studies: int = 0
    changed: int = 0
    by: Counter[tuple[str, str]] = field(default_factory=Counter)

    def run(self, found: Iterator[tuple[Past, list[Change]]]) -> Iterator[Change]:
        """The changes, one after the other: of years of studies, none is kept."""
        for _, changes in found:
            self.studies += 1
            self.changed += bool(changes)
            self.by.update((each.partner, each.what) for each in changes)
            yield from changes


def _row(it: Change) -> output.Row:
    return {
        "change": it.what,
        "partner": it.partner,
        "routes": it.routes,
        "before": it.before,
        "after": it.after,
        "site": it.study.site,
        "received_at": output.time(it.study.received_at),
        "study": it.study.study,
        "study_instance_uid": it.study.study_instance_uid,
    }


def _stream(rows: Iterator[output.Row]) -> None:
    """One JSON array, of which no more than a row is in memory."""
    click.echo("[", nl=False)
    for number, row in enumerate(rows):
        click.echo(("," if number else "") + json.dumps(row, ensure_ascii=False))
    click.echo("]")


def _print(rows: list[output.Row], trial: _Trial, file: Path, since: int) -> None:
    columns = ["change", "partner", "routes", "before", "after", "site", "received_at", "study", "study_instance_uid"]
    if rows:
        output.show(rows, as_json=False, columns=columns, empty="")
    if (rest := trial.by.total() - len(rows)) > 0:
        click.echo(f"({count(rest, 'more change')}: --json has them all)")
    for (partner, what), number in sorted(trial.by.items()):
        click.echo(f"{partner}: {count(number, 'study', 'studies')} {_PLURAL[what] if number > 1 else what}")
    of = f"{count(trial.studies, 'study', 'studies')} received since {output.moment(since)}"
    if trial.changed:
        click.echo(f"Of {of}, {trial.changed} would go otherwise under {file}. Nothing was sent or changed.")
    else:
        click.echo(f"Nothing changes for {of}.")


_PLURAL = {"goes": "go", "goes no more": "go no more", "goes with other instances": "go with other instances"}
