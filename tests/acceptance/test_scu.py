"""find, move, get, send, import: an admin needs no other tool. Two whole nodes; each is the other's partner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.kit import events, rows, versions
from tests.node import LOCAL, Node, Result, free_port
from tests.samples import Sample, dataset_of, encode, make_instances, part10
from tests.script import PENDING, Script, row
from tests.upper_layer import C_CANCEL, Message
from tests.wire import Receiver, contexts_for

MADE = make_instances(3, seed="far", PatientID="F1", PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
OTHER = make_instances(2, seed="far too", PatientID="F2", PatientName="黃^大文", SpecificCharacterSet="ISO_IR 192")


def _config(ae_title: str, port: int, **partners: Any) -> dict[str, Any]:
    return {
        "node": {
            "ae_title": ae_title,
            "bind": f"{LOCAL}:{port}",
            "data": "./data",
            "limits": {"drain": "5s", "connect": "3s", "response": "20s"},
        },
        "sites": {"harbour": {"sector": "private"}, "peak": {"sector": "private"}, "general": {"sector": "public"}},
        "partners": partners,
    }


@pytest.fixture(scope="module")
def hospital() -> Iterator[Receiver]:
    with Receiver() as it:
        yield it


@pytest.fixture(scope="module")
def nodes(start_node: Callable[..., Node], hospital: Receiver) -> tuple[Node, Node]:
    """Far, which has two studies, and near, which asks it."""
    near, far = free_port(), free_port()
    at = {"site": "harbour", "host": LOCAL}
    public = {"site": "general", "host": LOCAL, "port": hospital.port}
    its = _config(
        "FAR",
        far,
        CT1={"site": "harbour", "may": ["store"]},
        NEAR={**at, "port": near, "may": ["find", "move", "get"]},
        PUBPACS=public,
    )
    ours = _config(
        "NEAR",
        near,
        CT1={"site": "harbour", "may": ["store"]},
        FARPACS={**at, "ae_title": "FAR", "port": far, "may": ["store"]},
        ROUTER={**at, "port": free_port(), "confirm": {"find": f"FAR@{LOCAL}:{far}"}},
        DEAD={**at, "port": free_port()},
        SILENT={"site": "harbour", "may": ["find"]},
        PEAK_WS={"site": "peak", "host": LOCAL, "port": free_port()},
        PUBPACS=public,
    )
    one, other = start_node(its), start_node(ours)
    with one.associate("CT1", contexts_for(MADE)) as association:
        assert {association.send_sample(sample) for sample in (*MADE, *OTHER)} == {0}
    return other, one


@pytest.fixture(scope="module")
def near(nodes: tuple[Node, Node]) -> Node:
    return nodes[0]


def _fails(done: Result, code: int, *words: str) -> None:
    assert done.code == code, done
    for word in words:
        assert word in done.err, done
    assert "Traceback" not in done.err


# -- find ------------------------------------------------------------------------------------------------------


def test_find_for_a_program(near: Node) -> None:
    found = near.cli("find", "FARPACS", "PatientName=*", "InstitutionName", json=True)
    by_id = {row["patient_id"]: row for row in found}
    assert by_id["F1"]["patient_name"] == "Müller^Jörg"
    assert by_id["F2"]["patient_name"] == "黃^大文"
    assert by_id["F1"]["study_instance_uid"] == MADE[0].study
    assert by_id["F1"]["modalities_in_study"] == ["CT"]
    assert by_id["F1"]["number_of_study_related_instances"] == 3
    assert "institution_name" in by_id["F1"]


def test_find_for_a_person(near: Node) -> None:
    done = near.cli("find", "FARPACS", "PatientID=F1")
    assert done.code == 0, done
    assert "Müller^Jörg" in done.out
    assert MADE[0].study in done.out
    assert "1 match" in done.err
    assert near.cli("find", "FARPACS", "PatientID=nobody").out == "Nothing matches.\n"


def test_find_by_a_name_that_is_not_ascii(near: Node) -> None:
    (found,) = near.cli("find", "FARPACS", "(0010,0010)=黃*", json=True)
    assert found["patient_id"] == "F2"


def test_a_partner_is_asked_at_the_ae_that_answers_its_queries(near: Node) -> None:
    (found,) = near.cli("find", "ROUTER", "PatientID=F2", json=True)
    assert found["study_instance_uid"] == OTHER[0].study


def test_find_at_each_level(near: Node) -> None:
    (patient,) = near.cli("find", "FARPACS", "PatientID=F1", "--level", "patient", json=True)
    assert patient["patient_name"] == "Müller^Jörg"
    study = f"StudyInstanceUID={MADE[0].study}"
    (series,) = near.cli("find", "FARPACS", study, "--level", "SERIES", json=True)
    assert (series["series_instance_uid"], series["modality"]) == (MADE[0].series, "CT")
    key = f"SeriesInstanceUID={MADE[0].series}"
    images = near.cli("find", "FARPACS", study, key, "--level", "IMAGE", json=True)
    assert {image["sop_instance_uid"] for image in images} == {sample.sop_instance for sample in MADE}


WRONG_FIND: list[tuple[list[str], int, list[str]]] = [
    (["NOBODY"], 2, ["no partner NOBODY", "partners list"]),
    (["SILENT"], 2, ["no host and port"]),
    (["FARPACS", "PatientNmae=X"], 2, ["PatientNmae", "keyword", "did you mean PatientName?"]),
    (["FARPACS", "00020010=1.2"], 2, ["keyword"]),
    (["FARPACS", "QueryRetrieveLevel=STUDY"], 2, ["--level"]),
    (["FARPACS", "--level", "SERIES"], 2, ["StudyInstanceUID"]),
    (["FARPACS", "--level", "IMAGE", "StudyInstanceUID=1.2", "SeriesInstanceUID=*"], 2, ["SeriesInstanceUID"]),
    (["FARPACS", "--level", "SHELF"], 2, ["SHELF"]),
    (["DEAD"], 1, ["DEAD@", "refused"]),
    (["FARPACS", "StudyDate=yesterday"], 1, ["A900H", "Study"]),
]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    WRONG_FIND,
    ids=lambda each: " ".join(map(str, each)) if isinstance(each, list) else None,
)
def test_find_says_what_is_wrong(near: Node, arguments: list[str], code: int, words: list[str]) -> None:
    _fails(near.cli("find", *arguments), code, *words)


# -- move and get ----------------------------------------------------------------------------------------------


def test_move_to_this_node(near: Node) -> None:
    done = near.cli("move", "FARPACS", MADE[0].study)
    assert done.code == 0, done
    assert "3 sent; success (0000H)" in done.out
    assert [versions(near, sample.sop_instance)[0]["dataset"] for sample in MADE] == [it.dataset for it in MADE]


def test_move_one_instance(near: Node) -> None:
    wanted = OTHER[1]
    done = near.cli("move", "FARPACS", wanted.study, "--series", wanted.series, "--instance", wanted.sop_instance)
    assert done.code == 0, done
    assert "1 sent" in done.out
    assert versions(near, wanted.sop_instance)
    assert not versions(near, OTHER[0].sop_instance)


WRONG_MOVE: list[tuple[list[str], int, list[str]]] = [
    (["FARPACS"], 2, ["STUDY_UID"]),
    (["FARPACS", "*"], 2, ["'*' is no UID"]),
    (["FARPACS", ""], 2, ["no UID"]),
    (["FARPACS", "1.2\\1.3"], 2, ["no UID"]),
    (["FARPACS", "1.2", "1.3", "--series", "1.4"], 2, ["--series"]),
    (["FARPACS", "1.2", "--instance", "1.4"], 2, ["--series"]),
    (["FARPACS", "1.2", "--to", "ANYBODY"], 2, ["no partner has the AE title ANYBODY"]),
    (["FARPACS", "1.2", "--to", "PEAK_WS"], 2, ["no flow allows studies of harbour to reach PEAK_WS of peak"]),
    (["FARPACS", "1.2", "--to", "DEAD"], 1, []),
    (["FARPACS", "1.2.3.4.5"], 1, []),
    (["DEAD", "1.2"], 1, ["refused"]),
]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    WRONG_MOVE,
    ids=lambda each: " ".join(map(str, each)) if isinstance(each, list) else None,
)
def test_move_says_what_is_wrong(near: Node, arguments: list[str], code: int, words: list[str]) -> None:
    _fails(near.cli("move", *arguments), code, *words)


def test_get(near: Node, tmp_path: Path) -> None:
    done = near.cli("get", "FARPACS", MADE[0].study, OTHER[0].study, "--into", str(tmp_path / "got"))
    assert done.code == 0, done
    got = {path.name: dataset_of(path) for path in (tmp_path / "got").iterdir()}
    assert got == {f"{sample.sop_instance}.dcm": sample.dataset for sample in (*MADE, *OTHER)}
    assert f"3 files in {tmp_path / 'got'}" in done.out


def test_get_of_what_is_not_there(near: Node, tmp_path: Path) -> None:
    done = near.cli("get", "FARPACS", "1.2.3.4.5", "--into", str(tmp_path / "got"))
    assert done.code == 1, done
    assert "no such study, or does not show it to us" in done.out
    _fails(near.cli("get", "FARPACS", "../x", "--into", str(tmp_path)), 2, "no UID")


# -- send and import -------------------------------------------------------------------------------------------


def _disc(folder: Path, made: list[Sample]) -> Path:
    (folder / "IMAGES").mkdir(parents=True)
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (folder / "README.TXT").write_text("hello")
    for number, sample in enumerate(made):
        (folder / "IMAGES" / f"I{number}").write_bytes(part10(sample))
    return folder


def test_send(near: Node, hospital: Receiver, tmp_path: Path) -> None:
    made = make_instances(4, seed="to be sent")
    done = near.cli("send", str(_disc(tmp_path / "disc", made)), "--to", "PUBPACS")
    assert done.code == 0, done
    assert "4 instances sent to PUBPACS@" in done.out
    assert "1 file left out" in done.out
    assert "README.TXT" in done.err
    assert "DICOMDIR" not in done.err
    assert "in no referral" in done.err
    arrived = {each.sop_instance: each.sha256 for each in hospital.received}
    assert {sample.sop_instance: sample.sha256 for sample in made}.items() <= arrived.items()
    assert not rows(near, "SELECT * FROM referrals")
    assert {event["study_instance_uid"] for event in events(near, "sent by hand")} >= {made[0].study}


def test_send_says_what_is_wrong(near: Node, tmp_path: Path) -> None:
    disc = str(_disc(tmp_path / "disc", make_instances(1, seed="not to be sent")))
    _fails(near.cli("send", disc, "--to", "FARPACS"), 1, "no flow leads to harbour")
    _fails(near.cli("send", disc, "--to", "DEAD"), 1, "no flow")
    _fails(near.cli("send", disc, "--to", "NOBODY"), 2, "no partner")
    _fails(near.cli("send", disc + "x", "--to", "PUBPACS"), 2, "does not exist")
    _fails(near.cli("send", f"{disc}/README.TXT", "--to", "PUBPACS"), 1, "no DICOM file")


def test_import_beside_the_running_node(near: Node, tmp_path: Path) -> None:
    made = make_instances(4, seed="to be imported")
    disc = str(_disc(tmp_path / "disc", made))
    done = near.cli("import", disc, "--from", "CT1")
    assert done.code == 0, done
    assert "4 instances in custody" in done.out
    assert [versions(near, sample.sop_instance)[0]["dataset"] for sample in made] == [it.dataset for it in made]
    again = near.cli("import", disc, "--from", "CT1")
    assert again.code == 0, again
    assert "4 were here already" in again.out
    _fails(near.cli("import", disc, "--from", "PUBPACS"), 1, "may not store here")
    _fails(near.cli("import", disc, "--from", "NOBODY"), 2, "no partner")
    assert near.echo() == 0


def test_what_was_imported_can_be_sent_where_its_site_may(near: Node, tmp_path: Path) -> None:
    made = make_instances(1, seed="imported and sent")
    disc = str(_disc(tmp_path / "disc", made))
    _fails(near.cli("send", disc, "--to", "FARPACS"), 1, "no flow leads to harbour")
    assert near.cli("import", disc, "--from", "CT1").code == 0
    done = near.cli("send", disc, "--to", "FARPACS")
    assert done.code == 1, "the far node takes no instances of this one: NEAR may not store there"
    assert "does not accept" in done.err


# -- Ctrl-C ----------------------------------------------------------------------------------------------------


def test_ctrl_c_cancels_and_shows_what_came(start_node: Callable[..., Node], tmp_path: Path) -> None:
    answered, cancelled = threading.Event(), threading.Event()

    def says(script: Script, message: Message) -> None:
        if message["CommandField"] == C_CANCEL:
            cancelled.set()
            script.respond(message, 0xFE00, CommandField=0x8020, MessageIDBeingRespondedTo=1)
            return
        script.respond(message, PENDING, encode(row(PatientID="X1")))
        answered.set()

    with Script(says) as script:
        partner = {"site": "harbour", "host": LOCAL, "port": script.port}
        it = Node(tmp_path, _config("NEAR", free_port(), SLOW=partner))
        command = it._command("find", "SLOW", "--json")
        process = subprocess.Popen(command, env=it.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert answered.wait(30)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert cancelled.wait(10)
    assert process.returncode == 1
    assert [each["patient_id"] for each in json.loads(out)] == ["X1"]
    assert "cancelled" in err
    assert "Traceback" not in err
