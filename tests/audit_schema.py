"""The structure of a DICOM audit message (PS3.15 A.5.1), written down for tests: what may stand where, and how often.

`faults` is a validator of no more than this one schema: attributes and their forms, and the order of elements as a
regular expression over their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

_TOKEN, _ANY = r"(\S+( \S+)*)?", r"[\s\S]*"
_BASE64 = r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_OID = r"[0-2]((\.0)|(\.[1-9][0-9]*))*"
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
_BOOLEAN = "true|false|0|1"


@dataclass(frozen=True)
class _Form:
    """What an element is: its children in order, the attributes it must and may have, and its text."""

    children: str = ""
    must: dict[str, str] = field(default_factory=dict)
    may: dict[str, str] = field(default_factory=dict)
    text: str = r"\s*"


_CODE = _Form("", {"csd-code": _TOKEN, "codeSystemName": _TOKEN, "originalText": _TOKEN}, {"displayName": _TOKEN})
_FORMS = {
    "AuditMessage": _Form(
        "EventIdentification (ActiveParticipant )+AuditSourceIdentification (ParticipantObjectIdentification )*"
    ),
    "EventIdentification": _Form(
        "EventID (EventTypeCode )*(EventOutcomeDescription )?",
        {"EventDateTime": _TIME, "EventOutcomeIndicator": "0|4|8|12"},
        {"EventActionCode": "[CRUDE]"},
    ),
    "EventOutcomeDescription": _Form(text=_ANY),
    "ActiveParticipant": _Form(
        "(RoleIDCode )*(MediaIdentifier )?",
        {"UserID": _ANY, "UserIsRequestor": _BOOLEAN},
        {
            "AlternativeUserID": _ANY,
            "UserName": _ANY,
            "NetworkAccessPointID": _TOKEN,
            "NetworkAccessPointTypeCode": "[1-5]",
        },
    ),
    "MediaIdentifier": _Form("MediaType "),
    "AuditSourceIdentification": _Form(
        "(AuditSourceTypeCode )*", {"AuditSourceID": _TOKEN}, {"AuditEnterpriseSiteID": _TOKEN}
    ),
    "AuditSourceTypeCode": _Form("", {"csd-code": "[1-9]"}),
    "ParticipantObjectIdentification": _Form(
        "ParticipantObjectIDTypeCode (ParticipantObjectName |ParticipantObjectQuery )(ParticipantObjectDetail )*"
        "(ParticipantObjectDescription )*",
        {"ParticipantObjectID": _TOKEN},
        {
            "ParticipantObjectTypeCode": "[1-4]",
            "ParticipantObjectTypeCodeRole": "[1-9]|1[0-9]|2[0-6]",
            "ParticipantObjectDataLifeCycle": "[1-9]|1[0-5]",
            "ParticipantObjectSensitivity": _TOKEN,
        },
    ),
    "ParticipantObjectName": _Form(text=_TOKEN),
    "ParticipantObjectQuery": _Form(text=_BASE64),
    "ParticipantObjectDetail": _Form("", {"type": _TOKEN, "value": _BASE64}),
    "ParticipantObjectDescription": _Form(
        "(MPPS )*(Accession )*(SOPClass )*(ParticipantObjectContainsStudy )?(Encrypted )?(Anonymized )?"
    ),
    "MPPS": _Form("", {"UID": _OID}),
    "Accession": _Form("", {"Number": _TOKEN}),
    "SOPClass": _Form("(Instance )*", {"NumberOfInstances": "[+-]?[0-9]+"}, {"UID": _OID}),
    "Instance": _Form("", {"UID": _OID}),
    "ParticipantObjectContainsStudy": _Form("StudyIDs "),
    "StudyIDs": _Form("", {"UID": _OID}),
    "Encrypted": _Form(text=_BOOLEAN),
    "Anonymized": _Form(text=_BOOLEAN),
    **dict.fromkeys(
        ("EventID", "EventTypeCode", "RoleIDCode", "MediaType", "ParticipantObjectIDTypeCode"), _CODE
    ),
}


def faults(message: bytes) -> list[str]:
    """Everything in which a message is not as the schema has it, and A.5.2 asks of all of it together."""
    root = ElementTree.fromstring(message)
    found = list(_of(root)) if root.tag == "AuditMessage" else [f"the root is {root.tag}"]
    asked = [each for each in root.iter("ActiveParticipant") if each.get("UserIsRequestor") in ("true", "1")]
    return found if len(asked) <= 1 else [*found, f"{len(asked)} participants are the requestor"]


def _of(element: Element) -> Iterator[str]:
    form = _FORMS.get(element.tag)
    if form is None:
        yield f"there is no element {element.tag}"
        return
    names = "".join(f"{child.tag} " for child in element)
    if not re.fullmatch(form.children, names):
        yield f"{element.tag} has the children {names or 'none'}"
    if not re.fullmatch(form.text, element.text or ""):
        yield f"{element.tag} has the text {element.text!r}"
    for missing in form.must.keys() - element.attrib.keys():
        yield f"{element.tag} has no {missing}"
    for name, value in element.attrib.items():
        pattern = (form.must | form.may).get(name)
        if pattern is None or not re.fullmatch(pattern, value):
            yield f"{element.tag} has {name}={value!r}"
    for child in element:
        yield from _of(child)
