"""The reactor on a connection of its own: how PDUs are cut, what ends an association, and when waiting ends."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from dicomnode.net import pdus, reactor
from dicomnode.net.pdus import LAST
from dicomnode.net.reactor import MAXIMUM_LENGTH, Broken, Reactor
from tests.patience import patient

_RELEASE_RQ, _RELEASE_RP = bytes.fromhex("05000000000400000000"), bytes.fromhex("06000000000400000000")


def _pdv(context: int, control: int, data: bytes) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context, control) + data


def _data(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return struct.pack(">BxI", 4, len(body)) + body


class Peer:
    """The two ends of a connection: a reactor that notes what it receives, and the socket of whoever talks to it."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.socket = theirs
        self.whole: list[tuple[int, int, bytes]] = []
        self._pieces = bytearray()
        self.longest = 0
        self.reactor = Reactor(ours, self._receive, idle=0.3, pdu=0.3)

    def _receive(self, context: int, control: int, piece: memoryview) -> None:
        if context == 99:
            raise Broken("context 99")
        self._pieces += piece
        self.longest = max(self.longest, len(piece))
        if control & LAST:
            self.whole.append((context, control, bytes(self._pieces)))
            self._pieces.clear()

    def live(self) -> str:
        """Step until the association is over; how it ended."""
        while self.reactor.is_open:
            self.reactor.step()
        return self.reactor.end

    def heard(self) -> bytes:
        """All that the reactor has said until it closed the connection."""
        self.reactor.close()
        self.socket.settimeout(5)
        said = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while piece := self.socket.recv(65536):
                said += piece
        return bytes(said)


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    monkeypatch.setattr(reactor, "_ARTIM", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    with ours, theirs:
        yield Peer(ours, theirs)


def test_fragments_are_put_together_however_they_are_cut(peer: Peer) -> None:
    raw = _data(_pdv(1, 3, b"command"), _pdv(1, 0, b"da")) + _data(_pdv(1, 0, b""), _pdv(1, 2, b"taset")) + _RELEASE_RQ

    def trickle() -> None:
        for at in range(len(raw)):
            peer.socket.sendall(raw[at : at + 1])

    sender = threading.Thread(target=trickle)
    sender.start()
    assert peer.live() == "released"
    sender.join()
    assert peer.whole == [(1, 3, b"command"), (1, 2, b"dataset")]
    assert peer.heard() == _RELEASE_RP


def test_several_pdus_that_come_at_once_are_taken_one_after_another(peer: Peer) -> None:
    peer.socket.sendall(b"".join(_data(_pdv(n, 3, b"x" * n)) for n in range(1, 90, 2)) + _RELEASE_RQ)
    assert peer.live() == "released"
    assert peer.whole == [(n, 3, b"x" * n) for n in range(1, 90, 2)]


def test_a_long_fragment_comes_in_pieces_no_longer_than_the_buffer(peer: Peer) -> None:
    dataset = bytes(range(256)) * 4000
    sender = threading.Thread(target=peer.socket.sendall, args=(_data(_pdv(1, 2, dataset)) + _RELEASE_RQ,))
    sender.start()
    assert peer.live() == "released"
    sender.join()
    assert peer.whole == [(1, 2, dataset)]
    assert peer.longest <= 256 * 1024 < len(dataset) <= MAXIMUM_LENGTH


_BROKEN = {
    "a PDU over the maximum length": (struct.pack(">BxI", 4, MAXIMUM_LENGTH + 1), 6),
    "a PDU of 4 GB": (struct.pack(">BxI", 4, 0xFFFFFFFF), 6),
    "a P-DATA-TF without a PDV": (struct.pack(">BxI", 4, 0), 6),
    "a PDV longer than its PDU": (struct.pack(">BxIIBB", 4, 10, 100, 1, 3) + b"abcd", 6),
    "a PDV of no length": (struct.pack(">BxIIBB", 4, 6, 0, 1, 3), 6),
    "a rest that is no PDV": (_data(_pdv(1, 3, b"x") + b"rest"), 6),
    "an unknown PDU": (struct.pack(">BxI", 9, 4) + bytes(4), 1),
    "a PDU of type 0": (struct.pack(">BxI", 0, 4) + bytes(4), 1),
    "a second A-ASSOCIATE-RQ": (struct.pack(">BxI", 1, 68) + bytes(68), 2),
    "an A-RELEASE-RP that nobody asked for": (_RELEASE_RP, 2),
    "what the receiver refuses": (_data(_pdv(99, 3, b"x")), 2),
}


@pytest.mark.parametrize(("raw", "reason"), _BROKEN.values(), ids=_BROKEN)
def test_what_the_standard_does_not_allow_ends_in_an_abort(raw: bytes, reason: int, peer: Peer) -> None:
    peer.socket.sendall(raw)
    assert peer.live().startswith("aborted: ")
    assert peer.heard() == pdus.abort(2, reason) == struct.pack(">BBIBBBB", 7, 0, 4, 0, 0, 2, reason)


def test_an_abort_of_the_peer_is_the_end(peer: Peer) -> None:
    peer.socket.sendall(pdus.abort())
    assert peer.live() == "aborted by the peer"
    assert peer.heard() == b""


def test_a_connection_that_is_lost_is_the_end(peer: Peer) -> None:
    peer.socket.sendall(_data(_pdv(1, 2, b"half of a dataset"))[:-4])
    peer.socket.close()
    assert peer.live().startswith("lost: ")
    assert not peer.whole


_CUT = {"nothing": b"", "a byte": b"\4", "all but one": _data(_pdv(1, 2, bytes(1000)))[:-1]}


@pytest.mark.parametrize("raw", _CUT.values(), ids=_CUT)
def test_silence_is_waited_for_as_long_as_it_may_last(raw: bytes, peer: Peer) -> None:
    peer.socket.sendall(raw)
    begin = time.monotonic()
    assert peer.live() == "aborted: silent for too long"
    assert 0.3 <= time.monotonic() - begin < patient(3)
    assert peer.heard() == pdus.abort(2)


def test_a_pdu_that_trickles_in_has_a_deadline_as_a_whole(peer: Peer) -> None:
    over = threading.Event()

    def trickle() -> None:
        with contextlib.suppress(OSError):
            for byte in _data(_pdv(1, 2, bytes(200))):
                peer.socket.sendall(bytes([byte]))
                if over.wait(0.05):
                    return

    sender = threading.Thread(target=trickle)
    sender.start()
    assert peer.live() == "aborted: silent for too long"
    over.set()
    sender.join()


def test_while_a_request_is_served_nothing_is_waited_for(peer: Peer) -> None:
    assert peer.reactor.attend()
    peer.socket.sendall(_data(_pdv(1, 3, b"cancel")) + pdus.abort())
    deadline = time.monotonic() + 5
    while peer.reactor.attend():
        assert time.monotonic() < deadline
    assert peer.whole == [(1, 3, b"cancel")]
    assert peer.reactor.end == "aborted by the peer"


def test_half_a_header_is_not_waited_for_while_a_request_is_served(peer: Peer) -> None:
    peer.reactor._idle = peer.reactor._grace = 60.0
    cancel = _data(_pdv(1, 3, b"cancel"))
    for cut in (1, 8, 15):
        peer.socket.sendall(cancel[:cut])
        begin = time.monotonic()
        for _ in range(20):
            assert peer.reactor.attend()
        assert time.monotonic() - begin < patient(5)
        peer.socket.sendall(cancel[cut:])
        deadline = time.monotonic() + 5
        while not peer.whole:
            assert peer.reactor.attend()
            assert time.monotonic() < deadline
        assert peer.whole.pop() == (1, 3, b"cancel")
    peer.socket.sendall(_RELEASE_RQ)
    assert peer.live() == "released"


def test_a_flood_does_not_keep_a_request_from_being_served(peer: Peer) -> None:
    peer.socket.sendall(b"".join(_data(_pdv(1, 3, b"x")) for _ in range(1000)))
    assert peer.reactor.attend()
    assert 0 < len(peer.whole) < 100


def test_what_is_sent_after_the_end_goes_nowhere(peer: Peer) -> None:
    peer.socket.sendall(pdus.abort())
    peer.live()
    peer.reactor.send(b"too late")
    assert peer.heard() == b""


def test_a_peer_that_takes_nothing_is_given_up(peer: Peer) -> None:
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    begin = time.monotonic()
    peer.reactor.send(bytes(64 << 20))
    assert peer.reactor.end.startswith("lost: ")
    assert time.monotonic() - begin < patient(5)


def test_it_can_be_aborted_from_another_thread(peer: Peer) -> None:
    peer.reactor._idle = 60.0
    life = threading.Thread(target=peer.live)
    life.start()
    peer.reactor.interrupt()
    life.join(5)
    assert not life.is_alive()
    assert peer.reactor.end == "aborted by us"
    assert peer.heard() == pdus.abort()


def test_it_can_be_aborted_while_the_peer_goes_on_sending(peer: Peer) -> None:
    over = threading.Event()

    def flood() -> None:
        with contextlib.suppress(OSError):
            while not over.is_set():
                peer.socket.sendall(_data(_pdv(1, 3, b"x")) * 1000)

    sender, life = threading.Thread(target=flood), threading.Thread(target=peer.live)
    sender.start()
    life.start()
    peer.reactor.interrupt()
    life.join(5)
    assert peer.reactor.end == "aborted by us"
    over.set()
    peer.reactor.close()
    sender.join(5)
    assert not sender.is_alive()
