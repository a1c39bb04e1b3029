"""referrals: where each referred study is, and why; and a person's word on whether it may go."""

from __future__ import annotations

from operator import itemgetter

import click

from dicomnode.cli import expected as advance
from dicomnode.cli import output, timeline
from dicomnode.cli import recall as taken_back
from dicomnode.cli.media import media
from dicomnode.cli.opening import Place, check_partner, pass_place, say, who
from dicomnode.errors import UsageError
from dicomnode.operations import complete as completing
from dicomnode.operations import refer
from dicomnode.operations import resend as resending
from dicomnode.operations.resend import Resent
from dicomnode.rules import outcome
from dicomnode.store import attempts, audit, consents, expected, gates, ledger, queue, recalls, transactions
from dicomnode.store import referrals as store
from dicomnode.store.referrals import Referral

_ids = click.argument("ids", metavar="REFERRAL...", nargs=-1, type=int, required=True)


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
    """List referrals: how far each is, and what stops it.

    The newest first; those in advance, too, whose study has not come.
    """
    with place.node() as node, node.database.read():
        check_partner(partner, node)
        found, coming = store.listed(limit, partner=partner), expected.listed(limit, partner)
        rows = [_row(each, phi) | ({} if as_json else {"state": _words(each)}) for each in found]
        rows += [output.masked(advance.row(each), phi) for each in coming]
    rows = sorted(rows, key=itemgetter("opened_at"), reverse=True)[:limit]
    number = ["number"] if any(row["number"] for row in rows) else []
    columns = ["referral", *number, "partner", "state", "delivered", "confirmed", "instances", "proof", "reason"]
    columns += ["patient_id", "site", "opened_at", "study_instance_uid"]
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
        "confirmed": referral.confirmed,
        "proof": referral.proof,
        "opened_at": output.time(referral.opened_at),
        "confirmed_at": output.time(referral.confirmed_at),
        "route": referral.route,
        "held": referral.held,
        "dropped": referral.dropped,
        "skipped": referral.skipped,
        "completed_at": output.time(referral.completed_at),
        "sent_at": output.time(referral.sent_at),
        "generation": referral.generation,
        "number": referral.number,
    }
    return output.masked(row, phi)


@referrals.command()
@click.argument("referral", metavar="REFERRAL|NUMBER")
@click.option("--number", is_flag=True, help="It is the number of a referral in advance, and no id.")
@output.with_phi
@output.as_json
@pass_place
def show(place: Place, referral: str, number: bool, phi: bool, as_json: bool) -> None:
    """Show the timeline of one referral.

    What happened, when, and what came of every transfer. Or what is expected under a referral's number.
    """
    with place.node() as node, node.database.read():
        if number or not referral.isdecimal():
            advance.show(referral, phi, as_json)
        else:
            _show(int(referral), phi, as_json)


def _show(referral: int, phi: bool, as_json: bool) -> None:
    """One referral by its id. Inside `Database.read`."""
    found = store.get(referral)
    if found is None:
        raise UsageError(f"there is no referral {referral}; `dicomnode referrals list` shows those there are")
    events = audit.events(1000, referral=referral)
    tries, asked = attempts.of(referral), transactions.of(referral)
    words, recalled = consents.of(referral), recalls.of(referral)
    is_in_doubt = gates.is_in_doubt(referral)
    transfers = [_transfer(each) for each in ledger.listed(1_000_000, referral=referral)]
    if as_json:
        row = _row(found, phi) | {"events": [timeline.event(each) for each in events], "transfers": transfers}
        row |= {"attempts": [timeline.attempt(each) for each in tries], "delays": timeline.delays(found)}
        row |= {"commitments": [timeline.commitment(each) for each in asked]}
        row |= {"consents": [taken_back.word_row(each) for each in words]}
        row |= {"recalls": [taken_back.recall_row(each) for each in recalled]}
        output.show([row], as_json=True, empty="")
        return
    click.echo(f"Referral {found.id} of study {found.study_instance_uid}")
    if found.number:
        click.echo(f"its number is {found.number}: what was said of it, `dicomnode referrals show --number` shows")
    click.echo(f"from {found.site} to {found.partner} by {found.route}: {_words(found)}, {_counts(found)}")
    if found.reason:
        click.echo(f"because {found.reason}")
    for sentence in filter(None, map(taken_back.sentence, recalled)):
        click.echo(sentence)
    if is_in_doubt:
        click.echo(f"`dicomnode quarantine show {found.study_instance_uid}` shows what is in doubt")
    click.echo(f"Delays: {timeline.stages(found)}")
    click.echo()
    rows = timeline.merged(events, tries, asked)
    output.show(rows, as_json=False, columns=["at", "event", "text"], empty="Nothing has happened yet.")
    unusual = [each for each in transfers if each["state"] != queue.State.DELIVERED or each["last_status"] != "0000"]
    if unusual:
        click.echo()
        columns = ["transfer", "state", "reason", "attempts", "last_status", "due_at", "sop_instance_uid"]
        output.show(unusual, as_json=False, columns=columns, empty="", title="Transfers that are not simply delivered")


def _words(found: Referral) -> str:
    """Its state as a person should read it: what is sent and not confirmed says so."""
    if found.progress != store.Progress.SENT or found.gate != store.Gate.OPEN or found.held:
        return found.state
    missing = f", {found.dropped} not accepted" if found.dropped else ""
    return f"sent{missing}{', partner cannot confirm' if found.proof == 'none' else ''}"


def _counts(found: Referral) -> str:
    counts = {"confirmed": found.confirmed, "held": found.held, "dropped": found.dropped, "skipped": found.skipped}
    said = [f"{count} {word}" for word, count in counts.items() if count]
    return ", ".join([f"{found.delivered} of {found.instances} delivered", *said])


def _transfer(each: ledger.Transfer) -> output.Row:
    meaning = outcome.words(each.last_status) if each.last_status is not None else ""
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
@_ids
@click.option("--reason", required=True, help="Why: it is shown to whoever asks, and kept in the audit trail.")
@pass_place
def hold(place: Place, ids: tuple[int, ...], reason: str) -> None:
    """Close the gate: nothing more of these studies leaves.

    Until they are released.
    """
    with place.node() as node:
        done = refer.hold(ids, reason, who(), node)
    _report(done, len(ids), "held", "held already")


@referrals.command()
@_ids
@click.option("--reason", default="", help="Why: it is kept in the audit trail.")
@pass_place
def release(place: Place, ids: tuple[int, ...], reason: str) -> None:
    """Take the hold from referrals: what waits goes on.

    Unless the study is in doubt: see `dicomnode quarantine`.
    """
    with place.node() as node:
        done = refer.release(ids, reason, who(), node)
    _report(done, len(ids), "released", "not held")


def _report(done: list[Referral], asked: int, word: str, otherwise: str) -> None:
    for referral in done:
        click.echo(f"referral {referral.id} to {referral.partner} is {word}; its progress is {referral.progress}")
    if len(done) < asked:
        say(f"nothing was done to {asked - len(done)} of {asked}: {otherwise}")
        raise SystemExit(1)


@referrals.command()
@_ids
@pass_place
def complete(place: Place, ids: tuple[int, ...]) -> None:
    """Say that studies have come whole.

    Nothing is waited for any more. What still comes is sent after it.
    """
    with place.node() as node:
        done = completing.by_word(ids, who(), node)
    _report(done, len(ids), "complete by your word", "not receiving any more")


@referrals.command()
@_ids
@click.option("--all", "everything", is_flag=True, help="What is confirmed, too.")
@click.option("--reason", default="", help="Why: it is kept in the audit trail.")
@pass_place
def resend(place: Place, ids: tuple[int, ...], everything: bool, reason: str) -> None:
    """Send again what was delivered and not confirmed.

    Without asking the partner what it has.
    """
    with place.node() as node:
        done = resending.resend(ids, reason, who(), node, everything=everything)
    for each in done:
        click.echo(f"referral {each.referral.id} to {each.referral.partner}: {_resent(each)}")
    if not all(each.queued for each in done):
        raise SystemExit(1)


def _resent(each: Resent) -> str:
    gone = f"; the files of {each.gone} are gone: have them sent again" if each.gone else ""
    closed = f"; they wait, because it is {each.referral.gate}" if each.referral.gate != store.Gate.OPEN else ""
    if each.queued:
        return f"queued again: {output.count(each.queued, 'instance')}{closed}{gone}"
    return f"nothing was delivered that is not confirmed (--all sends that again, too){gone}"


_IN_ADVANCE = (advance.import_, advance.match, advance.cancel)
for _command in (*_IN_ADVANCE, taken_back.withdraw, taken_back.consent, taken_back.recall, media):
    referrals.add_command(_command)
