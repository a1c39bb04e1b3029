"""rules/matching.py: what a C-MOVE or C-GET selects. (M..: cases of the acceptance run.)"""

from __future__ import annotations

import pytest

from dicomnode.dicom.instance import Level
from dicomnode.errors import BadIdentifier
from dicomnode.rules import contexts, matching
from dicomnode.rules.matching import Model
from dicomnode.rules.negotiated import Features
from tests.fakes import asked

PR, SR, PSO = Model.PATIENT_ROOT, Model.STUDY_ROOT, Model.PATIENT_STUDY_ONLY
UID, OTHER = "1.2.3", "1.2.4"
STUDY = {"StudyInstanceUID": UID}
SERIES = STUDY | {"SeriesInstanceUID": UID}

MOVES = [
    ("PATIENT", PR, {"PatientID": "P"}, [("patient_id", ("P",))]),
    ("PATIENT", PSO, {"PatientID": "P"}, [("patient_id", ("P",))]),
    ("STUDY", PSO, STUDY | {"PatientID": "P"}, [("patient_id", ("P",)), ("study_instance_uid", (UID,))]),
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


NEVER_EVERYTHING: list[tuple[str, Model, dict[str, str]]] = [
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
    ("STUDY", PR, STUDY),  # M16
    ("SERIES", PSO, {"PatientID": "P"} | SERIES),
]


@pytest.mark.parametrize(("level", "model", "keys"), NEVER_EVERYTHING)
def test_a_move_never_means_everything(level: str, model: Model, keys: dict[str, str]) -> None:
    with pytest.raises(BadIdentifier) as refused:
        matching.retrieve(asked(level, **keys), model)
    assert len(str(refused.value)) <= 64  # an Error Comment (PS3.7 C.5)


RELATIONAL = [
    ("IMAGE", SR, {"SOPInstanceUID": UID}, [("sop_instance_uid", (UID,))]),  # M27
    ("SERIES", PR, {"SeriesInstanceUID": UID}, [("series_instance_uid", (UID,))]),
    ("STUDY", PR, STUDY | {"PatientID": ""}, [("study_instance_uid", (UID,))]),
    ("STUDY", PR, STUDY | {"PatientID": "P"}, [("patient_id", ("P",)), ("study_instance_uid", (UID,))]),
    (
        "IMAGE",
        SR,
        {"StudyInstanceUID": f"{UID}\\{OTHER}", "SOPInstanceUID": UID},
        [("study_instance_uid", (UID, OTHER)), ("sop_instance_uid", (UID,))],
    ),
    ("STUDY", SR, SERIES | {"PatientID": "P"}, [("study_instance_uid", (UID,))]),
]


@pytest.mark.parametrize(("level", "model", "keys", "found"), RELATIONAL)
def test_a_relational_move_needs_no_unique_keys_above(
    level: str, model: Model, keys: dict[str, str], found: list[tuple[str, tuple[str, ...]]]
) -> None:
    query = matching.retrieve(asked(level, **keys), model, Features(relational=True))
    assert [(t.column, t.values) for t in query.terms] == found


NEVER_RELATIONAL: list[tuple[str, Model, dict[str, str]]] = [
    ("STUDY", SR, {}),
    ("SERIES", SR, STUDY),
    ("IMAGE", SR, SERIES),
    ("IMAGE", SR, {"SOPInstanceUID": ""}),
    ("IMAGE", SR, {"SOPInstanceUID": "*"}),
    ("IMAGE", SR, {"SOPInstanceUID": UID, "StudyInstanceUID": "*"}),
    ("STUDY", PR, STUDY | {"PatientID": "P*"}),
    ("STUDY", PR, STUDY | {"PatientID": "P\\Q"}),
    ("PATIENT", PR, {"PatientID": "*"}),
]


@pytest.mark.parametrize(("level", "model", "keys"), NEVER_RELATIONAL)
def test_nor_does_a_relational_move(level: str, model: Model, keys: dict[str, str]) -> None:
    with pytest.raises(BadIdentifier):
        matching.retrieve(asked(level, **keys), model, Features(relational=True))


@pytest.mark.parametrize("classes", [contexts.FINDS, contexts.MOVES, contexts.GETS])
def test_each_request_has_its_model_by_its_sop_class(classes: tuple[str, ...]) -> None:
    assert [matching.MODELS[uid] for uid in classes] == [PR, SR, PSO]
