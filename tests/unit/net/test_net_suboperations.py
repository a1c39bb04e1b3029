"""net/suboperations.py: what the responses to a C-MOVE or C-GET say, and how often."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom.dimse_primitives import C_GET, C_MOVE

from dicomnode.errors import GateClosed, OutOfResources
from dicomnode.net import suboperations
from dicomnode.net.suboperations import Responses, Tally
from dicomnode.operations.account import SubOperation
from dicomnode.operations.retrieve import Plan
from dicomnode.store.search import Located
from tests import fakes
from tests.samples import decode

MOST = 65535


class Dimse:
    """What is sent, and the C-CANCELs that have come."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.cancel_req: dict[int, object] = {}

    def send_msg(self, response: Any, context: int) -> None:
        self.sent.append(response)


@pytest.fixture
def dimse() -> Dimse:
    return Dimse()


def responses(dimse: Dimse, folder: Path, total: int, kind: type = C_MOVE) -> Responses:
    """Those of a plan of so many instances that nobody has."""
    config = fakes.configuration(fakes.CONFIG, folder)
    located = Located(1, 1, "1.2", "harbour", "1.2", "1.2.3", "1.2.840.10008.1.2", "", 1, "", None, "")
    plan = Plan(config.partners["RAD_WS"], (located,) * total, {}, {})
    request = kind()
    request.MessageID, request.AffectedSOPClassUID = 7, "1.2.840.10008.5.1.4.1.2.2.2"
    assoc: Any = SimpleNamespace(dimse=dimse, requestor=SimpleNamespace(ae_title="RAD_WS"))
    context: Any = SimpleNamespace(transfer_syntax=["1.2.840.10008.1.2"], context_id=3)
    return Responses(assoc, request, context, plan)


def said(response: Any) -> tuple[Any, ...]:
    counts = (getattr(response, f"NumberOf{name}Suboperations") for name in ("Remaining", "Completed", "Failed"))
    return response.Status, *counts, response.NumberOfWarningSuboperations


FINAL = [  # total, completed, warnings, failed → status
    (0, 0, 0, 0, 0x0000),
    (3, 3, 0, 0, 0x0000),
    (3, 2, 1, 0, 0xB000),
    (3, 2, 0, 1, 0xB000),
    (3, 0, 0, 3, 0xA702),
    (3, 0, 1, 2, 0xB000),
    (3, 1, 0, 1, 0xFE00),
    (3, 0, 0, 0, 0xFE00),
]


@pytest.mark.parametrize(("total", "completed", "warning", "failed", "status"), FINAL)
def test_the_final_status(total: int, completed: int, warning: int, failed: int, status: int) -> None:
    assert Tally(total, completed, warning, ["1.2"] * failed).final == status


@pytest.mark.parametrize("kind", [C_MOVE, C_GET])
def test_more_than_can_be_said_is_said_as_the_most(
    kind: type, dimse: Dimse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total, now = 200_000, [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    it = responses(dimse, tmp_path, total, kind)

    def results() -> Iterator[SubOperation]:
        for number in range(total):
            now[0] += 0.5 if number in (1, 2, 150_000, 150_001) else 0
            yield SubOperation(f"2.25.{number}", completed=number >= 70_000)

    it.follow(results())
    assert [said(response) for response in dimse.sent] == [
        (0xFF00, MOST, 0, 1, 0),
        (0xFF00, MOST, 0, 3, 0),
        (0xFF00, 49998, MOST, MOST, 0),
        (0xB000, None, MOST, MOST, 0),
    ]
    assert [bool(response.Identifier) for response in dimse.sent] == [False, False, False, True]
    raw = dimse.sent[-1].Identifier.getvalue()
    listed = decode(raw, syntax="1.2.840.10008.1.2").FailedSOPInstanceUIDList
    assert 65500 < len("\\".join(listed)) <= 65534
    assert [str(uid) for uid in listed] == [f"2.25.{number}" for number in range(len(listed))], "whole UIDs, in order"


def test_a_list_that_just_fits_is_whole() -> None:
    exactly = ["1." + "2" * 61] * 1023 + ["1." + "2" * 60]
    assert len("\\".join(exactly)) == 65534
    assert len(suboperations._failed_list(exactly, implicit=True)) == 8 + 65534
    assert len(suboperations._failed_list([*exactly, "1.2"], implicit=True)) == 8 + 65534
    longer = [*exactly[:-1], "1." + "2" * 61]
    assert len(suboperations._failed_list(longer, implicit=True)) == 8 + 1023 * 64


def test_pending_is_said_at_most_once_a_second(dimse: Dimse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def results() -> Iterator[SubOperation | None]:
        for number in range(999):
            now[0] = 1000 + number / 100
            yield SubOperation("1.2", completed=True)
        for second in range(3):  # one takes its time
            now[0] = 1010 + second
            yield None
        now[0] += 5
        yield SubOperation("1.2", completed=True)  # when nothing remains there is nothing pending

    responses(dimse, tmp_path, 1000).follow(results())
    *pending, final = dimse.sent
    assert len(pending) == 13
    for response in pending:
        status, remaining, completed, *others = said(response)
        assert (status, remaining + completed, others) == (0xFF00, 1000, [0, 0])
        assert response.Identifier is None
    assert said(final) == (0, None, 1000, 0, 0)


def test_what_we_cannot_go_on_with_is_said_with_its_counts(dimse: Dimse, tmp_path: Path) -> None:
    def results() -> Iterator[SubOperation]:
        yield SubOperation("1.2.1", completed=True)
        yield SubOperation("1.2.2", completed=False)
        raise OutOfResources("the index cannot be written: disk full")

    responses(dimse, tmp_path, 5).follow(results())
    final = dimse.sent[-1]
    assert said(final) == (0xA702, None, 1, 1, 0)
    assert final.ErrorComment == "the index cannot be written: disk full"


@pytest.mark.parametrize(
    ("error", "status"), [(OutOfResources("full"), 0xA701), (ZeroDivisionError(), 0xC000), (GateClosed("held"), 0x0124)]
)
def test_what_cannot_be_begun_is_refused(error: Exception, status: int, dimse: Dimse) -> None:
    def service(*_: Any) -> None:
        raise error

    request = C_MOVE()
    request.MessageID = 7
    dimse.cancel_req[7] = object()
    assoc: Any = SimpleNamespace(dimse=dimse, requestor=SimpleNamespace(ae_title="RAD_WS"))
    context: Any = SimpleNamespace(context_id=3)
    suboperations.serve(assoc, request, context, service)
    assert [response.Status for response in dimse.sent] == [status]
    assert not dimse.cancel_req


def test_a_cancel_of_another_message_is_not_for_this_one(dimse: Dimse, tmp_path: Path) -> None:
    it = responses(dimse, tmp_path, 1)
    dimse.cancel_req[8] = object()
    assert not it.is_cancelled
    dimse.cancel_req[7] = object()
    assert it.is_cancelled
