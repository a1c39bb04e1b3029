"""net/requestor.py, what it says to partners besides C-STORE: questions (C-FIND), commitment, and results.

The partner is a script on a socket: it answers what a test says, however wrong that is.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomnode.config.model import Partner
from dicomnode.errors import AssociationLost, ContextMissing, PartnerError, Unreachable
from dicomnode.net import commit_scu, commitment, find_scu
from dicomnode.net import requestor as requestors
from dicomnode.net.requestor import Requestor
from dicomnode.operations.ports import Reference, Report
from tests.patience import patient
from tests.samples import decode, encode
from tests.script import INSTANCE, PENDING, Says, Script, row, scripted
from tests.upper_layer import (
    ABORT,
    C_FIND,
    COMMITMENT,
    EXPLICIT_LE,
    IMPLICIT_LE,
    N_ACTION,
    N_EVENT_REPORT,
    RESPONSE,
    STUDY_ROOT_FIND,
    Closed,
    Message,
    Value,
    WireError,
    pdu,
)

STUDY, CT = "1.2.3", "1.2.840.10008.5.1.4.1.1.2"
ONE, TWO = Reference(CT, "1.2.3.1"), Reference(CT, "1.2.3.2")


@pytest.fixture
def asks(tmp_path: Path) -> Callable[..., tuple[Requestor, Partner]]:
    """A requestor, and the partner that a script plays."""

    def make(script: Script, response: str = "5s", may: str = "[find, move]") -> tuple[Requestor, Partner]:
        return scripted(script, tmp_path, response, may)

    return make


Asks = Callable[..., tuple[Requestor, Partner]]


# -- questions -----------------------------------------------------------------------------------------------------


class Archive:
    """What a script has: series → instances. It says what it was asked for, and demands the hierarchy."""

    def __init__(self, series: Mapping[str, list[str]], syntax: str = EXPLICIT_LE, **extra: Any) -> None:
        self.series, self.syntax, self.extra = series, syntax, extra
        self.asked: list[Dataset] = []

    def __call__(self, script: Script, message: Message) -> None:
        assert message["CommandField"] == C_FIND
        assert message["AffectedSOPClassUID"] == STUDY_ROOT_FIND
        asked = decode(message.dataset or b"", self.syntax)
        self.asked.append(asked)
        for number, answer in enumerate(self.answers(asked)):
            answer.update(row(QueryRetrieveLevel=asked.QueryRetrieveLevel, **self.extra))
            script.respond(message, PENDING + number % 2, encode(answer, self.syntax))
        script.respond(message, 0)

    def answers(self, asked: Dataset) -> list[Dataset]:
        assert asked.StudyInstanceUID == STUDY
        if asked.QueryRetrieveLevel == "SERIES":
            return [row(StudyInstanceUID=STUDY, SeriesInstanceUID=uid) for uid in self.series]
        found = self.series[asked.SeriesInstanceUID] if asked.QueryRetrieveLevel == "IMAGE" else []
        return [row(StudyInstanceUID=STUDY, SOPInstanceUID=uid) for uid in found]


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
def test_instances_are_asked_for_level_by_level(asks: Asks, syntax: str) -> None:
    archive = Archive({"1.2.3.1": ["1.2.3.1.1", "1.2.3.1.2"], "1.2.3.2": ["1.2.3.2.1"], "1.2.3.3": []}, syntax)
    with Script(archive, accepts=syntax) as script:
        requestor, partner = asks(script)
        assert requestor.instances(partner, STUDY) == {"1.2.3.1.1", "1.2.3.1.2", "1.2.3.2.1"}
        assert script.ended.wait(10)
    assert [asked.QueryRetrieveLevel for asked in archive.asked] == ["SERIES", "IMAGE", "IMAGE", "IMAGE"]
    assert {asked.SeriesInstanceUID for asked in archive.asked[1:]} == set(archive.series)
    assert len(script.requests) == 1
    assert script.ends == ["released"]


def test_of_a_study_that_a_partner_has_not_there_are_none(asks: Asks) -> None:
    with Script(Archive({})) as script:
        requestor, partner = asks(script)
        assert requestor.instances(partner, STUDY) == frozenset()
        assert requestor.count(partner, STUDY) == 0


def test_rows_that_were_not_asked_for_prove_nothing(asks: Asks) -> None:
    """R210: another study's, without a UID, with one that is none; what else is in them does not matter."""

    class Odd(Archive):
        def answers(self, asked: Dataset) -> list[Dataset]:
            if asked.QueryRetrieveLevel == "SERIES":
                return [row(SeriesInstanceUID="1.2.3.1"), row(StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.9")]
            odd = row(StudyInstanceUID=STUDY)
            odd.add_new(0x00080018, "LO", "no UID")
            return [
                row(StudyInstanceUID=STUDY, SOPInstanceUID="1.2.3.1.1", PatientName="Ä^Ö"),
                row(StudyInstanceUID="1.2.9", SOPInstanceUID="1.2.9.1"),
                row(StudyInstanceUID=STUDY),
                row(StudyInstanceUID=STUDY, SOPInstanceUID=""),
                odd,
            ]

    archive = Odd({}, ReferencedStudySequence=[row(StudyInstanceUID="1.2.9")])
    with Script(archive) as script:
        requestor, partner = asks(script)
        assert requestor.instances(partner, STUDY) == {"1.2.3.1.1"}


COUNTS: list[tuple[list[Any], int | None]] = [
    ([], 0),
    (["7"], 7),
    ([7, 7, 7], 7),  # one row for each instance
    ([None], None),
    ([""], None),
    (["many"], None),
    (["-1"], None),
    (["", "12"], 12),
]


@pytest.mark.parametrize(("said", "expected"), COUNTS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_number_of_instances(asks: Asks, said: list[Any], expected: int | None) -> None:
    class Counting(Archive):
        def answers(self, asked: Dataset) -> list[Dataset]:
            assert asked.QueryRetrieveLevel == "STUDY"
            assert "NumberOfStudyRelatedInstances" in asked
            other = [row(StudyInstanceUID="1.2.9", NumberOfStudyRelatedInstances="99")]
            return other + [self.counted(each) for each in said]

        def counted(self, number: Any) -> Dataset:
            it = row(StudyInstanceUID=STUDY)
            if number is not None:
                it.add_new(0x00201208, "LO", str(number))
            return it

    with Script(Counting({})) as script:
        requestor, partner = asks(script)
        assert requestor.count(partner, STUDY) == expected


STATUSES = [  # final status → what is raised, and whether it may be asked again later
    (0xA700, PartnerError, True),
    (0xC000, PartnerError, True),
    (0xFE00, PartnerError, True),
    (0xA900, ContextMissing, False),
    (0x0122, ContextMissing, False),
    (0x0124, ContextMissing, False),
]


@pytest.mark.parametrize(("status", "error", "temporary"), STATUSES)
def test_a_question_that_is_not_answered_with_success(
    asks: Asks, status: int, error: type[PartnerError], temporary: bool
) -> None:
    with Script(lambda script, message: script.respond(message, status)) as script:
        requestor, partner = asks(script)
        with pytest.raises(PartnerError, match=f"{status:04X}H") as caught:
            requestor.instances(partner, STUDY)
        assert type(caught.value) is error
        assert caught.value.temporary == temporary
        assert script.ended.wait(10)
    assert script.ends == ["released"]


def test_half_an_answer_is_none(asks: Asks) -> None:
    def says(script: Script, message: Message) -> None:
        script.respond(message, PENDING, encode(row(StudyInstanceUID=STUDY, SeriesInstanceUID="1.2.3.1")))
        script.respond(message, 0xA700)

    with Script(says) as script:
        requestor, partner = asks(script)
        with pytest.raises(PartnerError, match="A700H"):
            requestor.instances(partner, STUDY)


def test_a_partner_without_queries(asks: Asks) -> None:
    with Script(Archive({}), accepts=None) as script:
        requestor, partner = asks(script)
        with pytest.raises(ContextMissing, match="does not accept"):
            requestor.instances(partner, STUDY)
        assert script.ended.wait(10)
    assert script.ends == ["released"]
    with pytest.raises(Unreachable):
        requestor.instances(partner, STUDY)


def other_message(script: Script, message: Message) -> None:
    script.respond(message, 0, MessageIDBeingRespondedTo=int(message["MessageID"]) + 1)


def other_operation(script: Script, message: Message) -> None:
    script.respond(message, 0, CommandField=0x8001)


def garbage(script: Script, message: Message) -> None:
    script.respond(message, PENDING, b"\xff" * 200)


def no_command(script: Script, message: Message) -> None:
    script.channel.send_raw(pdu(4, b"\0\0\0\x0a\1\3" + b"\xff" * 8))


def a_dataset_at_once(script: Script, message: Message) -> None:
    script.channel.send_raw(pdu(4, b"\0\0\0\x0a\1\2" + b"\0" * 8))


def only_pending(script: Script, message: Message) -> None:
    answer = encode(row(StudyInstanceUID=STUDY, SeriesInstanceUID="1.2.3.1"))
    with contextlib.suppress(WireError, OSError):
        while True:
            script.respond(message, PENDING, answer)


def one_dataset_without_end(script: Script, message: Message) -> None:
    with contextlib.suppress(WireError, OSError):
        script.respond(message, PENDING, bytes(5 << 20))


def aborts(script: Script, message: Message) -> None:
    script.channel.send_raw(pdu(ABORT, bytes(4)))


def closes(script: Script, message: Message) -> None:
    raise Closed("by the script")


def is_silent(script: Script, message: Message) -> None:
    pass


WRONG: list[tuple[Says, str]] = [
    (other_message, "answers another request"),
    (other_operation, "answers another request"),
    (garbage, "what cannot be read"),
    (no_command, "cannot be read"),
    (a_dataset_at_once, "a dataset where a response"),
    (only_pending, "over 3000 rows"),
    (one_dataset_without_end, "without end"),
    (aborts, "aborted"),
    (closes, "closed the connection"),
    (is_silent, "in time"),
]


@pytest.mark.parametrize(("says", "what"), WRONG)
def test_whatever_a_partner_answers_ends_in_an_error_and_soon(
    asks: Asks, says: Says, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_scu, "_MOST", 3000)
    with Script(says) as script:
        requestor, partner = asks(script, response="1s")
        begun = time.monotonic()
        with pytest.raises(PartnerError, match=what):
            requestor.instances(partner, STUDY)
        assert time.monotonic() - begun < patient(6)


def test_all_answers_together_have_a_deadline(asks: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requestors, "_ANSWERS", 1)

    def slowly(script: Script, message: Message) -> None:
        answer = encode(row(StudyInstanceUID=STUDY, SeriesInstanceUID="1.2.3.1"))
        with contextlib.suppress(WireError, OSError):
            while True:
                script.respond(message, PENDING, answer)
                time.sleep(0.05)

    with Script(slowly) as script:
        requestor, partner = asks(script, response="0.5s")
        with pytest.raises(AssociationLost, match="too long"):
            requestor.instances(partner, STUDY)


# -- commitment, as who asks ---------------------------------------------------------------------------------------


def result(*committed: Reference, transaction: str = "1.2.9", failed: tuple[tuple[Reference, int], ...] = ()) -> bytes:
    return commitment.report(Report(transaction, committed, failed), "", implicit=False)


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> float:
    """That we wait for a result on the same association (seconds)."""
    monkeypatch.setattr(commit_scu, "_MOMENT", 0.3)
    return 0.3


def never() -> bool:
    """The result has not come on another association."""
    return False


def test_a_result_that_has_come_elsewhere_is_waited_for_no_more(asks: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_scu, "_MOMENT", 60.0)
    with Script(lambda script, message: script.respond(message, 0)) as script:
        requestor, partner = asks(script)
        begun = time.monotonic()
        assert requestor.commit(partner, "1.2.9", [ONE], lambda: True) is None
        assert time.monotonic() - begun < patient(5)


@pytest.mark.parametrize("roles", [{}, {COMMITMENT: (1, 0)}])
def test_a_request_that_is_taken_and_answered_elsewhere(asks: Asks, moment: float, roles: Mapping[str, Any]) -> None:
    with Script(lambda script, message: script.respond(message, 0), roles=roles) as script:
        requestor, partner = asks(script)
        assert requestor.commit(partner, "1.2.9", [ONE, TWO], never) is None
        assert script.ended.wait(10)
    (message,) = script.messages
    assert message["CommandField"] == N_ACTION
    assert (message["RequestedSOPClassUID"], message["RequestedSOPInstanceUID"]) == (COMMITMENT, INSTANCE)
    assert message["ActionTypeID"] == 1
    asked = decode(message.dataset or b"")
    assert asked.TransactionUID == "1.2.9"
    assert [each.ReferencedSOPInstanceUID for each in asked.ReferencedSOPSequence] == ["1.2.3.1", "1.2.3.2"]
    assert script.ends == ["released"]


def test_a_result_on_the_same_association(asks: Asks) -> None:
    def says(script: Script, message: Message) -> None:
        if message["CommandField"] == N_ACTION:
            script.respond(message, 0)
            script.tell(message, result(ONE, failed=((TWO, 0x0112),)), 2)

    with Script(says) as script:
        requestor, partner = asks(script, response="60s")
        begun = time.monotonic()
        assert requestor.commit(partner, "1.2.9", [ONE, TWO], never) == Report("1.2.9", (ONE,), ((TWO, 0x0112),))
        assert time.monotonic() - begun < patient(1.5), "it did not wait for more than it had"
    answer = script.messages[1]
    assert answer["CommandField"] == N_EVENT_REPORT | RESPONSE
    assert (answer["MessageIDBeingRespondedTo"], answer["Status"], answer["EventTypeID"]) == (77, 0, 2)
    assert (answer["AffectedSOPClassUID"], answer["AffectedSOPInstanceUID"]) == (COMMITMENT, INSTANCE)


def test_a_result_before_the_response(asks: Asks) -> None:
    def says(script: Script, message: Message) -> None:
        if message["CommandField"] == N_ACTION:
            script.tell(message, result(ONE))
            script.respond(message, 0)

    with Script(says) as script:
        requestor, partner = asks(script)
        assert requestor.commit(partner, "1.2.9", [ONE], never) == Report("1.2.9", (ONE,))


STRANGE: dict[str, tuple[bytes, dict[str, Value], int]] = {
    "another transaction": (result(ONE, transaction="1.2.8"), {}, 0x0115),
    "an instance that was not asked for": (result(ONE, TWO), {}, 0x0115),
    "nothing about what was asked for": (result(), {}, 0x0120),
    "another class of it": (result(Reference("1.2.840.10008.5.1.4.1.1.4", ONE.sop_instance_uid)), {}, 0x0115),
    "bytes": (b"\xff" * 99, {}, 0x0115),
    "another SOP instance": (result(ONE), {"AffectedSOPInstanceUID": "1.2.3"}, 0x0112),
    "another SOP class": (result(ONE), {"AffectedSOPClassUID": CT}, 0x0118),
    "an unknown event": (result(ONE), {"EventTypeID": 3}, 0x0113),
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_result_that_is_not_ours_is_refused_and_ours_still_heard(asks: Asks, what: str) -> None:
    data, command, status = STRANGE[what]

    def says(script: Script, message: Message) -> None:
        if message["CommandField"] == N_ACTION:
            script.respond(message, 0)
            script.tell(message, data, **command)
            script.tell(message, result(ONE), number=78)

    with Script(says) as script:
        requestor, partner = asks(script)
        assert requestor.commit(partner, "1.2.9", [ONE], never) == Report("1.2.9", (ONE,))
    answered = {each["MessageIDBeingRespondedTo"]: each["Status"] for each in script.messages[1:]}
    assert answered == {77: status, 78: 0}


def test_a_request_that_is_not_taken(asks: Asks) -> None:
    with Script(lambda script, message: script.respond(message, 0x0213)) as script:
        requestor, partner = asks(script)
        with pytest.raises(PartnerError, match="0213H"):
            requestor.commit(partner, "1.2.9", [ONE], never)


@pytest.mark.parametrize("says", [other_message, other_operation, no_command, aborts, closes, is_silent])
def test_a_request_of_unknown_outcome(asks: Asks, says: Says) -> None:
    with Script(says) as script:
        requestor, partner = asks(script, response="0.5s")
        with pytest.raises(AssociationLost):
            requestor.commit(partner, "1.2.9", [ONE], never)


@pytest.mark.parametrize("then", [aborts, closes])
def test_a_partner_that_ends_the_association_has_taken_the_request(asks: Asks, then: Says) -> None:
    def says(script: Script, message: Message) -> None:
        script.respond(message, 0)
        then(script, message)

    with Script(says) as script:
        requestor, partner = asks(script)
        assert requestor.commit(partner, "1.2.9", [ONE], never) is None


def test_a_partner_without_commitment(asks: Asks) -> None:
    with Script(is_silent, accepts=None) as script:
        requestor, partner = asks(script)
        with pytest.raises(ContextMissing, match="Storage Commitment"):
            requestor.commit(partner, "1.2.9", [ONE], never)


# -- results that we tell ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("roles", [{}, {COMMITMENT: (0, 1)}, {COMMITMENT: (1, 0)}])
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("failed", [(), ((TWO, 0x0112),)])
def test_a_result_is_told_as_its_scp(
    asks: Asks, roles: Mapping[str, Any], syntax: str, failed: tuple[tuple[Reference, int], ...]
) -> None:
    said = Report("1.2.9", (ONE,), failed)
    with Script(lambda script, message: script.respond(message, 0), accepts=syntax, roles=roles) as script:
        requestor, partner = asks(script)
        requestor.report(partner, said)
        assert script.ended.wait(10)
    (request,) = script.requests
    assert request.roles == {COMMITMENT: (0, 1)}
    (message,) = script.messages
    assert (message["CommandField"], message["EventTypeID"]) == (N_EVENT_REPORT, 2 if failed else 1)
    assert (message["AffectedSOPClassUID"], message["AffectedSOPInstanceUID"]) == (COMMITMENT, INSTANCE)
    assert commitment.reported(message.dataset or b"", implicit=syntax == IMPLICIT_LE) == said
    assert decode(message.dataset or b"", syntax).RetrieveAETitle == "REFERNODE"
    assert script.ends == ["released"]


def test_who_may_not_retrieve_is_told_of_no_ae_title(asks: Asks) -> None:
    with Script(lambda script, message: script.respond(message, 0)) as script:
        requestor, partner = asks(script, may="[find]")
        requestor.report(partner, Report("1.2.9", (ONE,)))
    assert "RetrieveAETitle" not in decode(script.messages[0].dataset or b"")


@pytest.mark.parametrize("status", [0x0110, 0x0112, 0x0115])
def test_a_result_that_is_not_taken(asks: Asks, status: int) -> None:
    with Script(lambda script, message: script.respond(message, status)) as script:
        requestor, partner = asks(script)
        with pytest.raises(PartnerError, match=f"{status:04X}H"):
            requestor.report(partner, Report("1.2.9", (ONE,)))


@pytest.mark.parametrize("says", [other_message, other_operation, no_command, aborts, closes, is_silent])
def test_a_result_that_was_perhaps_taken(asks: Asks, says: Says) -> None:
    with Script(says) as script:
        requestor, partner = asks(script, response="0.5s")
        with pytest.raises(AssociationLost):
            requestor.report(partner, Report("1.2.9", (ONE,)))


def test_roles_are_proposed_for_results_alone(asks: Asks, moment: float) -> None:
    with Script(lambda script, message: script.respond(message, 0)) as script:
        requestor, partner = asks(script)
        requestor.commit(partner, "1.2.9", [ONE], never)
        requestor.count(partner, STUDY)
    assert [request.roles for request in script.requests] == [{}, {}]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()
