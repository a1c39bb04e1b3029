"""net/move_scu.py: have a partner send, and hear how that went, however little it says."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dicomnode.dicom.identifier import Identifier, Key
from dicomnode.errors import AssociationLost, ContextMissing
from dicomnode.net import move_scu
from dicomnode.operations.ports import Retrieved, Suboperations, Waiting
from tests.samples import decode, encode
from tests.script import PENDING, Says, Script, row, scripted
from tests.upper_layer import C_CANCEL, C_MOVE, STUDY_ROOT_MOVE, Message

WANTED = Identifier("STUDY", (Key(0x0020000D, "UI", "1.2.3"),), "")


class Listener:
    def __init__(self) -> None:
        self.told: list[Suboperations] = []
        self.stopped = False
        self.looks = self.arrives = 0
        self.looked = threading.Event()
        """Set when it was looked so often that it took longer than a partner may be silent."""

    def arrived(self) -> int:
        self.looks += 1
        if self.looks == 13:
            self.looked.set()
        return self.looks * self.arrives

    def watch(self) -> Waiting:
        return Waiting(lambda: self.stopped, self.told.append, self.arrived)


def move(says: Says, folder: Path, listener: Listener, response: str = "5s") -> tuple[Retrieved, Script]:
    with Script(says) as script:
        requestor, partner = scripted(script, folder, response)
        return requestor.move(partner, WANTED, "DESTINATION", listener.watch()), script


def counters(remaining: int | None, completed: int, failed: int, warning: int) -> dict[str, int]:
    names = ("Remaining", "Completed", "Failed", "Warning")
    given = zip(names, (remaining, completed, failed, warning), strict=True)
    return {f"NumberOf{name}Suboperations": count for name, count in given if count is not None}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_counters_are_told_and_what_failed_is_named(tmp_path: Path) -> None:
    """R215."""

    def says(script: Script, message: Message) -> None:
        script.respond(message, PENDING, **counters(2, 1, 0, 0))
        script.respond(message, PENDING, **counters(0, 1, 1, 1))
        failed = encode(row(FailedSOPInstanceUIDList=["1.2.3.4", "no UID", "1.2.3.5"]))
        script.respond(message, 0xB000, failed, ErrorComment="one is too large", **counters(None, 1, 1, 1))

    listener = Listener()
    retrieved, script = move(says, tmp_path, listener)
    assert listener.told == [Suboperations(2, 1, 0, 0), Suboperations(0, 1, 1, 1)]
    assert retrieved == Retrieved(0xB000, "one is too large", Suboperations(None, 1, 1, 1), ("1.2.3.4", "1.2.3.5"))
    (asked,) = script.messages
    assert (asked["CommandField"], asked["AffectedSOPClassUID"]) == (C_MOVE, STUDY_ROOT_MOVE)
    assert asked["MoveDestination"] == "DESTINATION"
    assert decode(asked.dataset or b"").StudyInstanceUID == "1.2.3"


def test_neither_pending_responses_nor_counters_are_needed(tmp_path: Path) -> None:
    """R212."""
    listener = Listener()
    retrieved, _ = move(lambda script, message: script.respond(message, 0), tmp_path, listener)
    assert retrieved == Retrieved(0, "", Suboperations(), ())
    assert listener.told == []


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_list_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    def says(script: Script, message: Message) -> None:
        script.respond(message, 0xA702, b"\xff" * 30, **counters(None, 0, 7, 0))

    retrieved, _ = move(says, tmp_path, Listener())
    assert (retrieved.status, retrieved.counts.failed, retrieved.failed) == (0xA702, 7, ())


def test_what_arrives_is_a_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R212: the partner says nothing for longer than it may, and what it sends comes in meanwhile."""
    monkeypatch.setattr(move_scu, "PATIENCE", 1)
    listener = Listener()
    listener.arrives = 1

    def says(script: Script, message: Message) -> None:
        assert listener.looked.wait(30)
        script.respond(message, 0)

    retrieved, _ = move(says, tmp_path, listener, "2s")
    assert retrieved.status == 0


def test_silence_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move_scu, "PATIENCE", 1)
    listener = Listener()
    with pytest.raises(AssociationLost, match="in time"):
        move(lambda script, message: None, tmp_path, listener, "2s")
    assert listener.looks > 1


def test_a_cancel(tmp_path: Path) -> None:
    listener = Listener()

    def says(script: Script, message: Message) -> None:
        if message["CommandField"] == C_CANCEL:
            more = {"CommandField": C_MOVE | 0x8000, "MessageIDBeingRespondedTo": 1, **counters(3, 1, 0, 0)}
            script.respond(message, 0xFE00, **more)
            return
        listener.stopped = True

    retrieved, script = move(says, tmp_path, listener)
    assert (retrieved.status, retrieved.counts) == (0xFE00, Suboperations(3, 1, 0, 0))
    assert [message["CommandField"] for message in script.messages] == [C_MOVE, C_CANCEL]


def test_a_partner_without_c_move(tmp_path: Path) -> None:
    with Script(lambda script, message: None, accepts=None) as script:
        requestor, partner = scripted(script, tmp_path)
        with pytest.raises(ContextMissing, match="MOVE"):
            requestor.move(partner, WANTED, "DESTINATION", Listener().watch())
