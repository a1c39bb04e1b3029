"""move: have a partner send what it has, to us or to another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import click

from dicomnode.cli import by_hand
from dicomnode.cli.opening import Place, pass_place, say
from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom import identifier
from dicomnode.dicom.identifier import INSTANCE, SERIES, STUDY, Identifier
from dicomnode.errors import ContextMissing, PartnerError, Rejected, Unreachable, UsageError
from dicomnode.operations.ports import Waiting
from dicomnode.rules import oneway
from dicomnode.rules.admission import Service, services
from dicomnode.run import premises
from dicomnode.store import index


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
    called, title = by_hand.to_ask(partner, config), destination or config.node.ae_title
    wanted = _wanted(studies, series, instances)
    _check_destination(title, called, config)
    for study in studies:
        place.note("moved by hand", f"{called.name} is asked to send it to {title}", called.name, study)
    good = True
    with by_hand.interruptible() as stopped, by_hand.bar() as bar, _arrivals(place, title, config) as arrived:
        for study, named in zip(studies, wanted, strict=True):
            waiting = Waiting(stopped, by_hand.Told(bar, study), partial(arrived, study))
            try:
                good &= by_hand.report(study, Requestor(config).move(called, named, title, waiting))
            except PartnerError as error:
                began = not isinstance(error, Unreachable | Rejected | ContextMissing)
                unknown = "; how far it came is not known" if began else ""
                raise PartnerError(f"{called.display}: {error}{unknown}") from error
            if stopped():
                break
    sys.exit(0 if good else 1)


def _wanted(studies: Sequence[str], series: Sequence[str], instances: Sequence[str]) -> list[Identifier]:
    """What each C-MOVE names, its unique keys above the level included (PS3.4 C.4.2.2.1)."""
    by_hand.check_uids(*studies, *series, *instances)
    if series and len(studies) > 1:
        raise UsageError("--series is of one study: name one")
    if instances and len(series) != 1:
        raise UsageError("--instance is of one series: name that by --series")
    below = {SERIES: "\\".join(series)} if series else {}
    below |= {INSTANCE: "\\".join(instances)} if instances else {}
    level = ("STUDY", "SERIES", "IMAGE")[len(below)]
    return [identifier.of(level, {STUDY: study} | below) for study in studies]


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
