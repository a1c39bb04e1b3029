"""store/search.py: terms as SQL, end to end over a small archive."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydicom import Dataset

from dicomnode.dicom.instance import BY_COLUMN
from dicomnode.operations.ports import Node
from dicomnode.rules import matching
from dicomnode.rules.matching import Model
from dicomnode.rules.negotiated import Features
from dicomnode.store import readers, search
from dicomnode.store.database import execute
from dicomnode.store.search import Scope
from tests import fakes
from tests.samples import Sample, make_instances

BASELINE = Features()
HARBOUR, PEAK = Scope(site="harbour"), Scope(site="peak")
GENERAL = Scope(partners=("PUBPACS", "PUB_WS"), givers=("harbour", "peak"))

UTF8 = {"SpecificCharacterSet": "ISO_IR 192"}
PATIENTS = [  # (key, attributes), each one study of one instance of harbour
    ("doe", {"PatientName": "Doe^John", "PatientID": "A_1", "StudyDate": "20260105", "StudyTime": "0930"}),
    ("doeq", {"PatientName": "DOE^JOHN^Q", "PatientID": "AB1", "StudyDate": "20260110", "StudyTime": "093000.5"}),
    ("percent", {"PatientName": "O'Neil^100%", "PatientID": "50%", "StudyDate": "20260131", "StudyTime": "235959.999"}),
    ("bracket", {"PatientName": "Smith[1]^Ann", "PatientID": "[a]", "StudyDate": "", "StudyTime": ""}),
    ("jerome", {"PatientName": "Jérôme^Émile", "PatientID": "a_1", "StudyDate": "20251231", "StudyTime": "12", **UTF8}),
    (
        "yamada",
        {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "PatientID": "J1", "StudyDate": "20260105", **UTF8},
    ),
    ("empty", {"PatientName": "", "PatientID": "", "StudyDate": "20260601", "StudyTime": "080000"}),
]
ORDER = {
    "doe": {"AccessionNumber": "ACC?1", "StudyDescription": "CT Head", "ReferringPhysicianName": "House^Gregory^"},
    "doeq": {"AccessionNumber": "ACCX1", "StudyDescription": "ct head"},
}


@dataclass(frozen=True)
class Small:
    """A node with the studies of PATIENTS; `name` tells a study by its UID."""

    node: Node
    name: dict[str, str]
    made: dict[str, list[Sample]]

    def ask(
        self,
        scope: Scope,
        level: str = "STUDY",
        model: Model = Model.STUDY_ROOT,
        features: Features = BASELINE,
        **keys: Any,
    ) -> list[dict[str, str]]:
        query = matching.query(fakes.asked(level, **keys), model, features)
        columns = [item.column for item in query.returns]
        pages = search.pages(self.node.database, query, scope, lambda: False)
        return [dict(zip(columns, row, strict=True)) for page in pages for row in page]

    def who(self, features: Features = BASELINE, **keys: Any) -> list[str]:
        found = self.ask(HARBOUR, features=features, **{"StudyInstanceUID": ""} | keys)
        return sorted(self.name[answer["study_instance_uid"]] for answer in found)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    node = fakes.make_node(tmp_path_factory.mktemp("search"))
    made, name = {}, {}
    for key, attributes in PATIENTS:
        more = {"StudyTime": "", "AccessionNumber": "", "StudyDescription": "", "ReferringPhysicianName": ""}
        more |= attributes | ORDER.get(key, {})
        made[key] = make_instances(1, seed=key, **more)
        name[made[key][0].study] = key
        fakes.receive_all(node, made[key], called="REFERNODE")
    yield Small(node, name, made)
    node.database.close()


EVERYBODY = sorted(key for key, _ in PATIENTS)
MATCHES: list[tuple[str, dict[str, str], list[str]]] = [
    ("F02 universal", {"PatientName": ""}, EVERYBODY),
    ("F03 * is universal", {"PatientName": "*"}, EVERYBODY),
    ("F32 * matches the unknown", {"StudyDescription": "*"}, EVERYBODY),
    ("F33 ?* does not", {"StudyDescription": "?*"}, ["doe", "doeq"]),
    ("F04 names without case", {"PatientName": "doe^JOHN"}, ["doe"]),
    ("F05 the whole name", {"PatientName": "Doe"}, []),
    ("F06 with a wild card", {"PatientName": "DOE*"}, ["doe", "doeq"]),
    ("F08 ? is one character", {"PatientName": "J?rome^?mile"}, ["jerome"]),
    ("F57 accents aside", {"PatientName": "JEROME^EMILE"}, ["jerome"]),
    ("F86 trailing carets", {"PatientName": "DOE^JOHN^^^"}, ["doe"]),
    ("F86 trailing carets and wild card", {"PatientName": "DOE^JO?N^^"}, ["doe"]),
    ("nothing but carets", {"PatientName": "^^^^"}, EVERYBODY),
    ("F59 ideographic, no =", {"PatientName": "山田*"}, ["yamada"]),
    ("F60 in its group", {"PatientName": "*=山田^太郎"}, ["yamada"]),
    ("F60 in the wrong group", {"PatientName": "山田*=*"}, []),
    ("phonetic", {"PatientName": "==やまだ*"}, ["yamada"]),
    ("alphabetic of three", {"PatientName": "yamada^tarou"}, ["yamada"]),
    ("[ is literal", {"PatientName": "smith[1]*"}, ["bracket"]),
    ("[ is no class", {"PatientName": "smith[0-9]*"}, []),
    ("% is literal", {"PatientName": "*100%"}, ["percent"]),
    ("F09 _ is literal", {"PatientID": "A_*"}, ["doe"]),
    ("F10 % is literal", {"PatientID": "5%"}, []),
    ("[a] is literal", {"PatientID": "[a]*"}, ["bracket"]),
    ("F07 IDs by case", {"PatientID": "a_1"}, ["jerome"]),
    ("F75 LO by case", {"StudyDescription": "CT*"}, ["doe"]),
    ("F11 padding", {"PatientID": " A_1  "}, ["doe"]),
    ("? in a stored value", {"AccessionNumber": "ACC?1"}, ["doe", "doeq"]),
    ("a quote", {"PatientName": "o'neil*"}, ["percent"]),
    ("physician", {"ReferringPhysicianName": "HOUSE^GREGORY"}, ["doe"]),
    ("physician by wild card", {"ReferringPhysicianName": "house*"}, ["doe"]),
    ("F13 a range of dates", {"StudyDate": "20260105-20260110"}, ["doe", "doeq", "yamada"]),
    ("F14 open below", {"StudyDate": "-20260105"}, ["doe", "jerome", "yamada"]),
    ("F15 open above", {"StudyDate": "20260131-"}, ["empty", "percent"]),
    ("one date", {"StudyDate": "20260110"}, ["doeq"]),
    ("F16 reversed", {"StudyDate": "20260110-20260105"}, []),
    ("F87 * in a date", {"StudyDate": "*"}, EVERYBODY),
    ("F18 a range of times", {"StudyTime": "0800-1000"}, ["doe", "doeq", "empty"]),
    ("F21 to the end of the day", {"StudyTime": "235959-"}, ["percent"]),
    ("F19 less precise key", {"StudyTime": "0930"}, ["doe", "doeq"]),
    ("F20 more precise key", {"StudyTime": "093000-093000"}, ["doe", "doeq"]),
    ("a fraction", {"StudyTime": "093000.5"}, ["doeq"]),
    ("an hour", {"StudyTime": "12"}, ["jerome"]),
    ("with colons", {"StudyTime": "09:30:00-09:30:59"}, ["doe", "doeq"]),
    ("F22 date and time apart", {"StudyDate": "20260105-20260131", "StudyTime": "0930-1000"}, ["doe", "doeq"]),
    ("two keys", {"PatientName": "doe*", "PatientID": "AB1"}, ["doeq"]),
    ("F83 not supported", {"PatientComments": "anything"}, EVERYBODY),
    ("F68 counts do not match", {"NumberOfStudyRelatedInstances": "99"}, EVERYBODY),
]


@pytest.mark.parametrize(("keys", "found"), [m[1:] for m in MATCHES], ids=[m[0] for m in MATCHES])
def test_matching(small: Small, keys: dict[str, str], found: list[str]) -> None:
    assert small.who(StudyInstanceUID="", **keys) == sorted(found)


def test_uids_are_lists_of_any_length(small: Small) -> None:
    mine = [small.made[key][0].study for key in ("doe", "percent")]
    many = "\\".join([*mine, *(f"1.2.3.{n}" for n in range(40_000))])
    assert small.who(StudyInstanceUID=many) == ["doe", "percent"]


def test_values_come_back_as_they_were_sent(small: Small) -> None:
    uid = small.made["yamada"][0].study
    (answer,) = small.ask(HARBOUR, StudyInstanceUID=uid, PatientName="", StudyDate="", AccessionNumber="")
    assert answer == {
        "study_instance_uid": uid,
        "patient_name": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "study_date": "20260105",
        "accession_number": "",
    }


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE"])
def test_every_column_can_be_asked_for_and_returned(small: Small, level: str) -> None:
    """No attribute of the index is without its column, at any level that has it."""
    keywords = [a.keyword for a in BY_COLUMN.values() if not a.keyword.endswith("UID")]
    sample = small.made["doe"][0]
    upper = {"StudyInstanceUID": sample.study, "SeriesInstanceUID": sample.series, "SOPInstanceUID": ""}
    (answer,) = small.ask(HARBOUR, level, **upper, **dict.fromkeys(keywords, ""))
    assert answer["study_instance_uid"] == sample.study
    values = {"DA": "20260105", "TM": "0930", "DT": "20260105"}
    for attribute in BY_COLUMN.values():
        if attribute.keyword in keywords:
            small.ask(HARBOUR, level, **upper, **{attribute.keyword: values.get(attribute.vr, "1")})


# -- entities, counts and scopes -------------------------------------------------------------------------------


@pytest.fixture
def build_studies(here: Node) -> Callable[..., list[Sample]]:
    def receive(
        count: int, seed: object, partner: str = "CT1", called: str = "REFERNODE", **more: object
    ) -> list[Sample]:
        made = make_instances(count, seed=seed, **more)  # type: ignore[arg-type]
        fakes.receive_all(here, made, partner, called)
        return made

    return receive


def test_one_answer_for_each_entity(here: Node, build_studies: Callable[..., list[Sample]]) -> None:
    """Two studies of one patient, one of two series: 1 patient, 2 studies, 2 series, 3 instances."""
    uid = build_studies(2, "a", PatientID="P", modality="CT")[0].study
    build_studies(1, "a", PatientID="P", modality="OT", study_uid=uid, series=2)
    build_studies(1, "b", PatientID="P", modality="MR")
    small = Small(here, {}, {})
    counts = {
        "PATIENT": ("Patient", {"Studies": "2", "Series": "3", "Instances": "4"}),
        "STUDY": ("Study", {"Series": "2", "Instances": "3"}),
        "SERIES": ("Series", {"Instances": "2"}),
    }
    for level, (what, numbers) in counts.items():
        keys = {f"NumberOf{what}Related{each}": "" for each in numbers}
        upper = {"PatientID": "P"} | ({"StudyInstanceUID": uid} if level != "PATIENT" else {})
        first = small.ask(HARBOUR, level, Model.PATIENT_ROOT, **upper, **keys)[0]
        assert {key: first[key] for key in keys} == {f"NumberOf{what}Related{e}": n for e, n in numbers.items()}
    assert len(small.ask(HARBOUR, "PATIENT", Model.PATIENT_ROOT, PatientID="P")) == 1
    assert len(small.ask(HARBOUR, "STUDY", Model.PATIENT_ROOT, PatientID="P", StudyInstanceUID="")) == 2
    assert len(small.ask(HARBOUR, "SERIES", StudyInstanceUID=uid)) == 2
    series = small.ask(HARBOUR, "SERIES", StudyInstanceUID=uid, Modality="CT")[0]["series_instance_uid"]
    assert len(small.ask(HARBOUR, "IMAGE", StudyInstanceUID=uid, SeriesInstanceUID=series)) == 2
    (one,) = small.ask(HARBOUR, "IMAGE", StudyInstanceUID=uid, SeriesInstanceUID=series, InstanceNumber="02")
    assert one["instance_number"] == "2"  # F88: as numbers


MODALITIES = [
    ("CT", True),  # F27
    ("OT", True),
    ("MR", False),
    ("MR\\OT", True),  # F29
    ("C*", True),  # F31
    ("*", True),
    ("ct", False),
]


@pytest.mark.parametrize(("asked", "found"), MODALITIES)
def test_modalities_match_any_series_and_are_all_returned(
    here: Node, build_studies: Callable[..., list[Sample]], asked: str, found: bool
) -> None:
    uid = build_studies(1, "a", modality="CT")[0].study
    build_studies(1, "a", modality="OT", study_uid=uid, series=2)
    answers = Small(here, {}, {}).ask(HARBOUR, StudyInstanceUID="", ModalitiesInStudy=asked)
    assert [a["ModalitiesInStudy"] for a in answers] == (["CT\\OT"] if found else [])


def test_sop_classes_in_study(here: Node, build_studies: Callable[..., list[Sample]]) -> None:
    (sample,) = build_studies(1, "a", modality="MR")
    small = Small(here, {}, {})
    assert small.ask(HARBOUR, SOPClassesInStudy="")[0]["SOPClassesInStudy"] == sample.sop_class
    assert len(small.ask(HARBOUR, SOPClassesInStudy=f"1.2.3\\{sample.sop_class}")) == 1
    assert small.ask(HARBOUR, SOPClassesInStudy="1.2.3") == []


def test_pages_lose_nothing(
    here: Node, build_studies: Callable[..., list[Sample]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_PAGE", 2)
    uids = [build_studies(1, n)[0].study for n in range(5)]
    assert [a["study_instance_uid"] for a in Small(here, {}, {}).ask(HARBOUR, StudyInstanceUID="")] == uids


def test_a_scope_shows_its_own_and_counts_its_own(here: Node, build_studies: Callable[..., list[Sample]]) -> None:
    """One patient ID at two sites, and one study referred: nobody can tell from a count that there is more."""
    same = {"PatientID": "P", "IssuerOfPatientID": "HKID"}
    referred = build_studies(1, "a", called="TO_GENERAL", **same)[0].study
    kept = build_studies(2, "b", **same)[0].study
    theirs = build_studies(3, "c", "PEAK_CT", **same, StudyDescription="SECRET")[0].study
    fakes.complete(here)
    small = Small(here, {}, {})
    keys = {f"NumberOfPatientRelated{each}": "" for each in ("Studies", "Series", "Instances")}
    seen = {HARBOUR: ({referred, kept}, "2 2 3"), PEAK: ({theirs}, "1 1 3"), GENERAL: ({referred}, "1 1 1")}
    for scope, (uids, counts) in seen.items():
        assert {a["study_instance_uid"] for a in small.ask(scope, StudyInstanceUID="")} == uids
        (patient,) = small.ask(scope, "PATIENT", Model.PATIENT_ROOT, PatientID="P", **keys)
        assert " ".join(patient[key] for key in keys) == counts
    assert small.ask(HARBOUR, StudyDescription="SECRET") == []
    assert small.ask(Scope(), StudyInstanceUID="") == []
    assert small.ask(Scope(partners=("ISLPACS",), givers=("harbour", "peak")), StudyInstanceUID="") == []
    assert small.ask(Scope(partners=GENERAL.partners, givers=("peak",)), StudyInstanceUID="") == []  # no flow


def test_a_series_of_another_site_leaves_no_trace(here: Node, build_studies: Callable[..., list[Sample]]) -> None:
    """Peak sends into harbour's study: neither sees it there, not by modality, count, class or series."""
    uid = build_studies(1, "a", called="TO_GENERAL", modality="CT")[0].study
    (foreign,) = build_studies(1, "a", "PEAK_CT", modality="MR", study_uid=uid, series=2)
    fakes.complete(here)
    small = Small(here, {}, {})
    keys = dict.fromkeys(("ModalitiesInStudy", "SOPClassesInStudy", "NumberOfStudyRelatedSeries"), "")
    for scope in (HARBOUR, GENERAL):
        (answer,) = small.ask(scope, StudyInstanceUID="", **keys)
        assert (answer["ModalitiesInStudy"], answer["NumberOfStudyRelatedSeries"]) == ("CT", "1")
        assert foreign.sop_class not in answer["SOPClassesInStudy"]
        assert small.ask(scope, StudyInstanceUID="", ModalitiesInStudy="MR") == []
        assert len(small.ask(scope, "SERIES", StudyInstanceUID=uid)) == 1
    assert small.ask(PEAK, StudyInstanceUID="") == []


def test_what_a_move_selects(here: Node, build_studies: Callable[..., list[Sample]]) -> None:
    made = build_studies(3, "a", PatientID="P")
    query = matching.retrieve(fakes.asked("STUDY", StudyInstanceUID=made[0].study), Model.STUDY_ROOT)
    with here.database.read():
        found = search.instances(query, HARBOUR)
        assert search.instances(query, PEAK) == search.instances(query, GENERAL) == []
    assert [(f.sop_instance_uid, f.sop_class_uid, f.site) for f in found] == [
        (m.sop_instance, m.sop_class, "harbour") for m in made
    ]
    assert all(here.archive.path(f.file).exists() for f in found)
    wrong = fakes.asked("STUDY", PatientID="Q", StudyInstanceUID=made[0].study)
    with here.database.read():
        assert search.instances(matching.retrieve(wrong, Model.PATIENT_ROOT), HARBOUR) == []  # M17


# -- what has to be negotiated, and attributes of several values -------------------------------------------------

FUZZY, FREE = Features(fuzzy=True), Features(relational=True, date_time=True, empty_value=True, multiple_value=True)


def code(value: str, meaning: str) -> Dataset:
    found = Dataset()
    found.CodeValue, found.CodingSchemeDesignator, found.CodeMeaning = value, "99X", meaning
    return found


def step(number: str, procedure: str) -> Dataset:
    found = Dataset()
    found.ScheduledProcedureStepID, found.RequestedProcedureID = number, procedure
    return found


RICH: dict[str, dict[str, Any]] = {  # two studies of harbour, with attributes that not every object has
    "wong": {
        "PatientName": "WONG^SIU MING=王^小明",
        "PatientID": "W1",
        "OperatorsName": "SMITH^A\\JONES^B",
        "NameOfPhysiciansReadingStudy": "HOUSE^GREGORY\\WATSON^JOHN",
        "ImageType": "ORIGINAL\\PRIMARY\\AXIAL",
        "Laterality": "L",
        "AcquisitionDateTime": "20260105093000+0800",
        "ProcedureCodeSequence": [code("P1", "Skull"), code("P2", "Neck")],
        "RequestAttributesSequence": [step("S1", "R1"), step("S2", "R2")],
        "SpecificCharacterSet": "ISO_IR 192",
    },
    "hollmann": {
        "PatientName": "HOLLMANN^KATHRYN",
        "PatientID": "W2",
        "OperatorsName": "",
        "ImageType": "DERIVED\\SECONDARY",
        "Laterality": "",
        "AcquisitionDateTime": "20260105093000",
        "TimezoneOffsetFromUTC": "-0500",
        "StudyDate": "20260106",
        "StudyTime": "",
    },
}


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    node = fakes.make_node(tmp_path_factory.mktemp("rich"))
    made, name = {}, {}
    for key, attributes in RICH.items():
        made[key] = make_instances(2, seed=key, **({"StudyDate": "20260105", "StudyTime": "0930"} | attributes))
        name[made[key][0].study] = key
        fakes.receive_all(node, made[key], called="REFERNODE")
    yield Small(node, name, made)
    node.database.close()


BOTH = ["hollmann", "wong"]
NEGOTIATED: list[tuple[str, Features, dict[str, Any], list[str]]] = [
    ("other order", FUZZY, {"PatientName": "ming siu wong"}, ["wong"]),
    ("sounds alike", FUZZY, {"PatientName": "Wang^Ming"}, ["wong"]),
    ("a Latin name", FUZZY, {"PatientName": "Holman^Catherine"}, ["hollmann"]),
    ("ideographic, in any order", FUZZY, {"PatientName": "小明王"}, ["wong"]),
    ("romanised and ideographic", FUZZY, {"PatientName": "wong=王"}, ["wong"]),
    ("another sound", FUZZY, {"PatientName": "Peter"}, []),
    ("fuzzy, and as it is written", FUZZY, {"PatientName": "*OLLM*"}, ["hollmann"]),
    ("another's name", FUZZY, {"NameOfPhysiciansReadingStudy": "Jon Wattson"}, ["wong"]),
    ("not fuzzy", Features(), {"PatientName": "Wang^Ming"}, []),
    ("one of several names", FREE, {"OperatorsName": "jones^b"}, ["wong"]),
    ("a wild card in one of several names", FREE, {"NameOfPhysiciansReadingStudy": "wat*"}, ["wong"]),
    ("not across several names", FREE, {"OperatorsName": "smith*jones*"}, []),
    ("one of several values", FREE, {"ImageType": "PRIMARY"}, ["wong"]),
    ("each of several values", FREE, {"ImageType": "PRIMARY\\AXIAL"}, ["wong"]),
    ("one of several values is not there", FREE, {"ImageType": "PRIMARY\\SECONDARY"}, []),
    ("a wild card in one of several values", FREE, {"ImageType": "SEC*"}, ["hollmann"]),
    ("no value", FREE, {"Laterality": '""'}, ["hollmann"]),
    ("no value of several", FREE, {"OperatorsName": '""'}, ["hollmann"]),
    ("no modality", FREE, {"ModalitiesInStudy": '""'}, []),
    ("one item", FREE, {"ProcedureCodeSequence": [{"CodeValue": "P2", "CodeMeaning": "Neck"}]}, ["wong"]),
    ("no single item", FREE, {"ProcedureCodeSequence": [{"CodeValue": "P1", "CodeMeaning": "Neck"}]}, []),
    ("a wild card in an item", FREE, {"ProcedureCodeSequence": [{"CodeMeaning": "Sk*"}]}, ["wong"]),
    ("an item of a series", FREE, {"RequestAttributesSequence": [{"ScheduledProcedureStepID": "S2"}]}, ["wong"]),
    ("a universal item", FREE, {"ProcedureCodeSequence": [{"CodeValue": ""}]}, BOTH),
    ("a moment", FREE, {"StudyDate": "20260104-20260105", "StudyTime": "1000-0900"}, []),
    ("from one day to the next", FREE, {"StudyDate": "20260105-20260106", "StudyTime": "0900-0100"}, BOTH),
    ("a time that is unknown begins its day", FREE, {"StudyDate": "20260106-", "StudyTime": "0001-"}, []),
    ("date-time with its own offset", FREE, {"AcquisitionDateTime": "20260105013000"}, ["wong"]),
    ("date-time with the offset of its object", FREE, {"AcquisitionDateTime": "20260105143000"}, ["hollmann"]),
    ("date-times", FREE, {"AcquisitionDateTime": "20260105-20260105"}, BOTH),
    ("of a lower level", FREE, {"InstanceNumber": "2"}, BOTH),
    ("of a lower level, by UID", FREE, {"SOPInstanceUID": "1.2.3"}, []),
    ("in one instance", FREE, {"Laterality": "L", "ImageType": "SECONDARY"}, []),
]


@pytest.mark.parametrize(("features", "keys", "found"), [n[1:] for n in NEGOTIATED], ids=[n[0] for n in NEGOTIATED])
def test_what_was_negotiated(rich: Small, features: Features, keys: dict[str, Any], found: list[str]) -> None:
    assert rich.who(features, **keys) == found


@pytest.mark.parametrize("level", ["PATIENT", "SERIES", "IMAGE"])
def test_relational_keys_restrict_every_level(rich: Small, level: str) -> None:
    sample, many = rich.made["wong"][1], 2 if level == "IMAGE" else 1
    model = Model.PATIENT_ROOT if level == "PATIENT" else Model.STUDY_ROOT
    by_uid = rich.ask(HARBOUR, level, model, FREE, SOPInstanceUID=sample.sop_instance, PatientID="")
    assert [a["patient_id"] for a in by_uid] == ["W1"]
    assert len(rich.ask(HARBOUR, level, model, FREE, SeriesInstanceUID=sample.series)) == many
    assert len(rich.ask(HARBOUR, level, model, FREE, ImageType="AXIAL")) == many
    assert rich.ask(PEAK, level, model, FREE, SOPInstanceUID=sample.sop_instance) == []


def test_a_sequence_comes_back_as_its_items(rich: Small) -> None:
    keys = {"ProcedureCodeSequence": [{"CodeValue": ""}], "StudyInstanceUID": ""}
    found = {rich.name[a["study_instance_uid"]]: a["procedure_code_sequence"] for a in rich.ask(HARBOUR, **keys)}
    assert found["hollmann"] == ""
    assert [item["00080100"] for item in json.loads(found["wong"])] == ["P1", "P2"]


# -- pages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [{"PatientSex": ""}, {"PatientID": "W*"}])
def test_a_search_ends_in_the_middle_of_a_statement(
    rich: Small, monkeypatch: pytest.MonkeyPatch, keys: dict[str, str]
) -> None:
    """So few rows are no work for SQLite: let it ask after every step."""
    monkeypatch.setattr(readers, "_STRETCH", 1)
    query = matching.query(fakes.asked("STUDY", **keys), Model.STUDY_ROOT)

    def ends(at: int) -> tuple[int, list[search.Page]]:
        """How often it is asked whether it may go on, and what comes of it, where the answer is no at the n-th time."""
        asked = iter(range(100_000))
        found = list(search.pages(rich.node.database, query, HARBOUR, lambda: next(asked) == at))
        return next(asked), found

    steps, found = ends(-1)
    assert (steps > 20, len(found)) == (True, 1)
    for at in (1, steps // 2):
        assert ends(at) == (at + 1, [])


def test_patients_are_paged_by_their_ids(rich: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_PAGE", 1)
    found = rich.ask(HARBOUR, "PATIENT", Model.PATIENT_ROOT, PatientID="")
    assert [a["patient_id"] for a in found] == ["W1", "W2"]


def test_a_slow_reader_holds_no_connection(rich: Small) -> None:
    for keys in ({"PatientID": "W*"}, {"PatientSex": ""}):
        query = matching.query(fakes.asked("STUDY", **keys), Model.STUDY_ROOT)
        assert next(search.pages(rich.node.database, query, HARBOUR, lambda: False))
        assert rich.node.database._sqlite.is_closed()


def test_what_is_gone_between_two_pages_is_left_out(
    here: Node, build_studies: Callable[..., list[Sample]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_PAGE", 1)
    uids = [build_studies(1, n, PatientID="P")[0].study for n in range(2)]
    query = matching.query(fakes.asked("STUDY", PatientID="P", StudyInstanceUID=""), Model.STUDY_ROOT)
    pages = search.pages(here.database, query, HARBOUR, lambda: False)
    assert [row[-1] for row in next(pages)] == uids[:1]
    here.database.write(lambda: execute("UPDATE instances SET evicted_at = 1"))
    assert list(pages) == []
