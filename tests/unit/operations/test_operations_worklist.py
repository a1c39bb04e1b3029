"""operations/worklist.py: a RIS is asked on a schedule; a procedure for a private site is a referral in advance."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dicomnode.config.model import Partner
from dicomnode.dicom.identifier import Identifier
from dicomnode.operations import intake, worklist
from dicomnode.operations.ports import Node
from dicomnode.store import audit, expected
from dicomnode.store.expected import Expected
from tests import fakes
from tests.fakes import FakeClock, FakePartner

CONFIG = fakes.CONFIG.replace(
    "  ISLPACS:", "  RIS: {site: general, host: 10.9.0.7, port: 104, worklist: 15m}\n  ISLPACS:"
)


@pytest.fixture
def node(build: Callable[..., Node]) -> Node:
    """With a RIS whose worklist is asked."""
    return build(CONFIG)


def procedure(number: str = "P-1", station: str = "CT1", **changes: str) -> Identifier:
    """A step that is scheduled, as the RIS answers it."""
    said = {
        "AccessionNumber": "ACC1",
        "PatientName": "CHAN^TAI MAN",
        "PatientID": "A1234563",
        "PatientBirthDate": "19700131",
        "PatientSex": "M",
        "RequestingPhysician": "LEE^SIU MING",
        "RequestedProcedureDescription": "CT brain",
        "RequestedProcedureID": number,
        "RequestedProcedurePriority": "STAT",
    } | changes
    step = {"Modality": "CT", "ScheduledStationAETitle": station} if station else {"Modality": "CT"}
    code = {"CodeValue": "CTHEAD", "CodingSchemeDesignator": "99GEN"}
    return fakes.asked("", **said, ScheduledProcedureStepSequence=[step], RequestedProcedureCodeSequence=[code])


def ask(node: Node, *scheduled: Identifier, peer: FakePartner | None = None) -> bool:
    return worklist.ask(ris(node), peer or FakePartner(scheduled=list(scheduled)), node, lambda: False)


def ris(node: Node) -> Partner:
    return node.config.partners["RIS"]


def advance(node: Node, seconds: float) -> None:
    assert isinstance(node.clock, FakeClock)
    node.clock.advance(seconds)


def known(node: Node) -> list[Expected]:
    with node.database.read():
        return expected.listed(100)[::-1]


def complaints(node: Node) -> list[str]:
    with node.database.read():
        return [each.text for each in audit.events() if each.kind == "worklist not read"]


def test_each_procedure_is_a_referral_in_advance(node: Node) -> None:
    assert ask(node, procedure())
    (found,) = known(node)
    assert (found.number, found.issuer, found.accession_number) == ("P-1", "general", "ACC1")
    assert (found.patient_id, found.issuer_of_patient_id) == ("A1234563", "HKID"), "of the RIS's own site"
    assert (found.patient_name, found.patient_birth_date, found.patient_sex) == ("CHAN^TAI MAN", "19700131", "M")
    assert (found.site, found.recipient, found.urgent, found.source) == ("harbour", "LEE^SIU MING", True, "RIS")
    assert (found.procedure, found.procedure_code) == ("CT brain", "CTHEAD")


def test_it_is_asked_for_all_from_yesterday_on(node: Node) -> None:
    peer = FakePartner()
    ask(node, peer=peer)
    assert peer.asked == [("worklist", ris(node), ("20260920",))]


def test_it_is_asked_on_a_schedule(node: Node) -> None:
    assert ask(node)
    assert not ask(node, procedure()), "not time yet"
    with node.database.read():
        assert worklist.due(ris(node), node.clock()) == node.clock() + 900 * fakes.SECOND
    advance(node, 900)
    assert ask(node, procedure())
    assert len(known(node)) == 1


def test_a_clock_that_was_ahead_delays_nothing(node: Node) -> None:
    ask(node)
    advance(node, -86400)
    with node.database.read():
        assert worklist.due(ris(node), node.clock()) == node.clock()


def test_who_cannot_be_asked_changes_nothing_and_is_told_of_once_an_hour(node: Node) -> None:
    for _ in range(3):
        assert ask(node, peer=FakePartner(unreachable=True))
        assert not ask(node, peer=FakePartner(unreachable=True))
        advance(node, 900)
    assert len(complaints(node)) == 1
    assert "RIS did not say what is scheduled: no connection" in complaints(node)[0]


def test_what_vanishes_stays(node: Node) -> None:
    ask(node, procedure("P-1"), procedure("P-2"))
    advance(node, 900)
    ask(node, procedure("P-2"))
    assert [each.number for each in known(node)] == ["P-1", "P-2"]


def test_what_is_for_no_private_site_is_no_referral(node: Node) -> None:
    ask(node, procedure(station="GENERAL_CT"), procedure("P-2", station=""), procedure("P-3", "CT1\\PEAK_CT"))
    assert [(each.number, each.site) for each in known(node)] == [("P-2", ""), ("P-3", "")]


def test_a_procedure_of_several_steps_is_one(node: Node) -> None:
    ask(node, procedure(), procedure(), procedure("P-2"), procedure("P-2", station="PEAK_CT"))
    assert [(each.number, each.site) for each in known(node)] == [("P-1", "harbour"), ("P-2", "")]


def test_a_change_is_taken_and_what_is_empty_takes_nothing_away(node: Node) -> None:
    ask(node, procedure())
    header = "number,issuer,patient_id,issuer_of_patient_id,consent,destination"
    row = f"{header}\nP-1,general,A1234563,HKID,signed,PUBPACS\n"
    assert not intake.import_file(row.encode(), "f.csv", "anna", node, check=False).bad
    advance(node, 900)
    ask(node, procedure(PatientName="", RequestedProcedureDescription="CT neck"))
    (found,) = known(node)
    assert (found.consent, found.destination, found.procedure) == ("signed", "PUBPACS", "CT neck")
    assert found.source == "f.csv"


def test_what_is_wrong_is_left_out_and_said_without_the_patient(node: Node) -> None:
    ask(node, procedure(PatientBirthDate="1970"), procedure("P-2"), procedure("P*3"), procedure("P-2", PatientID="B"))
    assert [each.number for each in known(node)] == ["P-2"]
    (text,) = complaints(node)
    assert text.startswith("of the worklist of RIS, 2 are not taken; the first: patient_birth_date: ")
    assert "1970" not in text
    advance(node, 7200)
    ask(node, procedure("P-2", PatientID="B"))
    assert "another patient" in complaints(node)[1]


def test_what_a_person_has_cancelled_stays_so(node: Node) -> None:
    ask(node, procedure())
    intake.cancel("P-1", None, "cancelled by telephone", "anna", node)
    advance(node, 900)
    ask(node, procedure())
    assert known(node) == []
    assert complaints(node) == []


def test_a_hospital_has_no_end_of_them(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worklist, "_MOST", 2)
    ask(node, *(procedure(f"P-{number}") for number in range(4)))
    assert len(known(node)) == 2
    assert "there are more than can be" in complaints(node)[0]


def test_only_whose_worklist_is_configured_is_asked(node: Node) -> None:
    assert [name for name, partner in node.config.partners.items() if worklist.slots(partner)] == ["RIS"]
