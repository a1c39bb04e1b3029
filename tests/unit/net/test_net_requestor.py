"""net/requestor.py and net/channel.py, with a partner on a socket: what is sent, kept open, replaced, waited for."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicomnode.config.model import NodeConfig, Partner
from dicomnode.dicom import part10
from dicomnode.errors import AssociationLost, ContextMissing, Unreachable, Unreadable
from dicomnode.net import channel, pdus, reading
from dicomnode.net.requestor import Requestor
from dicomnode.operations.ports import Originator, Outgoing
from dicomnode.rules.contexts import Proposal
from tests import fakes
from tests.node import wait_until
from tests.patience import patient
from tests.receiver import Receiver
from tests.samples import Sample, make_instances
from tests.upper_layer import ASSOCIATE_AC, C_STORE, RESPONSE, Associate, Channel

CT, SR, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.1.2.1"
CTS = ((CT, EXPLICIT),)
SRS = ((SR, EXPLICIT),)
LONG = 3600.0

Put = Callable[..., Outgoing]


def config(folder: Path, port: int, *, response: str = "5s") -> NodeConfig:
    text = fakes.CONFIG.replace("host: 10.9.0.5, port: 104", f"host: 127.0.0.1, port: {port}")
    return fakes.configuration(text.replace("retry_first: 30s", f"retry_first: 30s, response: {response}"), folder)


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """A file as the archive keeps it, and what the index knows of it; every one has another SOP Instance UID."""
    samples = iter(make_instances(200, seed="requestor"))

    def make(size: int = 0, sop_class: str = CT) -> Outgoing:
        sample: Sample = next(samples)
        dataset = sample.dataset + os.urandom(size)
        path = tmp_path / f"{sample.sop_instance}.dcm"
        header = part10.encode(sop_class, sample.sop_instance, EXPLICIT, part10.Origin("CT1", "harbour", 1, "A", "B"))
        path.write_bytes(header + dataset)
        digest = hashlib.sha256(dataset).hexdigest()
        return Outgoing(sop_class, sample.sop_instance, EXPLICIT, path, len(dataset), digest)

    return make


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as it:
        yield it


@pytest.fixture
def requestor(tmp_path: Path, receiver: Receiver) -> Iterator[Requestor]:
    it = Requestor(config(tmp_path, receiver.port), linger=LONG)
    yield it
    it.close()


@pytest.fixture
def partner(tmp_path: Path, receiver: Receiver) -> Partner:
    return config(tmp_path, receiver.port).partners["PUBPACS"]


def store(requestor: Requestor, partner: Partner, *instances: Outgoing) -> list[int]:
    """One batch."""
    pairs = sorted({instance.context for instance in instances})
    with requestor.associate(partner, pairs) as link:
        return [link.send(one, following=two) for one, two in itertools.zip_longest(instances, instances[1:])]


def arrived(receiver: Receiver) -> list[tuple[str, str]]:
    return [(each.sop_instance, each.sha256) for each in receiver.received]


def whole(*instances: Outgoing) -> list[tuple[str, str]]:
    return [(each.sop_instance_uid, each.sha256) for each in instances]


# -- what goes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_pdu", [0, 16, 128, 16384, 1 << 20])
def test_a_batch_arrives_whole_whatever_pdus_the_partner_takes(
    tmp_path: Path, put: Put, partner: Partner, requestor: Requestor, receiver: Receiver, max_pdu: int
) -> None:
    receiver.max_pdu = max_pdu
    instances = [put(), put(3_001 if max_pdu == 16 else 1_000_001), put(8)]
    assert store(requestor, partner, *instances) == [0, 0, 0]
    assert arrived(receiver) == whole(*instances)
    assert [len(request.contexts) for request in receiver.requests] == [2], "its own syntax, and one context for others"


def test_a_sub_operation_names_its_originator(
    put: Put, partner: Partner, requestor: Requestor, receiver: Receiver
) -> None:
    with requestor.associate(partner, CTS) as link:
        link.send(put(), Originator("RAD_WS", 7, 2))
    (found,) = receiver.received
    assert (found.move_originator, found.move_message_id, found.priority) == ("RAD_WS", 7, 2)


def test_what_follows_need_not_be_what_was_announced(
    put: Put, partner: Partner, requestor: Requestor, receiver: Receiver
) -> None:
    first, announced, instead, report = put(), put(600_000), put(600_000), put(0, SR)
    with requestor.associate(partner, CTS) as link:
        link.send(first, following=announced)
        link.send(instead, following=report)  # which this association cannot carry
        link.send(announced)
    assert arrived(receiver) == whole(first, instead, announced)


# -- kept open -------------------------------------------------------------------------------------------------


def test_the_next_batch_goes_on_the_same_association(
    put: Put, partner: Partner, requestor: Requestor, receiver: Receiver
) -> None:
    for _ in range(3):
        assert store(requestor, partner, put(), put()) == [0, 0]
    assert len(receiver.requests) == 1
    assert len(receiver.received) == 6
    requestor.close()
    receiver.wait_until(lambda: not receiver.open_associations, what="the release")
    assert not receiver.faults


def test_it_is_released_when_its_time_is_over(tmp_path: Path, put: Put, partner: Partner, receiver: Receiver) -> None:
    it = Requestor(config(tmp_path, receiver.port), linger=0.1)
    store(it, partner, put())
    receiver.wait_until(lambda: not receiver.open_associations, what="the release")
    store(it, partner, put())
    assert len(receiver.requests) == 2
    assert not receiver.faults
    it.close()


def test_without_lingering_it_is_released_at_once(
    tmp_path: Path, put: Put, partner: Partner, receiver: Receiver
) -> None:
    it = Requestor(config(tmp_path, receiver.port))
    store(it, partner, put())
    receiver.wait_until(lambda: not receiver.open_associations, what="the release")
    assert it._lingering._thread is None
    assert not receiver.faults


def test_two_at_once_are_two_associations_and_both_are_kept(
    put: Put, partner: Partner, requestor: Requestor, receiver: Receiver
) -> None:
    for _ in range(2):
        with requestor.associate(partner, CTS) as one, requestor.associate(partner, CTS) as two:
            one.send(put())
            two.send(put())
    assert len(receiver.requests) == 2


def test_contexts_it_does_not_have_need_another_that_has_them_all(
    put: Put, partner: Partner, requestor: Requestor, receiver: Receiver
) -> None:
    for sop_class in (CT, SR, CT, SR):
        assert store(requestor, partner, put(0, sop_class)) == [0]
    assert [len(request.contexts) for request in receiver.requests] == [2, 4]
    assert receiver.open_associations == 1


def test_what_was_refused_is_not_asked_for_again(
    put: Put, partner: Partner, requestor: Requestor, receiver: Receiver
) -> None:
    receiver.accept = lambda abstract, syntaxes: None if abstract == SR else syntaxes[0]
    for _ in range(2):
        with requestor.associate(partner, (*CTS, *SRS)) as link:
            with pytest.raises(ContextMissing, match="does not accept"):
                link.send(put(0, SR))
            assert link.send(put()) == 0
    assert len(receiver.requests) == 1


# -- over before we could know ----------------------------------------------------------------------------------


def _closed(receiver: Receiver) -> None:
    for peer in list(receiver._open.values()):
        peer.socket.shutdown(socket.SHUT_RDWR)


def _aborted(receiver: Receiver) -> None:
    for peer in list(receiver._open.values()):
        peer.send_raw(bytes.fromhex("07000000000400000000"))


@pytest.mark.parametrize("end", [_closed, _aborted])
def test_an_association_that_the_partner_has_ended_is_not_used(
    put: Put,
    partner: Partner,
    requestor: Requestor,
    receiver: Receiver,
    end: Callable[[Receiver], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store(requestor, partner, put())
    (kept,) = requestor._lingering._kept
    end(receiver)
    wait_until(lambda: kept.association._channel.is_over, 10, "the end to arrive")
    sends: list[int] = []
    monkeypatch.setattr(kept.association._channel, "send", lambda data: sends.append(len(data)))
    assert store(requestor, partner, put()) == [0]
    assert len(receiver.requests) == 2
    assert sends == [], "nothing was sent on the one that was over"


def test_one_that_ends_at_its_first_request_is_replaced_and_nobody_is_told(
    put: Put, partner: Partner, requestor: Requestor, receiver: Receiver
) -> None:
    receiver.abort_after = 1
    instances = [put(), put(700_000), put(100)]
    for instance in instances:
        assert store(requestor, partner, instance) == [0]
    assert len(receiver.requests) == 3
    assert arrived(receiver) == whole(*instances)


def test_it_is_tried_once(put: Put, partner: Partner, requestor: Requestor, receiver: Receiver) -> None:
    store(requestor, partner, put())
    receiver.abort_after = 0
    with pytest.raises(AssociationLost):
        store(requestor, partner, put())
    assert len(receiver.requests) == 2
    assert len(receiver.aborted) == 2


def test_a_fresh_association_that_is_lost_is_lost(
    put: Put, partner: Partner, requestor: Requestor, receiver: Receiver
) -> None:
    receiver.abort_after = 0
    with pytest.raises(AssociationLost):
        store(requestor, partner, put())
    assert len(receiver.requests) == 1


def test_one_that_has_answered_since_and_is_lost_is_lost(
    put: Put, partner: Partner, requestor: Requestor, receiver: Receiver
) -> None:
    receiver.abort_after = 2
    store(requestor, partner, put())
    with pytest.raises(AssociationLost):
        store(requestor, partner, put(), put())
    assert len(receiver.requests) == 1
    assert len(receiver.received) == 2


def test_a_partner_that_is_gone_meanwhile_is_unreachable(
    put: Put, partner: Partner, requestor: Requestor, receiver: Receiver
) -> None:
    store(requestor, partner, put())
    receiver.stop()
    with pytest.raises(Unreachable):
        store(requestor, partner, put())


# -- the last PDV is withheld -----------------------------------------------------------------------------------


def _damage(instance: Outgoing) -> None:
    raw = bytearray(instance.path.read_bytes())
    raw[-1] ^= 1
    instance.path.write_bytes(raw)


@pytest.mark.parametrize("kept", [True, False])
def test_a_damaged_file_is_never_completed_and_its_association_is_aborted(
    put: Put, partner: Partner, requestor: Requestor, receiver: Receiver, kept: bool
) -> None:
    """Also on one that was kept open. The next instance goes on a new one, and is charged with nothing."""
    good, bad, after = put(3_000_000), put(3_000_000), put(3_000_000)
    _damage(bad)
    if kept:
        assert store(requestor, partner, good) == [0]
    with requestor.associate(partner, CTS) as link:
        if not kept:
            assert link.send(good) == 0
        with pytest.raises(Unreadable, match="is not what was received"):
            link.send(bad, following=after)
        receiver.wait_until(lambda: not receiver.open_associations, what="the A-ABORT")
        assert [type(fault).__name__ for fault in receiver.faults] == ["Aborted"]
        assert link.send(after) == 0
    assert arrived(receiver) == whole(good, after)
    assert len(receiver.requests) == 2


def test_a_damaged_file_of_which_nothing_was_sent_disturbs_nobody(
    put: Put, partner: Partner, requestor: Requestor, receiver: Receiver
) -> None:
    bad, after = put(1000), put(1000)
    _damage(bad)
    with requestor.associate(partner, CTS) as link:
        with pytest.raises(Unreadable):
            link.send(bad, following=after)
        assert link.send(after) == 0
    assert arrived(receiver) == whole(after)
    assert len(receiver.requests) == 1
    assert not receiver.faults


# -- partners that take their time ------------------------------------------------------------------------------


class Slow:
    """A partner with a socket of its own manners: takes `rate` bytes a second, and stops taking after `most`."""

    def __init__(self, *, rate: float = 1e9, most: float = 1e9, answers: bool = True) -> None:
        self.rate, self.most, self.answers = rate, most, answers
        self.firsts: list[int] = []
        """How many bytes each message's first recv brought."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.port = self._listener.getsockname()[1]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Slow:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        sock, _ = self._listener.accept()
        peer = Channel(sock, 20)
        with contextlib.suppress(Exception), sock:
            request = Associate.decode(peer.recv_pdu()[1])
            results = {n: (0, syntaxes[0]) for n, (_, syntaxes) in request.contexts.items()}
            answer = Associate(request.called, request.calling, max_pdu=0, results=results)
            peer.send_raw(answer.encode(ASSOCIATE_AC))
            while True:
                self._take(sock)
                if self.answers:
                    self._respond(peer)

    def _take(self, sock: socket.socket) -> None:
        """Take a message: until its last data PDV."""
        raw, start, begun = bytearray(), time.monotonic(), False
        while not _complete(raw):
            if len(raw) >= self.most:
                self._ended.wait(20)
                return
            piece = sock.recv(1 << 16)
            if not piece or (not raw and piece.startswith(b"\5")):  # an A-RELEASE-RQ
                raise ConnectionError
            if not begun:
                self.firsts.append(len(piece))
                begun = True
            raw += piece
            self._ended.wait(max(0.0, start + len(raw) / self.rate - time.monotonic()))

    def _respond(self, peer: Channel) -> None:
        command = {"AffectedSOPClassUID": CT, "CommandField": C_STORE | RESPONSE, "MessageIDBeingRespondedTo": 1}
        peer.send_message(1, {**command, "Status": 0})


def _complete(raw: bytes) -> bool:
    at = 0
    while at + 12 <= len(raw):
        length, control = struct.unpack_from(">BxI", raw, at)[1], raw[at + 11]
        at += 6 + length
        if control == 2 and at <= len(raw):
            return True
    return False


def test_a_slow_partner_is_waited_for_while_it_takes_anything(
    tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call of ours, of 1 MB, takes twice the deadline, on a line of 1 MB/s."""

    def tuned(connection: socket.socket, seconds: float) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)

    monkeypatch.setattr(channel, "tune", tuned)
    monkeypatch.setattr(reading, "_SIZE", 1 << 20)
    with Slow(rate=1e6) as slow:
        known = config(tmp_path, slow.port, response="0.5s")
        begun = time.monotonic()
        assert store(Requestor(known), known.partners["PUBPACS"], put(1_500_000)) == [0]
        assert time.monotonic() - begun > 1, "it was slow indeed"


def test_the_time_for_an_answer_begins_when_the_partner_has_everything(tmp_path: Path, put: Put) -> None:
    """What the kernel holds back, some MB, takes far more than the deadline at 2 MB/s."""
    with Slow(rate=2e6) as slow:
        known = config(tmp_path, slow.port, response="0.5s")
        begun = time.monotonic()
        assert store(Requestor(known), known.partners["PUBPACS"], put(4_000_000)) == [0]
        assert time.monotonic() - begun > 1.5, "it was slow indeed"


def test_a_partner_that_stops_taking_is_given_up(tmp_path: Path, put: Put) -> None:
    with Slow(most=100_000) as stalled:
        known = config(tmp_path, stalled.port, response="0.3s")
        begun = time.monotonic()
        with pytest.raises(AssociationLost):
            store(Requestor(known), known.partners["PUBPACS"], put(20_000_000))
        assert 0.3 <= time.monotonic() - begun < patient(5)


def test_a_partner_that_takes_everything_and_answers_nothing_is_given_up(tmp_path: Path, put: Put) -> None:
    with Slow(answers=False) as silent:
        known = config(tmp_path, silent.port, response="0.3s")
        begun = time.monotonic()
        with pytest.raises(AssociationLost, match="did not answer in time"):
            store(Requestor(known), known.partners["PUBPACS"], put(100))
        assert 0.3 <= time.monotonic() - begun < patient(5)


# -- partners that answer without end, or never quite ------------------------------------------------------------


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[channel.Channel, socket.socket]]:
    """A channel without its association, with deadlines of 1 s, and the partner's end of its connection."""
    monkeypatch.setattr(channel, "_FAREWELL", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = channel.Channel(listener.getsockname(), connect=5, response=1)
        theirs, _ = listener.accept()
    with theirs:
        yield ours, theirs
        ours.abort()


def fragment(size: int, control: int = 1) -> bytes:
    """A P-DATA-TF with so much of a command set."""
    return pdus.PDV.pack(4, size + 6, size + 2, 1, control) + bytes(size)


@contextlib.contextmanager
def saying(theirs: socket.socket, *pieces: bytes, every: float) -> Iterator[None]:
    """A partner that says these, and then the last of them over and over, until the connection ends."""
    ended = threading.Event()

    def speak() -> None:
        with contextlib.suppress(OSError):
            for piece in itertools.chain(pieces, itertools.repeat(pieces[-1])):
                theirs.sendall(piece)
                if ended.wait(every):
                    return

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        theirs.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def ends(what: Callable[[], object]) -> tuple[str, float]:
    """What the channel says when it gives up, and after how many seconds."""
    caught: list[BaseException] = []

    def run() -> None:
        try:
            what()
        except AssociationLost as error:
            caught.append(error)

    begun = time.monotonic()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(8)
    assert not thread.is_alive(), "it goes on for ever"
    return "".join(map(str, caught)), time.monotonic() - begun


ENDLESS = {
    "large": ((fragment(60_000),), 0.0, "without end"),
    "one that is too large": ((fragment(70_000, 3),), 0.0, "without end"),
    "empty": ((fragment(0),), 0.0, "empty"),
    "no PDV at all": ((bytes.fromhex("040000000000"),), 0.0, "empty"),
    "whole PDUs of a byte": ((fragment(1),), 0.1, "in time"),
    "a byte at a time": ((fragment(1000)[:12], b"x"), 0.1, "in time"),
    "a header at a time": ((b"\4", b"\0\0"), 0.9, "in time"),
}


@pytest.mark.parametrize("how", ENDLESS)
def test_a_response_without_end_ends(line: tuple[channel.Channel, socket.socket], how: str) -> None:
    pieces, every, expected = ENDLESS[how]
    ours, theirs = line
    with saying(theirs, *pieces, every=every):
        said, seconds = ends(ours.receive_command)
    assert expected in said
    assert seconds < patient(2.5)


def test_a_response_in_many_pieces_is_whole(line: tuple[channel.Channel, socket.socket]) -> None:
    ours, theirs = line
    with saying(theirs, fragment(3), fragment(5), fragment(0, 3), fragment(9, 3), every=0.01):
        assert ours.receive_command() == bytes(8)


def test_a_partner_has_the_whole_time_from_when_it_has_taken_the_request(
    line: tuple[channel.Channel, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = line
    begun = time.monotonic()
    monkeypatch.setattr(channel, "untaken", lambda _: 5 if time.monotonic() < begun + 0.6 else 0)
    answer = threading.Timer(1.3, theirs.sendall, [fragment(8, 3)])
    answer.start()
    assert ours.receive_command() == bytes(8)
    answer.join(10)


def test_an_answer_to_the_association_request_must_be_whole_in_time(
    line: tuple[channel.Channel, socket.socket],
) -> None:
    ours, theirs = line
    with saying(theirs, bytes.fromhex("020000001000"), b"x", every=0.1):
        begun = time.monotonic()
        with pytest.raises(Unreachable, match="in time"):
            ours.associate("A", "B", [Proposal(1, CT, (EXPLICIT,))])
        assert time.monotonic() - begun < patient(2.5)


RELEASES = {
    "nothing": ((b"",), 10.0),
    "a byte at a time": ((bytes.fromhex("040000001000"), b"x"), 0.1),
    "PDUs": ((fragment(1000),), 0.1),
}


@pytest.mark.parametrize("how", RELEASES)
def test_a_release_takes_no_longer_than_its_farewell(line: tuple[channel.Channel, socket.socket], how: str) -> None:
    pieces, every = RELEASES[how]
    ours, theirs = line
    with saying(theirs, *pieces, every=every):
        _, seconds = ends(ours.release)
    assert seconds < patient(1.5)
    assert ours.is_closed


def test_a_release_that_nobody_takes_ends_too(line: tuple[channel.Channel, socket.socket]) -> None:
    ours, _ = line
    ours._socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours._socket.send(bytes(1 << 20))
    _, seconds = ends(ours.release)
    assert seconds < patient(1.5)


def test_a_small_object_leaves_together_with_its_command(tmp_path: Path, put: Put) -> None:
    with Slow() as partner:
        known = config(tmp_path, partner.port)
        instance = put(10_000)
        assert store(Requestor(known), known.partners["PUBPACS"], instance) == [0]
        assert partner.firsts[0] > 1000  # a command alone is shorter; how much comes at once is the kernel's affair


def test_a_name_that_no_resolver_can_be_asked_for_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        channel.Channel(("pacs..hospital", 104), connect=1, response=1)
