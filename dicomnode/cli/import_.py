"""import: files of any program, into custody."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli import by_hand
from dicomnode.cli.opening import Place, no_partner, pass_place, say, who
from dicomnode.errors import UsageError
from dicomnode.operations import files
from dicomnode.operations.files import Person
from dicomnode.operations.import_files import Import
from dicomnode.run.custodian import take_custody


@click.command("import")
@click.argument("paths", nargs=-1, required=True, type=by_hand.PATHS, metavar="PATH...")
@click.option("--from", "partner", required=True, metavar="PARTNER", help="As if this one had sent them.")
@pass_place
def import_(place: Place, paths: tuple[Path, ...], partner: str) -> None:
    """Take files into custody, as if a partner had sent them.

    Folders with all that is in them; the node may run or not. By that partner's rights, and on the routes of what it
    sends. What this node has had from another site is refused, unless a flow leads from there. The files are left as
    they are.

    \b
    Example: dicomnode import /media/cdrom --from CT1
    """
    found = files.named(paths)
    with place.node(remark=False) as known:
        config, generation = known.config, known.generation
    with take_custody(config, generation) as custodian, by_hand.interruptible() as stopped, by_hand.bar() as bar:
        if not custodian.serving:
            say("the node is not running: what is imported goes on its way when it starts")
        node = custodian.node
        if partner not in node.config.partners:
            raise UsageError(no_partner(partner, node.config))
        person = Person(who(), by_hand.tell, lambda: stopped() or custodian.is_left())
        taking = Import(node.config.partners[partner], node, person)
        task = bar.add_task(partner, total=len(found))
        for number in taking.take(found):
            bar.advance(task, number)
    by_hand.finish(taking.tally, "in custody")
