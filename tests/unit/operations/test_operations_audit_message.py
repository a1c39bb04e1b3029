"""operations/audit_message.py: every kind of entry is a message that the schema of PS3.15 A.5.1 allows."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from dicomnode.config.model import NodeConfig
from dicomnode.operations import audit_message
from dicomnode.rules import auditing
from dicomnode.store.audit import Event
from tests import audit_schema, fakes
from tests.fakes import START

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
FIND, IMPLICIT = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.2"
FULL = Event(
    START,
    "instances sent",
    "12 instances were sent",
    "PUBPACS",
    "1.2.3",
    referral=7,
    generation=3,
    id=42,
    who="anna",
    classes=((CT, 10), (MR, 2)),
    patient_id="A1234563",
    issuer_of_patient_id="HKID",
    digest="ab" * 32,
)


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return fakes.configuration(fakes.CONFIG, tmp_path)


def read(event: Event, config: NodeConfig) -> Element:
    """The message, which is valid."""
    made = audit_message.xml(event, config)
    assert audit_schema.faults(made) == []
    return ElementTree.fromstring(made)


def participants(message: Element) -> dict[str, tuple[str, str]]:
    """By UserID: the code of the role, and whether it is the requestor."""
    return {
        each.attrib["UserID"]: (
            "/".join(role.attrib["csd-code"] for role in each.iter("RoleIDCode")),
            each.attrib["UserIsRequestor"],
        )
        for each in message.iter("ActiveParticipant")
    }


def objects(message: Element) -> dict[str, Element]:
    """What it was about, by the code of the type of its ID."""
    return {
        each[0].attrib["csd-code"]: each for each in message.iter("ParticipantObjectIdentification")
    }


def details(element: Element) -> dict[str, str]:
    return {
        each.attrib["type"]: b64decode(each.attrib["value"]).decode()
        for each in element.iter("ParticipantObjectDetail")
    }


@pytest.mark.parametrize("kind", [*auditing.MEANINGS, "a kind of a later version"])
@pytest.mark.parametrize("is_full", [True, False], ids=["all that is known", "nothing but the kind"])
def test_every_kind_is_valid(config: NodeConfig, kind: str, is_full: bool) -> None:
    event = replace(FULL, kind=kind) if is_full else Event(START, kind, "")
    message, meaning = read(event, config), auditing.meaning(kind)
    identified = message[0]
    assert identified.attrib["EventActionCode"] == meaning.action
    assert identified.attrib["EventOutcomeIndicator"] == str(meaning.outcome)
    assert identified[0].attrib["csd-code"] == meaning.event.value
    types = [code.attrib["csd-code"] for code in identified.iter("EventTypeCode")]
    assert types == [*([meaning.type.value] if meaning.type else []), kind]


def test_a_transfer_says_who_sent_what_of_whom_to_whom(config: NodeConfig) -> None:
    message = read(FULL, config)
    assert message[0].attrib["EventDateTime"] == audit_message.moment(START)
    assert message[0].attrib["EventDateTime"].endswith("Z")
    assert participants(message) == {
        "REFERNODE": ("110153", "false"),
        "PUBPACS": ("110152", "false"),
        "anna": ("", "true"),
    }
    about = objects(message)
    study, patient, entry = about["110180"], about["2"], about["12"]
    assert study.attrib["ParticipantObjectID"] == "1.2.3"
    classes = {each.attrib["UID"]: each.attrib["NumberOfInstances"] for each in study.iter("SOPClass")}
    assert classes == {CT: "10", MR: "2"}
    assert patient.attrib["ParticipantObjectID"] == "A1234563^^^HKID"
    assert entry.attrib["ParticipantObjectID"] == "urn:dicomnode:REFERNODE:audit:42"
    assert details(entry) == {"SHA-256": "ab" * 32, "Generation": "3"}


def test_what_comes_comes_at_the_partner_s_request(config: NodeConfig) -> None:
    event = Event(START, "instances received", "", "CT1", "1.2.3", who="CT1", address="10.1.0.9", classes=((CT, 3),))
    message = read(event, config)
    assert participants(message) == {"REFERNODE": ("110152", "false"), "CT1": ("110153", "true")}
    caller = message[2]
    assert caller.attrib["NetworkAccessPointID"] == "10.1.0.9"
    assert caller.attrib["NetworkAccessPointTypeCode"] == "2"
    assert caller.attrib["AlternativeUserID"] == "AETITLES=CT1"
    assert objects(message)["2"].attrib["ParticipantObjectID"] == "unknown"
    unsaid = read(replace(event, who=""), config)
    assert participants(unsaid) == participants(message), "who sends does so at their own request"


def test_a_move_is_at_the_request_of_who_asked_for_it(config: NodeConfig) -> None:
    message = read(Event(START, "study moved", "", "PUBPACS", "1.2.3", who="RAD_WS"), config)
    assert participants(message) == {
        "REFERNODE": ("110153", "false"),
        "PUBPACS": ("110152", "false"),
        "RAD_WS": ("", "true"),
    }


def test_a_query_carries_what_was_asked(config: NodeConfig) -> None:
    asked = b"\x08\x00\x52\x00\x06\x00\x00\x00STUDY "
    query = f"{IMPLICIT} {b64encode(asked).decode()}"
    event = Event(START, "query answered", "", "RAD_WS", who="RAD_WS", classes=((FIND, 0),), query=query)
    message = read(event, config)
    found = objects(message)["110181"]
    assert found.attrib["ParticipantObjectID"] == FIND
    assert b64decode(found[1].text or "") == asked
    assert details(found) == {"TransferSyntax": IMPLICIT}
    assert participants(message) == {"REFERNODE": ("110152", "false"), "RAD_WS": ("110153", "true")}


def test_an_alert_says_whom_it_is_about(config: NodeConfig) -> None:
    event = Event(START, "association refused", "X@10.0.0.1 calling Y: unknown", who="X", address="10.0.0.1")
    message = read(event, config)
    about = objects(message)["110182"]
    assert about.attrib["ParticipantObjectID"] == "X"
    assert details(about) == {"Alert Description": "X@10.0.0.1 calling Y: unknown"}
    assert participants(message) == {"REFERNODE": ("110150", "false"), "X": ("", "true")}
    assert audit_message.severity(event) == 4
    assert audit_message.severity(FULL) == 5


def test_an_outcome_of_its_own_comes_before_that_of_its_kind(config: NodeConfig) -> None:
    assert read(replace(FULL, kind="node started", outcome=4), config)[0].attrib["EventOutcomeIndicator"] == "4"
    assert audit_message.severity(replace(FULL, kind="node started", outcome=4)) == 4


@pytest.mark.parametrize("text", ["\x00\x1b[31m<&>'\"", "]]>", "王小明", "a\ud800b", "one\ntwo"])
def test_what_a_peer_says_breaks_no_message(config: NodeConfig, text: str) -> None:
    event = Event(START, "association refused", text, text[:16], "1.2.3", patient_id=text.strip(), who=text)
    made = audit_message.xml(event, config)
    ElementTree.fromstring(made)
    assert b"\x00" not in made
    assert b"\x1b" not in made


def test_a_patient_is_never_named(config: NodeConfig) -> None:
    about = objects(read(FULL, config))["2"]
    assert not about[1].text
