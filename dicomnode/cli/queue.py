"""queue: what waits for whom, instance by instance; and a person's word on single transfers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from dicomnode.cli import output
from dicomnode.cli.opening import Place, check_partner, pass_place, say, who
from dicomnode.operations.ports import Node
from dicomnode.store import audit, lanes
from dicomnode.store import queue as store
from dicomnode.store.audit import Event


@click.group()
def queue() -> None:
    """The transfers: one instance on its way to one partner."""


@queue.command()
@output.as_json
@pass_place
def shape(place: Place, as_json: bool) -> None:
    """For each partner: how many wait, how long the oldest has, and whether its lane is paused."""
    with place.node() as node, node.database.read():
        rows = [_shape(each) for each in store.shape()]
    columns = ["partner", "queued", "active", "held", "reason", "oldest", "delivered", "paused_until"]
    output.show(rows, as_json=as_json, columns=columns, empty="Nothing was ever queued.")


def _shape(each: store.Shape) -> output.Row:
    return {
        "partner": each.partner,
        "queued": each.queued,
        "active": each.active,
        "held": each.held,
        "delivered": each.delivered,
        "oldest": output.time(each.oldest),
        "paused_until": output.time(each.paused_until),
        "reason": each.reason,
    }


@queue.command("list")
@click.option("--partner", default="", help="Only those to this partner.")
@click.option("--state", type=click.Choice([state.value for state in store.State]), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The first N.")
@output.as_json
@pass_place
def list_(place: Place, partner: str, state: str | None, limit: int, as_json: bool) -> None:
    """Transfers, in the order they were queued."""
    with place.node() as node, node.database.read():
        check_partner(partner, node)
        rows = [_row(each) for each in store.listed(limit, partner=partner, state=state or "")]
    columns = ["transfer", "partner", "state", "reason", "attempts", "last_status", "due_at", "sop_instance_uid"]
    output.show(rows, as_json=as_json, columns=columns, empty="Nothing is queued.")


def _row(each: store.Transfer) -> output.Row:
    return {
        "transfer": each.transfer,
        "sop_instance_uid": each.sop_instance_uid,
        "study_instance_uid": each.study_instance_uid,
        "partner": each.partner,
        "state": each.state,
        "attempts": each.attempts,
        "due_at": output.time(each.due_at),
        "last_status": output.status(each.last_status),
        "reason": each.reason,
    }


_ids = click.argument("ids", nargs=-1, type=int)
_partner = click.option("--partner", default="", help="All that wait for this partner, instead of single ids.")


@queue.command()
@_ids
@_partner
@pass_place
def retry(place: Place, ids: tuple[int, ...], partner: str) -> None:
    """Try now: what waits is due at once, what is held is queued, and a paused lane runs."""
    with place.node() as node:
        chosen = _chosen(node, ids, partner, ("queued", "held"))
        at = node.clock()
        names = {partner} if partner else _partners_of(node, chosen)
        _change(node, "transfers retried", lambda: _retried(chosen, names, at), len(chosen), "due now")


def _retried(ids: Sequence[int], partners: set[str], at: int) -> list[int]:
    for name in partners:
        lanes.unpause(name)
    return store.retry(ids, at)


@queue.command()
@_ids
@_partner
@click.option("--reason", required=True, help="Why: it is shown to whoever asks, and kept in the audit trail.")
@pass_place
def hold(place: Place, ids: tuple[int, ...], partner: str, reason: str) -> None:
    """Hold transfers that wait, until they are released."""
    with place.node() as node:
        chosen = _chosen(node, ids, partner, ("queued",))
        _change(node, f"transfers held: {reason}", lambda: store.hold(chosen, reason), len(chosen), "held")


@queue.command()
@_ids
@_partner
@pass_place
def release(place: Place, ids: tuple[int, ...], partner: str) -> None:
    """Queue held transfers again, due now."""
    with place.node() as node:
        chosen = _chosen(node, ids, partner, ("held",))
        at = node.clock()
        _change(node, "transfers released", lambda: store.release(chosen, at), len(chosen), "queued")


def _chosen(node: Node, ids: Sequence[int], partner: str, states: Sequence[str]) -> list[int]:
    """The transfers that a command is about: those named, or all of a partner's in these states."""
    if bool(ids) == bool(partner):
        raise click.UsageError("name transfers by their ids, or all of one partner with --partner (not both)")
    if ids:
        return list(ids)
    with node.database.read():
        check_partner(partner, node)
        return [each.transfer for state in states for each in store.listed(10_000_000, partner=partner, state=state)]


def _partners_of(node: Node, ids: Sequence[int]) -> set[str]:
    with node.database.read():
        return store.partners_of(ids)


def _change(node: Node, what: str, change: Callable[[], list[int]], asked: int, word: str) -> None:
    at = node.clock()

    def changed() -> list[int]:
        done = change()
        audit.record(Event(at, "queue changed", f"{who()}: {what} {done}", generation=node.generation))
        return done

    done = node.database.write(changed) if asked else []
    click.echo(f"{len(done)} of {asked} transfer(s) {word}")
    if len(done) < asked:
        say("the others were in a state in which this cannot be done: see `dicomnode queue list`")
        raise SystemExit(1)
