"""C-FIND by raw wire over a small archive: levels, keys, matching, answers and errors (PS3.4 C.2.2.2, C.4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.integration.kit import STORAGE_CT, query
from tests.node import Node, changed, default_config
from tests.samples import Sample, decode, make_instances, uid
from tests.upper_layer import C_FIND, EXPLICIT_LE, IMPLICIT_LE, VERIFICATION
from tests.wire import STUDY_ROOT_FIND, Association, contexts_for

_PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
_SR = "1.2.840.10008.5.1.4.1.1.88.22"
_CONTEXTS = [(uid_, [EXPLICIT_LE]) for uid_ in (STUDY_ROOT_FIND, _PATIENT_ROOT_FIND)]

_STUDIES: dict[str, dict[str, Any]] = {
    "head": {
        "PatientID": "H0001",
        "PatientName": "DOE^JANE",
        "PatientSex": "F",
        "StudyDate": "20240115",
        "StudyTime": "093000",
        "AccessionNumber": "A1",
        "StudyID": "S1",
        "StudyDescription": "CT HEAD 100%",
    },
    "knee": {
        "PatientID": "H0002",
        "PatientName": "DOE^JANE^Q",
        "StudyDate": "20240116",
        "StudyTime": "235959.999",
        "AccessionNumber": "A10",
        "StudyID": "S2",
        "StudyDescription": "MR KNEE",
        "modality": "MR",
    },
    "chest": {
        "PatientID": "H_03",
        "PatientName": "MÜLLER^JÜRGEN",
        "StudyDate": "20240201",
        "StudyTime": "10",
        "AccessionNumber": "A_1",
        "StudyID": "S_1",
        "StudyDescription": "THORAX [PA]",
        "modality": "CR",
    },
    "liver": {
        "PatientID": "H[04]",
        "PatientName": "O'NEIL^*",
        "StudyDate": "",
        "StudyTime": "",
        "AccessionNumber": "",
        "StudyID": "S-4",
        "StudyDescription": "",
        "modality": "US",
    },
    "again": {
        "PatientID": "H0001",
        "PatientName": "DOE^JANE",
        "PatientSex": "F",
        "StudyDate": "20240301",
        "StudyTime": "083000.5",
        "AccessionNumber": "B1",
        "StudyID": "S5",
        "StudyDescription": "CT HEAD",
    },
    "elsewhere": {
        "PatientID": "H0001",
        "PatientName": "DOE^JANE",
        "StudyDate": "20240115",
        "StudyTime": "093000",
        "AccessionNumber": "A1",
        "StudyID": "P1",
        "StudyDescription": "ANOTHER SITE'S",
    },
}
_OWN = [label for label in _STUDIES if label != "elsewhere"]
_ALL = frozenset(_OWN)


def _study(label: str) -> str:
    return uid("find", label)


def _instances(label: str) -> list[Sample]:
    made = make_instances(2, seed=label, study_uid=_study(label), **_STUDIES[label])
    if label == "head":  # a second series, of another modality and class
        made += make_instances(
            3,
            seed=label,
            study_uid=_study(label),
            series=2,
            **(_STUDIES[label] | {"modality": "SR", "SOPClassUID": _SR}),
        )
    return made


_HEAD = _instances("head")


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node]) -> Node:
    node = start_node(changed(default_config(), {"partners": {"PEAK_CT": {"may": ["store"]}}}))
    for label in _STUDIES:
        made = _instances(label)
        with node.associate("PEAK_CT" if label == "elsewhere" else "CT1", contexts_for(made)) as association:
            assert {association.send_sample(sample) for sample in made} == {0}
    return node


@pytest.fixture(scope="module")
def workstation(node: Node) -> Iterator[Association]:
    with node.associate("RAD_WS", _CONTEXTS) as it:
        yield it


class Answers:
    """What came back: the matches decoded, their statuses, and the final status with its comment."""

    def __init__(self, association: Association, model: str, identifier: bytes) -> None:
        *pending, (self.status, self.last) = association.find(model, identifier)
        self.comment = association.last_error_comment
        self.pending = {status for status, _ in pending}
        self.matches: list[Dataset] = [decode(raw) for _, raw in pending]

    @property
    def labels(self) -> list[str]:
        known = {_study(label): label for label in _STUDIES}
        return sorted(known[match.StudyInstanceUID] for match in self.matches)


def _find(
    association: Association, level: str, keys: Mapping[str, Any], *, model: str = STUDY_ROOT_FIND, codec: str = "ascii"
) -> Answers:
    answers = Answers(association, model, query(level, keys, codec=codec))
    assert answers.status == 0, f"{answers.status:04X}H {answers.comment}"
    assert answers.last == b""
    return answers


# -- matching --------------------------------------------------------------------------------------------------

_UTF8 = {"SpecificCharacterSet": "ISO_IR 192"}
_MATCHING: list[tuple[dict[str, str], set[str] | frozenset[str]]] = [
    # universal (R138, R141, R143)
    ({}, _ALL),
    ({"PatientName": ""}, _ALL),
    ({"PatientName": "*"}, _ALL),
    ({"AccessionNumber": "*"}, _ALL),
    ({"AccessionNumber": "**"}, _ALL),
    ({"StudyDate": "*"}, _ALL),
    ({"AccessionNumber": "?*"}, _ALL - {"liver"}),
    # single value: all of it, in its case, padding aside (R130-R133)
    ({"PatientID": "H0001"}, {"head", "again"}),
    ({"PatientID": "H000"}, set()),
    ({"PatientID": "h0001"}, set()),
    ({"PatientID": "H0001   "}, {"head", "again"}),
    ({"AccessionNumber": "A1"}, {"head"}),
    ({"AccessionNumber": " A1 "}, {"head"}),
    ({"StudyID": "S2"}, {"knee"}),
    ({"PatientName": "DOE^JANE"}, {"head", "again"}),
    ({"PatientName": "doe^jane"}, {"head", "again"}),
    ({"PatientName": "DOE^JANE^^^"}, {"head", "again"}),
    ({"PatientName": "DOE"}, set()),
    ({"PatientSex": "F"}, {"head", "again"}),
    ({"PatientSex": "f"}, set()),
    ({"PatientName": "MÜLLER^JÜRGEN", **_UTF8}, {"chest"}),
    ({"PatientName": "Müller^Jürgen", **_UTF8}, {"chest"}),
    # wild cards: any string, one character, and nothing else is one (R139-R142)
    ({"PatientName": "DOE*"}, {"head", "again", "knee"}),
    ({"PatientName": "*jane*"}, {"head", "again", "knee"}),
    ({"PatientName": "M?LLER^J?RGEN"}, {"chest"}),
    ({"PatientName": "M??LLER*"}, set()),
    ({"AccessionNumber": "A?"}, {"head"}),
    ({"AccessionNumber": "A??"}, {"knee", "chest"}),
    ({"AccessionNumber": "A*"}, {"head", "knee", "chest"}),
    ({"AccessionNumber": "A*1"}, {"head", "chest"}),
    ({"AccessionNumber": "A_?"}, {"chest"}),
    ({"AccessionNumber": "A_1"}, {"chest"}),
    ({"AccessionNumber": "A%"}, set()),
    ({"PatientID": "H[04]"}, {"liver"}),
    ({"PatientID": "H[*"}, {"liver"}),
    ({"PatientID": "H[0-9]*"}, set()),
    ({"PatientID": "H_03"}, {"chest"}),
    ({"PatientID": "H_0?"}, {"chest"}),
    ({"StudyDescription": "*100%"}, {"head"}),
    ({"StudyDescription": "*[PA]"}, {"chest"}),
    ({"StudyDescription": "*[P]*"}, set()),
    ({"PatientName": "O'NEIL*"}, {"liver"}),
    ({"PatientID": "' OR 1=1 --"}, set()),
    ({"PatientID": "'; DROP TABLE studies; --*"}, set()),
    ({"PatientID": "^H"}, set()),
    # lists of UIDs (R136, R137)
    ({"StudyInstanceUID": _study("head")}, {"head"}),
    ({"StudyInstanceUID": f"{_study('head')}\\{_study('knee')}\\1.2.3"}, {"head", "knee"}),
    ({"StudyInstanceUID": "\\".join([_study("chest"), *(f"1.2.{n}" for n in range(2000))])}, {"chest"}),
    ({"StudyInstanceUID": "1.2.3"}, set()),
    # dates and times (R144-R147)
    ({"StudyDate": "20240115"}, {"head"}),
    ({"StudyDate": "20240115-20240131"}, {"head", "knee"}),
    ({"StudyDate": "20240116-"}, {"knee", "chest", "again"}),
    ({"StudyDate": "-20240116"}, {"head", "knee"}),
    ({"StudyDate": "20240301-20240101"}, set()),
    ({"StudyTime": "0800-1000"}, {"head", "chest", "again"}),
    ({"StudyTime": "093000"}, {"head"}),
    ({"StudyTime": "0930"}, {"head"}),
    ({"StudyTime": "235959-"}, {"knee"}),
    ({"StudyTime": "-083000"}, {"again"}),
    ({"StudyTime": "-082959"}, set()),
    ({"StudyDate": "20240115-20240116", "StudyTime": "0900-1000"}, {"head"}),
    # of the whole study (R158, R160)
    ({"ModalitiesInStudy": "CT"}, {"head", "again"}),
    ({"ModalitiesInStudy": "SR"}, {"head"}),
    ({"ModalitiesInStudy": "SR\\MR"}, {"head", "knee"}),
    ({"ModalitiesInStudy": "?R"}, {"head", "knee", "chest"}),
    ({"ModalitiesInStudy": ""}, _ALL),
    ({"SOPClassesInStudy": _SR}, {"head"}),
    ({"NumberOfStudyRelatedInstances": "77"}, _ALL),
    # several keys: all must hold
    ({"PatientName": "DOE*", "ModalitiesInStudy": "MR"}, {"knee"}),
    ({"PatientName": "DOE*", "ModalitiesInStudy": "CR"}, set()),
    # what is not supported restricts nothing (R112, R114)
    ({"00091010": "X", "PatientID": "H0002"}, {"knee"}),
    ({"OtherPatientIDs": "X", "PatientID": "H0002"}, {"knee"}),
]


@pytest.mark.parametrize(("keys", "expected"), _MATCHING, ids=lambda it: str(it)[:50] if isinstance(it, dict) else "")
def test_a_study_matches_or_not(keys: dict[str, str], expected: set[str], workstation: Association) -> None:
    answers = _find(workstation, "STUDY", {"StudyInstanceUID": "", **keys}, codec="utf-8")
    assert answers.labels == sorted(expected)


def test_reversed_or_malformed_ranges_break_nothing(workstation: Association) -> None:
    for keys in ({"StudyDate": "2024-01-15"}, {"StudyDate": "-"}, {"StudyDate": "yesterday"}, {"StudyTime": "25-99-1"}):
        answers = Answers(workstation, STUDY_ROOT_FIND, query("STUDY", {"StudyInstanceUID": "", **keys}))
        assert answers.status in (0, 0xA900)
    assert _find(workstation, "STUDY", {"StudyInstanceUID": ""}).labels == sorted(_ALL)


# -- answers ---------------------------------------------------------------------------------------------------


def test_an_answer_has_what_was_asked_for_and_nothing_else(workstation: Association) -> None:
    asked = {"PatientID": "H0001", "StudyInstanceUID": _study("head"), "NumberOfStudyRelatedInstances": ""}
    asked |= dict.fromkeys(
        ("PatientName", "PatientBirthDate", "StudyDate", "ModalitiesInStudy", "SOPClassesInStudy"), ""
    )
    asked |= dict.fromkeys(("NumberOfStudyRelatedSeries", "InstanceAvailability", "AccessionNumber"), "")
    answers = _find(workstation, "STUDY", asked)
    assert answers.pending == {0xFF00}
    (match,) = answers.matches
    assert {element.keyword for element in match} == {*asked, "QueryRetrieveLevel", "RetrieveAETitle"}
    assert match.QueryRetrieveLevel == "STUDY"
    assert match.RetrieveAETitle == "REFERNODE"
    assert match.InstanceAvailability == "ONLINE"
    assert sorted(match.ModalitiesInStudy) == ["CT", "SR"]
    assert set(match.SOPClassesInStudy) == {STORAGE_CT, _SR}
    assert (match.NumberOfStudyRelatedSeries, match.NumberOfStudyRelatedInstances) == (2, 5)
    assert (match.StudyDate, match.AccessionNumber) == ("20240115", "A1")


def test_a_key_that_is_not_supported_is_said_to_be(workstation: Association) -> None:
    asked = {"StudyInstanceUID": _study("knee"), "OtherPatientIDs": "X", "00091010": ""}
    answers = _find(workstation, "STUDY", asked)
    assert answers.pending == {0xFF01}
    assert answers.matches[0].get("OtherPatientIDs", "") in ("", None)


def test_at_each_level_of_study_root_there_is_one_answer_for_each_entity(workstation: Association) -> None:
    study = {"StudyInstanceUID": _study("head")}
    series = _find(workstation, "SERIES", study | {"SeriesInstanceUID": "", "Modality": "", "SeriesNumber": ""})
    assert sorted((match.Modality, str(match.SeriesNumber)) for match in series.matches) == [("CT", "1"), ("SR", "2")]
    assert {match.StudyInstanceUID for match in series.matches} == {_study("head")}
    assert _series(workstation, study | {"Modality": "SR"}) == {_HEAD[-1].series}
    assert _series(workstation, study | {"SeriesNumber": "02"}) == {_HEAD[-1].series}
    assert _series(workstation, study | {"SeriesInstanceUID": _HEAD[0].series}) == {_HEAD[0].series}
    one = study | {"SeriesInstanceUID": _HEAD[-1].series}
    images = _find(workstation, "IMAGE", one | {"SOPInstanceUID": "", "InstanceNumber": "", "SOPClassUID": ""})
    assert {match.SOPInstanceUID for match in images.matches} == {sample.sop_instance for sample in _HEAD[2:]}
    assert {match.SOPClassUID for match in images.matches} == {_SR}
    (image,) = _find(workstation, "IMAGE", one | {"SOPInstanceUID": "", "InstanceNumber": "2"}).matches
    assert image.SOPInstanceUID == _HEAD[3].sop_instance


def _series(workstation: Association, keys: dict[str, str]) -> set[str]:
    return {
        match.SeriesInstanceUID for match in _find(workstation, "SERIES", {"SeriesInstanceUID": "", **keys}).matches
    }


def test_patient_root_has_patients(workstation: Association) -> None:
    asked = dict.fromkeys(("PatientID", "PatientName", "NumberOfPatientRelatedStudies"), "")
    asked |= dict.fromkeys(("NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances"), "")
    answers = _find(workstation, "PATIENT", asked, model=_PATIENT_ROOT_FIND)
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
    assert _find(workstation, "STUDY", below, model=_PATIENT_ROOT_FIND).labels == ["again", "head"]
    below = {"PatientID": "H0001", "StudyInstanceUID": _study("head"), "SeriesInstanceUID": ""}
    assert len(_find(workstation, "SERIES", below, model=_PATIENT_ROOT_FIND).matches) == 2


def test_another_sites_studies_do_not_exist(node: Node, workstation: Association) -> None:
    assert _find(workstation, "STUDY", {"StudyInstanceUID": _study("elsewhere")}).matches == []
    below = {"StudyInstanceUID": _study("elsewhere"), "SeriesInstanceUID": ""}
    assert _find(workstation, "SERIES", below).matches == []
    with node.associate("PEAK_WS", _CONTEXTS) as other:
        assert _find(other, "STUDY", {"StudyInstanceUID": ""}).labels == ["elsewhere"]
        patient = _find(
            other, "PATIENT", {"PatientID": "H0001", "NumberOfPatientRelatedStudies": ""}, model=_PATIENT_ROOT_FIND
        )
        assert [match.NumberOfPatientRelatedStudies for match in patient.matches] == [1]


def test_implicit_vr_gives_the_same_answers(node: Node) -> None:
    keys = {"StudyInstanceUID": "", "PatientName": "DOE*", "ModalitiesInStudy": ""}
    with node.associate("RAD_WS", [(STUDY_ROOT_FIND, [IMPLICIT_LE])]) as association:
        *pending, (final, _) = association.find(STUDY_ROOT_FIND, query("STUDY", keys, syntax=IMPLICIT_LE))
    assert final == 0
    found = [decode(raw, IMPLICIT_LE).StudyInstanceUID for _, raw in pending]
    assert sorted(found) == sorted(map(_study, ("head", "again", "knee")))


def test_group_lengths_in_an_identifier_are_passed_over(workstation: Association) -> None:
    length = b"\x08\x00\x00\x00UL\x04\x00\x0e\x00\x00\x00"
    answers = Answers(workstation, STUDY_ROOT_FIND, length + query("STUDY", {"StudyInstanceUID": _study("knee")}))
    assert (answers.status, answers.labels) == (0, ["knee"])


def test_a_storage_that_was_answered_is_found_at_once(node: Node, workstation: Association) -> None:
    (sample,) = make_instances(1, seed="at once", PatientID="H9")
    with node.associate("CT1", contexts_for([sample])) as association:
        assert association.send_sample(sample) == 0
        (match,) = _find(workstation, "STUDY", {"StudyInstanceUID": sample.study, "PatientID": ""}).matches
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
    ("studies of no patient", _PATIENT_ROOT_FIND, query("STUDY", {"StudyInstanceUID": ""})),
    ("studies of many patients", _PATIENT_ROOT_FIND, query("STUDY", {"PatientID": "H*", "StudyInstanceUID": ""})),
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
    assert _find(workstation, "STUDY", {"StudyInstanceUID": _study("knee")}).labels == ["knee"]


def test_a_query_without_an_identifier_is_answered(node: Node) -> None:
    with node.associate("RAD_WS", [*_CONTEXTS, (VERIFICATION, [IMPLICIT_LE])]) as association:
        command = {"AffectedSOPClassUID": STUDY_ROOT_FIND, "Priority": 0}
        answer = association.request(association.context_of(STUDY_ROOT_FIND), C_FIND, command)
        assert answer.status == 0xA900
        assert association.echo() == 0


def test_a_query_can_be_cancelled(node: Node) -> None:
    many = 200
    made = [sample for n in range(many) for sample in make_instances(1, seed=("cancel", n))]
    with node.associate("PEAK_CT", contexts_for(made[:1])) as association:
        assert {association.send_sample(sample) for sample in made} == {0}
    with node.associate("PEAK_WS", _CONTEXTS) as association:
        context, command = (
            association.context_of(STUDY_ROOT_FIND),
            {"AffectedSOPClassUID": STUDY_ROOT_FIND, "Priority": 0},
        )
        asked = association.send(context, C_FIND, command, query("STUDY", {"StudyInstanceUID": ""}))
        association.cancel(asked, STUDY_ROOT_FIND)
        answers = 0
        while (response := association.read_response()).status == 0xFF00:
            answers += 1
        assert (response.status, response.dataset) == (0xFE00, None)
        assert answers < many
        again = association.find(STUDY_ROOT_FIND, query("STUDY", {"StudyInstanceUID": made[0].study}))
        assert [status for status, _ in again] == [0xFF00, 0]


def test_who_leaves_in_the_middle_of_a_query_harms_nobody(node: Node, workstation: Association) -> None:
    for reset in (False, True):
        association = node.associate("PEAK_WS", _CONTEXTS)
        command = {"AffectedSOPClassUID": STUDY_ROOT_FIND, "Priority": 0}
        association.send(
            association.context_of(STUDY_ROOT_FIND), C_FIND, command, query("STUDY", {"StudyInstanceUID": ""})
        )
        association.read_response()
        association.abort(reset=reset)
    assert _find(workstation, "STUDY", {"StudyInstanceUID": _study("head")}).labels == ["head"]
