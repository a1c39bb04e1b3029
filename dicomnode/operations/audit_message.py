"""An entry of the audit trail as others read it: a DICOM audit message (PS3.15 A.5.1), in XML.

It says what we know, in the terms of the standard, and our own kind of event as a second Event Type Code. Whom it is
about is told by patient ID and issuer, and never by name. Each message names the entry that it was made from, and its
digest: what comes twice is told apart by that, and what a collector keeps can be held against the trail. Nothing here
fails: what XML cannot carry is written as a question mark.
"""

from __future__ import annotations

import platform
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from xml.etree.ElementTree import Element, SubElement, tostring

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.rules import auditing
from dicomnode.rules.auditing import Code, Meaning, Way
from dicomnode.store.audit import Event

_FOREIGN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write."""
_APPLICATION_SERVER = "4"  # A.5.1.2.1
_NAME, _ADDRESS = "1", "2"  # of a NetworkAccessPointID
_PERSON, _SYSTEM = "1", "2"  # ParticipantObjectTypeCode
_PATIENT, _REPORT, _SECURITY_RESOURCE = "1", "3", "13"  # ParticipantObjectTypeCodeRole
_SOURCE, _DESTINATION = Code("110153", "Source Role ID"), Code("110152", "Destination Role ID")
_APPLICATION, _SOURCE_MEDIA = Code("110150", "Application"), Code("110155", "Source Media")
_MEDIUM = Code("110037", "URI")
_STUDY, _SOP_CLASS = Code("110180", "Study Instance UID"), Code("110181", "SOP Class UID")
_NODE_ID = Code("110182", "Node ID")
_PATIENT_NUMBER, _URI = Code("2", "Patient Number"), Code("12", "URI")
_DCM, _RFC, _OURS = "DCM", "RFC-3881", "99DICOMNODE"


@dataclass(frozen=True, slots=True)
class _Participant:
    """Who took part: a person, or an AE with the place on the network where it was."""

    user: str
    titles: tuple[str, ...] = ()
    name: str = ""
    place: str = ""
    role: Code | None = None


def xml(event: Event, config: NodeConfig) -> bytes:
    """The message: UTF-8, with its declaration."""
    meaning, message = auditing.meaning(event.kind), Element("AuditMessage")
    _identify(message, event, meaning)
    _take_part(message, event, meaning, config)
    source = SubElement(message, "AuditSourceIdentification", AuditSourceID=config.node.ae_title)
    SubElement(source, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
    _concern(message, event, meaning, config)
    return bytes(tostring(message, encoding="UTF-8", xml_declaration=True))


def severity(event: Event) -> int:
    """As syslog has it (PS3.15 A.6): 5, notice, for what succeeded; 4, warning, for what failed."""
    return 4 if _outcome(event, auditing.meaning(event.kind)) else 5


def _outcome(event: Event, meaning: Meaning) -> int:
    return event.outcome or meaning.outcome


def _identify(message: Element, event: Event, meaning: Meaning) -> None:
    element = SubElement(
        message,
        "EventIdentification",
        EventActionCode=meaning.action,
        EventDateTime=moment(event.at),
        EventOutcomeIndicator=str(_outcome(event, meaning)),
    )
    _code(element, "EventID", meaning.event)
    if meaning.type:
        _code(element, "EventTypeCode", meaning.type)
    _code(element, "EventTypeCode", Code(event.kind, event.kind), _OURS)
    if event.text:
        SubElement(element, "EventOutcomeDescription").text = _text(event.text)


def moment(at: int) -> str:
    """A time in µs, in UTC (xsd:dateTime, and the TIMESTAMP of RFC 5424)."""
    return f"{datetime.fromtimestamp(at / 1e6, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


# -- who took part ---------------------------------------------------------------------------------------------


def _take_part(message: Element, event: Event, meaning: Meaning, config: NodeConfig) -> None:
    ours, others = _ourselves(meaning, config), list(_others(event, meaning, config))
    asked = next((each for each in others if event.who in (each.name, each.user)), None) if event.who else None
    if asked is None and meaning.way is Way.IN and others:
        asked = others[0]
    for each in (ours, *others):
        is_requestor = each is asked or (asked is None and each is ours)
        _participant(message, each, is_requestor=is_requestor)
    if meaning.event is auditing.IMPORT:
        _files(message)


def _ourselves(meaning: Meaning, config: NodeConfig) -> _Participant:
    roles = {Way.IN: _DESTINATION, Way.OUT: _SOURCE, Way.NONE: _APPLICATION}
    node = config.node
    return _Participant(
        node.ae_title, (node.ae_title, *node.aliases), "dicomnode", platform.node(), roles[meaning.way]
    )


def _others(event: Event, meaning: Meaning, config: NodeConfig) -> Iterator[_Participant]:
    """The partner, and who else had it done: another partner, or a person."""
    roles = {Way.IN: _SOURCE, Way.OUT: _DESTINATION, Way.NONE: None}
    if event.partner:
        yield _of(event.partner, event.address, roles[meaning.way], config)
    if event.who and event.who != event.partner:
        yield _of(event.who, "" if event.partner else event.address, None, config)


def _of(name: str, address: str, role: Code | None, config: NodeConfig) -> _Participant:
    known: Partner | None = config.partners.get(name)
    if known is None:
        return _Participant(name, place=address, role=role)
    return _Participant(known.ae_title, (known.ae_title,), name, address or known.host or "", role)


def _participant(message: Element, it: _Participant, *, is_requestor: bool) -> Element:
    said = {
        "UserID": it.user,
        "AlternativeUserID": f"AETITLES={';'.join(it.titles)}" if it.titles else "",
        "UserName": it.name,
        "UserIsRequestor": "true" if is_requestor else "false",
        "NetworkAccessPointID": it.place,
        "NetworkAccessPointTypeCode": _kind_of(it.place),
    }
    element = SubElement(message, "ActiveParticipant", {name: _text(value) for name, value in said.items() if value})
    if it.role:
        _code(element, "RoleIDCode", it.role)
    return element


def _kind_of(place: str) -> str:
    try:
        return _ADDRESS if place and ip_address(place) else ""
    except ValueError:
        return _NAME


def _files(message: Element) -> None:
    """What an import reads (A.5.3.6)."""
    element = _participant(message, _Participant("files", role=_SOURCE_MEDIA), is_requestor=False)
    _code(SubElement(element, "MediaIdentifier"), "MediaType", _MEDIUM)


# -- what it was about -----------------------------------------------------------------------------------------


def _concern(message: Element, event: Event, meaning: Meaning, config: NodeConfig) -> None:
    if event.query:
        _query(message, event)
    if event.study_instance_uid:
        _study(message, event)
    if event.patient_id or (event.study_instance_uid and meaning.event is not auditing.ORDER_RECORD):
        _patient(message, event)
    if meaning.event is auditing.SECURITY_ALERT:
        _alert(message, event, config)
    _entry(message, event, config)


def _query(message: Element, event: Event) -> None:
    """The SOP class that was asked by, and what was asked (A.5.3.10)."""
    syntax, _, identifier = event.query.partition(" ")
    ((uid, _),) = event.classes or (("", 0),)
    element = _object(message, uid, _SOP_CLASS, (_SYSTEM, _REPORT))
    SubElement(element, "ParticipantObjectQuery").text = identifier
    _detail(element, "TransferSyntax", syntax)


def _study(message: Element, event: Event) -> None:
    element = _object(message, event.study_instance_uid, _STUDY, (_SYSTEM, _REPORT))
    SubElement(element, "ParticipantObjectName").text = f"referral {event.referral}" if event.referral else "study"
    description = SubElement(element, "ParticipantObjectDescription")
    for uid, number in event.classes:
        SubElement(description, "SOPClass", UID=uid, NumberOfInstances=str(number))
    if event.sop_instance_uid:
        of_class = SubElement(description, "SOPClass", NumberOfInstances="1")
        SubElement(of_class, "Instance", UID=_text(event.sop_instance_uid))


def _patient(message: Element, event: Event) -> None:
    """As an HL7 CX: the ID and who has given it out. Where a study has no ID, that is said (A.5.3 wants a patient)."""
    number = event.patient_id or "unknown"
    issued = f"{number}^^^{event.issuer_of_patient_id}" if event.issuer_of_patient_id else number
    element = _object(message, issued, _PATIENT_NUMBER, (_PERSON, _PATIENT), _RFC)
    SubElement(element, "ParticipantObjectName")


def _alert(message: Element, event: Event, config: NodeConfig) -> None:
    """Whom a security alert is about (A.5.3.11)."""
    about = event.partner or event.who or event.address or config.node.ae_title
    element = _object(message, about, _NODE_ID, (_SYSTEM, _SECURITY_RESOURCE))
    SubElement(element, "ParticipantObjectName").text = _text(event.address or about)
    _detail(element, "Alert Description", event.text)


def _entry(message: Element, event: Event, config: NodeConfig) -> None:
    """The entry of our own trail (as A.5.3.2 names one)."""
    number = f"urn:dicomnode:{config.node.ae_title}:audit:{event.id}"
    element = _object(message, number, _URI, (_SYSTEM, _SECURITY_RESOURCE), _RFC)
    SubElement(element, "ParticipantObjectName").text = "Security Audit Log"
    _detail(element, "SHA-256", event.digest)
    _detail(element, "Generation", str(event.generation))


def _object(message: Element, number: str, kind: Code, is_a: tuple[str, str], scheme: str = _DCM) -> Element:
    element = SubElement(
        message,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_text(number),
        ParticipantObjectTypeCode=is_a[0],
        ParticipantObjectTypeCodeRole=is_a[1],
    )
    _code(element, "ParticipantObjectIDTypeCode", kind, scheme)
    return element


def _detail(element: Element, kind: str, value: str) -> None:
    """Base64: it may be anything (A.5.1)."""
    encoded = b64encode(value.encode("utf-8", "replace")).decode()
    SubElement(element, "ParticipantObjectDetail", type=kind, value=encoded)


def _code(parent: Element, name: str, code: Code, scheme: str = _DCM) -> None:
    said = {"csd-code": code.value, "codeSystemName": scheme, "originalText": code.meaning}
    SubElement(parent, name, said)


def _text(value: str) -> str:
    return _FOREIGN.sub("?", value)
