"""audit: who saw, sent, released and changed what, and when; and whether the trail is as it was written.

To read it is an entry of it, too.
"""

from __future__ import annotations

from typing import Any

import click

from dicomnode.cli import output
from dicomnode.cli.opening import Place, note, pass_place, when, who
from dicomnode.cli.output import count
from dicomnode.operations.ports import Node
from dicomnode.store import audit as store
from dicomnode.store import chain
from dicomnode.store.audit import Event, Sought
from dicomnode.store.chain import Break, Head

_SHOWN = 10
"""Breaks that are shown: the first tells most."""


def _head(value: str) -> Head:
    """A head of the trail, as the log has it: a number and a digest."""
    number, _, digest = value.partition(":")
    if not number.isdecimal() or len(digest) != 64:
        raise click.BadParameter(f"{value!r} is no head of the trail, such as the log has once a day: 1234:9f86d0…")
    return Head(int(number), digest)


@click.group()
def audit() -> None:
    """The audit trail."""


@audit.command("list")
@click.option("--who", "person", default="", metavar="NAME", help="On whose word: a person, or a partner; * and ?.")
@click.option("--partner", default="", metavar="NAME")
@click.option("--kind", default="", metavar="WORDS", help="The kind of event; * and ? stand for any: 'referral *'.")
@click.option("--study", default="", metavar="UID", help="Of one study, by its Study Instance UID.")
@click.option("--patient", default="", metavar="ID", help="Of one patient, by Patient ID.")
@click.option("--referral", type=click.IntRange(1), metavar="N")
@click.option("--since", type=when, metavar="WHEN", help="How long ago (30d) or a date, in UTC.")
@click.option("--until", type=when, metavar="WHEN")
@click.option("--alarms", is_flag=True, help="Only what a person should know of.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The newest N.")
@output.with_phi
@output.as_json
@pass_place
def list_(
    place: Place, /, person: str, study: str, patient: str, limit: int, phi: bool, as_json: bool, **of: Any
) -> None:
    """Show who saw, sent, released or changed what, and when.

    The newest entries, oldest first.
    """
    sought = Sought(who=person, study_instance_uid=study, patient_id=patient, **of)
    with place.node() as node:
        with node.database.read():
            found = store.search(sought, limit)
        _note(node, "audit trail read", f"{count(len(found), 'entry', 'entries')} shown{' with patients' * phi}")
    rows = [output.masked(_row(event), phi) for event in found]
    empty = "There was no alarm." if of["alarms"] else "There is no such entry."
    output.show(rows, as_json=as_json, columns=["at", "event", "who", "partner", "text"], empty=empty)


@audit.command()
@click.option("--head", type=_head, metavar="N:DIGEST", help="A head that was noted elsewhere: the log has one a day.")
@output.as_json
@pass_place
def verify(place: Place, head: Head | None, as_json: bool) -> None:
    """See whether the trail is still as it was written.

    Nothing changed, removed, moved or put between; the first entry that is not what it was is named. Whoever may write
    to the index can make all of the trail anew: keep a head that the node logged, or that this command printed, where
    nobody of the node has access, and name it here. The exit code is 1 where something is wrong.
    """
    with place.node() as node:
        with node.database.read():
            breaks, last, older = list(chain.verify(head)), chain.head(), chain.unchained()
        said = f"{count(len(breaks), 'break')}; head {last}"
        _note(node, "audit trail verified", said)
    if as_json:
        row = {"head": str(last), "entries": last.id, "unchained": older, "breaks": [_broken(each) for each in breaks]}
        output.show([row], as_json=True, empty="")
    else:
        _tell(breaks, last, older)
    if breaks:
        raise SystemExit(1)


def _tell(breaks: list[Break], last: Head, older: int) -> None:
    for each in breaks[:_SHOWN]:
        print(f"entry {each.id} {each.why}")
    if len(breaks) > _SHOWN:
        print(f"and {count(len(breaks) - _SHOWN, 'break')} more")
    if older:
        print(f"{count(older, 'entry was', 'entries were')} written before there was a chain: nothing vouches for them")
    entries = count(last.id, "entry", "entries")
    print(f"The trail of {entries} {'is broken' if breaks else 'is as it was written'}.")
    print(f"head {last}")


def _broken(it: Break) -> output.Row:
    return {"entry": it.id, "why": it.why}


def _note(node: Node, kind: str, text: str) -> None:
    """Write down that somebody has read the trail."""
    note(Event(node.clock(), kind, text, who=who(), generation=node.generation), node)


def _row(event: Event) -> output.Row:
    return {
        "id": event.id,
        "at": output.time(event.at),
        "event": event.kind,
        "who": event.who,
        "partner": event.partner,
        "address": event.address,
        "patient_id": event.patient_id,
        "issuer_of_patient_id": event.issuer_of_patient_id,
        "study_instance_uid": event.study_instance_uid,
        "sop_instance_uid": event.sop_instance_uid,
        "instances": sum(number for _, number in event.classes),
        "referral": event.referral,
        "generation": event.generation,
        "text": event.text,
        "outcome": event.outcome,
        "alarm": event.alarm,
    }
