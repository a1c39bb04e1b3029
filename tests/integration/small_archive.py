"""A small archive to ask: six studies, chosen so that every rule of matching tells two of them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom.dataset import Dataset

from tests.integration.kit import query
from tests.node import Node
from tests.samples import Sample, decode, make_instances, uid
from tests.upper_layer import EXPLICIT_LE
from tests.wire import STUDY_ROOT_FIND, Association, contexts_for

PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
SR = "1.2.840.10008.5.1.4.1.1.88.22"
CONTEXTS = [(uid_, [EXPLICIT_LE]) for uid_ in (STUDY_ROOT_FIND, PATIENT_ROOT_FIND)]

STUDIES: dict[str, dict[str, Any]] = {
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
OWN = [label for label in STUDIES if label != "elsewhere"]
ALL = frozenset(OWN)


def study(label: str) -> str:
    return uid("find", label)


def instances(label: str) -> list[Sample]:
    made = make_instances(2, seed=label, study_uid=study(label), **STUDIES[label])
    if label == "head":  # a second series, of another modality and class
        made += make_instances(
            3,
            seed=label,
            study_uid=study(label),
            series=2,
            **(STUDIES[label] | {"modality": "SR", "SOPClassUID": SR}),
        )
    return made


HEAD = instances("head")


def fill(node: Node) -> None:
    """Store all of it: one study is another site's."""
    for label in STUDIES:
        made = instances(label)
        with node.associate("PEAK_CT" if label == "elsewhere" else "CT1", contexts_for(made)) as association:
            assert {association.send_sample(sample) for sample in made} == {0}


class Answers:
    """What came back: the matches decoded, their statuses, and the final status with its comment."""

    def __init__(self, association: Association, model: str, identifier: bytes) -> None:
        *pending, (self.status, self.last) = association.find(model, identifier)
        self.comment = association.last_error_comment
        self.pending = {status for status, _ in pending}
        self.matches: list[Dataset] = [decode(raw) for _, raw in pending]

    @property
    def labels(self) -> list[str]:
        known = {study(label): label for label in STUDIES}
        return sorted(known[match.StudyInstanceUID] for match in self.matches)


def find(
    association: Association, level: str, keys: Mapping[str, Any], *, model: str = STUDY_ROOT_FIND, codec: str = "ascii"
) -> Answers:
    answers = Answers(association, model, query(level, keys, codec=codec))
    assert answers.status == 0, f"{answers.status:04X}H {answers.comment}"
    assert answers.last == b""
    return answers
