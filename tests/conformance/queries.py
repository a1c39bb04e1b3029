"""The cases of C-FIND that are a table: what is asked, and what is found (PS3.4 C.2.2, C.4.1, C.6)."""

from __future__ import annotations

from tests.conformance.archive import BUC, CT, DOE, PAPADOPOULOS, READERS, SR, WANG, YAMADA, uid_of
from tests.conformance.kit import PATIENT_ROOT_FIND, PATIENT_STUDY_ONLY_FIND, Find, item

UTF8, LATIN1 = "ISO_IR 192", "ISO_IR 100"
A900 = (0xA900,)
STUDY, FIRST = {"StudyInstanceUID": ""}, {"StudyInstanceUID": uid_of("1.1")}
SERIES = FIRST | {"SeriesInstanceUID": ""}
IMAGE = FIRST | {"SeriesInstanceUID": uid_of("1.1.1"), "SOPInstanceUID": ""}
EVERY = "1.1 1.2 2.1 3.1 4.1 5.1 6.1 7.1 8.1"
TITLE = {"RetrieveAETitle": "REFERNODE", "InstanceAvailability": "ONLINE"}
ASKED = dict.fromkeys(TITLE, "")
RELATIONAL, COMBINED, FUZZY, ZONES = b"\1", b"\0\1", b"\0\0\1", b"\0\0\0\1"
EMPTY_VALUE, MULTIPLE = b"\0\0\0\0\0\1", b"\0\0\0\0\0\0\1"


def _counts(*names: str) -> dict[str, str | bytes]:
    return {f"NumberOf{name}": "" for name in names}


# -- models, levels, keys --------------------------------------------------------------------------------------

LEVELS = [
    Find(
        "R097+R107+R159-F01-patients-and-their-counts",
        "PATIENT",
        {"PatientID": "CONF-P*", "PatientName": "", "PatientBirthDate": "", "PatientSex": ""}
        | _counts("PatientRelatedStudies", "PatientRelatedSeries", "PatientRelatedInstances"),
        "CONF-P1 CONF-P2 CONF-P3 CONF-P4 CONF-P5 CONF-P7",
        model=PATIENT_ROOT_FIND,
        answers={
            "CONF-P1": {
                "PatientName": DOE,
                "PatientBirthDate": "19500101",
                "PatientSex": "M",
                "NumberOfPatientRelatedStudies": "2",
                "NumberOfPatientRelatedSeries": "4",
                "NumberOfPatientRelatedInstances": "8",
            }
        },
    ),
    Find(
        "R098+R108+R115+R116+R138+R159-F02-a-study-with-the-usual-keys",
        "STUDY",
        STUDY
        | {"PatientID": "CONF-P1", "PatientName": "", "StudyDate": "", "StudyTime": "", "AccessionNumber": ""}
        | {"StudyID": "", "StudyDescription": "", "ModalitiesInStudy": "", "ReferringPhysicianName": ""}
        | _counts("StudyRelatedSeries", "StudyRelatedInstances"),
        "1.1 1.2",
        answers={
            "1.1": {
                "QueryRetrieveLevel": "STUDY",
                "PatientID": "CONF-P1",
                "PatientName": DOE,
                "StudyDate": "20200105",
                "StudyTime": "101530.250000",
                "AccessionNumber": "CACC-1",
                "StudyID": "ST-11",
                "StudyDescription": "CT CHEST",
                "ModalitiesInStudy": "CT\\SR",
                "ReferringPhysicianName": "",
                "NumberOfStudyRelatedSeries": "2",
                "NumberOfStudyRelatedInstances": "4",
            }
        },
    ),
    Find(
        "R109+R159-F36-series-of-a-study",
        "SERIES",
        SERIES | {"Modality": "", "SeriesNumber": ""} | _counts("SeriesRelatedInstances"),
        "1.1.1 1.1.2",
        answers={
            "1.1.1": {"Modality": "CT", "SeriesNumber": "1", "NumberOfSeriesRelatedInstances": "3"},
            "1.1.2": {"Modality": "SR", "SeriesNumber": "2", "NumberOfSeriesRelatedInstances": "1"},
        },
    ),
    Find("R103-F37-series-without-the-study", "SERIES", {"SeriesInstanceUID": ""}, status=A900),
    Find("R103-F38-series-of-an-empty-study", "SERIES", STUDY | {"SeriesInstanceUID": ""}, status=A900),
    Find(
        "R103-F38-series-of-two-studies",
        "SERIES",
        {"StudyInstanceUID": f"{uid_of('1.1')}\\{uid_of('1.2')}", "SeriesInstanceUID": ""},
        status=A900,
    ),
    Find(
        "R105+R035-F39-series-without-the-study-when-negotiated",
        "SERIES",
        {"SeriesInstanceUID": "", "Modality": "SR"},
        "1.1.2",
        features=RELATIONAL,
    ),
    Find(
        "R105-F39-keys-of-all-levels-when-negotiated",
        "SERIES",
        {"SeriesInstanceUID": "", "PatientName": "Doe*", "StudyDate": "20200105", "SOPClassUID": SR},
        "1.1.2",
        features=RELATIONAL,
        pending=0xFF01,
    ),
    Find(
        "R110-F40-images-of-a-series",
        "IMAGE",
        IMAGE | {"InstanceNumber": "", "SOPClassUID": ""},
        "1.1.1.1 1.1.1.2 1.1.1.3",
        answers={"1.1.1.2": {"InstanceNumber": "2", "SOPClassUID": CT}},
    ),
    Find("R103-F41-images-without-the-series", "IMAGE", FIRST | {"SOPInstanceUID": ""}, status=A900),
    Find(
        "R106+R136-F42-a-list-of-instances",
        "IMAGE",
        IMAGE | {"SOPInstanceUID": f"{uid_of('1.1.1.1')}\\{uid_of('1.1.1.3')}"},
        "1.1.1.1 1.1.1.3",
    ),
    Find("R110-F43-an-instance-number", "IMAGE", IMAGE | {"InstanceNumber": "2"}, "1.1.1.2"),
    Find("R100+R122-F44-no-level", None, STUDY, status=A900),
    Find("R101-F45-an-unknown-level", "FOO", STUDY, status=A900),
    Find("R102-F46-patients-in-study-root", "PATIENT", {"PatientID": ""}, status=A900),
    Find(
        "R104-F47-keys-of-lower-levels-restrict-nothing",
        "PATIENT",
        {"PatientID": "CONF-P1", "StudyDate": "19990101", "Modality": "XX"},
        "CONF-P1",
        model=PATIENT_ROOT_FIND,
        pending=0xFF01,
    ),
    Find(
        "R103-F48-patient-root-study-level-without-patient-id",
        "STUDY",
        FIRST,
        model=PATIENT_ROOT_FIND,
        status=A900,
    ),
    Find(
        "R103-F49-patient-root-study-level-with-a-wild-card-patient-id",
        "STUDY",
        STUDY | {"PatientID": "CONF*"},
        model=PATIENT_ROOT_FIND,
        status=A900,
    ),
    Find(
        "R097-F50-studies-of-a-patient",
        "STUDY",
        STUDY | {"PatientID": "CONF-P1"},
        "1.1 1.2",
        model=PATIENT_ROOT_FIND,
    ),
    Find(
        "R111+R112-F51-a-key-of-the-series-does-not-restrict-studies",
        "STUDY",
        STUDY | {"PatientID": "CONF-P1", "InstitutionName": "NOSUCH"},
        "1.1 1.2",
        pending=0xFF01,
    ),
    Find(
        "R111-F51-an-optional-key-is-matched-and-returned",
        "SERIES",
        SERIES | {"InstitutionName": "CONF HOSP*"},
        "1.1.1 1.1.2",
        answers={"1.1.1": {"InstitutionName": "CONF HOSPITAL"}},
    ),
    Find("R111-F51-an-optional-key-that-nothing-has", "SERIES", SERIES | {"InstitutionName": "NOSUCH"}),
    Find("R113-F52-all-keys-are-supported", "STUDY", STUDY | {"PatientID": "CONF-P1"}, "1.1 1.2"),
    Find(
        "R118+R119-F53-where-a-study-can-be-had",
        "STUDY",
        STUDY | ASKED | {"PatientID": "CONF-P2"},
        "2.1",
        answers={"2.1": TITLE},
    ),
    Find(
        "R118-F53-where-a-study-can-be-had-though-not-asked",
        "STUDY",
        STUDY | {"PatientID": "CONF-P2"},
        "2.1",
        answers={"2.1": {"RetrieveAETitle": "REFERNODE"}},
    ),
    Find(
        "R118+R119-F54-where-a-series-can-be-had",
        "SERIES",
        {"StudyInstanceUID": uid_of("2.1"), "SeriesInstanceUID": "", **ASKED},
        "2.1.1 2.1.2",
        answers={"2.1.1": TITLE, "2.1.2": TITLE},
    ),
    Find("R118+R119-F54-where-an-image-can-be-had", "IMAGE", IMAGE | ASKED, None, answers={"1.1.1.1": TITLE}),
    Find(
        "R118+R119-F54-where-a-patient-can-be-had",
        "PATIENT",
        {"PatientID": "CONF-P2"} | ASKED,
        "CONF-P2",
        model=PATIENT_ROOT_FIND,
        answers={"CONF-P2": TITLE},
    ),
    Find("R121+R122-F71-no-match", "STUDY", STUDY | {"PatientID": "NOBODY"}),
    Find(
        "R098-F76-patient-keys-at-the-study-level",
        "STUDY",
        STUDY | {"PatientSex": "M", "PatientBirthDate": "19700101-19711231"},
        "4.1 7.1",
    ),
    Find(
        "R099-F77-patient-study-only",
        "STUDY",
        STUDY | {"PatientID": "CONF-P1"},
        "1.1 1.2",
        model=PATIENT_STUDY_ONLY_FIND,
    ),
    Find(
        "R099-F77-patient-study-only-has-patients",
        "PATIENT",
        {"PatientID": "CONF-P2"},
        "CONF-P2",
        model=PATIENT_STUDY_ONLY_FIND,
    ),
    Find(
        "R099-F77-patient-study-only-has-no-series",
        "SERIES",
        SERIES | {"PatientID": "CONF-P1"},
        model=PATIENT_STUDY_ONLY_FIND,
        status=A900,
    ),
    Find(
        "R112-F83-an-unsupported-key-does-not-restrict",
        "STUDY",
        STUDY | {"PatientID": "CONF-P1", "PatientComments": "zzz"},
        "1.1 1.2",
        pending=0xFF01,
    ),
    Find(
        "R114-F83-a-private-key-does-not-restrict",
        "STUDY",
        STUDY | {"PatientID": "CONF-P1", "00090010": "X", "00091001": "Y"},
        "1.1 1.2",
        pending=0xFF01,
    ),
    Find(
        "R111+R112+R115-F84-optional-return-keys",
        "STUDY",
        STUDY | {"PatientID": "CONF-P1", "SOPClassesInStudy": "", "StudyDescription": "", "PatientComments": ""},
        "1.1 1.2",
        pending=0xFF01,
        answers={"1.1": {"SOPClassesInStudy": f"{CT}\\{SR}", "StudyDescription": "CT CHEST", "PatientComments": ""}},
    ),
    Find(
        "R117-F89-the-unique-keys-above-a-series",
        "SERIES",
        SERIES | {"Modality": "SR"},
        "1.1.2",
        answers={"1.1.2": {"StudyInstanceUID": uid_of("1.1")}},
    ),
    Find(
        "R117-F89-the-unique-keys-above-a-series-in-patient-root",
        "SERIES",
        SERIES | {"PatientID": "CONF-P1", "Modality": "SR"},
        "1.1.2",
        model=PATIENT_ROOT_FIND,
        answers={"1.1.2": {"StudyInstanceUID": uid_of("1.1"), "PatientID": "CONF-P1"}},
    ),
]

# -- matching --------------------------------------------------------------------------------------------------


def _studies(number: str, found: str | None, features: bytes = b"", codec: str = "ascii", **keys: str | bytes) -> Find:
    return Find(number, "STUDY", STUDY | keys, found, features=features, codec=codec)


MATCHES = [
    _studies("R141-F03-a-lone-asterisk-is-universal", EVERY, PatientName="*"),
    _studies("R131-F04-names-match-in-any-case", "1.1 1.2 2.1 6.1", PatientName="DOE*"),
    _studies("R131-F04-names-match-without-accents", "3.1", PatientName="BUC^JEROME"),
    _studies("R130-F05-a-single-value-is-no-prefix", "6.1", PatientName="Doe^John"),
    _studies("R130+R120-F06-the-whole-name", "1.1 1.2", PatientName=DOE),
    _studies("R131-F07-case-matters-in-an-ID", "", PatientID="conf-p1"),
    _studies("R140-F08-a-question-mark-is-one-character", "1.1 1.2 2.1 3.1 4.1 5.1 7.1", PatientID="CONF-P?"),
    _studies("R142-F09-an-underscore-is-literal", "8.1", PatientID="CONF_P?"),
    _studies("R142-F09-an-underscore-behind-a-wild-card-is-literal", "8.1", PatientID="*_P?"),
    _studies("R142-F10-a-percent-sign-is-literal", "", PatientID="CONF%"),
    _studies("R142-F10-brackets-are-literal", "", PatientID="CONF[-]*"),
    _studies("R142-F10-a-caret-is-literal", "", PatientID="CONF[^_]*"),
    _studies("R132-F11-trailing-spaces-mean-nothing", "1.1 1.2", PatientID="CONF-P1 "),
    _studies("R120-F12-a-date", "1.1", StudyDate="20200105"),
    _studies("R144-F13-a-range-of-dates", "1.1 1.2 2.1", StudyDate="20200105-20200106"),
    _studies("R143+R144-F14-a-range-of-dates-without-a-beginning", "1.1 3.1 7.1", StudyDate="-20200105"),
    _studies("R144-F15-a-range-of-dates-without-an-end", "1.2 2.1 4.1 5.1 8.1", StudyDate="20200106-"),
    _studies("R145-F18-a-range-of-times", "2.1 4.1 5.1 8.1", StudyTime="0800-1000"),
    _studies("R146-F19-a-range-of-times-holds-its-last-second", "5.1 8.1", StudyTime="083000-083000"),
    _studies("R146-F20-a-time-matches-what-is-written-less-precisely", "2.1", StudyTime="093000"),
    _studies("R145-F21-the-last-second-of-a-day", "7.1", StudyTime="235959-"),
    _studies("R147-F22-date-and-time-are-independent", "1.1 2.1", StudyDate="20200105-20200106", StudyTime="0900-1200"),
    _studies(
        "R148+R035-F23-date-and-time-are-one-when-negotiated",
        "1.1 1.2 2.1",
        COMBINED,
        StudyDate="20200105-20200106",
        StudyTime="0900-1200",
    ),
    _studies("R136+R106-F24-a-list-of-UIDs", "1.1 2.1", StudyInstanceUID=f"{uid_of('1.1')}\\{uid_of('2.1')}"),
    _studies("R136-F25-an-unknown-UID-in-a-list", "2.1", StudyInstanceUID=f"1.2.3\\{uid_of('2.1')}"),
    _studies("R158-F27-a-modality-of-one-of-the-series", "1.1", ModalitiesInStudy="SR"),
    _studies("R158-F28-a-modality-in-study", "1.2 3.1 5.1", ModalitiesInStudy="MR"),
    _studies("R156-F29-several-modalities-are-alternatives", "1.1 2.1 4.1 8.1", ModalitiesInStudy="CT\\US"),
    _studies("R156+R035-F30-several-modalities-when-negotiated", "1.1", MULTIPLE, ModalitiesInStudy="CT\\SR"),
    _studies("R139+R158-F31-a-wild-card-in-a-modality", "1.1 4.1 8.1", ModalitiesInStudy="C*"),
    _studies("R140+R141-F32-an-asterisk-matches-no-value-too", EVERY, AccessionNumber="*"),
    _studies("R140+R143-F33-a-question-mark-needs-a-character", EVERY.replace(" 6.1", ""), AccessionNumber="?*"),
    _studies("R157-F34-quotation-marks-are-literal", "", AccessionNumber='""'),
    _studies("R157+R035-F35-no-value-when-negotiated", "6.1", EMPTY_VALUE, AccessionNumber='""'),
    Find(
        "R153-F64-an-item-of-a-sequence",
        "SERIES",
        SERIES | {"RequestAttributesSequence": item({"ScheduledProcedureStepID": "SPS-1"})},
        "1.1.1",
    ),
    Find(
        "R153-F65-a-value-that-no-item-has",
        "SERIES",
        SERIES | {"RequestAttributesSequence": item({"ScheduledProcedureStepID": "SPS-2"})},
        "",
    ),
    Find(
        "R153-F65-two-values-that-no-item-has-together",
        "SERIES",
        SERIES
        | {
            "RequestAttributesSequence": item({"ScheduledProcedureStepID": "SPS-1", "RequestedProcedureID": "RP-2"}),
        },
        "",
    ),
    _studies("R155-F67-one-of-several-values", "1.1", NameOfPhysiciansReadingStudy=READERS[1]),
    Find(
        "R155-F67-all-of-several-values-are-returned",
        "STUDY",
        FIRST | {"NameOfPhysiciansReadingStudy": READERS[0]},
        "1.1",
        answers={"1.1": {"NameOfPhysiciansReadingStudy": "\\".join(READERS)}},
    ),
    Find(
        "R160-F68-numbers-are-no-matching-keys",
        "STUDY",
        STUDY | {"PatientID": "CONF-P1", "NumberOfStudyRelatedInstances": "17"},
        "1.1 1.2",
    ),
    Find(
        "R151-F69-a-range-of-date-times",
        "IMAGE",
        IMAGE | {"AcquisitionDateTime": "20200105100000-20200105110000"},
        "1.1.1.1 1.1.1.2 1.1.1.3",
    ),
    Find("R151-F69-a-range-of-date-times-elsewhere", "IMAGE", IMAGE | {"AcquisitionDateTime": "20200106-"}, ""),
    Find(
        "R151-F70-a-date-time-with-its-offset",
        "IMAGE",
        {"StudyInstanceUID": uid_of("8.1"), "SeriesInstanceUID": uid_of("8.1.1"), "SOPInstanceUID": ""}
        | {"AcquisitionDateTime": "20200531230000+0000"},
        "8.1.1.1",
    ),
    _studies("R131-F75-case-matters-in-a-description", "1.2 5.1", StudyDescription="*MR*"),
    _studies("R131-F75-case-matters-in-a-description-too", "", StudyDescription="*mr*"),
    _studies("R135+R035-F78-names-in-order", "", PatientName="john doe"),
    _studies("R135+R035-F78-names-as-they-sound-when-negotiated", "1.1 1.2 2.1 6.1", FUZZY, PatientName="john doe"),
    _studies("R152+R035-F79-no-time-zones", "", ZONES, StudyDate="20200531", TimezoneOffsetFromUTC="+0000"),
    _studies("R134-F85-a-component-in-any-case", "1.1 1.2 6.1 8.1", PatientName="*^JOHN*"),
    _studies("R133-F86-trailing-null-components-mean-nothing", "2.1", PatientName="DOE^JANE^^^"),
    _studies("R150-F87-an-asterisk-for-a-date", EVERY, StudyDate="*"),
    Find("R161-F88-numbers-are-numbers", "IMAGE", IMAGE | {"InstanceNumber": "02"}, "1.1.1.2"),
]

SETS = [
    Find(
        "R162+R164-F56-greek",
        "STUDY",
        STUDY | {"SpecificCharacterSet": UTF8, "PatientName": "Παπ*"},
        "7.1",
        codec="utf-8",
        answers={"7.1": {"PatientName": PAPADOPOULOS}},
    ),
    Find(
        "R162+R164-F57-latin-1",
        "STUDY",
        STUDY | {"SpecificCharacterSet": LATIN1, "PatientName": "Buc^Jér*"},
        "3.1",
        codec="latin-1",
        answers={"3.1": {"PatientName": BUC, "SpecificCharacterSet": LATIN1}},
    ),
    Find(
        "R162+R164-F58-another-set-than-stored",
        "STUDY",
        STUDY | {"SpecificCharacterSet": UTF8, "PatientName": "Buc^Jér*"},
        "3.1",
        codec="utf-8",
        answers={"3.1": {"PatientName": BUC, "SpecificCharacterSet": UTF8}},
    ),
    Find(
        "R134+R164-F59-the-ideographic-group",
        "STUDY",
        STUDY | {"SpecificCharacterSet": UTF8, "PatientName": "*=山田*"},
        "4.1",
        codec="utf-8",
        answers={"4.1": {"PatientName": YAMADA}},
    ),
    _studies("R134-F60-a-key-of-one-group-matches-any-group", "4.1", PatientName="Yamada^Tarou"),
    Find(
        "R164+R166-F61-all-three-groups-are-returned",
        "STUDY",
        STUDY | {"PatientName": "Yamada*"},
        "4.1",
        answers={"4.1": {"PatientName": YAMADA}},
    ),
    Find(
        "R162+R164+R166-F62-gb18030-asked-in-utf-8",
        "STUDY",
        STUDY | {"SpecificCharacterSet": UTF8, "PatientName": "Wang^XiaoDong=王*"},
        "5.1",
        codec="utf-8",
        answers={"5.1": {"PatientName": WANG}},
    ),
]

# -- what the standard leaves open --------------------------------------------------------------------------------

OPEN = [
    _studies("R149-F16-a-reversed-range", "", StudyDate="20200106-20200105"),
    _studies("R149-F17-a-date-with-dots", "", StudyDate="2020.01.05"),
    _studies("R149-F17-a-date-cut-short", "", StudyDate="2020010"),
    _studies("R137-F26-a-wild-card-in-a-UID", "", StudyInstanceUID="2.25.*"),
    _studies("R156-F74-several-values-in-an-ID", "", PatientID="CONF-P1\\CONF-P2"),
    _studies("R150-F87-a-wild-card-in-a-date", "", StudyDate="2020*"),
]
