"""net/find_scp.py: what is sent for a query, and when it stops. The index is played by a generator."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom.dimse_primitives import C_FIND

from dicomnode.errors import BadIdentifier, OutOfResources
from dicomnode.net import find_scp
from dicomnode.operations import trail
from dicomnode.operations.find import Answers, Question
from dicomnode.rules.contexts import IMPLICIT_LE, STUDY_ROOT_FIND
from dicomnode.rules.matching import Model
from dicomnode.rules.negotiated import Features
from tests.integration.kit import query
from tests.upper_layer import decode_command

Pages = Callable[[Callable[[], bool]], Iterator[list[bytes]]]
OURS, OTHER = 7, 8


class Caller:
    """An association as the SCP sees it: what was sent on it, and what the peer does after so many sendings."""

    def __init__(self, cancels: int = OURS, after: int | None = None) -> None:
        self.partner, self.node = SimpleNamespace(charset=""), object()
        self.features = {STUDY_ROOT_FIND: Features(fuzzy=True)}
        self.requestor = SimpleNamespace(ae_title="RAD_WS")
        self.caller = SimpleNamespace(address="10.1.0.30")
        self.told: list[tuple[trail.Asked, str, int]] = []
        self.dimse = self.reactor = self
        self.cancel_req: dict[int, object] = {}
        self.sent: list[tuple[int, list[bytes]]] = []
        self.final: Any = None
        self.question: Any = None
        self.looks = 0
        self._cancels, self._after = cancels, after

    def attend(self) -> bool:
        self.looks += 1
        if self._after is not None and len(self.sent) >= self._after:
            self.cancel_req[self._cancels] = object()
        return True

    def send_each(self, context: int, command: bytes, datasets: list[bytes]) -> None:
        self.sent.append((decode_command(command)["Status"], datasets))

    def send_msg(self, primitive: Any, context: int) -> None:
        self.final = primitive

    @property
    def answers(self) -> int:
        return sum(len(datasets) for _, datasets in self.sent)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Caller]:
    def asked(pages: Pages, caller: Caller | None = None, *, all_supported: bool = True) -> Caller:
        caller = caller or Caller()

        def find(question: Question, partner: object, node: object, stopped: Callable[[], bool]) -> Answers:
            caller.question = question
            return Answers(pages(stopped), all_supported)

        def told(asked: trail.Asked, _: object, address: str, status: int, node: object) -> None:
            assert caller.final.Status == status, "it was told before it was answered"
            caller.told.append((asked, address, status))

        monkeypatch.setattr(find_scp, "find", find)
        monkeypatch.setattr(trail, "query", told)
        request = C_FIND()
        request.MessageID, request.AffectedSOPClassUID = OURS, STUDY_ROOT_FIND
        request.Identifier = BytesIO(query("STUDY", {"PatientID": ""}, syntax=IMPLICIT_LE))
        context = SimpleNamespace(context_id=1, abstract_syntax=STUDY_ROOT_FIND, transfer_syntax=[IMPLICIT_LE])
        find_scp.serve(caller, request, context)
        return caller

    return asked


def test_that_it_was_asked_is_told_when_it_is_answered(ask: Callable[..., Caller]) -> None:
    def refused(_: object) -> Iterator[list[bytes]]:
        raise BadIdentifier("no level")
        yield []

    asked = trail.Asked(STUDY_ROOT_FIND, IMPLICIT_LE, query("STUDY", {"PatientID": ""}, syntax=IMPLICIT_LE))
    assert ask(lambda _: iter([])).told == [(asked, "10.1.0.30", 0x0000)]
    assert ask(refused).told == [(asked, "10.1.0.30", 0xA900)]


def numbered(first: int, past: int) -> list[bytes]:
    return [struct.pack("<L", n) for n in range(first, past)]


def two_pages(stopped: Callable[[], bool]) -> Iterator[list[bytes]]:
    yield numbered(0, 120)
    yield numbered(120, 130)


def test_every_answer_is_sent_once_in_order(ask: Callable[..., Caller]) -> None:
    caller = ask(two_pages)
    assert [dataset for _, some in caller.sent for dataset in some] == numbered(0, 130)
    assert {status for status, _ in caller.sent} == {0xFF00}
    assert caller.final.Status == 0
    assert max(len(some) for _, some in caller.sent) <= 50


def test_a_key_that_is_not_supported_is_said_with_each_answer(ask: Callable[..., Caller]) -> None:
    assert {status for status, _ in ask(two_pages, all_supported=False).sent} == {0xFF01}


def test_what_was_negotiated_is_asked_with(ask: Callable[..., Caller]) -> None:
    question = ask(two_pages).question
    assert (question.model, question.features, question.implicit) == (Model.STUDY_ROOT, Features(fuzzy=True), True)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_cancel_is_seen_within_a_page(after: int, ask: Callable[..., Caller]) -> None:
    caller = ask(two_pages, Caller(after=after))
    assert (caller.answers, caller.final.Status) == (50 * after, 0xFE00)
    assert caller.cancel_req == {}


def test_a_cancel_of_another_request_is_none(ask: Callable[..., Caller]) -> None:
    caller = ask(two_pages, Caller(OTHER, after=1))
    assert (caller.answers, caller.final.Status) == (130, 0)
    assert set(caller.cancel_req) == {OTHER}


def test_a_cancel_is_seen_while_the_index_is_searched(
    ask: Callable[..., Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked ten thousand times in a second, it looks as often as is needed; who was told once, is told again."""
    now = [100.0]
    monkeypatch.setattr(find_scp, "time", SimpleNamespace(monotonic=lambda: now[0]))
    asked = 0

    def endless(stopped: Callable[[], bool]) -> Iterator[list[bytes]]:
        nonlocal asked
        yield numbered(0, 3)
        while not stopped():
            asked += 1
            now[0] += 0.0001
        assert stopped()

    class Late(Caller):
        def attend(self) -> bool:
            if now[0] >= 101:
                self.cancel_req[OURS] = object()
            return super().attend()

    caller = ask(endless, Late())
    assert (caller.answers, caller.final.Status) == (3, 0xFE00)
    assert 10_000 <= asked <= 10_500
    assert caller.looks <= 60


def test_a_look_that_fails_inside_the_search_is_no_success(ask: Callable[..., Caller]) -> None:
    class Broken(Caller):
        def attend(self) -> bool:
            raise RuntimeError("a fault of ours")

    def swallowing(stopped: Callable[[], bool]) -> Iterator[list[bytes]]:
        with suppress(RuntimeError):  # as SQLite does with what its progress handler raises
            stopped()
        yield from ()

    assert ask(swallowing, Broken()).final.Status == 0xFE00


def test_at_the_limit_the_last_word_is_that_there_are_more(ask: Callable[..., Caller]) -> None:
    def limited(stopped: Callable[[], bool]) -> Iterator[list[bytes]]:
        yield numbered(0, 100)
        raise OutOfResources("100 answers given, and there are more: narrow the query")

    caller = ask(limited)
    assert (caller.answers, caller.final.Status) == (100, 0xA700)
    assert "100 answers" in caller.final.ErrorComment


def test_what_is_wrong_is_said_before_any_answer(ask: Callable[..., Caller]) -> None:
    def wrong(stopped: Callable[[], bool]) -> Iterator[list[bytes]]:
        raise BadIdentifier("StudyInstanceUID needs a single value")

    caller = ask(wrong)
    assert (caller.sent, caller.final.Status) == ([], 0xA900)
    assert "StudyInstanceUID" in caller.final.ErrorComment
