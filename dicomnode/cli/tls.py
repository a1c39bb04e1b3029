"""tls: an authority of one's own, and what it has vouched for. What is printed is YAML: the lines to have.

A folder holds the authority, the node's certificate, and a folder for each partner, which is carried to it by hand.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.cli.opening import Place, pass_place, say
from dicomnode.config import units
from dicomnode.errors import UsageError

if TYPE_CHECKING:
    from dicomnode.config.authority import Authority, Issued

_folder = click.option(
    *("--folder", "folder"),
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("tls"),
    show_default=True,
    metavar="DIR",
    help="Where all of it is.",
)


@click.group()
def tls() -> None:
    """Certificates, where nobody else gives any out."""


@tls.command()
@_folder
@click.option("--name", "names", multiple=True, metavar="HOST", help="How partners call this node; default: its names.")
@click.option("--partner", "partners", multiple=True, metavar="NAME[=HOST]", help="Whom to make a certificate for.")
@pass_place
def init(place: Place, folder: Path, names: Sequence[str], partners: Sequence[str]) -> None:
    """Make an authority, and certificates for all.

    For the node and for each partner; and a list of the revoked, which is empty. Prints the lines for the
    configuration. Nothing is overwritten.
    """
    from dicomnode.config.authority import Authority  # loads slowly: only who makes certificates pays

    called = [_partner(each) for each in partners]
    hosts = [_host(each) for each in names] or _ours()
    if taken := [each for each in ("ca.pem", "ca.key", "ca.crl", "node.pem", "node.key") if (folder / each).exists()]:
        raise UsageError(f"there is {folder / taken[0]} already, and it is never overwritten: choose another folder")
    authority = Authority.make(folder)
    node = authority.issue(folder, "node", hosts)
    click.echo(_of_the_node(node, authority, hosts, place.path.parent))
    _print_partners(authority, folder, called)
    say(f"Who has {authority.key} can make themselves anybody: keep it off this machine, and put it back to add one.")


@tls.command()
@_folder
@click.argument("names", nargs=-1, required=True, metavar="NAME[=HOST]...")
def partner(folder: Path, names: Sequence[str]) -> None:
    """Make certificates for further partners."""
    from dicomnode.config.authority import Authority

    called = [_partner(each) for each in names]
    _print_partners(Authority.of(folder), folder, called)


@tls.command()
@_folder
@click.argument(
    "certificates",
    nargs=-1,
    metavar="[CERTIFICATE]...",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
)
def revoke(folder: Path, certificates: Sequence[Path]) -> None:
    """Put certificates on the list of the revoked.

    Without any, the list is made anew, so that it is good for another year. A node that has it takes it within seconds.
    """
    from dicomnode.config.authority import Authority

    authority = Authority.of(folder)
    authority.revoke(certificates)
    click.echo(f"{authority.crl} is new, and good for a year")


def _partner(text: str) -> tuple[str, str]:
    """A partner's name, and the host that we call it by: its name, where it is only a caller."""
    name, _, host = text.partition("=")
    try:
        return units.name(name), _host(host or name.lower().replace("_", "-"))
    except ValueError as error:
        raise UsageError(f"--partner {text}: {error}") from error


def _host(text: str) -> str:
    try:
        return units.host(text)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _ours() -> list[str]:
    return list(dict.fromkeys((socket.getfqdn(), socket.gethostname(), "localhost", "127.0.0.1")))


def _of_the_node(node: Issued, authority: Authority, hosts: Sequence[str], base: Path) -> str:
    files = {"certificate": node.certificate, "key": node.key, "ca": authority.certificate, "crl": authority.crl}
    lines = [f"    {key}: {os.path.relpath(path, base)}" for key, path in files.items()]
    head = f"# partners call this node as {' or '.join(hosts)}"
    return "\n".join((head, "node:", "  tls:", "    bind: 0.0.0.0:2762", *lines))


def _print_partners(authority: Authority, folder: Path, partners: Sequence[tuple[str, str]]) -> None:
    if partners:
        click.echo("partners:")
    for name, host in partners:
        issued = authority.issue(folder / name, name, (host,))
        click.echo(f"  # give it {issued.key.parent}/, by hand; it is {host}")
        click.echo(f"  {name}: {{tls: {{spki: {issued.spki}}}}}")
