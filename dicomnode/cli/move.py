"""move: have a partner send what it has, to us or to another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import click
from rich.progress import Progress, TaskID

from dicomnode.cli import calling
from dicomnode.cli.opening import Place, pass_place, say
from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom.identifier import Identifier, Key
from dicomnode.errors import PartnerError, UsageError
from dicomnode.operations.ports import Retrieved, Suboperations, Watch
from dicomnode.rules import oneway, statuses
from dicomnode.rules.admission import Service, services
from dicomnode.run import premises
from dicomnode.store import index

_STUDY, _SERIES, _INSTANCE = 0x0020000D, 0x0020000E, 0x00080018


@click.command()
@click.argument("partner", metavar="PARTNER")
@click.argument("studies", nargs=-1, required=True, metavar="STUDY_UID...")
@click.option("--to", "destination", metavar="AE_TITLE", help="Whom it sends to.  [default: this node]")
@click.option("--series", multiple=True, metavar="UID", help="Only this series of the study.")
@click.option("--instance", "instances", multiple=True, metavar="UID", help="Only this instance of the series.")
@pass_place
def move(
    place: Place,
    partner: str,
    studies: tuple[str, ...],
    destination: str | None,
    series: tuple[str, ...],
    instances: tuple[str, ...],
) -> None:
    """Have a partner send studies by C-MOVE.

    The partner must know the AE title that it is to send to. What comes here is received as if it had come by itself:
    by the partner's rights, and on its routes. Ctrl-C cancels.

    \b
    Example: dicomnode move RAD_PACS 1.2.840.113619.2.5.1 --to REFERNODE
    """
    from dicomnode.net.requestor import Requestor  # the network's libraries load slowly: only who calls pays

    config = place.current()
    called, title = calling.to_ask(partner, config), destination or config.node.ae_title
    wanted = _wanted(studies, series, instances)
    _check_destination(title, called, config)
    good = True
    with calling.interruptible() as stopped, calling.bar() as bar, _arrivals(place, title, config) as arrived:
        for study, identifier in zip(studies, wanted, strict=True):
            watch = Watch(stopped, Told(bar, study), partial(arrived, study))
            try:
                good &= report(study, Requestor(config).move(called, identifier, title, watch))
            except PartnerError as error:
                raise PartnerError(f"{called.display}: {error}; how far it came is not known") from error
            if stopped():
                break
    sys.exit(0 if good else 1)


def _wanted(studies: Sequence[str], series: Sequence[str], instances: Sequence[str]) -> list[Identifier]:
    """What each C-MOVE names, its unique keys above the level included (PS3.4 C.4.2.2.1)."""
    calling.check_uids(*studies, *series, *instances)
    if series and len(studies) > 1:
        raise UsageError("--series is of one study: name one")
    if instances and len(series) != 1:
        raise UsageError("--instance is of one series: name that by --series")
    keys = [Key(_SERIES, "UI", "\\".join(series))] if series else []
    keys += [Key(_INSTANCE, "UI", "\\".join(instances))] if instances else []
    level = ("STUDY", "SERIES", "IMAGE")[len(keys)]
    return [Identifier(level, (Key(_STUDY, "UI", study), *keys), "") for study in studies]


def _check_destination(title: str, partner: Partner, config: NodeConfig) -> None:
    """Raise UsageError unless what the partner has may reach an AE: the one-way rule holds for what we ask, too."""
    if title in config.node.titles:
        if Service.STORE not in services(config, partner):
            say(f"warning: {partner.name} may not store here: what it sends under that title will be refused")
        if premises.running(config.node.data) is None:
            raise UsageError("the node is not running, so nothing can be sent to it: start it with `dicomnode serve`")
        return
    sites = {each.site for each in config.partners.values() if each.ae_title == title}
    if not sites:
        raise UsageError(f"no partner has the AE title {title}: nobody knows whether studies may reach it")
    for site in sorted(sites):
        if not oneway.may_flow(config, partner.site, site):
            raise UsageError(f"no flow allows studies of {partner.site} to reach {title} of {site}")


@contextmanager
def _arrivals(place: Place, title: str, config: NodeConfig) -> Iterator[Callable[[str], int]]:
    """How many instances of a study are here, where they are to come here."""
    if title not in config.node.titles:
        yield lambda study: 0
        return
    with place.node(remark=False) as node:

        def arrived(study: str) -> int:
            with node.database.read():
                found = index.study(study)
            return found.instances if found else 0

        yield arrived


class Told:
    """The progress of one retrieval, shown as far as the partner tells it."""

    def __init__(self, bar: Progress, study: str) -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task(study, total=None)

    def __call__(self, counts: Suboperations) -> None:
        done = sum(filter(None, (counts.completed, counts.failed, counts.warning)))
        total = None if counts.remaining is None else done + counts.remaining
        self._bar.update(self._task, completed=done, total=total)


def report(study: str, retrieved: Retrieved) -> bool:
    """Say how a retrieval ended; whether all is well."""
    counts = retrieved.counts
    said = {"sent": counts.completed, "with warnings": counts.warning, "failed": counts.failed}
    numbers = ", ".join(f"{number} {what}" for what, number in said.items() if number) or "nothing was sent"
    if counts.completed is None and counts.failed is None:
        numbers = "it does not say how many were sent"
    comment = f": {retrieved.comment}" if retrieved.comment else ""
    click.echo(f"{study}: {numbers}; {statuses.meaning(retrieved.status)}{comment}")
    for uid in retrieved.failed:
        say(f"  {uid} was not sent")
    return is_good(retrieved)


def is_good(retrieved: Retrieved) -> bool:
    """Whether something was sent, and all of it arrived: with warnings, too."""
    counts = retrieved.counts
    came = counts.completed is None or counts.completed + (counts.warning or 0) > 0
    warned = statuses.is_warning(retrieved.status) and counts.failed == 0
    return came and not counts.failed and not retrieved.failed and (retrieved.status == 0 or warned)
