"""referrals: where each referred study is, and why; and a person's word on whether it may go."""

from __future__ import annotations

import click

from dicomnode.cli import output
from dicomnode.cli.opening import Place, check_partner, pass_place, say, who
from dicomnode.errors import UsageError
from dicomnode.operations import refer
from dicomnode.rules import outcome
from dicomnode.store import audit, queue
from dicomnode.store import referrals as store
from dicomnode.store.referrals import Referral


@click.group()
def referrals() -> None:
    """Studies on their way to partners."""


@referrals.command("list")
@click.option("--partner", default="", help="Only those to this partner.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The newest N.")
@output.with_phi
@output.as_json
@pass_place
def list_(place: Place, partner: str, limit: int, phi: bool, as_json: bool) -> None:
    """Referrals, the newest first: how far each is, and what stops it."""
    with place.node() as node, node.database.read():
        check_partner(partner, node)
        rows = [_row(referral, phi) for referral in store.listed(limit, partner=partner)]
    columns = ["referral", "partner", "state", "delivered", "instances", "reason", "patient_id", "site", "opened_at"]
    columns.append("study_instance_uid")
    output.show(rows, as_json=as_json, columns=columns, empty="No study has been referred to anybody yet.")


def _row(referral: Referral, phi: bool) -> output.Row:
    row = {
        "referral": referral.id,
        "study_instance_uid": referral.study_instance_uid,
        "patient_id": referral.patient_id,
        "site": referral.site,
        "partner": referral.partner,
        "state": referral.state,
        "progress": referral.progress,
        "gate": referral.gate,
        "reason": referral.reason,
        "instances": referral.instances,
        "delivered": referral.delivered,
        "confirmed": 0,
        "proof": referral.proof,
        "opened_at": output.time(referral.opened_at),
        "confirmed_at": output.time(referral.confirmed_at),
        "route": referral.route,
        "held": referral.held,
        "generation": referral.generation,
    }
    return output.masked(row, phi)


@referrals.command()
@click.argument("referral", type=int)
@output.with_phi
@output.as_json
@pass_place
def show(place: Place, referral: int, phi: bool, as_json: bool) -> None:
    """The timeline of one referral: what happened, when, and what came of every transfer."""
    with place.node() as node, node.database.read():
        found = store.get(referral)
        if found is None:
            raise UsageError(f"there is no referral {referral}; `dicomnode referrals list` shows those there are")
        events = [_event(event) for event in audit.events(1000, referral=referral)]
        transfers = [_transfer(each) for each in queue.listed(1_000_000, referral=referral)]
    if as_json:
        output.show([_row(found, phi) | {"events": events, "transfers": transfers}], as_json=True, empty="")
        return
    click.echo(f"Referral {found.id} of study {found.study_instance_uid}")
    click.echo(f"from {found.site} to {found.partner} by {found.route}: {found.state}, {_counts(found)}")
    if found.reason:
        click.echo(f"because {found.reason}")
    click.echo()
    output.show(events, as_json=False, columns=["at", "event", "text"], empty="Nothing has happened yet.")
    unusual = [each for each in transfers if each["state"] != queue.State.DELIVERED or each["last_status"] != "0000"]
    if unusual:
        click.echo()
        columns = ["transfer", "state", "reason", "attempts", "last_status", "due_at", "sop_instance_uid"]
        output.show(unusual, as_json=False, columns=columns, empty="", title="Transfers that are not simply delivered")


def _counts(found: Referral) -> str:
    others = [f"{count} {word}" for count, word in ((found.held, "held"), (found.dropped, "dropped")) if count]
    return ", ".join([f"{found.delivered} of {found.instances} delivered", *others])


def _event(event: audit.Event) -> output.Row:
    return {"at": output.time(event.at), "event": event.kind, "text": event.text, "generation": event.generation}


def _transfer(each: queue.Transfer) -> output.Row:
    meaning = outcome.meaning(each.last_status) if each.last_status is not None else ""
    return {
        "transfer": each.transfer,
        "sop_instance_uid": each.sop_instance_uid,
        "state": each.state,
        "attempts": each.attempts,
        "due_at": output.time(each.due_at),
        "last_status": output.status(each.last_status),
        "meaning": meaning,
        "reason": each.reason,
    }


@referrals.command()
@click.argument("ids", nargs=-1, type=int, required=True)
@click.option("--reason", required=True, help="Why: it is shown to whoever asks, and kept in the audit trail.")
@pass_place
def hold(place: Place, ids: tuple[int, ...], reason: str) -> None:
    """Close the gate: nothing more of these studies leaves until they are released."""
    with place.node() as node:
        done = refer.hold(ids, reason, who(), node)
    _report(done, len(ids), "held", "not open, so it cannot be held")


@referrals.command()
@click.argument("ids", nargs=-1, type=int, required=True)
@click.option("--reason", default="", help="Why; a quarantined referral is not released without one.")
@pass_place
def release(place: Place, ids: tuple[int, ...], reason: str) -> None:
    """Open the gate of held or quarantined referrals: what waits goes on."""
    with place.node() as node:
        done = refer.release(ids, reason, who(), node)
    _report(done, len(ids), "released", "open already")


def _report(done: list[Referral], asked: int, word: str, otherwise: str) -> None:
    for referral in done:
        click.echo(f"referral {referral.id} to {referral.partner} is {word}; its progress is {referral.progress}")
    if len(done) < asked:
        say(f"nothing was done to {asked - len(done)} of {asked}: {otherwise}")
        raise SystemExit(1)
