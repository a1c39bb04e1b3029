"""rules/matching.py: an Identifier as terms, by model, level and VR. (F..: cases of the acceptance run.)"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.dicom.identifier import Identifier, Key
from dicomnode.dicom.instance import BY_COLUMN, Level
from dicomnode.errors import BadIdentifier
from dicomnode.rules import matching
from dicomnode.rules.matching import Match, Model, Term
from tests.fakes import asked

PR, SR = Model.PATIENT_ROOT, Model.STUDY_ROOT
UID, OTHER = "1.2.3", "1.2.4"
STUDY = {"StudyInstanceUID": UID}
SERIES = STUDY | {"SeriesInstanceUID": UID}


def terms(level: str, model: Model = SR, **keys: str) -> tuple[Term, ...]:
    return matching.query(asked(level, **keys), model).terms


def term(keyword: str, value: str) -> tuple[Term, ...]:
    """The terms of one key at IMAGE level, those of the levels above aside."""
    return terms("IMAGE", **{**SERIES, keyword: value})[2:]


# -- levels ----------------------------------------------------------------------------------------------------

LEVELS = [  # level, model, keys above
    ("PATIENT", PR, {}),  # F01
    ("STUDY", PR, {"PatientID": "P"}),
    ("SERIES", PR, {"PatientID": "P"} | STUDY),
    ("IMAGE", PR, {"PatientID": "P"} | SERIES),  # F50
    ("STUDY", SR, {}),  # F02
    ("SERIES", SR, STUDY),  # F36
    ("IMAGE", SR, SERIES),  # F40
]


@pytest.mark.parametrize(("level", "model", "above"), LEVELS)
def test_a_level_wants_one_value_for_each_level_above(level: str, model: Model, above: dict[str, str]) -> None:
    query = matching.query(asked(level, **above), model)
    assert query.level == level
    uids = {"StudyInstanceUID": "study_instance_uid", "SeriesInstanceUID": "series_instance_uid"}
    columns = [uids.get(keyword, "patient_id") for keyword in above]
    assert [(t.column, *t.values) for t in query.terms] == list(zip(columns, above.values(), strict=True))
    own = {"PATIENT": "patient_id", "STUDY": "study_instance_uid", "SERIES": "series_instance_uid"}
    assert [r.column for r in query.returns] == [*columns, own.get(level, "sop_instance_uid")]  # F89


BAD = [
    ("", SR, STUDY),  # F44
    ("EXAM", SR, STUDY),  # F45
    ("study", SR, STUDY),
    ("PATIENT", SR, {"PatientID": "P"}),  # F46
    ("SERIES", SR, {}),  # F37
    ("SERIES", SR, {"StudyInstanceUID": ""}),  # F38
    ("SERIES", SR, {"StudyInstanceUID": f"{UID}\\{OTHER}"}),  # F41
    ("SERIES", SR, {"StudyInstanceUID": "1.2.*"}),  # F48
    ("SERIES", SR, {"StudyInstanceUID": "*"}),
    ("IMAGE", SR, STUDY),  # F49
    ("IMAGE", SR, {"SeriesInstanceUID": UID}),
    ("STUDY", PR, STUDY),
    ("STUDY", PR, {"PatientID": "P*"}),
    ("STUDY", PR, {"PatientID": "P?"}),
    ("STUDY", PR, {"PatientID": "P\\Q"}),
    ("STUDY", SR, {"StudyInstanceUID": "1.2.*"}),  # F26
    ("STUDY", SR, {"StudyInstanceUID": "*"}),
    ("STUDY", SR, {"StudyInstanceUID": "1.2.3\\1..2"}),
    ("STUDY", SR, {"StudyInstanceUID": "1." * 33 + "1"}),
    ("IMAGE", SR, SERIES | {"SOPInstanceUID": "x"}),
    ("STUDY", SR, {"SOPClassesInStudy": "1.2.*"}),
]


@pytest.mark.parametrize(("level", "model", "keys"), BAD)
def test_what_does_not_fit_the_model_is_refused(level: str, model: Model, keys: dict[str, str]) -> None:
    with pytest.raises(BadIdentifier):
        matching.query(asked(level, **keys), model)


def test_a_refusal_names_the_attribute() -> None:
    with pytest.raises(BadIdentifier, match="StudyInstanceUID needs a single value"):
        terms("SERIES")
    with pytest.raises(BadIdentifier, match="'EXAM' is no level"):
        terms("EXAM")


def test_keys_of_lower_levels_and_unknown_ones_restrict_nothing() -> None:
    """F47, F83, F84: returned empty, and the query says that they are not supported."""
    asks = [(0x00080060, "CS", "CT"), (0x00091010, "UN", "x"), (0x00200013, "IS", "1"), (0x00104000, "LT", "y")]
    keys = tuple(Key(*each) for each in asks)
    query = matching.query(Identifier("STUDY", keys, ""), SR)
    assert query.terms == ()
    assert query.unsupported == keys
    counts = asked("STUDY", NumberOfSeriesRelatedInstances="", NumberOfStudyRelatedInstances="5")
    assert [k.tag for k in matching.query(counts, SR).unsupported] == [0x00201209]


def test_keys_of_upper_levels_are_supported() -> None:
    assert terms("STUDY", PatientName="DOE", PatientSex="F") == (  # F76
        Term("patient_name", Match.NAME, ("DOE",)),
        Term("patient_sex", Match.EQUAL, ("F",)),
    )


def test_the_retrieve_title_is_no_key() -> None:
    query = matching.query(asked("STUDY", RetrieveAETitle="OTHER"), SR)
    assert (query.terms, query.unsupported) == ((), ())


def test_a_key_is_returned_once_with_its_vr() -> None:
    query = matching.query(asked("SERIES", **STUDY, Modality="CT", InstanceAvailability="", RetrieveAETitle=""), SR)
    assert [(r.tag, r.vr, r.column) for r in query.returns] == [
        (0x0020000D, "UI", "study_instance_uid"),
        (0x00080060, "CS", "modality"),
        (0x00080056, "CS", "InstanceAvailability"),
        (0x0020000E, "UI", "series_instance_uid"),
    ]


# -- values ----------------------------------------------------------------------------------------------------

UNIVERSAL = [
    *[(keyword, "") for keyword in ("PatientName", "StudyDate", "StudyTime", "Modality", "SOPInstanceUID", "Rows")],
    *[(keyword, "*") for keyword in ("PatientName", "PatientID", "StudyDate", "StudyTime", "Modality")],  # F03, F87
    ("PatientID", "**"),
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
    ("PatientID", "A\\B", "patient_id", Match.EQUAL, ("A\\B",)),
    ("PatientName", "DOE^J*", "patient_name", Match.NAME, ("DOE^J*",)),
    ("ReferringPhysicianName", "X", "referring_physician_name", Match.NAME, ("X",)),
    ("Modality", "CT", "modality", Match.EQUAL, ("CT",)),
    ("Modality", "CT\\MR", "modality", Match.EQUAL, ("CT", "MR")),  # F29
    ("Modality", "C?", "modality", Match.WILDCARD, ("C?",)),  # F31
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
    ("StudyDate", " 20260105 - 20260110 ", "study_date", Match.DATES, ("20260105", "20260110")),
    ("StudyDate", "20260110-20260105", "study_date", Match.DATES, ("20260110", "20260105")),  # F16
    ("StudyDate", "-", "study_date", Match.DATES, ("", "")),
    ("StudyDate", "2026*", "study_date", Match.DATES, ("2026*", "2026*")),
    ("StudyTime", "0930", "study_time", Match.TIMES, ("093000.000000", "093059.999999")),  # F19
    ("StudyTime", "09", "study_time", Match.TIMES, ("090000.000000", "095959.999999")),
    ("StudyTime", "093015", "study_time", Match.TIMES, ("093015.000000", "093015.999999")),
    ("StudyTime", "093015.5", "study_time", Match.TIMES, ("093015.500000", "093015.599999")),
    ("StudyTime", "093015.123456", "study_time", Match.TIMES, ("093015.123456", "093015.123456")),
    ("StudyTime", "09:30", "study_time", Match.TIMES, ("093000.000000", "093059.999999")),
    ("StudyTime", "0800-1000", "study_time", Match.TIMES, ("080000.000000", "100059.999999")),  # F18
    ("StudyTime", "235959-", "study_time", Match.TIMES, ("235959.000000", "")),  # F21
    ("StudyTime", "-12", "study_time", Match.TIMES, ("", "125959.999999")),
    ("StudyTime", "2200-0200", "study_time", Match.TIMES, ("220000.000000", "020059.999999")),
]


@pytest.mark.parametrize(("keyword", "value", "column", "match", "values"), VALUES)
def test_a_key_asks_what_its_vr_allows(
    keyword: str, value: str, column: str, match: Match, values: tuple[str, ...]
) -> None:
    assert term(keyword, value) == (Term(column, match, values),)


@given(st.sampled_from([a.keyword for a in BY_COLUMN.values()]), st.text(max_size=30))
def test_no_value_breaks_anything(keyword: str, value: str) -> None:
    try:
        found = matching.query(asked("IMAGE", **{**SERIES, keyword: value}), SR)
    except BadIdentifier:
        assert keyword.endswith("UID")
    else:
        assert len(found.terms) <= 3


# -- what a move selects ---------------------------------------------------------------------------------------

MOVES = [
    ("PATIENT", PR, {"PatientID": "P"}, [("patient_id", ("P",))]),
    ("STUDY", SR, STUDY, [("study_instance_uid", (UID,))]),
    ("STUDY", SR, {"StudyInstanceUID": f"{UID}\\{OTHER}"}, [("study_instance_uid", (UID, OTHER))]),
    ("STUDY", PR, STUDY | {"PatientID": "P"}, [("patient_id", ("P",)), ("study_instance_uid", (UID,))]),
    ("SERIES", SR, SERIES, [("study_instance_uid", (UID,)), ("series_instance_uid", (UID,))]),
    ("STUDY", SR, STUDY | {"PatientName": "X", "Modality": "CT"}, [("study_instance_uid", (UID,))]),  # M15
    (
        "IMAGE",
        SR,
        SERIES | {"SOPInstanceUID": f"{UID}\\{OTHER}"},
        [("study_instance_uid", (UID,)), ("series_instance_uid", (UID,)), ("sop_instance_uid", (UID, OTHER))],
    ),
]


@pytest.mark.parametrize(("level", "model", "keys", "found"), MOVES)
def test_a_move_selects_by_unique_keys_alone(
    level: str, model: Model, keys: dict[str, str], found: list[tuple[str, tuple[str, ...]]]
) -> None:
    query = matching.retrieve(asked(level, **keys), model)
    assert query.level is Level.IMAGE
    assert [(t.column, t.values) for t in query.terms] == found


NEVER_EVERYTHING = [
    ("STUDY", SR, {}),  # M11
    ("STUDY", SR, {"StudyInstanceUID": ""}),
    ("STUDY", SR, {"StudyInstanceUID": "*"}),
    ("STUDY", SR, {"StudyInstanceUID": "1.2*"}),
    ("STUDY", SR, {"StudyInstanceUID": "\\"}),
    ("PATIENT", PR, {}),
    ("PATIENT", PR, {"PatientID": "*"}),
    ("PATIENT", PR, {"PatientID": "CONF*"}),  # M13
    ("PATIENT", PR, {"PatientID": "A\\B"}),
    ("SERIES", SR, STUDY),
    ("SERIES", SR, {"SeriesInstanceUID": UID}),  # M10
    ("IMAGE", SR, SERIES),
    ("", SR, STUDY),  # M14
    ("PATIENT", SR, {"PatientID": "P"}),
]


@pytest.mark.parametrize(("level", "model", "keys"), NEVER_EVERYTHING)
def test_a_move_never_means_everything(level: str, model: Model, keys: dict[str, str]) -> None:
    with pytest.raises(BadIdentifier):
        matching.retrieve(asked(level, **keys), model)
