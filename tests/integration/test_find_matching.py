"""Which studies a C-FIND key matches (PS3.4 C.2.2.2): universal, single, wild card, list, range, all at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.kit import query
from tests.integration.small_archive import ALL, CONTEXTS, SR, Answers, find, study
from tests.node import Node
from tests.wire import STUDY_ROOT_FIND, Association


@pytest.fixture(scope="module")
def workstation(small_archive: Node) -> Iterator[Association]:
    with small_archive.associate("RAD_WS", CONTEXTS) as it:
        yield it


# -- matching --------------------------------------------------------------------------------------------------

_UTF8 = {"SpecificCharacterSet": "ISO_IR 192"}
_MATCHING: list[tuple[dict[str, str], set[str] | frozenset[str]]] = [
    # universal (R138, R141, R143)
    ({}, ALL),
    ({"PatientName": ""}, ALL),
    ({"PatientName": "*"}, ALL),
    ({"AccessionNumber": "*"}, ALL),
    ({"AccessionNumber": "**"}, ALL),
    ({"StudyDate": "*"}, ALL),
    ({"AccessionNumber": "?*"}, ALL - {"liver"}),
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
    ({"StudyInstanceUID": study("head")}, {"head"}),
    ({"StudyInstanceUID": f"{study('head')}\\{study('knee')}\\1.2.3"}, {"head", "knee"}),
    ({"StudyInstanceUID": "\\".join([study("chest"), *(f"1.2.{n}" for n in range(2000))])}, {"chest"}),
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
    ({"ModalitiesInStudy": ""}, ALL),
    ({"SOPClassesInStudy": SR}, {"head"}),
    ({"NumberOfStudyRelatedInstances": "77"}, ALL),
    # several keys: all must hold
    ({"PatientName": "DOE*", "ModalitiesInStudy": "MR"}, {"knee"}),
    ({"PatientName": "DOE*", "ModalitiesInStudy": "CR"}, set()),
    # what is not supported restricts nothing (R112, R114)
    ({"00091010": "X", "PatientID": "H0002"}, {"knee"}),
    ({"OtherPatientIDs": "X", "PatientID": "H0002"}, {"knee"}),
]


@pytest.mark.parametrize(("keys", "expected"), _MATCHING, ids=lambda it: str(it)[:50] if isinstance(it, dict) else "")
def test_a_study_matches_or_not(keys: dict[str, str], expected: set[str], workstation: Association) -> None:
    answers = find(workstation, "STUDY", {"StudyInstanceUID": "", **keys}, codec="utf-8")
    assert answers.labels == sorted(expected)


def test_reversed_or_malformed_ranges_break_nothing(workstation: Association) -> None:
    for keys in ({"StudyDate": "2024-01-15"}, {"StudyDate": "-"}, {"StudyDate": "yesterday"}, {"StudyTime": "25-99-1"}):
        answers = Answers(workstation, STUDY_ROOT_FIND, query("STUDY", {"StudyInstanceUID": "", **keys}))
        assert answers.status in (0, 0xA900)
    assert find(workstation, "STUDY", {"StudyInstanceUID": ""}).labels == sorted(ALL)
