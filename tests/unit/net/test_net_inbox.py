"""The inbox without a network: what pieces of PDVs become, and what breaks the protocol."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode.errors import DicomnodeError
from dicomnode.net.commands import StoreRequest, store_request
from dicomnode.net.inbox import Inbox, Incoming
from dicomnode.net.reactor import Broken
from tests.upper_layer import C_CANCEL, C_ECHO, C_FIND, C_STORE, RESPONSE, VERIFICATION, encode_command

_CAP = 100


def _open(request: StoreRequest, context: int) -> Incoming:
    return Incoming(request, error=DicomnodeError("refused"))


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(SimpleNamespace(_accepted_cx={1: None}, requestor=SimpleNamespace(ae_title="WS")), _open, _CAP)


def _command(field: int, number: int, **more: Any) -> memoryview:
    said = {"CommandField": field, "CommandDataSetType": 0x0101, **more}
    said |= {"MessageIDBeingRespondedTo": number} if field == C_CANCEL else {"MessageID": number}
    return memoryview(encode_command(said))


def _echo(number: int) -> memoryview:
    return _command(C_ECHO, number, AffectedSOPClassUID=VERIFICATION)


_STORE = memoryview(store_request(5, "1.2.840.10008.5.1.4.1.1.2", "1.2.3", 0, None))


def test_a_command_in_pieces_is_one_request(inbox: Inbox) -> None:
    command = _echo(7)
    inbox.receive(1, 1, command[:10])
    inbox.receive(1, 3, command[10:])
    ((context, request),) = inbox.requests
    assert (context, request.MessageID) == (1, 7)


def test_a_cancel_is_kept_however_many_strange_ones_come_before_it(inbox: Inbox) -> None:
    for number in (*range(100, 150), 7):
        inbox.receive(1, 3, _command(C_CANCEL, number))
    assert 7 in inbox.cancel_req
    assert len(inbox.cancel_req) <= 10


def test_a_request_that_follows_a_cancel_takes_none_but_its_own_away(inbox: Inbox) -> None:
    inbox.receive(1, 3, _command(C_CANCEL, 7))
    inbox.receive(1, 3, _command(C_CANCEL, 8))
    inbox.receive(1, 3, _echo(8))
    assert set(inbox.cancel_req) == {7}


def test_a_command_in_the_middle_of_a_dataset_breaks_the_protocol(inbox: Inbox) -> None:
    inbox.receive(1, 3, _STORE)
    inbox.receive(1, 0, memoryview(b"half"))
    with pytest.raises(Broken, match="in the middle"):
        inbox.receive(1, 1, memoryview(b"of a command"))


def test_a_dataset_without_an_end_breaks_the_protocol(inbox: Inbox) -> None:
    inbox.receive(1, 3, _STORE)
    inbox.receive(1, 0, memoryview(bytes(3 * _CAP)))
    with pytest.raises(Broken, match="without an end"):
        inbox.receive(1, 0, memoryview(bytes(2 * _CAP)))


def test_requests_upon_requests_break_the_protocol(inbox: Inbox) -> None:
    for number in range(4):
        inbox.receive(1, 3, _echo(number))
    with pytest.raises(Broken, match="requests upon requests"):
        inbox.receive(1, 3, _echo(5))


@pytest.mark.parametrize(
    ("control", "piece", "why"),
    [
        (2, b"dataset", "without its command"),
        (3, b"rubbish", "cannot be read|cut short"),
        (3, bytes(70_000), "over 64 KiB"),
        (3, struct.pack("<HHIH", 0, 0x0100, 2, 0x7777), "cannot be read"),
        (3, bytes(_command(C_FIND, 1)[:-3]), "cut short|cannot be read"),
    ],
)
def test_what_makes_no_message_breaks_the_protocol(control: int, piece: bytes, why: str, inbox: Inbox) -> None:
    with pytest.raises(Broken, match=why):
        inbox.receive(1, control, memoryview(piece))


def test_a_context_that_was_not_accepted_breaks_the_protocol(inbox: Inbox) -> None:
    with pytest.raises(Broken, match="not accepted"):
        inbox.receive(3, 3, _echo(1))


# -- responses to sub-operations of ours -----------------------------------------------------------------------


def _stored(number: int) -> memoryview:
    command = {"CommandField": C_STORE | RESPONSE, "MessageIDBeingRespondedTo": number, "Status": 0xB007}
    return memoryview(encode_command({**command, "CommandDataSetType": 0x0101, "AffectedSOPInstanceUID": "1.2.3"}))


def test_a_response_goes_to_who_awaits_it_and_waits_for_nobody_to_serve_it(inbox: Inbox) -> None:
    with inbox.awaiting() as answers:
        inbox.receive(1, 3, _stored(9))
        inbox.receive(1, 3, _command(C_CANCEL, 7))
    ((field, number, instance, status),) = [(a.field, a.responds_to, a.sop_instance_uid, a.status) for a in answers]
    assert (field, number, instance, status) == (0x8001, 9, "1.2.3", 0xB007)
    assert not inbox.requests
    assert 7 in inbox.cancel_req
    for _ in range(10):  # nobody awaits any more
        inbox.receive(1, 3, _stored(9))
    assert len(answers) == 1


def test_a_response_that_nobody_awaits_is_dropped(inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(100):
        inbox.receive(1, 3, _stored(9))
    with inbox.awaiting() as answers:
        assert not answers
    assert not inbox.requests
    assert "nobody asked for" in caplog.text


def test_responses_upon_responses_break_the_protocol(inbox: Inbox) -> None:
    with inbox.awaiting():
        for _ in range(4):
            inbox.receive(1, 3, _stored(9))
        with pytest.raises(Broken, match="responses upon responses"):
            inbox.receive(1, 3, _stored(9))


def test_a_response_that_says_nothing_breaks_the_protocol(inbox: Inbox) -> None:
    with pytest.raises(Broken, match="without Message ID or Status"):
        inbox.receive(1, 3, memoryview(encode_command({"CommandField": C_STORE | RESPONSE})))
