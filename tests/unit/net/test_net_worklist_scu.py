"""net/worklist_scu.py: one question for all that is scheduled from a day on, and each answer with its steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.identifier import Identifier
from dicomnode.errors import ContextMissing, PartnerError
from dicomnode.net import worklist_scu
from tests.samples import decode, encode
from tests.script import PENDING, Script, scripted
from tests.upper_layer import EXPLICIT_LE, IMPLICIT_LE, Message

WORKLIST = "1.2.840.10008.5.1.4.31"


def ask(script: Script, folder: Path) -> list[Identifier]:
    requestor, partner = scripted(script, folder)
    return list(requestor.worklist(partner, "20260921", lambda: False))


def scheduled(number: str) -> bytes:
    item, step = Dataset(), Dataset()
    step.ScheduledStationAETitle, step.Modality = "CT1", "CT"
    item.SpecificCharacterSet, item.PatientName = "ISO_IR 192", "陳^大文"
    item.RequestedProcedureID, item.ScheduledProcedureStepSequence = number, [step]
    return encode(item)


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
def test_the_question(tmp_path: Path, syntax: str) -> None:
    """R233: the range of days stands in the item of the step. R234: there is no level."""
    with Script(lambda script, message: script.respond(message, 0), accepts=syntax) as script:
        assert ask(script, tmp_path) == []
    (message,) = script.messages
    assert {abstract for abstract, _ in script.requests[0].contexts.values()} == {WORKLIST}
    asked = decode(message.dataset, syntax)
    (step,) = asked.ScheduledProcedureStepSequence
    assert step.ScheduledProcedureStepStartDate == "20260921-"
    assert {step[name].VM for name in ("Modality", "ScheduledStationAETitle")} == {0}
    assert "QueryRetrieveLevel" not in asked
    for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "RequestedProcedureID", "AccessionNumber"):
        assert asked[keyword].VM == 0
    assert "CodeValue" in asked.RequestedProcedureCodeSequence[0]


def test_each_answer_has_its_steps(tmp_path: Path) -> None:
    def says(script: Script, message: Message) -> None:
        for number in ("P-1", "P-2"):
            script.respond(message, PENDING, scheduled(number))
        script.respond(message, 0)

    with Script(says) as script:
        found = ask(script, tmp_path)
    assert [each.value(0x00401001) for each in found] == ["P-1", "P-2"]
    assert {each.value(0x00100010) for each in found} == {"陳^大文"}
    (step,) = next(key.items for key in found[0].keys if key.tag == 0x00400100)
    assert {key.value for key in step} == {"CT1", "CT"}


def test_a_worklist_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worklist_scu, "_MOST", 3)

    def says(script: Script, message: Message) -> None:
        for number in range(10):
            script.respond(message, PENDING, scheduled(str(number)))
        script.respond(message, 0)

    with Script(says) as script, pytest.raises(PartnerError, match="over 3 rows"):
        ask(script, tmp_path)


def test_a_failure_and_a_partner_without_worklist_are_told(tmp_path: Path) -> None:
    with (
        Script(lambda script, message: script.respond(message, 0xC001)) as script,
        pytest.raises(PartnerError, match="answered the C-FIND with"),
    ):
        ask(script, tmp_path)
    with Script(lambda script, message: None, accepts=None) as script, pytest.raises(ContextMissing):
        ask(script, tmp_path)
