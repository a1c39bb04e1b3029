"""The siege sees every way in which a target may fall: each is shown to it by a target, or a gauge, that falls so."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import wire
from tests.abuse import ABUSES, gauge, siege
from tests.abuse.siege import Abuse, Field, laid
from tests.abuse.targets import NodeTarget
from tests.certificates import Authority
from tests.samples import Sample

MB = 1 << 20


class Fake:
    """A target in this process: the tests' own receiver, and a process that holds what it is told to."""

    name, host, called, good, abuser, wrap = "fake", "127.0.0.1", "FAKE", "GOOD", "ABUSER", None

    def __init__(self, folder: Path, receiver: wire.Receiver) -> None:
        self.receiver, self.port, self.log, self.left = receiver, receiver.port, folder / "log", list[str]()
        self.log.write_text("")
        self.process = subprocess.Popen([sys.executable, "-c", _HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def told(self, line: str) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def held(self) -> set[str]:
        return {received.sha256 for received in self.receiver.received}

    def mark(self, sample: Sample) -> str:
        return sample.sha256

    def remains(self) -> list[str]:
        return self.left

    def faults(self, log: str) -> list[str]:
        return [log] if log else []


_HOLDER = """
import os, sys, threading
held = []
for line in sys.stdin:
    exec(line)
    print(flush=True)
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(siege, "RETURN", 0.5)
    with wire.Receiver() as receiver:
        it = Fake(tmp_path, receiver)
        it.told("pass")
        yield it
        it.process.kill()
        it.process.wait(10)


def abuse(act: Callable[[Field], object]) -> Abuse:
    @contextlib.contextmanager
    def on(field: Field) -> Iterator[None]:
        act(field)
        yield

    return Abuse("T0", "test", on)


def test_a_target_that_stands_has_no_faults(fake: Any) -> None:
    assert laid(abuse(lambda _: None), fake) == []


FALLS = {
    "threads +5": "[threading.Thread(target=threading.Event().wait, daemon=True).start() for _ in range(5)]",
    "descriptors +20": "held.append([os.pipe() for _ in range(10)])",
    "memory +": "held.append(bytearray(b'x') * (20 << 20))",
}


@pytest.mark.parametrize("fault", FALLS)
def test_what_is_not_given_back_is_a_fault(fault: str, fake: Any) -> None:
    (found,) = laid(abuse(lambda _: fake.told(FALLS[fault])), fake)
    assert fault in found


def test_memory_at_its_peak_is_a_fault_although_it_is_given_back(fake: Any) -> None:
    @contextlib.contextmanager
    def on(_: Field) -> Iterator[None]:
        fake.told("held.append(bytearray(b'x') * (80 << 20))")
        yield
        fake.told("held.clear()")

    (found,) = laid(Abuse("T0", "test", on), fake)
    assert "memory at its peak" in found


def test_a_good_partner_who_is_shut_out_is_a_fault(fake: Any) -> None:
    def shut_out(_: Field) -> None:
        fake.receiver.reject = (2, 3, 2)

    found = laid(abuse(shut_out), fake)
    assert [text.partition(":")[0] for text in found] == ["good partner", "good partner, afterwards"]
    assert "rejected" in found[0]


def test_a_status_other_than_success_is_a_fault(fake: Any) -> None:
    def refuse(_: Field) -> None:
        fake.receiver.answer = lambda uid: 0xA700

    assert "stored with A700H" in laid(abuse(refuse), fake)[0]


def test_what_is_left_or_logged_or_kept_is_a_fault(fake: Any) -> None:
    def leave(_: Field) -> None:
        fake.left = ["a.part"]
        fake.log.write_text("Traceback")
        with siege.associated(fake) as association:
            (sample,) = siege.samples.make_instances(1, seed="nobody's")
            association.send_sample(sample)

    found = " ".join(laid(abuse(leave), fake))
    assert all(text in found for text in ("a.part", "Traceback", "something is kept that nobody sent whole"))


def test_what_an_abuse_asserts_is_a_fault(fake: Any) -> None:
    def hold(field: Field) -> None:
        fake.told(FALLS["threads +5"])
        field.is_free_within(0.1)

    assert "not given back after 0.1 s: threads +5" in laid(abuse(hold), fake)[0]


def test_a_process_that_dies_is_a_fault(fake: Any) -> None:
    fake.told("import subprocess; held.append(subprocess.Popen(['sleep', '60']))")
    begin = gauge.read(fake.process.pid)
    fake.told("held[0].kill(); held[0].wait()")
    (found,) = siege.left_over(Field(fake, begin))
    assert "a process has died" in found


def test_a_reading_has_a_whole_family() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            now = gauge.read(os.getpid())
            assert {os.getpid(), child.pid} <= now.pids
            assert now.memory > 10 * MB
            assert now.threads >= 2
        finally:
            child.kill()
    assert replace(now, memory=now.memory + 30 * MB).over(now, memory=20 * MB) == ["memory +30 MB"]
    assert replace(now, memory=now.memory + 10 * MB).over(now, memory=20 * MB) == []
    assert now.over(now) == []


def test_the_node_target_knows_a_strange_file_and_a_broken_line(tmp_path: Path, authority: Authority) -> None:
    target = NodeTarget(tmp_path / "node", authority)
    folder = target.node.folder
    for name in ("data/index.sqlite-wal", "data/run/01ABC.lock", "data/instances/20260101/07/" + "0" * 26 + ".dcm"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert target.remains() == []
    strange = ["data/incoming/w/0.part", "data/instances/20260101/07/1.2.3.dcm", "data/x", "x"]
    for name in strange:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert target.remains() == strange
    good = "2026-01-31T08:15:02.123Z INFO acceptor[7] received sop=1.2 from=CT1"
    assert target.faults(f"{good}\n{good}\n") == []
    assert "broken" in target.faults(f"{good}\nforged: line\n")[0]
    assert "Traceback" in target.faults(f"{good}\nTraceback (most recent call last):\n")[0]


def test_every_abuse_of_the_table_is_there() -> None:
    numbers = {number for each in ABUSES for number in each.number.split(", ")}
    wanted = {*range(24, 35), 40, 41, 42, 44, 62, 63, 74}  # T35 is ending.py; T43 waits for our C-GET as SCU
    assert numbers == {f"T{number}" for number in wanted}
    assert len({str(each) for each in ABUSES}) == len(ABUSES)
