"""get: studies of a partner, into a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dicomnode.cli import by_hand
from dicomnode.cli.opening import Place, pass_place, say
from dicomnode.cli.output import count
from dicomnode.errors import PartnerError
from dicomnode.operations.fetch import Fetch
from dicomnode.operations.ports import Waiting, now
from dicomnode.store.folder import Folder


@click.command()
@click.argument("partner", metavar="PARTNER")
@click.argument("studies", nargs=-1, required=True, metavar="STUDY_UID...")
@click.option(
    "--into", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder, made if need be."
)
@pass_place
def get(place: Place, partner: str, studies: tuple[str, ...], into: Path) -> None:
    """Fetch studies from a partner into a folder, by C-GET.

    Each instance is a file of its own, as it came; no file that is there is ever replaced. They are not in the node's
    custody: `dicomnode import` takes them there. Ctrl-C cancels.

    \b
    Example: dicomnode get PUBPACS 1.2.840.113619.2.5.1 --into /tmp/study
    """
    from dicomnode.net.requestor import Requestor  # the network's libraries load slowly: only who calls pays

    config = place.current()
    called = by_hand.to_ask(partner, config)
    by_hand.check_uids(*studies)
    folder, good = Folder(into), True
    with by_hand.interruptible() as stopped, by_hand.bar() as bar:
        for study in studies:
            place.note("fetched by hand", f"into {folder.path}", called.name, study)
            fetch = Fetch(study, called, folder, config, now)
            try:
                retrieved = fetch.run(Requestor(config), Waiting(stopped, by_hand.Told(bar, study)))
            except PartnerError as error:
                raise PartnerError(f"{called.display}: {error}; {_came(fetch)}") from error
            good &= by_hand.report(study, retrieved) and bool(fetch.kept) and not fetch.refused
            click.echo(f"{study}: {_came(fetch)}")
            if stopped():
                break
    folder.close()
    sys.exit(0 if good else 1)


def _came(fetch: Fetch) -> str:
    for uid, why in fetch.refused.items():
        say(f"  {uid}: {why}")
    return f"{count(len(fetch.kept), 'file')} in {fetch.folder.path}"
