"""rules/coercion.py: what a partner's copies have, what of an instance changes, and what is written down about it."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom import edit, encode, stream, syntaxes
from dicomnode.dicom.edit import Found, Node, Sequence
from dicomnode.dicom.instance import Written
from dicomnode.rules import coercion
from dicomnode.rules.coercion import Coercion, Impossible, Request, Study
from dicomnode.rules.referred import Expected
from tests import fakes
from tests.samples import encode as encode_dataset

AT = datetime(2026, 9, 21, 18, 13, 20, 5, tzinfo=timezone(timedelta(hours=8)))
EXPECTED = Expected(
    *(1, "REF-77", "HA", "A1234563", "HKID", "WONG^SIU MING", "19700101", "M", "ACC-5", "harbour", "PUBPACS"),
    *("Dr Lee", False, "CT thorax", "CTTH", "", "referrals.csv", 0, None),
)
WHOLE = Coercion(
    *("A1234563", "HKID", "HARBOUR", True, "HARBOUR-RIS", "Harbour Imaging Centre"),
    *(Request("REF-77", "HA", "ACC-5", "CT thorax", "CTTH"), "REFERNODE", "Harbour Imaging Centre", AT),
)
NOTHING = replace(WHOLE, patient_id="", issuer="", says_issuers=False, institution="", request=None)


def configured(tmp_path: Any, coerce: str, **sites: str) -> tuple[NodeConfig, Partner]:
    text = fakes.CONFIG.replace("port: 104, may: [find, move]}\n  PUB_WS", f"port: 104, coerce: {coerce}}}\n  PUB_WS")
    text = text.replace("wait: 60s", "wait: 60s, require: referral")
    text = text.replace("patient_id_issuer: HARBOUR}", f"patient_id_issuer: HARBOUR{sites.get('harbour', '')}}}")
    config = fakes.configuration(text, tmp_path)
    return config, config.partners["PUBPACS"]


def of(
    tmp_path: Any, coerce: str, expected: Expected | None = EXPECTED, issuer: str = "", site: str = "harbour"
) -> Any:
    config, partner = configured(tmp_path, coerce, harbour=", accession_issuer: HARBOUR-RIS")
    return coercion.of(Study(site, issuer, expected), partner, config, AT)


# -- of a study --------------------------------------------------------------------------------------------------------


def test_all_that_can_be_asked_for(tmp_path: Any) -> None:
    found = of(tmp_path, "{patient_id: HKID, issuers: true, institution: true, request: true}")
    assert found == WHOLE


def test_nothing_is_asked_for(tmp_path: Any) -> None:
    config = fakes.configuration(fakes.CONFIG, tmp_path)
    assert coercion.of(Study("harbour", "", EXPECTED), config.partners["PUBPACS"], config, AT) is None


def test_each_by_itself(tmp_path: Any) -> None:
    for coerce, expected in {
        "{patient_id: HKID}": replace(NOTHING, patient_id="A1234563", issuer="HKID"),
        "{issuers: true}": replace(NOTHING, says_issuers=True),
        "{institution: true}": replace(NOTHING, institution=WHOLE.institution),
        "{request: true}": replace(NOTHING, request=WHOLE.request),
    }.items():
        assert of(tmp_path, coerce) == expected


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (None, "no referral in advance gives its patient ID of HKID"),
        (replace(EXPECTED, patient_id=""), "its referral gives no patient ID of HKID"),
        (replace(EXPECTED, issuer_of_patient_id="NHS"), "its referral gives no patient ID of HKID"),
        (replace(EXPECTED, patient_id="A" * 65), "over 64 characters"),
        (replace(EXPECTED, patient_id="A\\B"), "a backslash"),
        (replace(EXPECTED, number="R" * 17), "the number of its referral has over 16 characters"),
        (replace(EXPECTED, accession_number="R" * 17), "the accession number of its referral has over 16"),
    ],
)
def test_what_the_referral_must_give_and_does_not(tmp_path: Any, expected: Expected | None, words: str) -> None:
    found = of(tmp_path, "{patient_id: HKID, request: true}", expected)
    assert isinstance(found, Impossible)
    assert words in found.reason
    assert "A1234563" not in found.reason


def test_who_has_the_issuer_already_needs_no_referral(tmp_path: Any) -> None:
    found = of(tmp_path, "{patient_id: HKID, request: true}", None, issuer="HKID")
    assert (found.patient_id, found.issuer, found.request) == ("", "", None)
    assert of(tmp_path, "{patient_id: HARBOUR}", None).issuer == ""
    assert isinstance(of(tmp_path, "{patient_id: HKID}", None, issuer="OTHER"), Impossible)


def test_of_what_nobody_knows_the_site_nothing_is_said_of_it(tmp_path: Any) -> None:
    found = of(tmp_path, "{issuers: true, institution: true}", None, site="")
    assert (found.sender_issuer, found.institution, found.source) == ("", "", "")


def test_what_a_procedure_is_called_fits_its_attribute(tmp_path: Any) -> None:
    found = of(tmp_path, "{request: true}", replace(EXPECTED, procedure="CT\\" + "x" * 80, procedure_code="c" * 17))
    assert found.request.description == "CT " + "x" * 61
    assert found.request.code == ""


def test_who_sends_in_which_character_set(tmp_path: Any) -> None:
    config, partner = configured(tmp_path, "{issuers: true}")
    config = config.model_copy(
        update={"partners": config.partners | {"CT1": config.partners["CT1"].model_copy(update={"charset": "GB18030"})}}
    )
    found = coercion.of(Study("harbour", "", None), partner, config, AT)
    assert isinstance(found, Coercion)
    assert (found.assumed("CT1"), found.assumed("PEAK_CT"), found.assumed("")) == ("GB18030", "", "")


# -- of an instance ----------------------------------------------------------------------------------------------------


def dataset(**attributes: Any) -> Dataset:
    made = Dataset()
    made.PatientID, made.AccessionNumber = "H-1", "5"
    for keyword, value in attributes.items():
        if value is None:
            del made[keyword]
        else:
            setattr(made, keyword, value)
    return made


def item(**attributes: Any) -> Items:
    return Items([dataset(PatientID=None, AccessionNumber=None, **attributes)])


def found_in(made: Dataset) -> dict[int, Found]:
    raw = encode_dataset(made)
    return dict(edit.survey(stream.Reading(io.BytesIO(raw)), Written(syntaxes.EXPLICIT), coercion.READS).found)


def changed(wanted: Coercion, **attributes: Any) -> dict[str, Any]:
    return {f"{tag:08X}": told(node) for tag, node in coercion.changes(wanted, found_in(dataset(**attributes))).items()}


def told(node: Node | None) -> Any:
    """A value as a test writes it: text; a sequence as a list of {tag: value}, `...` for those that were there."""
    if node is None:
        return None
    if isinstance(node, encode.Element):
        return node.value
    if isinstance(node, Found):
        return f"was {node.text}" if node.text or not node.value else f"was {len(node.items)} item(s)"
    assert isinstance(node, Sequence)
    items = [{f"{each.tag:08X}": told(each) for each in item} for item in node.items]
    return [...] * (node.after is not None) + items


PATIENT = replace(NOTHING, patient_id="A1234563", issuer="HKID")
"""What changes besides is seen elsewhere."""


def of_patient(**attributes: Any) -> dict[str, Any]:
    return {tag: value for tag, value in changed(PATIENT, **attributes).items() if tag.startswith("0010")}


def test_the_senders_patient_id_goes_beside_that_of_the_referral() -> None:
    own = {"00100020": "was H-1", "00100021": "HARBOUR", "00100022": "TEXT"}
    assert of_patient() == {"00100020": "A1234563", "00100021": "HKID", "00101002": [own]}


def test_the_issuer_that_the_object_names_goes_with_it() -> None:
    qualifiers = item(UniversalEntityID="1.2.3", UniversalEntityIDType="ISO")
    found = of_patient(IssuerOfPatientID="MINE", IssuerOfPatientIDQualifiersSequence=qualifiers, TypeOfPatientID="RFID")
    own = {"00100020": "was H-1", "00100021": "was MINE", "00100022": "was RFID", "00100024": "was 1 item(s)"}
    assert found["00101002"] == [own]
    assert found["00100022"] is found["00100024"] is None, "they say more of the issuer that was"


def test_what_stands_beside_it_already_stays_and_is_not_there_twice() -> None:
    other = item(IssuerOfPatientID="X")
    other[0].PatientID = "OTHER"
    assert of_patient(OtherPatientIDsSequence=other)["00101002"][0] is ...
    other[0].PatientID, other[0].IssuerOfPatientID = "H-1", "HARBOUR"
    assert "00101002" not in of_patient(OtherPatientIDsSequence=other)


def test_without_an_own_patient_id_none_goes_beside() -> None:
    assert of_patient(PatientID="") == {"00100020": "A1234563", "00100021": "HKID"}
    assert of_patient(PatientID=None) == {"00100020": "A1234563", "00100021": "HKID"}


def test_the_patient_id_that_is_wanted_is_not_changed() -> None:
    assert changed(PATIENT, PatientID="A1234563", IssuerOfPatientID="HKID") == {}
    assert of_patient(PatientID="A1234563", IssuerOfPatientID="OTHER")["00100020"] == "A1234563"


ISSUERS = replace(NOTHING, says_issuers=True)


def test_issuers_are_said_where_they_are_not() -> None:
    found = changed(ISSUERS)
    assert (found["00100021"], found["00080051"]) == ("HARBOUR", [{"00400031": "HARBOUR-RIS"}])
    other = item(LocalNamespaceEntityID="Y")
    assert changed(ISSUERS, IssuerOfPatientID="X", IssuerOfAccessionNumberSequence=other) == {}
    assert changed(ISSUERS, PatientID="", AccessionNumber="") == {}
    assert changed(replace(ISSUERS, sender_issuer="", accession_issuer="")) == {}


def test_an_institution_is_named_where_there_is_none() -> None:
    wanted = replace(NOTHING, institution="Harbour")
    assert changed(wanted)["00080080"] == changed(wanted, InstitutionName="")["00080080"] == "Harbour"
    assert changed(wanted, InstitutionName="Another") == {}
    assert changed(wanted)["00080070"] == "", "which is Type 2 in the General Equipment Module"
    assert "00080070" not in changed(wanted, Manufacturer="ACME")


REQUEST = replace(NOTHING, request=WHOLE.request)


def test_the_referral_is_said_in_the_request_attributes() -> None:
    code = {"00080100": "CTTH", "00080102": "99REFERRAL", "00080104": "CT thorax"}
    assert changed(REQUEST)["00400275"] == [
        {
            "00080050": "ACC-5",
            "00080051": [{"00400031": "HA"}],
            "00321060": "CT thorax",
            "00321064": [code],
            "00401001": "REF-77",
        }
    ]
    bare = replace(NOTHING, request=Request("REF-77", "HA", "", "", "CTTH"))
    assert changed(bare)["00400275"] == [{"00401001": "REF-77"}]


def test_what_was_requested_stays_and_the_referral_is_not_there_twice() -> None:
    assert changed(REQUEST, RequestAttributesSequence=item(RequestedProcedureID="1"))["00400275"][0] is ...
    assert changed(REQUEST, RequestAttributesSequence=item(RequestedProcedureID="REF-77")) == {}


# -- what is written down ----------------------------------------------------------------------------------------------


def test_what_was_stands_in_the_original_attributes() -> None:
    found = changed(WHOLE, IssuerOfPatientID="MINE")
    assert found["04000561"] == [
        {
            "04000550": [
                {
                    "00080051": [],
                    "00080070": "",
                    "00080080": "",
                    "00100020": "was H-1",
                    "00100021": "was MINE",
                    "00101002": [],
                    "00400275": [],
                }
            ],
            "04000562": "20260921101320.000005+0000",
            "04000563": "REFERNODE",
            "04000564": "Harbour Imaging Centre",
            "04000565": "COERCE",
        }
    ]


def test_the_issuer_stands_there_where_there_was_none() -> None:
    """PS3.3 C.12.1.1.9: with a Patient ID always."""
    assert changed(PATIENT)["04000561"][0]["04000550"][0]["00100021"] == ""


def test_what_goes_stands_there_and_what_was_not_there_to_go_does_not() -> None:
    (previous,) = changed(PATIENT, TypeOfPatientID="RFID")["04000561"][0]["04000550"]
    assert previous["00100022"] == "was RFID"
    assert "00100024" not in previous


def test_who_changed_it_and_when() -> None:
    found = changed(ISSUERS)
    assert found["00080015"] == "20260921101320.000005+0000"
    (equipment,) = found["0018A001"]
    assert equipment["0040A170"] == [{"00080100": "109103", "00080102": "DCM", "00080104": "Modifying Equipment"}]
    assert (equipment["00081010"], equipment["0018A002"]) == ("REFERNODE", found["00080015"])
    assert equipment["00080070"]
    assert equipment["00181020"]


def test_what_others_wrote_down_stays() -> None:
    found = changed(ISSUERS, OriginalAttributesSequence=item(), ContributingEquipmentSequence=item())
    assert found["04000561"][0] is found["0018A001"][0] is ...


def test_every_item_is_in_the_order_of_its_tags() -> None:
    def check(node: Node | None) -> None:
        if isinstance(node, Sequence):
            for each in node.items:
                assert [one.tag for one in each] == sorted(one.tag for one in each)
                for one in each:
                    check(one)

    qualifiers = item(UniversalEntityID="1.2.3")
    made = dataset(IssuerOfPatientID="MINE", IssuerOfPatientIDQualifiersSequence=qualifiers, TypeOfPatientID="RFID")
    for node in coercion.changes(WHOLE, found_in(made)).values():
        check(node)


def test_a_uid_is_never_changed() -> None:
    found = changed(WHOLE)
    assert not {"0020000D", "0020000E", "00080018", "00080016"} & set(found)
    assert {int(tag, 16) for tag in found} <= coercion.READS


def test_times_are_utc() -> None:
    assert changed(replace(ISSUERS, at=datetime(2026, 1, 1, tzinfo=UTC)))["00080015"] == "20260101000000.000000+0000"
