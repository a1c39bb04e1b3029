"""net/find_scu.py: a question to a partner, its answers as they come, and its end."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any

import pytest

from dicomnode.dicom.identifier import Identifier, Key
from dicomnode.errors import AssociationLost, ContextMissing, PartnerError
from dicomnode.net import find_scu
from tests.samples import decode, encode
from tests.script import PENDING, Script, row, scripted
from tests.upper_layer import C_CANCEL, C_FIND, EXPLICIT_LE, IMPLICIT_LE, STUDY_ROOT_FIND, Message, WireError

PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
NAME, STUDY, DATE = 0x00100010, 0x0020000D, 0x00080020


def question(level: str = "STUDY", **values: str) -> Identifier:
    asked = {"name": "", "study": "", **values}
    return Identifier(level, (Key(NAME, "PN", asked["name"]), Key(STUDY, "UI", asked["study"])), "")


BIG5 = "黃^大文".encode("big5")


def ask(script: Script, folder: Path, asked: Identifier, stopped: Any = lambda: False) -> list[Identifier]:
    requestor, partner = scripted(script, folder)
    return list(requestor.find(partner, asked, stopped))


def named(name: str, character_set: str) -> bytes:
    return encode(row(SpecificCharacterSet=character_set, PatientName=name, StudyInstanceUID="1.2.3"))


def test_each_answer_is_read_by_its_own_character_set(tmp_path: Path) -> None:
    """R209: and whether a key was unsupported makes no difference."""

    def says(script: Script, message: Message) -> None:
        script.respond(message, 0xFF00, named("Müller^Jörg", "ISO_IR 100"))
        script.respond(message, 0xFF01, named("Διονυσιος", "ISO_IR 126"))
        script.respond(message, 0xFF02, named("黃^大文", "ISO_IR 192"))
        script.respond(message, 0)

    with Script(says) as script:
        found = ask(script, tmp_path, question())
    assert [each.value(NAME) for each in found] == ["Müller^Jörg", "Διονυσιος", "黃^大文"]


def test_who_declares_no_character_set_is_read_by_the_one_that_is_configured(tmp_path: Path) -> None:
    raw = struct.pack("<HH2sH", 0x10, 0x10, b"PN", len(BIG5) + len(BIG5) % 2) + BIG5.ljust(len(BIG5) + len(BIG5) % 2)

    def says(script: Script, message: Message) -> None:
        script.respond(message, PENDING, raw)
        script.respond(message, 0)

    with Script(says) as script:
        requestor, partner = scripted(script, tmp_path)
        big5 = partner.model_copy(update={"charset": "big5"})
        (found,) = requestor.find(big5, question(), lambda: False)
    assert found.value(NAME) == "黃^大文"


@pytest.mark.parametrize(("statuses", "told"), [((0xFF00, 0xFF00), 0), ((0xFF00, 0xFF01, 0xFF00), 1), ((0xFF02,), 0)])
def test_a_key_that_the_partner_does_not_support_is_told(tmp_path: Path, statuses: tuple[int, ...], told: int) -> None:
    def says(script: Script, message: Message) -> None:
        for status in (*statuses, 0):
            script.respond(message, status, named("A", "") if status else None)

    calls: list[bool] = []
    with Script(says) as script:
        requestor, partner = scripted(script, tmp_path)
        found = list(requestor.find(partner, question(), lambda: False, lambda: calls.append(True)))
    assert (len(found), len(calls)) == (len(statuses), told)


def test_answers_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_scu._MOST <= 1_000_000
    monkeypatch.setattr(find_scu, "_MOST", 5)

    def says(script: Script, message: Message) -> None:
        with contextlib.suppress(WireError, OSError):
            for _ in range(6):
                script.respond(message, PENDING, named("A", ""))
            script.respond(message, 0)

    seen: list[Identifier] = []
    with Script(says) as script:
        requestor, partner = scripted(script, tmp_path)
        with pytest.raises(PartnerError, match="over 5 rows"):
            seen.extend(requestor.find(partner, question(), lambda: False))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_rows_need_not_have_what_was_asked_and_may_have_more(tmp_path: Path) -> None:
    """R210: and what would move the cursor of a terminal is no character any more."""

    def says(script: Script, message: Message) -> None:
        script.respond(message, PENDING, encode(row(PatientName="A\x1b[2J\u202e^B")))
        more = row(StudyDate="20260101", ReferencedStudySequence=[row(PatientID="1")])
        script.respond(message, PENDING, encode(more))
        script.respond(message, PENDING)
        script.respond(message, 0)

    with Script(says) as script:
        first, second, third = ask(script, tmp_path, question())
    assert first.value(NAME).startswith("A\ufffd[2J")
    assert not {"\x1b", "\u202e"} & set(first.value(NAME))
    assert (second.value(NAME), second.value(DATE), third.keys) == ("", "20260101", ())


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
def test_what_is_asked(tmp_path: Path, syntax: str) -> None:
    """R208: the level, every key, no group lengths; a character set where a value needs one, and UTF-8 then."""
    with Script(lambda script, message: script.respond(message, 0), accepts=syntax) as script:
        assert ask(script, tmp_path, question(name="黃*", study="1.2.3")) == []
        assert ask(script, tmp_path, question(name="WONG*")) == []
        assert ask(script, tmp_path, question("PATIENT")) == []
    first, second, third = script.messages
    asked = decode(first.dataset or b"", syntax)
    assert (asked.QueryRetrieveLevel, asked.PatientName, asked.StudyInstanceUID) == ("STUDY", "黃*", "1.2.3")
    assert asked.SpecificCharacterSet == "ISO_IR 192"
    assert not [element for element in asked if element.tag.element == 0]
    assert "SpecificCharacterSet" not in decode(second.dataset or b"", syntax)
    models = [message["AffectedSOPClassUID"] for message in script.messages]
    assert models == [STUDY_ROOT_FIND, STUDY_ROOT_FIND, PATIENT_ROOT_FIND]
    assert third["CommandField"] == C_FIND


FAILURES = [
    (0xA700, PartnerError, "out of resources"),
    (0xA900, ContextMissing, "does not match the SOP class"),
    (0xC123, PartnerError, "cannot process"),
    (0xB001, PartnerError, "more answers than it gives"),
    (0xFE00, PartnerError, "cancelled"),
    (0x0122, ContextMissing, "not supported"),
    (0x4321, PartnerError, "unknown status"),
]


@pytest.mark.parametrize(("status", "error", "words"), FAILURES)
def test_a_failure_says_what_it_means_after_its_answers(
    tmp_path: Path, status: int, error: type[PartnerError], words: str
) -> None:
    def says(script: Script, message: Message) -> None:
        script.respond(message, PENDING, named("A", "ISO_IR 100"))
        script.respond(message, status, ErrorComment="bad \x1b key")

    with Script(says) as script:
        requestor, partner = scripted(script, tmp_path)
        answers = requestor.find(partner, question(), lambda: False)
        assert next(answers).value(NAME) == "A"
        with pytest.raises(PartnerError, match=rf"{words}.*\({status:04X}H\): bad \? key") as caught:
            next(answers)
    assert type(caught.value) is error


class Endless:
    """It answers three times, and once more when it is cancelled; or not then, where it `minds` nothing."""

    def __init__(self, *, minds: bool = True) -> None:
        self.minds = minds

    def __call__(self, script: Script, message: Message) -> None:
        if message["CommandField"] == C_CANCEL:
            if self.minds:
                script.respond(message, PENDING, named("late", ""), CommandField=0x8020, MessageIDBeingRespondedTo=1)
                script.respond(message, 0xFE00, CommandField=0x8020, MessageIDBeingRespondedTo=1)
            return
        for _ in range(3):
            script.respond(message, PENDING, named("A", ""))


def test_a_cancel_is_sent_for_the_request_and_ends_it(tmp_path: Path) -> None:
    """R211: on its context, with its Message ID; what was on its way comes all the same."""
    seen: list[str] = []
    with Script(Endless()) as script:
        requestor, partner = scripted(script, tmp_path)
        answers = requestor.find(partner, question(), lambda: len(seen) >= 3)
        seen.extend(answer.value(NAME) for answer in answers)
        assert script.ended.wait(10)
    assert seen == ["A", "A", "A", "late"]
    assert script.ends == ["released"]
    asked, cancel = script.messages
    assert cancel["MessageIDBeingRespondedTo"] == asked["MessageID"]
    assert (cancel.context, cancel.dataset) == (asked.context, None)


def test_who_does_not_mind_a_cancel_is_not_waited_for(tmp_path: Path) -> None:
    seen: list[Identifier] = []
    with Script(Endless(minds=False)) as script:
        requestor, partner = scripted(script, tmp_path, response="2s")
        answers = requestor.find(partner, question(), lambda: len(seen) >= 3)
        with pytest.raises(AssociationLost, match="in time"):
            seen.extend(answers)
    assert len(seen) == 3


def test_who_answers_on_after_a_cancel_is_cut_off(tmp_path: Path) -> None:
    def says(script: Script, message: Message) -> None:
        if message["CommandField"] == C_CANCEL:
            return
        with contextlib.suppress(WireError, OSError):
            while True:
                script.respond(message, PENDING, named("A", ""))

    seen: list[Identifier] = []
    with Script(says) as script:
        requestor, partner = scripted(script, tmp_path, response="2s")
        answers = requestor.find(partner, question(), lambda: len(seen) >= 3)
        with pytest.raises(AssociationLost, match="comes to no end"):
            seen.extend(answers)


def test_who_stops_listening_ends_the_association(tmp_path: Path) -> None:
    with Script(Endless()) as script:
        requestor, partner = scripted(script, tmp_path)
        for _ in requestor.find(partner, question(), lambda: False):
            break
        assert script.ended.wait(10)
