"""referrals media: that studies were handed over on a disc or a stick, for the record."""

from __future__ import annotations

import click

from dicomnode.cli.opening import Place, pass_place, who
from dicomnode.operations import report as reporting


@click.command()
@click.argument("ids", metavar="REFERRAL...", nargs=-1, required=True, type=int)
@click.option("--reason", required=True, help="What was handed over, to whom, and why so.")
@pass_place
def media(place: Place, ids: tuple[int, ...], reason: str) -> None:
    """Write down that studies were handed over on media.

    It is for the record: it stops nothing, and sends nothing. To stop a referral, `dicomnode referrals withdraw` it.
    """
    with place.node() as node:
        for each in reporting.issue(ids, reason, who(), node):
            click.echo(f"referral {each.id}: issued on media")
