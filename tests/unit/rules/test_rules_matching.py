"""rules/matching.py: an Identifier as a query, by model and level. (F..: cases of the acceptance run.)

What a move selects is in test_rules_matching_retrieve.py.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.dicom.identifier import Identifier, Key
from dicomnode.errors import BadIdentifier
from dicomnode.rules import keys, matching
from dicomnode.rules.matching import Model, Query
from dicomnode.rules.negotiated import Features
from dicomnode.rules.terms import Match, Term
from tests.fakes import AskedItem, asked, asked_key

PR, SR, PSO = Model.PATIENT_ROOT, Model.STUDY_ROOT, Model.PATIENT_STUDY_ONLY
UID, OTHER = "1.2.3", "1.2.4"
BASELINE, RELATIONAL, COMBINED = Features(), Features(relational=True), Features(date_time=True)
STUDY = {"StudyInstanceUID": UID}
SERIES = STUDY | {"SeriesInstanceUID": UID}


def ask(level: str, features: Features = BASELINE, model: Model = SR, **keys: str | list[AskedItem]) -> Query:
    return matching.query(asked(level, **keys), model, features)


# -- levels ----------------------------------------------------------------------------------------------------

LEVELS = [  # level, model, keys above
    ("PATIENT", PR, {}),  # F01
    ("STUDY", PR, {"PatientID": "P"}),
    ("SERIES", PR, {"PatientID": "P"} | STUDY),
    ("IMAGE", PR, {"PatientID": "P"} | SERIES),  # F50
    ("STUDY", SR, {}),  # F02
    ("SERIES", SR, STUDY),  # F36
    ("IMAGE", SR, SERIES),  # F40
    ("PATIENT", PSO, {}),
    ("STUDY", PSO, {"PatientID": "P"}),  # F77
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


BAD: list[tuple[str, Model, dict[str, str]]] = [
    ("", SR, {}),
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
    ("STUDY", SR, {"StudyInstanceUID": "\\"}),
    ("STUDY", SR, {"SOPClassesInStudy": "1.2.*"}),
    ("SERIES", PSO, {"PatientID": "P"} | STUDY),
    ("IMAGE", PSO, {"PatientID": "P"} | SERIES),
    ("STUDY", PSO, STUDY),
    ("STUDY", SR, {"StudyDate": "2026"}),
    ("SERIES", SR, STUDY | {"PerformedProcedureStepStartDate": "2026"}),
    ("SERIES", SR, STUDY | {"PerformedProcedureStepStartTime": "x"}),
]


@pytest.mark.parametrize(("level", "model", "keys"), BAD)
def test_what_does_not_fit_the_model_is_refused(level: str, model: Model, keys: dict[str, str]) -> None:
    with pytest.raises(BadIdentifier) as refused:
        matching.query(asked(level, **keys), model)
    assert len(str(refused.value)) <= 64  # an Error Comment (PS3.7 C.5)


def test_a_refusal_names_the_attribute() -> None:
    with pytest.raises(BadIdentifier, match="StudyInstanceUID needs a single value"):
        ask("SERIES")
    with pytest.raises(BadIdentifier, match="'EXAM' is no level"):
        ask("EXAM")


def test_keys_of_lower_levels_and_unknown_ones_restrict_nothing() -> None:
    """F47, F83, F84: returned empty, and the query says that they are not supported."""
    asks = [(0x00080060, "CS", "CT"), (0x00091010, "UN", "x"), (0x00200013, "IS", "1"), (0x00104000, "LT", "y")]
    keys = tuple(Key(*each) for each in asks)
    query = matching.query(Identifier("STUDY", keys, ""), SR)
    assert query.terms == ()
    assert query.unsupported == keys
    assert not query.all_supported
    counts = asked("STUDY", NumberOfSeriesRelatedInstances="", NumberOfStudyRelatedInstances="5")
    assert [k.tag for k in matching.query(counts, SR).unsupported] == [0x00201209]


def test_keys_of_upper_levels_are_supported() -> None:
    assert ask("STUDY", PatientName="DOE", PatientSex="F").terms == (  # F76
        Term("patient_name", Match.NAME, ("DOE",)),
        Term("patient_sex", Match.EQUAL, ("F",)),
    )


def test_the_retrieve_title_is_no_key() -> None:
    query = matching.query(asked("STUDY", RetrieveAETitle="OTHER"), SR)
    assert (query.terms, query.unsupported, query.all_supported) == ((), (), True)  # F52


def test_a_key_is_returned_once_with_its_vr() -> None:
    query = matching.query(asked("SERIES", **STUDY, Modality="CT", InstanceAvailability="", RetrieveAETitle=""), SR)
    assert [(r.tag, r.vr, r.column) for r in query.returns] == [
        (0x0020000D, "UI", "study_instance_uid"),
        (0x00080060, "CS", "modality"),
        (0x00080056, "CS", "InstanceAvailability"),
        (0x0020000E, "UI", "series_instance_uid"),
    ]


# -- relational ------------------------------------------------------------------------------------------------


def test_relational_queries_need_no_unique_keys_above() -> None:
    """F39; they are answered all the same, so that what was found can be retrieved."""
    query = ask("SERIES", RELATIONAL, PR, Modality="SR")
    assert query.terms == (Term("modality", Match.EQUAL, ("SR",)),)
    assert [r.column for r in query.returns] == ["patient_id", "study_instance_uid", "modality", "series_instance_uid"]
    assert query.all_supported


def test_a_unique_key_above_is_a_key_as_any_other_in_a_relational_query() -> None:
    query = ask("IMAGE", RELATIONAL, PR, PatientID="P*", StudyInstanceUID=f"{UID}\\1.2.4", SeriesInstanceUID="")
    assert query.terms == (
        Term("patient_id", Match.WILDCARD, ("P*",)),
        Term("study_instance_uid", Match.UIDS, (UID, "1.2.4")),
    )


def test_relational_keys_of_lower_levels_restrict_and_are_returned_empty() -> None:
    """F47: an answer is one entity of the level, which has no single value of a lower one to return."""
    query = ask("STUDY", RELATIONAL, Modality="CT", SOPInstanceUID=UID, StudyID="7")
    assert query.terms == (
        Term("modality", Match.EQUAL, ("CT",)),
        Term("sop_instance_uid", Match.UIDS, (UID,)),
        Term("study_id", Match.EQUAL, ("7",)),
    )
    assert [k.tag for k in query.unsupported] == [0x00080060, 0x00080018]
    assert {r.column for r in query.returns} == {"study_id", "study_instance_uid"}
    assert not query.all_supported


def test_a_relational_query_has_a_level_of_its_model() -> None:
    with pytest.raises(BadIdentifier, match="has no PATIENT level"):
        ask("PATIENT", RELATIONAL, SR)


# -- date and time ---------------------------------------------------------------------------------------------

DATE, TIME = "20200105-20200106", "0900-1200"


def test_a_date_and_its_time_are_apart_unless_negotiated() -> None:
    """F22."""
    assert ask("STUDY", StudyDate=DATE, StudyTime=TIME).terms == (
        Term("study_date", Match.DATES, ("20200105", "20200106")),
        Term("study_time", Match.TIMES, ("090000.000000", "120059.999999")),
    )


def test_a_date_and_its_time_are_one_when_negotiated() -> None:
    """F23."""
    assert ask("STUDY", COMBINED, StudyTime=TIME, AccessionNumber="A", StudyDate=DATE).terms == (
        Term("accession_number", Match.EQUAL, ("A",)),
        Term("study_date", Match.MOMENTS, ("20200105090000.000000", "20200106120059.999999"), with_="study_time"),
    )


def test_each_date_has_its_own_time() -> None:
    apart = ask("SERIES", COMBINED, StudyInstanceUID=UID, SeriesDate=DATE, StudyTime=TIME, StudyDate="*")
    assert [t.match for t in apart.terms] == [Match.UIDS, Match.DATES, Match.TIMES]
    both = ask(
        "SERIES",
        COMBINED,
        StudyInstanceUID=UID,
        StudyDate=DATE,
        StudyTime=TIME,
        PerformedProcedureStepStartDate=DATE,
        PerformedProcedureStepStartTime=TIME,
    )
    assert [(t.column, t.with_) for t in both.terms[1:]] == [
        ("study_date", "study_time"),
        ("performed_procedure_step_start_date", "performed_procedure_step_start_time"),
    ]


# -- sequences -------------------------------------------------------------------------------------------------


def of_series(*items: AskedItem) -> Query:
    return ask("SERIES", RELATIONAL, RequestAttributesSequence=list(items))


def test_all_keys_of_an_item_are_for_one_stored_item() -> None:
    """F64, F65."""
    query = of_series({"ScheduledProcedureStepID": "SPS-1", "RequestedProcedureID": "RP*", "AccessionNumber": ""})
    assert query.terms == (
        Term(
            "request_attributes_sequence",
            Match.ITEM,
            items=(
                Term("scheduled_procedure_step_id", Match.EQUAL, ("SPS-1",)),
                Term("requested_procedure_id", Match.WILDCARD, ("RP*",)),
            ),
        ),
    )
    (returned,) = [r for r in query.returns if r.vr == "SQ"]
    assert [(r.vr, r.column) for r in returned.items] == [
        ("SH", "scheduled_procedure_step_id"),
        ("SH", "requested_procedure_id"),
        ("SH", "accession_number"),
    ]
    assert query.all_supported


@pytest.mark.parametrize("value", [[], [{}]])
def test_an_empty_sequence_is_universal_and_returned_whole(value: list[AskedItem]) -> None:
    """F66."""
    query = ask("STUDY", ProcedureCodeSequence=value)
    (returned,) = [r for r in query.returns if r.vr == "SQ"]
    assert (query.terms, returned.column, returned.items) == ((), "procedure_code_sequence", ())
    assert query.all_supported


def test_an_item_of_universal_keys_restricts_nothing() -> None:
    query = of_series({"ScheduledProcedureStepID": "*", "RequestedProcedureID": ""})
    assert query.terms == ()
    assert len(query.returns[-2].items) == 2


def test_what_is_not_kept_of_an_item_is_left_out_and_told() -> None:
    query = of_series({"ScheduledProcedureStepID": "SPS-1", "ReasonForTheRequestedProcedure": "x"})
    (returned,) = [r for r in query.returns if r.vr == "SQ"]
    assert [r.column for r in returned.items] == ["scheduled_procedure_step_id"]
    assert (query.unsupported, query.all_supported) == ((), False)


def test_an_item_of_which_nothing_is_kept_is_not_supported() -> None:
    query = of_series({"ReasonForTheRequestedProcedure": "x"})
    assert query.terms == ()
    assert [k.tag for k in query.unsupported] == [0x00400275]
    assert not query.all_supported


def test_a_sequence_that_is_not_kept_restricts_nothing() -> None:
    query = ask("STUDY", ReferencedStudySequence=[{"ReferencedSOPInstanceUID": "x"}, {}])
    assert (query.terms, [k.tag for k in query.unsupported]) == ((), [0x00081110])


# -- whatever is asked -----------------------------------------------------------------------------------------

FEATURES = st.builds(Features, *[st.booleans()] * 5)
VALUES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "*", '""', "A*", "CT\\MR", UID, f"{UID}\\1.2", "20200105-", "0900-1200", "2026-0500", "7"]),
)
ITEMS = st.lists(
    st.dictionaries(st.sampled_from(["CodeValue", "RequestedProcedureID", "PatientID"]), VALUES), max_size=2
)
KEYS = st.dictionaries(
    st.sampled_from([each.keyword for each in keys.SUPPORTED.values()] + ["PatientComments", "RetrieveAETitle"]),
    VALUES,
    max_size=6,
)


@given(st.sampled_from(Model), st.sampled_from(["PATIENT", "STUDY", "SERIES", "IMAGE"]), FEATURES, KEYS, ITEMS)
def test_every_query_is_of_what_its_level_has(
    model: Model, level: str, features: Features, wanted: dict[str, str], items: list[AskedItem]
) -> None:
    """Terms are of the level, or above it, unless relational; each key is returned or said to be unsupported."""
    parts = {k: items if k.endswith("Sequence") else v for k, v in wanted.items()}
    try:
        query = ask(level, features, model, **parts)
    except BadIdentifier:
        return
    levels = {each.column: each.level for each in keys.SUPPORTED.values()}
    below = [t for t in query.terms if keys.is_below(levels[t.column], query.level)]
    assert not below or features.relational
    assert not [r for r in query.returns if keys.is_below(levels[r.column], query.level)]
    answered = [r.tag for r in query.returns] + [k.tag for k in query.unsupported]
    assert len(answered) == len(set(answered))
    assert {asked_key(k, "").tag for k in wanted} <= {*answered, keys.RETRIEVE_AE_TITLE}
    assert query.all_supported <= (not query.unsupported)
    assert all((t.match is Match.ITEM) == bool(t.items) for t in query.terms)
