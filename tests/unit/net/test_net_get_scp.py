"""net/get_scp.py: instances go back on the association that asked for them, to a peer that may do anything."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode.errors import AssociationLost, ContextMissing, Unreadable
from dicomnode.net import get_scp
from dicomnode.net.get_scp import WayBack
from dicomnode.net.inbox import Inbox
from dicomnode.net.reactor import Reactor
from dicomnode.operations.ports import Outgoing
from tests.samples import CT_IMAGE, make_instance
from tests.upper_layer import C_CANCEL, C_STORE, EXPLICIT_LE, IMPLICIT_LE, RESPONSE, Aborted, Channel, Message


class Peer:
    """Who asked for it, on the other end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.channel = Channel(connection, 30)
        self.longest = 0

    def read(self) -> Message:
        message = self.channel.read_message()
        assert message
        return message

    def answer(self, message: Message, status: int = 0, **more: Any) -> None:
        command = {"CommandField": C_STORE | RESPONSE, "MessageIDBeingRespondedTo": message["MessageID"]}
        self.channel.send_message(message.context, {**command, "Status": status, **more})

    def store(self, **more: Any) -> Message:
        """Take one instance."""
        message = self.read()
        self.answer(message, **more)
        return message


class Pair:
    """An association that was accepted, and its peer. `most`: of the PDUs that the peer takes."""

    def __init__(self, most: int = 16384, contexts: tuple[tuple[int, str, bool], ...] = ((3, EXPLICIT_LE, True),)):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            theirs = socket.create_connection(listener.getsockname())
            ours, _ = listener.accept()
        self.peer, self.pending = Peer(theirs), 0
        limits = SimpleNamespace(response=30)
        accepted = [
            SimpleNamespace(context_id=number, abstract_syntax=CT_IMAGE, transfer_syntax=[syntax], as_scu=scu)
            for number, syntax, scu in contexts
        ]
        self.assoc: Any = SimpleNamespace(
            node=SimpleNamespace(config=SimpleNamespace(node=SimpleNamespace(limits=limits))),
            partner=SimpleNamespace(decompresses=False),
            requestor=SimpleNamespace(maximum_length=most, ae_title="WS"),
            caller=SimpleNamespace(calling_ae_title="WS"),
            accepted_contexts=accepted,
            _accepted_cx={each.context_id: each for each in accepted},
            is_requestor=False,
        )
        self.assoc.dimse = Inbox(self.assoc, lambda *_: pytest.fail("nothing is stored here"), 1 << 20)
        self.assoc.reactor = Reactor(ours, self.assoc.dimse.receive, idle=30, pdu=5)
        responses: Any = SimpleNamespace(pending=self.say)
        self.link = WayBack(self.assoc, 1, responses)

    def say(self) -> None:
        self.pending += 1

    def close(self) -> None:
        self.link.close()
        self.assoc.reactor.socket.close()
        self.peer.channel.close()


@pytest.fixture
def pairs() -> Iterator[Callable[..., Pair]]:
    made: list[Pair] = []

    def make(*args: Any) -> Pair:
        made.append(Pair(*args))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def pair(pairs: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setattr(get_scp, "_TICK", 0.05)
    return pairs()


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Outgoing]:
    """An instance in a file of ours."""

    def store(number: int = 1, *, size: str = "small", damaged: bool = False) -> Outgoing:
        dataset = make_instance(size=size, SOPInstanceUID=f"1.2.3.{number}")
        path, digest = tmp_path / str(number), hashlib.sha256(dataset).hexdigest()
        path.write_bytes(b"header" + dataset)
        return Outgoing(CT_IMAGE, f"1.2.3.{number}", EXPLICIT_LE, path, len(dataset), "0" * 64 if damaged else digest)

    return store


def sending(pair: Pair, *instances: Outgoing) -> tuple[threading.Thread, list[Any]]:
    """Send them, in a thread; what came of each."""
    results: list[Any] = []

    def send() -> None:
        for each, following in zip(instances, [*instances[1:], None], strict=True):
            try:
                results.append(pair.link.send(each, None, following))
            except Exception as error:
                results.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread, results


def outcome(running: tuple[threading.Thread, list[Any]]) -> list[Any]:
    running[0].join(30)
    assert not running[0].is_alive()
    return running[1]


def test_an_instance_goes_as_it_is_stored_without_an_originator(pair: Pair, stored: Callable[..., Outgoing]) -> None:
    made = [stored(1), stored(2, size="large"), stored(3)]
    running = sending(pair, *made)
    for each, status in zip(made, (0, 0xB007, 0xA700), strict=True):
        message = pair.peer.store(status=status, AffectedSOPInstanceUID=each.sop_instance_uid)
        assert message.dataset == each.path.read_bytes()[6:]
        assert message["AffectedSOPInstanceUID"] == each.sop_instance_uid
        assert (message["Priority"], message.context) == (1, 3)
        assert "MoveOriginatorApplicationEntityTitle" not in message.command
    assert outcome(running) == [0, 0xB007, 0xA700]


@pytest.mark.parametrize("most", [0, 64, 4096, 1 << 20])
def test_no_pdu_is_longer_than_the_peer_takes(
    most: int, pairs: Callable[..., Pair], stored: Callable[..., Outgoing], monkeypatch: pytest.MonkeyPatch
) -> None:
    it, lengths = pairs(most), []
    receive = it.peer.channel.recv_pdu

    def noted() -> tuple[int, bytes]:
        kind, body = receive()
        lengths.append(len(body))
        return kind, body

    monkeypatch.setattr(it.peer.channel, "recv_pdu", noted)
    running = sending(it, stored(size="small"))
    it.peer.store()
    assert outcome(running) == [0]
    assert max(lengths) <= (most or 1 << 20)


CHOICES: list[tuple[tuple[tuple[int, str, bool], ...], int | None]] = [
    (((1, IMPLICIT_LE, True), (3, EXPLICIT_LE, True)), 3),
    (((1, EXPLICIT_LE, True), (3, EXPLICIT_LE, True)), 1),
    (((1, IMPLICIT_LE, True), (3, EXPLICIT_LE, False)), 1),
    (((1, EXPLICIT_LE, False),), None),
    ((), None),
]


@pytest.mark.parametrize(("contexts", "chosen"), CHOICES)
def test_the_context_is_one_on_which_the_peer_is_scp(
    contexts: tuple[tuple[int, str, bool], ...],
    chosen: int | None,
    pairs: Callable[..., Pair],
    stored: Callable[..., Outgoing],
) -> None:
    it = pairs(16384, contexts)
    running = sending(it, stored())
    if chosen is None:
        (error,) = outcome(running)
        assert isinstance(error, ContextMissing)
        assert "on which the caller is SCP" in str(error)
    else:
        assert it.peer.store().context == chosen
        assert outcome(running) == [0]


def test_while_the_peer_takes_its_time_it_is_told_and_then_it_is_lost(
    pair: Pair, stored: Callable[..., Outgoing]
) -> None:
    pair.link._patience = 0.3
    running = sending(pair, stored(1), stored(2))
    pair.peer.read()
    with pytest.raises(Aborted):
        pair.peer.read()
    assert [str(error) for error in outcome(running)] == [
        "the caller did not answer a C-STORE in time",
        "the caller's association is over: aborted: the caller did not answer a C-STORE in time",
    ]
    assert all(type(error) is AssociationLost for error in running[1])
    assert pair.pending >= 1


class Slow:
    """A reactor whose peer takes a byte a second, of so many, and says nothing; a second goes by with each look."""

    end = ""

    def __init__(self, untaken: int) -> None:
        self.untaken, self.now = untaken, 1000.0

    def is_silent(self, seconds: float) -> bool:
        self.now, self.untaken = self.now + seconds, max(0, self.untaken - 1)
        return True


def test_as_long_as_the_peer_takes_what_was_sent_it_need_not_answer(
    pairs: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    it, slow = pairs(), Slow(untaken=100)
    monkeypatch.setattr(it.assoc, "reactor", slow)
    monkeypatch.setattr(time, "monotonic", lambda: slow.now)
    with pytest.raises(AssociationLost, match="did not answer a C-STORE in time"):
        it.link.response()
    assert 1130 <= slow.now <= 1132, "the 30 seconds for an answer begin when it has taken the last byte"
    assert it.pending >= 130


LIES: list[tuple[dict[str, Any], str]] = [
    ({"MessageIDBeingRespondedTo": 77}, "another request"),
    ({"AffectedSOPInstanceUID": "1.2.99"}, "another request"),
]


@pytest.mark.parametrize(("lie", "why"), LIES)
def test_a_response_to_another_request_ends_it(
    lie: dict[str, Any], why: str, pair: Pair, stored: Callable[..., Outgoing]
) -> None:
    running = sending(pair, stored())
    pair.peer.answer(pair.peer.read(), **lie)
    (error,) = outcome(running)
    assert isinstance(error, AssociationLost)
    assert why in str(error)
    with pytest.raises(Aborted):
        pair.peer.read()


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xA700])
def test_success_that_is_said_before_the_end_was_sent_is_not_believed(
    status: int, pair: Pair, stored: Callable[..., Outgoing]
) -> None:
    pair.peer.answer(Message(3, {"MessageID": 1}), status=status)  # it has come when the first byte is sent
    running = sending(pair, stored())
    if status == 0xA700:
        assert pair.peer.read().dataset
        assert outcome(running) == [0xA700]
    else:
        (error,) = outcome(running)
        assert "had not received yet" in str(error)


def test_a_cancel_before_the_response_is_kept_for_after_it(pair: Pair, stored: Callable[..., Outgoing]) -> None:
    running = sending(pair, stored())
    message = pair.peer.read()
    pair.peer.channel.send_message(3, {"CommandField": C_CANCEL, "MessageIDBeingRespondedTo": 9})
    pair.peer.answer(message)
    assert outcome(running) == [0]
    assert 9 in pair.assoc.dimse.cancel_req


def test_a_peer_that_goes_is_lost_at_once(pair: Pair, stored: Callable[..., Outgoing]) -> None:
    running = sending(pair, stored(), stored(2))
    pair.peer.read()
    pair.peer.channel.close()
    assert all(isinstance(error, AssociationLost) for error in outcome(running))


def test_a_small_file_that_is_damaged_fails_alone(pair: Pair, stored: Callable[..., Outgoing]) -> None:
    running = sending(pair, stored(1, damaged=True), stored(2))
    message = pair.peer.store()
    error, status = outcome(running)
    assert isinstance(error, Unreadable)
    assert (status, message["AffectedSOPInstanceUID"]) == (0, "1.2.3.2")


def test_a_large_file_that_is_damaged_ends_it_within_the_message(pair: Pair, stored: Callable[..., Outgoing]) -> None:
    running = sending(pair, stored(1, size="large", damaged=True), stored(2))
    with pytest.raises(Aborted):
        pair.peer.read()
    error, following = outcome(running)
    assert isinstance(error, Unreadable)
    assert isinstance(following, AssociationLost)
