"""net/pacing.py: a rate that threads share, and that a stop interrupts; and what the requestor makes of it."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import pytest

from dicomnode.errors import AssociationLost
from dicomnode.net import pacing
from dicomnode.net.pacing import Pace
from dicomnode.net.requestor import Requestor
from dicomnode.operations.ports import Outgoing
from tests import fakes
from tests.receiver import Receiver
from tests.samples import make_instances


class Clock:
    """Monotonic seconds that pass when it is told so."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    it = Clock()
    monkeypatch.setattr(pacing, "time", it)
    return it


def test_what_is_taken_at_once_has_to_wait_its_turn(clock: Clock) -> None:
    pace = Pace(1000)
    waits = [pace._take(500) for _ in range(5)]
    assert waits == pytest.approx([0, 0.4, 0.9, 1.4, 1.9])  # a moment's worth may be caught up
    clock.now += 1.9
    assert pace._take(500) == pytest.approx(0.5)


def test_a_silence_saves_nothing_but_a_moment_s_worth(clock: Clock) -> None:
    pace = Pace(1000)
    pace._take(500)
    clock.now += 3600
    assert [pace._take(500), pace._take(500)] == pytest.approx([0, 0.4])


@pytest.mark.parametrize("rate", [1, 1000, 10**9])
def test_the_pieces_are_the_data(rate: int) -> None:
    data = bytes(range(256)) * 5
    pace = Pace(rate)
    pace._stopped.wait = lambda _: False  # type: ignore[assignment, misc]
    pieces = list(pace.pieces(memoryview(data)))
    assert b"".join(pieces) == data
    assert all(len(piece) <= max(512, rate / 10) for piece in pieces)


def test_threads_share_a_rate() -> None:
    pace = Pace(100_000)
    began = time.monotonic()
    threads = [threading.Thread(target=lambda: list(pace.pieces(memoryview(bytes(20_000))))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert time.monotonic() - began > 0.5  # 80 kB at 100 kB/s; less what may be caught up, and the last piece


def test_a_stop_ends_all_waiting() -> None:
    pace, ended = Pace(1), threading.Event()

    def wait() -> None:
        with pytest.raises(AssociationLost):
            list(pace.pieces(memoryview(bytes(100_000))))
        ended.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert not ended.wait(0.1)
    pace.stop()
    assert ended.wait(10)


# -- the requestor ---------------------------------------------------------------------------------------------


def outgoing(folder: Path, size: int) -> Outgoing:
    (sample,) = make_instances(1, seed="pacing")
    path = folder / "one.dcm"
    path.write_bytes(bytes(size))
    digest = hashlib.sha256(bytes(size)).hexdigest()
    return Outgoing(sample.sop_class, sample.sop_instance, "1.2.840.10008.1.2.1", path, size, digest)


def requestor(folder: Path, port: int, keys: str) -> Requestor:
    text = fakes.CONFIG.replace("host: 10.9.0.5, port: 104", f"host: 127.0.0.1, port: {port}, {keys}")
    return Requestor(fakes.configuration(text, folder))


def test_two_associations_with_a_partner_share_its_bandwidth(tmp_path: Path) -> None:
    with Receiver() as receiver:
        it = requestor(tmp_path, receiver.port, "bandwidth: 200KB")
        partner, instance = it._config.partners["PUBPACS"], outgoing(tmp_path, 100_000)

        def send() -> None:
            with it.associate(partner, [instance.context]) as link:
                link.send(instance)

        began = time.monotonic()
        threads = [threading.Thread(target=send) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert time.monotonic() - began > 0.75
        assert [each.sha256 for each in receiver.received] == [instance.sha256] * 2


def test_a_stop_interrupts_what_would_take_too_long(tmp_path: Path) -> None:
    with Receiver() as receiver:
        it = requestor(tmp_path, receiver.port, "bandwidth: 1KB")
        instance, failures = outgoing(tmp_path, 1_000_000), list[Exception]()

        def send() -> None:
            try:
                with it.associate(it._config.partners["PUBPACS"], [instance.context]) as link:
                    link.send(instance)
            except AssociationLost as error:
                failures.append(error)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        receiver.wait_until(lambda: bool(receiver.requests), what="the association")
        it.stop()
        thread.join(10)
        assert len(failures) == 1
        assert not receiver.received


def test_without_a_bandwidth_nothing_is_paced(tmp_path: Path) -> None:
    with Receiver() as receiver:
        it = requestor(tmp_path, receiver.port, "associations: 1")
        contexts = [("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")]
        with it.associate(it._config.partners["PUBPACS"], contexts) as link:
            assert link._pace is None
