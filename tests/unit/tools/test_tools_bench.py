"""The benchmark's own pieces: a figure is worth what they are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from tests import samples, wire
from tests.bench import cpu, figures, ingest, load, scenario
from tests.bench.figures import Spread
from tests.samples import Sample

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
    assert (run.cpu, second.cpu) == (pytest.approx(50), pytest.approx(100))
    assert run.rate > 0
    assert run.megabytes == pytest.approx(run.rate * len(receiver.received[0].dataset) / 1e6)
    assert 29_000 < len(receiver.received[0].dataset) < 32_000
    assert len({r.sop_instance for r in receiver.received}) == 16
    assert len({samples.decode(r.dataset).StudyInstanceUID for r in receiver.received}) == 4


def test_a_server_that_answers_and_keeps_nothing_is_no_figure(receiver: wire.Receiver) -> None:
    with pytest.raises(load.LoadFailed, match="answered 8 with 0000H, and has 0 more"):
        ingest.measure(server(receiver, lambda: 0), CASE, 8, 0)


def test_runs_are_taken_in_turns_and_the_first_is_dropped() -> None:
    seen = []
    runs = scenario.in_turns(["a", "b"], 2, lambda peer, number: seen.append((peer, number)) or f"{peer}{number}")
    assert seen == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert runs == [["a1", "a2"], ["b1", "b2"]]


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


# -- figures -----------------------------------------------------------------------------------------------------


def test_a_spread_shows_median_and_extremes() -> None:
    spread = Spread((3.0, 1.0, 2.04))
    assert (spread.median, spread.text(1)) == (2.04, "2.0 (1.0–3.0)")
    assert spread.as_json() == {"median": 2.04, "min": 1.0, "max": 3.0, "runs": [3.0, 1.0, 2.04]}


def test_a_ratio_compares_runs_of_the_same_round() -> None:
    ours, theirs = Spread((10.0, 100.0, 20.0)), Spread((20.0, 400.0, 10.0))
    assert figures.ratio(ours, theirs) == 0.5  # the ratio of the medians would be 1
    assert figures.times(figures.ratio(ours, theirs)) == "0.50×"
    assert figures.times(figures.ratio(ours, Spread((1.0, 0.0, 1.0)))) == "–"


def test_a_table_is_aligned() -> None:
    text = figures.table(("peer", "rate"), [("a", "1,000.0"), ("longer", "2")])
    assert text.splitlines() == ["peer       rate", "──────  ───────", "a       1,000.0", "longer        2"]


def _run(rate: float, spent: float) -> ingest.Run:
    return ingest.Run(rate, rate / 2, spent, 0.1)


def test_every_peer_is_compared_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"node": (50, 4.0), "other": (100, 1.0)}
    monkeypatch.setattr(ingest, "measure", lambda peer, case, count, number: _run(*rates[peer.name]))
    compared = list(ingest._compared(CASE, 8, 2, [SimpleNamespace(name=name) for name in rates]))
    assert [(name, ratios) for name, _, ratios in compared] == [("node", (None, None)), ("other", (0.5, 4.0))]
    name, runs, ratios = compared[1]
    assert ingest._cells(name, CASE, runs, ratios) == (
        *("other", "2", "small", "100 (100–100)", "50.0", "1.00 (1.00–1.00)", "0.50×", "4.00×"),
    )
    record = ingest._record(name, CASE, runs, ratios)
    assert record["instances_per_second"] == {"median": 100, "min": 100, "max": 100, "runs": [100, 100]}
    assert (record["node_rate_over_peer"], record["node_cpu_over_peer"]) == (0.5, 4.0)
