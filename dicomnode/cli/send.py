"""send: files of any program, to a partner."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli import by_hand
from dicomnode.cli.opening import Place, pass_place, say, who
from dicomnode.operations import files
from dicomnode.operations.files import Person
from dicomnode.operations.send_files import Send


@click.command()
@click.argument("paths", nargs=-1, required=True, type=by_hand.PATHS, metavar="PATH...")
@click.option("--to", "partner", required=True, metavar="PARTNER", help="Whom.")
@pass_place
def send(place: Place, paths: tuple[Path, ...], partner: str) -> None:
    """Send files to a partner by C-STORE.

    Folders with all that is in them. This is outside of routes and referrals: nothing is queued, tried again or
    confirmed, and the audit trail has it. The flows hold all the same. Where a route to the partner wants a referral,
    consent or a look at the patient, `dicomnode import` the files first: what is not in custody is not sent there.

    \b
    Example: dicomnode send /media/cdrom --to RAD_WS
    """
    from dicomnode.net.requestor import Requestor  # the network's libraries load slowly: only who calls pays

    found = files.named(paths)
    with place.node(remark=False) as node, by_hand.interruptible() as stopped, by_hand.bar() as bar:
        called = by_hand.to_call(partner, node.config)
        say(f"what is sent to {called.display} so is in no referral: nothing is queued, tried again or confirmed")
        requestor = Requestor(node.config, linger=node.config.node.limits.linger)
        sending = Send(called, requestor, node, Person(who(), by_hand.tell, stopped))
        task = bar.add_task(called.name, total=len(found))
        try:
            for number in sending.send(found):
                bar.advance(task, number)
        finally:
            requestor.close()
    by_hand.finish(sending.tally, f"sent to {called.display}")
