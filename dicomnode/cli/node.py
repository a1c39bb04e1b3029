"""serve, check, reload: the node as a whole."""

from __future__ import annotations

import os
import signal
import time

import click

from dicomnode.cli import proof
from dicomnode.cli.opening import Place, pass_place, say
from dicomnode.cli.output import count
from dicomnode.config import load, units
from dicomnode.errors import DicomnodeError, UsageError
from dicomnode.operations import configure
from dicomnode.run import premises
from dicomnode.store import generations
from dicomnode.store.generations import Generation

_PATIENCE = 60.0


@click.command()
@pass_place
def serve(place: Place) -> None:
    """Run the node until SIGTERM or Ctrl-C.

    It takes custody of what its partners send, answers queries, and forwards referred studies. SIGTERM drains: open
    associations may finish. SIGHUP (or `dicomnode reload`) takes a changed configuration into use.
    """
    from dicomnode.run.supervisor import Supervisor  # with all that a node is: no other command waits for that

    Supervisor(place.path.resolve()).run()


@click.command()
@click.option("--proof", "proven", is_flag=True, help="Who can obtain whose studies, by which service and line.")
@click.option("--json", "as_json", is_flag=True, help="With --proof: one JSON object instead of a table.")
@pass_place
def check(place: Place, proven: bool, as_json: bool) -> None:
    """Say what the configuration means, or name its faults.

    In plain sentences; or every fault, with its line.
    """
    if as_json and not proven:
        raise UsageError("--json goes with --proof")
    text = load.text_of(place.path)
    config = configure.check(text, place.path)
    if proven:
        proof.show(config, text, as_json=as_json)
        return
    for heading, sentences in configure.sentences(config):
        click.secho(heading, bold=True)
        for sentence in sentences:
            click.echo(f"  {sentence}")
    for warning in configure.warnings(config):
        click.echo(f"warning: {warning}")
    exposed = configure.exposed(config, text)
    if exposed and not all(units.is_loopback(host) for host, _ in config.node.binds.values()):
        click.echo(f"warning: {count(len(exposed), 'line')} could let one site pose as another: see `check --proof`")
    click.echo(f"{place.path} is sound.")


@click.command()
@pass_place
def reload(place: Place) -> None:
    """Take a changed configuration into use.

    Whole; or the one in force is kept, and it is said why.
    """
    data = place.data()
    serving = premises.running(data)
    if not serving:
        moved = "if you have changed node.data, that needs a restart"
        raise UsageError(f"no node is running on {data}: start it with `dicomnode serve`, or {moved}")
    pid, before = serving
    if not before:
        raise DicomnodeError(f"the node on {data} is still starting: try again in a moment")
    with place.node() as node:
        with node.database.read():
            last = generations.latest()
        os.kill(pid, signal.SIGHUP)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            serving = premises.running(data)
            with node.database.read():
                read = generations.latest()
            if serving and serving[1] > before:
                click.echo(f"generation {serving[1]} is in force")
                return
            if read and not read.accepted and (last is None or read.id > last.id):
                _refused(read)
            time.sleep(0.05)
    raise DicomnodeError(f"the node (process {pid}) did not take it into use within {_PATIENCE:g} seconds: see its log")


def _refused(generation: Generation) -> None:
    say("the configuration in force stays:")
    for fault in generation.faults.splitlines():
        say(f"  {fault}")
    raise SystemExit(2)
