"""audit: what happened."""

from __future__ import annotations

import click

from dicomnode.cli import output
from dicomnode.cli.opening import Place, pass_place
from dicomnode.store import audit as store
from dicomnode.store.audit import Event


@click.group()
def audit() -> None:
    """The audit trail."""


@audit.command("list")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The newest N.")
@click.option("--alarms", is_flag=True, help="Only what a person should know of.")
@output.as_json
@pass_place
def list_(place: Place, limit: int, alarms: bool, as_json: bool) -> None:
    """The newest events, oldest first."""
    with place.node() as node, node.database.read():
        rows = [_row(event) for event in store.events(limit, alarms=alarms)]
    empty = "There was no alarm." if alarms else "Nothing has happened yet."
    output.show(rows, as_json=as_json, columns=["at", "event", "partner", "text"], empty=empty)


def _row(event: Event) -> output.Row:
    return {
        "id": event.id,
        "at": output.time(event.at),
        "event": event.kind,
        "partner": event.partner,
        "study_instance_uid": event.study_instance_uid,
        "sop_instance_uid": event.sop_instance_uid,
        "referral": event.referral,
        "generation": event.generation,
        "text": event.text,
        "alarm": event.alarm,
    }
