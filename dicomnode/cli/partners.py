"""partners: who they are, whether they answer, and who was turned away at the door."""

from __future__ import annotations

import difflib
import json
import re

import click

from dicomnode.cli import lane, output
from dicomnode.cli.by_hand import to_call
from dicomnode.cli.opening import Place, pass_place
from dicomnode.config.model import NodeConfig, Partner
from dicomnode.errors import PartnerError
from dicomnode.operations.ports import Node
from dicomnode.rules import oneway
from dicomnode.rules.admission import STRANGE
from dicomnode.store import audit, lanes
from dicomnode.store.audit import Refused


@click.group()
def partners() -> None:
    """The AEs that this node knows."""


@partners.command("list")
@output.as_json
@pass_place
def list_(place: Place, as_json: bool) -> None:
    """List every partner, and what it may do.

    Where it is, too, and what its lane waits for.
    """
    with place.node() as node, node.database.read():
        rows = [_row(partner, lanes.paused(partner.name), node) for partner in node.config.partners.values()]
    columns = ["partner", "site", "may", "lane", "called_at", "reason", "ae_title", "address"]
    output.show(rows, as_json=as_json, columns=columns, empty="No partners are configured.")


def _row(partner: Partner, pause: lanes.Pause, node: Node) -> output.Row:
    return {
        "partner": partner.name,
        "site": partner.site,
        "sector": node.config.sector_of(partner),
        "ae_title": partner.ae_title,
        "address": partner.addresses,
        "called_at": partner.display if partner.is_destination else "",
        "may": tuple(sorted(partner.may)),
        "lane": lane.words(partner.name, pause, node),
        "reason": lane.why(pause),
    }


@partners.command()
@click.argument("name")
@pass_place
def echo(place: Place, name: str) -> None:
    """C-ECHO a partner, as the forwarder would call it."""
    from dicomnode.net.requestor import Requestor  # the network's libraries load slowly: only who calls pays

    config = place.current()
    partner = to_call(name, config)
    try:
        Requestor(config).echo(partner)
    except PartnerError as error:
        raise PartnerError(f"{partner.display}: {error}. {_advice(partner)}") from error
    click.echo(f"{partner.display} answers")


def _advice(partner: Partner) -> str:
    return f"Check its host and port, that it knows our AE title, and that it answers to {partner.ae_title}."


@partners.command()
@output.as_json
@pass_place
def refused(place: Place, as_json: bool) -> None:
    """List who was turned away, and why.

    With the YAML that would admit them.
    """
    with place.node() as node, node.database.read():
        found = audit.refusals()
        config = node.config
    rows = [_refused_row(each) | {"yaml": _admission(each, config)} for each in found]
    columns = ["calling_ae_title", "called_ae_title", "address", "why", "times", "last_at"]
    output.show(rows, as_json=as_json, columns=columns, empty="Nobody was turned away.")
    if not as_json:
        for advice in dict.fromkeys(row["yaml"] for row in rows if row["yaml"]):
            click.echo(f"\n{advice}")


def _refused_row(each: Refused) -> output.Row:
    return {
        "calling_ae_title": each.calling_ae_title,
        "called_ae_title": each.called_ae_title,
        "address": each.address,
        "why": each.why,
        "spki": each.spki,
        "times": each.times,
        "first_at": output.time(each.first_at),
        "last_at": output.time(each.last_at),
    }


def _admission(each: Refused, config: NodeConfig) -> str:
    """The lines of YAML that would admit a caller, if it should be admitted."""
    if each.why == "unknown called AE title":
        titles = ", ".join(map(_scalar, (*config.node.aliases, each.called_ae_title)))
        near = difflib.get_close_matches(each.called_ae_title.upper(), config.node.titles, 1)
        head = f"# {each.calling_ae_title} may mean {near[0]}: then correct the device. " if near else "# "
        return f"{head}To answer to {each.called_ae_title}, have this under your node:\nnode:\n  aliases: [{titles}]"
    if each.why == "unknown calling AE title":
        name = re.sub(r"[^A-Za-z0-9_-]", "_", each.calling_ae_title).lstrip("-") or "NAME"
        sites = [site for site in config.sites if oneway.may_give(config, site)] or ["SITE"]
        caller = f"ae_title: {_scalar(each.calling_ae_title)}, address: {_scalar(each.address)}"
        caller += f", tls: {{spki: {each.spki}}}" if each.spki else ""
        keys = f"site: {sites[0]}, {caller}, may: [store]"
        head = f"# to admit {each.calling_ae_title}, if it is of {' or '.join(sites)}, add this line to your partners:"
        return f"{head}\npartners:\n  {_scalar(name)}: {{{keys}}}"
    known = [p for p in config.partners.values() if p.ae_title == each.calling_ae_title and p.may]
    if each.why == "address not allowed":
        return "\n".join(_moved(partner, each) for partner in known)
    if each.why == STRANGE:
        return "\n".join(_renewed(partner, each) for partner in known if partner.certificate)
    return ""


def _moved(partner: Partner, each: Refused) -> str:
    """The partner's addresses, with one more."""
    addresses = ", ".join((*partner.addresses, each.address))
    head = f"# if {partner.name} calls from there too, these are its addresses:"
    return f"{head}\npartners:\n  {partner.name}: {{address: [{addresses}]}}"


def _renewed(partner: Partner, each: Refused) -> str:
    """The partner's keys, with one more."""
    keys = ", ".join((*(partner.certificate.spki if partner.certificate else ()), each.spki))
    head = f"# if that is {partner.name}'s own certificate, as its admin tells you by telephone, this is its tls:"
    return f"{head}\npartners:\n  {partner.name}: {{tls: {{spki: [{keys}]}}}}"


def _scalar(text: str) -> str:
    """A text as YAML that is read as that text: a stranger's AE title may be anything that can be printed."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", text) and text.lower() not in _WORDS
    return text if plain else json.dumps(text)


_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "null"))
"""What YAML takes for something else than text."""
