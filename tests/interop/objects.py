"""What the three archives of the differential test hold: some twenty images of patients whose values are awkward.

Names that differ in case, in accents, in their component groups; wild cards of SQL as letters; times of every
precision; what is unknown. Made on the spot, and the same every time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests import samples
from tests.samples import Sample

UNIQUE = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
KEYS = {
    "PATIENT": ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    "STUDY": (
        *("StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription"),
        *("ReferringPhysicianName", "ModalitiesInStudy"),
    ),
    "SERIES": ("SeriesInstanceUID", "Modality", "SeriesNumber"),
    "IMAGE": ("SOPInstanceUID", "InstanceNumber"),
}
"""What may be asked of each level."""
LEVELS = tuple(KEYS)


@dataclass(frozen=True)
class Entity:
    """One patient, study, series or image: its values, and those of what it belongs to, by keyword."""

    level: str
    values: Mapping[str, str]

    @property
    def unique(self) -> str:
        return self.values[UNIQUE[self.level]]


_PATIENTS = {  # PatientID → the others
    "D-1": ("Doe^John^Q^Dr.^Jr", "19500101", "M"),
    "D_1": ("DOE^JANE", "19600229", "F"),
    "d-1": ("doe^john", "", ""),
    "D%1": ("Doe", "19991231", "O"),
    "L10": ("Lee^Siu Man=李^小文", "19701231", "F"),
    "L1": ("LEE^SIUMAN", "19800615", "M"),
    "M[1]": ("Müller^Jürgen", "19450508", "M"),
    "M'1": ("MULLER^JURGEN^", "20000101", "M"),
    "O1": ("O'Brien^Pat_%^", "19330303", "F"),
    "N1": ("", "19900909", ""),
}
_STUDIES = (  # PatientID, date, time, accession number, study ID, description, referring physician, modalities
    ("D-1", "20200105", "101530.250000", "ACC-1", "1", "CHEST ROUTINE", "Refer^Rita", ("CT", "SR")),
    ("D-1", "20200106", "235959.999", "ACC-10", "01", "Chest routine", "REFER^RITA", ("MR",)),
    ("D_1", "20200106", "0930", "ACC_1", "2", "HEAD", "", ("US", "OT")),
    ("d-1", "", "", "", "", "", "Refer^Rita", ("CT",)),
    ("D%1", "20200229", "00", "acc-1", "A%", "100% CHEST", "Refer", ("CR",)),
    ("L10", "20191231", "120000", "ACC%1", "A_", "ABDOMEN^PELVIS", "Ärzte^Ä", ("CT", "MR")),
    ("L10", "20200105", "12", "", "3", "", "", ("PT",)),
    ("L1", "20200104", "080000", "7", "3", "HEAD [1]", "Lee^Siu Man", ("DX",)),
    ("M[1]", "20210101", "173000.5", "ACC[1]", "4", "Schädel", "", ("CT",)),
    ("M'1", "20210102", "173001", "ACC 2", "4 B", "IT'S", "Refer^Rita", ("MG",)),
    ("O1", "20220702", "1730", "XACC-1", "5", "chest", "", ("CT",)),
    ("N1", "20220703", "000000", "ACC-1X", "6", "CHEST", "Doe^John", ("NM",)),
)


def _made() -> Iterator[tuple[Sample, dict[str, str]]]:
    for number, (patient, *told, modalities) in enumerate(_STUDIES):
        name, birth, sex = _PATIENTS[patient]
        values: dict[str, Any] = dict(zip(KEYS["PATIENT"], (name, patient, birth, sex), strict=True))
        values |= dict(zip(KEYS["STUDY"][1:-1], told, strict=True))
        study = samples.uid("differential", number)
        for series, modality in enumerate(modalities, 1):
            images = 2 if series == 1 else 1
            made = samples.make_instances(
                *(images,),
                seed=("differential", number),
                study_uid=study,
                series=series,
                modality=modality,
                SpecificCharacterSet="ISO_IR 192",
                **values,
            )
            for image, sample in enumerate(made, 1):
                yield (
                    sample,
                    values
                    | {
                        "StudyInstanceUID": study,
                        "ModalitiesInStudy": "\\".join(sorted(modalities)),
                        "SeriesInstanceUID": sample.series,
                        "Modality": modality,
                        "SeriesNumber": str(series),
                        "SOPInstanceUID": sample.sop_instance,
                        "InstanceNumber": str(image),
                    },
                )


def _entities(told: list[dict[str, str]]) -> Iterator[Entity]:
    for depth, level in enumerate(LEVELS, 1):
        keywords = [keyword for upper in LEVELS[:depth] for keyword in KEYS[upper]]
        seen = {values[UNIQUE[level]]: {keyword: values[keyword] for keyword in keywords} for values in told}
        yield from (Entity(level, values) for values in seen.values())


_ALL = list(_made())
SAMPLES = [sample for sample, _ in _ALL]
ENTITIES = list(_entities([values for _, values in _ALL]))
