"""Eight studies in which each rule of query and retrieve tells two entities apart; `uid_of("1.1.2")` is a series.

A label is study, series and instance by number: 1.1 and 1.2 are one patient's studies, 1.1.2.1 is an SR document.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import pydicom
import pydicom.data
from pydicom.dataset import Dataset, FileMetaDataset

from tests.node import Node
from tests.samples import Sample, dataset_of, encode, uid
from tests.upper_layer import EXPLICIT_LE, IMPLICIT_LE
from tests.wire import contexts_for

CT, MR, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.88.22"
SC, DX, US = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.6.1"
RLE, J2K, JPEG_LS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"
_CLASSES = {"CT": CT, "MR": MR, "SR": SR, "OT": SC, "DX": DX, "US": US}

YAMADA, WANG, PAPADOPOULOS = "Yamada^Tarou=山田^太郎=やまだ^たろう", "Wang^XiaoDong=王^小东", "Παπαδόπουλος^Γιώργος"
DOE, BUC, ADAMS = "Doe^John^Q^Dr.^Jr", "Buc^Jérôme", "Adams^John Robert Quincy^^Rev.^B.A. M.Div."
READERS = ["Reader^One", "Reader^Two"]


def _items(**values: str) -> list[Dataset]:
    return [dataset(**values)]


def dataset(**values: Any) -> Dataset:
    """A dataset of these keywords."""
    it = Dataset()
    for keyword, value in values.items():
        setattr(it, keyword, value)
    return it


_FIRST = {"PatientID": "CONF-P1", "PatientName": DOE, "PatientBirthDate": "19500101", "PatientSex": "M"}
STUDIES: dict[str, dict[str, Any]] = {
    "1.1": _FIRST
    | {
        "StudyDate": "20200105",
        "StudyTime": "101530.250000",
        "AccessionNumber": "CACC-1",
        "StudyID": "ST-11",
        "StudyDescription": "CT CHEST",
        "InstitutionName": "CONF HOSPITAL",
        "NameOfPhysiciansReadingStudy": READERS,
        "ProcedureCodeSequence": _items(CodeValue="CTCHEST", CodingSchemeDesignator="99CONF", CodeMeaning="CT Chest"),
    },
    "1.2": _FIRST
    | {
        "StudyDate": "20200106",
        "StudyTime": "073000",
        "AccessionNumber": "CACC-2",
        "StudyID": "ST-12",
        "StudyDescription": "MR HEAD",
        "InstitutionName": "CONF HOSPITAL",
    },
    "2.1": {
        "PatientID": "CONF-P2",
        "PatientName": "DOE^JANE",
        "PatientBirthDate": "19600202",
        "PatientSex": "F",
        "StudyDate": "20200106",
        "StudyTime": "0930",
        "AccessionNumber": "CACC-3",
        "StudyDescription": "US ABDOMEN",
    },
    "3.1": {
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientID": "CONF-P3",
        "PatientName": BUC,
        "StudyDate": "20191231",
        "StudyTime": "140000",
        "AccessionNumber": "CACC-4",
    },
    "4.1": {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "PatientID": "CONF-P4",
        "PatientName": YAMADA,
        "PatientBirthDate": "19700303",
        "PatientSex": "M",
        "StudyDate": "20200301",
        "StudyTime": "09",
        "AccessionNumber": "CACC-5",
    },
    "5.1": {
        "SpecificCharacterSet": "GB18030",
        "PatientID": "CONF-P5",
        "PatientName": WANG,
        "StudyDate": "20200401",
        "StudyTime": "083000",
        "AccessionNumber": "CACC-6",
        "StudyDescription": "MR KNEE",
    },
    "6.1": {"PatientID": "", "PatientName": "doe^john", "StudyDate": "", "StudyTime": "", "AccessionNumber": ""},
    "7.1": {
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientID": "CONF-P7",
        "PatientName": PAPADOPOULOS,
        "PatientBirthDate": "19710404",
        "PatientSex": "M",
        "StudyDate": "20191230",
        "StudyTime": "235959.999",
        "AccessionNumber": "CACC-8",
    },
    "8.1": {
        "PatientID": "CONF_P8",
        "PatientName": ADAMS,
        "StudyDate": "20200601",
        "StudyTime": "083000.5",
        "AccessionNumber": "CACC-9",
        "TimezoneOffsetFromUTC": "+0900",
        "AcquisitionDateTime": "20200601080000+0900",
    },
}
_STEP = _items(ScheduledProcedureStepID="SPS-1", RequestedProcedureID="RP-1")
SERIES: dict[str, dict[str, Any]] = {
    "1.1.1": {"Modality": "CT", "AcquisitionDateTime": "20200105101530", "RequestAttributesSequence": _STEP},
    "1.1.2": {"Modality": "SR"},
    "1.2.1": {"Modality": "MR"},
    "1.2.2": {"Modality": "MR"},
    "2.1.1": {"Modality": "OT"},
    "2.1.2": {"Modality": "US"},
    "3.1.1": {"Modality": "MR"},
    "4.1.1": {"Modality": "CT"},
    "5.1.1": {"Modality": "MR"},
    "6.1.1": {"Modality": "DX"},
    "7.1.1": {"Modality": "DX"},
    "8.1.1": {"Modality": "CT"},
}
INSTANCES = ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.2.1", "1.2.1.1", "1.2.1.2", "1.2.2.1", "1.2.2.2", "2.1.1.1"]
INSTANCES += ["2.1.2.1", "3.1.1.1", "4.1.1.1", "5.1.1.1", "6.1.1.1", "7.1.1.1", "8.1.1.1"]
_SYNTAXES = {"1.2.1.2": RLE, "1.2.2.1": J2K, "1.2.2.2": JPEG_LS, "3.1.1.1": IMPLICIT_LE}
_FILES = {RLE: "MR_small_RLE.dcm", J2K: "MR_small_jp2klossless.dcm", JPEG_LS: "MR_small_jpeg_ls_lossless.dcm"}


def uid_of(label: str) -> str:
    """The UID of a study, series or instance."""
    return uid("conformance", label)


LABELS = {uid_of(label): label for label in (*STUDIES, *SERIES, *INSTANCES)}


@functools.cache
def sample(label: str) -> Sample:
    """An instance, by its label."""
    study, series = label[:3], label[:5]
    values = {"SpecificCharacterSet": "ISO_IR 100", **STUDIES[study], **SERIES[series]}
    values |= {"StudyInstanceUID": uid_of(study), "SeriesInstanceUID": uid_of(series), "SeriesNumber": int(series[-1])}
    values |= {"SOPInstanceUID": uid_of(label), "InstanceNumber": int(label[-1])}
    values["SOPClassUID"] = _CLASSES[values["Modality"]]
    syntax = _SYNTAXES.get(label, EXPLICIT_LE)
    raw = _encapsulated(values, syntax) if syntax in _FILES else encode(dataset(**_pixels(values)), syntax)
    return Sample(None, values["SOPClassUID"], uid_of(label), uid_of(study), uid_of(series), syntax, raw)


def _pixels(values: dict[str, Any]) -> dict[str, Any]:
    """With an image of 16 by 16; the SR document gets none."""
    if values["Modality"] == "SR":
        return values
    image = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "Rows": 16, "Columns": 16}
    image |= {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0}
    return values | image | {"PixelData": bytes(range(256)) * 2}


def _encapsulated(values: dict[str, Any], syntax: str) -> bytes:
    """A real compressed image under other identifiers."""
    it = pydicom.dcmread(str(pydicom.data.get_testdata_file(_FILES[syntax])))
    it.update(dataset(**values))
    it.file_meta = FileMetaDataset()
    it.file_meta.TransferSyntaxUID = syntax
    file = BytesIO()
    pydicom.dcmwrite(file, it, enforce_file_format=True)
    return dataset_of(file.getvalue())


def below(label: str) -> list[str]:
    """The instances of a study or series."""
    return [each for each in INSTANCES if each.startswith(f"{label}.") or each == label]


def labels(uids: Iterable[str]) -> list[str]:
    """What UIDs stand for, sorted; a UID that is none of ours stands for itself."""
    return sorted(LABELS.get(each, each) for each in map(str, uids))


def fill(node: Node, calling: str) -> None:
    """Store all of it."""
    made = [sample(label) for label in INSTANCES]
    with node.associate(calling, contexts_for(made)) as association:
        assert [association.send_sample(each) for each in made] == [0] * len(made)
