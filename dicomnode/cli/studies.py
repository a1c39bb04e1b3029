"""studies: what has arrived."""

from __future__ import annotations

import click

from dicomnode.cli import output
from dicomnode.cli.opening import Place, pass_place
from dicomnode.dicom.classes import syntax_name
from dicomnode.errors import UsageError
from dicomnode.store import index, referrals
from dicomnode.store.index import Study, Version
from dicomnode.store.referrals import Referral


@click.group()
def studies() -> None:
    """The studies in custody."""


@studies.command("list")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The newest N.")
@output.with_phi
@output.as_json
@pass_place
def list_(place: Place, limit: int, phi: bool, as_json: bool) -> None:
    """Studies, the newest first."""
    with place.node() as node, node.database.read():
        rows = [_row(study, phi) for study in index.studies(limit)]
    columns = ["study", "received_at", "patient_id", "patient_name", "modalities", "instances", "site", "study_date"]
    columns.extend(("series", "study_instance_uid"))
    output.show(rows, as_json=as_json, columns=columns, empty="Nothing has arrived yet.")


def _row(study: Study, phi: bool) -> output.Row:
    row = {
        "study": study.id,
        "study_instance_uid": study.study_instance_uid,
        "patient_id": study.patient_id,
        "patient_name": study.patient_name,
        "study_date": study.study_date,
        "modalities": study.modalities,
        "series": study.series,
        "instances": study.instances,
        "site": study.site,
        "received_at": output.time(study.received_at),
        "quarantine": study.quarantine,
        "correction": study.correction,
        "remark": study.remark,
    }
    return output.masked(row, phi)


@studies.command()
@click.argument("uid")
@output.with_phi
@output.as_json
@pass_place
def show(place: Place, uid: str, phi: bool, as_json: bool) -> None:
    """Show one study: where it is, and why.

    And every version of its instances that is kept.
    """
    with place.node() as node, node.database.read():
        study = index.study(uid)  # by its UID, or by the number that lists show
        if study is None:
            raise UsageError(f"there is no study {uid}; `dicomnode studies list` shows those there are")
        versions = [_version(version) for version in index.versions(study.id)]
        referred = [_referral(referral) for referral in referrals.listed(study_instance_uid=study.study_instance_uid)]
    if as_json:
        output.show([_row(study, phi) | {"referrals": referred, "versions": versions}], as_json=True, empty="")
        return
    for key, value in _row(study, phi).items():
        if value:
            click.echo(f"{key.replace('_', ' '):>18}  {', '.join(value) if isinstance(value, tuple) else value}")
    click.echo()
    columns = ["referral", "partner", "state", "delivered", "instances", "reason"]
    output.show(referred, as_json=False, columns=columns, empty="No route refers it to anybody.", title="Referrals")
    click.echo()
    columns = ["instance", "modality", "kind", "current", "transfer_syntax", "size", "notes", "partner", "duplicates"]
    output.show(versions, as_json=False, columns=[*columns, "sop_instance_uid"], empty="-", title="Instances")


def _version(version: Version) -> output.Row:
    return {
        "sop_instance_uid": version.sop_instance_uid,
        "series_instance_uid": version.series_instance_uid,
        "instance": version.instance_number,
        "modality": version.modality,
        "version": version.version,
        "kind": version.kind,
        "current": version.current,
        "transfer_syntax": syntax_name(version.transfer_syntax_uid),
        "transfer_syntax_uid": version.transfer_syntax_uid,
        "size": version.size,
        "sha256": version.sha256,
        "file": version.file,
        "partner": version.partner,
        "received_at": output.time(version.received_at),
        "duplicates": version.duplicates,
        "notes": version.notes,
    }


def _referral(referral: Referral) -> output.Row:
    return {
        "referral": referral.id,
        "partner": referral.partner,
        "state": referral.state,
        "delivered": referral.delivered,
        "instances": referral.instances,
        "reason": referral.reason,
    }
