"""referrals withdraw, consent, recall: what takes a referral back, and what is known of its patient's consent."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli import letter, output
from dicomnode.cli.opening import Place, pass_place, who
from dicomnode.dicom.rejection import TITLES
from dicomnode.errors import UsageError
from dicomnode.operations import consent as consenting
from dicomnode.operations import withdraw as withdrawing
from dicomnode.operations.withdraw import NOTE, Withdrawn
from dicomnode.store.consents import Word
from dicomnode.store.recalls import Recall, State

_ids = click.argument("ids", metavar="REFERRAL...", nargs=-1, type=int, required=True)
_by = click.option("--by", default="", metavar="WHO", help="Who has seen or heard it, where that is not you.")


def _said(text: str, by: str) -> str:
    """What is written down: whose word it is, where that is not the person's at the command line."""
    return f"{text} (said by {by})" if text.strip() and by else text


@click.command()
@_ids
@click.option("--reason", required=True, help="Why: it is shown to whoever asks, and told to who has got something.")
@pass_place
def withdraw(place: Place, ids: tuple[int, ...], reason: str) -> None:
    """Stop referrals for ever.

    Nothing more of them leaves: neither what waits, nor what comes late, nor by hand. What was sent is called back;
    the partner is told of that by a letter, or by a rejection note: see `referrals recall`.
    """
    with place.node() as node:
        done = withdrawing.withdraw(ids, reason, who(), node)
    for each in done:
        _report(each)


def _report(done: Withdrawn) -> None:
    it = done.referral
    click.echo(f"referral {it.id} to {it.partner} is {it.gate}: {_what_follows(done)}")


def _what_follows(done: Withdrawn) -> str:
    it, went = done.referral, output.count(done.called_back, "instance")
    if not done.called_back:
        return "nothing of it was sent, and nothing will be"
    if done.means == NOTE:
        return f"{went} that {it.partner} has are called back by a rejection note, which goes now"
    recall = f"`dicomnode referrals recall {it.id}"
    return f"{it.partner} has {went}: {recall} --letter FILE` writes to it, {recall} --reason-code …` sends it a note"


@click.command()
@_ids
@click.option("--evidence", default="", help="What shows it: a form, its number and date, who witnessed it.")
@click.option("--withdraw", "is_withdrawn", is_flag=True, help="The patient has withdrawn it.")
@click.option("--reason", default="", help="With --withdraw: why, or what was said.")
@_by
@pass_place
def consent(
    place: Place, ids: tuple[int, ...], evidence: str, is_withdrawn: bool, reason: str, by: str
) -> None:
    """Record a patient's consent, or that it was withdrawn.

    A referral whose route wants consent waits for it. One for which it is withdrawn is stopped for ever, what was sent
    of it is called back, and nothing more of this patient leaves this site until a new consent is recorded.
    """
    if is_withdrawn == bool(evidence):
        raise UsageError("say with --evidence what shows the consent, or with --withdraw that it was withdrawn")
    if reason and not is_withdrawn:
        raise UsageError("--reason goes with --withdraw: what shows the consent is said with --evidence")
    with place.node() as node:
        if is_withdrawn:
            for each in consenting.withdraw(ids, _said(reason, by), who(), node):
                _report(each)
            return
        for known in consenting.give(ids, _said(evidence, by), who(), node):
            click.echo(f"referral {known.id} to {known.partner} has consent; {_standing(known.gate, known.reason)}")


def _standing(gate: str, reason: str) -> str:
    return "nothing stops it" if gate == "open" else f"it is {gate}: {reason}"


@click.command()
@click.argument("referral", type=int)
@click.option("--reason-code", type=click.Choice(list(TITLES)), help="Why, as a rejection note's title says it.")
@click.option("--reason", default="", help="Why, in your words: the partner is told.")
@click.option("--letter", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write a letter to print.")
@click.option("--acknowledged", default="", help="What the partner has answered: it ends the recall.")
@_by
@output.with_phi
@pass_place
def recall(
    place: Place, referral: int, reason_code: str | None, reason: str, file: Path | None, acknowledged: str, by: str,
    phi: bool,
) -> None:  # fmt: skip
    """Call back what was sent of a referral.

    It is stopped for ever. A partner with `iocm: true` is told by a rejection note, any other by a letter. DICOM has no
    service that deletes: what this node knows is that the partner was told, and what it has acknowledged.

    \b
    --reason-code   patient    wrong patient, or wrong recipient (113037)
                    worklist   wrong worklist entry (113038)
                    quality    not of use (113001)
                    retention  may not be kept any longer (113039)
    """
    if not (reason_code or file or acknowledged):
        raise UsageError("say why with --reason-code and --reason, or --letter FILE, or --acknowledged TEXT")
    if reason and not reason_code:
        raise UsageError("--reason goes with --reason-code: a letter has the reason for which it was withdrawn")
    if by and not acknowledged:
        raise UsageError("--by goes with --acknowledged: who recalls is whoever gives the command")
    with place.node() as node:
        if reason_code:
            _report(withdrawing.call_back(referral, reason_code, reason, who(), node))
        if file:
            letter.write(referral, file, who(), node, phi=phi)
            click.echo(f"{file} is to be printed, signed and sent; {letter.NO_DELETE}")
        if acknowledged:
            known = withdrawing.acknowledge(referral, _said(acknowledged, by), who(), node)
            click.echo(f"referral {known.id} to {known.partner} is {known.gate}")


# -- as `referrals show` has it ------------------------------------------------------------------------------------


def word_row(it: Word) -> output.Row:
    """What was said of a patient's consent."""
    return {"at": output.time(it.at), "given": it.given, "text": it.text, "by": it.who}


def recall_row(it: Recall) -> output.Row:
    """One recall."""
    return {
        "recall": it.id,
        "at": output.time(it.at),
        "by": it.who,
        "reason": it.reason,
        "reason_code": TITLES[it.code].value if it.code else None,
        "means": it.means,
        "state": it.state,
        "instances": it.instances,
        "attempts": it.attempts,
        "last_status": output.status(it.last_status),
        "why": it.why,
        "told_at": output.time(it.told_at),
        "sop_instance_uid": it.sop_instance_uid,
        "acknowledged": it.acknowledged,
        "acknowledged_by": it.acknowledged_by,
        "acknowledged_at": output.time(it.acknowledged_at),
    }


_STATES = {
    State.WAITING: "a rejection note waits to be sent",
    State.TOLD: "a rejection note was taken",
    State.HELD: "no rejection note can be sent",
    State.LETTER: "by letter",
}


def sentence(it: Recall) -> str:
    """One recall in a line; '' where nothing is called back."""
    if it.state == State.IDLE:
        return ""
    tries = f", tried {output.count(it.attempts, 'time')}" if it.attempts and it.state == State.WAITING else ""
    why = f" ({it.why})" if it.why else ""
    answer = f"; acknowledged: {it.acknowledged}" if it.acknowledged_at else "; not acknowledged yet"
    return f"Recall of {output.count(it.instances, 'instance')}: {_STATES[State(it.state)]}{tries}{why}{answer}"
