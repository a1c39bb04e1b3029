"""rules/terms.py: what a key asks, by its VR and by what was negotiated. (F..: cases of the acceptance run.)"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.dicom.instance import BY_COLUMN
from dicomnode.errors import BadIdentifier
from dicomnode.rules import terms
from dicomnode.rules.keys import SUPPORTED
from dicomnode.rules.negotiated import Features
from dicomnode.rules.terms import Match, Term
from tests.fakes import AskedItem, asked_key

UID, OTHER = "1.2.3", "1.2.4"
BASELINE = Features()


def term(keyword: str, value: str | list[AskedItem], features: Features = BASELINE) -> tuple[Term, ...]:
    """The terms of one key."""
    key = asked_key(keyword, value)
    return tuple(terms.of(key, SUPPORTED[key.tag], features))


UNIVERSAL = [
    *[(keyword, "") for keyword in ("PatientName", "StudyDate", "StudyTime", "Modality", "SOPInstanceUID", "Rows")],
    *[(keyword, "*") for keyword in ("PatientName", "PatientID", "StudyDate", "StudyTime", "Modality")],  # F03, F87
    *[("AcquisitionDateTime", "*"), ("ContentTime", "**"), ("Modality", "*\\CT"), ("Modality", "\\")],
    ("PatientID", "**"),
    ("TimezoneOffsetFromUTC", "+0100"),  # F79
    ("PatientID", "  "),
    ("InstanceAvailability", "ONLINE"),
    ("NumberOfStudyRelatedInstances", "3"),  # F68
]


@pytest.mark.parametrize(("keyword", "value"), UNIVERSAL)
def test_a_universal_key_restricts_nothing(keyword: str, value: str) -> None:
    assert term(keyword, value) == ()


VALUES: list[tuple[str, str, str, Match, tuple[str, ...]]] = [
    ("PatientID", "A_1", "patient_id", Match.EQUAL, ("A_1",)),
    ("PatientID", " A_1 \0", "patient_id", Match.EQUAL, ("A_1",)),  # F11
    ("PatientID", "A*", "patient_id", Match.WILDCARD, ("A*",)),
    ("PatientID", "?*", "patient_id", Match.WILDCARD, ("?*",)),  # F33
    ("PatientID", "A%'\"[_]", "patient_id", Match.EQUAL, ("A%'\"[_]",)),  # F09, F10
    ("PatientID", '""', "patient_id", Match.EQUAL, ('""',)),  # F34
    ("PatientID", "A\\B", "patient_id", Match.EQUAL, ("A\\B",)),
    ("PatientName", "DOE^J*", "patient_name", Match.NAME, ("DOE^J*",)),
    ("ReferringPhysicianName", "X", "referring_physician_name", Match.NAME, ("X",)),
    ("Modality", "CT", "modality", Match.EQUAL, ("CT",)),
    ("Modality", "CT\\MR", "modality", Match.EQUAL, ("CT", "MR")),  # F29
    ("Modality", "CT \\ \\MR", "modality", Match.EQUAL, ("CT", "MR")),
    ("Modality", "C?", "modality", Match.WILDCARD, ("C?",)),  # F31
    ("Modality", "CT\\M*", "modality", Match.WILDCARD, ("CT", "M*")),
    ("ModalitiesInStudy", "CT", "ModalitiesInStudy", Match.EQUAL, ("CT",)),  # F27
    ("SOPClassesInStudy", f"{UID}\\{OTHER}", "SOPClassesInStudy", Match.UIDS, (UID, OTHER)),
    ("SOPInstanceUID", UID, "sop_instance_uid", Match.UIDS, (UID,)),
    ("SOPInstanceUID", f"{UID}\\{OTHER} ", "sop_instance_uid", Match.UIDS, (UID, OTHER)),  # F24, F42
    ("InstanceNumber", "02", "instance_number", Match.NUMBER, ("02",)),  # F88
    ("InstanceNumber", "-1", "instance_number", Match.NUMBER, ("-1",)),
    ("InstanceNumber", "x", "instance_number", Match.EQUAL, ("x",)),
    ("InstanceNumber", "1*", "instance_number", Match.EQUAL, ("1*",)),  # IS has no wild cards
    ("InstanceNumber", "١", "instance_number", Match.EQUAL, ("١",)),
    ("Rows", "512", "rows", Match.NUMBER, ("512",)),
    ("StudyDate", "20260105", "study_date", Match.DATES, ("20260105", "20260105")),
    ("StudyDate", "20260105-20260110", "study_date", Match.DATES, ("20260105", "20260110")),  # F13
    ("StudyDate", "20260105-", "study_date", Match.DATES, ("20260105", "")),  # F15
    ("StudyDate", "-20260110", "study_date", Match.DATES, ("", "20260110")),  # F14
    ("StudyDate", "20260110-20260105", "study_date", Match.DATES, ("20260110", "20260105")),  # F16
    ("StudyTime", "0930", "study_time", Match.TIMES, ("093000.000000", "093059.999999")),  # F19
    ("StudyTime", "0800-1000", "study_time", Match.TIMES, ("080000.000000", "100059.999999")),  # F18
    ("StudyTime", "235959-", "study_time", Match.TIMES, ("235959.000000", "")),  # F21
    (
        "AcquisitionDateTime",
        "20200601080000+0900",  # F70
        "acquisition_date_time",
        Match.DATETIMES,
        ("20200531230000.000000", "20200531230000.999999"),
    ),
]


@pytest.mark.parametrize(("keyword", "value", "column", "match", "values"), VALUES)
def test_a_key_asks_what_its_vr_allows(
    keyword: str, value: str, column: str, match: Match, values: tuple[str, ...]
) -> None:
    assert term(keyword, value) == (Term(column, match, values),)


MALFORMED = [
    ("StudyDate", "2020.01.05", "StudyDate is no date and no range of dates"),  # F17
    ("PatientBirthDate", "1950*", "PatientBirthDate is no date"),
    ("StudyDate", "-", "StudyDate is no date"),
    ("StudyTime", "2500", "StudyTime is no time and no range of times"),
    ("AcquisitionDateTime", "yesterday", "AcquisitionDateTime is no date-time and no range of date-times"),
]


@pytest.mark.parametrize(("keyword", "value", "comment"), MALFORMED)
def test_a_malformed_date_or_time_is_refused_by_name(keyword: str, value: str, comment: str) -> None:
    with pytest.raises(BadIdentifier, match=comment):
        term(keyword, value)


@given(st.sampled_from([a.keyword for a in BY_COLUMN.values()]), st.text(max_size=30))
def test_no_value_breaks_anything(keyword: str, value: str) -> None:
    try:
        found = term(keyword, value)
    except BadIdentifier:
        assert keyword.endswith(("UID", "Date", "Time"))
    else:
        assert len(found) <= 1


def test_four_mebibytes_of_uids_are_one_term() -> None:
    many = tuple(f"1.2.826.0.1.3680043.10.{number}" for number in range(140_000))
    assert term("StudyInstanceUID", "\\".join(many)) == (Term("study_instance_uid", Match.UIDS, many),)


# -- names, empty values, several values -----------------------------------------------------------------------


def test_names_are_fuzzy_when_negotiated_and_nothing_else_is() -> None:
    """F78."""
    fuzzy = Features(fuzzy=True)
    assert term("PatientName", "john doe", fuzzy) == (Term("patient_name", Match.FUZZY, ("john doe",)),)
    assert term("PatientName", "*", fuzzy) == ()
    assert term("StudyDescription", "a b", fuzzy) == (Term("study_description", Match.EQUAL, ("a b",)),)


@pytest.mark.parametrize("keyword", ["AccessionNumber", "StudyDate", "StudyTime", "PatientName", "ModalitiesInStudy"])
def test_two_quotation_marks_match_what_is_empty_when_negotiated(keyword: str) -> None:
    """F35."""
    (found,) = term(keyword, '""', Features(empty_value=True))
    assert (found.match, found.values) == (Match.EMPTY, ())


def test_two_quotation_marks_are_no_uid() -> None:
    with pytest.raises(BadIdentifier):
        term("StudyInstanceUID", '""', Features(empty_value=True))


SEVERAL = [
    ("ModalitiesInStudy", "CT\\SR", [(Match.EQUAL, "CT"), (Match.EQUAL, "SR")]),  # F30
    ("ModalitiesInStudy", "CT\\*\\", [(Match.EQUAL, "CT")]),
    ("PatientID", "A\\B*", [(Match.EQUAL, "A"), (Match.WILDCARD, "B*")]),
    ("NameOfPhysiciansReadingStudy", "One \\Two", [(Match.NAME, "One"), (Match.NAME, "Two")]),
]


@pytest.mark.parametrize(("keyword", "value", "found"), SEVERAL)
def test_each_of_several_values_must_match_when_negotiated(
    keyword: str, value: str, found: list[tuple[Match, str]]
) -> None:
    several = term(keyword, value, Features(multiple_value=True))
    assert [(t.match, *t.values) for t in several] == found


def test_a_list_of_uids_is_one_even_so() -> None:
    assert term("StudyInstanceUID", f"{UID}\\{OTHER}", Features(multiple_value=True)) == (
        Term("study_instance_uid", Match.UIDS, (UID, OTHER)),
    )


# -- sequences -------------------------------------------------------------------------------------------------


def test_several_items_are_refused() -> None:
    with pytest.raises(BadIdentifier, match="RequestAttributesSequence takes one item"):
        term("RequestAttributesSequence", [{"RequestedProcedureID": "1"}, {"RequestedProcedureID": "2"}])


def test_a_malformed_uid_in_an_item_is_refused_by_name() -> None:
    with pytest.raises(BadIdentifier, match="StudyInstanceUID is not a UID"):
        term("RequestAttributesSequence", [{"StudyInstanceUID": "1.2.*"}])


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PatientName", "a*" * 513), ("PatientID", "?" * 1025), ("Modality", "CT\\" * 100 + "MR"), ("Rows", "1" * 1025)],
)
def test_a_key_that_no_value_could_fit_is_refused(keyword: str, value: str) -> None:
    """What is compared with every row of the index may not be a book."""
    with pytest.raises(BadIdentifier, match=f"{keyword} has over 1024 characters or 100 values"):
        term(keyword, value)


def test_a_list_of_uids_may_be_long() -> None:
    uids = [f"1.2.{number}" for number in range(20_000)]
    assert term("SOPInstanceUID", "\\".join(uids))[0].values == tuple(uids)
