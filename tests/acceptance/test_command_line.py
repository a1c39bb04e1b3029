"""Every command: what it prints for a person and for a program, its exit code, and the next step where it fails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.inprocess import Here
from tests.integration.kit import rows
from tests.node import LOCAL, Node, Result, default_config, free_port
from tests.samples import Sample, make_instance, make_instances
from tests.upper_layer import EXPLICIT_LE
from tests.wire import Receiver, Rejected, contexts_for

_KEYS = {  # the contract: keys are only ever added
    "studies list": "study_instance_uid patient_id patient_name study_date modalities series instances site"
    " received_at",
    "referrals list": "referral study_instance_uid patient_id site partner state progress gate reason instances"
    " delivered confirmed proof opened_at confirmed_at",
    "queue list": "transfer sop_instance_uid study_instance_uid partner state attempts due_at last_status reason",
    "queue shape": "partner queued active held delivered oldest paused_until reason lane opens_at",
    "partners list": "partner site ae_title address may lane reason",
    "partners refused": "calling_ae_title called_ae_title address why spki times first_at last_at yaml",
    "audit list": "id at event partner study_instance_uid sop_instance_uid referral generation text alarm",
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_TIMES = {"received_at", "opened_at", "confirmed_at", "due_at", "oldest", "first_at", "last_at", "at"}
_ARRIVED = make_instances(3, seed="arrived", PatientID="H4711", PatientName="MUSTERFRAU^ERIKA")
_WAITING = make_instances(2, seed="waiting", PatientID="H4712", PatientName="WAITER^WALTER")


@pytest.fixture(scope="module")
def public() -> Iterator[Receiver]:
    with Receiver() as it:
        yield it


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, public: Receiver) -> Iterator[Node]:
    """One study that has arrived, one that waits for somebody who is not there, and one who was turned away."""
    config = default_config(pubpacs=public.port)
    config["node"]["aliases"] += ["TO_CITY", "TO_GENERAL_LATER"]
    config["partners"]["CITY"] = {"site": "general", "host": LOCAL, "port": free_port()}
    config["routes"].append({"name": "city", "when": {"called": "TO_CITY"}, "to": ["CITY"], "wait": "0s"})
    config["routes"].append({"name": "later", "when": {"called": "TO_GENERAL_LATER"}, "to": ["PUBPACS"], "wait": "3s"})
    it = Here(tmp_path_factory.mktemp("node"), config)
    try:
        it.start()
        _send(it, _ARRIVED, "TO_GENERAL")
        _send(it, _WAITING, "TO_CITY")
        with pytest.raises(Rejected):
            it.echo("STRANGER")
        it.wait_until(lambda: rows(it, "SELECT 1 FROM referrals WHERE progress = 'sent'"), 20, "the study to arrive")
        it.wait_until(lambda: rows(it, "SELECT 1 FROM partners WHERE failures > 0"), 20, "the lane to pause")
        yield it
    finally:
        it.kill_all()


def _send(node: Node, made: list[Sample], called: str) -> None:
    with node.associate("CT1", contexts_for(made), called=called) as association:
        assert {association.send_sample(sample) for sample in made} == {0}


def _row(node: Node, command: str, **wanted: Any) -> dict[str, Any]:
    found = [row for row in node.cli(*command.split(), json=True) if wanted.items() <= row.items()]
    assert len(found) == 1, found
    return dict(found[0])


def _fails(done: Result, code: int, *words: str) -> None:
    """It says what is wrong and what to do next, on standard error, and shows no traceback."""
    assert done.code == code, done
    for word in words:
        assert word in done.err, done
    assert "Traceback" not in done.err


# -- lists -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", _KEYS)
def test_a_list_prints_one_json_array_with_the_keys_of_the_contract(command: str, node: Node) -> None:
    done = node.cli(*command.split(), "--json")
    assert (done.code, done.err) == (0, "")
    listed = json.loads(done.out)
    assert listed
    for row in listed:
        assert set(_KEYS[command].split()) <= set(row)
        for key in _TIMES & set(row):
            assert row[key] is None or _TIME.fullmatch(row[key]), (key, row[key])
        assert "" not in row.values(), "what is unknown is null"
        assert all(isinstance(row[key], int) for key in ("referral", "transfer", "id") if row.get(key) is not None)


@pytest.mark.parametrize("command", _KEYS)
def test_a_list_prints_a_table_for_a_person(command: str, node: Node) -> None:
    done = node.cli(*command.split())
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) >= 2
    assert "\x1b" not in done.out
    assert "None" not in done.out


def test_studies(node: Node) -> None:
    study = _row(node, "studies list", study_instance_uid=_ARRIVED[0].study)
    assert (study["modalities"], study["series"], study["instances"]) == (["CT"], 1, 3)
    assert (study["site"], study["study_date"]) == ("harbour", "20040119")
    shown = node.cli("studies", "show", _ARRIVED[0].study)
    assert shown.code == 0
    for sample in _ARRIVED:
        assert sample.sop_instance in shown.out
    (study,) = node.cli("studies", "show", _ARRIVED[0].study, json=True)
    assert {version["sha256"] for version in study["versions"]} == {sample.sha256 for sample in _ARRIVED}
    assert [(it["partner"], it["state"]) for it in study["referrals"]] == [("PUBPACS", "sent")]
    _fails(node.cli("studies", "show", "1.2.3"), 2, "no study 1.2.3", "dicomnode studies list")


def test_patients_are_masked_unless_they_are_asked_for(node: Node) -> None:
    for command in ("studies list", "referrals list", "audit list", "queue list", "partners refused"):
        for options in ([], ["--json"]):
            out = node.cli(*command.split(), *options).out
            assert "MUSTERFRAU" not in out
            assert "H4711" not in out
    study = _row(node, "studies list --phi", study_instance_uid=_ARRIVED[0].study)
    assert (study["patient_id"], study["patient_name"]) == ("H4711", "MUSTERFRAU^ERIKA")
    assert "H4711" in node.cli("referrals", "list", "--phi").out
    assert "H4711" not in node.cli("studies", "show", _ARRIVED[0].study).out
    assert "MUSTERFRAU" not in node.log.read_text()
    assert "H4711" not in node.log.read_text()


# -- referrals -------------------------------------------------------------------------------------------------


def test_referrals(node: Node) -> None:
    def asked() -> dict[str, Any] | None:
        row = _row(node, "referrals list", study_instance_uid=_ARRIVED[0].study)
        return row if row["proof"] else None

    sent = node.wait_until(asked, 10, "the partner to be asked for proof")
    assert (sent["state"], sent["progress"], sent["gate"]) == ("sent", "sent", "open")
    assert (sent["instances"], sent["delivered"], sent["confirmed"], sent["proof"]) == (3, 3, 0, "none")
    assert "sent, partner cannot confirm" in node.cli("referrals", "list").out
    shown = node.cli("referrals", "show", str(sent["referral"]))
    assert shown.code == 0
    words = (_ARRIVED[0].study, "PUBPACS", "referral opened", "referral complete", "referral sent", "3 of 3")
    for word in (*words, "sent, partner cannot confirm"):
        assert word in shown.out
    (timeline,) = node.cli("referrals", "show", str(sent["referral"]), json=True)
    told = [event["event"] for event in timeline["events"]]
    assert [each for each in told if each.startswith("referral")] == [
        *("referral opened", "referral complete", "referral sent"),
    ]
    assert {"sending begins", "instances sent"} < {*told}
    assert {transfer["last_status"] for transfer in timeline["transfers"]} == {"0000"}
    assert [(attempt["offered"], attempt["delivered"]) for attempt in timeline["attempts"]] == [(3, 3)]
    assert timeline["delays"]["proving"] is None
    assert all(timeline["delays"][stage] is not None for stage in ("receiving", "waiting", "sending"))
    _fails(node.cli("referrals", "show", "4711"), 2, "no referral 4711", "dicomnode referrals list")


def test_a_referral_is_held_and_released(node: Node, public: Receiver) -> None:
    made = make_instances(2, seed="gate")
    _send(node, made[:1], "TO_GENERAL_LATER")
    referral = str(_row(node, "referrals list", study_instance_uid=made[0].study)["referral"])
    done = node.cli("referrals", "hold", referral, "--reason", "the patient has asked")
    assert done.code == 0
    assert f"referral {referral} to PUBPACS is held" in done.out
    held = _row(node, "referrals list", study_instance_uid=made[0].study)
    assert (held["state"], held["gate"], held["reason"]) == ("held", "held", "the patient has asked")
    _fails(node.cli("referrals", "hold", referral, "--reason", "again"), 1, "held already")
    _fails(node.cli("referrals", "hold", referral), 2, "--reason")
    _fails(node.cli("referrals", "hold", "4711", "--reason", "x"), 2, "no referral 4711")
    _send(node, made[1:], "TO_GENERAL_LATER")
    completed = "SELECT 1 FROM referrals WHERE id = ? AND progress = 'complete'"
    node.wait_until(lambda: rows(node, completed, referral), 10, "the referral to be complete")
    assert not {sample.sop_instance for sample in made} & {each.sop_instance for each in public.received}
    done = node.cli("referrals", "release", referral)
    assert done.code == 0
    public.wait_until(lambda: {s.sop_instance for s in made} <= {it.sop_instance for it in public.received}, 10)
    _fails(node.cli("referrals", "release", referral), 1, "not held")
    texts = [row["text"] for row in node.cli("audit", "list", json=True) if str(row["referral"]) == referral]
    assert any("the patient has asked" in text for text in texts)


def test_a_study_in_doubt_is_released_by_its_version(node: Node) -> None:
    """As a running node does it; test_quarantine.py has the rest."""
    (sample,) = make_instances(1, seed="doubt", PatientID="H1")
    other = make_instance(
        StudyInstanceUID=sample.study,
        SeriesInstanceUID=sample.series,
        SOPInstanceUID=sample.sop_instance,
        PatientID="H2",
    )
    with node.associate("CT1", [(sample.sop_class, [EXPLICIT_LE])], called="TO_CITY") as association:
        assert association.send_sample(sample) == 0
        assert association.store(other, sample.sop_class, sample.sop_instance) == 0
    row = _row(node, "referrals list", study_instance_uid=sample.study)
    assert row["state"] == "held"
    assert row["reason"]
    _fails(node.cli("referrals", "release", str(row["referral"])), 2, "dicomnode quarantine")
    _fails(node.cli("quarantine", "release", sample.study, "--reason", "looked at both"), 2, "--version")
    done = node.cli("quarantine", "release", sample.study, "--version", "2", "--reason", "looked at both")
    assert done.code == 0, done
    assert _row(node, "referrals list", study_instance_uid=sample.study)["gate"] == "open"
    assert _row(node, "studies list --phi", study_instance_uid=sample.study)["patient_id"] == "H2"


# -- the queue -------------------------------------------------------------------------------------------------


def test_the_queue(node: Node) -> None:
    shape = _row(node, "queue shape", partner="CITY")
    assert shape["queued"] >= 2
    assert shape["reason"]
    assert shape["paused_until"]
    waiting = [
        it
        for it in node.cli("queue", "list", "--partner", "CITY", json=True)
        if it["study_instance_uid"] == _WAITING[0].study
    ]
    assert [(it["state"], it["attempts"], it["last_status"]) for it in waiting] == [("queued", 0, None)] * 2
    ids = [str(it["transfer"]) for it in waiting]
    done = node.cli("queue", "hold", ids[0], "--reason", "wait for the report")
    assert (done.code, done.out.strip()) == (0, "1 of 1 transfer held")
    (held,) = node.cli("queue", "list", "--state", "held", json=True)
    assert (str(held["transfer"]), held["reason"].partition(": ")[2]) == (ids[0], "wait for the report")
    assert held["reason"].startswith("held by ")
    _fails(node.cli("queue", "hold", ids[0], "--reason", "again"), 1, "dicomnode queue list")
    assert node.cli("queue", "release", ids[0]).out.strip() == "1 of 1 transfer queued"
    assert node.cli("queue", "list", "--state", "held", json=True) == []
    assert node.cli("queue", "retry", "--partner", "CITY").code == 0
    _fails(node.cli("queue", "retry"), 2, "--partner")
    _fails(node.cli("queue", "retry", ids[0], "--partner", "CITY"), 2, "not both")
    _fails(node.cli("queue", "retry", "--partner", "CITTY"), 2, "no partner CITTY", "dicomnode partners list")
    _fails(node.cli("queue", "list", "--state", "lost"), 2, "queued", "held")
    assert [row for row in node.cli("audit", "list", json=True) if row["event"] == "queue changed"]


def test_a_lane_is_held_and_says_what_it_waits_for(node: Node) -> None:
    node.wait_until(lambda: "paused until 2" in node.cli("queue", "shape").out, 20, "the pause to be shown")
    done = node.cli("queue", "hold", "--partner", "CITY", "--reason", "they are moving")
    assert done.code == 0, done
    assert "dicomnode queue release --partner CITY" in done.out
    shape = _row(node, "queue shape", partner="CITY")
    assert (shape["lane"], shape["reason"].partition(": ")[2]) == ("held", "they are moving")
    assert shape["queued"] >= 2
    later = make_instances(2, seed="while the lane is held")
    _send(node, later, "TO_CITY")
    (referral,) = [r for r in node.cli("referrals", "list", json=True) if r["study_instance_uid"] == later[0].study]
    assert referral["reason"].endswith("they are moving")
    _fails(node.cli("queue", "hold", "--partner", "CITY", "--reason", "again"), 1, "dicomnode queue shape")
    done = node.cli("queue", "retry", "--partner", "CITY")
    assert "dicomnode queue release --partner CITY" in done.err
    done = node.cli("queue", "release", "--partner", "CITY")
    assert (done.code, done.out.splitlines()[0]) == (0, "the lane of CITY runs")
    assert _row(node, "queue shape", partner="CITY")["lane"] != "held"


def test_a_person_s_hold_is_ended_by_a_person_and_what_is_dropped_is_gone(node: Node) -> None:
    _send(node, make_instances(3, seed="held one by one"), "TO_CITY")
    node.cli("queue", "hold", "--partner", "CITY", "--reason", "so that nothing is active")
    node.wait_until(lambda: not _row(node, "queue shape", partner="CITY")["active"], 20, "the end of an attempt")
    first, second = [str(row["transfer"]) for row in node.cli("queue", "list", "--partner", "CITY", json=True)[-2:]]
    assert node.cli("queue", "hold", first, "--reason", "whose is this?").code == 0
    done = node.cli("queue", "retry", first)
    assert done.code == 1
    assert f"held by a person and still so: transfer {first}" in done.err
    done = node.cli("queue", "release", "--partner", "CITY")
    assert f"held by a person and still so: transfer {first}" in done.err
    assert _row(node, "queue list", transfer=int(first))["state"] == "held"
    _fails(node.cli("queue", "drop", first), 2, "--reason")
    assert node.cli("queue", "drop", first, "--reason", "not ours").code == 0
    assert _row(node, "queue list", transfer=int(first))["state"] == "dropped"
    _fails(node.cli("queue", "release", first), 1, "dicomnode queue list")
    (referral,) = {r["referral"] for r in rows(node, "SELECT referral FROM transfers WHERE id = ?", int(second))}
    node.cli("referrals", "hold", str(referral), "--reason", "not yet")
    assert f"referral {referral} is held" in node.cli("queue", "retry", second).err
    node.cli("referrals", "release", str(referral))


# -- partners and the node -------------------------------------------------------------------------------------


def test_partners(node: Node, public: Receiver) -> None:
    listed = {row["partner"]: row for row in node.cli("partners", "list", json=True)}
    assert set(listed) == set(node.config["partners"])
    assert (listed["CT1"]["may"], listed["CT1"]["address"]) == (["store"], [LOCAL])
    done = node.cli("partners", "echo", "PUBPACS")
    assert (done.code, done.out.strip()) == (0, f"PUBPACS@{LOCAL}:{public.port} answers")
    _fails(node.cli("partners", "echo", "CITY"), 1, "CITY@", "Check its host and port")
    _fails(node.cli("partners", "echo", "CT1"), 2, "no host and port")
    _fails(node.cli("partners", "echo", "PUBPAC"), 2, "did you mean PUBPACS")
    public.reject = (1, 1, 7)
    done = node.cli("partners", "echo", "PUBPACS")
    public.reject = None
    _fails(done, 1, "rejected", "AE title")
    refused = _row(node, "partners refused", calling_ae_title="STRANGER")
    assert "partners:" in refused["yaml"]
    assert refused["yaml"] in node.cli("partners", "refused").out


def test_check_says_what_the_configuration_means(node: Node) -> None:
    done = node.cli("check")
    assert (done.code, done.err) == (0, "")
    for words in ("REFERNODE", "CT1", "RAD_WS", "PUBPACS", "Nothing of harbour (private) can reach peak", "is sound"):
        assert words in done.out


def test_check_names_every_fault_with_its_line(node: Node, tmp_path: Path) -> None:
    faulty = Here(tmp_path / "faulty", node.config)
    text = faulty.file.read_text().replace("may:", "mya:", 1).replace("sector: public", "sector: publik")
    faulty.file.write_text(text + "extra: 1\n")
    done = faulty.cli("check")
    _fails(done, 2, "mya", "publik", "extra", "3 reasons")
    lines = [
        number
        for number, line in enumerate(faulty.file.read_text().splitlines(), 1)
        if "mya" in line or "publik" in line
    ]
    for number in lines:
        assert f"line {number}:" in done.err
    assert faulty.cli("serve", timeout=20).code == 2


def test_without_a_configuration_or_an_index_the_next_step_is_said(tmp_path: Path) -> None:
    it = Here(tmp_path / "new", default_config())
    _fails(it.cli("studies", "list"), 2, "dicomnode serve")
    it.file.unlink()
    _fails(it.cli("check"), 2, str(it.file))


def test_help_teaches(node: Node) -> None:
    top = node.cli("--help")
    assert top.code == 0
    commands = "serve check reload demo partners studies referrals quarantine queue audit"
    for command in commands.split():
        assert command in top.out
        assert node.cli(command, "--help").code == 0
    for words in (["queue", "retry"], ["referrals", "hold"], ["partners", "echo"]):
        done = node.cli(*words, "--help")
        assert done.code == 0
        assert "Usage:" in done.out
    assert node.cli("--version").code == 0
    assert node.cli("nonsense").code == 2
    assert node.cli("studies", "nonsense").code == 2


def test_reload_says_which_generation_is_in_force(node: Node) -> None:
    done = node.cli("reload")
    assert done.code == 0, done
    assert re.search(r"generation \d+ is in force", done.out)
