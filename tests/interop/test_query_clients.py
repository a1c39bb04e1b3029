"""Other people's clients find studies on the node, and fetch them: findscu, movescu, getscu, gdcmscu, and Orthanc.

What is fetched is compared bit by bit. Names in other alphabets are found by what a person would type, by findscu and
by Orthanc alike, and come back as they were sent. Orthanc 1.10 cannot ask by C-GET. gdcmscu 3.0.21 has a fault of its
own: it dies of an exception when its association has been released in good order, so that its exit code says nothing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests import dcmtk
from tests.node import LOCAL, Node, changed, default_config, free_port
from tests.orthanc import Orthanc
from tests.samples import Sample, apart, charset_files, dataset_of, make_instances, read_sample
from tests.wire import contexts_for

CALLED: dict[str, Any] = {"calling": "RAD_WS", "called": "REFERNODE"}


@pytest.fixture(scope="module")
def workstation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dcmtk.StoreSCP]:
    with dcmtk.storescp(tmp_path_factory.mktemp("workstation"), "RAD_WS") as it:
        yield it


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    options = {"DefaultEncoding": "Utf8"}  # what its questions are written in
    with Orthanc(tmp_path_factory.mktemp("pacs"), ae_title="PACS", options=options) as it:
        yield it


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node], workstation: dcmtk.StoreSCP, pacs: Orthanc) -> Node:
    may = {"may": ["find", "move", "get"]}
    partners = {
        "RAD_WS": may,
        "PACS": {"site": "harbour", "host": LOCAL, "port": pacs.port, **may},
        "GDCM": {"site": "harbour", "host": LOCAL, "port": free_port(), **may},
    }
    node = start_node(changed(default_config(rad_ws=workstation.port), {"partners": partners}))
    pacs.add_modality("node", node.ae_title, LOCAL, node.port)
    return node


@dataclass(frozen=True)
class Study:
    """One that the node has: two series, of three images and of one."""

    patient: str
    samples: tuple[Sample, ...]

    @property
    def uid(self) -> str:
        return self.samples[0].study

    def keys(self, level: str) -> dict[str, str]:
        """What selects the study, its first series, or the first image of that."""
        first = self.samples[0]
        uids = {"StudyInstanceUID": first.study, "SeriesInstanceUID": first.series}
        uids["SOPInstanceUID"] = first.sop_instance
        return {"PatientID": self.patient} if level == "PATIENT" else dict(list(uids.items())[: _DEPTH[level]])

    def datasets(self, level: str) -> dict[str, bytes]:
        """SOP Instance UID → bytes of what is then selected."""
        return {sample.sop_instance: sample.dataset for sample in self.samples[: _SELECTED[level]]}


_DEPTH = {"STUDY": 1, "SERIES": 2, "IMAGE": 3}
_SELECTED = {"PATIENT": 4, "STUDY": 4, "SERIES": 3, "IMAGE": 1}


@pytest.fixture(scope="module")
def study(node: Node) -> Study:
    """One study among others."""
    patient: dict[str, Any] = {"PatientID": "CLIENTS", "PatientName": "CLIENT^OTHERS"}
    made = make_instances(3, seed="clients", **patient)
    made += make_instances(1, seed="clients", study_uid=made[0].study, series=2, **patient)
    store(node, [*made, *make_instances(2, seed="another", PatientID="ANOTHER", PatientName="CLIENT^NO")])
    return Study("CLIENTS", tuple(made))


def store(node: Node, made: Sequence[Sample]) -> None:
    with node.associate("CT1", contexts_for(made)) as association:
        assert {association.send_sample(sample) for sample in made} == {0}


def received(paths: Sequence[Path]) -> dict[str, bytes]:
    """SOP Instance UID → the dataset of each file."""
    uids = (pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]) for path in paths)
    return {str(uid.SOPInstanceUID): dataset_of(path) for uid, path in zip(uids, paths, strict=True)}


# -- DCMTK -------------------------------------------------------------------------------------------------------

_MODELS = [("-P", "PATIENT"), ("-P", "STUDY"), ("-S", "STUDY"), ("-S", "SERIES"), ("-S", "IMAGE")]


@pytest.mark.parametrize(
    ("level", "asked", "found"),
    [("STUDY", "StudyInstanceUID", 1), ("SERIES", "SeriesInstanceUID", 2), ("IMAGE", "SOPInstanceUID", 3)],
)
def test_findscu_counts_what_there_is(level: str, asked: str, found: int, node: Node, study: Study) -> None:
    above = dict(list(study.keys(level).items())[:-1])
    keys = {"PatientID": study.patient} if level == "STUDY" else above
    answer = dcmtk.find(node.port, level, keys | {asked: ""}, **CALLED)
    assert answer.status == 0, answer.done.text
    assert len({match[asked].value for match in answer.matches}) == len(answer.matches) == found


@pytest.mark.parametrize(("model", "level"), _MODELS)
def test_movescu_fetches_what_it_selects(
    model: str, level: str, node: Node, study: Study, workstation: dcmtk.StoreSCP
) -> None:
    for path in workstation.files():
        path.unlink()
    keys = upper(model, study) | study.keys(level)
    done = dcmtk.movescu(node.port, "RAD_WS", level, keys, model=model, **CALLED)
    assert (done.code, done.status) == (0, 0), done.text
    assert received(workstation.files()) == study.datasets(level)


@pytest.mark.parametrize(("model", "level"), _MODELS)
def test_getscu_fetches_what_it_selects(model: str, level: str, node: Node, study: Study, tmp_path: Path) -> None:
    keys = upper(model, study) | study.keys(level)
    done = dcmtk.getscu(node.port, tmp_path, level, keys, model=model, **CALLED)
    assert (done.code, done.status) == (0, 0), done.text
    assert received(list(tmp_path.iterdir())) == study.datasets(level)


def upper(model: str, study: Study) -> dict[str, str]:
    """The unique key of the patient, where the model begins with it."""
    return {"PatientID": study.patient} if model == "-P" else {}


# -- GDCM --------------------------------------------------------------------------------------------------------


def gdcmscu(node: Node, *arguments: object) -> str:
    """What it said of an exchange that it came to the end of: both streams, to the exception that it dies of."""
    program = shutil.which("gdcmscu")
    assert program, "gdcmscu is missing: apt-get install libgdcm-tools"
    titles = ("--aetitle", "GDCM", "--call", "REFERNODE")
    command = [program, "--debug", *titles, *arguments, LOCAL, node.port]
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=60, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def test_gdcmscu_finds(node: Node, study: Study) -> None:
    """It shows no answers before it dies; their statuses it tells as they come, twice each."""
    said = gdcmscu(node, "--find", "--studyroot", "--series", "--key", f"20,d,{study.uid}", "--key", "20,e")
    statuses = re.findall(r"\(0000,0900\) .* (\d+) +# 2,1 Status", said)
    assert [int(status) for status in statuses] == [0xFF00, 0xFF00] * 2 + [0x0000] * 2, said[-2000:]


def test_gdcmscu_fetches(node: Node, study: Study, tmp_path: Path) -> None:
    port = node.config["partners"]["GDCM"]["port"]
    unique = [f"20,d,{study.uid}", f"20,e,{study.samples[0].series}"]
    options = ("--port-scp", port, "--output", tmp_path)
    said = gdcmscu(node, "--move", "--studyroot", "--series", "--key", unique[0], "--key", unique[1], *options)
    assert received(list(tmp_path.iterdir())) == study.datasets("SERIES"), said[-2000:]


# -- Orthanc -----------------------------------------------------------------------------------------------------


def asked(pacs: Orthanc, level: str, keys: Mapping[str, str]) -> tuple[str, list[dict[str, str]]]:
    """Its query's path, and the answers by keyword."""
    query = pacs.post("/modalities/node/query", {"Level": level, "Query": dict(keys)})
    return f"/queries/{query['ID']}", pacs.get(f"/queries/{query['ID']}/answers?expand&simplify")


@pytest.mark.parametrize(("level", "found"), [("Patient", 1), ("Study", 1), ("Series", 2), ("Instance", 3)])
def test_orthanc_counts_what_there_is(level: str, found: int, pacs: Orthanc, node: Node, study: Study) -> None:
    assert node.port
    above = {"Series": study.keys("STUDY"), "Instance": study.keys("SERIES")}
    _, answers = asked(pacs, level, above.get(level, {}) | {"PatientID": study.patient})
    assert len(answers) == found


@pytest.mark.parametrize(("level", "selected"), [("Study", "STUDY"), ("Series", "SERIES"), ("Instance", "IMAGE")])
def test_orthanc_fetches_what_it_found(level: str, selected: str, pacs: Orthanc, node: Node, study: Study) -> None:
    assert node.port
    query, answers = asked(pacs, level, study.keys(selected))
    assert len(answers) == 1
    pacs.post(f"{query}/answers/0/retrieve", {"TargetAet": "PACS", "Synchronous": True})
    found = {uid: dataset_of(pacs.dicom_file(number)) for uid, number in pacs.instances(study.uid).items()}
    assert found == study.datasets(selected)
    pacs.delete(study.uid)


# -- names -------------------------------------------------------------------------------------------------------

TYPED = {  # what people type → the files of those whom it finds
    "قباني*": "chrArab",
    "buc^jerome": "chrFren chrFrenMulti",
    "BUC*": "chrFren chrFrenMulti",
    "Buc^Jér*": "chrFren chrFrenMulti",
    "aneas*": "chrGerm",
    "ÄNEAS^RÜDIGER": "chrGerm",
    "διονυσιος": "chrGreek",
    "ΔΙΟΝ*": "chrGreek",
    "שרון*": "chrHbrw",
    "*דבורה": "chrHbrw",
    "люк*": "chrRuss",
    "yamada*": "chrH31",
    "山田*": "chrH31 chrH32",
    "*太郎*": "chrH31 chrH32",
    "やまだ*": "chrH31 chrH32 chrJapMulti chrJapMultiExplicitIR6",
    "ﾔﾏﾀﾞ*": "chrH32",
    "hong^gil*": "chrI2",
    "洪*": "chrI2",
    "홍^길동": "chrI2",
    "*길동*": "chrI2",
    "김희중": "chrKoreanMulti",
    "김*": "chrKoreanMulti",
    "wang*": "chrX1 chrX2",
    "WANG^xiao*": "chrX1 chrX2",
    "王*": "chrX1 chrX2",
    "*小東*": "chrX1",
    "王^小东": "chrX2",
}


@dataclass(frozen=True)
class Written:
    """A study by the name of its patient."""

    uid: str
    name: str


@pytest.fixture(scope="module")
def alphabets(node: Node) -> dict[str, Written]:
    """A study of each alphabet, by file."""
    there = {}
    for path in charset_files():
        sample = apart(read_sample(path))
        store(node, [sample])
        there[path.stem] = Written(sample.study, str(pydicom.dcmread(path, stop_before_pixels=True).PatientName))
    return there


def by_findscu(pacs: Orthanc, node: Node, typed: str) -> dict[str, str]:
    keys = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": typed, "StudyInstanceUID": ""}
    found = dcmtk.find(node.port, "STUDY", keys, **CALLED)
    assert found.status == 0, found.done.text
    return {match.StudyInstanceUID: str(match.PatientName) for match in found.matches}


def by_orthanc(pacs: Orthanc, node: Node, typed: str) -> dict[str, str]:
    _, answers = asked(pacs, "Study", {"PatientName": typed, "StudyInstanceUID": ""})
    return {answer["StudyInstanceUID"]: answer["PatientName"] for answer in answers}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("find", [by_findscu, by_orthanc])
@pytest.mark.parametrize(("typed", "files"), TYPED.items())
def test_a_name_is_found_by_what_a_person_types(
    typed: str, files: str, find: Callable[..., Any], pacs: Orthanc, node: Node, alphabets: dict[str, Written]
) -> None:
    found = {uid: name.rstrip("=^") for uid, name in find(pacs, node, typed).items()}
    assert found == {alphabets[file].uid: alphabets[file].name.rstrip("=^") for file in files.split()}
