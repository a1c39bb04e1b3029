"""The letter by which a partner is told what is called back: plain text, to be printed, signed and sent by a person.

It names the referral, the study and every instance; the patient only where that is asked for. It never says that
anything was deleted: nobody here knows. A file that is there is never written over.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from dicomnode.cli import output
from dicomnode.dicom.rejection import TITLES
from dicomnode.errors import UsageError
from dicomnode.operations import letter as facts
from dicomnode.operations.letter import Recalled
from dicomnode.operations.ports import Node

NO_DELETE = "DICOM has no service that deletes: the partner is asked, and what it answers is recorded"


def write(referral: int, file: Path, who: str, node: Node, *, phi: bool) -> None:
    """Write the letter of a referral that is called back. UsageError: it is not, or the file is there already."""
    text = "\n".join(_lines(facts.recalled(referral, node), phi))
    try:
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
    with open(made, "w", encoding="utf-8") as paper:
        paper.write(f"{text}\n")
    facts.written(referral, who, node)


def _lines(it: Recalled, phi: bool) -> Iterator[str]:
    yield from (it.site, "", f"To {it.hospital} ({it.partner})")
    yield from ([f"Attention: {it.recipient}"] if it.recipient else [])
    yield from ("", f"Date: {output.moment(it.at)[:10]}", "", "RECALL OF A REFERRED EXAMINATION", "")
    yield f"Our referral:        {it.referral}"
    yield f"Referral number:     {it.number or '-'}"
    yield f"Accession Number:    {it.accession_number or '-'}"
    yield f"Study Instance UID:  {it.study_instance_uid}"
    yield from _patient(it) if phi else ["Patient:             as in the study named above"]
    yield from ("", *_paragraphs(it), "")
    yield from ("The instances that are called back:", "", *_named(it), "")
    yield from ("Received, and what was done:", "", "", "Name, date, signature: ______________________________")


def _patient(it: Recalled) -> Iterator[str]:
    yield f"Patient:             {it.patient_name}"
    yield f"Patient ID:          {it.patient_id} {it.issuer_of_patient_id and f'({it.issuer_of_patient_id})'}".rstrip()
    yield f"Date of birth, sex:  {it.patient_birth_date or '-'}, {it.patient_sex or '-'}"


def _paragraphs(it: Recalled) -> Iterator[str]:
    count, title = output.count(len(it.instances), "instance"), TITLES.get(it.code)
    why = f"{title.meaning} ({title.value}, DCM): {it.reason}" if title else it.reason
    for text in (
        f"We have sent you {count} of this study, and call all of them back. The reason: {why}.",
        "We ask you to withhold them from use at once, to delete them and every copy that was made of them as far as"
        " your rules allow, and to tell us whom you have passed them on to.",
        "DICOM has no service by which we could delete anything at yours. Please confirm in writing that you have"
        " received this letter, and what you have done. Until then the recall stays open in our records.",
    ):
        yield from ("", *textwrap.wrap(text, 78))


def _named(it: Recalled) -> Iterator[str]:
    for series, instances in groupby(it.instances, attrgetter("series_instance_uid")):
        listed = list(instances)
        yield f"Series {series}: {output.count(len(listed), 'instance')}"
        yield from (f"  {each.sop_instance_uid}" for each in listed)
