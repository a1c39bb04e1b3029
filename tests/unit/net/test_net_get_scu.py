"""net/get_scu.py: what is asked for comes back on the same association, a fragment at a time, and is answered."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from dicomnode.dicom.identifier import Identifier, Key
from dicomnode.errors import AssociationLost
from dicomnode.net import proposing
from dicomnode.operations.ports import Retrieved, Suboperations, Waiting
from dicomnode.rules.admission import Command
from dicomnode.rules.contexts import Proposal
from tests.samples import encode, make_instances
from tests.script import PENDING, Says, Script, row, scripted
from tests.upper_layer import (
    ABORT,
    C_CANCEL,
    C_GET,
    C_STORE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    RESPONSE,
    STUDY_ROOT_GET,
    Message,
    pdu,
)

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
SAMPLE = make_instances(1, size="large")[0]
PAIRS = [(CT, EXPLICIT_LE), (CT, IMPLICIT_LE), (MR, EXPLICIT_LE)]
WANTED = Identifier("STUDY", (Key(0x0020000D, "UI", SAMPLE.study),), "")


class Inlet:
    """Who takes what comes, and answers it with `status`."""

    def __init__(self, status: int = 0, comment: str = "") -> None:
        self.answer = status, comment
        self.opened: list[tuple[Command, str]] = []
        self.fragments: list[bytes] = []
        self.kept: list[bytes] = []
        self.discarded = 0

    def __call__(self, command: Command, syntax: str) -> Inlet:
        self.opened.append((command, syntax))
        self.fragments = []
        return self

    def write(self, fragment: bytes) -> None:
        self.fragments.append(fragment)

    def keep(self) -> tuple[int, str]:
        self.kept.append(b"".join(self.fragments))
        return self.answer

    def discard(self) -> None:
        self.discarded += 1


class Gives:
    """It answers a C-GET with an instance on a context (3 is the first for storage), and then with success."""

    def __init__(self, context: int = 3, dataset: bytes | None = SAMPLE.dataset, **command: Any) -> None:
        self.context, self.dataset, self.command = context, dataset, command

    def __call__(self, script: Script, message: Message) -> None:
        if message["CommandField"] == C_GET:
            script.respond(message, PENDING, NumberOfRemainingSuboperations=1, NumberOfCompletedSuboperations=0)
            store(script, self.context, self.dataset, **self.command)
        elif message["CommandField"] == C_STORE | RESPONSE:
            final(script, 0, NumberOfCompletedSuboperations=1)


def store(script: Script, context: int, dataset: bytes | None, **command: Any) -> None:
    uids = {"AffectedSOPClassUID": SAMPLE.sop_class, "AffectedSOPInstanceUID": SAMPLE.sop_instance}
    request = {"CommandField": C_STORE, "MessageID": 7, "Priority": 0, **uids, **command}
    script.channel.send_message(context, request, dataset)


def final(script: Script, status: int, dataset: bytes | None = None, **more: Any) -> None:
    command = {"CommandField": C_GET | RESPONSE, "MessageIDBeingRespondedTo": 1, "Status": status, **more}
    script.channel.send_message(1, command, dataset)


def get(says: Says, folder: Path, inlet: Inlet, watch: Waiting | None = None) -> tuple[Retrieved, Script]:
    with Script(says) as script:
        requestor, partner = scripted(script, folder)
        watch = watch or Waiting(lambda: False, lambda counts: None)
        retrieved = requestor.get(partner, WANTED, PAIRS, inlet, watch)
        assert script.ended.wait(10)
        return retrieved, script


def test_an_instance_comes_in_fragments_and_is_answered(tmp_path: Path) -> None:
    inlet, told = Inlet(), list[Suboperations]()
    retrieved, script = get(Gives(), tmp_path, inlet, Waiting(lambda: False, told.append))
    assert retrieved == Retrieved(0, "", Suboperations(None, 1, None, None), ())
    assert inlet.opened == [(Command(SAMPLE.sop_class, SAMPLE.sop_instance, CT), EXPLICIT_LE)]
    assert inlet.kept == [SAMPLE.dataset]
    assert len(inlet.fragments) > 1, "it was not held in memory as a whole"
    assert told == [Suboperations(1, 0, None, None)]
    asked, stored = script.messages
    assert asked["AffectedSOPClassUID"] == STUDY_ROOT_GET
    assert (stored["MessageIDBeingRespondedTo"], stored["Status"], stored.context) == (7, 0, 3)
    assert stored["AffectedSOPInstanceUID"] == SAMPLE.sop_instance
    assert script.ends == ["released"]


def test_every_syntax_has_a_context_of_its_own_and_we_are_the_scp(tmp_path: Path) -> None:
    """R214: one role item of a class, however many contexts it has."""
    _, script = get(Gives(), tmp_path, Inlet())
    (request,) = script.requests
    assert list(request.contexts.values()) == [
        (STUDY_ROOT_GET, [EXPLICIT_LE, IMPLICIT_LE]),
        *((abstract, [syntax]) for abstract, syntax in PAIRS),
    ]
    assert request.roles == {CT: (0, 1), MR: (0, 1)}
    proposals = [Proposal(2 * n + 1, *each, (False, True)) for n, each in enumerate([(CT, (EXPLICIT_LE,))] * 5)]
    item = struct.pack(">BxHH", 0x54, len(CT) + 4, len(CT)) + CT.encode()
    assert proposing.request("A", "B", proposals, 0).count(item) == 1


def test_what_is_refused_is_answered_with_why_and_the_rest_goes_on(tmp_path: Path) -> None:
    inlet = Inlet(0xA700, "the folder\\is full of " + "x" * 99)

    def says(script: Script, message: Message) -> None:
        if message["CommandField"] == C_STORE | RESPONSE:
            final(script, 0xB000, encode(row(FailedSOPInstanceUIDList=SAMPLE.sop_instance)))
        else:
            Gives()(script, message)

    retrieved, script = get(says, tmp_path, inlet)
    assert (retrieved.status, retrieved.failed) == (0xB000, (SAMPLE.sop_instance,))
    stored = script.messages[1]
    assert stored["Status"] == 0xA700
    assert str(stored["ErrorComment"]).startswith("the folder/is full")
    assert inlet.discarded == 1


def half(script: Script, message: Message) -> None:
    """The first fragment of an instance, and an abort."""
    command = {"CommandField": C_STORE, "MessageID": 7, "Priority": 0, "AffectedSOPClassUID": CT}
    *parts, _ = script.channel.fragments(3, SAMPLE.dataset, command=False)
    script.channel.send_message(3, {**command, "AffectedSOPInstanceUID": "1.2.3", "CommandDataSetType": 1})
    for part in parts:
        script.channel.send_raw(part)
    script.channel.send_raw(pdu(ABORT, bytes(4)))


def unknown(script: Script, message: Message) -> None:
    store(script, 3, SAMPLE.dataset, CommandField=0x0020)


def on_a_context_that_was_not_accepted(script: Script, message: Message) -> None:
    store(script, 5, SAMPLE.dataset)


def without_a_dataset(script: Script, message: Message) -> None:
    store(script, 3, None)


def another_answer(script: Script, message: Message) -> None:
    final(script, 0, MessageIDBeingRespondedTo=9)


@pytest.mark.parametrize("says", [half, unknown, on_a_context_that_was_not_accepted, without_a_dataset, another_answer])
def test_what_is_no_instance_and_no_response_ends_it(tmp_path: Path, says: Says) -> None:
    inlet = Inlet()
    with pytest.raises(AssociationLost):
        get(says, tmp_path, inlet)
    assert inlet.kept == []
    assert inlet.discarded == len(inlet.opened) == (says is half)


def test_a_cancel_between_two_instances(tmp_path: Path) -> None:
    inlet = Inlet()

    def says(script: Script, message: Message) -> None:
        if message["CommandField"] == C_CANCEL:
            final(script, 0xFE00, NumberOfRemainingSuboperations=1)
        elif message["CommandField"] == C_GET:
            Gives()(script, message)

    retrieved, script = get(says, tmp_path, inlet, Waiting(lambda: bool(inlet.kept), lambda counts: None))
    assert (retrieved.status, len(inlet.kept)) == (0xFE00, 1)
    assert script.messages[-1]["MessageIDBeingRespondedTo"] == 1
