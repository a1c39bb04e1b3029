"""C-FIND by raw wire: levels, what an answer has, whose studies it shows, errors and cancels (PS3.4 C.4.1)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.kit import STORAGE_CT, query
from tests.integration.small_archive import CONTEXTS, HEAD, PATIENT_ROOT_FIND, SR, Answers, find, study
from tests.node import Node
from tests.samples import decode, make_instances
from tests.upper_layer import C_FIND, EXPLICIT_LE, IMPLICIT_LE, VERIFICATION
from tests.wire import STUDY_ROOT_FIND, Association, contexts_for


@pytest.fixture(scope="module")
def workstation(small_archive: Node) -> Iterator[Association]:
    with small_archive.associate("RAD_WS", CONTEXTS) as it:
        yield it


PATIENT_STUDY_ONLY_FIND = "1.2.840.10008.5.1.4.1.2.3.1"


# -- answers ---------------------------------------------------------------------------------------------------


def test_an_answer_has_what_was_asked_for_and_nothing_else(workstation: Association) -> None:
    asked = {"PatientID": "H0001", "StudyInstanceUID": study("head"), "NumberOfStudyRelatedInstances": ""}
    asked |= dict.fromkeys(
        ("PatientName", "PatientBirthDate", "StudyDate", "ModalitiesInStudy", "SOPClassesInStudy"), ""
    )
    asked |= dict.fromkeys(("NumberOfStudyRelatedSeries", "InstanceAvailability", "AccessionNumber"), "")
    answers = find(workstation, "STUDY", asked)
    assert answers.pending == {0xFF00}
    (match,) = answers.matches
    assert {element.keyword for element in match} == {*asked, "QueryRetrieveLevel", "RetrieveAETitle"}
    assert match.QueryRetrieveLevel == "STUDY"
    assert match.RetrieveAETitle == "REFERNODE"
    assert match.InstanceAvailability == "ONLINE"
    assert sorted(match.ModalitiesInStudy) == ["CT", "SR"]
    assert set(match.SOPClassesInStudy) == {STORAGE_CT, SR}
    assert (match.NumberOfStudyRelatedSeries, match.NumberOfStudyRelatedInstances) == (2, 5)
    assert (match.StudyDate, match.AccessionNumber) == ("20240115", "A1")


def test_a_key_that_is_not_supported_is_said_to_be(workstation: Association) -> None:
    asked = {"StudyInstanceUID": study("knee"), "OtherPatientIDs": "X", "00091010": ""}
    answers = find(workstation, "STUDY", asked)
    assert answers.pending == {0xFF01}
    assert answers.matches[0].get("OtherPatientIDs", "") in ("", None)


def test_at_each_level_of_study_root_there_is_one_answer_for_each_entity(workstation: Association) -> None:
    head = {"StudyInstanceUID": study("head")}
    series = find(workstation, "SERIES", head | {"SeriesInstanceUID": "", "Modality": "", "SeriesNumber": ""})
    assert sorted((match.Modality, str(match.SeriesNumber)) for match in series.matches) == [("CT", "1"), ("SR", "2")]
    assert {match.StudyInstanceUID for match in series.matches} == {study("head")}
    assert _series(workstation, head | {"Modality": "SR"}) == {HEAD[-1].series}
    assert _series(workstation, head | {"SeriesNumber": "02"}) == {HEAD[-1].series}
    assert _series(workstation, head | {"SeriesInstanceUID": HEAD[0].series}) == {HEAD[0].series}
    one = head | {"SeriesInstanceUID": HEAD[-1].series}
    images = find(workstation, "IMAGE", one | {"SOPInstanceUID": "", "InstanceNumber": "", "SOPClassUID": ""})
    assert {match.SOPInstanceUID for match in images.matches} == {sample.sop_instance for sample in HEAD[2:]}
    assert {match.SOPClassUID for match in images.matches} == {SR}
    (image,) = find(workstation, "IMAGE", one | {"SOPInstanceUID": "", "InstanceNumber": "2"}).matches
    assert image.SOPInstanceUID == HEAD[3].sop_instance


def _series(workstation: Association, keys: dict[str, str]) -> set[str]:
    return {match.SeriesInstanceUID for match in find(workstation, "SERIES", {"SeriesInstanceUID": "", **keys}).matches}


def test_patient_root_has_patients(workstation: Association) -> None:
    asked = dict.fromkeys(("PatientID", "PatientName", "NumberOfPatientRelatedStudies"), "")
    asked |= dict.fromkeys(("NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances"), "")
    answers = find(workstation, "PATIENT", asked, model=PATIENT_ROOT_FIND)
    found = {match.PatientID: match for match in answers.matches}
    assert sorted(found) == ["H0001", "H0002", "H[04]", "H_03"]
    assert len(answers.matches) == 4
    jane = found["H0001"]  # what another site has of her is not counted
    counts = [
        jane.NumberOfPatientRelatedStudies,
        jane.NumberOfPatientRelatedSeries,
        jane.NumberOfPatientRelatedInstances,
    ]
    assert counts == [2, 3, 7]
    below = {"PatientID": "H0001", "StudyInstanceUID": ""}
    assert find(workstation, "STUDY", below, model=PATIENT_ROOT_FIND).labels == ["again", "head"]
    below = {"PatientID": "H0001", "StudyInstanceUID": study("head"), "SeriesInstanceUID": ""}
    assert len(find(workstation, "SERIES", below, model=PATIENT_ROOT_FIND).matches) == 2


def test_patient_study_only_has_patients_and_studies_and_nothing_below(small_archive: Node) -> None:
    with small_archive.associate("RAD_WS", [(PATIENT_STUDY_ONLY_FIND, [EXPLICIT_LE])]) as association:
        patient = find(association, "PATIENT", {"PatientID": "H0001"}, model=PATIENT_STUDY_ONLY_FIND)
        assert [match.PatientID for match in patient.matches] == ["H0001"]
        below = {"PatientID": "H0001", "StudyInstanceUID": ""}
        assert find(association, "STUDY", below, model=PATIENT_STUDY_ONLY_FIND).labels == ["again", "head"]
        further = query("SERIES", {"PatientID": "H0001", "StudyInstanceUID": study("head"), "SeriesInstanceUID": ""})
        assert Answers(association, PATIENT_STUDY_ONLY_FIND, further).status == 0xA900


def test_another_sites_studies_do_not_exist(small_archive: Node, workstation: Association) -> None:
    assert find(workstation, "STUDY", {"StudyInstanceUID": study("elsewhere")}).matches == []
    below = {"StudyInstanceUID": study("elsewhere"), "SeriesInstanceUID": ""}
    assert find(workstation, "SERIES", below).matches == []
    with small_archive.associate("PEAK_WS", CONTEXTS) as other:
        assert find(other, "STUDY", {"StudyInstanceUID": "", "PatientID": "H0001"}).labels == ["elsewhere"]
        patient = find(
            other, "PATIENT", {"PatientID": "H0001", "NumberOfPatientRelatedStudies": ""}, model=PATIENT_ROOT_FIND
        )
        assert [match.NumberOfPatientRelatedStudies for match in patient.matches] == [1]


def test_implicit_vr_gives_the_same_answers(small_archive: Node) -> None:
    keys = {"StudyInstanceUID": "", "PatientName": "DOE*", "ModalitiesInStudy": ""}
    with small_archive.associate("RAD_WS", [(STUDY_ROOT_FIND, [IMPLICIT_LE])]) as association:
        *pending, (final, _) = association.find(STUDY_ROOT_FIND, query("STUDY", keys, syntax=IMPLICIT_LE))
    assert final == 0
    found = [decode(raw, IMPLICIT_LE).StudyInstanceUID for _, raw in pending]
    assert sorted(found) == sorted(map(study, ("head", "again", "knee")))


def test_group_lengths_in_an_identifier_are_passed_over(workstation: Association) -> None:
    length = b"\x08\x00\x00\x00UL\x04\x00\x0e\x00\x00\x00"
    answers = Answers(workstation, STUDY_ROOT_FIND, length + query("STUDY", {"StudyInstanceUID": study("knee")}))
    assert (answers.status, answers.labels) == (0, ["knee"])


def test_a_storage_that_was_answered_is_found_at_once(small_archive: Node) -> None:
    (sample,) = make_instances(1, seed="at once", PatientID="H9")
    contexts = contexts_for([sample])
    with (
        small_archive.associate("PEAK_CT", contexts) as modality,
        small_archive.associate("PEAK_WS", CONTEXTS) as other,
    ):
        assert modality.send_sample(sample) == 0
        (match,) = find(other, "STUDY", {"StudyInstanceUID": sample.study, "PatientID": ""}).matches
    assert match.PatientID == "H9"


# -- errors ----------------------------------------------------------------------------------------------------

_BAD: list[tuple[str, str, bytes]] = [
    ("no level", STUDY_ROOT_FIND, query(None, {"StudyInstanceUID": ""})),
    ("an empty level", STUDY_ROOT_FIND, query("", {"StudyInstanceUID": ""})),
    ("an unknown level", STUDY_ROOT_FIND, query("FRAME", {"StudyInstanceUID": ""})),
    ("a patient in Study Root", STUDY_ROOT_FIND, query("PATIENT", {"PatientID": ""})),
    ("series of no study", STUDY_ROOT_FIND, query("SERIES", {"SeriesInstanceUID": ""})),
    ("series of any study", STUDY_ROOT_FIND, query("SERIES", {"StudyInstanceUID": "*", "SeriesInstanceUID": ""})),
    (
        "series of two studies",
        STUDY_ROOT_FIND,
        query("SERIES", {"StudyInstanceUID": "1.2\\1.3", "SeriesInstanceUID": ""}),
    ),
    ("images of no series", STUDY_ROOT_FIND, query("IMAGE", {"StudyInstanceUID": "1.2", "SOPInstanceUID": ""})),
    ("studies of no patient", PATIENT_ROOT_FIND, query("STUDY", {"StudyInstanceUID": ""})),
    ("studies of many patients", PATIENT_ROOT_FIND, query("STUDY", {"PatientID": "H*", "StudyInstanceUID": ""})),
    ("a wild card in a UID", STUDY_ROOT_FIND, query("STUDY", {"StudyInstanceUID": "1.2.*"})),
    ("noise", STUDY_ROOT_FIND, b"\xff" * 64),
    ("a cut", STUDY_ROOT_FIND, query("STUDY", {"StudyInstanceUID": "1.2.3.4"})[:-3]),
    ("nothing", STUDY_ROOT_FIND, b""),
]


@pytest.mark.parametrize(("model", "identifier"), [it[1:] for it in _BAD], ids=[it[0] for it in _BAD])
def test_a_bad_identifier_is_answered_and_the_association_goes_on(
    model: str, identifier: bytes, workstation: Association
) -> None:
    answers = Answers(workstation, model, identifier)
    assert answers.status == 0xA900, f"{answers.status:04X}H"
    assert answers.comment
    assert (answers.matches, answers.last) == ([], b"")
    assert find(workstation, "STUDY", {"StudyInstanceUID": study("knee")}).labels == ["knee"]


def test_a_query_without_an_identifier_is_answered(small_archive: Node) -> None:
    with small_archive.associate("RAD_WS", [*CONTEXTS, (VERIFICATION, [IMPLICIT_LE])]) as association:
        command = {"AffectedSOPClassUID": STUDY_ROOT_FIND, "Priority": 0}
        answer = association.request(association.context_of(STUDY_ROOT_FIND), C_FIND, command)
        assert answer.status == 0xA900
        assert association.echo() == 0


def test_who_leaves_in_the_middle_of_a_query_harms_nobody(small_archive: Node, workstation: Association) -> None:
    for reset in (False, True):
        association = small_archive.associate("PEAK_WS", CONTEXTS)
        command = {"AffectedSOPClassUID": STUDY_ROOT_FIND, "Priority": 0}
        association.send(
            association.context_of(STUDY_ROOT_FIND), C_FIND, command, query("STUDY", {"StudyInstanceUID": ""})
        )
        association.read_response()
        association.abort(reset=reset)
    assert find(workstation, "STUDY", {"StudyInstanceUID": study("head")}).labels == ["head"]
