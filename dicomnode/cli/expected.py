"""referrals import, match, cancel: referrals in advance, before their studies come; and how one is shown."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dicomnode.cli import output
from dicomnode.cli.opening import Place, pass_place, say, who
from dicomnode.errors import UsageError
from dicomnode.operations import intake, refer, referral_file
from dicomnode.operations.intake import Imported, What
from dicomnode.store import expected as store
from dicomnode.store.expected import Expected

_issuer = click.option("--issuer", help="Who gave out the number, where several referrals have it.")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--check", is_flag=True, help="Only say what would be done.")
@pass_place
def import_(place: Place, file: Path, check: bool) -> None:
    """Take referrals in advance from a file.

    CSV with a header line, or JSON lines; UTF-8. Columns: number and patient_id, and as far as they are known issuer,
    issuer_of_patient_id, patient_name, patient_birth_date (YYYY-MM-DD), patient_sex, accession_number, site,
    destination, recipient, urgent, procedure, procedure_code, consent, instances. A file with one bad line changes
    nothing. A number that is known is changed to what the file says.
    """
    with file.open("rb") as opened:
        data = opened.read(referral_file.LARGEST + 1)
    with place.node() as node:
        done = intake.import_file(data, referral_file.printable(file.name), who(), node, check=check)
    for bad in done.bad:
        say(str(bad))
    _tell(done, check)
    sys.exit(1 if done.bad else 0)


def _tell(done: Imported, check: bool) -> None:
    """What was done, or would be."""
    for told in done.told if check else ():
        if told.what in (What.NEW, What.CHANGED):
            click.echo(f"{told.expected.number}: {told.what}{f' ({told.text})' if told.text else ''}")
    if done.bad:
        say(f"nothing {'would be' if check else 'was'} imported: {output.count(len(done.bad), 'fault')}")
        return
    counts = ", ".join(f"{done.count(what)} {what}" for what in (What.NEW, What.CHANGED, What.UNCHANGED))
    click.echo(f"{'would be ' if check else ''}imported: {counts}")


@click.command()
@click.argument("study")
@click.argument("number")
@_issuer
@pass_place
def match(place: Place, study: str, number: str, issuer: str | None) -> None:
    """Say which referral in advance a STUDY is of.

    By its UID or number, and the referral's NUMBER. Whatever the study says of itself.
    """
    with place.node() as node:
        intake.match(study, number, issuer, who(), node)
    click.echo(f"the study is of referral {number} now, by your word")


@click.command()
@click.argument("number")
@click.option("--reason", required=True, help="Why: it is shown to whoever asks, and kept in the audit trail.")
@_issuer
@pass_place
def cancel(place: Place, number: str, reason: str, issuer: str | None) -> None:
    """Expect a referral in advance no more.

    A study that has come for it waits for another, where a route requires one. What is sent already is recalled by
    `referrals recall`.
    """
    refer.check_reason(reason)
    with place.node() as node:
        intake.cancel(number, issuer, reason, who(), node)
    click.echo(f"referral {number} is expected no more")


# -- how one is shown ----------------------------------------------------------------------------------------------


def row(each: Expected) -> output.Row:
    """One that is still expected, as a row of `referrals list`."""
    look = store.look(each.id)
    return {
        "referral": None,
        "study_instance_uid": None,
        "patient_id": each.patient_id,
        "site": each.site,
        "partner": each.destination,
        "state": "expected",
        "progress": "expected",
        "gate": None,
        "reason": look.text,
        "instances": each.instances,
        "delivered": 0,
        "confirmed": 0,
        "proof": "",
        "opened_at": output.time(each.received_at),
        "confirmed_at": None,
        "route": "",
        "held": 0,
        "dropped": 0,
        "skipped": 0,
        "completed_at": None,
        "sent_at": None,
        "generation": None,
        "number": each.number,
    }


def show(number: str, phi: bool, as_json: bool) -> None:
    """All that is known of what has a number: what was said, what has come for it, how the search goes. Inside `read`.
    """
    found = [_told(each, phi) for each in store.of_number(number)]
    if not found:
        raise UsageError(f"no referral {number} is, or was, expected; `dicomnode referrals list` shows those that are")
    if as_json:
        output.show(found, as_json=True, empty="")
    for told in found if not as_json else ():
        _print(told)


def _print(told: output.Row) -> None:
    issuer = f" of {told['issuer']}" if told["issuer"] else ""
    click.echo(f"Referral in advance {told['number']}{issuer}: {told['state']}")
    for key, value in told.items():
        if key not in ("number", "issuer", "state") and value not in (None, "", (), False):
            said = ", ".join(value) if isinstance(value, tuple) else "yes" if value is True else value
            click.echo(f"  {key.replace('_', ' ')}: {said}")


def _told(each: Expected, phi: bool) -> output.Row:
    look, cancelled = store.look(each.id), store.cancelled(each.id)
    studies = tuple(uid for _, uid in store.studies_of(each.id))
    row = {
        "number": each.number,
        "issuer": each.issuer,
        "state": "cancelled" if cancelled else "matched" if studies else "expected",
        "reason": cancelled,
        "patient_id": each.patient_id,
        "issuer_of_patient_id": each.issuer_of_patient_id,
        "patient_name": each.patient_name,
        "patient_birth_date": each.patient_birth_date,
        "patient_sex": each.patient_sex,
        "accession_number": each.accession_number,
        "site": each.site,
        "destination": each.destination,
        "recipient": each.recipient,
        "urgent": each.urgent,
        "procedure": each.procedure,
        "procedure_code": each.procedure_code,
        "consent": each.consent,
        "instances": each.instances,
        "source": each.source,
        "received_at": output.time(each.received_at),
        "studies": studies,
        "looked": look.text,
        "failures": look.times,
        "look_at": output.time(look.at),
    }
    return output.masked(row, phi)
