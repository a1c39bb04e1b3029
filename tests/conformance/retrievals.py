"""The cases of C-MOVE and C-GET that are a table: what is asked, what is counted, what arrives (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.conformance.archive import CT, MR, RLE, SR, below, uid_of
from tests.conformance.kit import (
    CALLER,
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    PATIENT_STUDY_ONLY_GET,
    PATIENT_STUDY_ONLY_MOVE,
)
from tests.receiver import first_proposed
from tests.upper_layer import EXPLICIT_LE, IMPLICIT_LE, STUDY_ROOT_GET, STUDY_ROOT_MOVE, VERIFICATION

NOTHING, A900 = (0, 0, 0, 0), (0xA900, None, None, None)
MODELS = (STUDY_ROOT_MOVE, PATIENT_ROOT_MOVE, STUDY_ROOT_GET, PATIENT_ROOT_GET)
RELATIONAL = b"\1"
STUDY = {"StudyInstanceUID": uid_of("1.1")}
IMAGE = STUDY | {"SeriesInstanceUID": uid_of("1.1.1"), "SOPInstanceUID": uid_of("1.1.1.1")}


def uids(*labels_: str) -> str:
    return "\\".join(map(uid_of, labels_))


@dataclass(frozen=True)
class Move:
    """One case of C-MOVE: what is asked, the counts of the final response, and what has arrived."""

    id: str
    level: str | None
    keys: dict[str, str | bytes]
    expected: tuple[int | None, ...]
    arrived: list[str] = field(default_factory=list)
    model: str = STUDY_ROOT_MOVE
    destination: str = "CASEDST"
    features: bytes = b""
    answers: Mapping[str, int] = field(default_factory=dict)
    takes: Callable[[str, Sequence[str]], str | None] = first_proposed
    failed: str = ""


def implicit_only(abstract: str, syntaxes: Sequence[str]) -> str | None:
    return IMPLICIT_LE if IMPLICIT_LE in syntaxes else None


def no_storage(abstract: str, syntaxes: Sequence[str]) -> str | None:
    return syntaxes[0] if abstract == VERIFICATION else None


def no_documents(abstract: str, syntaxes: Sequence[str]) -> str | None:
    return None if abstract == SR else syntaxes[0]


FIRST, SECOND = below("1.1"), below("1.2")
FAILS = dict.fromkeys(FIRST, 0xA700)

MOVES = [
    Move("R167+R178+R181+R185-M01-a-study", "STUDY", dict(STUDY), (0, 4, 0, 0), FIRST),
    Move(
        "R167-M02-a-series",
        "SERIES",
        STUDY | {"SeriesInstanceUID": uid_of("1.1.2")},
        (0, 1, 0, 0),
        ["1.1.2.1"],
    ),
    Move(
        "R167+R168-M03-a-list-of-images",
        "IMAGE",
        IMAGE | {"SOPInstanceUID": uids("1.1.1.1", "1.1.1.3")},
        (0, 2, 0, 0),
        ["1.1.1.1", "1.1.1.3"],
    ),
    Move(
        "R167+R168-M04-a-patient", "PATIENT", {"PatientID": "CONF-P1"}, (0, 8, 0, 0), FIRST + SECOND, PATIENT_ROOT_MOVE
    ),
    Move("R174-M05-an-unknown-destination", "STUDY", dict(STUDY), (0xA801,), destination="NOBODY"),
    Move("R174-M05-before-the-match", "STUDY", {"StudyInstanceUID": "1.2.3"}, (0xA801,), destination="NOBODY"),
    Move("R196-a-destination-of-another-site", "STUDY", dict(STUDY), (0xA801,), destination="PEAK_WS"),
    Move(
        "R175+R177+R187-M06-nobody-listens",
        "STUDY",
        dict(STUDY),
        (0xA702, 0, 4, 0),
        destination="CASEDEAD",
        failed=" ".join(FIRST),
    ),
    Move("R176-M07-no-match", "STUDY", {"StudyInstanceUID": "1.2.3"}, NOTHING),
    Move(
        "R168-M08-a-list-of-studies",
        "STUDY",
        {"StudyInstanceUID": uids("3.1", "5.1")},
        (0, 2, 0, 0),
        ["3.1.1.1", "5.1.1.1"],
    ),
    Move(
        "R168-M09-a-list-of-series",
        "SERIES",
        STUDY | {"SeriesInstanceUID": uids("1.1.1", "1.1.2")},
        (0, 4, 0, 0),
        FIRST,
    ),
    Move("R169-M10-an-image-without-the-keys-above", "IMAGE", {"SOPInstanceUID": uid_of("1.1.1.1")}, A900),
    Move("R171-M11-an-empty-study", "STUDY", {"StudyInstanceUID": ""}, A900),
    Move("R171-M11-no-study", "STUDY", {}, A900),
    Move("R171-M12-every-study", "STUDY", {"StudyInstanceUID": "*"}, A900),
    Move("R171-M13-a-wild-card-patient", "PATIENT", {"PatientID": "CONF*"}, A900, model=PATIENT_ROOT_MOVE),
    Move("R171-M13-an-empty-patient", "PATIENT", {"PatientID": ""}, A900, model=PATIENT_ROOT_MOVE),
    Move("R172-M14-no-level", None, {"StudyInstanceUID": uid_of("3.1")}, A900),
    Move(
        "R173-M15-another-key-is-ignored",
        "STUDY",
        {"StudyInstanceUID": uid_of("3.1"), "PatientName": "NOBODY"},
        (0, 1, 0, 0),
        ["3.1.1.1"],
    ),
    Move("R169-M16-a-study-without-its-patient", "STUDY", dict(STUDY), A900, model=PATIENT_ROOT_MOVE),
    Move(
        "R170-M17-a-study-of-another-patient",
        "STUDY",
        STUDY | {"PatientID": "CONF-P2"},
        NOTHING,
        model=PATIENT_ROOT_MOVE,
    ),
    Move(
        "R067+R088+R193-M18-each-in-its-own-syntax",
        "STUDY",
        {"StudyInstanceUID": uid_of("1.2")},
        (0, 4, 0, 0),
        SECOND,
    ),
    Move(
        "R091+R193-M19-compressed-to-one-that-takes-implicit-alone",
        "STUDY",
        {"StudyInstanceUID": uid_of("1.2")},
        (0xB000, 1, 3, 0),
        ["1.2.1.1"],
        takes=implicit_only,
        failed="1.2.1.2 1.2.2.1 1.2.2.2",
    ),
    Move(
        "R091+R193-M19-decompressed-for-one-that-is-configured-so",
        "STUDY",
        {"StudyInstanceUID": uid_of("1.2")},
        (0, 4, 0, 0),
        SECOND,
        takes=implicit_only,
        destination="CASEPLAIN",
    ),
    Move(
        "R090+R193-M20-uncompressed-to-one-that-takes-implicit-alone",
        "STUDY",
        dict(STUDY),
        (0, 4, 0, 0),
        FIRST,
        takes=implicit_only,
    ),
    Move(
        "R069+R093+R186+R187+R191-M21-a-failure-and-a-warning",
        "STUDY",
        dict(STUDY),
        (0xB000, 2, 1, 1),
        FIRST,
        answers={"1.1.1.2": 0xA700, "1.1.1.3": 0xB000},
        failed="1.1.1.2",
    ),
    Move(
        "R186+R187-M22-all-fail", "STUDY", dict(STUDY), (0xA702, 0, 4, 0), FIRST, answers=FAILS, failed=" ".join(FIRST)
    ),
    Move(
        "R094+R194-M23-no-storage-context",
        "STUDY",
        dict(STUDY),
        (0xA702, 0, 4, 0),
        takes=no_storage,
        failed=" ".join(FIRST),
    ),
    Move(
        "R094+R193-M23-no-context-for-one-class",
        "STUDY",
        dict(STUDY),
        (0xB000, 3, 1, 0),
        below("1.1.1"),
        takes=no_documents,
        failed="1.1.2.1",
    ),
    Move(
        "R036+R169-M27-an-image-alone-when-negotiated",
        "IMAGE",
        {"SOPInstanceUID": uid_of("1.1.1.1")},
        (0, 1, 0, 0),
        ["1.1.1.1"],
        features=RELATIONAL,
    ),
    Move(
        "R099+R167-M01-a-study-of-patient-study-only",
        "STUDY",
        STUDY | {"PatientID": "CONF-P1"},
        (0, 4, 0, 0),
        FIRST,
        model=PATIENT_STUDY_ONLY_MOVE,
    ),
    Move("R171-M27-still-not-everything", "IMAGE", {"SOPInstanceUID": ""}, A900, features=RELATIONAL),
    Move(
        "R198-a-character-set-in-the-identifier",
        "STUDY",
        {"StudyInstanceUID": uid_of("3.1"), "SpecificCharacterSet": "ISO_IR 192"},
        (0, 1, 0, 0),
        ["3.1.1.1"],
    ),
]

# -- C-GET -------------------------------------------------------------------------------------------------------

Classes = Mapping[str, Sequence[str]]
ALL: Classes = {CT: [EXPLICIT_LE], SR: [EXPLICIT_LE], MR: [EXPLICIT_LE]}


@dataclass(frozen=True)
class Get:
    """One case of C-GET: the storage classes that are offered, and those of them in the role of an SCP."""

    id: str
    level: str | None
    keys: dict[str, str | bytes]
    expected: tuple[int | None, ...]
    arrived: list[str] = field(default_factory=list)
    model: str = STUDY_ROOT_GET
    classes: Classes = field(default_factory=lambda: ALL)
    scp: bool = True
    answers: Mapping[str, int] = field(default_factory=dict)
    failed: str = ""
    features: bytes = b""
    calling: str = CALLER


SERIES = below("1.1.1")
OF_SERIES: dict[str, str | bytes] = STUDY | {"SeriesInstanceUID": uid_of("1.1.1")}
OF_RLE: dict[str, str | bytes] = {"StudyInstanceUID": uid_of("1.2"), "SeriesInstanceUID": uid_of("1.2.1")}
OF_RLE |= {"SOPInstanceUID": uid_of("1.2.1.2")}

GETS = [
    Get("R066+R199+R207-G01-a-study", "STUDY", dict(STUDY), (0, 4, 0, 0), FIRST),
    Get("R207-G01-a-list-of-images", "IMAGE", IMAGE | {"SOPInstanceUID": uids(*SERIES[:2])}, (0, 2, 0, 0), SERIES[:2]),
    Get(
        "R206-G02-the-first-syntax-that-is-proposed",
        "IMAGE",
        OF_RLE,
        (0, 1, 0, 0),
        ["1.2.1.2"],
        classes={MR: [RLE, EXPLICIT_LE]},
    ),
    Get("R193+R206-G03-uncompressed-alone", "IMAGE", OF_RLE, (0xA702, 0, 1, 0), failed="1.2.1.2"),
    Get(
        "R206-G03-decompressed-for-one-that-is-configured-so",
        "IMAGE",
        OF_RLE,
        (0, 1, 0, 0),
        ["1.2.1.2"],
        calling="CASEPLAIN",
    ),
    Get("R205-G04-no-match", "STUDY", {"StudyInstanceUID": "1.2.3"}, NOTHING),
    Get(
        "R199+R207-G05-a-patient",
        "PATIENT",
        {"PatientID": "CONF-P3"},
        (0, 1, 0, 0),
        ["3.1.1.1"],
        model=PATIENT_ROOT_GET,
    ),
    Get("R033+R200-G06-no-role", "IMAGE", dict(IMAGE), (0xA702, 0, 1, 0), scp=False, failed="1.1.1.1"),
    Get(
        "R099+R207-G05-a-patient-of-patient-study-only",
        "PATIENT",
        {"PatientID": "CONF-P3"},
        (0, 1, 0, 0),
        ["3.1.1.1"],
        model=PATIENT_STUDY_ONLY_GET,
    ),
    Get(
        "R200+R201+R202-G07-no-context-for-a-class",
        "STUDY",
        dict(STUDY),
        (0xB000, 3, 1, 0),
        SERIES,
        classes={CT: [EXPLICIT_LE]},
        failed="1.1.2.1",
    ),
    Get(
        "R202+R203-G08-one-fails",
        "SERIES",
        OF_SERIES,
        (0xB000, 2, 1, 0),
        SERIES,
        answers={"1.1.1.2": 0xA700},
        failed="1.1.1.2",
    ),
    Get(
        "R069+R093+R202+R203-G09-warnings",
        "SERIES",
        OF_SERIES,
        (0xB000, 0, 0, 3),
        SERIES,
        answers=dict.fromkeys(SERIES, 0xB007),
    ),
    Get(
        "R202+R203-G11-all-fail", "SERIES", OF_SERIES, (0xA702, 0, 3, 0), SERIES, answers=FAILS, failed=" ".join(SERIES)
    ),
    Get("R171+R207-G11-an-empty-study", "STUDY", {"StudyInstanceUID": ""}, A900),
    Get("R171+R207-G11-every-study", "STUDY", {"StudyInstanceUID": "*"}, A900),
    Get("R169+R207-G11-an-image-alone", "IMAGE", {"SOPInstanceUID": uid_of("1.1.1.1")}, A900),
    Get(
        "R036+R207-G11-an-image-alone-when-negotiated",
        "IMAGE",
        {"SOPInstanceUID": uid_of("1.1.1.1")},
        (0, 1, 0, 0),
        ["1.1.1.1"],
        features=RELATIONAL,
    ),
]
