"""status: how the node does, on one screen, and what needs a person. Exit code 1 where something does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click

from dicomnode.cli import lane, output
from dicomnode.cli.opening import Place, pass_place
from dicomnode.cli.output import count
from dicomnode.errors import DicomnodeError
from dicomnode.operations import outbox, papers
from dicomnode.operations.outbox import Backlog
from dicomnode.operations.ports import Node
from dicomnode.rules import space as rules
from dicomnode.rules.space import Room, amount
from dicomnode.run import premises
from dicomnode.store import audit, damaged, generations, lanes, overview, space
from dicomnode.store.generations import Generation
from dicomnode.store.lanes import Pause
from dicomnode.store.overview import Waiting
from dicomnode.store.space import Kept

_DAY = 86400.0
_HOUR = 3_600_000_000
_SHOWN = 5
"""Alarms on the screen; the audit trail has them all."""


@dataclass(frozen=True, slots=True)
class Status:
    """All of it, as of `at` (µs). `serving`: process and generation of the node that runs."""

    at: int
    serving: tuple[int, int] | None
    read: Generation | None
    """The configuration that was read last, whether or not it was taken into use."""
    index: str
    """What is wrong with the index; '' where nothing is."""
    room: Room
    free: int
    intake: float
    """Bytes a second, over the last day."""
    lasts: float | None
    """Seconds until instances are refused, if that goes on."""
    kept: Kept
    waiting: tuple[tuple[Waiting, Pause], ...]
    referrals: dict[str, int]
    doubtful: int
    damaged: int
    unwritable: str
    """What is wrong with the disk, where it has failed within the last day and does so still; '' where nothing is."""
    owed: int
    """Referrals whose partner owes the commitment result that it promised, and has not proven them otherwise."""
    untold: tuple[str, ...]
    """Partners that could not be told the last commitment result that they asked for."""
    unsent: Backlog | None
    """What the collector of audit messages has not read; None where none is configured."""
    alarms: list[tuple[int, str, str]]
    """Those of the last day, the newest first: what has happened, whether or not it has been dealt with."""


@click.command()
@output.as_json
@pass_place
def status(place: Place, as_json: bool) -> None:
    """Show how the node does, and what needs a person.

    The exit code is 1 where something does. An alarm of the last day is shown, and no more than that once what it was
    about is over.
    """
    with place.node(remark=False) as node:
        found = _look(node)
        needs = list(_needs(found, node))
        if as_json:
            output.show([_row(found, needs, node)], as_json=True, empty="")
        else:
            _print(found, needs, node)
    if needs:
        raise SystemExit(1)


def _look(node: Node) -> Status:
    at, marks, free = node.clock(), node.config.node.watermarks, node.archive.volume.free()
    destinations = [partner.name for partner in node.config.partners.values() if partner.is_destination]
    asking = [partner for partner in node.config.partners.values() if "commit" in partner.may]
    yesterday = at - round(_DAY * 1e6)
    with node.database.read():
        alarms = audit.alarms(yesterday)
    unwritable = _unwritable(node) if any(kind == "disk failed" for _, kind, _ in alarms) else ""
    with node.database.read():
        intake = space.intake(at, _DAY)
        return Status(
            at=at,
            serving=premises.running(node.config.node.data),
            read=generations.latest(),
            index=damaged.reason(node.database.path),
            room=rules.room(marks, free),
            free=free,
            intake=intake,
            lasts=rules.lasts(marks, free, intake),
            kept=space.kept(),
            waiting=tuple((overview.waiting(name), lanes.paused(name)) for name in destinations),
            referrals=overview.referrals(),
            doubtful=overview.doubtful(),
            damaged=overview.damaged(),
            unwritable=unwritable,
            owed=overview.owed(yesterday),
            untold=tuple(each.name for each in asking if overview.is_untold(each.name)),
            unsent=outbox.backlog() if node.config.node.audit else None,
            alarms=alarms,
        )


def _unwritable(node: Node) -> str:
    """What is wrong with the disk now; a full one is told otherwise."""
    try:
        node.archive.volume.probe()
    except DicomnodeError as error:
        return str(error)
    return ""


# -- what needs a person ---------------------------------------------------------------------------------------


def _needs(found: Status, node: Node) -> Iterator[str]:
    """Sentences about what is so now, the worst first, each with what to do. What only was so needs nobody."""
    if found.index:
        yield f"the index is damaged ({found.index}): stop the node, and run `dicomnode reindex`"
    if found.serving is None:
        yield "the node is not running: nothing is received or sent. `dicomnode serve` starts it"
    yield from _of_the_disk(found)
    yield from papers.needs(node.config, found.at)
    for each, pause in found.waiting:
        yield from _of_a_partner(each, pause, found.at, node)
    for state in ("held", "quarantined", "recalling"):
        if number := found.referrals.get(state, 0):
            yield f"{count(number, 'referral')} {state}: `dicomnode referrals list` says why"
    if found.owed:
        owed = f"{count(found.owed, 'referral')} sent, and the result of the commitment has not come"
        yield f"{owed}: `dicomnode referrals list`, and call the partner's admin"
    for name in found.untold:
        yield f"{name} could not be told a commitment result: `dicomnode partners echo {name}`, and let it ask again"
    if found.doubtful:
        yield f"{count(found.doubtful, 'study', 'studies')} in doubt: `dicomnode quarantine list`"
    if found.damaged:
        yield f"{count(found.damaged, 'file')} damaged: `dicomnode doctor`, and have their studies sent again"
    if found.unsent and found.unsent.failing_since:
        since = rules.span((found.at - found.unsent.failing_since) / 1e6)
        waiting = f"{count(found.unsent.entries, 'audit message')} not at the collector"
        yield f"{waiting}, which has taken none for {since}: see the node's log, or call its admin"
    if found.read and not found.read.accepted:
        when = output.time(found.read.at)
        yield f"the configuration read at {when} has faults, and the one before is in force: `dicomnode check`"


def _of_the_disk(found: Status) -> Iterator[str]:
    free = amount(found.free)
    if found.unwritable:
        yield f"the disk fails: {found.unwritable}"
    if found.room is Room.NONE:
        yield f"the disk is full ({free} free): every C-STORE is refused. Make room, or set node.retention"
    elif found.room is Room.SCARCE:
        yield f"the disk is low ({free} free): who wants to store is sent away. Make room, or set node.retention"
    elif found.lasts is not None and found.lasts < _DAY:
        yield f"the disk will be full in about {rules.span(found.lasts)}: make room, or set node.retention"


def _of_a_partner(each: Waiting, pause: Pause, at: int, node: Node) -> Iterator[str]:
    name = each.partner
    if each.held:
        held = f"{count(each.held, 'instance')} for {name} held"
        yield f"{held}: `dicomnode queue list --partner {name} --state held`"
    if each.hold:
        yield f"the lane of {name} is held ({each.hold}): {lane.advice(name, pause, node)}"
    elif each.failing_since and (each.rejects or at - each.failing_since > _HOUR):
        since = rules.span((at - each.failing_since) / 1e6)
        yield f"{name} has failed for {since} ({each.reason}): `dicomnode partners echo {name}`, or call its admin"


# -- the screen ------------------------------------------------------------------------------------------------


def _print(found: Status, needs: list[str], node: Node) -> None:
    screen, kept = output.console(), found.kept
    running = "as it was left"
    if found.serving:
        running = f"is running (process {found.serving[0]}, generation {found.serving[1]})"
    day = f"{amount(found.intake * _DAY)} came in the last day: {rules.forecast(found.lasts)}"
    states = ", ".join(f"{number} {state}" for state, number in found.referrals.items()) or "none"
    screen.print(f"{node.config.node.ae_title} {running}", style="bold")
    screen.print(f"disk       {amount(found.free)} free; {day}")
    counts = f"{count(kept.studies, 'study', 'studies')}, {count(kept.instances, 'instance')}"
    screen.print(f"kept       {counts}, {amount(kept.bytes)}")
    screen.print(f"referrals  {states}")
    if found.unsent:
        screen.print(f"audit      {count(found.unsent.entries, 'message')} to be sent to the collector")
    rows = [_waiting(each, pause, node) for each, pause in found.waiting]
    columns = ["partner", "lane", "queued", "active", "held", "reason", "oldest"]
    output.show(rows, as_json=False, columns=columns, empty="")
    for at, kind, text in found.alarms[:_SHOWN]:
        screen.print(f"alarm      {(output.time(at) or '')[:16].replace('T', ' ')} {kind}: {text}")
    if found.alarms:
        screen.print("           `dicomnode audit list --alarms` has all; what is so still is said below")
    screen.print("Nothing needs a person." if not needs else "Needs a person:", style="bold")
    for each in needs:
        screen.print(f"  - {each}")


def _waiting(each: Waiting, pause: Pause, node: Node) -> output.Row:
    return {
        "partner": each.partner,
        "lane": lane.words(each.partner, pause, node),
        "queued": each.queued,
        "active": each.active,
        "held": each.held,
        "oldest": output.time(each.oldest),
        "paused_until": output.time(each.paused_until),
        "failing_since": output.time(each.failing_since),
        "reason": lane.why(pause),
    }


def _row(found: Status, needs: list[str], node: Node) -> output.Row:
    return {
        "ae_title": node.config.node.ae_title,
        "running": found.serving is not None,
        "process": found.serving[0] if found.serving else None,
        "generation": node.generation,
        "configuration_faults": found.read.faults.splitlines() if found.read else [],
        "free": found.free,
        "room": found.room.name.lower(),
        "intake_per_day": round(found.intake * _DAY),
        "full_in_seconds": None if found.lasts is None else round(found.lasts),
        "studies": found.kept.studies,
        "instances": found.kept.instances,
        "bytes": found.kept.bytes,
        "queue": [_waiting(each, pause, node) for each, pause in found.waiting],
        "referrals": found.referrals,
        "doubtful": found.doubtful,
        "damaged": found.damaged,
        "index": found.index,
        "disk_fails": found.unwritable,
        "commitments_owed": found.owed,
        "commitments_untold": found.untold,
        "audit_unsent": found.unsent.entries if found.unsent else None,
        "alarms": [{"at": output.time(at), "event": kind, "text": text} for at, kind, text in found.alarms],
        "needs": needs,
    }
