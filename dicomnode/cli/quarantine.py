"""quarantine: studies in doubt, whose they are, what their versions differ in, and a person's word on what is right."""

from __future__ import annotations

import click

from dicomnode.cli import output, sides
from dicomnode.cli.opening import Place, pass_place, who
from dicomnode.cli.sides import Sides
from dicomnode.dicom.classes import syntax_name
from dicomnode.dicom.instance import ATTRIBUTES
from dicomnode.operations import agreement, differ, vet
from dicomnode.operations import quarantine as story
from dicomnode.operations.differ import Difference
from dicomnode.operations.ports import Node
from dicomnode.operations.quarantine import Outcome, Subject
from dicomnode.store import doubts
from dicomnode.store.doubts import Doubt, Version

_PATIENT = {each.keyword for each in ATTRIBUTES if each.column in output.PATIENT}
_name = click.argument("study_or_instance")
_reason = click.option("--reason", required=True, help="Why: it is kept in the audit trail.")


@click.group()
def quarantine() -> None:
    """Studies in doubt, and a person's word on them.

    Whose they are, or which version is right. They are quarantined, held for a person to look at, or flagged.
    """


@quarantine.command("list")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The newest N.")
@output.with_phi
@output.as_json
@pass_place
def list_(place: Place, limit: int, phi: bool, as_json: bool) -> None:
    """List studies in doubt, and why they are.

    The newest first, referred or not, and which versions of them wait for your word. Of a quarantined study
    nothing leaves. Of a held one, nothing does that was not sent before. A flagged one goes on.
    """
    with place.node() as node, node.database.read():
        rows = [_row(each, _kinds(each, node), phi) for each in doubts.listed(limit)]
    columns = ["study", "state", "kind", "undecided", "versions", "reason", "referrals", "patient_id", "site"]
    columns += ["received_at", "study_instance_uid"]
    output.show(rows, as_json=as_json, columns=columns, empty="No study is in doubt.")


def _kinds(each: Doubt, node: Node) -> tuple[str, ...]:
    """What is in doubt: whose study it is, which of its versions is right, or something else."""
    is_of_whom = bool(each.identity) or (bool(each.quarantine) and vet.judge(each.study, node) is not None)
    kinds = [kind for kind, is_so in (("identity", is_of_whom), ("versions", bool(each.undecided))) if is_so]
    return tuple(kinds or ["other"])


def _row(each: Doubt, kinds: tuple[str, ...], phi: bool) -> output.Row:
    row = {
        "study": each.study,
        "study_instance_uid": each.study_instance_uid,
        "site": each.site,
        "patient_id": each.patient_id,
        "patient_name": each.patient_name,
        "received_at": output.time(each.received_at),
        "state": each.state,
        "kind": kinds,
        "reason": each.reason,
        "undecided": each.undecided,
        "versions": each.versions,
        "referrals": each.referrals,
    }
    return output.masked(row, phi)


@quarantine.command()
@_name
@output.with_phi
@output.as_json
@pass_place
def show(place: Place, study_or_instance: str, phi: bool, as_json: bool) -> None:
    """Show whose study it is, and how versions differ.

    What its images and its referral say of the patient, and the versions of its instances: side by side, and which
    commands decide.

    STUDY_OR_INSTANCE is a study's number or UID, or a SOP Instance UID.
    """
    with place.node() as node:
        it = story.subject(study_or_instance, node)
        found = differ.differences(it.versions, node)
        with node.database.read():
            doubt, whose = doubts.of(it.study.id), sides.of(it.study, node)
            proposed = agreement.still_wanted(it.study.id)
    if as_json:
        rows = [_difference(it, each, phi) for each in found]
        output.show([*([sides.row(whose, phi)] if whose else ()), *rows], as_json=True, empty="")
        return
    click.echo(f"Study {it.study.id} of {it.study.site} is {doubt.state if doubt else 'not in doubt'}.")
    if doubt:
        click.echo(doubt.reason)
    if whose:
        click.echo()
        sides.show(whose, phi)
    elif not found:
        click.echo(f"\nThere is one version of {'it' if it.sop_instance_uid else 'each of its instances'}.")
    for each in found:
        click.echo()
        _compare(each, phi)
    if proposed:
        click.echo(f"\n{proposed}; another person has to say the same.")
    if doubt:
        click.echo(f"\nDecide: {_decisions(it, whose)}")


def _decisions(it: Subject, whose: Sides | None) -> str:
    """The commands that end the doubt."""
    name, study = it.sop_instance_uid or it.study.id, it.study.id
    if it.undecided:
        numbers = " or ".join(map(str, sorted({each.version for each in it.choices})))
        release = f"`dicomnode quarantine release {name} --version N --reason …` says which is right ({numbers})"
        return f"{release}; `dicomnode quarantine reject {name} --reason …` leaves what is current."
    if it.sop_instance_uid:
        return f"`dicomnode quarantine show {study}` shows what is in doubt of its study."
    let_go = f"`dicomnode quarantine release {name} --reason …` lets it go on as it is"
    return f"{let_go}; `dicomnode quarantine reject {name} --reason …` keeps it here." if whose else f"{let_go}."


def _difference(it: Subject, each: Difference, phi: bool) -> output.Row:
    return {
        "study": it.study.id,
        "study_instance_uid": it.study.study_instance_uid,
        "instances": each.sop_instance_uids,
        "versions": [_version(version) for version in each.versions],
        "differences": {keyword: _shown(keyword, values, phi) for keyword, values in each.values.items()},
    }


def _version(version: Version) -> output.Row:
    return {
        "version": version.version,
        "kind": version.kind,
        "current": version.current,
        "undecided": version.undecided,
        "partner": version.origin.partner,
        "received_at": output.time(version.origin.received_at),
        "transfer_syntax": syntax_name(version.transfer_syntax_uid),
    }


def _shown(keyword: str, values: tuple[str, ...], phi: bool) -> tuple[str, ...]:
    return tuple(map(output.mask, values)) if keyword in _PATIENT and not phi else values


def _compare(each: Difference, phi: bool) -> None:
    versions = [_version(version) for version in each.versions]
    facts = ("kind", "current", "undecided", "partner", "received_at", "transfer_syntax")
    table = {fact: tuple(_word(version[fact]) for version in versions) for fact in facts}
    table |= {keyword: _shown(keyword, values, phi) for keyword, values in each.values.items()}
    columns = [f"version {version['version']}" for version in versions]
    rows = [{"": name} | dict(zip(columns, values, strict=True)) for name, values in table.items()]
    uids = each.sop_instance_uids
    others = f" and {len(uids) - 1} more that differ in the same way" if len(uids) > 1 else ""
    click.echo(f"Instance {uids[0]}{others}:")
    output.show(rows, as_json=False, columns=["", *columns], empty="")


def _word(value: object) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


@quarantine.command()
@_name
@click.option("--version", type=click.IntRange(1), help="The version that is right, as `show` numbers them.")
@_reason
@pass_place
def release(place: Place, study_or_instance: str, version: int | None, reason: str) -> None:
    """Let a study in doubt go on, or say which version is right.

    Without --version a study goes on as it is: for what was wrong with it until now, and for nothing else. With one,
    that version becomes current, and partners that had or awaited another are sent it.

    Of a study, this is said of each instance that has such a version; `--version` names the first (1) or a later one.
    """
    with place.node() as node:
        _report(story.release(study_or_instance, version, reason, who(), node))


@quarantine.command()
@_name
@_reason
@pass_place
def reject(place: Place, study_or_instance: str, reason: str) -> None:
    """Leave what was current, or keep a study here.

    The versions in doubt are kept, and never sent. A study of which it is in doubt whose it is stays here. Either
    can be released later.
    """
    with place.node() as node:
        _report(story.reject(study_or_instance, reason, who(), node))


def _report(done: Outcome) -> None:
    words = []
    if done.chosen:
        words.append(f"another version of {output.count(done.chosen, 'instance')} is current")
    if done.rejected:
        words.append(f"kept as before: {output.count(done.rejected, 'instance')}")
    if done.others:
        words.append(f"kept as before: {output.count(done.others, 'other instance')} of the study")
    if done.undecided:
        words.append(f"undecided still: {done.undecided}, so the study goes on waiting")
    elif done.waits:
        words.append(f"it waits still: {done.waits}")
    click.echo(f"{done.subject}: {'; '.join(words or ['it goes on'])}")
