"""What changes in the copy that a partner is sent: which attributes, and what is written down about it.

Promises that UIDs and pixels are never among it, that nothing is lost (what was there stands in the Original Attributes
Sequence, PS3.3 C.12.1.1.9), and that the copy says who changed it, and when. Where nothing would change, nothing is
written down either. What the referral must give and does not, or what no attribute could carry, is said before anything
is sent. Pure: the time and the instance are handed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from dicomnode import __version__
from dicomnode.config.model import NodeConfig, Partner
from dicomnode.config.parts import Coerce
from dicomnode.dicom.edit import Found, Node, Sequence
from dicomnode.dicom.encode import Element
from dicomnode.rules.patients import issuer_key
from dicomnode.rules.referred import Expected

_COERCED_AT: Final = 0x00080015
_ACCESSION: Final = 0x00080050
_ACCESSION_ISSUER: Final = 0x00080051
_MANUFACTURER: Final = 0x00080070
_INSTITUTION: Final = 0x00080080
_PATIENT_ID: Final = 0x00100020
_ISSUER: Final = 0x00100021
_ID_TYPE: Final = 0x00100022
_QUALIFIERS: Final = 0x00100024
_OTHER_IDS: Final = 0x00101002
_EQUIPMENT: Final = 0x0018A001
_DESCRIPTION: Final = 0x00321060
_CODES: Final = 0x00321064
_REQUEST: Final = 0x00400275
_NUMBER: Final = 0x00401001
_ORIGINAL: Final = 0x04000561

_VRS: Final = {
    **dict.fromkeys((_MANUFACTURER, _INSTITUTION, _PATIENT_ID, _ISSUER), "LO"),
    **dict.fromkeys((_ACCESSION_ISSUER, _OTHER_IDS, _REQUEST), "SQ"),
}
"""Those that may come to where they were not."""
READS: Final = frozenset((*_VRS, _COERCED_AT, _ACCESSION, _ID_TYPE, _QUALIFIERS, _EQUIPMENT, _ORIGINAL))
"""The attributes that `changes` must know of an instance, and all that it ever changes."""
_LOCAL: Final = "99REFERRAL"
"""Whose codes those of referrals are: nobody says."""
_LO, _SH = 64, 16
"""Characters of a value (PS3.5 6.2)."""


@dataclass(frozen=True, slots=True)
class Coercion:
    """What is changed in every instance of one study for one partner; '' and None are for what is not."""

    patient_id: str
    issuer: str
    """Of that patient ID."""
    sender_issuer: str
    """Of the patient IDs of the site, where an object does not say."""
    says_issuers: bool
    accession_issuer: str
    institution: str
    request: Request | None
    system: str
    """Who changes it: our AE title."""
    source: str
    """Whom it comes from: the site."""
    at: datetime
    charsets: tuple[tuple[str, str], ...] = ()
    """(partner, character set) of those whose objects declare none, or a wrong one."""

    def assumed(self, partner: str) -> str:
        """The character set that is assumed of what a partner has sent; '' for none."""
        return dict(self.charsets).get(partner, "")


@dataclass(frozen=True, slots=True)
class Request:
    """What the referral says of the procedure that was asked for."""

    number: str
    issuer: str
    accession_number: str
    description: str
    code: str


@dataclass(frozen=True, slots=True)
class Impossible:
    """Why no copy can be made as the configuration wants it, and what a person can do."""

    reason: str


@dataclass(frozen=True, slots=True)
class Study:
    """Of which site a study is ('': nobody knows), whose patient's it says that it is, and its referral in advance."""

    site: str
    issuer: str
    """Issuer of Patient ID as the study has it; '' where it does not say."""
    expected: Expected | None


def of(study: Study, partner: Partner, config: NodeConfig, at: datetime) -> Coercion | Impossible | None:
    """What a study's copies for a partner are to have; None where they are what was received."""
    wanted, expected = partner.coerce, study.expected
    if wanted == Coerce():
        return None
    site = config.sites.get(study.site)
    sender = site.patient_id_issuer if site else ""
    other = wanted.patient_id if wanted.patient_id != (study.issuer or sender) else ""
    why = (_lacking(other, expected) if other else "") or (_too_long(expected) if wanted.request and expected else "")
    if why:
        return Impossible(why)
    return Coercion(
        patient_id=expected.patient_id if other and expected else "",
        issuer=other,
        sender_issuer=sender,
        says_issuers=wanted.issuers,
        accession_issuer=site.accession_issuer if site else "",
        institution=site.name[:_LO] if site and wanted.institution else "",
        request=_request(expected) if wanted.request and expected else None,
        system=config.node.ae_title,
        source=site.name[:_LO] if site else "",
        at=at,
        charsets=tuple((each.name, each.charset) for each in config.partners.values() if each.charset),
    )


def _lacking(issuer: str, expected: Expected | None) -> str:
    """Why the patient ID of an issuer is not to be had."""
    if expected is None:
        return f"no referral in advance gives its patient ID of {issuer}: import one"
    if not expected.patient_id or issuer_key(expected.issuer_of_patient_id) != issuer_key(issuer):
        return f"its referral gives no patient ID of {issuer}: import it with one"
    if not _carried(expected.patient_id, _LO):
        return "the patient ID of its referral has over 64 characters, or a backslash"
    return ""


def _too_long(expected: Expected) -> str:
    """Why the referral cannot be written down."""
    for what, value in (("number", expected.number), ("accession number", expected.accession_number)):
        if not _carried(value, _SH):
            return f"the {what} of its referral has over 16 characters, or a backslash: no attribute carries it"
    return ""


def _carried(value: str, most: int) -> bool:
    return len(value) <= most and "\\" not in value and value.isprintable()


def _request(expected: Expected) -> Request:
    description = "".join(each if each.isprintable() and each != "\\" else " " for each in expected.procedure)[:_LO]
    number, issuer, accession = expected.number, expected.issuer, expected.accession_number
    code = expected.procedure_code if _carried(expected.procedure_code, _SH) else ""
    return Request(number, issuer, accession, description, code)


# -- of one instance ---------------------------------------------------------------------------------------------------

Instance = Mapping[int, Found]
"""What one instance has of READS."""


def changes(coercion: Coercion, found: Instance) -> dict[int, Node | None]:
    """What takes the place of what in one instance; None: nothing does. Unreadable: a sequence of it is none."""
    changed = {
        **_patient(coercion, found),
        **_accession(coercion, found),
        **_institution(coercion, found),
        **_requested(coercion, found),
    }
    changed = {tag: node for tag, node in changed.items() if node is not None or tag in found}
    if not changed:
        return {}
    at = coercion.at.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000")
    return {
        **changed,
        _COERCED_AT: Element(_COERCED_AT, "DT", at),
        _ORIGINAL: Sequence(_ORIGINAL, (_original(coercion, at, changed, found),), found.get(_ORIGINAL)),
        _EQUIPMENT: Sequence(_EQUIPMENT, (_equipment(coercion, at),), found.get(_EQUIPMENT)),
    }


def _patient(coercion: Coercion, found: Instance) -> dict[int, Node | None]:
    issuer = _value(_ISSUER, found)
    if not coercion.issuer:
        fills = coercion.says_issuers and coercion.sender_issuer and not issuer and _value(_PATIENT_ID, found)
        return {_ISSUER: Element(_ISSUER, "LO", coercion.sender_issuer)} if fills else {}
    if (_value(_PATIENT_ID, found), issuer or coercion.sender_issuer) == (coercion.patient_id, coercion.issuer):
        return {} if issuer else {_ISSUER: Element(_ISSUER, "LO", coercion.issuer)}
    return {
        _PATIENT_ID: Element(_PATIENT_ID, "LO", coercion.patient_id),
        _ISSUER: Element(_ISSUER, "LO", coercion.issuer),
        _ID_TYPE: None,
        _QUALIFIERS: None,  # they say more of the issuer that was
        **_other_ids(coercion, found),
    }


def _other_ids(coercion: Coercion, found: Instance) -> dict[int, Node | None]:
    """The sender's patient ID beside those that are there (PS3.3 C.7.1.1), unless it is one of them."""
    own, issuer = _value(_PATIENT_ID, found), _value(_ISSUER, found) or coercion.sender_issuer
    there = [(item.get(_PATIENT_ID, ""), item.get(_ISSUER, "")) for item in _items(_OTHER_IDS, found)]
    if not own or (own, issuer) in there:
        return {}
    kept: list[Node] = [found[_PATIENT_ID]]
    if _value(_ISSUER, found):
        kept.append(found[_ISSUER])
    elif issuer:
        kept.append(Element(_ISSUER, "LO", issuer))
    kept.append(found[_ID_TYPE] if _value(_ID_TYPE, found) else Element(_ID_TYPE, "CS", "TEXT"))
    if _value(_ISSUER, found) and _QUALIFIERS in found:
        kept.append(found[_QUALIFIERS])
    return {_OTHER_IDS: Sequence(_OTHER_IDS, (tuple(kept),), found.get(_OTHER_IDS))}


def _accession(coercion: Coercion, found: Instance) -> dict[int, Node | None]:
    wanted = coercion.says_issuers and coercion.accession_issuer and _value(_ACCESSION, found)
    if not wanted or (_ACCESSION_ISSUER in found and found[_ACCESSION_ISSUER].value):
        return {}
    return {_ACCESSION_ISSUER: _issued_by(coercion.accession_issuer)}


def _issued_by(issuer: str) -> Sequence:
    """Issuer of Accession Number Sequence: who that is, by a name of this place (PS3.3 10.14)."""
    return Sequence(_ACCESSION_ISSUER, ((Element(0x00400031, "UT", issuer),),))


def _institution(coercion: Coercion, found: Instance) -> dict[int, Node | None]:
    if not coercion.institution or _value(_INSTITUTION, found):
        return {}
    named: dict[int, Node | None] = {_INSTITUTION: Element(_INSTITUTION, "LO", coercion.institution)}
    if _MANUFACTURER not in found:  # where there is equipment, this is Type 2 (PS3.3 C.7.5.1)
        named[_MANUFACTURER] = Element(_MANUFACTURER, "LO", "")
    return named


def _requested(coercion: Coercion, found: Instance) -> dict[int, Node | None]:
    """The referral among the Request Attributes (PS3.3 10.6), unless it is there."""
    request = coercion.request
    if request is None or any(item.get(_NUMBER) == request.number for item in _items(_REQUEST, found)):
        return {}
    item: list[Node] = []
    if request.accession_number:
        item.append(Element(_ACCESSION, "SH", request.accession_number))
        item += [_issued_by(request.issuer)] if request.issuer else []
    if request.description:
        item.append(Element(_DESCRIPTION, "LO", request.description))
    if request.code and request.description:
        item.append(Sequence(_CODES, (_code(request.code, _LOCAL, request.description),)))
    item.append(Element(_NUMBER, "SH", request.number))
    return {_REQUEST: Sequence(_REQUEST, (tuple(item),), found.get(_REQUEST))}


# -- what is written down about it -------------------------------------------------------------------------------------


def _original(coercion: Coercion, at: str, changed: Mapping[int, Node | None], found: Instance) -> tuple[Node, ...]:
    """An item of the Original Attributes Sequence: each attribute as it was, empty where it was not there."""
    before = tuple(found.get(tag) or _empty(tag) for tag in sorted(changed))
    return (
        Sequence(0x04000550, (before,)),
        Element(0x04000562, "DT", at),
        Element(0x04000563, "LO", coercion.system),
        Element(0x04000564, "LO", coercion.source),
        Element(0x04000565, "CS", "COERCE"),
    )


def _empty(tag: int) -> Node:
    return Sequence(tag, ()) if _VRS[tag] == "SQ" else Element(tag, _VRS[tag], "")


def _equipment(coercion: Coercion, at: str) -> tuple[Node, ...]:
    """An item of the Contributing Equipment Sequence (PS3.3 C.12.1): this node, as Modifying Equipment (CID 7005)."""
    return (
        Element(0x00080070, "LO", "dicomnode"),
        Element(0x00081010, "SH", coercion.system),
        Element(0x00181020, "LO", __version__),
        Element(0x0018A002, "DT", at),
        Sequence(0x0040A170, (_code("109103", "DCM", "Modifying Equipment"),)),
    )


def _code(value: str, scheme: str, meaning: str) -> tuple[Node, ...]:
    return (
        Element(0x00080100, "SH", value),
        Element(0x00080102, "SH", scheme),
        Element(0x00080104, "LO", meaning),
    )


def _value(tag: int, found: Instance) -> str:
    return found[tag].text if tag in found else ""


def _items(tag: int, found: Instance) -> list[dict[int, str]]:
    return found[tag].items if tag in found else []
