"""find: what a partner says that it has."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

import click

from dicomnode.cli import by_hand, output
from dicomnode.cli.opening import Place, pass_place, say
from dicomnode.dicom import identifier, instance, keywords, vrs
from dicomnode.dicom.identifier import Identifier, Key
from dicomnode.errors import PartnerError, UsageError

_PATIENT = "PatientID PatientName PatientBirthDate PatientSex NumberOfPatientRelatedStudies"
_STUDY = (
    "StudyDate PatientID PatientName ModalitiesInStudy StudyDescription AccessionNumber NumberOfStudyRelatedSeries"
    " NumberOfStudyRelatedInstances StudyInstanceUID"
)
_SERIES = "SeriesNumber Modality SeriesDescription NumberOfSeriesRelatedInstances SeriesInstanceUID StudyInstanceUID"
_IMAGE = "InstanceNumber SOPInstanceUID SOPClassUID SeriesInstanceUID StudyInstanceUID"
_ASKED = {"PATIENT": _PATIENT, "STUDY": _STUDY, "SERIES": _SERIES, "IMAGE": _IMAGE}
"""What is asked for at each level, in the order of the table."""
_ABOVE = {"SERIES": ("StudyInstanceUID",), "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID")}
"""The unique keys above a level, each of which has one value (PS3.4 C.4.1.2)."""
_SHORT = {
    "modalities_in_study": "modalities",
    "number_of_patient_related_studies": "studies",
    "number_of_study_related_series": "series",
    "number_of_study_related_instances": "instances",
    "number_of_series_related_instances": "instances",
}
"""What a column is called in a table."""
_LONGEST_NUMBER = 12


@click.command()
@click.argument("partner", metavar="PARTNER")
@click.argument("keys", nargs=-1, metavar="[KEY[=VALUE]]...")
@click.option("--level", type=click.Choice(list(_ASKED), case_sensitive=False), default="STUDY", show_default=True)
@output.as_json
@pass_place
def find(place: Place, partner: str, keys: tuple[str, ...], level: str, as_json: bool) -> None:
    """Ask a partner by C-FIND what it has.

    A KEY is a keyword or a tag of the standard; with a VALUE it must match (wild cards, ranges and lists as the
    standard has them), without one it is shown. Patients are shown in clear: that is what it is for. Ctrl-C cancels.

    \b
    Example: dicomnode find PUBPACS 'PatientName=WONG*' StudyDate=20260101-20260131 InstitutionName
    """
    from dicomnode.net.requestor import Requestor  # the network's libraries load slowly: only who calls pays

    config = place.current()
    called, question = by_hand.to_ask(partner, config), _question(level.upper(), keys)
    asked = ", ".join(key.partition("=")[0] for key in keys) or "nothing in particular"
    place.note("query asked by hand", f"at {level.upper()} level, by {asked}", called.name)
    answers: list[Identifier] = []
    partly = threading.Event()
    problem: PartnerError | None = None
    with by_hand.interruptible() as stopped:
        try:
            answers.extend(Requestor(config).find(called, question, stopped, partly.set))
        except PartnerError as error:
            problem = PartnerError(f"{called.display}: {error}")
        cancelled = stopped()
    if answers or not problem:
        _show([_row(answer, question) for answer in answers], as_json=as_json)
    if partly.is_set():
        say(f"{called.name} does not support every key: what it does not support restricted nothing")
    if problem:
        raise problem
    if cancelled:
        say("cancelled: there may be more")
        sys.exit(1)


def _question(level: str, keys: Sequence[str]) -> Identifier:
    """The Identifier of all that is asked for, in the order of the table."""
    asked = dict(map(_key, keys))
    for keyword in _ABOVE.get(level, ()):
        value = asked.get(_tag(keyword), "")
        if not value or set(value) & set("*?\\"):
            raise UsageError(f"at the {level} level one {keyword} must be given: add {keyword}=UID")
    order = [_tag(keyword) for keyword in _ASKED[level].split()]
    tags = sorted(dict.fromkeys((*order, *asked)), key=lambda tag: vrs.first(tag) == "UI")  # UIDs last
    return identifier.of(level, {tag: asked.get(tag, "") for tag in tags})


def _key(text: str) -> tuple[int, str]:
    name, _, value = text.partition("=")
    tag = keywords.tag(name)
    if tag is None or tag >> 16 <= 0x0007:  # command elements and file meta are no keys
        near = keywords.near(name)
        meant = f"; did you mean {near}?" if near else ""
        advice = "write a keyword, such as PatientID, or a tag, such as 0010,0020"
        raise UsageError(f"{name!r} is no attribute{meant or ':'} {advice}")
    if tag == identifier.LEVEL:
        raise UsageError(f"{name} is ours to set: use --level")
    if tag == instance.CHARACTER_SET:
        raise UsageError(f"{name} is ours to set")
    return tag, value


def _tag(keyword: str) -> int:
    tag = keywords.tag(keyword)
    assert tag is not None, keyword
    return tag


def _row(answer: Identifier, question: Identifier) -> output.Row:
    """What was asked for, of an answer; whatever else is in it is left out."""
    return {keywords.column(key.tag): _value(key, answer.value(key.tag)) for key in question.keys}


def _value(key: Key, text: str) -> Any:
    """A value on one line, whatever a partner has put into it."""
    if keywords.is_multiple(key.tag):
        return tuple(" ".join(each.split()) for each in text.split("\\")) if text else ()
    if key.vr == "IS" and text.isdecimal() and len(text) <= _LONGEST_NUMBER:
        return int(text)
    return " ".join(text.split())


def _show(rows: list[output.Row], *, as_json: bool) -> None:
    if not as_json:
        rows = [{_SHORT.get(column, column): value for column, value in row.items()} for row in rows]
    columns = list(rows[0]) if rows else []
    output.show(rows, as_json=as_json, columns=columns, empty="Nothing matches.")
    if rows and not as_json:
        say(f"{len(rows)} {'matches' if len(rows) > 1 else 'match'}")
