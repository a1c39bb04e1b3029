"""send: files of any program, to a partner."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dicomnode.cli import calling
from dicomnode.cli.opening import Place, pass_place, say, who
from dicomnode.cli.output import count
from dicomnode.operations import files
from dicomnode.operations.files import Tally
from dicomnode.operations.send import ByHand

Paths = click.Path(path_type=Path, exists=True)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=Paths, metavar="PATH...")
@click.option("--to", "partner", required=True, metavar="PARTNER", help="Whom.")
@pass_place
def send(place: Place, paths: tuple[Path, ...], partner: str) -> None:
    """Send files to a partner by C-STORE.

    Folders with all that is in them. This is outside of routes and referrals: nothing is queued, tried again or
    confirmed, and the audit trail has it. The flows hold all the same.

    \b
    Example: dicomnode send /media/cdrom --to PUBPACS
    """
    from dicomnode.net.requestor import Requestor  # the network's libraries load slowly: only who calls pays

    found = files.named(paths)
    with place.node(remark=False) as node, calling.interruptible() as stopped, calling.bar() as bar:
        called = calling.to_call(partner, node.config)
        say(f"what is sent to {called.display} so is in no referral: nothing is queued, tried again or confirmed")
        requestor = Requestor(node.config, linger=node.config.node.limits.linger)
        by_hand = ByHand(called, requestor, node, tell, stopped, who())
        task = bar.add_task(called.name, total=len(found))
        try:
            for number in by_hand.send(found):
                bar.advance(task, number)
        finally:
            requestor.close()
    finish(by_hand.tally, f"sent to {called.display}")


def tell(path: Path, why: str) -> None:
    """Say what became of one file; its name may be anything."""
    say(f"{str(path)!r}: {why}")


def finish(tally: Tally, done: str) -> None:
    """Say what came of all, and end with the exit code that tells it."""
    parts = [f"{count(tally.done, 'instance')} {done}"]
    parts += [f"{tally.known} were here already"] if tally.known else []
    parts += [f"{count(tally.failed, 'file')} failed"] if tally.failed else []
    parts += [f"{count(tally.skipped, 'file')} left out"] if tally.skipped else []
    click.echo(", ".join(parts))
    if tally.stopped:
        say(f"error: the rest was not tried: {tally.stopped}")
    sys.exit(0 if tally.is_good else 1)
