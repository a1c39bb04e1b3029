"""The benchmark's own pieces: a figure is worth what they are."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import samples, wire
from tests.bench import (
    aims,
    asking,
    cpu,
    figures,
    find,
    forward,
    hoard,
    ingest,
    line,
    load,
    memory,
    peers,
    plain,
    processes,
    scenario,
    senders,
)
from tests.bench.__main__ import SCENARIOS
from tests.bench.figures import Spread
from tests.samples import Sample
from tests.upper_layer import Channel, encode_command

LOCAL = "127.0.0.1"


@pytest.fixture
def receiver() -> Iterator[wire.Receiver]:
    with wire.Receiver(max_pdu=4096) as it:
        yield it


@dataclass
class Tap:
    """A socket that remembers what was sent through it."""

    socket: object
    sent: bytearray

    def sendall(self, raw: bytes) -> None:
        self.sent += raw
        self.socket.sendall(raw)

    def __getattr__(self, name: str) -> object:
        return getattr(self.socket, name)


def bytes_of(port: int, sample: Sample, act: Callable[[wire.Association], object]) -> bytes:
    """What an association sends while `act` uses it."""
    tap = Tap(None, bytearray())

    def wrap(sock: object) -> Tap:
        tap.socket = sock
        return tap

    with wire.Association(LOCAL, port, "PARTNER", "TESTER", wire.contexts_for([sample]), wrap=wrap) as association:
        tap.sent.clear()
        act(association)
        return bytes(tap.sent)


# -- the load ----------------------------------------------------------------------------------------------------


def request_of(sample: Sample, association: wire.Association) -> load.Request:
    return load.Request(sample, association.context_of(sample.sop_class), association.channel)


def test_a_patched_request_is_what_the_wire_tools_would_send(receiver: wire.Receiver) -> None:
    sample = samples.make_instances(1)[0]
    uids = [f"{sample.sop_instance[:-6]}{number:06}" for number in range(3)]
    copies = [(samples.with_uid(sample.dataset, uid), sample.sop_class, uid) for uid in uids]
    plain = bytes_of(receiver.port, sample, lambda a: [a.store(*copy) for copy in copies])
    patched = bytes_of(receiver.port, sample, lambda a: load.store_all(a, request_of(sample, a), 3))
    assert patched == plain
    assert [r.sop_instance for r in receiver.wait_for(6)] == uids * 2


def test_a_uid_that_a_fragment_cuts_is_refused() -> None:
    sample = samples.make_instances(1)[0]
    with wire.Receiver(max_pdu=100) as receiver, pytest.raises(ValueError, match="and not twice"):
        bytes_of(receiver.port, sample, lambda a: request_of(sample, a))


def loads(port: int, associations: int = 2, count: int = 5) -> list[load.Load]:
    made = [samples.make_instances(1, seed=("load", which))[0] for which in range(associations)]
    return [load.Load(port, "PARTNER", "TESTER", sample, count) for sample in made]


def test_senders_send_everything_once_and_release(receiver: wire.Receiver) -> None:
    with load.Senders(loads(receiver.port)) as senders:
        assert receiver.received == []
        sent = senders.send()
    received = receiver.wait_for(10)
    assert sent.count == len(received) == len({r.sop_instance for r in received})
    assert sent.size == sum(len(r.dataset) for r in received)
    assert {r.association for r in received} == {1, 2}
    assert sent.seconds > 0
    assert receiver.faults == []


def refuse(receiver: wire.Receiver) -> None:
    receiver.answer = lambda uid: 0xA700 if uid.endswith("3") else 0


def warn(receiver: wire.Receiver) -> None:
    receiver.answer = lambda uid: 0xB000


def abort(receiver: wire.Receiver) -> None:
    receiver.abort_after = 2


def reject(receiver: wire.Receiver) -> None:
    receiver.reject = (1, 1, 7)


@pytest.mark.parametrize(("fail", "why"), [(refuse, "A700H"), (warn, "B000H"), (abort, "Abort"), (reject, "Reject")])
def test_whatever_is_not_success_is_no_figure(receiver: wire.Receiver, fail: Callable, why: str) -> None:
    fail(receiver)
    with pytest.raises(load.LoadFailed, match=why), load.Senders(loads(receiver.port)) as senders:
        senders.send()


# -- one run -----------------------------------------------------------------------------------------------------


def server(receiver: wire.Receiver, held: Callable[[], int]) -> SimpleNamespace:
    return SimpleNamespace(
        name="receiver", port=receiver.port, called="PARTNER", calling="TESTER", pid=os.getpid(), held=held
    )


CASE = ingest.Case("small", 120, 8, associations=2)


def test_a_run_measures_new_instances_of_a_study_for_each_association(
    receiver: wire.Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter((1.0, 1.4, 2.0, 2.8))
    monkeypatch.setattr(cpu, "spent", lambda pid: next(clock))
    peer = server(receiver, lambda: len(receiver.received))
    run, second = (ingest.measure(peer, CASE, 8, number) for number in range(2))
    assert (run["cpu"], second["cpu"]) == (pytest.approx(50), pytest.approx(100))
    assert 0 < run["synced"] < run["rate"]
    assert run["megabytes"] == pytest.approx(run["rate"] * len(receiver.received[0].dataset) / 1e6)
    assert 29_000 < len(receiver.received[0].dataset) < 32_000
    assert len({r.sop_instance for r in receiver.received}) == 16
    assert len({samples.decode(r.dataset).StudyInstanceUID for r in receiver.received}) == 4


def test_a_server_that_answers_and_keeps_nothing_is_no_figure(receiver: wire.Receiver) -> None:
    with pytest.raises(load.LoadFailed, match="answered 8 with 0000H, and has 0 more"):
        ingest.measure(server(receiver, lambda: 0), CASE, 8, 0)


def test_runs_are_taken_in_turns() -> None:
    seen = []
    runs = scenario.in_turns(["a", "b"], 2, lambda peer, number: seen.append((peer, number)) or f"{peer}{number}")
    assert seen == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert runs == [["a0", "a1"], ["b0", "b1"]]


def test_a_count_is_shared_out_among_the_associations() -> None:
    assert [ingest.Case("", 1, 60, 4).times(factor) for factor in (1, 0.2, 0.01)] == [60, 12, 4]


# -- on their way ------------------------------------------------------------------------------------------------


def test_a_rate_is_of_what_follows_the_first_of_each_association() -> None:
    waves = [wave * 0.04 for wave in range(5) for _ in range(4)]
    assert forward.rate(waves, 4) == pytest.approx(100)
    assert forward.rate([1, 1.5, 2], 1) == 2


def test_a_line_delays_what_is_said_and_not_one_chunk_by_another() -> None:
    arrivals = []

    def read(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock:
            while sock.recv(1 << 16):
                arrivals.append(time.monotonic())

    with socket.create_server((LOCAL, 0)) as listener, line.Line(listener.getsockname()[1], 0.4) as proxy:
        reader = threading.Thread(target=read, args=(listener,))
        reader.start()
        with socket.create_connection((LOCAL, proxy.port)) as sock:
            began = time.monotonic()
            for _ in range(30):  # apart, so that each is a chunk of its own
                sock.sendall(bytes(1 << 16))
                time.sleep(0.01)
        reader.join(10)
    assert arrivals[0] - began >= 0.2
    assert len(arrivals) > 10
    assert arrivals[-1] - began < 2


def test_stock_pynetdicom_sends_and_receives(tmp_path: Path) -> None:
    sample = samples.make_instances(1)[0]
    paths = senders.files(tmp_path / "files", sample, 20)
    with peers.Stock(tmp_path / "stock") as receiver:
        sender = senders.stock(receiver.port, receiver.called, paths)
        run = forward.measure(sender, receiver, 20, 0)
        assert receiver.held() == 20 * sender.share
        assert sorted(receiver.files.iterdir())[0].read_bytes()[-1000:] == sample.dataset[-1000:]
    assert run["rate"] > 0


def test_the_yardstick_keeps_what_it_answers_for(tmp_path: Path) -> None:
    with peers.Yardstick(tmp_path, 2) as yardstick:
        ingest.measure(yardstick, CASE, 8, 0)
        kept = {path.name: path.read_bytes()[132:] for path in yardstick.files.iterdir()}
        with contextlib.closing(sqlite3.connect(tmp_path / "files.sqlite")) as database:
            rows = database.execute("SELECT uid, sha256 FROM instances").fetchall()
    assert len(kept) == 8
    assert sorted(rows) == sorted((uid, hashlib.sha256(raw).hexdigest()) for uid, raw in kept.items())


# -- CPU ---------------------------------------------------------------------------------------------------------

BURN = """
import os, sys, time
if not os.fork():
    while time.process_time() < 0.3: pass
    os.write(1, b"burnt")
    {child}
{parent}
os.write(1, b"!")
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("child", "parent"),
    [("os._exit(0)", "os.wait()"), ("os._exit(0)", ""), ("time.sleep(60)", "")],
    ids=["reaped", "zombie", "alive"],
)
def test_a_child_counts_whatever_became_of_it(child: str, parent: str) -> None:
    command = [sys.executable, "-IS", "-c", BURN.format(child=child, parent=parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as root:
        assert root.stdout
        said = b""
        while b"!" not in said or b"burnt" not in said:
            said += os.read(root.stdout.fileno(), 10)
        alone = cpu.stats()[root.pid].own * cpu.TICK
        assert 0.25 < cpu.spent(root.pid) - alone < 1
        os.killpg(root.pid, 9)


def test_reaped_time_of_every_descendant_counts_once_and_strangers_do_not() -> None:
    tree = {1: cpu.Stat(0, 1000, 1000), 10: cpu.Stat(1, 1, 2), 11: cpu.Stat(10, 4, 8), 12: cpu.Stat(11, 16, 32)}
    assert cpu.total(10, tree) == 63
    with pytest.raises(ProcessLookupError):
        cpu.total(13, tree)


def test_a_process_name_may_hold_brackets_and_spaces() -> None:
    line = "42 (a) R 7 (b) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 12345"
    assert cpu.parse(line) == cpu.Stat(parent=7, own=120, reaped=7)


# -- memory ------------------------------------------------------------------------------------------------------


def test_a_large_object_is_made_while_it_is_sent(receiver: wire.Receiver) -> None:
    sample = samples.make_instances(1)[0]
    with wire.Association(LOCAL, receiver.port, "PARTNER", "TESTER", wire.contexts_for([sample])) as association:
        assert memory.send(association, sample, 4090 * 3) == 0
        assert memory.send(association, sample, 10_000) == 0
    whole, partly = (samples.decode(received.dataset) for received in receiver.wait_for(2))
    assert (whole.PixelData, partly.PixelData) == (bytes(4090 * 3), bytes(10_000))
    assert whole.SOPInstanceUID == sample.sop_instance


def test_a_peak_that_is_over_is_seen() -> None:
    processes.forget_peak(os.getpid())
    before = processes.rss(os.getpid())
    bytes(bytearray(b"x") * 50_000_000)
    assert 45 < processes.peak(os.getpid()) - before < 150
    assert 0 < processes.pss(os.getpid()) < processes.rss(os.getpid()) + 1


def test_connections_are_counted_by_who_took_them(receiver: wire.Receiver) -> None:
    with wire.Association(LOCAL, receiver.port, "PARTNER", "TESTER"):
        assert processes.connections(os.getpid(), receiver.port) == 1
        assert processes.connections(os.getppid(), receiver.port) == 0


# -- figures -----------------------------------------------------------------------------------------------------


def test_a_spread_shows_median_and_extremes() -> None:
    spread = Spread((3.0, 1.0, 2.04))
    assert (spread.median, spread.text(1)) == (2.04, "2.0 (1.0–3.0)")
    assert Spread((3.0,)).text() == "3"
    assert spread.as_json() == {"median": 2.04, "min": 1.0, "max": 3.0, "runs": [3.0, 1.0, 2.04]}


def test_a_ratio_compares_runs_of_the_same_round() -> None:
    ours, theirs = Spread((10.0, 100.0, 20.0)), Spread((20.0, 400.0, 10.0))
    assert figures.ratio(ours, theirs) == 0.5  # the ratio of the medians would be 1
    assert figures.times(figures.ratio(ours, theirs)) == "0.50×"
    assert figures.times(figures.ratio(ours, Spread((1.0, 0.0, 1.0)))) == "–"


def test_a_table_is_aligned() -> None:
    text = figures.table(("peer", "of", "rate"), [("a", "b", "1,000.0"), ("longer", "c", "2")], words=2)
    assert text.splitlines() == [
        *("peer    of     rate", "──────  ──  ───────", "a       b   1,000.0", "longer  c         2"),
    ]


def outcome(*rows: tuple[str, str, float]) -> scenario.Outcome:
    made = [scenario.row(case, peer, [{"rate": rate}, {"rate": rate}]) for case, peer, rate in rows]
    return scenario.Outcome((scenario.Column("rate", "r/s", 1, compared=True),), made, "the note")


def test_every_peer_is_compared_with_the_node_case_by_case() -> None:
    found = outcome(("large", "dicomnode", 50), ("large", "other", 100), ("small", "other", 1))
    assert [line.split() for line in found.text().splitlines()[2:]] == [
        ["large", "dicomnode", "50.0", "(50.0–50.0)", "–"],
        ["other", "100.0", "(100.0–100.0)", "0.50×"],
        ["small", "other", "1.0", "(1.0–1.0)", "–"],
        ["the", "note"],
    ]
    assert found.records()[1]["rate"] == {"median": 100, "min": 100, "max": 100, "runs": [100, 100]}


AIM = aims.Aim("s", "large", "rate", 0.5, "other")


@pytest.mark.parametrize(
    ("aim", "ours", "met"),
    [
        (AIM, 50, True),
        (AIM, 49, False),
        (replace(AIM, most=True), 50, True),
        (replace(AIM, most=True), 51, False),
        (replace(AIM, peer="", bound=50), 50, True),
        (replace(AIM, peer="", bound=50), 49, False),
    ],
)
def test_an_aim_is_a_bound_on_a_figure_or_on_a_ratio(
    monkeypatch: pytest.MonkeyPatch, aim: aims.Aim, ours: float, met: bool
) -> None:
    monkeypatch.setattr(aims, "AIMS", (aim, replace(aim, peer="nobody"), replace(aim, scenario="not run")))
    (verdict,) = aims.verdicts({"s": outcome(("large", "dicomnode", ours), ("large", "other", 100))})
    assert verdict.met is met
    assert verdict.value == (ours / 100 if aim.peer else ours)
    assert aims.text([verdict]).endswith(f"{int(met)} of 1 met")


def test_every_aim_is_of_a_scenario_that_there_is() -> None:
    assert {aim.scenario for aim in aims.AIMS} <= set(SCENARIOS)
    assert {aim.case for aim in aims.AIMS if aim.scenario == "ingest"} == set(map(str, ingest.CASES))


# -- what is asked of whom ---------------------------------------------------------------------------------------


def test_the_same_studies_are_made_every_time_and_others_for_another_seed() -> None:
    made = list(hoard.studies(300))
    assert made == list(hoard.studies(300))
    assert made != list(hoard.studies(300, seed=1))
    assert len({study.uid for study in made}) == 300
    assert 50 < len({study.patient.patient_id for study in made}) <= 100
    assert all(hoard.UID.findall(b"\\" + study.uid.encode() + b"\0") == [study.uid.encode()] for study in made)


def test_an_index_that_is_made_says_what_the_studies_say(tmp_path: Path) -> None:
    hoard.make(tmp_path, 40)
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as database:
        kept = database.execute(
            "SELECT t.study_instance_uid, t.patient_name, t.study_date, t.series, t.modalities, count(*)"
            " FROM studies t JOIN series s ON s.study = t.id JOIN instances i ON i.series = s.id GROUP BY t.id"
        ).fetchall()
        counted = database.execute("SELECT DISTINCT instances FROM series").fetchall()
    assert kept == [
        (made.uid, made.patient.name, made.date, 4, "\\".join(sorted(set(made.modalities))), 20)
        for made in hoard.studies(40)
    ]
    assert counted == [(5,)]


def test_a_small_image_says_what_its_study_says() -> None:
    study = next(study for study in hoard.studies(300) if len(set(study.modalities)) > 1)
    made = [samples.decode(dataset) for _, dataset in plain.images(study)]
    assert [dataset.Modality for dataset in made] == list(dict.fromkeys(study.modalities))
    assert {(dataset.StudyInstanceUID, str(dataset.PatientName), dataset.StudyDate) for dataset in made} == {
        (study.uid, study.patient.name, study.date)
    }
    assert [uid for uid, _ in plain.images(study)] == [dataset.SOPInstanceUID for dataset in made]
    assert all(len(dataset.PixelData) == dataset.Rows * dataset.Columns for dataset in made)


def answer(*statuses: int) -> bytes:
    """C-FIND responses as PDUs; the pending ones with a dataset, which has in it what a status looks like."""
    with socket.socket() as unused:
        channel = Channel(unused, None)
        pdus: list[bytes] = []
        for status in statuses:
            command = encode_command({"CommandField": 0x8020, "MessageIDBeingRespondedTo": 1, "Status": status})
            pdus += channel.fragments(1, command, command=True)
            if status:
                pdus += channel.fragments(1, command + bytes(40_000), command=False)
    return b"".join(pdus)


@pytest.mark.parametrize("most", [1, 7, 1 << 20])
def test_answers_are_counted_however_they_come(most: int) -> None:
    waiting = bytearray(answer(0xFF00, 0xFF01, 0xFF00, 0x0000))

    def receive(into: memoryview) -> int:
        part = waiting[: min(most, len(into))]
        del waiting[: len(part)]
        into[: len(part)] = part
        return len(part)

    assert list(itertools.islice(asking.statuses(receive), 4)) == [0xFF00, 0xFF01, 0xFF00, 0x0000]


def test_an_association_that_ends_in_an_answer_is_no_figure() -> None:
    with pytest.raises(load.LoadFailed, match="ended in the middle"):
        next(asking.statuses(lambda into: 0))


def test_a_question_is_answered_by_the_studies_that_share_its_keys() -> None:
    case = find.Case("two of a patient", 2, find.by_patient)
    made = list(hoard.studies(60))
    for keys in find.shared([case], 60)[case.name]:
        ((_, patient),) = keys
        assert sum(study.patient.patient_id == patient for study in made) == 2
    with pytest.raises(load.LoadFailed, match="no question two of a patient"):
        find.shared([replace(case, matches=50)], 60)


def test_a_prefix_is_shared_by_whom_it_is_the_whole_name_of() -> None:
    study = next(hoard.studies(60))
    name = study.patient.name.partition("=")[0]
    assert (("PatientName", f"{name}*"),) in find.by_prefix(study)


def test_a_month_ends_when_it_ends() -> None:
    assert (find.month("202402"), find.month("202512")) == ("20240201-20240229", "20251201-20251231")
