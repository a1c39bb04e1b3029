"""What partners answer that is no answer: nothing of it is ever delivered, and all of it arrives once they are sane.

The whole way from the queue to the socket, in this process; only the clock is pretended.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicomnode.net.requestor import Requestor
from dicomnode.operations.forward import forward
from dicomnode.operations.ports import Node
from dicomnode.store import lanes, ledger
from dicomnode.store.lanes import Pause
from dicomnode.store.ledger import Transfer
from dicomnode.store.queue import State
from tests import fakes
from tests.receiver import Receiver
from tests.samples import Sample, make_instances
from tests.upper_layer import (
    ABORT,
    C_ECHO,
    C_STORE,
    RELEASE_RP,
    RESPONSE,
    Channel,
    Message,
    decode_command,
    pdu,
)

P = "PUBPACS"
Lie = Callable[[Channel, Message], None]


class Liar(Receiver):
    """Answers its second C-STORE by `lie`, and all others as they are; sane once `lie` is None."""

    lie: Lie | None = None
    heard = 0

    def _respond(self, channel: Channel, message: Message, status: int) -> None:
        self.heard += 1
        if self.lie and self.heard == 2:
            self.lie(channel, message)
        else:
            super()._respond(channel, message, status)


def say(channel: Channel, message: Message, **changes: int | str) -> None:
    """0000H, but for these."""
    command: dict[str, int | str | None] = {
        "CommandField": C_STORE | RESPONSE,
        "MessageIDBeingRespondedTo": int(message["MessageID"]),
        "AffectedSOPClassUID": str(message["AffectedSOPClassUID"]),
        "AffectedSOPInstanceUID": str(message["AffectedSOPInstanceUID"]),
        "Status": 0,
    }
    channel.send_message(message.context, command | changes)


def abort(channel: Channel, _: Message) -> None:
    channel.send_raw(pdu(ABORT, bytes(4)))


def end(channel: Channel, _: Message) -> None:
    channel.socket.close()


def release(channel: Channel, _: Message) -> None:
    channel.send_raw(pdu(RELEASE_RP, bytes(4)))


LIES: dict[str, Lie] = {
    "of another message": lambda c, m: say(c, m, MessageIDBeingRespondedTo=777),
    "of the message before": lambda c, m: say(c, m, MessageIDBeingRespondedTo=int(m["MessageID"]) - 1),
    "of another instance": lambda c, m: say(c, m, AffectedSOPInstanceUID="1.2.3"),
    "of another operation": lambda c, m: say(c, m, CommandField=C_ECHO | RESPONSE),
    "no response but a request": lambda c, m: say(c, m, CommandField=C_STORE),
    "nothing": lambda c, m: None,
    "an abort": abort,
    "the end": end,
    "a release that was not asked for": release,
    "something that is no command": lambda c, m: c.send_raw(pdu(4, b"\0\0\0\6\1\3\0\0\0\0")),
    "a status that nobody knows": lambda c, m: say(c, m, Status=0x1234),
    "pending": lambda c, m: say(c, m, Status=0xFF00),
    "a processing failure": lambda c, m: say(c, m, Status=0x0110),
    "out of resources": lambda c, m: say(c, m, Status=0xA700),
    "that it cannot understand": lambda c, m: say(c, m, Status=0xC123),
    "that it does not know the operation": lambda c, m: say(c, m, Status=0x0211),
}


@pytest.fixture
def liar() -> Iterator[Liar]:
    with Liar() as it:
        yield it


@pytest.fixture
def node(tmp_path: Path, liar: Liar) -> Iterator[Node]:
    config = fakes.CONFIG.replace("host: 10.9.0.5, port: 104", f"host: 127.0.0.1, port: {liar.port}")
    it = fakes.make_node(tmp_path, config.replace("retry_first: 30s", "retry_first: 30s, response: 1s"))
    yield it
    it.database.close()


@pytest.fixture
def requestor(node: Node) -> Iterator[Requestor]:
    it = Requestor(node.config, linger=60)
    yield it
    it.close()


def ready(node: Node, count: int, seed: object = 0) -> list[Sample]:
    made = make_instances(count, seed=seed)
    fakes.receive_all(node, made)
    fakes.complete(node)
    return made


def drain(node: Node, requestor: Requestor) -> None:
    while forward(node.config.partners[P], requestor, node, lambda: False):
        pass


def states(node: Node) -> dict[str, str]:
    with node.database.read():
        return {t.sop_instance_uid: t.state for t in ledger.listed(1000)}


def transfers(node: Node) -> list[Transfer]:
    with node.database.read():
        return ledger.listed(1000)


def lane(node: Node) -> Pause:
    with node.database.read():
        return lanes.paused(P)


def go_on(node: Node, requestor: Requestor, rounds: int = 6) -> None:
    """Let time pass, and try again."""
    assert isinstance(node.clock, fakes.FakeClock)
    for _ in range(rounds):
        node.clock.advance(4000)
        drain(node, requestor)


@pytest.mark.parametrize("answer", LIES)
def test_what_is_no_answer_delivers_nothing(node: Node, requestor: Requestor, liar: Liar, answer: str) -> None:
    made = ready(node, 4)
    liar.lie = LIES[answer]
    drain(node, requestor)
    found = states(node)
    assert found[made[1].sop_instance] == State.QUEUED, "it was answered by nothing that means success"
    arrived = {each.sop_instance for each in liar.received}
    assert {uid for uid, state in found.items() if state == State.DELIVERED} <= arrived
    liar.lie = None
    go_on(node, requestor)
    assert set(states(node).values()) == {State.DELIVERED}
    assert {(r.sop_instance, r.sha256) for r in liar.received} == {(s.sop_instance, s.sha256) for s in made}


def test_a_second_answer_is_none_to_what_comes_after(node: Node, requestor: Requestor, liar: Liar) -> None:
    """The next instance is refused, and the success that was said twice must not be taken for its own."""
    made = ready(node, 4)

    def twice(channel: Channel, message: Message) -> None:
        say(channel, message)
        say(channel, message)

    liar.lie = twice
    liar.answer = lambda uid: 0xA700 if uid == made[2].sop_instance else 0
    go_on(node, requestor, 2)
    assert states(node)[made[1].sop_instance] == State.DELIVERED
    assert states(node)[made[2].sop_instance] == State.QUEUED
    liar.lie = liar.answer = None
    go_on(node, requestor)
    assert set(states(node).values()) == {State.DELIVERED}


def test_success_before_the_end_of_the_instance_is_none(
    tmp_path: Path, node: Node, requestor: Requestor, liar: Liar
) -> None:
    """It says that it has stored what it cannot have read, and reads the rest later, or never."""
    (made,) = make_instances(1, seed="early", Rows=2048, Columns=2048, PixelData=bytes(8 << 20))
    fakes.receive(node, made)
    fakes.complete(node)
    said = threading.Event()

    def early(channel: Channel) -> Message | None:
        """Read the command alone, say 0000H, and only then the rest."""
        kind, body = channel.recv_pdu()
        assert kind == 4
        say(channel, Message(body[4], decode_command(body[6:])))
        said.set()
        with contextlib.suppress(Exception):
            while True:
                channel.recv_pdu()
        return None

    liar._messages = lambda channel, peer: early(channel)  # type: ignore[assignment, method-assign, misc]
    drain(node, requestor)
    assert said.is_set()
    assert list(states(node).values()) == [State.QUEUED]
    assert "had not received" in transfers(node)[0].reason


# -- associations ----------------------------------------------------------------------------------------------


def test_a_transient_rejection_pauses_for_a_moment_and_one_for_good_for_an_hour(
    node: Node, requestor: Requestor, liar: Liar
) -> None:
    ready(node, 2)
    for rejection, seconds in (((2, 3, 2), 30), ((1, 1, 3), 3600)):
        liar.reject = rejection
        node.database.write(lambda: lanes.resume(P, node.clock()))
        drain(node, requestor)
        waits = (lane(node).until - node.clock()) / fakes.SECOND
        assert 0.87 * seconds < waits < 1.13 * seconds
        assert isinstance(node.clock, fakes.FakeClock)
        node.clock.advance(waits + 1)
    assert {(t.state, t.attempts) for t in transfers(node)} == {(State.QUEUED, 0)}
    liar.reject = None
    go_on(node, requestor)
    assert set(states(node).values()) == {State.DELIVERED}


@pytest.mark.parametrize("syntax", [None, "1.2.840.10008.1.2.4.70"], ids=["none", "another transfer syntax"])
def test_what_there_is_no_context_for_waits_for_a_configuration(
    node: Node, requestor: Requestor, liar: Liar, syntax: str | None
) -> None:
    ready(node, 2)
    liar.accept = lambda *_: syntax
    drain(node, requestor)
    assert not liar.received
    assert [(t.state, t.reason) for t in transfers(node)] == [
        (State.HELD, "PUBPACS does not accept CT Image Storage in Explicit VR Little Endian")
    ] * 2
    assert lane(node).failures == 0


def test_a_partner_that_ends_each_association_at_once_pauses_its_lane(
    node: Node, requestor: Requestor, liar: Liar
) -> None:
    ready(node, 3)
    liar._messages = lambda channel, _: channel.send_raw(pdu(ABORT, bytes(4)))  # type: ignore[method-assign]
    drain(node, requestor)
    assert lane(node).until > node.clock()
    assert not {t.state for t in transfers(node)} - {State.QUEUED}
    del liar._messages  # type: ignore[attr-defined]
    go_on(node, requestor)
    assert set(states(node).values()) == {State.DELIVERED}
