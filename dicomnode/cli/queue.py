"""queue: what waits for whom, instance by instance; and a person's word on single transfers, or on a partner's lane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import click

from dicomnode.cli import lane, output
from dicomnode.cli.opening import Place, check_partner, pass_place, say, who
from dicomnode.operations import refer
from dicomnode.operations.ports import Node
from dicomnode.store import audit, lanes, ledger
from dicomnode.store import queue as store
from dicomnode.store.audit import Event
from dicomnode.store.queue import Hold

_AT_ONCE = 5000
"""Transfers that are changed in one commit."""
_FEW = 20
"""The most referrals that are told, each in its own timeline, what a person did."""


@click.group()
def queue() -> None:
    """The transfers: one instance on its way to one partner."""


@queue.command()
@output.as_json
@pass_place
def shape(place: Place, as_json: bool) -> None:
    """Show how much waits for each partner.

    How long the oldest has waited, too, and what the lane waits for.
    """
    with place.node() as node, node.database.read():
        rows = [_shape(each, node) for each in ledger.shape()]
    columns = ["partner", "lane", "queued", "active", "held", "reason", "oldest", "delivered"]
    output.show(rows, as_json=as_json, columns=columns, empty="Nothing was ever queued.")


def _shape(each: ledger.Shape, node: Node) -> output.Row:
    pause = lanes.paused(each.partner)
    return {
        "partner": each.partner,
        "queued": each.queued,
        "active": each.active,
        "held": each.held,
        "delivered": each.delivered,
        "oldest": output.time(each.oldest),
        "paused_until": output.time(pause.until),
        "reason": lane.why(pause),
        "lane": lane.words(each.partner, pause, node),
        "opens_at": output.time(lane.opens_at(each.partner, node)),
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
        rows = [_row(each) for each in ledger.listed(limit, partner=partner, state=state or "")]
    empty = "No such transfers." if partner or state else "Nothing is queued."
    columns = ["transfer", "partner", "state", "reason", "attempts", "last_status", "due_at", "sop_instance_uid"]
    output.show(rows, as_json=as_json, columns=columns, empty=empty)


def _row(each: ledger.Transfer) -> output.Row:
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
_reason = click.option("--reason", required=True, help="Why: it is shown to whoever asks, and kept in the audit trail.")


@queue.command()
@_ids
@_partner
@pass_place
def retry(place: Place, ids: tuple[int, ...], partner: str) -> None:
    """Try now what waits, or what the node holds.

    What waits is due at once, what the node holds is queued, and a paused lane runs. What was dropped is queued again
    where its id is given. What a person holds stays held: that is for `release`.
    """
    with place.node() as node:
        at = node.clock()
        chosen = _chosen(node, ids, partner, ("queued", "held"))
        names = {partner} if partner else _partners_of(node, chosen)

        def retried(some: Sequence[int]) -> list[int]:
            for name in names:
                lanes.unpause(name, at)
            return store.retry(some, at)

        done = _change(node, "transfers retried", retried, chosen)
        _tell(node, done, chosen, "due now", partner)


@queue.command()
@_ids
@_partner
@_reason
@pass_place
def hold(place: Place, ids: tuple[int, ...], partner: str, reason: str) -> None:
    """Hold transfers that wait, or the lane of a partner.

    Of a lane, all that comes later too; until they are released.
    """
    why = f"held by {who()}: {reason}"
    with place.node() as node:
        if _one_of(node, ids, partner):
            _hold_lane(node, partner, why)
            return
        done = _change(node, f"transfers held: {reason}", lambda some: _settled(store.hold(some, why), node), ids)
        _count(done, ids, "held")


def _hold_lane(node: Node, partner: str, why: str) -> None:
    if not _lane_change(node, partner, f"the lane of {partner} is {why}", lambda: lanes.hold(partner, why)):
        say(f"the lane of {partner} is held already: see `dicomnode queue shape`")
        raise SystemExit(1)
    click.echo(f"the lane of {partner} is held: nothing goes there until `dicomnode queue release --partner {partner}`")


@queue.command()
@_ids
@_partner
@pass_place
def release(place: Place, ids: tuple[int, ...], partner: str) -> None:
    """Queue transfers that are held, due now.

    By their ids, whoever holds them. With --partner, its lane runs, and what the node holds is queued; but neither what
    a person holds by its id, nor what has a damaged file: that is queued when its source sends it again, or by its id.
    """
    with place.node() as node:
        at = node.clock()
        if not _one_of(node, ids, partner):
            done = _change(node, "transfers released", lambda some: store.release(some, at), ids)
            _tell(node, done, ids, "queued")
            return
        text = f"the lane of {partner} is released by {who()}"
        if _lane_change(node, partner, text, lambda: lanes.release(partner, at)):
            click.echo(f"the lane of {partner} runs")
        chosen = _chosen(node, ids, partner, ("held",))
        done = _change(node, "transfers released", lambda some: store.release(some, at), chosen)
        _tell(node, done, chosen, "queued", partner)


@queue.command()
@_ids
@_partner
@_reason
@pass_place
def drop(place: Place, ids: tuple[int, ...], partner: str, reason: str) -> None:
    """Take transfers out of the queue: they are not sent.

    Those that wait or are held.
    """
    with place.node() as node:
        at, why = node.clock(), f"dropped by {who()}: {reason}"
        chosen = _chosen(node, ids, partner, ("queued", "held"))

        def dropped(some: Sequence[int]) -> list[int]:
            return _settled(store.drop(some, why, at), node)

        done = _change(node, f"transfers dropped: {reason}", dropped, chosen)
        _count(done, chosen, "dropped")


def _settled(done: list[int], node: Node) -> list[int]:
    """See whether the referrals of these have nothing more to send."""
    for referral in store.referrals_of(done):
        refer.settle(referral, node.clock(), node)
    return done


# -- what a command is about, and what came of it --------------------------------------------------------------


def _one_of(node: Node, ids: Sequence[int], partner: str) -> bool:
    """Whether a command is about a partner, and not about transfers by their ids."""
    if bool(ids) == bool(partner):
        raise click.UsageError("name transfers by their ids, or all of one partner with --partner (not both)")
    with node.database.read():
        check_partner(partner, node)
    return bool(partner)


def _chosen(node: Node, ids: Sequence[int], partner: str, states: Sequence[str]) -> Sequence[int]:
    """The transfers that a command is about: those named, or all of a partner's in these states but a person's own."""
    if not _one_of(node, ids, partner):
        return ids
    with node.database.read():
        return ledger.waiting(partner, states)


def _partners_of(node: Node, ids: Sequence[int]) -> set[str]:
    with node.database.read():
        return ledger.partners_of(ids)


def _change(node: Node, what: str, change: Callable[[Sequence[int]], list[int]], ids: Sequence[int]) -> list[int]:
    """Do it in commits of so many that others can write in between; the ids of those that it was done to."""
    return [i for at in range(0, len(ids), _AT_ONCE) for i in _changed(node, what, change, ids[at : at + _AT_ONCE])]


def _changed(node: Node, what: str, change: Callable[[Sequence[int]], list[int]], ids: Sequence[int]) -> list[int]:
    at = node.clock()

    def changed() -> list[int]:
        done = change(ids)
        if done:
            _record("queue changed", f"{who()}: {what}", ledger.by_referral(done), at, node)
        return done

    return node.database.write(changed)


def _lane_change(node: Node, partner: str, text: str, change: Callable[[], bool]) -> bool:
    at = node.clock()

    def changed() -> bool:
        done = change()
        if done:
            audit.record(Event(at, "lane changed", text, partner, generation=node.generation, who=who()))
            concerned = ledger.under_way(partner, _FEW + 1)
            for referral in concerned if len(concerned) <= _FEW else ():
                refer.record(referral, "lane changed", text, at, node, who=who())
        return done

    return node.database.write(changed)


def _record(kind: str, text: str, done: dict[int, list[int]], at: int, node: Node) -> None:
    """Write down what was done to which transfers of which referrals: for each of them, where they are few."""
    if len(done) > _FEW:
        every = [transfer for some in done.values() for transfer in some]
        audit.record(Event(at, kind, f"{text} {_some(every)}", generation=node.generation, who=who()))
        return
    for referral, some in done.items():
        refer.record(referral, kind, f"{text} {_some(some)}", at, node, who=who())


def _some(done: Sequence[int]) -> str:
    return ", ".join(map(str, done[:20])) + (f" and {len(done) - 20} more" if len(done) > 20 else "")


def _tell(node: Node, done: Sequence[int], asked: Sequence[int], word: str, partner: str = "") -> None:
    """What was done, and what keeps it from going all the same."""
    with node.database.read():
        held = ledger.waiting(partner, ("held",), Hold.PERSON) if partner else ledger.held_by_persons(asked)
        lanes_ = [_lane_waits(name, node) for name in sorted({partner} if partner else ledger.partners_of(asked))]
        obstacles = [*_closed(done), *_held(held), *chain.from_iterable(lanes_)]
    for obstacle in obstacles:
        say(obstacle)
    _count(done, asked, word)


def _closed(done: Sequence[int]) -> list[str]:
    stopped = "of these stay where they are, because referral"
    return [f"{each.transfers} {stopped} {each.referral} is {each.gate}: {each.reason}" for each in ledger.closed(done)]


def _held(held: Sequence[int]) -> list[str]:
    advice = "`dicomnode queue release` with their ids lets them go"
    return [f"held by a person and still so: transfer {_some(held)}; {advice}"] if held else []


def _lane_waits(partner: str, node: Node) -> list[str]:
    pause, opens_at = lanes.paused(partner), lane.opens_at(partner, node)
    advice = lane.advice(partner, pause, node)
    held = [f"nothing goes to {partner} yet: its lane is {pause.hold}; {advice}"] if pause.hold else []
    return held + ([f"nothing goes to {partner} before {output.moment(opens_at)} UTC: its window"] if opens_at else [])


def _count(done: Sequence[int], asked: Sequence[int], word: str) -> None:
    click.echo(f"{len(done)} of {output.count(len(asked), 'transfer')} {word}")
    if len(done) < len(asked):
        say("the others were in a state in which this cannot be done: see `dicomnode queue list`")
        raise SystemExit(1)
